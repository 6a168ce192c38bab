"""Prices are exact, and the meter never spends what is not there."""

import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sandbox import prices
from sandbox.errors import BudgetExhaustedError, InvalidInputError, UnknownNameError
from sandbox.ledger import AccountFunds, Ledger
from sandbox.meter import UNLIMITED, Meter


@given(st.integers(0, 10**18))
def test_credits_are_written_and_read_exactly(micro: int) -> None:
    assert prices.micro(prices.credits(micro)) == micro


@pytest.mark.parametrize(
    ("micro", "text"),
    [(0, "0.00"), (365_760_000, "365.76"), (1, "0.000001"), (-1_500_000, "-1.50")],
)
def test_credits_read_like_money(micro: int, text: str) -> None:
    assert prices.credits(micro) == text


@pytest.mark.parametrize("text", ["", "abc", "nan", "inf", "-1", "0.0000001", "1e13", True])
def test_what_is_no_amount_of_credits_is_refused(text: Any) -> None:
    with pytest.raises(InvalidInputError, match="is no amount of credits"):
        prices.micro(text)


quantities = st.dictionaries(st.sampled_from(prices.UNITS), st.integers(0, 10**9))


@given(quantities, quantities)
def test_the_cost_of_a_sum_is_the_sum_of_costs(a: dict[str, int], b: dict[str, int]) -> None:
    schedule = prices.current()
    both = {unit: a.get(unit, 0) + b.get(unit, 0) for unit in prices.UNITS}
    assert schedule.cost(both) == schedule.cost(a) + schedule.cost(b)


@pytest.mark.parametrize("bad", [{"physics_steps": 1}, {"pixel": -1}, {"pixel": 1.5}])
def test_what_is_no_work_has_no_cost(bad: Any) -> None:
    with pytest.raises(InvalidInputError):
        prices.current().cost(bad)


def test_a_schedule_is_current_from_its_first_day() -> None:
    first = prices.schedules()[0]
    assert prices.current(first.effective_from) is first
    with pytest.raises(InvalidInputError, match="no price schedule is effective"):
        prices.current(first.effective_from - datetime.timedelta(days=1))
    with pytest.raises(UnknownNameError):
        prices.load("0")


def test_the_first_schedule_never_changes() -> None:
    assert prices.load("1").digest == (
        "5131e386689273b6b87ae3576dab08548b244c25a1cd8e4860604e1d6f7ad6a4"
    )


def test_a_schedule_that_breaks_a_rule_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "2.yaml"
    path.write_text(
        'format: 1\nversion: "2"\neffective_from: 2027-01-01\n'
        "rates: {physics_step: 1, pixel: 1, raw_byte: 0.5, reset: 1}\n"
    )
    with pytest.raises(InvalidInputError, match=r"2.yaml:4: rates.raw_byte: .*not 0.5"):
        prices.read(path)


class MeterMachine(RuleBasedStateMachine):
    """A meter with a budget on a prepaid account, against plain integers."""

    @initialize(granted=st.integers(1, 5000), budget=st.none() | st.integers(0, 5000))
    def begin(self, granted: int, budget: int | None) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.book = Ledger(Path(self.folder.name) / "ledger.db")
        self.book.grant("lab", granted)
        self.meter = Meter(prices.current(), AccountFunds(self.book, "lab"), budget)
        self.account, self.budget = granted, budget
        self.spent, self.work, self.episode = 0, 0, 0

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @property
    def left(self) -> int:
        return self.account if self.budget is None else min(self.account, self.budget)

    @precondition(lambda self: not self.meter.is_open)
    @rule(at_least=st.integers(0, 800), more=st.integers(0, 3000))
    def open(self, at_least: int, more: int) -> None:
        self.episode += 1
        identity = self.episode.to_bytes(16, "big")
        if at_least <= self.left:
            self.meter.open(at_least + more, at_least, identity)
            self.spent = self.work = 0
        else:
            with pytest.raises(BudgetExhaustedError):
                self.meter.open(at_least + more, at_least, identity)

    @precondition(lambda self: self.meter.is_open)
    @rule(amount=st.integers(0, 600))
    def charge(self, amount: int) -> None:
        cost = self.meter.price({"raw_byte": amount})
        fits = self.spent + amount <= self.left
        assert self.meter.affords(cost) == fits
        if fits:
            assert self.meter.charge(cost) == amount
            self.spent += amount
            self.work += amount
        else:
            with pytest.raises(BudgetExhaustedError):
                self.meter.charge(cost)

    @rule(amount=st.integers(1, 1000))
    def grant(self, amount: int) -> None:
        self.book.grant("lab", amount)
        self.account += amount

    @rule(amount=st.integers(1, 1000))
    def top_up(self, amount: int) -> None:
        self.meter.top_up(amount)
        if self.budget is not None:
            self.budget += amount

    @precondition(lambda self: self.meter.is_open)
    @rule(keep=st.booleans())
    def end(self, keep: bool) -> None:
        if keep:
            receipt = self.meter.settle("e" * 64)
            assert receipt is not None
            assert receipt.amount == self.spent
            self.account -= self.spent
            if self.budget is not None:
                self.budget -= self.spent
        else:
            self.meter.void()
        self.spent = self.work = 0

    @invariant()
    def books_balance(self) -> None:
        if not hasattr(self, "meter"):
            return
        assert self.meter.spent == self.spent
        assert self.meter.quantities["raw_byte"] == self.work
        balance = self.book.balance("lab")
        assert balance.posted_micro == self.account
        assert 0 <= balance.pending_micro <= self.account
        if not self.meter.is_open:
            assert balance.pending_micro == 0
        assert self.book.check() == []


TestMeterMachine = MeterMachine.TestCase
TestMeterMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_meter_without_an_account_counts_and_posts_nothing() -> None:
    meter = Meter(prices.current())
    meter.open(10, 10, b"e" * 16)
    cost = meter.price({"physics_step": 3, "pixel": 7})
    for _ in range(5):
        meter.charge(cost)
    assert meter.quantities == {"physics_step": 15, "pixel": 35, "raw_byte": 0, "reset": 0}
    assert meter.spent == 5 * cost.amount
    assert meter.balance == meter.remaining == UNLIMITED
    assert meter.settle("e" * 64) is None
    assert meter.total == 5 * cost.amount


def test_a_budget_of_a_meters_life_is_not_refilled_by_another_episode() -> None:
    meter = Meter(prices.current(), budget=100)
    cost = meter.price({"raw_byte": 60})
    meter.open(60, 60, b"a" * 16)
    meter.charge(cost)
    meter.settle("e" * 64)
    with pytest.raises(BudgetExhaustedError, match=r"the budget has 0\.00004 left"):
        meter.open(60, 60, b"b" * 16)
