"""One transfer: what it moves, and what makes it the same transfer."""

import hashlib
from dataclasses import dataclass

from sandbox.errors import InvalidInputError

LARGEST = 2**62  # Microcredits; of one transfer.


def charge_id(run: str, episode: int, parent: str | None = None) -> bytes:
    """Return the id of an episode's post, 16 bytes: SHA-256 of "charge/v1", run, episode.

    For an episode rendered from another run: of "render/v1", run, parent, episode. The parts are
    joined by line feeds; no others join to the same text, for the last part is a number.
    """
    if parent is not None:
        return named("render/v1", run, parent, str(episode))
    return named("charge/v1", run, str(episode))


def named(*parts: str) -> bytes:
    """Return the 16 bytes that name something, always the same for the same parts."""
    return hashlib.sha256("\n".join(parts).encode()).digest()[:16]


def checked_id(id: bytes) -> bytes:
    """Return an id; InvalidInputError if it has not 16 bytes."""
    if type(id) is not bytes or len(id) != 16:
        raise InvalidInputError(f"{id!r} is no id of a transfer; give 16 bytes.")
    return id


def check_amount(what: str, amount: int, least: int = 0) -> None:
    """Refuse an amount that is no whole number from `least` to LARGEST [microcredits]."""
    if type(amount) is not int or not least <= amount <= LARGEST:
        raise InvalidInputError(
            f"{what} of {amount!r} microcredits cannot be booked; give {least} to {LARGEST:,}."
        )


@dataclass(frozen=True, slots=True)
class Move:
    """A transfer to book; all but `expires` is what makes it the same transfer."""

    id: bytes
    kind: str
    debit: str
    credit: str
    amount: int
    episode: bytes | None = None
    resolves: int | None = None
    evidence: str | None = None
    quantities: str | None = None
    price_version: str | None = None
    expires: int | None = None


COLUMNS = (
    *("id", "kind", "debit", "credit", "amount", "episode", "resolves"),
    *("evidence", "quantities", "price_version"),
)


def effect(account: str, kind: str, debit: str, credit: str, amount: int) -> tuple[int, int]:
    """Return what a transfer does to an account's posted and pending balances [microcredits]."""
    sign = (account == credit) - (account == debit)
    if kind in ("grant", "post"):
        return sign * amount, 0
    return 0, (-sign if kind == "reserve" else sign) * amount
