"""How fast rows become durable columns."""

import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks.stepping import recipe
from sandbox import rollout
from sandbox.recipe import EpisodeChance
from sandbox.trajectory import EpisodeBuffer, ShardWriter

EPISODES = 60


def rates(folder: Path) -> list[dict[str, str]]:
    """Append a recorded state episode again and again: digest, columns, record, commit."""
    rows: list[dict[str, str]] = []
    for name in ("push_t", "cartpole_swingup"):
        for sync in (False, True):
            rate, count, columns = _rate(name, folder / f"{name}-{sync}", sync)
            rows.append(
                {
                    "environment": name,
                    "columns": str(columns),
                    "rows an episode": str(count),
                    "on disk before the next": "yes" if sync else "no",
                    "rows/s": f"{rate:,.0f}",
                }
            )
    return rows


def _rate(name: str, folder: Path, sync: bool) -> tuple[float, int, int]:
    wanted = recipe(name)
    env = rollout.make(wanted, account=None)
    schema = rollout.schema(env)
    buffer = EpisodeBuffer(schema, env.max_steps + 1)
    chance = EpisodeChance(wanted, 0)
    actions = np.random.default_rng(0).uniform(-1, 1, (env.max_steps, env.action_size))
    taken = iter(actions.astype(np.float32))
    steps, _ = rollout.rollout(env, lambda _: lambda: next(taken), buffer, chance.seed)
    rollout.finish(env, buffer, steps, 0)
    facts = rollout.record(env, wanted, "bench", 0, chance, steps)
    seconds: list[float] = []
    with ShardWriter(folder / "shard-00000.h5", schema, {}, "zstd", sync=sync) as writer:
        for _ in range(EPISODES):
            begun = time.perf_counter()
            writer.append(buffer.episode(steps, facts))
            seconds.append(time.perf_counter() - begun)
    env.close()
    return (steps + 1) / statistics.median(seconds), steps + 1, len(schema.columns)
