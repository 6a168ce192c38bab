"""What no set, result or option of goals may say is refused in a sentence, and costs nothing."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sandbox import goals as sets
from sandbox.errors import FormatError, InvalidInputError, PlanningError
from sandbox.goals import calls, floors
from sandbox.goals.results import Filed
from sandbox.ledger import Ledger
from tests.running import cli, recipe

RECIPE = recipe("two_room", policies={"play": 1.0, "scripted_noisy": 1.0}, seed=900, episodes=50)
HERE = "tests.test_goals_refused"


@pytest.fixture(scope="module")
def set_and_noop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A set, and what doing nothing gave on it."""
    folder = tmp_path_factory.mktemp("refused")
    calls.make(RECIPE, folder / "set.json", pairs=2, offset=10, account=None)
    calls.run(folder / "set.json", folder / "noop.json", account=None)
    return folder / "set.json", folder / "noop.json"


class Lost:
    """A model that does not know what anything costs."""

    def rollout(self, start: Any, actions: Any) -> Any:
        return np.full(len(actions), np.nan)


def forged(path: Path, out: Path, change: Callable[[Any], None]) -> Path:
    """Write a changed file with the digest that it then has, as whoever forges does."""
    data = json.loads(path.read_text())
    name = "set" if "set" in data else "results"
    change(data[name])
    plain = json.dumps(data[name], sort_keys=True, separators=(",", ":"))
    head = f"sandbox.goals/{name}\n"
    data["note"] = f"{head}{hashlib.sha256((head + plain).encode()).hexdigest()}\n"
    out.write_text(json.dumps(data))
    return out


def _unreached(data: Any) -> None:
    data["pairs"][0]["hits"] = {"moderate": None, "strict": None}


def _late(data: Any) -> None:
    data["pairs"][0]["hits"] = {"moderate": 10**400, "strict": 10**400}


def _endless(data: Any) -> None:
    data["budget"] = 10**400


@pytest.mark.parametrize("change", [_unreached, _late, _endless])
def test_a_set_with_numbers_that_no_set_has_is_refused(
    set_and_noop: tuple[Path, Path], tmp_path: Path, change: Callable[[Any], None]
) -> None:
    with pytest.raises(FormatError, match="edited or damaged"):
        calls.read_set(forged(set_and_noop[0], tmp_path / "set.json", change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda pair: pair.update(distance=1.5), "its start is .* tolerances from its goal"),
        (lambda pair: pair.update(known=f"2:{'AAAA' * 1000}"), "leads to another state"),
    ],
)
def test_what_a_set_says_of_a_pair_is_checked(
    set_and_noop: tuple[Path, Path], tmp_path: Path, change: Callable[[Any], None], said: str
) -> None:
    made = forged(set_and_noop[0], tmp_path / "set.json", lambda data: change(data["pairs"][1]))
    (fault,) = calls.check(made)
    assert fault.startswith("pair 1: ")
    assert re.search(said, fault)


def test_a_known_solution_longer_than_the_budget_is_named(
    set_and_noop: tuple[Path, Path], tmp_path: Path
) -> None:
    made = forged(set_and_noop[0], tmp_path / "set.json", lambda data: data.update(budget=9))
    assert calls.check(made) == [f"pair {n}: its known solution has 10 steps, of 9" for n in (0, 1)]


def test_a_budget_in_which_nothing_known_reaches_the_goal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="less than the offset of 10"):
        calls.make(RECIPE, tmp_path / "set.json", pairs=2, offset=10, budget=9, account=None)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(charge_micro=10**400),
        lambda data: data["outcomes"][0].update(hits={"moderate": 10**400, "strict": 10**400}),
        lambda data: data["head"].update(seeds=[-1]),
    ],
)
def test_results_with_numbers_that_no_results_have_are_refused(
    set_and_noop: tuple[Path, Path], tmp_path: Path, change: Callable[[Any], None]
) -> None:
    with pytest.raises(FormatError, match="edited or damaged"):
        Filed.read(forged(set_and_noop[1], tmp_path / "r.json", change))


def test_a_damaged_signature_is_told_with_its_file(
    set_and_noop: tuple[Path, Path], tmp_path: Path
) -> None:
    data = json.loads(set_and_noop[1].read_text())
    data["note"] = data["note"].split("\n\n")[0].rstrip("\n") + "\n\n— local AAAA\n"
    (tmp_path / "r.json").write_text(json.dumps(data))
    with pytest.raises(FormatError, match=r"r\.json: its tries are signed wrongly: a signature"):
        Filed.read(tmp_path / "r.json")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_without_costs_is_told_with_pair_and_seed(
    set_and_noop: tuple[Path, Path], tmp_path: Path, workers: int
) -> None:
    given = {"preset": "cheap", "model": f"{HERE}:Lost"}
    kind = PlanningError if workers == 1 else Exception
    with pytest.raises(kind, match="agent 'icem', pair 0, seed 0: not one of the 64 costs"):
        calls.run(
            set_and_noop[0], tmp_path / "r.json", "icem", given, account=None, workers=workers
        )


def test_an_agent_that_cannot_act_on_a_set_is_refused_before_floors_are_paid(
    set_and_noop: tuple[Path, Path], tmp_path: Path
) -> None:
    ledger, goals = Ledger(), calls.read_set(set_and_noop[0]).set
    ledger.open_account("nobody", "postpaid")
    with pytest.raises(InvalidInputError, match="goals of another kind"):
        floors.quote(goals, tmp_path / "r.json", "scripted", {})
    out = ("--out", tmp_path / "r.json", "--account", "nobody")
    assert cli("goals", "run", set_and_noop[0], "--agent", "scripted", *out).returncode == 2
    assert ledger.balance("nobody").posted_micro == 0
    assert not [*tmp_path.glob("*.json*")]


def test_a_folder_of_something_else_is_refused_before_a_try(
    set_and_noop: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    out = ("--out", tmp_path / "r.json", "--keep", tmp_path / "notes")
    done = cli("goals", "run", set_and_noop[0], "--agent", "noop", *out)
    assert done.returncode == 2
    assert "holds something that is no run" in done.stderr
    assert not (tmp_path / "r.json").exists()


def test_results_that_are_there_cost_nothing_to_keep_but_the_rows(
    set_and_noop: tuple[Path, Path],
) -> None:
    goals = calls.read_set(set_and_noop[0]).set
    assert floors.quote(goals, set_and_noop[1], "noop", {}, again=True) == 0
    assert floors.quote(goals, set_and_noop[1], "noop", {}) > 0


def test_every_option_of_a_planner_is_among_the_known(set_and_noop: tuple[Path, Path]) -> None:
    with pytest.raises(InvalidInputError, match=r"Did you mean 'model'.* model_options.* preset"):
        calls.quote(set_and_noop[0], "icem", {"modle": f"{HERE}:Lost"})


def test_an_environment_of_a_pair_observes_something(set_and_noop: tuple[Path, Path]) -> None:
    with pytest.raises(InvalidInputError, match="observation"):
        sets.open(set_and_noop[0])[0].reset([])
