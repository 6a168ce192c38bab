"""What credits of data are worth: equal bills, paid once, and differences with their intervals."""

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sandbox
from sandbox.errors import (
    BudgetExhaustedError,
    InvalidInputError,
    RunConflictError,
    UnknownNameError,
)
from sandbox.estimates import student
from sandbox.goals import calls
from sandbox.ledger import Ledger
from sandbox.models import Checkpoint
from sandbox.run.folder import Folder
from sandbox.valuation.found import Group, Worth
from tests.running import cli, file_of, recipe

SMALL = {"batch": 2, "horizon": 3, "windows": 8, "checks": 2, "warm_up": 4}
RECIPES = {
    "random": recipe(policies={"random": 1.0}),
    "mixed": recipe(policies={"random": 1.0, "ou_noise": 2.0}),
}
ASKED: dict[str, Any] = {
    "credits": [150, 300],
    "model": "mlp",
    "size": "nano",
    "updates": 4,
    "seeds": 1,
    "branches": {"mixed": 0.5},
    "tests": [recipe(seed=900, episodes=4)],
    "horizons": [1, 2, 4],
    "windows": 12,
    "settings": SMALL,
}


@pytest.fixture(scope="module", autouse=True)
def _priced_models() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_PRICES", "3")
        yield


def compared(out: Path, recipes: Any = None, **more: Any) -> Worth:
    return sandbox.worth(RECIPES if recipes is None else recipes, out, **{**ASKED, **more})


@pytest.fixture(scope="module")
def compared_whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Worth, int]:
    """A comparison, its figures, and what was posted."""
    path = tmp_path_factory.mktemp("worth") / "whole"
    found = compared(path)
    return path, found, -(Ledger().balance("local").posted_micro or 0)


def test_bills_are_equal_to_one_episode(compared_whole: tuple[Path, Worth, int]) -> None:
    path, found, _ = compared_whole
    for one in found.cells:
        runs = [*(path / one.arm / f"seed-{one.seed}").rglob("run.json")]
        longest = max(r.charge_micro for run in runs for r in Folder(run.parent).records())
        spent, left = one.data_micro, round(one.credits * 1e6) - one.data_micro
        assert spent > 0
        assert 0 <= left < longest * (2 if "+" in one.arm else 1)  # Branches have their own share.
    assert {one.arm for one in found.cells} == {"random", "mixed", "mixed+branches"}


def test_a_smaller_amount_has_the_episodes_that_it_would_have_bought(
    compared_whole: tuple[Path, Worth, int], tmp_path: Path
) -> None:
    sandbox.generate(RECIPES["mixed"], tmp_path / "run", credits=150)
    part = Folder(compared_whole[0] / "mixed" / "seed-0" / "150" / "data")
    ours, alone = (
        [(one.seed, one.policy, one.total_reward, one.charge_micro) for one in folder.records()]
        for folder in (part, Folder(tmp_path / "run"))
    )
    assert len(ours) > 1
    assert ours == alone


def test_what_is_posted_is_the_bill(compared_whole: tuple[Path, Worth, int]) -> None:
    path, found, posted = compared_whole
    assert found.amount == posted == sum(found.bill.values())
    parts = Counter[str]()
    for run in path.rglob("run.json"):
        label = "test" if "tests" in run.parts else "data"
        parts[label] += sum(one.charge_micro for one in Folder(run.parent).records())
    for model in path.rglob("*.safetensors"):
        parts["training"] += Checkpoint.read(model).facts.charge_micro
    for label, amount in parts.items():
        assert amount == sum(n for name, n in found.bill.items() if name.startswith(label))
    assert found.plain()["amount_micro"] == sum(parts.values())


def test_its_files_say_what_was_found(compared_whole: tuple[Path, Worth, int]) -> None:
    path, found, _ = compared_whole
    told = json.loads((path / "worth.json").read_text())
    assert told == json.loads(json.dumps(found.plain()))
    assert len((path / "worth.csv").read_text().splitlines()) == 1 + len(found.cells) == 7
    assert (path / "worth.png").read_bytes().startswith(b"\x89PNG")
    judged = json.loads((path / "random/seed-0/150/evaluation/evaluation.json").read_text())
    cell = next(c for c in found.cells if (c.arm, c.seed, c.credits) == ("random", 0, 150.0))
    state = judged["numbers"]["state"]
    assert cell.error == pytest.approx(np.mean(state["model"]))
    gains = np.subtract(state["copy-last"], state["model"])
    assert cell.gain == pytest.approx(gains.mean())
    assert len({json.dumps(one["data"]) for one in _evaluations(path)}) == 1  # The same episodes.


def _evaluations(path: Path) -> list[dict[str, Any]]:
    return [json.loads(one.read_text()) for one in path.rglob("evaluation.json")]


KILLED = """
import os, signal, sys
from sandbox.ledger import Ledger
from tests.test_worth import compared
post, left = Ledger.post, [int(sys.argv[2])]
def killing(*args, **kwargs):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return post(*args, **kwargs)
Ledger.post = killing
compared(sys.argv[1])
"""


def test_a_killed_comparison_goes_on_and_nothing_is_paid_twice(
    compared_whole: tuple[Path, Worth, int], tmp_path: Path
) -> None:
    path = tmp_path / "killed"
    for posts in (2, 6):  # In the data of the first recipe; in a training.
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(path), str(posts)], check=False, timeout=300
        )
        assert done.returncode == -signal.SIGKILL
        assert not (path / "worth.json").exists()
    assert compared(path).amount == compared_whole[2]
    assert -(Ledger().balance("local").posted_micro or 0) == compared_whole[2]
    for name in ("worth.json", "worth.csv"):
        assert (path / name).read_bytes() == (compared_whole[0] / name).read_bytes()
    assert not Ledger().check()


def test_more_seeds_go_on_and_other_arguments_are_another_comparison(tmp_path: Path) -> None:
    few: dict[str, Any] = {"branches": {}, "credits": [150]}
    one = compared(tmp_path / "w", **few)
    assert not any(each["sure"] for each in one.differences())
    models = {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")}
    two = compared(tmp_path / "w", seeds=2, **few)
    assert all(path.read_bytes() == known for path, known in models.items())
    assert [*two.cells[:2]] == [*one.cells]
    assert -(Ledger().balance("local").posted_micro or 0) == two.amount
    path, first = tmp_path / "w" / "random", RECIPES["random"].seed
    assert [Folder(path / f"seed-{n}/run").recipe.seed for n in range(2)] == [first, first + 1]
    facts = [Checkpoint.read(path / f"seed-{n}/150/model.safetensors").facts for n in range(2)]
    assert [one.training["seed"] for one in facts] == [0, 1]
    assert facts[0].data.digest != facts[1].data.digest
    with pytest.raises(RunConflictError, match="another comparison"):
        compared(tmp_path / "w", seeds=2, **{**few, "updates": 5})


@pytest.mark.parametrize(
    ("recipes", "more", "says"),
    [
        (["push_t_dem"], {}, "no recipe is called 'push_t_dem'. Did you mean 'push_t_demo'"),
        ({}, {"branches": {}}, "there is no recipe"),
        (None, {"credits": [1]}, "do not pay two episodes of 6 rows"),
        (None, {"credits": [0]}, "give amounts above 0"),
        (None, {"tests": [recipe(seed=5)]}, "with seed 5 its episodes begin like those of the"),
        (None, {"tests": [recipe("two_room")]}, "no world of the recipes is called 'two_room'"),
        (None, {"branches": {"mix": 0.5}}, "no recipe to branch is called 'mix'"),
        (None, {"branches": {"mixed": 1.0}}, "share 1.0 of the credits"),
        (None, {"model": "gcbc"}, "is a policy"),
        (None, {"model": "conv"}, "the data has no pixels"),
        (None, {"horizons": [0]}, "a list of whole numbers from 1 to 9,999"),
        (None, {"settings": {"lr": -1.0}}, "lr"),
        ({"..": RECIPES["random"]}, {"branches": {}}, "is no name for a folder"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_done(
    recipes: Any, more: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises((InvalidInputError, UnknownNameError), match=says):
        compared(tmp_path / "w", recipes, **more)
    assert not (tmp_path / "w").exists()
    assert not Ledger().transfers()


def test_a_run_to_test_on_that_was_trained_on_is_refused(
    compared_whole: tuple[Path, Worth, int], tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="begin like those of the test"):
        compared(tmp_path / "w", tests=[compared_whole[0] / "random" / "seed-0" / "run"])
    assert not (tmp_path / "w").exists()


def test_what_cannot_be_paid_is_refused_before_anything_is_done(
    compared_whole: tuple[Path, Worth, int], tmp_path: Path
) -> None:
    quotes = list[int]()
    with pytest.raises(BudgetExhaustedError, match="but the budget is"):
        compared(tmp_path / "w", budget=100)
    book = Ledger()
    book.grant("poor", 1_000_000)
    with pytest.raises(BudgetExhaustedError, match=r"account 'poor' lacks .* Nothing was done"):
        compared(tmp_path / "w", account="poor", quoted=quotes.append)
    assert not (tmp_path / "w").exists()
    path, found, _ = compared_whole
    compared(path, quoted=quotes.append, budget=1e6)  # It is done already.
    assert found.amount <= quotes[-1] < 1.5 * found.amount


def test_goals_are_planned_with_each_model(tmp_path: Path) -> None:
    rooms = {"environment": "two_room", "observation": ["proprio", "pixels"], "image_size": 16}
    wanted = recipe(**rooms, scenario="two_room_varied", split="train", policies={"play": 1.0})
    goals = tmp_path / "goals.json"
    others = recipe(
        "two_room", policies={"play": 1.0, "scripted_noisy": 1.0}, seed=900, episodes=50
    )
    calls.make(others, goals, pairs=2, offset=10, budget=10, account=None)
    asked: dict[str, Any] = {"branches": {}, "credits": [300], "model": "conv", "goals": goals}
    asked["tests"] = [wanted.model_copy(update={"split": "interpolation"})]
    with pytest.raises(UnknownNameError, match="no world of the recipes is called 'two_room'"):
        compared(tmp_path / "w", goals=goals)
    with pytest.raises(UnknownNameError, match="no option is called 'sampels'"):
        compared(tmp_path / "w", {"play": wanted}, planner={"sampels": 4}, **asked)
    asked["planner"] = {"samples": 12, "iterations": 1, "horizon": 2, "replan": 2}
    found = compared(tmp_path / "w", {"play": wanted}, **asked)
    (cell,) = found.cells
    assert cell.success in (0.0, 0.5, 1.0)
    assert cell.curves
    assert cell.copied < 0.2
    assert found.bill["planning: play"] > 0
    assert -(Ledger().balance("local").posted_micro or 0) == found.amount


def test_the_command_prints_differences_and_bill(tmp_path: Path) -> None:
    few = ["--credits", "150", "--model", "mlp", "--size", "nano", "--updates", "2", "--seeds", "1"]
    few += [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    (tmp_path / "test").mkdir()
    few += ["--test", str(file_of(recipe(seed=900, episodes=3), tmp_path / "test"))]
    few += ["--horizons", "1,2", "--windows", "8", "--out", str(tmp_path / "w")]
    name = str(file_of(RECIPES["random"], tmp_path))
    done = cli("worth", name, *few)
    assert done.returncode == 0, done.stderr
    assert "data: recipe" in done.stdout
    assert "credits at most" in done.stdout + done.stderr
    again = cli("worth", name, *few, "--json")
    assert json.loads(again.stdout) == json.loads((tmp_path / "w" / "worth.json").read_text())


def test_what_a_seed_does_to_all_does_not_hide_a_difference() -> None:
    rng = np.random.default_rng(0)
    seeds, noise = np.array([-5.0, 0.0, 9.0]), rng.normal(0, 0.1, (3, 3))
    values = np.array([[1.0], [1.05], [3.0]]) + seeds + noise
    group = Group("push_t", 1.0, "gain", dict(zip("abc", values.tolist(), strict=True)))
    sure = {(one["better"], one["than"]) for one in group.differences() if one["sure"]}
    assert sure == {("c", "a"), ("c", "b")}
    assert group.half("a") > 5  # The mean of an arm depends on the seeds.
    less = Group("push_t", 1.0, "error", group.values).differences()
    assert {(one["better"], one["than"]) for one in less if one["sure"]} == {("a", "c"), ("b", "c")}


def test_intervals_of_differences_hold_as_often_as_they_say() -> None:
    """Of arms that are the same, 5 comparisons in 100 find one that is better."""
    rng, found = np.random.default_rng(1), 0
    for _ in range(400):
        values = rng.normal(0, 1, (4, 3)) + rng.normal(0, 3, 3)
        group = Group("push_t", 1.0, "gain", dict(zip("abcd", values.tolist(), strict=True)))
        found += any(one["sure"] for one in group.differences())
    assert 2 <= found <= 34  # Bonferroni's are a little too wide: at most 20 are expected.


@pytest.mark.parametrize(
    ("freedom", "level", "value"),
    [
        (1, 0.95, 12.7062),
        (2, 0.95, 4.3027),
        (5, 0.99, 4.0321),
        (18, 0.95, 2.1009),
        (30, 0.5, 0.6828),
    ],
)
def test_students_distribution_is_that_of_the_tables(
    freedom: int, level: float, value: float
) -> None:
    assert student(freedom, level) == pytest.approx(value, abs=1e-4)
