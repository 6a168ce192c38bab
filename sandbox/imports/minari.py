"""Minari: a group for each episode, with T+1 observations and what each of T steps gave."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from sandbox import files, jsonfile
from sandbox.errors import FormatError, shown
from sandbox.imports import incoming, pictures
from sandbox.imports.hdf5 import Source, native
from sandbox.imports.incoming import Arrays
from sandbox.imports.pictures import Fitted
from sandbox.run.importing import Arrived
from sandbox.trajectory import Schema

_EPISODE = re.compile(r"episode_(0|[1-9][0-9]{0,8})")
_SEEN, _TOLD = "observations", "infos"
_MOST_OTHERS = 100  # Groups that are no episodes, of which all are named.
_STEPS = {
    "actions": "action",
    "rewards": "reward",
    "terminations": "terminated",
    "truncations": "truncated",
}
_GIVEN = ("reward", "terminated", "truncated")  # These may be of any type of numbers.


class _Metadata(BaseModel):
    """What is read of metadata.json, which says more."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    data_format: str = "hdf5"
    jpeg_encoding: bool = False
    dataset_id: str | None = None
    total_episodes: int | None = None


class Minari:
    """A dataset of Minari: the folder that has `data/`, or that folder.

    Raises:
        FormatError: it is none, damaged, or kept in a way that is not read.
    """

    mapping = None
    hz = None
    lossy = incoming.EXACT

    def __init__(self, path: Path, mapping: Path | None) -> None:
        data = path / "data" if (path / "data").is_dir() else path
        files.refuse_links(path, data, read=True)
        self.files = {name: data / name for name in ("main_data.hdf5", "metadata.json")}
        said = _metadata(self.files["metadata.json"])
        self.name = said.dataset_id or path.name
        self._fitted: dict[str, Fitted] = {}
        self._source = Source(self.files["main_data.hdf5"])
        with self._source.opening():
            self._episodes, others = _episodes(self._source)
            self.columns, self.left_out, self.schema = self._found()
        self.left_out = {**self.left_out, **dict.fromkeys(others, "no episode is called so")}
        self.count = len(self._episodes)
        self.notes = pictures.notes(self._fitted.values())
        if said.total_episodes not in (None, self.count):
            told = f"{shown(said.total_episodes)} episodes, and there are {self.count}"
            self.notes.append(f"metadata.json says {told}.")

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def episodes(self) -> Iterator[Arrived]:
        """Yield the episodes in the order of their numbers."""
        for group in self._episodes:
            with self._source.guarded():
                seed = incoming.seed(self._source.number(group, "seed"))
                named = {"episode": int(group.rpartition("_")[2])}
                rows = self._rows(group)
            yield Arrived(rows, seed, named)

    def _found(self) -> tuple[Mapping[str, str], Mapping[str, str], Schema]:
        """Return columns, what is left out, and the schema, as the first episode shows them.

        How each column is fitted is noted.
        """
        first = self._episodes[0]
        count = self._source.column(f"{first}/actions").extent
        columns, left = dict[str, str](), dict[str, str]()
        found = list[tuple[str, str, tuple[int, ...], str]]()
        for place, dtype, shape in self._source.places(first):
            where = place.removeprefix(f"{first}/")
            one = pictures.fitted(_named(where, dtype, shape), dtype, shape[1:], where)
            name = one.name
            why = incoming.refused(name, dtype, one.shape)
            if not why and where.startswith(f"{_TOLD}/") and shape[:1] != (count + 1,):
                why = "it has not a row for each observation"
            if not why and name in columns:
                why = f"{columns[name]} has the same name"
            if why:
                left[where] = why
            else:
                columns[name], self._fitted[name] = where, one
                found.append((name, dtype, one.shape, where))
        return columns, left, incoming.schema("minari", found)

    def _rows(self, group: str) -> Arrays:
        """Return the rows of an episode."""
        columns = {n: self._source.column(f"{group}/{at}") for n, at in self.columns.items()}
        count = columns["action"].extent
        for name, column in columns.items():
            wanted = count if name in _STEPS.values() else count + 1
            kind = self.schema[name]
            row = self._fitted[name].there
            fits = name in _GIVEN or column.dtype.name == kind.dtype
            if column.extent != wanted or column.row != row or not fits:
                raise FormatError(
                    f"{group}/{self.columns[name]} is {column.dtype} {(column.extent, *column.row)}"
                    f", where {count} actions want {wanted} rows of {row}, {kind.dtype}."
                )
        for at, name in _STEPS.items():
            if name not in columns and self._source.has(f"{group}/{at}"):
                raise FormatError(f"{group} has {at}, and {self._episodes[0]} has none.")
        self._source.refuse_size(np.array([count + 1]), self.schema.row_bytes)
        read = {
            name: self._fitted[name].arranged(native(column.rows(0, column.extent)))
            for name, column in columns.items()
        }
        given = {name: read.pop(name) for name in _STEPS.values() if name in read}
        return incoming.steps(read, given.pop("action"), given)


def _metadata(path: Path) -> _Metadata:
    """Return what metadata.json says; FormatError if its data are kept in another way."""
    said = jsonfile.model(path, _Metadata, "Minari 0.5 writes such a file.")
    if said.data_format != "hdf5":
        raise FormatError(
            f"{path}: its data are kept as {said.data_format:.40}; convert them to hdf5."
        )
    if said.jpeg_encoding:
        raise FormatError(
            f"{path}: its pictures are JPEG, which is not exact and not read; record them with "
            "jpeg_encoding=False."
        )
    return said


def _episodes(source: Source) -> tuple[list[str], list[str]]:
    """Return the names of the episodes' groups, by number, and other names."""
    every = source.names()
    names = [name for name in every if _EPISODE.fullmatch(name)]
    others = [name for name in every if not _EPISODE.fullmatch(name)]
    if not names:
        raise FormatError("it has no group episode_0; it is no dataset of Minari, or empty.")
    if len(others) > _MOST_OTHERS:
        raise FormatError(
            f"{len(others)} of its groups are no episodes, such as {others[0]!r:.80}."
        )
    return sorted(names, key=lambda name: int(name.rpartition("_")[2])), others


def _named(where: str, dtype: str, shape: tuple[int, ...]) -> str:
    """Return what a column is called here that lies at a place in an episode's group."""
    if where in _STEPS:
        return _STEPS[where]
    if where == _SEEN:  # One array: pictures, or numbers.
        one = pictures.fitted("pixels", dtype, shape[1:], where)
        return "pixels" if len(shape) == 4 and one.name == "pixels" else "proprio"
    group, _, rest = where.partition("/")
    return rest.replace("/", ".") if group in (_SEEN, _TOLD) else where
