"""How many windows a second reach a trainer: from the cache, from shards, through a DataLoader."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from benchmarks.tables import show
from benchmarks.trajectory import episode, schema
from sandbox.dataset.batches import Batches
from sandbox.dataset.windows import Windows
from sandbox.trajectory import Episode, ShardWriter

COLUMNS = ("pixels", "proprio", "action")
KINDS = {  # Pixels of a side: episodes, rows of each, rows of a window, windows of a batch.
    64: (200, 101, 16, 32),
    224: (40, 51, 4, 32),
}
COPY = "a copy in memory"  # Of as many bytes: no reader can be faster.
ROUNDS, SECONDS = 7, 0.4  # Of each way to read, in turn.
Way = Callable[[], Iterable[dict[str, Any]]]


def written(folder: Path, size: int) -> dict[str, Path]:
    """Write the same episodes into a shard uncompressed, and one with Zstandard."""
    episodes, rows, *_ = KINDS[size]
    columns = schema(size)
    distinct: list[Episode] = [episode(columns, seed, rows) for seed in range(20)]
    paths: dict[str, Path] = {}
    for compression in ("none", "zstd"):
        path = paths[compression] = folder / f"{size}-{compression}.h5"
        with ShardWriter(path, columns, {}, compression, sync=False) as writer:
            for number in range(episodes):
                writer.append(distinct[number % len(distinct)])
    return paths


def ways(paths: dict[str, Path], size: int) -> dict[str, Way]:
    """Return the ways to read: each starts an epoch of batches."""
    _, _, length, batch = KINDS[size]
    found: dict[str, Way] = {COPY: lambda: copies(size)}
    for name, path, cache in (
        ("cache", paths["zstd"], "ram"),
        ("uncompressed", paths["none"], None),
        ("zstd", paths["zstd"], None),
    ):
        batches = Batches(path, batch, length, COLUMNS, cache=cache)
        windows = Windows(path, length, COLUMNS, cache=cache)
        batches.wait_for_cache()
        windows.wait_for_cache()
        found[f"Batches, {name}"] = lambda batches=batches: batches
        for workers in (0, 2) if size == 64 else (0,):
            loader: DataLoader[Any] = DataLoader(
                windows, batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0
            )
            title = f"DataLoader of Windows, {workers} workers, {name}"
            found[title] = lambda loader=loader: loader
    return found


def copies(size: int) -> Iterator[dict[str, Any]]:
    """Yield batches that are copied from windows in memory, into memory that is used again."""
    episodes, rows, length, batch = KINDS[size]
    kept = np.ones((episodes * rows, size * size * 3), np.uint8)
    made = np.empty((batch, length, size * size * 3), np.uint8)
    rng = np.random.default_rng(0)
    while True:
        for window, start in enumerate(rng.integers(0, len(kept) - length, batch).tolist()):
            made[window] = kept[start : start + length]
        yield {"pixels": made}


def speed(way: Way, windows: int) -> float:
    """Return how many windows a second come, after the first three batches."""
    read, began = 0, 0.0
    for number, batch in enumerate(way()):
        if number == 2:
            began = time.perf_counter()
        elif number > 2:
            read += len(batch["pixels"])
        if number > 2 and time.perf_counter() - began > SECONDS:
            break
    return read / (time.perf_counter() - began)


def table(folder: Path) -> list[dict[str, str]]:
    """Return windows a second of each way to read, in turn over the same frames: medians."""
    rows: list[dict[str, str]] = []
    for size, (_, _, length, batch) in KINDS.items():
        every = ways(written(folder, size), size)
        found: dict[str, list[float]] = {name: [] for name in every}
        for _ in range(ROUNDS):
            for name, way in every.items():
                found[name].append(speed(way, batch))
        for name, taken in found.items():
            shares = [a / b for a, b in zip(taken, found[COPY], strict=True)]
            rows.append(
                {
                    "windows": f"{size} px, T = {length}, batch {batch}",
                    "read by": name,
                    "windows/s": f"{statistics.median(taken):,.0f}",
                    "of a copy": f"{statistics.median(shares):.2f}",
                    "least": f"{min(taken):,.0f}",
                    "most": f"{max(taken):,.0f}",
                }
            )
    return rows


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SANDBOX_HOME"] = folder
        show("Windows read a second", table(Path(folder)))


if __name__ == "__main__":
    main()
