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
    with tempfile.TemporaryDirectory() as folder:
        one = Stepping(name, Path(folder))
        rounds = [one.round(index) for index in range(ROUNDS + 1)][1:]  # The first warms up.
        one.close()
    ratios = [ratio for ratio, _ in rounds]
    return {
        "environment": name,
        "physics steps a step": str(one.env.physics_steps),
        "step / physics": f"{statistics.median(ratios):.3f}",
        "overhead us a step": f"{statistics.median(us for _, us in rounds):.1f}",
        "lowest, highest": f"{min(ratios):.3f}, {max(ratios):.3f}",
    }


class Stepping:
    """An environment of random actions, metered and logged to a shard in `folder`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.recipe = recipe(name)
        self.env = rollout.make(self.recipe, account=None)
        schema = rollout.schema(self.env)
        self.buffer = EpisodeBuffer(schema, self.env.max_steps + 1)
        path = folder / f"{name}-00000.h5"
        self.writer = ShardWriter(path, schema, {}, "zstd", sync=False)

    def round(self, index: int) -> tuple[float, float]:
        """Return an episode's time over that of its physics, and the difference a step [us]."""
        count, actions, logged = self._logged(index)
        raw = self._raw(actions, EpisodeChance(self.recipe, index).seed)
        return logged / raw, (logged - raw) / count * 1e6

    def close(self) -> None:
        """Give the file and the environment back."""
        self.writer.abandon()
        self.env.close()

    def _logged(self, index: int) -> tuple[int, NDArray[np.float32], float]:
        """Live, meter and log an episode; return its steps, its actions and the seconds it took.

        The reset is not in it: it has a row of its own. The digest and the commit to the file are;
        waiting for the disk is not: that is one wait an episode, whatever its steps cost.
        """
        env, chance = self.env, EpisodeChance(self.recipe, index)
        size = (env.max_steps, env.action_size)
        actions = chance.policy_rng.uniform(-1, 1, size).astype(np.float32)
        taken = iter(actions)
        begun = [0.0]

        def policy(_: SandboxEnv):
            begun[0] = time.perf_counter()
            return lambda: next(taken)

        count, success = rollout.rollout(env, policy, self.buffer, chance.seed)
        rollout.finish(env, self.buffer, count, index)
        facts = rollout.record(env, self.recipe, "bench", index, chance, count)
        self.writer.append(self.buffer.episode(count, {**facts, "success": success}))
        return count, actions[:count], time.perf_counter() - begun[0]

    def _raw(self, actions: NDArray[np.float32], seed: int) -> float:
        """Return the seconds that the same physics takes, its commands not counted."""
        env = self.env
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
