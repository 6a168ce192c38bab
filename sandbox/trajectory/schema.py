"""The schema of a trajectory file: its columns' names, types, shapes, meanings and units."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from sandbox.errors import FormatError, UnknownNameError
from sandbox.observation import PICTURES

FORMAT_VERSION = 2  # What is written.
READABLE = (1, 2)
DTYPES = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()  # noqa: SIM905
)
REQUIRED = {  # Columns of every file with their types; None: any type.
    "action": None,
    "reward": "float64",
    "terminated": "bool",
    "truncated": "bool",
    "charge": "int64",
    "step_idx": "int32",
    "episode_idx": "int64",
}
MOST_AXES = 8  # Of a row.
ROW_BYTES_LIMIT = 1 << 28  # So that a row of a foreign file cannot exhaust memory.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a trajectory file.

    Attributes:
        name: the name of the HDF5 dataset, such as `pixels` or `variation.t_mass_kg`.
        dtype: NumPy's name of the type, such as `float32`.
        shape: the shape of a row; () is a scalar.
        meaning: what the values mean, as a phrase.
        unit: the unit of the values; `1` if they have none.
        elements: a name for each value of a row, or empty.

    Raises:
        FormatError: no file can have such a column.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    meaning: str
    unit: str
    elements: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise FormatError(
                f"a column is called {self.name!r}; give a name of letters, digits, '_', '.', '-'."
            )
        if self.dtype not in DTYPES:
            raise FormatError(
                f"column {self.name!r} is of type {self.dtype!r}; use one of {', '.join(DTYPES)}."
            )
        if len(self.shape) > MOST_AXES or any(size < 1 for size in self.shape):
            raise FormatError(
                f"column {self.name!r} has rows of shape {self.shape}; give at most {MOST_AXES} "
                "sizes, each at least 1."
            )
        if self.elements and len(self.elements) != math.prod(self.shape):
            raise FormatError(
                f"column {self.name!r} names {len(self.elements)} elements but a row has "
                f"{math.prod(self.shape)}; name each or none."
            )

    @property
    def is_picture(self) -> bool:
        """Return whether the column holds pictures, by its name; others hold numbers."""
        return self.name.split(".")[0] in PICTURES

    @property
    def row_bytes(self) -> int:
        """The size of one row, uncompressed [bytes]."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def to_json(self) -> dict[str, Any]:
        """Return the column as plain JSON."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "meaning": self.meaning,
            "unit": self.unit,
            "elements": list(self.elements),
        }

    @classmethod
    def from_json(cls, data: Any) -> "Column":
        """Return the column that untrusted JSON describes; FormatError if it is not valid."""
        if not isinstance(data, dict):
            raise FormatError(f"a column is described by {_short(data)}; expected an object.")
        known = cast(dict[str, Any], data)
        texts = [known.get(key) for key in ("name", "dtype", "meaning", "unit")]
        if not all(isinstance(text, str) for text in texts):
            raise FormatError(
                f"column {_short(known)}: `name`, `dtype`, `meaning` and `unit` must be text."
            )
        name, dtype, meaning, unit = cast(list[str], texts)
        shape = _items(known, "shape", int)
        return cls(name, dtype, shape, meaning, unit, _items(known, "elements", str))


INDEX = (  # Columns with one entry for each episode.
    Column("ep_len", "int32", (), "rows of the episode, T+1", "1"),
    Column("ep_offset", "int64", (), "its first row", "1"),
)
ROW = Column("row", "int64", (), "place of the row in this file, the scale of every column", "1")


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a trajectory file, in order.

    Attributes:
        columns: the columns.
        partial: whether these are some of a file's columns, which may lack required ones.

    Raises:
        FormatError: a required column is missing or has another type, or a name occurs twice.
    """

    columns: tuple[Column, ...]
    partial: bool = False

    def __post_init__(self) -> None:
        counts = Counter(column.name for column in self.columns)
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise FormatError(f"the schema has column {twice[0]!r} twice; name it once.")
        reserved = [column.name for column in INDEX if column.name in counts]
        if reserved:
            raise FormatError(
                f"the schema has a column {reserved[0]!r}; that name is the file's own."
            )
        missing = [name for name in REQUIRED if name not in counts]
        if missing and not self.partial:
            raise FormatError(
                f"the schema has no column {', '.join(missing)}; every file has "
                f"{', '.join(REQUIRED)}."
            )
        for column in self.columns:
            dtype = REQUIRED.get(column.name)
            if dtype is not None and (column.dtype != dtype or column.shape):
                raise FormatError(
                    f"column {column.name!r} is {column.dtype} {column.shape}; it must be a "
                    f"scalar of type {dtype}."
                )
        if self.row_bytes > ROW_BYTES_LIMIT:
            raise FormatError(
                f"a row has {self.row_bytes:,} bytes; at most {ROW_BYTES_LIMIT:,} are possible."
            )

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise UnknownNameError("column", name, self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def row_bytes(self) -> int:
        """The size of one row of all columns, uncompressed [bytes]."""
        return sum(column.row_bytes for column in self.columns)

    def to_json(self) -> dict[str, Any]:
        """Return the schema as plain JSON."""
        return {"columns": [column.to_json() for column in self.columns]}

    @classmethod
    def from_json(cls, data: Any) -> "Schema":
        """Return the schema that untrusted JSON describes; FormatError if it is not valid."""
        columns = cast(dict[str, Any], data).get("columns") if isinstance(data, dict) else None
        if not isinstance(columns, list):
            raise FormatError("the schema has no list of `columns`; this is not a schema of ours.")
        return cls(tuple(Column.from_json(item) for item in cast(list[Any], columns)))


def _items(known: Mapping[str, Any], key: str, kind: type) -> tuple[Any, ...]:
    """Return a list of `kind` in a JSON object; FormatError if it is anything else."""
    items = known.get(key)
    if not isinstance(items, list) or any(
        type(item) is not kind for item in cast(list[Any], items)
    ):
        raise FormatError(f"column {_short(known)}: `{key}` must be a list of {kind.__name__}.")
    return tuple(cast(list[Any], items))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
