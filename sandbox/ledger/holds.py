"""Credit that is held: by whom, since when, and releasing what nobody will use."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sandbox.ledger import rules
from sandbox.ledger.book import Ledger
from sandbox.ledger.holder import Holder, State
from sandbox.ledger.pages import Pages
from sandbox.ledger.transfer import Booked


@dataclass(frozen=True)
class Hold:
    """Credit that is held under one lease.

    Attributes:
        account: the account that holds it.
        amount_micro: how much is held [microcredits].
        since: when it was held, or renewed last.
        run: id of the run that it is for; None for an interactive episode.
        holder: the process that holds it; None if the ledger does not say.
        state: whether that process lives; unknown on another machine.
        lease: the name of the lease, 16 bytes.
    """

    account: str
    amount_micro: int
    since: datetime
    run: str | None
    holder: Holder | None
    state: State
    lease: bytes


def holds(ledger: Ledger, account: str | None = None) -> list[Hold]:
    """Return the credit that is held, oldest first.

    Args:
        ledger: the ledger.
        account: the account, with those below it; None means all accounts.

    Raises:
        UnknownNameError: the account is not open.
    """
    names = _names(ledger, account)
    return ledger.reading(lambda pages, now: _by_lease(pages.open_holds(now, names)))


def release(ledger: Ledger, account: str | None = None, *, force: bool = False) -> list[Hold]:
    """Release what processes hold that have ended; return it.

    Args:
        ledger: the ledger.
        account: the account, with those below it; None means all accounts.
        force: release what others hold, too. They go on, and pay from what credit there is when
            they end.

    Raises:
        UnknownNameError: the account is not open.
    """
    names = _names(ledger, account)

    def work(pages: Pages, now: int) -> list[Hold]:
        found = pages.open_holds(now, names)
        wanted = [one for one in found if force or rules.state(one) == "dead"]
        rules.release(pages, wanted, now)
        return _by_lease(wanted)

    return ledger.turn(work)


def _names(ledger: Ledger, account: str | None) -> list[str]:
    if account is not None:
        ledger.account(account)
    return [one.name for one in ledger.accounts(account)]


def _by_lease(found: Sequence[Booked]) -> list[Hold]:
    groups: dict[tuple[str, bytes], list[Booked]] = {}
    for one in found:
        groups.setdefault((one.move.account, one.move.lease or b""), []).append(one)
    return [
        Hold(
            account=account,
            amount_micro=sum(one.move.amount for one in group),
            since=datetime.fromtimestamp(group[0].at / 1000, UTC),
            run=group[0].move.run,
            holder=Holder.parse(group[-1].move.facts.get("holder")),
            state=rules.state(group[-1]),
            lease=lease,
        )
        for (account, lease), group in groups.items()
    ]
