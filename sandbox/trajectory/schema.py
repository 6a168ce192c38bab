"""What the columns of a trajectory file are."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from sandbox.errors import FormatError

FORMAT_VERSION = 1
DTYPES = ("bool", "uint8", "int16", "int32", "int64", "float32", "float64")
MAX_ROW_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: of the HDF5 dataset.
        dtype: one of DTYPES.
        shape: of one row.
        meaning: a sentence.
        unit: in the SI, "1" for a pure number.
        elements: the name of each element of a row, if they have names.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    meaning: str
    unit: str
    elements: tuple[str, ...] = ()

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, before compression."""
        return np.dtype(self.dtype).itemsize * math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a file, in order."""

    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row over all columns, before compression."""
        return sum(column.row_bytes for column in self.columns)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the schema as plain JSON."""
        return [asdict(column) for column in self.columns]

    @staticmethod
    def from_json(data: object, where: str) -> "Schema":
        """Read a schema that somebody else wrote; FormatError if it breaks a rule."""
        if not isinstance(data, list) or not data:
            raise FormatError(f"{where}: its schema is no list of columns.")
        columns = tuple(_column(item, where) for item in cast(list[object], data))
        names = [column.name for column in columns]
        if len(set(names)) != len(names):
            raise FormatError(f"{where}: its schema names a column twice: {names}.")
        return Schema(columns)


def _column(data: object, where: str) -> Column:
    fields = cast(Mapping[str, Any], data if isinstance(data, dict) else {})
    texts = [fields.get(key) for key in ("name", "dtype", "meaning", "unit")]
    shape, elements = fields.get("shape"), fields.get("elements", [])
    if (
        not all(isinstance(text, str) for text in texts)
        or fields["dtype"] not in DTYPES
        or not fields["name"]
        or "/" in fields["name"]
        or not isinstance(shape, list)
        or not all(type(n) is int and 0 < n < 2**20 for n in cast(list[object], shape))
        or not isinstance(elements, list)
        or not all(isinstance(text, str) for text in cast(list[object], elements))
    ):
        raise FormatError(f"{where}: its schema has a column that is none: {data!r}.")
    column = Column(
        *(fields["name"], fields["dtype"], tuple(cast(list[int], shape))),
        *(fields["meaning"], fields["unit"], tuple(cast(list[str], elements))),
    )
    if column.row_bytes > MAX_ROW_BYTES:
        raise FormatError(f"{where}: a row of column {column.name!r} has {column.row_bytes} bytes.")
    return column
