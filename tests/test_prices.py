"""Prices are exact: what is written is read again, and a cost is a sum of whole numbers."""

import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import prices
from sandbox.errors import InvalidInputError, UnknownNameError


@given(st.integers(0, 10**18))
def test_credits_are_written_and_read_exactly(micro: int) -> None:
    assert prices.micro(prices.credits(micro)) == micro


@pytest.mark.parametrize(
    ("micro", "text"),
    [(0, "0.00"), (365_760_000, "365.76"), (1, "0.000001"), (-1_500_000, "-1.50")],
)
def test_credits_read_like_money(micro: int, text: str) -> None:
    assert prices.credits(micro) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "abc", "nan", "inf", "-1", "0.0000001", "1e13", True),
        *("1." + "0" * 30 + "1", "1,5", "1,,000", "1_000", "\u0661", "9" * 5000, "0e999999999"),
    ],
)
def test_what_is_no_amount_of_credits_is_refused(text: Any) -> None:
    with pytest.raises(InvalidInputError, match="is no amount of credits"):
        prices.micro(text)


quantities = st.dictionaries(st.sampled_from(prices.UNITS), st.integers(0, 10**9))


@given(quantities, quantities)
def test_the_cost_of_a_sum_is_the_sum_of_costs(a: dict[str, int], b: dict[str, int]) -> None:
    schedule = prices.load("3")  # Which meters all.
    both = {unit: a.get(unit, 0) + b.get(unit, 0) for unit in prices.UNITS}
    assert schedule.cost(both) == schedule.cost(a) + schedule.cost(b)


@pytest.mark.parametrize("bad", [{"physics_steps": 1}, {"pixel": -1}, {"pixel": 1.5}])
def test_what_is_no_work_has_no_cost(bad: Any) -> None:
    with pytest.raises(InvalidInputError):
        prices.current().cost(bad)


def test_a_schedule_is_current_from_its_first_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SANDBOX_PRICES")
    first, second = prices.schedules()[:2]
    assert prices.current(first.effective_from) is first
    assert prices.current(second.effective_from - datetime.timedelta(days=1)) is first
    assert prices.current(second.effective_from) is prices.load("2")
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


@pytest.mark.parametrize(
    ("text", "micro"),
    [("1,234.5", 1_234_500_000), ("1e3", 10**9), (".5", 500_000), (1e-06, 1), (0.1, 100_000)],
)
def test_an_amount_is_read_as_it_is_written(text: Any, micro: int) -> None:
    assert prices.micro(text) == micro


def test_a_schedule_is_in_the_file_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "3.yaml"
    path.write_text(
        'format: 1\nversion: "2"\neffective_from: 2027-01-01\n'
        "rates: {physics_step: 1, pixel: 1, raw_byte: 1, reset: 1}\n"
    )
    with pytest.raises(InvalidInputError, match=r"3.yaml: version: '2' is not the file's name"):
        prices.read(path)


def test_no_two_schedules_begin_on_the_same_day() -> None:
    days = [schedule.effective_from for schedule in prices.schedules()]
    assert len(set(days)) == len(days)


def test_the_rates_of_a_schedule_cannot_be_changed() -> None:
    rates: Any = prices.load("1").rates
    with pytest.raises(TypeError):
        rates["pixel"] = 0
