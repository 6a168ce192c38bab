"""An account of the book as a meter sees it: episode by episode, or by lease."""

from collections.abc import Callable, Mapping

from sandbox.ledger.account import Usage
from sandbox.ledger.book import Ledger
from sandbox.ledger.transfer import Charges
from sandbox.meter import Receipt
from sandbox.prices import plus


class AccountFunds:
    """One account of a book, as a meter sees it: a reservation and a post for each episode."""

    def __init__(self, ledger: Ledger, account: str) -> None:
        self.limited = ledger.account(account).mode == "prepaid"
        self._ledger, self.account = ledger, account
        self._episode = b""

    def available(self) -> int | None:
        """Return what could be reserved [microcredits]; None is without limit."""
        return self._ledger.balance(self.account).available_micro

    def posted(self) -> int | None:
        """Return what grants less posts leave [microcredits]; None is without limit."""
        return self._ledger.balance(self.account).posted_micro if self.limited else None

    def reserve(
        self, episode_id: bytes, first: Charges, more: Charges, times: int, version: str
    ) -> int:
        """Hold back `first`, and `more` as often as can be up to `times`; -1 if not even `first`.

        The first hold of an episode gives back what a killed process held for it.
        """
        if not self.limited:
            return times
        if episode_id != self._episode:
            self._ledger.void(self.account, episode_id)
            self._episode = episode_id
        return self._ledger.reserve(
            self.account, episode_id, first, more, times, price_version=version
        )

    def finish(
        self, episode_id: bytes, evidence: str, quantities: Mapping[str, int], version: str
    ) -> Receipt:
        """Post the work once and give back what else this episode holds."""
        usage = Usage(episode_id, quantities, version, evidence)
        return self._ledger.post(self.account, [usage], episode_id)[0]

    def void(self, episode_id: bytes) -> None:
        """Give back all that this episode holds."""
        if self.limited:
            self._ledger.void(self.account, episode_id)


class Lease:
    """Credit held for a run, from which its episodes are paid; posts go to the book in batches.

    What is kept but not posted when the process dies is posted by whoever recovers the run, from
    the records in its shards; what is held is given back then.

    Args:
        ledger: the book.
        account: who pays.
        name: 16 bytes; under which credit is held.
        run: what it is for.
        episodes: how many episodes to reserve for at once, if there is credit for them.
        batch: after how many episodes to post.

    Attributes:
        to_come: how many episodes there will be; no more is reserved for.
        before: called first when the book is written to, so that what is held back is kept, and
            posted too.
    """

    to_come = 2**31

    def __init__(
        self, ledger: Ledger, account: str, name: bytes, run: str, episodes: int, batch: int
    ) -> None:
        self.limited = ledger.account(account).mode == "prepaid"
        self._ledger, self.account, self._run = ledger, account, run
        self._name, self._size, self._batch = name, episodes, batch
        self._left = 0  # Episodes of this bound that may begin on what is held:
        self._whole: Charges = {}
        self._waiting: list[Usage] = []
        self.before: Callable[[], None] = lambda: None

    def available(self) -> int | None:
        """Return what could be reserved [microcredits]; None is without limit."""
        return self._ledger.balance(self.account).available_micro

    def posted(self) -> int | None:
        """Return None: what a lease pays is looked up in the book, not in every step."""
        return None

    def reserve(
        self, episode_id: bytes, first: Charges, more: Charges, times: int, version: str
    ) -> int:
        """Hold back a whole episode; -1 if that is not there."""
        if not self.limited:
            return times
        whole = plus(first, more, times)
        if not self._left or whole != self._whole:
            held = self._hold(whole, version)
            if held < 0:
                self.flush(close=True)  # What the episodes before have left may be enough.
                held = self._hold(whole, version)
            if held < 0:
                return -1
            self._left, self._whole = held + 1, whole
        self._left -= 1
        self.to_come -= 1
        return times

    def _hold(self, whole: Charges, version: str) -> int:
        return self._ledger.reserve(
            self.account,
            self._name,
            first=whole,
            more=whole,
            times=max(1, min(self._size, self.to_come)) - 1,
            price_version=version,
            run=self._run,
        )

    def finish(
        self, episode_id: bytes, evidence: str, quantities: Mapping[str, int], version: str
    ) -> Receipt | None:
        """Do nothing: whoever keeps the episode posts it."""

    def post(self, usage: Usage) -> list[Receipt]:
        """Post an episode that is kept, in the next batch at the latest; return what was posted."""
        self._waiting.append(usage)
        return self.flush() if len(self._waiting) >= self._batch else []

    def void(self, episode_id: bytes) -> None:
        """Charge nothing for an episode; what was held for it is held for the next one."""
        self._left += self.limited
        self.to_come += self.limited

    def flush(self, *, close: bool = False) -> list[Receipt]:
        """Post what waits, and give back what is held if nothing more comes."""
        self.before()
        waiting, self._waiting = self._waiting, []
        if close:
            self._left = 0
        if not waiting and not (close and self.limited):
            return []
        lease = self._name if self.limited else None
        return self._ledger.post(self.account, waiting, lease, keep=not close)
