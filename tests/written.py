"""Shards of ramps, in which everything at row t is t: whole, interrupted, finished later."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from sandbox.trajectory import Column, Episode, EpisodeBuffer, Schema, ShardWriter

SCHEMA = Schema(
    (
        Column("pixels", "uint8", (16, 16, 3), "t", "1"),
        Column("proprio", "float32", (2,), "t, episode", "m", ("x", "y")),
        Column("action", "float32", (1,), "t", "1"),
        Column("reward", "float64", (), "t", "1"),
        Column("terminated", "bool", (), "false", "1"),
        Column("truncated", "bool", (), "on the last row", "1"),
        Column("charge", "int64", (), "3 + t", "microcredit"),
        Column("step_idx", "int32", (), "t", "1"),
        Column("episode_idx", "int64", (), "episode", "1"),
        Column("variation.mass", "float64", (), "episode / 7", "kg"),
    )
)
HEADER = {"run": "ramp", "shard": 0}
HEAD = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from sandbox.trajectory import ShardWriter, StorageError, shards
from written import *
"""


def ramp(number: int, steps: int | None = None) -> Episode:
    """Return an episode in which everything at row t is t."""
    steps = 5 + 7 * number % 40 if steps is None else steps
    buffer = EpisodeBuffer(SCHEMA, steps + 1)
    for t in range(steps + 1):
        values = {
            "pixels": t % 256,
            "proprio": (t, number),
            "action": t,
            "reward": t,
            "truncated": t == steps,
            "charge": 3 + t,
            "step_idx": t,
            "episode_idx": number,
            "variation.mass": number / 7,
        }
        buffer.put(t, values)
    total = sum(3 + t for t in range(steps + 1))
    return buffer.episode(steps, {"episode": number, "charge_micro": total, "policy": "ramp"})


def write(folder: Path, count: int, compression: str = "zstd") -> Path:
    """Write a finished shard of `count` ramps."""
    path = folder / "shard-00000.h5"
    with ShardWriter(path, SCHEMA, HEADER, compression, sync=False) as writer:
        for number in range(count):
            writer.append(ramp(number))
    return path


def interrupted(folder: Path, count: int) -> Path:
    """Leave a growing shard of `count` ramps; return the path that it would be finished at."""
    path = folder / "shard-00000.h5"
    writer = ShardWriter(path, SCHEMA, HEADER, sync=False)
    for number in range(count):
        writer.append(ramp(number))
    writer.abandon()
    return path


def finish(path: Path, count: int) -> Path:
    """Resume a shard and append the ramps that it lacks."""
    with ShardWriter.resume(path, SCHEMA, HEADER, sync=False) as writer:
        for number in range(len(writer.records), count):
            writer.append(ramp(number))
    return path


def part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def sidecar(path: Path) -> Path:
    return path.with_name("shard-00000.episodes.jsonl")


def bits(episode: Episode) -> dict[str, Any]:
    return {name: (a.dtype, a.shape, a.tobytes()) for name, a in episode.rows.items()}


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run code beside this module in another process."""
    words = [str(Path(__file__).parent), *map(str, arguments)]
    command = [sys.executable, "-c", HEAD + code, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def output(code: str, *arguments: object) -> str:
    """Return what the code prints in another process that ends well."""
    process = child(code, *arguments)
    text = process.communicate()[0]
    assert process.returncode == 0
    return text


APPEND = """
path, count, pause = Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
with ShardWriter.resume(path, SCHEMA, HEADER, sync=False) as writer:
    for number in range(len(writer.records), count):
        writer.append(ramp(number))
        print(number, flush=True)
        time.sleep(pause)
"""
