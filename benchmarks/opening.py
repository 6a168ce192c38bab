"""How long a dataset of many episodes takes to open: the first time, and with its index kept."""

import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import show
from benchmarks.trajectory import STEPS, seconds
from sandbox.dataset.dataset import Dataset
from sandbox.trajectory import EpisodeBuffer, Schema, ShardWriter

EPISODES, SHARDS, ROWS, AGAIN = 100_000, 125, 3, 7
FACTORS = ("mass_kg", "friction", "scale", "azimuth_deg", "pitch_deg", "delay_steps", "noise")


def record(run: str, number: int) -> dict[str, Any]:
    """Return a record as long as those of our own runs."""
    rng = np.random.default_rng(number)
    factors = dict(zip(FACTORS, rng.uniform(size=len(FACTORS)).tolist(), strict=True))
    return {
        "run": run,
        "episode": number,
        "environment": "push_t",
        "seed": int(rng.integers(1 << 62)),
        "scenario": "push_t_varied",
        "split": ("train", "interpolation", "extrapolation")[number % 3],
        "scenario_digest": "0" * 64,
        "factors": {**factors, "color": rng.integers(0, 256, 3).tolist()},
        "disturbances": [],
        "scene_digest": "0" * 64,
        "policy": ("random", "scripted", "play")[number % 7 % 3],
        "engine": {"class": "0" * 32, "bullet": "3.2.7", "mathematics": "0" * 32},
        "renderer": None,
        "views": [],
        "cameras": {},
        "price_version": "2",
        "steps": ROWS - 1,
        "charges": {"physics_step": 24, "step": 2},
        "charge_micro": ROWS,
        "success": number % 5 == 0,
        "return": 0.0,
    }


def shard(path: Path, run: str, numbers: range) -> None:
    """Write a shard of short episodes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = EpisodeBuffer(Schema(STEPS), ROWS)
    rows = buffer.arrays
    rows["step_idx"][:], rows["charge"][:] = np.arange(ROWS), 1
    rows["truncated"][-1] = True
    with ShardWriter(path, Schema(STEPS), {}, sync=False, hold_bytes=1 << 20) as writer:
        for number in numbers:
            rows["episode_idx"][:] = number
            rows["action"][:] = number
            writer.append(buffer.episode(ROWS - 1, record(run, number)))


def written(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield a run of many shards, then a folder of as many runs of one shard."""
    one, many, size = folder / "one", folder / "many", EPISODES // SHARDS
    for n in range(SHARDS):
        path = one / "shards" / f"shard-{n:05d}.h5"
        shard(path, "0" * 64, range(n * size, (n + 1) * size))
    yield f"1 run of {SHARDS} shards", one
    for n in range(SHARDS):
        to = many / f"run-{n:03d}" / "shards"
        to.mkdir(parents=True)
        for path in (one / "shards").glob(f"shard-{n:05d}.*"):
            shutil.move(path, to / path.name.replace(f"{n:05d}", "00000"))
    yield f"{SHARDS} runs of 1 shard", many


def table(folder: Path) -> list[dict[str, str]]:
    """Return how long it takes to open 100,000 episodes, and to choose among them."""
    found: list[dict[str, str]] = []
    for name, path in written(folder):
        first = seconds(lambda path=path: Dataset(path))
        again = [seconds(lambda path=path: Dataset(path)) for _ in range(AGAIN)]
        every = Dataset(path)
        chosen = [_select(every) for _ in range(AGAIN)]
        parted = seconds(lambda every=every: every.train_val(twins="skip"))
        found.append(
            {
                "dataset": f"{len(every):,} episodes, {name}",
                "first opening [s]": f"{first:.1f}",
                "again [ms]": f"{statistics.median(again) * 1e3:.1f}",
                "most [ms]": f"{max(again) * 1e3:.1f}",
                "select [ms]": f"{statistics.median(chosen) * 1e3:.1f}",
                "train_val [ms]": f"{parted * 1e3:.1f}",
            }
        )
    return found


def _select(every: Dataset) -> float:
    return seconds(
        lambda: every.select(split="train", policy=["play"], factors={"mass_kg": (0.2, 0.5)})
    )


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SANDBOX_HOME"] = folder
        show("Opening a dataset", table(Path(folder)))


if __name__ == "__main__":
    main()
