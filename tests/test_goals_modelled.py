"""A planner plans on a model of yours, told in one line, and its results hold like all others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from sandbox.errors import SandboxError
from sandbox.goals import calls
from sandbox.goals.results import Filed, Results
from tests.running import cli, recipe

HERE = "tests.test_goals_modelled"
PLAN = {"preset": "cheap", "iterations": 3, "horizon": 10, "replan": 5}


@pytest.fixture(scope="module")
def room_goals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("goals") / "set.json"
    source = recipe("two_room", policies={"play": 1.0}, seed=41, episodes=60, scenario=None)
    calls.make(source, path, pairs=4, offset=12, account=None)
    return path


class Straight:
    """A model of a room without walls, in which the agent moves `speed` metres a step."""

    observation = "proprio"

    def __init__(self, speed: float = 0.04, fault: str = "") -> None:
        self._speed, self._fault = speed, fault

    def begin(self, trial: Any) -> None:
        self._goal = torch.tensor(trial.goal["state"][[0, 2]], dtype=torch.float32)

    def rollout(self, start: Any, actions: Any) -> Any:
        if self._fault == "shape":
            return np.zeros(3)
        assert len(start.observations) == len(start.actions) + 1
        here = torch.tensor(start.observations[-1][:2], dtype=torch.float32)
        return here + self._speed * torch.from_numpy(actions).cumsum(1)

    def cost(self, found: Any, start: Any) -> Any:
        away = (found - self._goal).norm(dim=-1)
        return away.mean(1) + away.min(1).values


class Together:
    """The same model, which takes several pairs in one call; it says how many it was given."""

    observation = "proprio"
    asked: ClassVar[list[int]] = []

    def __init__(self, faulty: bool = False) -> None:
        self._faulty = faulty

    def rollout(self, start: Any, actions: Any) -> Any:
        return self.rollouts([start], actions[None])[0]

    def rollouts(self, starts: Any, actions: Any) -> Any:
        self.asked.append(len(starts))
        here = np.array([one.observations[-1][:2] for one in starts])[:, None, None]
        goal = np.array([one.goal["state"][[0, 2]] for one in starts])[:, None, None]
        away = np.sqrt(np.square(here + 0.04 * actions.cumsum(2) - goal).sum(-1))
        return (away.mean(2) + away.min(2))[self._faulty :]


def run(goals_file: Path, out: Path, seeds: int = 1, **options: Any) -> Filed:
    given = {key: options.pop(key, 1) for key in ("workers", "batch")}
    told = {**PLAN, "model": f"{HERE}:Straight", **options}
    return calls.run(goals_file, out, "icem", options=told, seeds=seeds, account=None, **given)


def reached(found: Results) -> int:
    return sum(one.hits.moderate is not None for one in found.outcomes)


def test_a_model_of_yours_plans_better_than_chance(room_goals: Path, tmp_path: Path) -> None:
    found = run(room_goals, tmp_path / "icem.json").results
    floor = calls.run(room_goals, tmp_path / "random.json", "random", seeds=1, account=None).results
    assert reached(found) >= 3 > 1 >= reached(floor)
    assert found.head.options["model"] == f"{HERE}:Straight"
    assert found.head.options["samples"] == 64
    assert len(found.head.agent_code) == 64


def test_its_results_depend_on_the_seed_alone(room_goals: Path, tmp_path: Path) -> None:
    made = [run(room_goals, tmp_path / f"{n}.json", workers=n).results for n in (1, 2)]
    evidence = [[each.evidence for each in one.outcomes] for one in made]
    assert evidence[0] == evidence[1]
    other = run(room_goals, tmp_path / "other.json", model_options={"speed": 0.01}).results
    assert other.head.digest != made[0].head.digest


@pytest.fixture(scope="module")
def pair_by_pair(room_goals: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Evidence of what comes of three seeds, where each call asks about one pair."""
    return together(room_goals, tmp_path_factory.mktemp("pairs") / "1.json", 1, 1)


def together(room_goals: Path, out: Path, batch: int, workers: int) -> list[str]:
    found = run(room_goals, out, 3, workers=workers, batch=batch, model=f"{HERE}:Together")
    return [one.evidence for one in found.results.outcomes]


@pytest.mark.parametrize(("batch", "workers"), [(4, 1), (16, 1), (4, 2)])
def test_its_results_do_not_depend_on_the_pairs_in_a_call(
    room_goals: Path, pair_by_pair: list[str], tmp_path: Path, batch: int, workers: int
) -> None:
    Together.asked.clear()
    assert together(room_goals, tmp_path / "out.json", batch, workers) == pair_by_pair
    assert len(pair_by_pair) == 12
    assert max(Together.asked, default=0) == (min(batch, 12) if workers == 1 else 0)


def test_a_model_that_answers_for_fewer_pairs_is_named(room_goals: Path, tmp_path: Path) -> None:
    told = {"model": f"{HERE}:Together", "model_options": {"faulty": True}, "batch": 2}
    with pytest.raises(SandboxError, match="gave 1 answers for 2 pairs"):
        run(room_goals, tmp_path / "out.json", **told)


def test_a_model_that_takes_one_pair_is_not_given_several(room_goals: Path, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="batch 4: agent 'icem' has no model that takes several"):
        run(room_goals, tmp_path / "out.json", batch=4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "nowhere:Model"}, "model 'nowhere:Model': cannot be made"),
        ({"model": "Straight"}, "MODULE:FUNCTION of a module"),
        ({"model": 7}, "MODULE:FUNCTION of a module"),
        ({"model": f"{HERE}:none"}, "cannot be made"),
        ({"model": "builtins:dict"}, "returns dict, which has no rollout"),
        ({"model_options": [1]}, "give a mapping"),
        ({"model_options": {"weight": 1}}, "cannot be made"),
        ({"model_options": {"fault": "shape"}}, r"costs of shape|failed"),
        ({"samples": 1}, "samples must be"),
    ],
)
def test_a_model_that_is_none_is_refused(
    room_goals: Path, tmp_path: Path, options: Mapping[str, Any], said: str
) -> None:
    with pytest.raises(SandboxError, match=said):
        run(room_goals, tmp_path / "out.json", **options)
    assert not (tmp_path / "out.json").exists()


def test_a_model_is_named_on_the_command_line(room_goals: Path, tmp_path: Path) -> None:
    out = tmp_path / "icem.json"
    words = [f"{key}={value}" for key, value in {**PLAN, "model": f"{HERE}:Straight"}.items()]
    asked = [word for one in words for word in ("--set", one)]
    done = cli("goals", "run", str(room_goals), "--agent", "icem", *asked, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert cli("goals", "verify", str(out), str(room_goals)).returncode == 0
