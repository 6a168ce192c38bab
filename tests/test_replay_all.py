"""Every world, with everything that may happen in it: simulated again bit for bit.

The long version (SANDBOX_SOAK=1, `make soak`) simulates 200 episodes of each, and branches of every
kind.
"""

import json
import os
from pathlib import Path
from typing import Any

from running import recipe

import sandbox
from sandbox import catalogue
from sandbox.scenario.factors import Color
from sandbox.scene import movable

SOAK = "SANDBOX_SOAK" in os.environ
EPISODES = 200 if SOAK else 2
POLICIES = ("random", "ou_noise", "scripted", "scripted_noisy", "play")


def free_bodies(name: str) -> list[str]:
    env = catalogue.environment(name)(account=None)
    env.reset(seed=0)
    found = [body for body in movable(env.world.scene) if body in env.state_bodies]
    env.close()
    return found


def disturbances(name: str, free: list[str]) -> list[dict[str, Any]]:
    """A change of looks and light, a camera elsewhere; and a kick and a jump of what is free."""
    factors = catalogue.environment(name).factors
    color = next(key for key, factor in factors.items() if isinstance(factor, Color))
    happens: list[dict[str, Any]] = [
        {"at_s": 0.3, "change": {color: "teal", "light_ambient": {"uniform": [0.3, 0.7]}}},
        {"at_s": 0.6, "camera": {"main": {"eye": [0.5, -2.5, 1.5], "target": [0, 0, 0.2]}}},
    ]
    if free:
        speed = [{"uniform": [-0.5, 0.5]}, 0.2, 0.0]
        happens.append({"at_s": 0.4, "kick": {"body": free[0], "speed_m_s": speed}})
        happens.append({"at_s": {"uniform": [0.5, 0.9]}, "ghost": free[0]})
    return happens


def test_disturbed_episodes_and_branches_of_every_world_replay(
    environment: str, tmp_path: Path
) -> None:
    free = free_bodies(environment)
    scenario: dict[str, Any] = {
        "format": 1,
        "environment": environment,
        "extends": f"{environment}_varied",
    }
    if not SOAK:
        scenario["limit_s"] = 1.0
    path = tmp_path / "disturbed.yaml"
    path.write_text(json.dumps(scenario | {"disturbances": disturbances(environment, free)}))
    wanted = recipe(
        environment,
        scenario=str(path),
        split="train",
        policies=dict.fromkeys(POLICIES, 1.0),
        episodes=EPISODES,
        labels=True,
        observation=["proprio", "factors", "pixels"],
        image_size=16,
    )
    sandbox.generate(wanted, tmp_path / "run")
    report = sandbox.verify(tmp_path / "run")
    assert report.faults == []
    assert report.replayed == EPISODES
    body = f":{free[0]}" if free else ""
    kinds = ["same", "noop", "random"] if SOAK or not free else ["same"]
    kinds += [f"{kind}{body}" for kind in ("impulse", "vanish", "teleport", "recolor") if free]
    ways: dict[str, Any] = {"episode": 1, "step": 4, "kinds": kinds, "k": max(1, EPISODES // 40)}
    made = sandbox.branch(tmp_path / "run", tmp_path / "branches", **ways)
    report = sandbox.verify(tmp_path / "branches")
    assert report.faults == []
    assert report.replayed == made.episodes
