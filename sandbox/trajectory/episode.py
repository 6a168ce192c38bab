"""One episode: T+1 rows, its record, and its digest."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from sandbox.errors import FormatError
from sandbox.evidence import merkle
from sandbox.trajectory.schema import REQUIRED, Schema

Rows = Mapping[str, NDArray[Any]]
CONSTANT = ("episode_idx", "reset_options", "run", "seed")  # Hashed once for each episode.
VARIATION = "variation."  # Columns whose names begin so are, too.
INLINE_BYTES = 2048  # A leaf has the BLAKE3 of a column's row that is longer.


@dataclass(frozen=True)
class Episode:
    """One episode: T+1 rows and a record; creating it checks them.

    Row t holds observation t and the result of arriving there: `reward`, `terminated`, `truncated`
    and `charge`. `action[t]` was taken *at* row t. The arrays are not copied.

    Attributes:
        rows: column name to array (T+1, ...). `action`: the last row is NaN (0 for integers).
            `reward`: `reward[0]` is 0. `terminated`, `truncated`: false before the last row.
            `charge`: microcredits, never negative; row 0 has the charge of the reset. `step_idx`:
            0 to T.
        record: plain JSON. `charge_micro` is the sum of `charge`; the other keys are the caller's.

    Raises:
        FormatError: the rows or the record break these rules.
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
        """The number of rows, T+1."""
        return len(self.rows["step_idx"])

    @cached_property
    def digest(self) -> str:
        """The root of the RFC 6962 tree over the rows' leaves, 64 hex digits."""
        return merkle.root(self.leaves()).hex()

    def leaves(self) -> list[bytes]:
        """Return the leaf hash of each row, 32 bytes: SHA-256 of a byte 0 and the row's leaf."""
        width, table = self._table()
        data = table.tobytes()
        return [sha256(data[n : n + width]).digest() for n in range(0, len(data), width)]

    def leaf(self, t: int) -> bytes:
        """Return the leaf of row `t`: the data of its leaf hash, without RFC 6962's first byte 0.

        It is the byte 1, a head of 32 bytes that is the same for all rows, `t` as uint32, and then
        the row's bytes of each column, sorted by name. The columns of CONSTANT, and those whose
        names begin with `variation.`, are in the head instead. More than 2,048 bytes are replaced
        by their BLAKE3, which takes half the time of SHA-256 on a picture and is as hard to forge.

        The head is the SHA-256 of the canonical JSON `[run, episode]` of the record (null where it
        has none), a line feed, and the bytes of the columns in the head, sorted by name. All
        values are little-endian, in C order.
        """
        return self._table()[1][t].tobytes()[1:]

    def _table(self) -> tuple[int, NDArray[np.uint8]]:
        """Return the width of a leaf with its leading 0, and all leaves, uint8 (T+1, width)."""
        rows = len(self)
        whose = [self.record.get("run"), self.record.get("episode")]
        head = sha256(json.dumps(whose).encode() + b"\n")
        parts = [_count_bytes(rows)]
        for name in sorted(self.rows):
            array = _plain(self.rows[name])
            if name in CONSTANT or name.startswith(VARIATION):
                head.update(array.data)
            else:
                parts.append(_row_bytes(array))
        first = np.frombuffer(b"\x00\x01" + head.digest(), np.uint8)
        table = np.empty((rows, len(first) + sum(p.shape[1] for p in parts)), np.uint8)
        table[:, : len(first)] = first
        np.concatenate(parts, axis=1, out=table[:, len(first) :])
        return table.shape[1], table

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
    """Arrays for the rows of one episode, filled by the environment's loop and used again.

    Args:
        schema: the columns.
        max_rows: the number of rows of the longest episode, T+1.

    Attributes:
        arrays: column name to array (max_rows, ...). Write `arrays[name][t]` where speed counts.
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
        """Return the first `steps` + 1 rows as an episode, which shares the buffer's memory.

        The last row's `action` becomes NaN (0 for integers), because no action was taken there.
        """
        if not 0 <= steps < self.max_rows:
            raise FormatError(
                f"an episode of {steps} steps does not fit a buffer of {self.max_rows} rows; make "
                f"the buffer with max_rows={steps + 1}."
            )
        rows = {name: array[: steps + 1] for name, array in self.arrays.items()}
        rows["action"][-1] = np.nan if rows["action"].dtype.kind == "f" else 0
        return Episode(rows, record)


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """Return a column little-endian and in C order, without a copy if it is so already."""
    if array.flags.c_contiguous and array.dtype.isnative:
        return array
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def _row_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return each row of a column as it is in its leaf, uint8 (rows, bytes)."""
    rows = array.reshape(len(array), -1).view(np.uint8)
    width = rows.shape[1]
    if width <= INLINE_BYTES:
        return rows
    data = rows.reshape(-1).data
    starts = range(0, len(data), width)
    digests = b"".join([blake3(data[start : start + width]).digest() for start in starts])
    return np.frombuffer(digests, np.uint8).reshape(len(rows), 32)


@lru_cache(maxsize=64)
def _count_bytes(rows: int) -> NDArray[np.uint8]:
    return np.arange(rows, dtype="<u4").reshape(rows, 1).view(np.uint8)


@lru_cache(maxsize=64)
def _count(length: int) -> NDArray[np.int32]:
    return np.arange(length, dtype=np.int32)


def _short(rows: NDArray[Any]) -> str:
    head = ", ".join(map(str, rows[:5].tolist()))
    return f"{head} ..." if len(rows) > 5 else head or "none"
