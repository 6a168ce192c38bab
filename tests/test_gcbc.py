"""A policy learned by imitation is an agent on goals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sandbox
from sandbox.errors import InvalidInputError
from sandbox.goals import calls
from sandbox.models import Checkpoint
from sandbox.training.train import train
from tests.running import recipe


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


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files: a goal set, a policy that sees states, one that sees proprio, and a world model."""
    folder = tmp_path_factory.mktemp("policies")
    sandbox.generate(rooms(7, 3), folder / "run")
    calls.make(rooms(41, 30), folder / "goals.json", pairs=1, offset=12, account=None)
    told: Any = {"settings": {"batch": 2, "horizon": 8, "checks": 1}, "track": [], "updates": 1}
    made = {"goals": str(folder / "goals.json")}
    for name, model, options in (
        ("kept", "gcbc", {"sees": "state"}),
        ("other", "gcbc", {}),
        ("world", "mlp", {}),
    ):
        made[name] = str(folder / f"{name}.safetensors")
        train(folder / "run", made[name], model, "nano", options=options, account=None, **told)
    return made


def test_an_imitator_of_numbers_reaches_goals(tmp_path: Path) -> None:
    sandbox.generate(rooms(7, 40), tmp_path / "run")
    calls.make(rooms(41, 60), tmp_path / "set.json", pairs=8, offset=12, account=None)
    settings = {"batch": 64, "horizon": 16, "warm_up": 20, "checks": 2}
    kept = tmp_path / "m.safetensors"
    told: Any = {"model": "gcbc", "size": "nano", "settings": settings, "track": []}
    made = train(tmp_path / "run", kept, updates=400, account=None, **told)
    assert made.facts.error is not None
    assert made.facts.error < 0.5
    run: Any = calls.run
    found = [
        run(tmp_path / "set.json", tmp_path / f"{n}.json", agent, seeds=1, account=None, **of)
        for n, (agent, of) in enumerate(
            [("random", {}), ("gcbc", {"options": {"model": str(kept)}})]
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
    out, options = tmp_path / "out.json", {"model": str(kept)}
    given: Any = {"options": options, "seeds": 1, "account": None}
    found = calls.run(tmp_path / "set.json", out, "gcbc", **given).results
    assert all(np.abs(one.actions).max() <= 1 for one in found.outcomes)
    assert found.head.options == {"model": kept.name, "checkpoint": Checkpoint.read(kept).digest}
    assert not calls.verify(out, tmp_path / "set.json")
    again = calls.run(tmp_path / "set.json", tmp_path / "2.json", "gcbc", workers=2, **given)
    assert again.results.digest == found.digest


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "give model=NAME.safetensors alone"),
        ({"model": "policy"}, "give model=NAME.safetensors alone"),
        ({"model": "{kept}", "preset": "cheap"}, "give model=NAME.safetensors alone"),
        ({"model": "{kept}"}, "sees state, and an agent is told pixels and proprio alone"),
        ({"model": "{world}"}, "is a world model, which imagines and does not act"),
    ],
)
def test_what_is_no_policy_is_refused(
    policies: dict[str, str], tmp_path: Path, options: dict[str, str], said: str
) -> None:
    given = {name: value.format(**policies) for name, value in options.items()}
    with pytest.raises(InvalidInputError, match=said):
        calls.run(policies["goals"], tmp_path / "out.json", "gcbc", given, account=None)
    assert not (tmp_path / "out.json").exists()


def test_a_policy_of_another_world_is_refused(policies: dict[str, str], tmp_path: Path) -> None:
    calls.make(
        recipe("cartpole_swingup", policies={"play": 1.0}, episodes=40, scenario=None),
        tmp_path / "cart.json",
        **{"pairs": 1, "offset": 10, "account": None},
    )
    with pytest.raises(InvalidInputError, match=r"has rows of shape .* and the policy was trained"):
        calls.run(
            tmp_path / "cart.json",
            tmp_path / "out.json",
            "gcbc",
            {"model": policies["other"]},
            account=None,
        )
