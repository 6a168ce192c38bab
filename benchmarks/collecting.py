"""Frames a second that are kept, beside stable-worldmodel's `collect`.

`make .venv-swm/done`, then `.venv-swm/bin/python -m pip install pygame==2.6.1 pymunk==7.3.1`, which
its PushT needs, then `.venv-swm/bin/python -m benchmarks.collecting [ROUNDS]`. Each collects
random episodes of its own PushT with pictures of 64 px into HDF5, in turn, in one process: theirs
steps one environment or eight; ours also checks, hashes, logs and charges every row.
"""

import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py

import sandbox
from benchmarks.tables import show
from sandbox.trajectory import ShardReader, shards

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # It tells which games are not installed.
    swm: Any = import_module("stable_worldmodel")

THEIRS, STEPS, EPISODES = "swm/PushT-v1", 200, 8
OURS: dict[str, Any] = {
    "format": 1,
    "environment": "push_t",
    "policies": {"random": 1},
    "observation": ["proprio", "pixels"],
    "image_size": 64,
    "episodes": EPISODES,
}


def theirs(envs: int, folder: Path) -> int:
    """Collect episodes of theirs; return how many frames."""
    world = swm.World(THEIRS, envs, image_shape=(64, 64), max_episode_steps=STEPS)
    world.set_policy(swm.policy.RandomPolicy(seed=0))
    world.collect(folder / "theirs.h5", EPISODES, seed=0, format="hdf5", progress=False)
    world.close()
    with h5py.File(folder / "theirs.h5") as file:
        return len(file["pixels"])  # pyright: ignore


def ours(antialias: int, folder: Path) -> int:
    """Generate episodes of ours; return how many frames."""
    sandbox.generate({**OURS, "antialias": antialias}, folder / "run")
    return sum(ShardReader(path).rows for path in shards(folder / "run"))


def table(rounds: int) -> list[dict[str, str]]:
    """Return the rows: CPU time of the whole process, and time."""
    ways: dict[str, Callable[[Path], int]] = {
        "stable-worldmodel, 1 environment": lambda folder: theirs(1, folder),
        "stable-worldmodel, 8 environments": lambda folder: theirs(8, folder),
        "ours": lambda folder: ours(1, folder),
        "ours, antialias 4": lambda folder: ours(4, folder),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds + 1):  # The first one compiles.
        for name, way in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                cpu, begun = time.process_time(), time.perf_counter()
                count = way(Path(folder))
                cpu, took = time.process_time() - cpu, time.perf_counter() - begun
                found[name].append((count / cpu, count / took))
    rows = list[dict[str, str]]()
    best = max(
        statistics.median(r for _, r in kept[1:])
        for name, kept in found.items()
        if "ours" not in name
    )
    for name, kept in found.items():
        of_cpu, rate = (statistics.median(values) for values in zip(*kept[1:], strict=True))
        rows.append(
            {
                "": name,
                "frames/s": f"{rate:,.0f}",
                "of CPU time": f"{of_cpu:,.0f}",
                "times their best": f"{rate / best:.1f}",
            }
        )
    return rows


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        os.environ["SANDBOX_HOME"] = home
        rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
        show("PushT with pictures of 64 px, random actions, into HDF5", table(rounds))
