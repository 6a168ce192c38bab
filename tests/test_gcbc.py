"""A policy learned by imitation is an agent on goals, in a dozen lines of somebody's file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sandbox
from sandbox.goals import calls
from sandbox.models import Checkpoint
from sandbox.training.train import train
from tests.running import recipe

HERE = "tests.test_gcbc"


class Imitator:
    """Acts by a policy from its checkpoint."""

    def __init__(self, checkpoint: str) -> None:
        kept = Checkpoint.read(checkpoint)
        self._policy: Any = kept.model()
        (self.observation,), (self._aim,) = self._policy.sees, self._policy.aims
        self.image_size = kept.facts.shapes.get("pixels", [3, 64])[1]

    def begin(self, trial: Any) -> None:
        self._rows = list[torch.Tensor]()
        self._goal = {self._aim: self._tensor(self._aim, trial.goal[self._aim])[None]}

    def act(self, observation: Any, goal: Any) -> Any:
        self._rows.append(self._tensor(self.observation, observation))
        rows = torch.stack(self._rows[-self._policy.context :])[None]
        with torch.no_grad():
            return self._policy.policy({self.observation: rows}, self._goal)[0].numpy()

    @staticmethod
    def _tensor(column: str, row: Any) -> torch.Tensor:
        if column == "pixels":
            return torch.from_numpy(np.array(row)).permute(2, 0, 1)
        return torch.tensor(row, dtype=torch.float32)


@pytest.fixture(scope="module", autouse=True)
def _prices_of_policies() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_PRICES", "3")
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


def rooms(seed: int, episodes: int, **more: Any) -> Any:
    given = {"policies": {"play": 1.0}, "seed": seed, "episodes": episodes, "scenario": None}
    return recipe("two_room", **{**given, **more})


def test_an_imitator_of_numbers_reaches_goals(tmp_path: Path) -> None:
    sandbox.generate(rooms(7, 40), tmp_path / "run")
    calls.make(rooms(41, 60), tmp_path / "set.json", pairs=8, offset=12, account=None)
    settings = {"batch": 64, "horizon": 16, "warm_up": 20, "checks": 2}
    kept = tmp_path / "m.safetensors"
    told: Any = {"model": "gcbc", "size": "nano", "settings": settings, "track": []}
    made = train(tmp_path / "run", kept, updates=400, account=None, **told)
    assert made.facts.error is not None
    assert made.facts.error < 0.5
    found = [
        calls.run(tmp_path / "set.json", tmp_path / f"{n}.json", agent, seeds=1, account=None, **of)
        for n, (agent, of) in enumerate(
            [("random", {}), (f"{HERE}:Imitator", {"options": {"checkpoint": str(kept)}})]
        )
    ]
    reached = [
        sum(one.hits.moderate is not None for one in each.results.outcomes) for each in found
    ]
    print(reached, made.facts.error)
    assert reached[1] >= 2 + reached[0]


def test_an_imitator_of_pixels_is_an_agent(tmp_path: Path) -> None:
    pictures = {"observation": ["pixels", "proprio"], "image_size": 32}
    sandbox.generate(rooms(7, 6, **pictures), tmp_path / "run")
    calls.make(rooms(41, 30), tmp_path / "set.json", pairs=2, offset=12, account=None)
    kept = tmp_path / "m.safetensors"
    told: Any = {"settings": {"batch": 2, "horizon": 8, "checks": 1, "windows": 4}, "track": []}
    train(tmp_path / "run", kept, "gcbc", "nano", updates=2, account=None, **told)
    out, options = tmp_path / "out.json", {"checkpoint": str(kept)}
    found = calls.run(
        tmp_path / "set.json", out, f"{HERE}:Imitator", options=options, seeds=1, account=None
    )
    assert all(np.abs(one.actions).max() <= 1 for one in found.results.outcomes)
