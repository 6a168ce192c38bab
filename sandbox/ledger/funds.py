"""An account of the book as a meter sees it."""

from collections.abc import Mapping

from sandbox.ledger.book import Ledger
from sandbox.meter import Receipt


class AccountFunds:
    """One account of a book, as a meter sees it."""

    def __init__(self, ledger: Ledger, account: str) -> None:
        ledger.account(account)
        self._ledger, self.account = ledger, account
        self._episode = b""

    def available(self) -> int | None:
        """Return what could be reserved [microcredits]; None is without limit."""
        return self._ledger.balance(self.account).available_micro

    def posted(self) -> int | None:
        """Return what grants less posts leave [microcredits]; None is without limit."""
        found = self._ledger.balance(self.account)
        return None if found.available_micro is None else found.posted_micro

    def reserve(self, episode_id: bytes, at_least: int, at_most: int) -> int:
        """Hold back between `at_least` and `at_most` and return how much; 0 if that is not there.

        The first hold of an episode gives back what a killed process held for it.
        """
        if episode_id != self._episode:
            self._ledger.void(self.account, episode_id)
            self._episode = episode_id
        return self._ledger.reserve(self.account, episode_id, at_least, at_most)

    def settle(
        self,
        episode_id: bytes,
        amount: int,
        evidence: str,
        quantities: Mapping[str, int],
        version: str,
    ) -> Receipt:
        """Post `amount` once and give back what else this episode holds."""
        return self._ledger.settle(self.account, episode_id, amount, evidence, quantities, version)

    def void(self, episode_id: bytes) -> None:
        """Give back all that this episode holds."""
        self._ledger.void(self.account, episode_id)
