"""What a step costs beyond the physics inside it, and what a reset costs."""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sandbox import catalogue, rollout
from sandbox.env import SandboxEnv
from sandbox.recipe import EpisodeChance, Recipe
from sandbox.trajectory import EpisodeBuffer, ShardWriter

ROUNDS = 25


def recipe(environment: str, episodes: int = 100_000, **changes: object) -> Recipe:
    """Return a recipe of random actions, states alone."""
    given = {"format": 1, "environment": environment, "policies": {"random": 1.0}}
    return Recipe.model_validate({**given, "episodes": episodes, **changes})


def steps(names: list[str]) -> list[dict[str, str]]:
    """Measure, per environment, a logged and metered step over its own physics."""
    return [_step(name) for name in names]


def _step(name: str) -> dict[str, str]:
    wanted = recipe(name)
    env = rollout.make(wanted, account=None)
    buffer = EpisodeBuffer(rollout.schema(env), env.max_steps + 1)
    ratios: list[float] = []
    micro: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard-00000.h5"
        with ShardWriter(path, rollout.schema(env), {}, "zstd", sync=False) as writer:
            for index in range(ROUNDS + 1):
                count, actions, logged = _logged(env, wanted, buffer, writer, index)
                raw = _raw(env, actions, EpisodeChance(wanted, index).seed)
                if index:  # The first round warms up.
                    ratios.append(logged / raw)
                    micro.append((logged - raw) / count * 1e6)
    env.close()
    return {
        "environment": name,
        "physics steps a step": str(env.physics_steps),
        "step / physics": f"{statistics.median(ratios):.3f}",
        "overhead us a step": f"{statistics.median(micro):.1f}",
        "lowest, highest": f"{min(ratios):.3f}, {max(ratios):.3f}",
    }


def _logged(
    env: SandboxEnv, wanted: Recipe, buffer: EpisodeBuffer, writer: ShardWriter, index: int
) -> tuple[int, NDArray[np.float32], float]:
    """Live, meter and log an episode; return its steps, its actions and the seconds it took.

    The reset is not in it: it has a row of its own. The digest and the commit to the file are;
    waiting for the disk is not: that is one wait an episode, whatever its steps cost.
    """
    chance = EpisodeChance(wanted, index)
    actions = chance.policy_rng.uniform(-1, 1, (env.max_steps, env.action_size)).astype(np.float32)
    taken = iter(actions)
    begun = [0.0]

    def policy(_: SandboxEnv):
        begun[0] = time.perf_counter()
        return lambda: next(taken)

    count, success = rollout.rollout(env, policy, buffer, chance.seed)
    rollout.finish(env, buffer, count, index)
    facts = rollout.record(env, wanted, "bench", index, chance, count)
    writer.append(buffer.episode(count, {**facts, "success": success}))
    return count, actions[:count], time.perf_counter() - begun[0]


def _raw(env: SandboxEnv, actions: NDArray[np.float32], seed: int) -> float:
    """Return the seconds that the same physics takes, its commands not counted."""
    env.reset(seed=seed)
    total = 0.0
    for action in actions.tolist():
        env.act(action)
        begun = time.perf_counter()
        env.world.step(env.physics_steps)
        total += time.perf_counter() - begun
        env.row = env.world.read()
        env.arrived()
    return total


def resets(names: list[str]) -> list[dict[str, str]]:
    """Measure the rebuild of a scene, and a whole reset."""
    rows: list[dict[str, str]] = []
    for name in names:
        env = catalogue.environment(name)(account=None)
        rebuild: list[float] = []
        whole: list[float] = []
        for seed in range(60):
            begun = time.perf_counter()
            env.reset(seed=seed, options={"variation": ["all"]})
            whole.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            env.world.build(env.world.scene)
            rebuild.append(time.perf_counter() - begun)
        env.close()
        rows.append(
            {
                "environment": name,
                "rebuild ms": f"{statistics.median(rebuild) * 1e3:.2f}",
                "reset ms": f"{statistics.median(whole) * 1e3:.2f}",
            }
        )
    return rows
