"""An account's view from one process: a charge that cannot be paid changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sandbox.errors import BudgetExhaustedError, InvalidInputError
from sandbox.prices import UNITS, PriceSchedule, credits, plus

UNLIMITED = 2**63 - 1  # Microcredits; what a balance says where nothing limits it.


@dataclass(frozen=True, eq=False, slots=True)
class Cost:
    """Some work and what it costs; made once, charged often.

    Attributes:
        quantities: work per meter unit.
        charges: microcredits per meter unit.
        amount: microcredits in all.
    """

    quantities: Mapping[str, int]
    charges: Mapping[str, int]
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
    limited: bool

    def available(self) -> int | None:
        """Return what could be reserved [microcredits]; None is without limit."""
        ...

    def posted(self) -> int | None:
        """Return what grants less posts leave [microcredits]; None is without limit."""
        ...

    def reserve(
        self,
        episode_id: bytes,
        first: Mapping[str, int],
        more: Mapping[str, int],
        times: int,
        version: str,
    ) -> int:
        """Hold back `first`, and `more` as often as can be up to `times` [microcredits per unit].

        Returns:
            How often `more` is held; -1 if not even `first` is.
        """
        ...

    def finish(
        self, episode_id: bytes, evidence: str, quantities: Mapping[str, int], version: str
    ) -> Receipt | None:
        """Post the work once and give back what else this episode holds."""
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
        self.schedule, self.funds, self._budget = schedule, funds, budget
        self._settled = 0  # Of the budget, in episodes before this one.
        self._posted: int | None = None  # When last looked up.
        self._spent = 0
        self._limit: float = 0  # What this episode may spend before asking again.
        self._held: dict[str, int] = {}  # Microcredits per meter unit.
        self._step, self._bound = self.price({}), 0
        self._tally: dict[Cost, int] = {}
        self._episode: bytes | None = None

    def price(self, quantities: Mapping[str, int]) -> Cost:
        """Return what some work costs under this meter's schedule."""
        charges = self.schedule.charges(quantities)
        return Cost(dict(quantities), charges, sum(charges.values()))

    def open(
        self, first: Cost, step: Cost, steps: int, episode_id: bytes, at_least: int = 1
    ) -> None:
        """Begin an episode that may cost `first` and up to `steps` times `step`.

        Args:
            first: of its beginning.
            step: of each step.
            steps: of the longest.
            episode_id: 16 bytes, of its post.
            at_least: of how many steps to be sure, or not to begin.

        Raises:
            BudgetExhaustedError: there is not even that. Nothing was done.
        """
        assert self._episode is None, "settle or void the episode before"
        least, left = first.amount + at_least * step.amount, self._budget_left()
        if left is not None and left < least:
            raise BudgetExhaustedError(
                f"An episode costs at least {credits(least)} credits but the budget has "
                f"{credits(left)} left. Nothing was done. Raise it with meter.top_up(), or make "
                "the environment with a larger budget."
            )
        self._held, self._spent, self._tally = {}, 0, {}
        self._step, self._bound = step, first.amount + steps * step.amount
        if self.funds is not None:
            sure = plus(first.charges, step.charges, at_least)
            if not self._hold(episode_id, sure, least):
                raise self._poor(least, "An episode")
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
        if spent > self._limit and not self._extend(cost):
            raise self._poor(cost.amount, "This")
        self._spent = spent
        tally = self._tally
        tally[cost] = tally.get(cost, 0) + 1
        return cost.amount

    def charge_extra(self, cost: Cost) -> int:
        """Pay for work that was not planned when the episode began; else as `charge`."""
        if self.funds is not None and self.funds.limited and not self._extend(cost):
            raise self._poor(cost.amount, "This")
        return self.charge(cost)

    def affords(self, cost: Cost) -> bool:
        """Whether this cost could be charged now."""
        return self._spent + cost.amount <= self._limit or self._extend(cost)

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
            found = plus(found, cost.quantities, times)
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
        if self.funds is not None:
            receipt = self.funds.finish(
                self._episode, evidence, self.quantities, self.schedule.version
            )
        self._end(self._spent)
        return receipt

    def void(self) -> None:
        """Charge nothing for the episode, for its work is thrown away; end it."""
        if self._episode is None:
            return
        if self.funds is not None:
            self.funds.void(self._episode)
        self._end(0)

    def _end(self, spent: int) -> None:
        """End the episode and forget what it counted; `total` keeps what was paid."""
        self._settled += spent
        self._episode, self._held, self._limit = None, {}, 0
        if self._posted is not None:
            self._posted -= spent
        self._tally, self._spent = {}, 0

    def _budget_left(self) -> int | None:
        return None if self._budget is None else self._budget - self._settled - self._spent

    def _set_limit(self) -> None:
        if self._episode is None:
            return
        limits: list[float] = [float("inf")]
        if self.funds is not None and self.funds.limited:
            limits = [sum(self._held.values())]
        if self._budget is not None:
            limits.append(self._budget - self._settled)
        self._limit = min(limits)

    def _extend(self, cost: Cost) -> bool:
        """Try to hold what this cost needs more, and at best the rest of the episode."""
        if self._episode is None or self.funds is None or not self.funds.limited:
            return False
        left = self._budget_left()
        if left is not None and left < cost.amount:
            return False
        wanted: Mapping[str, int] = cost.charges
        for spent, times in self._tally.items():
            wanted = plus(wanted, spent.charges, times)
        need = {u: n - self._held.get(u, 0) for u, n in wanted.items()}
        need = {u: n for u, n in need.items() if n > 0}
        if need and not self._hold(self._episode, need, cost.amount):
            return False
        self._set_limit()
        return self._spent + cost.amount <= self._limit

    def _hold(self, episode_id: bytes, sure: Mapping[str, int], amount: int) -> bool:
        """Hold `sure`, and as many of the steps that are not held as account and budget pay."""
        assert self.funds is not None, "checked by whoever calls"
        left, version = self._budget_left(), self.schedule.version
        more = self._bound - sum(self._held.values()) - sum(sure.values())
        more = more if left is None else min(more, left - amount)
        times = max(0, more // self._step.amount) if self._step.amount else 0
        held = self.funds.reserve(episode_id, sure, self._step.charges, times, version)
        if held < 0:
            return False
        self._held = plus(plus(self._held, sure), self._step.charges, held)
        self._posted = self.funds.posted()
        return True

    def _poor(self, amount: int, what: str) -> BudgetExhaustedError:
        left = self._budget_left()
        if left is not None and left < amount:
            has, heal = f"the budget has {credits(left)} left", "meter.top_up() or a larger budget"
        elif self.funds is not None:
            available = (self.funds.available() or 0) + sum(self._held.values()) - self._spent
            has = f"the account {self.funds.account!r} has {credits(available)}"
            heal = f"`sandbox ledger grant {self.funds.account} CREDITS`"
        else:
            has, heal = "no episode is open", "reset()"
        return BudgetExhaustedError(
            f"{what} costs {credits(amount)} credits but {has}. Nothing was done. It works again "
            f"after {heal}."
        )
