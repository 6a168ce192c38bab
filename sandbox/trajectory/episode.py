"""One episode in memory: T+1 rows, and what is known about it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.errors import FormatError
from sandbox.trajectory.schema import Schema

Rows = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Episode:
    """One episode: T+1 rows.

    Row t holds the observation at t and the action taken at t (NaN on the last row, 0 for whole-number
    actions); reward, terminated, truncated and charge were received on arriving at row t.

    Attributes:
        rows: by column, arrays of T+1 rows.
        record: plain JSON: what is known besides.

    Raises:
        FormatError: the rows contradict each other or the record.
    """

    rows: Rows
    record: Mapping[str, Any]

    def __post_init__(self) -> None:
        fault = _fault(self.rows, self.record)
        if fault:
            raise FormatError(f"an episode that cannot be: {fault}.")

    @cached_property
    def digest(self) -> str:
        """The SHA-256 over all rows, 64 hex digits.

        Column by column in the order of their names: name, dtype, shape, each ended by a line feed,
        then the little-endian bytes of the rows in C order.
        """
        total = hashlib.sha256()
        for name in sorted(self.rows):
            column = np.ascontiguousarray(self.rows[name])
            little = column.astype(column.dtype.newbyteorder("<"), copy=False)
            total.update(f"{name}\n{column.dtype.name}\n{column.shape}\n".encode())
            total.update(little.reshape(-1).view(np.uint8))
        return total.hexdigest()


class EpisodeBuffer:
    """Memory for the longest episode, used again for each.

    Attributes:
        arrays: by column, (max_rows, ...); the loop writes row t of each.
    """

    def __init__(self, schema: Schema, max_rows: int) -> None:
        self.arrays = {c.name: np.zeros((max_rows, *c.shape), c.dtype) for c in schema.columns}

    def episode(self, steps: int, record: Mapping[str, Any]) -> Episode:
        """Return the first `steps` + 1 rows as an episode; it is valid until the next is written."""
        rows = {name: column[: steps + 1] for name, column in self.arrays.items()}
        action = rows["action"]
        action[steps] = np.nan if action.dtype.kind == "f" else 0
        return Episode(rows, record)


def _fault(rows: Rows, record: Mapping[str, Any]) -> str:
    """Return what is wrong with the rows, or ""."""
    lengths = {len(column) for column in rows.values()}
    if len(lengths) != 1 or 0 in lengths:
        return f"columns of {sorted(lengths)} rows"
    action, steps = rows["action"], lengths.pop() - 1
    if rows["reward"][0] != 0:
        return f"a reward of {rows['reward'][0]} on the first row"
    if action.dtype.kind == "f" and not (
        np.isnan(action[steps]).all() and not np.isnan(action[:steps]).any()
    ):
        return "an action is NaN before the last row, or the last is not"
    if rows["terminated"][:-1].any() or rows["truncated"][:-1].any():
        return "it goes on after its end"
    if not np.array_equal(rows["step_idx"], np.arange(steps + 1)):
        return "its rows are not numbered 0 to T"
    if (rows["charge"] < 0).any():
        return "a charge below 0"
    charged = int(rows["charge"].sum())
    if charged != record.get("charge_micro"):
        return f"its rows cost {charged}, its record says {record.get('charge_micro')!r}"
    return ""
