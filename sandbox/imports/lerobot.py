"""LeRobot v3: frames in Parquet files, pictures there or in films, and what `meta/` says."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sandbox import files, jsonfile, memory
from sandbox.errors import FormatError
from sandbox.imports import films, incoming, parquet, pictures
from sandbox.imports.decoder import NEAR
from sandbox.imports.films import Films
from sandbox.imports.incoming import Arrays
from sandbox.imports.pictures import Fitted
from sandbox.run.imported import Rate
from sandbox.run.importing import Arrived
from sandbox.trajectory import Column, Schema
from sandbox.trajectory.untrusted import EPISODE_BYTES, MOST_PACKED

MOST_BYTES = 1 << 33  # Of an episode, in any case: it is in memory as a whole.
MOST_FILES = 100_000
_FILM, _PICTURES = "video", ("image", "video")  # Types of features.
_OBSERVED, _IMAGES, _NEXT = "observation.", "observation.images.", "next."
_TIME = "timestamp"
_PLACE = ("index", "episode_index", "frame_index", "task_index")
_NAMES = {f"{_OBSERVED}state": "proprio", f"{_OBSERVED}environment_state": "state"}
_FILES = "chunk-[0-9][0-9][0-9]/file-[0-9][0-9][0-9].parquet"


class _Feature(BaseModel):
    """What info.json says of a feature."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    dtype: str
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(max_length=8)]


class _Info(BaseModel):
    """What is read of info.json, which says more."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    codebase_version: Annotated[str, Field(pattern=r"^v3\.\d+$")]
    fps: Rate
    features: dict[str, _Feature]
    total_episodes: Annotated[int, Field(ge=1, lt=1 << 31)]
    total_frames: Annotated[int, Field(ge=1, lt=1 << 40)]


class LeRobot:
    """A folder that `LeRobotDataset` reads.

    Raises:
        FormatError: it is none, or damaged.
        SandboxError: a package is missing.
    """

    mapping = None

    def __init__(self, path: Path, mapping: Path | None) -> None:
        self.name = path.name
        self._info = _info(path / "meta" / "info.json")
        self.hz, self.count = float(self._info.fps), self._info.total_episodes
        data = sorted((path / "data").glob(_FILES))
        for one in (path / "meta", *data):
            files.refuse_links(path, one, read=True)
        if not data or len(data) > MOST_FILES:
            raise FormatError(f"{path}: has {len(data)} files data/chunk-000/file-000.parquet.")
        told = [path / "meta" / name for name in ("info.json", "tasks.parquet")]
        there = [one for one in told if one.exists()] + data
        self.files = {str(one.relative_to(path)): one for one in there}
        self._data, self._path = data, path
        self._fitted: dict[str, Fitted] = {}
        with _told_of(path):
            self.columns, self.left_out, self.schema = self._found()
        self._check_count()
        self._open_films()
        has_tasks = "meta/tasks.parquet" in self.files and "task_index" in self._info.features
        self._tasks = parquet.texts(told[1], "task", "task_index") if has_tasks else {}

    def close(self) -> None:
        """Close the films; other files are open only while they are read."""
        self._films.close()

    def _open_films(self) -> None:
        """Note which films are read, and that their frames are not exact."""
        filmed = [name for name, at in self.columns.items() if self._is_film(at)]
        sizes = dict[str, tuple[int, int]]()
        for name in filmed:
            height, width, *_ = self._fitted[name].there
            sizes[self.columns[name]] = (height, width)
        self._films = Films(self._path, sizes, self.hz, self.count)
        self.files |= self._films.files
        self.lossy = dict.fromkeys(filmed, films.LOSSY)
        self.notes = pictures.notes(self._fitted.values())
        self.notes += [f"{one}: {films.LOSSY}." for one in filmed]

    def _is_film(self, at: str) -> bool:
        return self._info.features[at].dtype == _FILM

    def episodes(self) -> Iterator[Arrived]:
        """Yield the episodes in order."""
        waiting, number = list[Arrays](), 0
        stored = sum(one.stat().st_size for one in self.files.values() if one.exists())
        most = min(max(EPISODE_BYTES, stored * MOST_PACKED), MOST_BYTES)
        for part in self._parts():
            for episode, rows in _by_episode(part):
                if waiting and episode != number:
                    yield self._arrived(number, waiting)
                    waiting, number = [], number + 1
                if episode != number:
                    raise FormatError(f"{self._path}: episode {episode} follows {number - 1}.")
                waiting.append(rows)
                size = sum(array.nbytes for one in waiting for array in one.values())
                size += self._films.frame_bytes * sum(len(one["frame_index"]) for one in waiting)
                if size > most:
                    raise FormatError(
                        f"{self._path}: episode {number} has more than {most:,} bytes of rows, "
                        "which is too large to read."
                    )
                memory.refuse(size, 3, f"{self._path}: episode {number}")
        if waiting:
            yield self._arrived(number, waiting)

    def _parts(self) -> Iterator[Arrays]:
        """Yield the frames, some at a time."""
        named = [at for at in self.columns.values() if not self._is_film(at)]
        features = [_column(at, self._info.features[at]) for at in named]
        counted = (*_PLACE, *((_TIME,) if self.lossy else ()))
        places = [_column(n, self._info.features[n]) for n in counted if n in self._info.features]
        for path in self._data:
            with _told_of(path):
                yield from parquet.batches(path, [*features, *places])

    def _arrived(self, number: int, parts: list[Arrays]) -> Arrived:
        """Return an episode of some frames."""
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if not np.array_equal(whole["frame_index"], np.arange(len(whole["frame_index"]))):
            raise FormatError(f"{self._path}: the frames of episode {number} do not count from 0.")
        self._check_times(number, whole)
        whole |= self._films.read(number, len(whole["frame_index"]))
        read = {n: self._fitted[n].arranged(whole[at]) for n, at in self.columns.items()}
        given = {n: read.pop(n) for n, at in self.columns.items() if at.startswith(_NEXT)}
        with _told_of(self._path, f"episode {number}: "):
            rows = incoming.frames(read, read.pop("action"), given)
        told: dict[str, Any] = {"episode": number}
        task = self._tasks.get(int(whole["task_index"][0])) if "task_index" in whole else None
        return Arrived(rows, None, told if task is None else {**told, "task": task})

    def _check_times(self, number: int, whole: Arrays) -> None:
        """Refuse an episode whose frames stand elsewhere in time than films have them."""
        if _TIME not in whole:
            return
        places = whole[_TIME].astype(np.float64) * self.hz
        if not (np.abs(places - whole["frame_index"]) <= NEAR).all():
            raise FormatError(
                f"{self._path}: the timestamps of episode {number} are not those of {self.hz:g} "
                "frames a second, as its films have them."
            )

    def _found(self) -> tuple[Mapping[str, str], Mapping[str, str], Schema]:
        """Return columns, what is left out, and the schema, as info.json describes them.

        How each column is fitted is noted.
        """
        columns, left = dict[str, str](), dict[str, str]()
        found = list[tuple[str, str, tuple[int, ...], str]]()
        for at, feature in self._info.features.items():
            if at in (*_PLACE, _TIME):
                continue
            kind, shape = _kind(feature), _shape(feature)
            one = pictures.fitted(_named(at), kind, shape, at)
            name, why = one.name, incoming.refused(one.name, kind, one.shape)
            if feature.dtype == "image" and (len(shape) < 2 or shape[2:] not in ((), (3,))):
                why = f"pictures of shape {shape} are not read"
            if feature.dtype == _FILM:
                why = films.refused(at, shape) or why
            if at == f"{_NEXT}done":
                why = "the last step of an episode, whose end it is, is left out"
            elif not why and name in columns:
                why = f"{columns[name]} has the same name"
            if why:
                left[at] = why
            else:
                columns[name], self._fitted[name] = at, one
                found.append((name, kind, one.shape, at))
        for name in ("episode_index", "frame_index"):
            if name not in self._info.features:
                raise FormatError(f"there is no feature {name}, which every one has.")
        return columns, left, incoming.schema("lerobot", found)

    def _check_count(self) -> None:
        """Refuse files that have another number of frames than info.json says."""
        total = sum(map(parquet.count, self._data))
        if total != self._info.total_frames:
            raise FormatError(
                f"{self._path}: its files have {total} frames, and meta/info.json says "
                f"{self._info.total_frames}."
            )


@contextmanager
def _told_of(path: Path, what: str = "") -> Generator[None]:
    """Begin the message of each FormatError with a path, and what of it is meant."""
    try:
        yield
    except FormatError as error:
        text = str(error)
        named = text if text.startswith(str(path)) else f"{path}: {what}{text}"
        raise FormatError(named) from None


def _info(path: Path) -> _Info:
    """Return what info.json says; FormatError if it is no dataset of LeRobot v3."""
    return jsonfile.model(path, _Info, "Only v3.0 is read; LeRobot converts older datasets.")


def _column(at: str, feature: _Feature) -> Column:
    """Return a feature as a column of the files."""
    return Column(at, _kind(feature), _shape(feature), "", "1")


def _kind(feature: _Feature) -> str:
    return "uint8" if feature.dtype in _PICTURES else feature.dtype


def _shape(feature: _Feature) -> tuple[int, ...]:
    """Return the shape of a row: of pictures (H, W) or (H, W, 3); a vector of one is a number."""
    shape = tuple(feature.shape)
    if feature.dtype not in _PICTURES:
        return () if shape == (1,) else shape
    if len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3):
        shape = (*shape[1:], shape[0])
    return shape[:2] if shape[2:] == (1,) else shape


def _named(at: str) -> str:
    """Return what a feature is called here."""
    if at.startswith(_IMAGES):
        camera = at.removeprefix(_IMAGES)
        return "pixels" if camera == "main" else f"pixels.{camera}"
    known = _NAMES.get(at, at)
    return known.removeprefix(_OBSERVED).removeprefix(_NEXT)


def _by_episode(part: Arrays) -> Iterator[tuple[int, Arrays]]:
    """Yield the frames of each episode in some frames that follow each other."""
    episode = part["episode_index"]
    starts = np.flatnonzero(np.append(True, episode[1:] != episode[:-1]))
    for start, end in zip(starts, [*starts[1:], len(episode)], strict=True):
        yield int(episode[start]), {name: rows[start:end] for name, rows in part.items()}
