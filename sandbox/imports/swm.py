"""stable-worldmodel: one HDF5 file of flat columns, with the length and start of each episode."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sandbox.errors import FormatError
from sandbox.imports import incoming, pictures
from sandbox.imports.hdf5 import Source, native
from sandbox.imports.pictures import Fitted
from sandbox.run.importing import Arrived
from sandbox.trajectory import Schema
from sandbox.trajectory.layout import StoredColumn
from sandbox.trajectory.reader import MOST_EPISODES

_LENGTHS, _FIRSTS = "ep_len", "ep_offset"


class Swm:
    """A file of the layout `stable-worldmodel-hdf5-v1`, whose rows lie as ours do.

    Raises:
        FormatError: it is none, or damaged.
    """

    mapping = None
    hz = None
    lossy = incoming.EXACT

    def __init__(self, path: Path, mapping: Path | None) -> None:
        self.name, self.files = path.stem, {path.name: path}
        self._fitted: dict[str, Fitted] = {}
        self._source = Source(path)
        with self._source.opening():
            self._lengths, self._firsts = _index(self._source)
            self.columns, self.left_out, self.schema = self._found()
            self._open = {n: self._source.column(at) for n, at in self.columns.items()}
            self._check()
        self.count = len(self._lengths)
        self.notes = pictures.notes(self._fitted.values())

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def episodes(self) -> Iterator[Arrived]:
        """Yield the episodes in order."""
        for number, (count, first) in enumerate(zip(self._lengths, self._firsts, strict=True)):
            with self._source.guarded():
                read = {
                    name: self._fitted[name].arranged(native(column.rows(int(first), int(count))))
                    for name, column in self._open.items()
                }
                rows = incoming.rows(read)
            yield Arrived(rows, _seed(read.get("seed")), {"episode": number})

    def _found(self) -> tuple[Mapping[str, str], Mapping[str, str], Schema]:
        """Return columns, what is left out, and the schema; note how columns are fitted."""
        columns, left = dict[str, str](), dict[str, str]()
        found = list[tuple[str, str, tuple[int, ...], str]]()
        for place, dtype, shape in self._source.places():
            if place in (_LENGTHS, _FIRSTS):
                continue
            one = pictures.fitted(place, dtype, shape[1:], place)
            why = incoming.refused(one.name, dtype, one.shape)
            if not why and one.name in columns:
                why = f"{columns[one.name]} has the same name"
            if why:
                left[place] = why
            else:
                columns[one.name], self._fitted[one.name] = place, one
                found.append((one.name, dtype, one.shape, place))
        return columns, left, incoming.schema("swm", found)

    def _check(self) -> None:
        """Refuse columns that lack rows, and episodes that so small a file cannot hold."""
        total = int(self._lengths.sum())
        for name, column in self._open.items():
            _refuse_rows(name, column, total)
        self._source.refuse_size(self._lengths, self.schema.row_bytes)


def _index(source: Source) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the length and the first row of each episode; FormatError if they do not follow."""
    found = list[NDArray[np.int64]]()
    for name in (_LENGTHS, _FIRSTS):
        column = source.column(name)
        if column.row or column.dtype.kind not in "iu" or column.extent > MOST_EPISODES:
            raise FormatError(f"{name!r} is no list of whole numbers, one for each episode.")
        found.append(column.rows(0, column.extent).astype(np.int64))
    lengths, firsts = found
    follow = np.array_equal(firsts, np.cumsum(lengths) - lengths) and len(lengths)
    if not follow or (lengths < 1).any():
        raise FormatError(f"its {len(lengths)} episodes do not follow each other from row 0 on.")
    return lengths, firsts


def _refuse_rows(name: str, column: StoredColumn, total: int) -> None:
    if column.extent != total:
        raise FormatError(f"column {name!r} has {column.extent} rows, and its episodes {total}.")


def _seed(values: NDArray[np.int64] | None) -> int | None:
    """Return the seed that a column names; None if there is none, or several."""
    if values is None or values.ndim != 1 or values.dtype.kind not in "iu":
        return None
    return incoming.seed(int(values[0])) if (values == values[0]).all() else None
