"""What came of an episode of intuitive physics: the label holds up, and both outcomes occur."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sandbox import catalogue
from sandbox.env import SandboxEnv, policies
from sandbox.run import recipe
from sandbox.run.recipe import EpisodeChance

SOAK = "SANDBOX_SOAK" in os.environ
LATER_S = 3.0  # Simulated seconds after the end, in which all comes to rest.
Row = dict[str, list[float]]


def places(env: SandboxEnv) -> Row:
    """Where the bodies are now: x, y, z of each that is there."""
    numbers = env.world.read()
    every = {name: numbers[n * 13 : n * 13 + 7] for n, name in enumerate(env.state_bodies)}
    return {name: pose[:3] for name, pose in every.items() if any(pose[3:])}


def last_fell(env: SandboxEnv, first: Row, now: Row) -> bool:
    last = f"domino_{len(first) - 1}"
    return now[last][2] < 0.8 * first[last][2]


def toppled(env: SandboxEnv, first: Row, now: Row) -> bool:
    """The top block is nearer to the middle of the one that was below it than to its own."""
    highest, below = sorted((xyz[2] for xyz in first.values()), reverse=True)[:2]
    top = max(first, key=lambda name: first[name][2])
    return now[top][2] < (highest + below) / 2


def came_right(env: SandboxEnv, first: Row, now: Row) -> bool:
    (screen,) = [body for body in env.world.scene.bodies if body.name == "screen"]
    edge = screen.shapes[0].pose.xyz[0] + screen.shapes[0].size[0]  # pyright: ignore
    return now["object"][0] > edge


def most_in_bowl(env: SandboxEnv, first: Row, now: Row) -> bool:
    observed = dict(zip([e.name for e in env.elements], env.proprio(), strict=True))
    middle, half = observed["bowl_x"], observed["bowl_half"]
    inside = [abs(xyz[0] - middle) < half and xyz[2] < 0.12 for xyz in now.values()]
    return bool(np.mean(inside) >= 0.6)


OUTCOMES: dict[str, tuple[str, Callable[[SandboxEnv, Row, Row], bool]]] = {
    "dominoes": ("dominoes_gaps", last_fell),
    "pour": ("pour_beads", most_in_bowl),
    "ramp_occluder": ("ramp_occluder_releases", came_right),
    "tower": ("tower_pokes", toppled),
}


def outcomes(world: str, episodes: int) -> list[tuple[bool, bool]]:
    """The label of each episode of the world's recipe, and what is so when all has come to rest."""
    name, criterion = OUTCOMES[world]
    wanted, found = recipe.load(name), list[tuple[bool, bool]]()
    env = catalogue.environment(world)(account=None, scenario=wanted.scenario, split=wanted.split)
    for index in range(episodes):
        chance = EpisodeChance(wanted, index)
        env.reset(seed=chance.seed)
        first, info, over = places(env), dict[str, Any](), False
        act = policies.find(chance.policy)(env, chance.policy_rng)
        while not over:
            _, _, terminated, truncated, info = env.step(act())
            over = terminated or truncated
        env.world.step(round(LATER_S * env.physics_hz))
        found.append((bool(info["success"]), criterion(env, first, places(env))))
    env.close()
    return found


@pytest.mark.parametrize("world", OUTCOMES if SOAK else ["ramp_occluder"])
def test_the_label_is_what_is_so_at_rest_and_neither_outcome_is_rare(world: str) -> None:
    episodes = 200 if SOAK else 60
    found = outcomes(world, episodes)
    right = sum(label == so for label, so in found)
    assert right >= 0.99 * episodes, [n for n, (label, so) in enumerate(found) if label != so]
    assert 0.2 <= sum(label for label, _ in found) / episodes <= 0.8
