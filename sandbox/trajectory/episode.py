"""One episode: T+1 rows, what is known about them, and the digest that names them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.errors import FormatError
from sandbox.trajectory.schema import REQUIRED, Schema

Rows = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Episode:
    """One episode: T+1 rows; checks itself when made.

    Row t holds observation t and what arriving there brought: `reward`, `terminated`, `truncated`
    and `charge`. `action[t]` was taken *at* row t. Arrays are kept, not copied.

    Attributes:
        rows: column name to array (T+1, ...). `action`: the last row is NaN (0 for integers).
            `reward`: `reward[0]` is 0. `terminated`, `truncated`: false before the last row.
            `charge`: microcredits, never negative; row 0 carries the reset. `step_idx`: 0 to T.
        record: plain JSON; `charge_micro` is the sum of `charge`, the rest is the caller's.

    Raises:
        FormatError: the rows contradict this.
    """

    rows: Rows
    record: Mapping[str, Any]

    def __post_init__(self) -> None:
        missing = [name for name in REQUIRED if name not in self.rows]
        if missing:
            raise FormatError(f"an episode has no column {', '.join(missing)}; record it.")
        self._check_lengths()
        self._check_action(self.rows["action"])
        self._check_arrivals()
        self._check_charge()

    def __len__(self) -> int:
        """Rows: T+1."""
        return len(self.rows["step_idx"])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the rows, as 64 hex digits.

        Hashed are the line `sandbox episode 1`, then for each column, sorted by name, the line
        `NAME DTYPE SHAPE` (as in `pixels |u1 101,64,64,3`, little-endian) and its bytes in C order.
        """
        sha = hashlib.sha256(b"sandbox episode 1\n")
        for name in sorted(self.rows):
            array = self.rows[name]
            sha.update(_frame(name, array.dtype, array.shape))
            if not array.flags.c_contiguous or not array.dtype.isnative:
                array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            sha.update(array.data)
        return sha.hexdigest()

    def _check_lengths(self) -> None:
        length = len(self)
        for name, array in self.rows.items():
            if len(array) != length:
                raise FormatError(
                    f"column {name!r} has {len(array)} rows where `step_idx` has {length}; an "
                    "episode has T+1 rows in every column."
                )
        if not length or not np.array_equal(self.rows["step_idx"], _count(length)):
            raise FormatError(
                f"`step_idx` of {length} rows does not count from 0 to T; an episode is whole."
            )

    def _check_action(self, action: NDArray[Any]) -> None:
        if action.dtype.kind != "f":
            if action[-1].any():
                raise FormatError("an integer `action` has values on its last row; it must be 0.")
            return
        empty = np.isnan(action).reshape(len(action), -1)
        if not empty[-1].all() or empty[:-1].any():
            raise FormatError(
                f"`action` has NaN in rows {_short(np.flatnonzero(empty.any(axis=1)))} of "
                f"{len(action)}; only the last row, where none is taken, is NaN, and all of it."
            )

    def _check_arrivals(self) -> None:
        first = self.rows["reward"][0]
        if first != 0:
            raise FormatError(
                f"`reward[0]` is {first}; nothing is earned by a reset: it must be 0."
            )
        for name in ("terminated", "truncated"):
            if self.rows[name][:-1].any():
                row = int(self.rows[name].argmax())
                raise FormatError(
                    f"`{name}` is true at row {row} of {len(self)}; an episode ends on its last "
                    "row."
                )

    def _check_charge(self) -> None:
        charge, total = self.rows["charge"], self.record.get("charge_micro")
        if charge.min() < 0:
            raise FormatError(
                f"`charge` has {charge.min()} microcredits at row {int(charge.argmin())}; nothing "
                "costs less than 0."
            )
        if type(total) is not int or int(charge.sum()) != total:
            raise FormatError(
                f"`charge` adds up to {int(charge.sum())} microcredits but the record says "
                f"charge_micro={total!r}; both must tell the same bill."
            )


class EpisodeBuffer:
    """Room for the rows of one episode, filled in the environment's loop and used again.

    Args:
        schema: the columns.
        max_rows: of the longest episode, T+1.

    Attributes:
        arrays: column name to array (max_rows, ...); write `arrays[name][t]` where speed counts.
    """

    def __init__(self, schema: Schema, max_rows: int) -> None:
        self.schema = schema
        self.max_rows = max_rows
        self.arrays: dict[str, NDArray[Any]] = {
            column.name: np.zeros((max_rows, *column.shape), column.dtype)
            for column in schema.columns
        }

    def put(self, t: int, values: Mapping[str, Any]) -> None:
        """Write the named columns of row `t`."""
        arrays = self.arrays
        for name, value in values.items():
            arrays[name][t] = value

    def episode(self, steps: int, record: Mapping[str, Any]) -> Episode:
        """Return the first `steps` + 1 rows as an episode; it is the buffer's until it is refilled.

        The last row's `action` becomes NaN (0 for integers): none was taken there.
        """
        if not 0 <= steps < self.max_rows:
            raise FormatError(
                f"an episode of {steps} steps does not fit a buffer of {self.max_rows} rows; make "
                f"the buffer with max_rows={steps + 1}."
            )
        rows = {name: array[: steps + 1] for name, array in self.arrays.items()}
        rows["action"][-1] = np.nan if rows["action"].dtype.kind == "f" else 0
        return Episode(rows, record)


@lru_cache(maxsize=1024)
def _frame(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return the line that precedes a column's bytes in the digest."""
    return f"{name} {dtype.newbyteorder('<').str} {','.join(map(str, shape))}\n".encode()


@lru_cache(maxsize=64)
def _count(length: int) -> NDArray[np.int32]:
    return np.arange(length, dtype=np.int32)


def _short(rows: NDArray[Any]) -> str:
    head = ", ".join(map(str, rows[:5].tolist()))
    return f"{head} ..." if len(rows) > 5 else head or "none"
