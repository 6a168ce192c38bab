"""Plain HDF5: a file of columns, and a YAML file that says what they are and where episodes end."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from sandbox import document
from sandbox.errors import FormatError, InvalidInputError
from sandbox.imports import incoming, pictures
from sandbox.imports.hdf5 import Source, native
from sandbox.imports.incoming import Arrays
from sandbox.imports.pictures import Fitted
from sandbox.run.imported import Rate
from sandbox.run.importing import Arrived
from sandbox.trajectory.reader import MOST_EPISODES

MOST_ROWS = 1 << 32
_RESULTS = ("reward", "terminated", "truncated")
Place = Annotated[str, Field(min_length=1, max_length=300)]


class Episodes(BaseModel):
    """Where episodes end: exactly one of these.

    Attributes:
        lengths: an array of the number of rows of each episode, one after another.
        index: an array that has the number of each row's episode.
        ends: arrays of flags, of which one is true on the last row of an episode.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    lengths: Place | None = None
    index: Place | None = None
    ends: Annotated[list[Place], Field(min_length=1, max_length=8)] | None = None

    @model_validator(mode="after")
    def _one(self) -> "Episodes":
        if sum(one is not None for one in (self.lengths, self.index, self.ends)) != 1:
            raise ValueError("give one of lengths, index and ends")
        return self


class Mapped(BaseModel):
    """What a file of columns means.

    Attributes:
        format: version of this document.
        columns: for each column of the run, such as `pixels` or `action`, the place of its array.
        episodes: where episodes end.
        received: what a row's reward and flags belong to: `arriving` at the row, or the row's
            `action`. With `action` the last action of an episode is left out, and what it gave.
        hz: rows a second.
        channels: whether those of a picture come first or last in a row.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: Literal[1]
    columns: Annotated[dict[str, Place], Field(min_length=1, max_length=200)]
    episodes: Episodes
    received: Literal["arriving", "action"]
    hz: Rate | None = None
    channels: Literal["first", "last"] = "last"


class Plain:
    """An HDF5 file of columns with as many rows each.

    Args:
        path: the file.
        mapping: the YAML file that says what its columns are.

    Raises:
        InvalidInputError: there is no mapping, or it breaks a rule.
        FormatError: the file is not as the mapping says, or damaged.
    """

    lossy = incoming.EXACT

    def __init__(self, path: Path, mapping: Path | None) -> None:
        if mapping is None:
            raise InvalidInputError(
                f"{path}: nothing says what its columns mean; give a YAML file by --map."
            )
        self._said = document.read(mapping, Mapped)
        _refuse_names(mapping, self._said)
        self.mapping, self.hz = self._said.model_dump(), self._said.hz
        self.name, self.files = path.stem, {path.name: path}
        self.left_out, self.notes = dict[str, str](), ()
        self._source = Source(path)
        with self._source.opening():
            self._open_all()
        self.count = len(self._lengths)

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def episodes(self) -> Iterator[Arrived]:
        """Yield the episodes in order."""
        first = 0
        for number, count in enumerate(self._lengths.tolist()):
            with self._source.guarded():
                read = {
                    name: self._fitted[name].arranged(native(column.rows(first, count)))
                    for name, column in self._open.items()
                }
                made = self._arranged(read)
            yield Arrived(made, None, {"episode": number})
            first += count

    def _arranged(self, read: Arrays) -> Arrays:
        """Return rows by our convention."""
        if self._said.received == "arriving":
            return incoming.rows(read)
        results = {name: read.pop(name) for name in _RESULTS if name in read}
        return incoming.frames(read, read.pop("action"), results)

    def _open_all(self) -> None:
        """Open the columns, find the episodes, and compare them."""
        self.columns: Mapping[str, str] = self._said.columns
        self._open = {name: self._source.column(at) for name, at in self.columns.items()}
        self._fitted = {
            name: self._fit(name, column.dtype.name, column.row)
            for name, column in self._open.items()
        }
        found = [
            (name, column.dtype.name, self._fitted[name].shape, self.columns[name])
            for name, column in self._open.items()
        ]
        self.schema = incoming.schema("hdf5", found)
        rows = self._open["action"].extent
        self._lengths = _lengths(self._source, self._said.episodes, rows)
        for name, column in self._open.items():
            if column.extent != self._lengths.sum():
                raise FormatError(
                    f"{self.columns[name]!r} has {column.extent} rows, and its episodes "
                    f"{self._lengths.sum()}."
                )
        self._source.refuse_size(self._lengths, self.schema.row_bytes)

    def _fit(self, name: str, dtype: str, row: tuple[int, ...]) -> Fitted:
        """Return what becomes of a column; FormatError if it cannot be what the mapping says."""
        why, last = incoming.refused(name, dtype, row), self._said.channels == "last"
        one = pictures.fit(name, dtype, row, first=not last)
        if not why and one is None:
            why = f"pictures are uint8 (height, width, 3), and its rows are {dtype} {row}. "
            if pictures.fit(name, dtype, row, first=last) is None:
                why += "Store them so, or give it another name"
            else:
                why += f"{'Say' if last else 'Leave out'} `channels: first` in the mapping"
        if why or one is None:
            raise FormatError(f"{self.columns[name]!r} cannot be column {name!r}: {why}.")
        return one


def _refuse_names(path: Path, said: Mapped) -> None:
    """Refuse columns that no run can have, or that nothing but a run can say."""
    for name in said.columns:
        if why := incoming.refused(name, "bool"):
            raise InvalidInputError(f"{path}: columns: {name[:80]!r}: {why}.")
    if "action" not in said.columns:
        raise InvalidInputError(f"{path}: columns: there is no action; every run has actions.")


def _lengths(source: Source, said: Episodes, rows: int) -> NDArray[np.int64]:
    """Return the number of rows of each episode; FormatError if they are not to be found."""
    if said.lengths is not None:
        found = _numbers(source, said.lengths, MOST_EPISODES)
    else:
        places = [said.index] if said.index is not None else said.ends or []
        every = [_numbers(source, place, MOST_ROWS) for place in places]
        if any(len(one) != rows for one in every):
            raise FormatError(f"{places[0]!r} has {len(every[0])} rows, and there are {rows}.")
        begins = _begins(every, is_index=said.index is not None)
        found = np.diff(np.append(np.flatnonzero(begins), rows))
    if not len(found) or (found < 1).any() or len(found) > MOST_EPISODES:
        raise FormatError("its episodes are none, too many, or have no row.")
    return found.astype(np.int64)


def _begins(every: list[NDArray[np.int64]], *, is_index: bool) -> NDArray[np.bool_]:
    """Return which rows begin an episode."""
    first = every[0]
    begins = np.ones(len(first), np.bool_)
    if is_index:
        begins[1:] = first[1:] != first[:-1]
        numbers = first[begins]
        if len(np.unique(numbers)) != len(numbers):
            raise FormatError("the rows of an episode do not follow each other.")
        return begins
    ended = np.logical_or.reduce([incoming.flags("ends", one) for one in every])
    begins[1:] = ended[:-1]
    return begins


def _numbers(source: Source, place: str, most: int) -> NDArray[Any]:
    """Return an array of one number a row."""
    column = source.column(place)
    if column.row or column.dtype.kind not in "iubf" or column.extent > most:
        raise FormatError(f"{place!r} is no list of numbers.")
    source.refuse_size(np.array([column.extent]), column.dtype.itemsize)
    return native(column.rows(0, column.extent))
