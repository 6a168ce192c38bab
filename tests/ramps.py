"""Runs in which every row tells its own time: observation, action and reward are t."""

from pathlib import Path

import numpy as np

from sandbox.trajectory import Column, Episode, EpisodeBuffer, Schema, ShardWriter

LENGTHS = (6, 3, 20, 1, 9, 4, 31, 5)  # Rows of the episodes.
SCHEMA = Schema(
    (
        Column("pixels", "uint8", (4, 6, 3), "row, column, channel: t + 1, 2, 3", "1"),
        Column("action", "float32", (2,), "t", "1"),
        Column("reward", "float64", (), "t", "1"),
        Column("terminated", "bool", (), "false", "1"),
        Column("truncated", "bool", (), "last", "1"),
        Column("charge", "int64", (), "1", "microcredit"),
        Column("step_idx", "int32", (), "t", "1"),
        Column("episode_idx", "int64", (), "episode", "1"),
    )
)


def coarse(schema: Schema = SCHEMA, size: int = 64) -> Schema:
    """The columns with larger pictures, of one grey of 8 t, which a film can show."""
    pixels = Column("pixels", "uint8", (size, size, 3), "8 t", "1")
    return Schema((pixels, *schema.columns[1:]))


def ramp(number: int, rows: int, first: int = 0, schema: Schema = SCHEMA) -> Episode:
    buffer = EpisodeBuffer(schema, rows)
    t = np.arange(rows)
    if schema["pixels"].shape == SCHEMA["pixels"].shape:
        buffer.arrays["pixels"][:] = t[:, None, None, None] + np.array([1, 2, 3])
        buffer.arrays["pixels"][:, 2, 5] = 255
    else:
        buffer.arrays["pixels"][:] = 8 * t[:, None, None, None]
    buffer.arrays["action"][:] = t[:, None]
    buffer.arrays["reward"][:] = t
    buffer.arrays["truncated"][-1] = True
    buffer.arrays["charge"][:] = 1
    buffer.arrays["step_idx"][:] = t
    buffer.arrays["episode_idx"][:] = first + number
    return buffer.episode(rows - 1, {"charge_micro": rows})


def write(run: Path, *, finished: bool = True, schema: Schema = SCHEMA, first: int = 0) -> Path:
    """Write a run of two shards, the second of which may be growing still."""
    (run / "shards").mkdir(parents=True)
    for shard, numbers in enumerate((range(5), range(5, len(LENGTHS)))):
        path = run / "shards" / f"shard-{shard:05d}.h5"
        writer = ShardWriter(path, schema, {}, sync=False)
        for number in numbers:
            writer.append(ramp(number, LENGTHS[number], first, schema))
        if finished or shard == 0:
            writer.close()
        else:
            writer.abandon()
    return run
