"""Sweeps: the runs of a grid, with one bill and paired starts; and what is refused beforehand."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from running import TESTS, cli, content, recipe

import sandbox
from sandbox import Dataset, prices
from sandbox.errors import (
    BudgetExhaustedError,
    FormatError,
    InvalidInputError,
    RunConflictError,
    SandboxError,
    UnknownNameError,
)
from sandbox.ledger import Ledger
from sandbox.run.grid import MOST, cells
from sandbox.run.recipe import Recipe

GRID: dict[str, list[Any]] = {"ball_mass_kg": [0.1, 0.3], "seed": [1, 2]}
NAMES = [f"ball_mass_kg={mass},seed={seed}" for mass in (0.1, 0.3) for seed in (1, 2)]


def small(**changes: Any) -> Recipe:
    return recipe("billiards", episodes=2, **changes)


def test_a_recipe_may_set_factors_and_episodes_start_as_they_would_without(tmp_path: Path) -> None:
    scenario = str(TESTS / "short_push_t_varied.yaml")
    usual = recipe("push_t", episodes=2, scenario=scenario, split="train")
    ranged = {"t_friction": 0.5, "t_scale": {"uniform": [0.9, 0.95]}}
    for name, factors in (("usual", None), ("held", ranged)):
        sandbox.generate(
            {**usual.model_dump(exclude_none=True), "factors": factors or {}}, tmp_path / name
        )
    one, other = (list(sandbox.open_run(tmp_path / name).records()) for name in ("usual", "held"))
    assert [record.seed for record in one] == [record.seed for record in other]
    for before, after in zip(one, other, strict=True):
        assert after.factors["t_friction"] == 0.5 != before.factors["t_friction"]
        assert 0.9 <= after.factors["t_scale"] <= 0.95
        assert after.factors["t_mass_kg"] == before.factors["t_mass_kg"]
    assert sandbox.verify(tmp_path / "held").faults == []
    with pytest.raises(InvalidInputError, match="'extrapolation' of the scenario sets t_mass_kg"):
        sandbox.quote(
            recipe("push_t", scenario=scenario, split="extrapolation", factors={"t_mass_kg": 0.5})
        )


def test_without_factors_a_recipe_is_the_work_that_it_was() -> None:
    assert "factors" not in small().dataset()
    assert small(factors={"ball_mass_kg": 0.2}).dataset()["factors"] == {"ball_mass_kg": 0.2}


def test_a_grid_is_a_run_for_each_combination_with_one_bill(tmp_path: Path) -> None:
    before = Ledger().balance("local").posted_micro or 0
    sweep = sandbox.sweep(small(), tmp_path / "grid", GRID)
    made = sweep.cells
    assert [one.path.name for one in made] == NAMES
    assert [dict(one.values) for one in made][1] == {"ball_mass_kg": 0.1, "seed": 2}
    assert len({one.run for one in made}) == 4
    bill = sweep.bill
    assert (bill.episodes, bill.amount) == (8, sum(one.bill.amount for one in made))
    assert before - (Ledger().balance("local").posted_micro or 0) == bill.amount
    for one in made:
        assert sandbox.verify(one.path).faults == []
        (first, second) = sandbox.open_run(one.path).records()
        assert {r.factors["ball_mass_kg"] for r in (first, second)} == {one.values["ball_mass_kg"]}
        assert one.success == (first.success + second.success) / 2
        assert one.total_reward == (first.total_reward + second.total_reward) / 2
    starts = [[r.seed for r in sandbox.open_run(one.path).records()] for one in made]
    assert starts[0] == starts[2] != starts[1]  # The same seed, another mass.


def test_the_same_sweep_goes_on_and_charges_nothing_twice(tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(cell: Any) -> Any:
        if cell.name == NAMES[2]:
            raise StoppedError
        return nullcontext()

    with pytest.raises(StoppedError):
        sandbox.sweep(small(), tmp_path / "cut", GRID, watching=stop)
    assert not (tmp_path / "cut" / NAMES[2]).exists()
    sandbox.sweep(small(), tmp_path / "cut", GRID)
    spent = Ledger().balance("local").posted_micro
    whole = sandbox.sweep(small(), tmp_path / "cut", GRID, budget=1000)
    assert whole.bill.already == 8
    assert Ledger().balance("local").posted_micro == spent
    sandbox.sweep(small(), tmp_path / "once", GRID)
    assert content(tmp_path / "cut") == content(tmp_path / "once")


@pytest.mark.parametrize(
    ("grid", "error", "says"),
    [
        ({}, InvalidInputError, "a grid of 0 keys"),
        ({"seed": []}, InvalidInputError, "at least one value"),
        ({"seed": "12"}, InvalidInputError, "give a list"),
        ({"seed": [1, 1]}, InvalidInputError, "a value is there twice"),
        ({"seed": range(MOST + 1)}, InvalidInputError, "10,001 cells"),
        ({"seed": [-1]}, InvalidInputError, "seed"),
        ({"ball_mass": [1.0]}, UnknownNameError, "Did you mean 'ball_mass_kg'"),
        ({"ball_mass_kg": [0.1, 900.0]}, InvalidInputError, "900.0 is not a number from"),
        ({"ball_mass_kg": [[1, 2]]}, InvalidInputError, "ball_mass_kg"),
        ({"split": ["train"]}, SandboxError, "no split is called 'train': it has no splits"),
        ({"x" * 300: [1]}, InvalidInputError, "too long for a folder's name"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_before_anything_is_done(
    tmp_path: Path, grid: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        sandbox.sweep(small(), tmp_path / "grid", grid)
    assert not (tmp_path / "grid").exists()
    assert Ledger().balance("local").posted_micro in (None, 0)


def test_a_sweep_that_cannot_be_paid_as_a_whole_is_refused(tmp_path: Path) -> None:
    cost = sandbox.quote(small()).amount
    Ledger().grant("lab", 3 * cost)
    with pytest.raises(BudgetExhaustedError, match=r"4 runs cost .* but the account 'lab' lacks"):
        sandbox.sweep(small(), tmp_path / "grid", GRID, account="lab")
    with pytest.raises(BudgetExhaustedError, match="but the budget is"):
        sandbox.sweep(small(), tmp_path / "grid", GRID, budget=prices.credits(4 * cost - 1))
    assert not (tmp_path / "grid").exists()
    done = sandbox.sweep(small(), tmp_path / "grid", GRID, budget=prices.credits(4 * cost))
    assert done.bill.amount == 4 * cost


def test_another_sweep_and_other_folders_are_left_alone(tmp_path: Path) -> None:
    sandbox.sweep(small(), tmp_path / "grid", {"seed": [1]})
    for folder in (tmp_path / "grid", tmp_path):
        before = content(folder)
        with pytest.raises(RunConflictError, match="Nothing was done"):
            sandbox.sweep(small(), folder, {"seed": [1, 2]})
        assert content(folder) == before


def test_the_command_sweeps(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        f"format: 1\nenvironment: billiards\npolicies: {{random: 1}}\nepisodes: 1\n"
        f"scenario: {TESTS / 'short_billiards.yaml'}\n"
    )
    ways = ["sweep", tmp_path / "r.yaml", "--set", "ball_mass_kg=0.1,0.3", "--out", tmp_path / "s"]
    done = cli(*ways)
    assert done.returncode == 0, done.stderr
    assert "Sweep: 2 runs" in done.stdout
    assert f"Runs: {tmp_path / 's'}" in done.stdout
    for words, says in (
        (["--set", "seed"], "not NAME=VALUE"),
        (["--set", "seed=1", "--set", "seed=2"], "set twice"),
    ):
        refused = cli("sweep", tmp_path / "r.yaml", *words, "--out", tmp_path / "t")
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert says in refused.stderr
    assert len(cells(small(), GRID)) == 4


def test_a_greedy_sweep_ends_where_the_credit_does_and_goes_on(tmp_path: Path) -> None:
    ledger, grid = Ledger(), {"seed": [1, 2, 3]}
    wanted = small(account="lab", admission="greedy")
    cost = sandbox.quote(wanted).amount
    ledger.grant("lab", cost * 3 // 2)
    found = sandbox.sweep(wanted, tmp_path / "grid", grid)
    assert [one.bill.episodes for one in found.cells] == [2, 1]
    assert found.cells[1].bill.ended
    assert found.ended.startswith("seed=3: one episode")
    assert "Nothing was done" not in found.ended
    ledger.grant("lab", cost * 2)
    found = sandbox.sweep(wanted, tmp_path / "grid", grid)
    assert [one.bill.episodes for one in found.cells] == [2, 2, 2]
    assert not found.ended


def test_the_same_number_in_two_types_is_one_value(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="a value is there twice"):
        sandbox.sweep(small(), tmp_path / "grid", {"ball_mass_kg": [1, 1.0]})
    assert not (tmp_path / "grid").exists()


def test_a_budget_below_what_a_greedy_sweep_has_cost_is_said_to_be(tmp_path: Path) -> None:
    wanted, grid = small(admission="greedy"), {"seed": [1, 2]}
    sandbox.sweep(wanted, tmp_path / "grid", grid)
    with pytest.raises(BudgetExhaustedError, match=r"have cost .* already but the budget is 0\.01"):
        sandbox.sweep(wanted, tmp_path / "grid", grid, budget="0.01")


def test_rewards_of_two_kinds_are_not_one_dataset(tmp_path: Path) -> None:
    sandbox.sweep(small(), tmp_path / "grid", {"reward": ["dense", "sparse"]})
    with pytest.raises(FormatError, match="they differ in reward"):
        Dataset(tmp_path / "grid")
    for name in ("dense", "sparse"):
        assert len(Dataset(tmp_path / "grid" / f"reward={name}")) == 2
        assert sandbox.verify(tmp_path / "grid" / f"reward={name}").faults == []
    assert "reward" not in Dataset(tmp_path / "grid", columns="common").schema.names
