"""Who pays, what they have, and what they are charged for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sandbox import prices

Mode = Literal["prepaid", "postpaid"]


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays. `lab/alice` is below `lab`; each pays from its own credit.

    Attributes:
        name: its path.
        mode: `prepaid` stops when credit and overdraft are spent, `postpaid` owes.
        overdraft: how far a prepaid account may go below 0 [microcredits].
    """

    name: str
    mode: Mode
    overdraft: int = 0


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account has.

    Attributes:
        posted_micro: grants and refunds less posts and breakage [microcredits]; below 0 is owed.
        pending_micro: held back by reservations.
        available_micro: what may still be reserved, if for meters that its grants pay; None is
            without limit.
    """

    posted_micro: int
    pending_micro: int
    available_micro: int | None


@dataclass(frozen=True, slots=True)
class Usage:
    """An episode's work, to be posted.

    Attributes:
        id: of the post, 16 bytes: the same is never charged twice.
        quantities: the work, per meter unit.
        price_version: of the schedule that prices it.
        evidence: the digest of what was done, 64 hex digits.
        run, episode, parent: which episode of which run it is, and what that was rendered from;
            None for an episode that belongs to no run.
    """

    id: bytes
    quantities: Mapping[str, int]
    price_version: str
    evidence: str
    run: str | None = None
    episode: int | None = None
    parent: str | None = None

    def charges(self) -> dict[str, int]:
        """Return what the work costs [microcredits per meter unit]."""
        return prices.load(self.price_version).charges(self.quantities)
