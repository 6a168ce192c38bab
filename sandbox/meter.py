"""The meter of one environment: it prices work, and charges an account before it is done."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sandbox.errors import BudgetExhaustedError, BudgetSpentError, InvalidInputError
from sandbox.prices import MOST_MICRO, PriceSchedule, credits, plus, schedules

PORTION = 16  # Steps for which credit is reserved at first; each further portion doubles.
UNLIMITED = 2**63 - 1  # Microcredits; the balance of what has no limit.


@dataclass(frozen=True, eq=False, slots=True)
class Cost:
    """An amount of work and its price; made once, charged often.

    Attributes:
        quantities: work per meter unit.
        charges: microcredits per meter unit.
        amount: the sum of `charges` [microcredits].
    """

    quantities: Mapping[str, int]
    charges: Mapping[str, int]
    amount: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """The result of booking a transfer.

    Attributes:
        id: the transfer's id, 16 bytes.
        amount: microcredits.
        exists: whether it had been booked before; then nothing was booked again.
    """

    id: bytes
    amount: int
    exists: bool


class Funds(Protocol):
    """The account that a meter charges."""

    account: str
    limited: bool

    def available(self) -> int | None:
        """Return how much can be reserved [microcredits]; None means no limit."""
        ...

    def lack(self, charges: Mapping[str, int]) -> int:
        """Return how much is missing to reserve some charges [microcredits per meter unit]."""
        ...

    def posted(self) -> int | None:
        """Return what can be paid, of which some may be held [microcredits]; None: no limit."""
        ...

    def reserve(
        self,
        episode_id: bytes,
        first: Mapping[str, int],
        more: Mapping[str, int],
        times: int,
        version: str,
    ) -> int:
        """Reserve `first` and, as many times as possible, `more` [microcredits per meter unit].

        Args:
            episode_id: 16 bytes.
            first: what must be reserved.
            more: what is reserved repeatedly, such as the price of a step.
            times: how many times at most.
            version: the price schedule's version.

        Returns:
            How many times `more` is reserved; -1 if not even `first` can be.
        """
        ...

    def finish(
        self, episode_id: bytes, evidence: str, quantities: Mapping[str, int], version: str
    ) -> Receipt | None:
        """Post the work of an episode once, and release what else is reserved for it."""
        ...

    def void(self, episode_id: bytes) -> None:
        """Release everything that is reserved for an episode."""
        ...

    def close(self) -> None:
        """Close what is open, such as files; another call opens it again."""
        ...


class Meter:
    """Count work and charge for it before it is done.

    Args:
        schedule: the prices.
        funds: the account that is charged; None counts work without charging it.
        budget: the most that this meter may ever spend [microcredits]; None means no limit.
    """

    def __init__(
        self, schedule: PriceSchedule, funds: Funds | None = None, budget: int | None = None
    ) -> None:
        self.schedule, self.funds, self._budget = schedule, funds, budget
        self._settled = 0  # Spent by the episodes before this one.
        self._posted: int | None = None  # The account's balance when it was last read.
        self._spent = 0
        self._limit = 0  # What this episode may spend before it must reserve more.
        self._held: dict[str, int] = {}  # Microcredits per meter unit.
        self._step, self._bound, self._portion = self.price({}), 0, PORTION
        self._tally: dict[Cost, int] = {}
        self._episode: bytes | None = None

    def price(self, quantities: Mapping[str, int]) -> Cost:
        """Return an amount of work with its price under this meter's schedule."""
        known = {unit: n for unit, n in self.schedule.metered(quantities).items() if n}
        charges = self.schedule.charges(known)
        return Cost(known, charges, sum(charges.values()))

    def open(
        self, first: Cost, step: Cost, steps: int, episode_id: bytes, at_least: int = 1
    ) -> None:
        """Begin an episode that costs `first` and then `step` up to `steps` times.

        Args:
            first: the cost of the reset.
            step: the cost of each step.
            steps: how many steps the episode may have.
            episode_id: the id of the post that will charge it, 16 bytes.
            at_least: how many steps must be affordable for the episode to begin.

        Raises:
            BudgetExhaustedError: the reset and `at_least` steps cannot be paid. Nothing was done.
            InvalidInputError: it may cost more than can be booked. Nothing was done.
        """
        assert self._episode is None, "settle or void the episode before"
        least, left = first.amount + at_least * step.amount, self.left
        if first.amount + steps * step.amount > MOST_MICRO:
            raise InvalidInputError(
                f"under the price schedule {self.schedule.version!r} an episode may cost "
                f"{credits(first.amount + steps * step.amount)} credits, and none may cost more "
                f"than {credits(MOST_MICRO)}. Nothing was done. Use lower prices."
            )
        if left is not None and left < least:
            raise BudgetSpentError(
                f"An episode costs at least {credits(least)} credits but the budget has "
                f"{credits(left)} left. Nothing was done. Raise it with meter.top_up(), or make "
                "the environment with a larger budget."
            )
        self._held, self._spent, self._tally = {}, 0, {}
        self._step, self._bound = step, first.amount + steps * step.amount
        self._portion = PORTION
        self._episode = episode_id  # Before credit is held, so that void() releases it.
        if self.funds is not None:
            sure = plus(first.charges, step.charges, at_least)
            if not self._hold(episode_id, sure, least):
                refusal = self.poor(Cost({}, sure, least), "An episode")
                self._episode = None
                raise refusal
        self._set_limit()

    @property
    def is_open(self) -> bool:
        """Return whether an episode is open."""
        return self._episode is not None

    def charge(self, cost: Cost) -> int:
        """Charge work that is about to be done; return its price [microcredits].

        Raises:
            BudgetExhaustedError: the work cannot be paid. Nothing was charged; call again after a
                top-up.
        """
        spent = self._spent + cost.amount
        if spent > self._limit and not self._extend(cost):
            raise self.poor(cost)
        self._spent = spent
        tally = self._tally
        tally[cost] = tally.get(cost, 0) + 1
        return cost.amount

    def charge_extra(self, cost: Cost) -> int:
        """Charge work that may come at any time; otherwise like `charge`."""
        if not self.affords_extra(cost):
            raise self.poor(cost)
        return self.charge(cost)

    def times(self, cost: Cost) -> int:
        """Return how often a cost was charged in this episode."""
        return self._tally.get(cost, 0)

    def take_back(self, cost: Cost, times: int) -> None:
        """Charge a cost only so many times in this episode: what it was charged for was not done.

        It does not matter how far a `charge` came that was interrupted.
        """
        self._tally[cost] = times
        self._spent = sum(one.amount * n for one, n in self._tally.items())

    def affords(self, cost: Cost) -> bool:
        """Return whether the next step, which costs `cost`, could be charged now."""
        return self._spent + cost.amount <= self._limit or self._extend(cost)

    def affords_extra(self, cost: Cost) -> bool:
        """Return whether work that may come at any time could be charged now, unit by unit."""
        if self.funds is not None and self.funds.limited:
            return self._extend(cost)
        return self._spent + cost.amount <= self._limit

    def restrict(self, amount: int | None) -> None:
        """Let the episodes to come cost at most so much [microcredits]; None sets no limit."""
        self._budget = None if amount is None else self._settled + self._spent + amount
        self._set_limit()

    def top_up(self, amount: int) -> None:
        """Raise the budget by `amount` [microcredits, 0 or more]."""
        if type(amount) is not int or amount < 0:
            raise InvalidInputError(f"a top-up of {amount!r} microcredits: give 0 or more.")
        if self._budget is not None:
            self._budget += amount
            self._set_limit()

    @property
    def spent(self) -> int:
        """The cost of this episode so far [microcredits]."""
        return self._spent

    @property
    def total(self) -> int:
        """The cost of all episodes of this meter, including this one [microcredits]."""
        return self._settled + self._spent

    @property
    def quantities(self) -> dict[str, int]:
        """The work of this episode so far, per meter unit."""
        found: dict[str, int] = self.schedule.no_work()
        for cost, times in self._tally.items():
            found = plus(found, cost.quantities, times)
        return found

    @property
    def remaining(self) -> int:
        """How much this episode may still spend [microcredits]; UNLIMITED if there is no limit."""
        limited = self._budget is not None or (self.funds is not None and self.funds.limited)
        open_ended = self._episode is not None and not limited
        return UNLIMITED if open_ended else self._limit - self._spent

    @property
    def balance(self) -> int:
        """How much account and budget can still pay [microcredits]; UNLIMITED if nothing limits.

        Some of an account's credit may be for other meter units than an episode needs.
        """
        if self._posted is None and self._budget is None:  # In every step's info: be quick.
            return UNLIMITED
        left = self.left
        account = None if self._posted is None else self._posted - self._spent
        return min(UNLIMITED, *(n for n in (left, account) if n is not None))

    def settle(self, evidence: str) -> Receipt | None:
        """Post the cost of the episode with the digest of its evidence; end the episode."""
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
        """End the episode without charging it, because its work is discarded."""
        if self._episode is None:
            return
        try:
            if self.funds is not None:
                self.funds.void(self._episode)
        finally:
            self._end(0)

    def close(self) -> None:
        """Close what the account has open, such as the ledger's file; it is opened when needed."""
        if self.funds is not None:
            self.funds.close()

    def _end(self, spent: int) -> None:
        """Close the episode and reset its counts; add `spent` [microcredits] to the total."""
        self._settled += spent
        self._episode, self._held, self._limit = None, {}, 0
        if self._posted is not None:
            self._posted -= spent
        self._tally, self._spent = {}, 0

    @property
    def left(self) -> int | None:
        """What is left of the budget [microcredits]; None means no limit."""
        return None if self._budget is None else self._budget - self._settled - self._spent

    def _set_limit(self) -> None:
        """Set the episode's limit to what is reserved for it, within the budget."""
        if self._episode is None:
            return
        limits = [MOST_MICRO]  # So that every amount fits in 64 bits.
        if self.funds is not None and self.funds.limited:
            limits.append(sum(self._held.values()))
        if self._budget is not None:
            limits.append(self._budget - self._settled)
        self._limit = min(limits)

    def _extend(self, cost: Cost) -> bool:
        """Reserve what `cost` still needs and further steps; return whether it can be paid."""
        if self._episode is None or self.funds is None or not self.funds.limited:
            return False
        left = self.left
        if left is not None and left < cost.amount:
            return False
        need = self._needed(cost)
        if need and not self._hold(self._episode, need, cost.amount):
            return False
        self._set_limit()
        return self._spent + cost.amount <= self._limit

    def _hold(self, episode_id: bytes, sure: Mapping[str, int], amount: int) -> bool:
        """Reserve `sure`, and a portion of the steps to come that account and budget can pay.

        Others may need the credit: the portion is small at first and doubles, and an account gives
        a part of what is free at most.

        Args:
            episode_id: 16 bytes.
            sure: what must be reserved [microcredits per meter unit].
            amount: what the caller is about to charge [microcredits]; the budget must cover it too.

        Returns:
            Whether `sure` is reserved.
        """
        assert self.funds is not None, "the caller checked this"
        left, version = self.left, self.schedule.version
        more = self._bound - sum(self._held.values()) - sum(sure.values())
        more = more if left is None else min(more, left - amount)
        times = max(0, more // self._step.amount) if self._step.amount else 0
        times, self._portion = min(times, self._portion), 2 * self._portion
        held = self.funds.reserve(episode_id, sure, self._step.charges, times, version)
        if held < 0:
            return False
        self._held = plus(plus(self._held, sure), self._step.charges, held)
        self._posted = self.funds.posted()
        return True

    def poor(self, cost: Cost, what: str = "This") -> BudgetExhaustedError:
        """Return the error of a cost that cannot be paid; `what` begins its sentence."""
        left, kind = self.left, BudgetExhaustedError
        if self._episode is None:
            has, remedy = "no episode is open", "reset()"
        elif left is not None and left < cost.amount:
            has, kind = f"the budget has {credits(left)} left", BudgetSpentError
            remedy = "meter.top_up() or a larger budget"
        elif self.funds is None or not self.funds.limited:
            has, remedy = f"an episode may cost at most {credits(MOST_MICRO)}", "reset()"
        else:
            available = (self.funds.available() or 0) + sum(self._held.values()) - self._spent
            has = f"the account {self.funds.account!r} has {credits(available)}"
            if available >= cost.amount:  # Of other meter units.
                has += f", of which {credits(cost.amount - self._lack(cost))} can pay for it: the "
                has += "rest is for other meter units"
            remedy = f"`sandbox ledger grant {self.funds.account} CREDITS`"
        return kind(
            f"{what} costs {credits(cost.amount)} credits but {has}. Nothing was done. It works "
            f"again after {remedy}."
        )

    def payable(self, cost: Cost) -> int:
        """Return how much of a cost the account can pay [microcredits], unit by unit."""
        limited = self.funds is not None and self.funds.limited
        return cost.amount - self._lack(cost) if limited else cost.amount

    def _lack(self, cost: Cost) -> int:
        """Return how much the account lacks to pay a cost [microcredits]."""
        assert self.funds is not None, "the caller checked this"
        return min(cost.amount, self.funds.lack(self._needed(cost)))

    def _needed(self, cost: Cost) -> dict[str, int]:
        """Return what is to be reserved before `cost` can be charged, per meter unit."""
        wanted: Mapping[str, int] = cost.charges
        for spent, times in self._tally.items():
            wanted = plus(wanted, spent.charges, times)
        need = {u: n - self._held.get(u, 0) for u, n in wanted.items()}
        return {u: n for u, n in need.items() if n > 0}


def unpaid() -> Meter:
    """Return a meter under the package's newest prices, which charges nobody.

    It serves where only the work matters: the default prices of a machine have no part in it.
    """
    return Meter(schedules()[-1])
