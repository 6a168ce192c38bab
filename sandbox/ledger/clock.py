"""The time of a ledger, which never runs backwards."""

from collections.abc import Callable

from sandbox.errors import LedgerError
from sandbox.ledger import rules
from sandbox.ledger.pages import Pages

SKEW_MS = 60_000  # How far the clock may be behind the last transfer, whose time is then used.
Clock = Callable[[], float]  # Returns the time [s since 1970].


def seen(pages: Pages, clock: Clock | None) -> int:
    """Return the ledger's time [ms since 1970]: that of the clock, or of the last transfer.

    Args:
        pages: the pages of the transaction.
        clock: what says the time; None is the clock of the database.

    Raises:
        LedgerError: what it says cannot be written.
    """
    return max(_now(pages, clock), pages.seen()[2])


def booking(pages: Pages, clock: Clock | None) -> int:
    """Return the ledger's time for what is booked; see `seen`.

    Raises:
        LedgerError: the clock is behind the last transfer, or what it says cannot be written.
    """
    now, last = _now(pages, clock), pages.seen()[2]
    if now < last - SKEW_MS:
        raise LedgerError(
            f"the clock says {rules.when(now)} but the last transfer was booked at "
            f"{rules.when(last)}. Nothing was booked. Set the clock."
        )
    return max(now, last)


def _now(pages: Pages, clock: Clock | None) -> int:
    seconds = pages.now() if clock is None else clock()
    if not 0 <= seconds < rules.LATEST_S:
        raise LedgerError(
            f"the clock says {seconds!r} s since 1970, which is no time before "
            f"{rules.LATEST}. Nothing was booked. Set the clock."
        )
    return int(seconds * 1000)
