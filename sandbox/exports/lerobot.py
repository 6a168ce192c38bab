"""LeRobot v3: Parquet files of steps with pictures as PNG, or films, and what is known of them."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox import durable
from sandbox.errors import InvalidInputError
from sandbox.exports import columns as known
from sandbox.exports import film, parquet
from sandbox.exports.film import Film
from sandbox.exports.formats import Job, Kind, Plan, about, rates
from sandbox.exports.moments import Moments
from sandbox.exports.pieces import Piece, Told, by_size
from sandbox.run.imported import MOST_HZ
from sandbox.trajectory import Column, Rows, Schema

FILE_MB, FILES = 100, 1000  # Size of a data file; number of them in a folder.
FILE_BYTES = FILE_MB << 20  # Of its rows, unpacked.
_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_FILM = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_SEEN = "observation.state"
_COUNTS = ("frame_index", "episode_index", "index", "task_index")
_INDEXED = {  # What pandas keeps of a table whose index is the column `task`.
    "index_columns": ["task"],
    "column_indexes": [],
    "columns": [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": own, "metadata": None}
        for name, kind, own in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ],
    "pandas_version": "2.2.0",
}
_ENDS = ("terminated", "truncated")


@dataclass(frozen=True)
class LeRobot:
    """A folder that `LeRobotDataset` reads: a frame for each step, T for T+1 rows.

    A frame has an observation, the action taken at it, and as `next.reward` and `next.done` what
    came of it. The last observation of an episode, at which no action is taken, is left out.

    Attributes:
        video: whether pictures are films, which are not exact.
    """

    video: bool = False

    name = "lerobot"
    reader = "lerobot 0.6.1"
    kinds: tuple[Kind, ...] = ("copy",)
    ending = ""
    shortest = 2
    compressions: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """The packages that it imports."""
        return ("pyarrow", "av") if self.video else ("pyarrow",)

    def plan(self, schema: Schema, kind: Kind, asked: bool, out: Path) -> Plan:
        """Return colour pictures and vectors; the format has no other arrays."""
        known.needed(schema, ["action", "reward", *_ENDS], self.name)
        seen = known.observations(schema, self.name)
        first = "proprio" if "proprio" in seen else "state"
        names = {first: _SEEN, "state": "observation.environment_state"} | {first: _SEEN}
        names |= {"action": "action", "reward": "next.reward"} | dict.fromkeys(_ENDS, "next.done")
        names["charge"] = "charge"
        held, left = dict[str, str](), dict[str, str]()
        for column in schema.columns:
            name, camera = column.name, column.name.partition(".")[2]
            if parquet.is_image(column):
                held[name] = f"{parquet.IMAGES}.{camera or 'main'}"
            elif len(column.shape) > 1:
                left[name] = "the format has pictures of colours, and vectors"
            elif name not in names and (reason := known.needless(name, kind, asked)):
                left[name] = reason
            else:
                held[name] = names.get(name, f"observation.{name}")
        _refuse_same(held)
        if not self.video:
            return Plan(held, left)
        films = _films(schema, held)
        return Plan(held, left, (f"{', '.join(films)} as films: {film.SAID}.",))

    def pieces(self, job: Job) -> list[Piece]:
        """Return the data files, of some size each."""
        _rate(job)  # Refuses several before anything is written.
        return by_size(job, FILE_BYTES)

    def write_piece(self, job: Job, piece: Piece, folder: Path) -> Told:
        """Write a data file; return how often each level occurs in its pictures."""
        columns, tasks, rate = _columns(job), _tasks(job), _rate(job)
        starts, known, moments = _starts(job), [*dict.fromkeys(tasks)], Moments(1)
        pictures = [column for column in columns if parquet.is_image(column)]
        kept = [one for one in columns if not (self.video and one in pictures)]
        with ExitStack() as stack:
            file = _File(_made(folder, _DATA, piece.number), kept)
            stack.callback(file.close)
            films = dict[str, Film]()
            for one in pictures if self.video else ():
                path = _made(folder, _FILM, piece.number, one.name)
                films[one.name] = Film(path, rate, (one.shape[0], one.shape[1]))
                stack.callback(films[one.name].close)
            for place, rows in job.some(piece.places):
                task = known.index(tasks[place])
                frames = _frames(job.plan.held, rows, place, starts[place], task, rate)
                file.add(frames)
                for name, made in films.items():
                    made.add(frames[name])
                moments.add({one.name: frames[one.name] for one in pictures})
        return {"levels": moments.levels()}

    def finish(self, job: Job, pieces: Sequence[Piece], told: Sequence[Told]) -> None:
        """Write what is known of the data; numbers, which are small, are read again."""
        columns, tasks, rate, starts = _columns(job), _tasks(job), _rate(job), _starts(job)
        known = [*dict.fromkeys(tasks)]
        moments = Moments(sum(job.lengths) - len(job.numbers))
        numbers = [n for n in job.plan.held if not parquet.is_image(job.dataset.schema[n])]
        held = {name: job.plan.held[name] for name in numbers}
        for place, number in enumerate(job.numbers):
            rows = job.dataset.rows(number, numbers)
            task = known.index(tasks[place])
            moments.add(_frames(held, rows, place, starts[place], task, rate))
        for one in told:
            moments.add_levels(one["levels"])
        films = [c.name for c in columns if self.video and parquet.is_image(c)]
        _meta(job, columns, known, _episodes(job, pieces, films, rate), moments, rate, films)


def _episodes(
    job: Job, pieces: Sequence[Piece], films: Sequence[str], rate: int
) -> list[dict[str, Any]]:
    """Return what is known of each episode, such as its files, and where it is in its films."""
    tasks, starts, lengths = _tasks(job), _starts(job), job.lengths
    found = dict[int, dict[str, Any]]()
    for piece in pieces:
        chunk, number = divmod(piece.number, FILES)
        for place in piece.places:
            start, count = starts[place], lengths[place] - 1
            found[place] = {
                "episode_index": place,
                "tasks": [tasks[place]],
                "length": count,
                "data/chunk_index": chunk,
                "data/file_index": number,
                "dataset_from_index": start,
                "dataset_to_index": start + count,
            }
            first = start - starts[piece.places[0]]
            for name in films:
                found[place] |= {
                    f"videos/{name}/chunk_index": chunk,
                    f"videos/{name}/file_index": number,
                    f"videos/{name}/from_timestamp": first / rate,
                    f"videos/{name}/to_timestamp": (first + count) / rate,
                }
    return [found[place] for place in range(len(lengths))]


def _made(folder: Path, named: str, piece: int, key: str = "") -> Path:
    """Return the path of a file of a piece, in a folder that is made."""
    chunk, number = divmod(piece, FILES)
    path = folder / named.format(chunk_index=chunk, file_index=number, video_key=key)
    path.parent.mkdir(parents=True)
    return path


def _films(schema: Schema, held: Mapping[str, str]) -> list[str]:
    """Return the columns that become films.

    Raises:
        InvalidInputError: there is none, or one is not as films are.
    """
    found = [schema[name] for name in held if parquet.is_image(schema[name])]
    if not found:
        raise InvalidInputError("lerobot: there are no pictures to make films of; leave out video.")
    for column in found:
        if column.shape[2:] != (3,) or column.shape[0] % 2 or column.shape[1] % 2:
            raise InvalidInputError(
                f"lerobot: column {column.name} has pictures of {column.shape}, and a film has an "
                "even height and width, and three colours; leave out video."
            )
    return [column.name for column in found]


def _tasks(job: Job) -> list[str]:
    """Return the task of each episode: the name of its environment, in words."""
    told = (about(job.dataset, number).get("environment", "task") for number in job.numbers)
    return [str(one).replace("_", " ") for one in told]


def _starts(job: Job) -> list[int]:
    """Return the first frame of each episode."""
    steps = np.array(job.lengths) - 1
    return (np.cumsum(steps) - steps).tolist()


def _refuse_same(held: Mapping[str, str]) -> None:
    """Refuse columns that would have the same name; how an episode ends is one feature."""
    places: dict[str, str] = {}
    for name, place in held.items():
        if place in places and name not in _ENDS:
            raise InvalidInputError(
                f"lerobot: columns {places[place]} and {name} would both be {place}; leave one out."
            )
        places[place] = name


def _columns(job: Job) -> list[Column]:
    """Return the features; a vector of one number is a number there."""
    schema, found = job.dataset.schema, list[Column]()
    for name, place in job.plan.held.items():
        column = schema[name]
        shape = () if column.shape == (1,) else column.shape
        kind = "float32" if name == "reward" else column.dtype
        if name != "truncated":
            found.append(Column(place, kind, shape, column.meaning, column.unit, column.elements))
    counts = [Column(name, "int64", (), "", "1") for name in _COUNTS]
    return [*found, Column("timestamp", "float32", (), "", "s"), *counts]


def _frames(
    held: Mapping[str, str], rows: Rows, place: int, start: int, task: int, rate: int
) -> dict[str, NDArray[Any]]:
    """Return the steps of an episode as frames."""
    count, found = len(rows["action"]) - 1, dict[str, NDArray[Any]]()
    for name, feature in held.items():
        arrived = name in ("reward", "charge", *_ENDS)
        values = rows[name][1:] if arrived else rows[name][:-1]
        found[feature] = values[:, 0] if values.shape[1:] == (1,) else values
    found["next.reward"] = rows["reward"][1:].astype(np.float32)
    found["next.done"] = rows["terminated"][1:] | rows["truncated"][1:]
    t = np.arange(count, dtype=np.int64)
    found["timestamp"] = (t / rate).astype(np.float32)
    numbers = (t, np.full_like(t, place), t + start, np.full_like(t, task))
    return {**found, **dict(zip(_COUNTS, numbers, strict=True))}


def _rate(job: Job) -> int:
    """Return the frames a second, which all episodes share: 1 if nothing says so.

    Raises:
        InvalidInputError: there are several rates, or one that the format cannot say.
    """
    known = rates(job.dataset)
    found = {1.0 if one is None else one for several in known.values() for one in several} or {1.0}
    whole = {round(one) for one in found}
    if len(whole) > 1:
        raise InvalidInputError(
            f"lerobot has one rate of frames, and those of {', '.join(known)} differ; export one "
            "environment."
        )
    if not 1 <= min(whole) <= MOST_HZ:
        raise InvalidInputError(
            f"lerobot counts whole frames a second, from 1 to {MOST_HZ:,.0f}, and there are "
            f"{min(found):g}; export to another format."
        )
    return whole.pop()


class _File:
    """A data file that is being written.

    Args:
        path: the file.
        columns: the features.
    """

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        self._columns = columns
        features = {column.name: parquet.feature(column) for column in columns}
        fields = [pa.field(column.name, parquet.kind(column)) for column in columns]
        told = json.dumps({"info": {"features": features}})
        self._table = pa.schema(fields, metadata={"huggingface": told})
        self._file = ParquetWriter(path, self._table, compression="snappy")

    def add(self, frames: Mapping[str, NDArray[Any]]) -> None:
        """Write the frames of an episode."""
        import pyarrow as pa

        arrays = [parquet.array(column, frames[column.name]) for column in self._columns]
        self._file.write_table(pa.Table.from_arrays(arrays, schema=self._table))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _meta(
    job: Job,
    columns: Sequence[Column],
    tasks: Sequence[str],
    episodes: Sequence[Mapping[str, Any]],
    moments: Moments,
    rate: int,
    films: Sequence[str],
) -> None:
    """Write `meta/`: info, statistics, tasks and episodes."""
    import pyarrow as pa
    from pyarrow.parquet import write_table

    meta = job.path / "meta"
    (meta / "episodes" / "chunk-000").mkdir(parents=True)
    info = {
        "codebase_version": "v3.0",
        "fps": rate,
        "features": {column.name: _described(column, films, rate) for column in columns},
        "total_episodes": len(episodes),
        "total_frames": episodes[-1]["dataset_to_index"],
        "total_tasks": len(tasks),
        "chunks_size": FILES,
        "data_files_size_in_mb": FILE_MB,
        "video_files_size_in_mb": 200,
        "data_path": _DATA,
        "video_path": _FILM if films else None,
        "robot_type": None,
        "splits": {"train": f"0:{len(episodes)}"},
    }
    durable.create(meta / "info.json", json.dumps(info, indent=1).encode())
    durable.create(meta / "stats.json", json.dumps(moments.told(), indent=1).encode())
    own = {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
    kept = [{**one, **own} for one in episodes]
    write_table(pa.Table.from_pylist(kept), meta / "episodes" / "chunk-000" / "file-000.parquet")
    numbered = [{"task_index": n, "task": task} for n, task in enumerate(tasks)]
    told = {"pandas": json.dumps(_INDEXED)}
    table = pa.Table.from_pylist(numbered).replace_schema_metadata(told)
    write_table(table, meta / "tasks.parquet")


def _described(column: Column, films: Sequence[str], rate: int) -> dict[str, Any]:
    """Return a feature as `info.json` has it."""
    if column.name in films:
        told = {"height": column.shape[0], "width": column.shape[1], "channels": 3, "fps": rate}
        told |= {"codec": "h264", "pix_fmt": film.PIXELS}
        return {
            "dtype": "video",
            "shape": list(column.shape),
            "names": ["height", "width", "channels"],
            "info": {f"video.{k}": v for k, v in told.items()}
            | {"is_depth_map": False, "has_audio": False},
        }
    if parquet.is_image(column):
        return {
            "dtype": "image",
            "shape": list(column.shape),
            "names": ["height", "width", "channels"],
        }
    names = list(column.elements) or None
    return {"dtype": column.dtype, "shape": list(column.shape) or [1], "names": names}
