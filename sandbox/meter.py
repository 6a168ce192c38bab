"""An account's view from one process: a charge that cannot be paid changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sandbox.errors import BudgetExhaustedError, InvalidInputError
from sandbox.prices import UNITS, PriceSchedule, credits

UNLIMITED = 2**63 - 1  # Microcredits; what a balance says where nothing limits it.


@dataclass(frozen=True, eq=False, slots=True)
class Cost:
    """Some work and what it costs; made once, charged often.

    Attributes:
        quantities: work per meter unit.
        amount: microcredits.
    """

    quantities: Mapping[str, int]
    amount: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What posting a charge did.

    Attributes:
        id: the post's, 16 bytes.
        amount: microcredits.
        exists: it was on the book already; nothing was charged again.
    """

    id: bytes
    amount: int
    exists: bool


class Funds(Protocol):
    """Where the meter's money comes from: one account of a book."""

    account: str

    def available(self) -> int | None:
        """Return what could be reserved [microcredits]; None is without limit."""
        ...

    def posted(self) -> int | None:
        """Return what grants less posts leave [microcredits]; None is without limit."""
        ...

    def reserve(self, episode_id: bytes, at_least: int, at_most: int) -> int:
        """Hold back between `at_least` and `at_most`; return how much, 0 if that is not there."""
        ...

    def settle(
        self,
        episode_id: bytes,
        amount: int,
        evidence: str,
        quantities: Mapping[str, int],
        version: str,
    ) -> Receipt:
        """Post `amount` once and give back what else this episode holds."""
        ...

    def void(self, episode_id: bytes) -> None:
        """Give back all that this episode holds."""
        ...


class Meter:
    """Counts work and pays for it, before it is done.

    Args:
        schedule: the prices.
        funds: the account that pays; None counts work without paying.
        budget: the most that this meter may spend in its life [microcredits]; None is no limit.
    """

    def __init__(
        self, schedule: PriceSchedule, funds: Funds | None = None, budget: int | None = None
    ) -> None:
        self.schedule, self._funds, self._budget = schedule, funds, budget
        self._settled = 0  # Of the budget, in episodes before this one.
        self._posted: int | None = None  # When last looked up.
        self._spent = 0
        self._limit: float = 0  # What this episode may spend before asking again.
        self._held = self._bound = 0
        self._tally: dict[Cost, int] = {}
        self._episode: bytes | None = None

    def price(self, quantities: Mapping[str, int]) -> Cost:
        """Return what some work costs under this meter's schedule."""
        return Cost(dict(quantities), self.schedule.cost(quantities))

    def open(self, bound: int, at_least: int, episode_id: bytes) -> None:
        """Begin an episode that may cost up to `bound` [microcredits].

        Raises:
            BudgetExhaustedError: there is not even `at_least`. Nothing was done.
        """
        assert self._episode is None, "settle or void the episode before"
        left = self._budget_left()
        if left is not None and left < at_least:
            raise BudgetExhaustedError(
                f"An episode costs at least {credits(at_least)} credits but the budget has "
                f"{credits(left)} left. Nothing was done. Raise it with meter.top_up(), or make "
                "the environment with a larger budget."
            )
        held = 0
        if self._funds is not None:
            bound = max(bound, at_least)
            at_most = bound if left is None else min(bound, left)
            held = self._funds.reserve(episode_id, at_least, at_most)
            if held < at_least:
                raise self._poor(at_least, "An episode")
            self._posted = self._funds.posted()
        self._held, self._bound, self._spent, self._tally = held, bound, 0, {}
        self._episode = episode_id
        self._set_limit()

    @property
    def is_open(self) -> bool:
        """Whether an episode is under way."""
        return self._episode is not None

    def charge(self, cost: Cost) -> int:
        """Pay for work that is about to be done and return what it cost [microcredits].

        Raises:
            BudgetExhaustedError: it cannot be paid. Nothing was charged; after a top-up it can be.
        """
        spent = self._spent + cost.amount
        if spent > self._limit and not self._extend(spent):
            raise self._poor(cost.amount, "This")
        self._spent = spent
        tally = self._tally
        tally[cost] = tally.get(cost, 0) + 1
        return cost.amount

    def affords(self, cost: Cost) -> bool:
        """Whether this cost could be charged now."""
        wanted = self._spent + cost.amount
        return wanted <= self._limit or self._extend(wanted)

    def top_up(self, amount: int) -> None:
        """Raise the budget by `amount` [microcredits], 0 or more."""
        if type(amount) is not int or amount < 0:
            raise InvalidInputError(f"a top-up of {amount!r} microcredits: give 0 or more.")
        if self._budget is not None:
            self._budget += amount
            self._set_limit()

    @property
    def spent(self) -> int:
        """What this episode cost so far [microcredits]."""
        return self._spent

    @property
    def total(self) -> int:
        """What all the episodes of this meter cost, this one included [microcredits]."""
        return self._settled + self._spent

    @property
    def quantities(self) -> dict[str, int]:
        """The work of this episode per meter unit."""
        found: dict[str, int] = dict.fromkeys(UNITS, 0)
        for cost, times in self._tally.items():
            for unit, quantity in cost.quantities.items():
                found[unit] += quantity * times
        return found

    @property
    def remaining(self) -> int:
        """What this episode may still spend [microcredits]; UNLIMITED without a limit."""
        return UNLIMITED if self._limit == float("inf") else int(self._limit) - self._spent

    @property
    def balance(self) -> int:
        """What account and budget can still pay [microcredits]; UNLIMITED without a limit."""
        if self._posted is None and self._budget is None:  # In every step's info: be quick.
            return UNLIMITED
        left = self._budget_left()
        account = None if self._posted is None else self._posted - self._spent
        return min(UNLIMITED if n is None else n for n in (left, account))

    def settle(self, evidence: str) -> Receipt | None:
        """Post what the episode cost, with the digest of what was done; end the episode."""
        if self._episode is None:
            return None
        receipt = None
        if self._funds is not None:
            receipt = self._funds.settle(
                self._episode, self._spent, evidence, self.quantities, self.schedule.version
            )
        self._end(self._spent)
        return receipt

    def void(self) -> None:
        """Charge nothing for the episode, for its work is thrown away; end it."""
        if self._episode is None:
            return
        if self._funds is not None:
            self._funds.void(self._episode)
        self._end(0)

    def _end(self, spent: int) -> None:
        """End the episode and forget what it counted; `total` keeps what was paid."""
        self._settled += spent
        self._episode, self._held, self._limit = None, 0, 0
        if self._posted is not None:
            self._posted -= spent
        self._tally, self._spent = {}, 0

    def _budget_left(self) -> int | None:
        return None if self._budget is None else self._budget - self._settled - self._spent

    def _set_limit(self) -> None:
        if self._episode is None:
            return
        limits: list[float] = [float("inf")]
        if self._funds is not None:
            limits = [self._held]
        if self._budget is not None:
            limits.append(self._budget - self._settled)
        self._limit = min(limits)

    def _extend(self, wanted: int) -> bool:
        """Try to hold enough for spending `wanted` in this episode; at best for all of it."""
        if self._episode is None or self._funds is None or wanted <= self._held:
            return False
        most = max(wanted, self._bound)
        if self._budget is not None:
            most = min(most, self._budget - self._settled)
        if wanted > most:
            return False
        held = self._held
        self._held += self._funds.reserve(self._episode, wanted - held, most - held)
        self._posted = self._funds.posted()
        self._set_limit()
        return wanted <= self._limit

    def _poor(self, amount: int, what: str) -> BudgetExhaustedError:
        left = self._budget_left()
        if left is not None and left < amount:
            has, heal = f"the budget has {credits(left)} left", "meter.top_up() or a larger budget"
        elif self._funds is not None:
            available = (self._funds.available() or 0) + self._held - self._spent
            has = f"the account {self._funds.account!r} has {credits(available)}"
            heal = f"`sandbox ledger grant {self._funds.account} CREDITS`"
        else:
            has, heal = "no episode is open", "reset()"
        return BudgetExhaustedError(
            f"{what} costs {credits(amount)} credits but {has}. Nothing was done. It works again "
            f"after {heal}."
        )
