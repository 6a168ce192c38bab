"""How reading grows with episodes, rows of a window, size of pictures and columns; and a plot."""

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.opening import ROWS, shard
from benchmarks.reading import speed
from benchmarks.tables import show
from benchmarks.trajectory import episode, schema, seconds
from sandbox.dataset.batches import Batches
from sandbox.dataset.dataset import Dataset
from sandbox.trajectory import ShardWriter

EPISODES = (100, 1_000, 10_000, 100_000)
LENGTHS = (2, 4, 8, 16, 32, 64)
SIZES = (32, 64, 96, 128, 224)
COLUMNS = ("pixels", "proprio", "action", "reward", "terminated", "truncated", "charge", "step_idx")
BATCH, REPEATS = 32, 5
A_SHARD = 1_000  # Episodes of a shard, at most.
PLOT = "reading_growth.png"
Points = dict[str, list[tuple[float, float]]]


def by_episodes(folder: Path) -> list[dict[str, str]]:
    """Return how long it takes to the first batch of short episodes, and how fast others come."""
    rows: list[dict[str, str]] = []
    for count in EPISODES:
        run = folder / f"{count}"
        for first in range(0, count, A_SHARD):
            path = run / "shards" / f"shard-{first // A_SHARD:05d}.h5"
            shard(path, f"{count:064d}", range(first, min(count, first + A_SHARD)))
        opened = seconds(lambda run=run: Dataset(run))
        firsts = [_first(run) for _ in range(REPEATS)]
        batches = Batches(run, BATCH, ROWS - 1, ("action", "reward"), cache="ram")
        batches.wait_for_cache()
        speeds = [speed(lambda batches=batches: _named(batches), BATCH) for _ in range(REPEATS)]
        rows.append(
            {
                "episodes": f"{count:,}",
                "first opening [s]": f"{opened:.2f}",
                "opening [ms]": f"{statistics.median(one for one, _ in firsts) * 1e3:.1f}",
                "to the first batch [ms]": f"{statistics.median(b for _, b in firsts) * 1e3:.1f}",
                "windows/s, cache": f"{statistics.median(speeds):,.0f}",
            }
        )
    return rows


def _first(run: Path) -> tuple[float, float]:
    """Return the time until a dataset is open, and until its first batch is there [s]."""
    begun = time.perf_counter()
    dataset = Dataset(run)
    opened = time.perf_counter() - begun
    next(iter(Batches(dataset, BATCH, ROWS - 1, ("action", "reward"))))
    return opened, time.perf_counter() - begun


def _named(batches: Batches) -> Any:
    """Yield batches as `speed` counts them."""
    while True:
        for batch in batches:
            yield {"pixels": batch["reward"]}


def by_window(folder: Path) -> Points:
    """Return windows a second by the rows of a window, from the cache and from a zstd shard."""
    path = _written(folder / "window.h5", 64)
    return {
        name: [(length, _speed(path, length, COLUMNS[:3], cache)) for length in LENGTHS]
        for name, cache in (("cache", "ram"), ("zstd shard", None))
    }


def by_size(folder: Path) -> Points:
    """Return windows a second by the side of a picture [px]."""
    paths = {size: _written(folder / f"size-{size}.h5", size) for size in SIZES}
    return {
        name: [(size, _speed(path, 4, COLUMNS[:3], cache)) for size, path in paths.items()]
        for name, cache in (("cache", "ram"), ("zstd shard", None))
    }


def by_columns(folder: Path) -> Points:
    """Return windows a second by the number of columns, the first of which is 64 px pictures."""
    path = _written(folder / "columns.h5", 64)
    counts = range(1, len(COLUMNS) + 1)
    return {
        name: [(count, _speed(path, 16, COLUMNS[:count], cache)) for count in counts]
        for name, cache in (("cache", "ram"), ("zstd shard", None))
    }


def _written(path: Path, size: int) -> Path:
    """Write a shard of pictures of a size, of about 250 MB at most when unpacked."""
    columns, rows = schema(size), 101
    count = max(4, min(100, 250_000_000 // (size * size * 3 * rows)))
    distinct = [episode(columns, seed, rows) for seed in range(min(count, 10))]
    with ShardWriter(path, columns, {}, "zstd", sync=False) as writer:
        for number in range(count):
            writer.append(distinct[number % len(distinct)])
    return path


def _speed(path: Path, length: int, columns: Sequence[str], cache: str | None) -> float:
    batches = Batches(path, BATCH, length, columns, cache=cache)
    batches.wait_for_cache()
    return statistics.median(speed(lambda: batches, BATCH) for _ in range(3))


def plot(rows: list[dict[str, str]], others: dict[str, Points], path: Path) -> None:
    """Plot everything to a PNG."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    drawing: Any = plt
    figure = drawing.figure(figsize=(10, 6.4), layout="constrained")
    axes = figure.subplots(2, 2)
    numbers = [
        [float(row[name].replace(",", "")) for row in rows]
        for name in ("episodes", "opening [ms]", "to the first batch [ms]", "windows/s, cache")
    ]
    first = axes[0, 0]
    first.plot(numbers[0], numbers[1], "o-", label="opening [ms]")
    first.plot(numbers[0], numbers[2], "s-", label="to the first batch [ms]")
    first.plot(numbers[0], [n / 1e3 for n in numbers[3]], "^-", label="1,000 windows/s, cache")
    first.set(xscale="log", yscale="log", xlabel=f"episodes of {ROWS} rows, no pictures")
    for axis, (title, points) in zip(axes.flat[1:], others.items(), strict=True):
        for (name, line), mark in zip(points.items(), "os", strict=True):
            axis.plot(*zip(*line, strict=True), f"{mark}-", label=name)
        axis.set(yscale="log", xlabel=title, ylabel="windows/s")
    for axis in axes.flat:
        axis.grid(alpha=0.3, which="both")
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=100, metadata={"Software": None})
    drawing.close(figure)


def measured(folder: Path, to: Path) -> list[dict[str, str]]:
    """Measure everything, plot it, and return what grows with the episodes."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = by_episodes(folder)
    others = {
        "rows of a window (64 px, pixels, proprio, action)": by_window(folder),
        "side of a picture [px] (4 rows, pixels, proprio, action)": by_size(folder),
        "columns (16 rows; the first is pixels of 64 px)": by_columns(folder),
    }
    plot(rows, others, to)
    for title, points in others.items():
        for name, line in points.items():
            print(title, name, [(x, round(y)) for x, y in line])
    return rows


def main() -> None:
    """Print the table, and write the plot."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SANDBOX_HOME"] = folder
        to = Path("runs") / PLOT
        to.parent.mkdir(exist_ok=True)
        show("Reading, by the number of episodes", measured(Path(folder), to))


if __name__ == "__main__":
    main()
