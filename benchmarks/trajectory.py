"""How fast episodes are written and read, and how large they are on disk."""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import sandbox
from sandbox.trajectory import (
    Column,
    Episode,
    EpisodeBuffer,
    Schema,
    ShardReader,
    ShardWriter,
    layout,
)

STEPS = (  # Columns that every trajectory has, with an action of two numbers.
    Column("action", "float32", (2,), "taken", "1"),
    Column("reward", "float64", (), "earned", "1"),
    Column("terminated", "bool", (), "ended", "1"),
    Column("truncated", "bool", (), "cut", "1"),
    Column("charge", "int64", (), "cost", "microcredit"),
    Column("step_idx", "int32", (), "step", "1"),
    Column("episode_idx", "int64", (), "episode", "1"),
)
LENGTHS = (101, 301)  # Rows of an episode: short for this project, and as long as PushT's.


def schema(size: int = 0) -> Schema:
    """Return 16 columns of a state-only run, and `pixels` of `size` if it is not 0."""
    pixels = (Column("pixels", "uint8", (size, size, 3), "RGB", "1"),) if size else ()
    return Schema(
        (
            *pixels,
            Column("proprio", "float32", (7,), "seen", "m"),
            Column("state", "float64", (26,), "all", "m"),
            *STEPS,
            *(Column(f"variation.{n}", "float64", (), "factor", "1") for n in range(7)),
        )
    )


def episode(columns: Schema, seed: int, rows: int) -> Episode:
    """Return a valid episode of smooth motion over a drawn background."""
    rng = np.random.default_rng(seed)
    buffer = EpisodeBuffer(columns, rows)
    for name in ("proprio", "state"):
        walk = rng.normal(size=buffer.arrays[name].shape).cumsum(axis=0)
        buffer.arrays[name][:] = walk
    buffer.arrays["action"][:] = rng.uniform(-1, 1, (rows, 2))
    buffer.arrays["reward"][1:] = rng.uniform(size=rows - 1)
    buffer.arrays["charge"][:] = 260
    buffer.arrays["step_idx"][:] = np.arange(rows)
    buffer.arrays["episode_idx"][:] = seed
    for n in range(7):
        buffer.arrays[f"variation.{n}"][:] = rng.uniform()
    if "pixels" in columns.names:
        draw(buffer.arrays["pixels"], rng)
    return buffer.episode(rows - 1, {"episode": seed, "charge_micro": 260 * rows})


def draw(pixels: Any, rng: np.random.Generator) -> None:
    """Draw a shaded table with a block that moves over it."""
    size = pixels.shape[1]
    shade = np.linspace(60, 200, size, dtype=np.uint8)
    pixels[:] = shade[None, :, None, None] // 2 + shade[None, None, :, None] // 2
    place = rng.integers(0, size - 12, 2)
    for frame in pixels:
        place = np.clip(place + rng.integers(-2, 3, 2), 0, size - 12)
        frame[place[0] : place[0] + 12, place[1] : place[1] + 12] = (200, 60, 40)


Rule = Callable[[Column, str], Mapping[str, Any]]
ZSTD = layout.filters(Column("pixels", "uint8", (1, 1, 3), "", "1"), "zstd")
RULES: dict[str, Rule] = {  # Of numbers; pictures are Zstandard in each.
    "Zstandard (format 1)": lambda column, kind: ZSTD,
    "gzip and shuffle (format 2)": layout.filters,
    "nothing": lambda column, kind: ZSTD if column.is_picture else {},
}
NUMBERS = {"push_t": 12, "pour": 8, "two_room": 20}  # Worlds, and episodes of each.
ROUNDS = 5


def numbers(folder: Path) -> list[dict[str, str]]:
    """Return what each way to store numbers costs, in turn over the same episodes: medians."""
    return [
        {"world": world, "numbers by": rule, **figures}
        for world in NUMBERS
        for rule, figures in _stored(world, folder).items()
    ]


def _stored(world: str, folder: Path) -> dict[str, dict[str, str]]:
    policies = {"play": 1.0}
    wanted = {"format": 1, "environment": world, "episodes": NUMBERS[world], "policies": policies}
    sandbox.generate({**wanted, "scenario": f"{world}_varied"}, folder / f"numbers-{world}")
    with ShardReader(folder / f"numbers-{world}" / "shards" / "shard-00000.h5") as reader:
        once, columns = [reader.read(n) for n in range(len(reader))], reader.schema
    every = [  # Each four times, under numbers of its own: no dataset takes an episode twice.
        Episode(one.rows, {**one.record, "episode": n}) for n, one in enumerate(once * 4)
    ]
    found: dict[str, list[tuple[float, ...]]] = {rule: [] for rule in RULES}
    for _ in range(ROUNDS):
        for rule, filters in RULES.items():
            with tempfile.TemporaryDirectory() as at, mock.patch.object(layout, "filters", filters):
                found[rule].append(_costs(Path(at) / "shard-00000.h5", every, columns))
    return {rule: _told(costs) for rule, costs in found.items()}


def _costs(path: Path, every: list[Episode], columns: Schema) -> tuple[float, ...]:
    """Return part of raw size, us a row to write and to read and check, windows a second."""
    appending, finishing, _ = append(path, every, columns, "zstd", sync=False)
    with ShardReader(path) as reader:
        reading, rows = seconds(lambda: [reader.read(n) for n in range(len(reader))]), reader.rows
    size = path.stat().st_size / (rows * columns.row_bytes)
    return size, (appending + finishing) / rows * 1e6, reading / rows * 1e6, loaded(path)


def _told(costs: list[tuple[float, ...]]) -> dict[str, str]:
    size, writing, reading, loading = map(statistics.median, zip(*costs, strict=True))
    return {
        "of raw size": f"{size:.2f}",
        "write [us/row]": f"{writing:.1f}",
        "read, check [us/row]": f"{reading:.1f}",
        "windows/s": f"{loading:,.0f}",
    }


def seconds(work: Callable[[], object]) -> float:
    """Return how long `work` takes [s]."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def append(
    path: Path, episodes: list[Episode], columns: Schema, compression: str, sync: bool
) -> tuple[float, float, int]:
    """Write a shard; return the seconds of appending, of finishing, and its size grown [bytes]."""
    writer = ShardWriter(path, columns, {}, compression, sync=sync)

    def all_of_them() -> None:
        for one in episodes:
            one.__dict__.pop("digest", None)  # Hashed again, as for an episode just simulated.
            writer.append(one)

    appending = seconds(all_of_them)
    grown = path.with_name(f"{path.name}.part").stat().st_size
    return appending, seconds(writer.close), grown


def report(columns: Schema, length: int, count: int, compression: str, sync: bool) -> str:
    """Return one line of figures."""
    distinct = [episode(columns, seed, length) for seed in range(min(count, 50))]
    episodes = [distinct[n % len(distinct)] for n in range(count)]
    pixels = "pixels" in columns.names
    title = f"{'64 px + state' if pixels else 'state'}, {length} rows, {compression}"
    title += ", synced" if sync else ""
    raw = count * length * columns.row_bytes
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard-00000.h5"
        appending, finishing, grown = append(path, episodes, columns, compression, sync)
        with ShardReader(path) as reader:
            reading = seconds(lambda: [reader.read(n) for n in range(len(reader))])
        size = path.stat().st_size
        taken = loaded(path, ("pixels", "state", "action")) if pixels else 0.0
        loading = f"   load {taken:6,.0f} windows/s" if pixels else ""
    rows = count * length
    return (
        f"{title:<34} append {rows / appending:>9,.0f} rows/s   finish {rows / finishing:>9,.0f}"
        f" rows/s   read {rows / reading:>9,.0f} rows/s   growing {grown / raw:5.2f}"
        f"   finished {size / raw:5.2f} of raw"
        f"{loading}"
    )


def loaded(path: Path, columns: tuple[str, ...] = ("state", "action")) -> float:
    """Return how many windows of 16 rows load a second in this process, in batches of 32."""
    from sandbox.dataset.windows import Windows

    data = Windows(path, 16, columns)
    order = np.random.default_rng(0).permutation(len(data))[: 32 * 40].reshape(-1, 32).tolist()
    data.__getitems__(order[0])
    taken = seconds(lambda: [data.__getitems__(batch) for batch in order])
    return len(order) * 32 / taken


def main() -> None:
    """Print the figures."""
    for length in LENGTHS:
        for compression in ("zstd", "gzip", "none"):
            print(report(schema(), length, 100_000 // length, compression, sync=False))
        print(report(schema(), length, 20_000 // length, "zstd", sync=True))
    for compression in ("zstd", "gzip", "none"):
        print(report(schema(64), LENGTHS[0], 60, compression, sync=False))


if __name__ == "__main__":
    main()
