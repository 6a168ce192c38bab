"""Credit that is held for what a replayed episode adds to what was paid before."""

from collections.abc import Mapping

from sandbox import prices
from sandbox.errors import BudgetExhaustedError
from sandbox.ledger import Lease
from sandbox.prices import PriceSchedule


class Holding:
    """Holds credit of a lease for one episode at a time; the run posts it.

    Args:
        what: what is paid for, in the plural, such as "pictures".
        lease: pays; None pays for nothing.
        schedule: the prices.
    """

    def __init__(self, what: str, lease: Lease | None, schedule: PriceSchedule) -> None:
        self._what, self._lease, self._schedule = what, lease, schedule
        self._held = False

    def hold(self, index: int, work: Mapping[str, int]) -> None:
        """Reserve what episode `index` may add.

        Raises:
            BudgetExhaustedError: it cannot be paid. Nothing was done.
        """
        if self._lease is None:
            return
        charges = self._schedule.charges(work)
        if self._lease.reserve(b"", charges, {}, 0, self._schedule.version) < 0:
            raise BudgetExhaustedError(
                f"the {self._what} of episode {index} cost up to "
                f"{prices.credits(sum(charges.values()))} credits but the account "
                f"{self._lease.account!r} has not as much. Nothing was done. Grant credits with "
                f"`sandbox ledger grant {self._lease.account} CREDITS`."
            )
        self._held = True

    def kept(self) -> None:
        """Note that the run posts the episode."""
        self._held = False

    def close(self) -> None:
        """Release what is held for an episode that was not kept."""
        if self._held and self._lease is not None:
            self._lease.void(b"")
