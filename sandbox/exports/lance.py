"""Lance: a table of rows as stable-worldmodel reads it, with pictures as PNG, without loss."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.errors import InvalidInputError
from sandbox.exports import parquet
from sandbox.exports.formats import Job, Kind, Plan
from sandbox.trajectory import Column, Schema

FRAGMENT_BYTES = 256 << 20  # Of rows that are written together.
_COUNTS = ("episode_idx", "step_idx")


class Lance:
    """A folder `NAME.lance`: rows as ours, arrays flattened, episodes numbered from 0."""

    name = "lance"
    reader = "pylance 14.0.2"
    kinds: tuple[Kind, ...] = ("copy",)
    ending = ".lance"
    shortest = 1
    compressions: tuple[str, ...] = ()
    needs: tuple[str, ...] = ("pyarrow", "lance")

    def plan(self, schema: Schema, kind: Kind, asked: bool, out: Path) -> Plan:
        """Return every column; Lance allows no point in a name."""
        held: dict[str, str] = {}
        for column in schema.columns:
            place = column.name.replace(".", "_")
            if place in held.values() or (place != column.name and place in schema.names):
                raise InvalidInputError(
                    f"Lance allows no point in a name, and column {column.name} would be {place}, "
                    "which there is, too; leave one out."
                )
            held[column.name] = place
        return Plan(held)

    def write(self, job: Job) -> None:
        """Write the episodes, some at a time."""
        columns = [job.dataset.schema[name] for name in job.plan.held if name not in _COUNTS]
        waiting, size = list[Any](), 0
        for place, (_, rows) in enumerate(job.episodes()):
            waiting.append(_batch(columns, job, place, rows))
            size += waiting[-1].nbytes
            if size >= FRAGMENT_BYTES:
                _append(job.path, waiting)
                waiting, size = [], 0
        if waiting:
            _append(job.path, waiting)


def _batch(columns: Sequence[Column], job: Job, place: int, rows: Any) -> Any:
    """Return an episode as an Arrow table."""
    import pyarrow as pa

    count = int(job.dataset.lengths[job.numbers[place]])
    names = [*_COUNTS, *(job.plan.held[column.name] for column in columns)]
    counts = (np.full(count, place, np.int64), np.arange(count, dtype=np.int64))
    arrays = [*map(pa.array, counts), *(_array(column, rows[column.name]) for column in columns)]
    return pa.Table.from_arrays(arrays, names=names)


def _array(column: Column, values: NDArray[Any]) -> Any:
    """Return rows of a column: PNG, one number, or all numbers of the row in a list."""
    import pyarrow as pa

    if parquet.is_image(column):
        return pa.array([parquet.png(row) for row in values], pa.binary())
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    wide = int(np.prod(column.shape))
    return flat if not column.shape else pa.FixedSizeListArray.from_arrays(flat, wide)


def _append(path: Path, tables: Sequence[Any]) -> None:
    """Write tables to the end of a dataset, which is made if it does not exist."""
    import lance
    import pyarrow as pa

    lance.write_dataset(
        pa.concat_tables(tables), str(path), mode="append" if path.exists() else "create"
    )
