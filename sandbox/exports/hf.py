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
from sandbox.exports.pieces import Piece, Told, by_size
from sandbox.trajectory import Column, Rows, Schema

GROUP_BYTES = 64 << 20  # Of rows, uncompressed, that are written together,
FILE_BYTES = 1 << 28  # and in one file.
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

    def pieces(self, job: Job) -> list[Piece]:
        """Return the files: each has episodes of one split."""
        return by_size(job, FILE_BYTES, [_split(job, number) for number in job.numbers])

    def write_piece(self, job: Job, piece: Piece, folder: Path) -> Told:
        """Write a file `data/SPLIT-NNNNN.parquet`."""
        from pyarrow.parquet import ParquetWriter

        (folder / "data").mkdir()
        columns = [job.dataset.schema[name] for name in job.plan.held]
        table = _table(columns)
        path = folder / "data" / f"{piece.group}-{piece.number:05d}.parquet"
        file = ParquetWriter(path, table, compression="zstd")
        try:
            for place, rows in job.some(piece.places):
                _add(file, table, columns, place, rows)
        finally:
            file.close()
        return {}

    def finish(self, job: Job, pieces: Sequence[Piece], told: Sequence[Told]) -> None:
        """Write a README.md that names the splits."""
        splits = list(dict.fromkeys(piece.group for piece in pieces))
        durable.create(job.path / "README.md", _card(splits).encode())


def _split(job: Job, number: int) -> str:
    """Return the split of an episode; InvalidInputError if no split may be called so."""
    split = str(about(job.dataset, number).get("split", "train"))
    if not _SPLIT.fullmatch(split):
        raise InvalidInputError(
            f"split {split!r}: Hugging Face allows letters, digits, '_' and '.' in its name. Leave "
            "it out by `split`, or name it otherwise."
        )
    return split


def _add(file: Any, table: Any, columns: Sequence[Column], place: int, rows: Rows) -> None:
    """Write the rows of an episode, as a group or some."""
    import pyarrow as pa

    total = len(next(iter(rows.values())))
    step = max(1, GROUP_BYTES // sum(column.row_bytes for column in columns))
    for start in range(0, total, step):
        some = {name: values[start : start + step] for name, values in rows.items()}
        arrays = [parquet.array(column, some[column.name]) for column in columns]
        places = pa.array([place] * len(arrays[0]), pa.int64())
        file.write_table(pa.Table.from_arrays([places, *arrays], schema=table))


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
