"""Hugging Face datasets: Parquet files of rows, with pictures as PNG, that the Hub shows."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sandbox import durable
from sandbox.errors import InvalidInputError
from sandbox.exports import parquet
from sandbox.exports.formats import Job, Kind, Plan, about
from sandbox.trajectory import Column, Rows, Schema

GROUP_BYTES = 64 << 20  # Of rows, uncompressed, that are written together,
FILE_BYTES = 1 << 29  # and in one file.
PLACE = "episode"  # The column that counts the episodes of the export.
_SPLIT = re.compile(r"\w+(\.\w+)*")


class HuggingFace:
    """A folder that `datasets.load_dataset` reads: a row for each of ours, split by split."""

    name = "hf"
    reader = "datasets 5.2.0"
    kinds: tuple[Kind, ...] = ("copy",)
    ending = ""
    shortest = 1
    compressions: tuple[str, ...] = ()
    needs: tuple[str, ...] = ("pyarrow",)

    def plan(self, schema: Schema, kind: Kind, asked: bool, out: Path) -> Plan:
        """Return every column under its own name."""
        if PLACE in schema.names:
            raise InvalidInputError(
                f"column {PLACE}: hf counts the episodes by a column of that name; leave it out."
            )
        held: dict[str, str] = {}
        for column in schema.columns:
            image = " as PNG" if parquet.is_image(column) else ""
            held[column.name] = f"{column.name}{image}"
        return Plan(held)

    def write(self, job: Job) -> None:
        """Write `data/SPLIT-NNNNN.parquet` and a README.md that names the splits."""
        (job.path / "data").mkdir(parents=True)
        columns = [job.dataset.schema[name] for name in job.plan.held]
        files, splits = _Files(job.path / "data", columns), list[str]()
        try:
            for place, (number, rows) in enumerate(job.episodes()):
                split = str(about(job.dataset, number).get("split", "train"))
                if not _SPLIT.fullmatch(split):
                    raise InvalidInputError(
                        f"split {split!r}: Hugging Face allows letters, digits, '_' and '.' in its "
                        "name. Leave it out by `split`, or name it otherwise."
                    )
                splits += [] if split in splits else [split]
                files.add(split, place, rows)
        finally:
            files.close()
        durable.create(job.path / "README.md", _card(splits).encode())


class _Files:
    """The Parquet files of each split, of which one of each is open.

    Args:
        folder: the folder of the files.
        columns: the columns.
    """

    def __init__(self, folder: Path, columns: Sequence[Column]) -> None:
        self._folder, self._columns = folder, columns
        self._table = _table(columns)
        self._open: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}
        self._counts: dict[str, int] = {}

    def add(self, split: str, place: int, rows: Rows) -> None:
        """Write the rows of an episode, as a group or some."""
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        if self._sizes.get(split, FILE_BYTES) >= FILE_BYTES:
            if split in self._open:
                self._open.pop(split).close()
            count = self._counts[split] = self._counts.get(split, -1) + 1
            path = self._folder / f"{split}-{count:05d}.parquet"
            self._open[split] = ParquetWriter(path, self._table, compression="zstd")
            self._sizes[split] = 0
        total = len(next(iter(rows.values())))
        step = max(1, GROUP_BYTES // sum(column.row_bytes for column in self._columns))
        for start in range(0, total, step):
            some = {name: values[start : start + step] for name, values in rows.items()}
            arrays = [parquet.array(column, some[column.name]) for column in self._columns]
            places = pa.array([place] * len(arrays[0]), pa.int64())
            table = pa.Table.from_arrays([places, *arrays], schema=self._table)
            self._open[split].write_table(table)
            self._sizes[split] += table.nbytes

    def close(self) -> None:
        """Close the files."""
        for file in self._open.values():
            file.close()


def _table(columns: Sequence[Column]) -> Any:
    """Return the Arrow schema of the files, with what `datasets` makes of each column."""
    import pyarrow as pa

    every = [Column(PLACE, "int64", (), "", "1"), *columns]
    features = {column.name: parquet.feature(column) for column in every}
    told = json.dumps({"info": {"features": features}})
    fields = [pa.field(column.name, parquet.kind(column)) for column in every]
    return pa.schema(fields, metadata={"huggingface": told})


def _card(splits: Sequence[str]) -> str:
    """Return a README.md whose head names the files of each split."""
    files = "".join(
        f"  - split: {split}\n    path: data/{split}-*.parquet\n" for split in sorted(splits)
    )
    return (
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n\n"
        "Each row has an observation, the `action` taken at it (NaN on the last row of an "
        "episode),\nand the `reward` received on arriving there. "
        f"`{PLACE}` counts the episodes.\n"
    )
