"""Promises that every environment of the catalogue keeps; `sandbox.testing` has most of them.

The long version (SANDBOX_SOAK=1, `make soak`) tries the scripted policy in 100 episodes, not in 3.
"""

import os
import re
from functools import cache

import gymnasium
import pytest

from sandbox import catalogue
from sandbox.env import SandboxEnv
from sandbox.testing import WorldContract
from sandbox.testing.contracts import elsewhere


@cache
def lived_elsewhere() -> dict[str, str]:
    """The digest of an episode of each world in another process: one process for all."""
    names = catalogue.environments()
    return dict(zip(names, elsewhere(*map(catalogue.environment, names)), strict=True))


class TestEveryWorld(WorldContract):
    """What an author's world must pass, ours pass too."""

    seeds = 100 if "SANDBOX_SOAK" in os.environ else 3

    @pytest.fixture(autouse=True)
    def _each(self, environment: str) -> None:
        self.world = catalogue.environment(environment)

    def lived_elsewhere(self) -> str:
        return lived_elsewhere()[self.world.name()]


def test_nothing_is_broken() -> None:
    assert catalogue.faults() == []
    assert [name for name, _ in catalogue.importable()] == catalogue.environments()


def test_the_specification_is_plain_json_and_has_the_length_of_an_episode(
    environment: str,
) -> None:
    id = f"sandbox:{catalogue.gym_id(environment)}"
    env = gymnasium.make(id, observation=["proprio"], budget=2.5)
    assert env.spec is not None
    assert env.spec.to_json()
    assert env.spec.max_episode_steps == catalogue.environment(environment).max_episode_steps()
    env.close()


def test_the_documentation_says_what_there_is(env: SandboxEnv) -> None:
    text = type(env).__doc__ or ""
    for line in ("Observation", "Action", "Reward", "Ends"):
        assert re.search(rf"^    {line}\b.*:", text, re.MULTILINE), line
    assert f"float32 ({len(env.elements)},)" in text
    assert f"float32 ({env.action_size},)" in text


def test_factors_are_physical_and_visual(env: SandboxEnv) -> None:
    assert len(env.factors) >= 8
    told = " ".join(env.factors)
    for kind in (
        "mass|density|payload",
        "friction|damping|strength|drag",
        "color",
        "light_",
        "camera_",
        "action_",
    ):
        assert re.search(kind, told), kind


def test_every_environment_has_three_scenarios_with_splits(environment: str) -> None:
    from sandbox.scenario import load

    mine = [load(s)[0] for s in catalogue.scenarios() if load(s)[0].environment == environment]
    assert len(mine) >= 3
    for scenario in mine:
        scenario.check(catalogue.environment(environment).factors, environment)
        assert len(scenario.splits) >= 2
        assert scenario.summary.endswith(("?", "."))


def test_a_scenario_has_the_splits_that_generalisation_is_measured_on(environment: str) -> None:
    from sandbox.scenario import load

    it, factors = load(f"{environment}_varied")[0], catalogue.environment(environment).factors
    assert list(it.splits) == ["train", "interpolation", "extrapolation", "combination"]
    (varied,) = it.splits["interpolation"]
    (same,) = it.splits["extrapolation"]
    assert varied == same
    seen = {
        split: [float(it.sample(factors, seed, split)[varied]) for seed in range(60)]  # pyright: ignore
        for split in it.splits
    }
    trained, hole, shell = (seen[s] for s in ("train", "interpolation", "extrapolation"))
    assert min(trained) < min(hole) <= max(hole) < max(trained)
    assert all(v < min(trained) or v > max(trained) for v in shell)
    assert min(shell) < min(trained)
    assert max(trained) < max(shell)
    assert len(it.splits["combination"]) == 3  # Two that are rare together, and not in the hole.


def test_every_environment_has_two_cameras(env: SandboxEnv) -> None:
    env.reset(seed=0)
    assert len(env.world.scene.cameras) >= 2
