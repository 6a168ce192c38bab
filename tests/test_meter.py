"""The meter never spends what is not there, and what it counts is what it spends."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sandbox import prices
from sandbox.errors import BudgetExhaustedError, InvalidInputError
from sandbox.ledger import AccountFunds, Ledger
from sandbox.ledger.statement import statement
from sandbox.meter import UNLIMITED, Meter


def begin(meter: Meter, at_least: int, at_most: int, episode: bytes) -> None:
    """Begin an episode of bytes, one microcredit each."""
    first, step = meter.price({"raw_byte": at_least}), meter.price({"raw_byte": 1})
    meter.open(first, step, at_most - at_least, episode, at_least=0)


class MeterMachine(RuleBasedStateMachine):
    """A meter with a budget on a prepaid account, against plain integers."""

    @initialize(granted=st.integers(1, 5000), budget=st.none() | st.integers(0, 5000))
    def begin(self, granted: int, budget: int | None) -> None:
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
            begin(self.meter, at_least, at_least + more, identity)
            self.spent = self.work = 0
        else:
            with pytest.raises(BudgetExhaustedError):
                begin(self.meter, at_least, at_least + more, identity)

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
TestMeterMachine.settings = settings(
    max_examples=600 if "SANDBOX_SOAK" in os.environ else 25, stateful_step_count=30, deadline=None
)


def test_a_meter_without_an_account_counts_and_posts_nothing() -> None:
    meter = Meter(prices.current())
    begin(meter, 10, 10, b"e" * 16)
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
    begin(meter, 60, 60, b"a" * 16)
    meter.charge(cost)
    meter.settle("e" * 64)
    with pytest.raises(BudgetExhaustedError, match=r"the budget has 0\.00004 left"):
        begin(meter, 60, 60, b"b" * 16)


def test_a_refused_charge_changes_nothing_and_says_what_there_is(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "ledger.db")
    book.grant("lab", 10)
    meter = Meter(prices.current(), AccountFunds(book, "lab"))
    begin(meter, 3, 3, b"a" * 16)
    meter.charge(meter.price({"raw_byte": 2}))
    before = (meter.spent, meter.quantities, meter.remaining, meter.balance, book.balance("lab"))
    said = r"'lab' has 0\.000008\. Nothing was done.*sandbox ledger grant lab"  # 10 less 2.
    with pytest.raises(BudgetExhaustedError, match=said):
        meter.charge(meter.price({"raw_byte": 9}))
    after = (meter.spent, meter.quantities, meter.remaining, meter.balance, book.balance("lab"))
    assert after == before


def test_a_grant_heals_an_episode_and_is_asked_for_once(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "ledger.db")
    book.grant("lab", 10)
    meter = Meter(prices.current(), AccountFunds(book, "lab"))
    begin(meter, 1, 100, b"a" * 16)
    cost = meter.price({"raw_byte": 10})
    meter.charge(cost)
    assert not meter.affords(cost)
    book.grant("lab", 1000)
    for _ in range(9):
        meter.charge(cost)
    holds = [line for line in statement(book, "lab") if line["kind"] == "reserve"]
    assert [line["held_micro"] for line in holds] == [3, 7, 90]


def test_settling_or_voiding_again_changes_nothing(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "ledger.db")
    book.grant("lab", 100)
    meter = Meter(prices.current(), AccountFunds(book, "lab"))
    begin(meter, 1, 50, b"a" * 16)
    meter.charge(meter.price({"raw_byte": 30}))
    assert meter.settle("e" * 64) is not None
    assert meter.settle("f" * 64) is None
    meter.void()
    assert (book.balance("lab").posted_micro, book.balance("lab").pending_micro) == (70, 0)


@pytest.mark.parametrize("amount", [-1, 1.5, True])
def test_a_top_up_takes_nothing_away(amount: int) -> None:
    meter = Meter(prices.current(), budget=100)
    with pytest.raises(InvalidInputError, match="top-up"):
        meter.top_up(amount)
