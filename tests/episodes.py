"""Runs of short episodes, written without a simulator, with whatever records a test wants."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sandbox.trajectory import Column, Episode, EpisodeBuffer, Schema, ShardWriter

SCHEMA = Schema(
    (
        Column("state", "float64", (2,), "random, or as `look` says", "1"),
        Column("action", "float32", (2,), "t", "1"),
        Column("reward", "float64", (), "t", "1"),
        Column("terminated", "bool", (), "false", "1"),
        Column("truncated", "bool", (), "last", "1"),
        Column("charge", "int64", (), "1", "microcredit"),
        Column("step_idx", "int32", (), "t", "1"),
        Column("episode_idx", "int64", (), "episode", "1"),
    )
)


def record(run: str, number: int, **changes: Any) -> dict[str, Any]:
    """A record of an episode, with a seed of its own."""
    seed = int.from_bytes(hashlib.sha256(f"{run} {number}".encode()).digest()[:7], "big")
    return {
        "run": run,
        "episode": number,
        "environment": "push_t",
        "seed": seed,
        "scenario": "push_t_varied",
        "split": "train",
        "scenario_digest": "0" * 64,
        "factors": {"t_mass_kg": 0.5, "t_color": [255, 99, 71]},
        "disturbances": [],
        "scene_digest": "0" * 64,
        "policy": "random",
        "engine": {"class": "0" * 32},
        "renderer": None,
        "views": [],
        "cameras": {},
        "price_version": "2",
        "steps": 0,
        "charges": {},
        "success": False,
        "return": 0.0,
        **changes,
    }


def episode(
    given: dict[str, Any], rows: int, schema: Schema, look: int | None, nan: str = ""
) -> Episode:
    """An episode whose states are those of no other, or those of every one that looks alike.

    The column `nan`, if there is one, is NaN.
    """
    number = given["episode"]
    buffer, t = EpisodeBuffer(schema, rows), np.arange(rows)
    own = hashlib.sha256(repr(given).encode()).digest()
    rng = np.random.default_rng(list(own) if look is None else look)
    for name, array in buffer.arrays.items():
        if name.startswith(("pixels", "state")):
            array[:] = rng.integers(0, 256, array.shape)
    if nan:
        buffer.arrays[nan][:] = np.nan
    buffer.arrays["action"][:], buffer.arrays["reward"][:] = t[:, None], t
    buffer.arrays["truncated"][-1], buffer.arrays["charge"][:] = True, 1
    buffer.arrays["step_idx"][:], buffer.arrays["episode_idx"][:] = t, number
    return buffer.episode(rows - 1, {**given, "steps": rows - 1, "charge_micro": rows})


def run(
    path: Path,
    records: Sequence[dict[str, Any]],
    *,
    lengths: Sequence[int] = (3, 5, 4),
    shard_episodes: int = 4,
    schema: Schema = SCHEMA,
    looks: Sequence[int | None] = (None,),
    finished: bool = True,
    nan: str = "",
) -> Path:
    """Write a run; the last shard is growing if it is not `finished`.

    Lengths and looks come in turn.
    """
    (path / "shards").mkdir(parents=True, exist_ok=True)
    firsts = range(0, len(records), shard_episodes)
    for shard, first in enumerate(firsts):
        at = path / "shards" / f"shard-{shard:05d}.h5"
        writer = ShardWriter(at, schema, {}, sync=False)
        for n in range(first, min(first + shard_episodes, len(records))):
            length, look = lengths[n % len(lengths)], looks[n % len(looks)]
            writer.append(episode(records[n], length, schema, look, nan))
        if finished or first != firsts[-1]:
            writer.close()
        else:
            writer.abandon()
    return path
