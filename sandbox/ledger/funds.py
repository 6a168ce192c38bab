"""The funds of a meter: an account charged episode by episode, or through a lease."""

from collections.abc import Callable, Mapping

from sandbox.ledger.account import Usage
from sandbox.ledger.book import Ledger
from sandbox.ledger.holder import Holder
from sandbox.ledger.transfer import Charges
from sandbox.meter import Receipt
from sandbox.prices import plus

SHARE = 4  # An environment takes at most a quarter of the credit that is free, at a time.


class AccountFunds:
    """An account of a ledger, with a reservation and a post for each episode.

    Args:
        ledger: the ledger.
        account: the account that pays.
        about: what statements say of the episodes; see `account.ABOUT`.

    Attributes:
        ledger, account: as given.
        limited: whether it can pay no more than it has.
    """

    def __init__(
        self, ledger: Ledger, account: str, about: Mapping[str, str | None] | None = None
    ) -> None:
        self._about = about or {}
        self.limited = ledger.account(account).mode == "prepaid"
        self.ledger, self.account = ledger, account
        self._episode = b""

    def available(self) -> int | None:
        """Return how much can be reserved [microcredits]; None means no limit."""
        return self.ledger.balance(self.account).available_micro

    def lack(self, charges: Charges) -> int:
        """Return how much is missing to reserve some charges [microcredits per meter unit]."""
        return self.ledger.shortfall(self.account, charges)

    def posted(self) -> int | None:
        """Return what can be paid, of which some may be held [microcredits]; None: no limit."""
        found = self.ledger.balance(self.account)
        return (
            None if found.available_micro is None else found.available_micro + found.pending_micro
        )

    def reserve(
        self, episode_id: bytes, first: Charges, more: Charges, times: int, version: str
    ) -> int:
        """Reserve `first` and, as many times as possible, `more`; see `meter.Funds.reserve`.

        The first reservation of an episode releases what a killed process held for it.
        """
        if not self.limited:
            return times
        if episode_id != self._episode:
            self.ledger.void(self.account, episode_id)
            self._episode = episode_id
        return self.ledger.reserve(
            self.account, episode_id, first, more, times, price_version=version, share=SHARE
        )

    def finish(
        self, episode_id: bytes, evidence: str, quantities: Mapping[str, int], version: str
    ) -> Receipt:
        """Post the work of an episode once, and release what else it holds."""
        usage = Usage(episode_id, quantities, version, evidence, about=self._about)
        return self.ledger.post(self.account, [usage], episode_id)[0]

    def void(self, episode_id: bytes) -> None:
        """Release everything that an episode holds."""
        if self.limited:
            self.ledger.void(self.account, episode_id)

    def close(self) -> None:
        """Close the ledger's file; whoever uses the ledger next opens it again."""
        self.ledger.close()


class Lease:
    """Credit held for a run, which pays for its episodes; posts are booked in batches.

    If the process dies, recovering the run posts the episodes that are in its shards and not yet
    posted, and releases what is held.

    Args:
        ledger: the ledger.
        account: the account that pays.
        name: the name of the lease, 16 bytes.
        run: the id of the run.
        episodes: how many episodes to reserve for at once at most, if there is credit.
        batch: how many episodes to post at once.

    Attributes:
        to_come: how many episodes are still to be generated; no more are reserved for.
        before: called before posts are booked; the run commits its held-back episodes here, so
            that they are posted too.
        may_release: called where nothing more can be reserved: whether all that is held may be
            released. Not where an episode was made that is not kept yet: another could take it.
    """

    to_come = 2**31

    def __init__(
        self, ledger: Ledger, account: str, name: bytes, run: str, episodes: int, batch: int
    ) -> None:
        self.limited = ledger.account(account).mode == "prepaid"
        self._ledger, self.account, self._run = ledger, account, run
        self._name, self._size, self._batch = name, episodes, batch
        self._portion = 1  # Episodes to reserve for next; it doubles up to `episodes`.
        self._left = 0  # How many more episodes that cost `_whole` are reserved.
        self._whole: Charges = {}
        self._waiting: list[Usage] = []
        self.before: Callable[[], None] = lambda: None
        self.may_release: Callable[[], bool] = lambda: True

    def available(self) -> int | None:
        """Return how much can be reserved [microcredits]; None means no limit."""
        return self._ledger.balance(self.account).available_micro

    def lack(self, charges: Charges) -> int:
        """Return how much is missing to reserve some charges [microcredits per meter unit]."""
        return self._ledger.shortfall(self.account, charges)

    def posted(self) -> int | None:
        """Return None: the balance is not shown in every step."""
        return None

    def reserve(
        self, episode_id: bytes, first: Charges, more: Charges, times: int, version: str
    ) -> int:
        """Reserve a whole episode; return `times`, or -1 if the account cannot pay it."""
        if not self.limited:
            return times
        whole = plus(first, more, times)
        if not self._left or whole != self._whole:
            held = self._hold(whole, version)
            if held < 0 and self.may_release():
                self.flush(close=True)  # Posting releases what earlier episodes did not use.
                held = self._hold(whole, version)
            if held < 0:
                return -1
            self._left, self._whole = held + 1, whole
        self._left -= 1
        self.to_come -= 1
        return times

    def _hold(self, whole: Charges, version: str) -> int:
        """Reserve one episode and more if possible; return how many more, -1 if not even one."""
        held = self._ledger.reserve(
            self.account,
            self._name,
            first=whole,
            more=whole,
            times=max(1, min(self._portion, self.to_come)) - 1,
            price_version=version,
            run=self._run,
            holder=Holder.starter(),  # It posts what a worker leaves.
        )
        self._portion = min(2 * self._portion, self._size)
        return held

    def finish(
        self, episode_id: bytes, evidence: str, quantities: Mapping[str, int], version: str
    ) -> Receipt | None:
        """Do nothing: `post` charges the episode once it is kept."""

    def post(self, usage: Usage) -> list[Receipt]:
        """Add an episode to the batch; if it is full, post it and return the receipts."""
        self._waiting.append(usage)
        return self.flush() if len(self._waiting) >= self._batch else []

    def void(self, episode_id: bytes) -> None:
        """Charge nothing for an episode; its reservation serves the next one."""
        self._left += self.limited
        self.to_come += self.limited

    def close(self) -> None:
        """Do nothing: the run that holds the lease goes on with its ledger."""

    def flush(self, *, close: bool = False) -> list[Receipt]:
        """Post the waiting episodes; with `close`, release what is held."""
        self.before()
        waiting, self._waiting = self._waiting, []
        if close:
            self._left = 0
        if not waiting and not (close and self.limited):
            return []
        lease = self._name if self.limited else None
        return self._ledger.post(self.account, waiting, lease, keep=not close)
