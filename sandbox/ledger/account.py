"""Accounts, their balances, and the work that they are charged for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sandbox import prices

ABOUT = ("environment", "scenario", "label")  # What a post may say of an episode, besides.
Mode = Literal["prepaid", "postpaid"]


@dataclass(frozen=True, slots=True)
class Account:
    """An account. `lab/alice` is below `lab`, but each pays from its own credit.

    Attributes:
        name: the path of the account.
        mode: a `prepaid` account stops when credit and overdraft are spent, a `postpaid` one never.
        overdraft: how far a prepaid account may go below 0 [microcredits].
    """

    name: str
    mode: Mode
    overdraft: int = 0


@dataclass(frozen=True, slots=True)
class Balance:
    """The balance of an account.

    Attributes:
        posted_micro: grants and refunds less posts and breakage [microcredits]; below 0 if the
            account owes.
        pending_micro: held by reservations [microcredits].
        available_micro: what can still be reserved [microcredits], for meter units that the grants
            pay; None means no limit.
    """

    posted_micro: int
    pending_micro: int
    available_micro: int | None


@dataclass(frozen=True, slots=True)
class Usage:
    """The work of an episode, to be posted.

    Attributes:
        id: the id of the post, 16 bytes; the same id is never charged twice.
        quantities: the work per meter unit.
        price_version: the version of the price schedule.
        evidence: the digest of the episode, 64 hex digits.
        run: the id of the run that the episode belongs to, or None.
        episode: the number of the episode in its run, or None.
        parent: the id of the run from which the episode was rendered, or None.
        about: what statements say of it, by the names of ABOUT; it identifies nothing.
        schedule: the price schedule; None is the one that this machine has.
    """

    id: bytes
    quantities: Mapping[str, int]
    price_version: str
    evidence: str
    run: str | None = None
    episode: int | None = None
    parent: str | None = None
    about: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    schedule: prices.PriceSchedule | None = None

    def charges(self) -> dict[str, int]:
        """Return the price of the work [microcredits per meter unit]."""
        return (self.schedule or prices.load(self.price_version)).charges(self.quantities)
