"""Plans are ordered as the simulator orders them, by a model that knows it; seeds are pooled."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from running import cli, recipe
from torch import Tensor, nn

import sandbox
from sandbox.errors import FormatError, InvalidInputError
from sandbox.evaluation import evaluate, plans
from sandbox.evaluation.evaluation import Evaluation
from sandbox.goals import calls
from sandbox.models import Checkpoint
from sandbox.training.train import train

STEP_M, PLACES = 0.015, (0, 2)  # Of an agent in two_room, at full action; and where it is.
SHAPES = {"state": (4,), "action": (2,), "proprio": (11,)}
FEW: Any = {"windows": 12, "horizons": (1, 4), "reading": 0}


def rooms(seed: int, episodes: int, **more: Any) -> Any:
    given = {"policies": {"play": 1.0}, "scenario": "two_room_varied", "split": "train"}
    return recipe("two_room", seed=seed, episodes=episodes, **given, **more)


class Walker(nn.Module):
    """Knows how an agent walks where there are no walls; its actions are off by noise."""

    needs, gives, context = ("state",), ("state",), 1

    def __init__(self, noise: float) -> None:
        super().__init__()
        self._noise = noise

    def encode(self, context: Mapping[str, Tensor], actions: Tensor) -> dict[str, Tensor]:
        return {"state": context["state"][:, -1]}

    def step(self, state: dict[str, Tensor], action: Tensor) -> dict[str, Tensor]:
        walked = state["state"].clone()
        moved = action + self._noise * torch.randn(action.shape)
        walked[:, PLACES] += STEP_M * (moved if self._noise >= 0 else 0)
        return {"state": walked}

    def decode(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return state

    def loss(self, batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        return {}


@pytest.fixture(scope="module", autouse=True)
def _prices_of_plans() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_PRICES", "3")
        yield


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder: runs, two seeds of a model of states, a goal set, and results on it."""
    folder = tmp_path_factory.mktemp("planned")
    sandbox.generate(rooms(7, 10), folder / "seen")
    sandbox.generate(rooms(8, 10), folder / "apart")
    told: Any = {"settings": {"batch": 8, "horizon": 4, "checks": 1}, "account": None, "track": []}
    for seed in (0, 1):
        told["settings"] |= {"seed": seed}
        train(folder / "seen", folder / f"{seed}.safetensors", "mlp", "nano", updates=120, **told)
    goals, train_run = folder / "goals.json", folder / "seen"
    plain = recipe("two_room", policies={"play": 1.0}, seed=41, episodes=40, scenario=None)
    calls.make(plain, goals, pairs=4, offset=12, account=None, apart_from=[train_run])
    calls.run(goals, folder / "random.json", "random", seeds=1, account=None)
    return folder


def judged(folder: Path, **more: Any) -> Evaluation:
    return evaluate(folder / "0.safetensors", folder / "apart", **{**FEW, **more})


def test_plans_are_ordered_worse_by_a_worse_model(planned: Path) -> None:
    goals = calls.read_set(planned / "goals.json").set
    every = list[dict[str, Any]]()
    for noise in (0.0, 3.0, -1.0):  # The last is deaf to actions.
        found = plans.ranked(Walker(noise), SHAPES, goals, 24, 0, trust_code=False)
        every.append(plans.figures(found)["by"]["state"])
    for name in ("random", "near"):
        good, noisy, deaf = (one[name]["value"] for one in every)
        assert good > 0.6
        assert good > noisy
        assert deaf == 0.0
    assert every[0]["regret"]["value"] < 0.2 < every[2]["regret"]["value"]
    assert every[2]["regret"]["value"] == pytest.approx(1.0)


def test_true_costs_are_those_of_the_known_solution_and_worse(planned: Path) -> None:
    goals = calls.read_set(planned / "goals.json").set
    found = plans.ranked(Walker(0.0), SHAPES, goals, 24, 0, trust_code=False)
    assert found.true.shape == (4, 24)
    assert (
        found.true[:, 12] <= found.true.min(1) * 1.5
    ).all()  # It is the first of the second half.
    assert (found.true[:, 12] < np.median(found.true, axis=1)).all()


def test_an_evaluation_has_plans_results_factors_and_seeds(planned: Path, tmp_path: Path) -> None:
    names = ["--goals", "goals.json", "--results", "random.json", "--also", "1.safetensors"]
    given = [one if one.startswith("--") else str(planned / one) for one in names]
    done = cli(
        *("evaluate", str(planned / "0.safetensors"), str(planned / "apart"), *given),
        *("--out", str(tmp_path / "out"), "--windows", "12", "--horizons", "1,4"),
        *("--candidates", "8", "--json"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == found
    assert found["plans"]["pairs"] == 4
    assert found["plans"]["by"]["state"]["near"]["value"] > 0.3
    assert "shares neither seed nor state" in found["plans"]["notes"][0]
    assert [one["agent"] for one in found["plans"]["reached"]] == ["random"]
    assert {one["name"] for one in found["factors"]}
    assert [one["seed"] for one in found["seeds"]["models"]] == [0, 1]
    row = next(one for one in found["seeds"]["rows"] if one["over"] is None)
    low, high = sorted(each[0] for each in row["each"])
    assert low <= row["iqm"][0]["value"] <= high or row["iqm"][0]["value"] == pytest.approx(
        low, 0.2
    )
    page = (tmp_path / "out" / "page.html").read_text()
    for title in ("Plans", "Factors", "2 seeds of the model"):
        assert f"<h2>{title}</h2>" in page


def test_a_model_of_pictures_is_judged_beside_true_pictures(tmp_path: Path) -> None:
    seen: Any = {"observation": ["pixels", "proprio"], "image_size": 32}
    for name, seed in (("seen", 7), ("apart", 8)):
        sandbox.generate(rooms(seed, 3, **seen), tmp_path / name)
    calls.make(rooms(41, 30), tmp_path / "goals.json", pairs=2, offset=8, account=None)
    told: Any = {"settings": {"batch": 2, "horizon": 3, "checks": 1}, "account": None, "track": []}
    train(tmp_path / "seen", tmp_path / "m.safetensors", "conv", "nano", updates=2, **told)
    found = evaluate(
        tmp_path / "m.safetensors",
        tmp_path / "apart",
        goals=tmp_path / "goals.json",
        candidates=8,
        **FEW,
    )
    assert found.plans is not None
    assert found.plans["by"][plans.TRUE]["near"]["value"] > 0.3
    assert (
        found.plans["by"]["pixels"]["near"]["value"]
        < found.plans["by"][plans.TRUE]["near"]["value"]
    )
    assert "was not compared with the training data" in found.plans["notes"][0]


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"results": ["random.json"]}, InvalidInputError, "give it as `goals`"),
        ({"goals": "random.json"}, FormatError, "is no goal set"),
        ({"goals": "task.json"}, InvalidInputError, "the world's own task"),
        ({"goals": "trained.json"}, InvalidInputError, "of a run that the model was trained on"),
        ({"goals": "cart.json"}, InvalidInputError, "rows of shape .* in the goal set's world"),
        ({"goals": "other.json", "results": ["random.json"]}, FormatError, "are of the set"),
        ({"also": ["0.safetensors"]}, InvalidInputError, "has the weights of another one"),
        ({"also": ["wide.safetensors"]}, InvalidInputError, "has other options than"),
        ({"candidates": 3}, InvalidInputError, "candidates"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    planned: Path, tmp_path: Path, given: dict[str, Any], error: Any, said: str
) -> None:
    make: Any = calls.make
    asked = {"pairs": 1, "account": None}
    match given.get("goals"):
        case "task.json":
            make(rooms(3, 5), tmp_path / "task.json", kind="task", **asked)
        case "trained.json":
            make(planned / "seen", tmp_path / "trained.json", offset=12, **asked)
        case "cart.json":
            source = recipe("cartpole_swingup", policies={"play": 1.0}, episodes=40, scenario=None)
            make(source, tmp_path / "cart.json", offset=10, **asked)
        case "other.json":
            make(rooms(42, 20), tmp_path / "other.json", offset=12, **asked)
        case _:
            pass
    if given.get("also") == ["wide.safetensors"]:
        kept = Checkpoint.read(planned / "1.safetensors")
        options = {**kept.facts.options, "width": 8}
        facts = kept.facts.model_copy(update={"options": options})
        Checkpoint(facts, kept.weights, {}).write(tmp_path / "wide.safetensors")

    def placed(name: str) -> Path:
        return tmp_path / name if (tmp_path / name).exists() else planned / name

    told = {
        name: [placed(one) for one in value]
        if isinstance(value, list)
        else placed(value)
        if isinstance(value, str)
        else value
        for name, value in given.items()
    }
    with pytest.raises(error, match=said):
        judged(planned, out=tmp_path / "out", **told)
    assert not (tmp_path / "out").exists()
