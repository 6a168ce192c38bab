"""Pays for work piece by piece: credit is held before a piece, and its work is posted after it."""

import hashlib
from collections.abc import Mapping
from typing import Any

from sandbox import prices
from sandbox.errors import BudgetExhaustedError
from sandbox.ledger import Ledger, Usage
from sandbox.prices import PriceSchedule, credits


class Till:
    """Who pays, and how much may be spent.

    Args:
        schedule: the prices.
        account: the account that pays; None pays for nothing.
        budget: the most that may be spent [credits]; None sets no limit.
        ledger: where the account is; None is this machine's ledger.
        about: what statements say of the charges.
        option: the option that raises the budget.
        kept: what becomes of what was done, when it cannot go on.
        piece: what messages call a piece of the work.

    Attributes:
        spent: what was posted, or would have been [microcredits].
    """

    def __init__(
        self,
        schedule: PriceSchedule,
        account: str | None,
        budget: str | int | float | None,
        ledger: Ledger | None,
        about: Mapping[str, str | None],
        option: str = "--budget",
        kept: str = "what is done is kept",
        piece: str = "a try",
    ) -> None:
        self._option, self._kept, self._piece = option, kept, piece
        self._schedule, self._account, self._about = schedule, account, about
        self._ledger = None if account is None else ledger or Ledger()
        self._budget = None if budget is None else prices.micro(budget)
        limited = self._ledger is not None and account is not None
        self._prepaid = limited and self._ledger.account(account).mode == "prepaid"  # type: ignore
        self._held: dict[bytes, int] = {}
        self.spent = 0

    def hold(self, name: bytes, most: Mapping[str, int]) -> None:
        """Hold what some work costs at most, before it is done.

        Raises:
            BudgetExhaustedError: account or budget cannot pay it. Nothing was held.
        """
        charges = self._schedule.charges(self._schedule.metered(most))
        amount = sum(charges.values())
        if self._budget is not None:
            left = self._budget - self.spent - sum(self._held.values())
            if left < amount:
                raise BudgetExhaustedError(
                    f"{self._piece} costs at most {credits(amount)} credits but the budget has "
                    f"{credits(max(0, left))} left. Raise {self._option}; {self._kept}."
                )
        if self._prepaid:
            assert self._ledger is not None
            assert self._account is not None
            self._ledger.void(self._account, name)  # What a killed process held for it.
            version = self._schedule.version
            if self._ledger.reserve(self._account, name, charges, price_version=version) < 0:
                raise BudgetExhaustedError(
                    f"{self._piece} costs at most {credits(amount)} credits, which the account "
                    f"{self._account!r} does not have; {self._kept}. Grant more with "
                    f"`sandbox ledger grant {self._account} CREDITS`, and run the command again."
                )
        self._held[name] = amount

    def post(self, name: bytes, work: Mapping[str, int], evidence: str) -> None:
        """Post work that was done, once, and release what else was held for it."""
        known = self._schedule.metered(work)
        self.spent += sum(self._schedule.charges(known).values())
        self._held.pop(name, None)
        if self._ledger is not None and self._account is not None:
            version = self._schedule.version
            usage = Usage(name, known, version, evidence, about=self._about)
            self._ledger.post(self._account, [usage], name)

    def release(self) -> None:
        """Release what is still held."""
        for name in [*self._held]:
            del self._held[name]
            if self._prepaid and self._ledger is not None and self._account is not None:
                self._ledger.void(self._account, name)

    def close(self) -> None:
        """Release what is held, and close the ledger's file."""
        self.release()
        if self._ledger is not None:
            self._ledger.close()


def named(*parts: Any) -> bytes:
    """Return the name of a charge, 16 bytes, which follows from what it is for."""
    return hashlib.sha256(repr(parts).encode()).digest()[:16]
