"""Windows as tensors, many at once: what Windows and Batches share."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sandbox.dataset import shared
from sandbox.dataset.buffers import Buffers
from sandbox.dataset.cache import Cache
from sandbox.dataset.conventions import MASK
from sandbox.dataset.decoded import final_shape
from sandbox.dataset.index import Index, Places, is_count
from sandbox.dataset.reading import Reading, Wanted
from sandbox.errors import InvalidInputError, shown
from sandbox.trajectory import Column, Schema

OF_STEPS = ("action", "reward", "terminated", "truncated", "charge")  # Each row has its own.
_SPARE = 4  # Arrays of each size that are kept for the next batch.


class Tensors:
    """Reads windows into tensors.

    Args:
        index: where the episodes lie.
        columns: the columns, in the order of the dicts.
        length: rows of a window that are handed out, with its context.
        frameskip: how far apart they lie.
        cache: decoded rows, or None.
        pin: whether the tensors are in pinned memory, for copies to a GPU.
    """

    def __init__(
        self,
        index: Index,
        columns: Sequence[Column],
        length: int,
        frameskip: int = 1,
        cache: Cache | None = None,
        pin: bool = False,
    ) -> None:
        self._length, self._skip, self._pin = length, frameskip, pin
        self._wanted = {column.name: self._plan(column) for column in columns}
        self._reading = Reading(index, cache)
        self._buffers = Buffers(_SPARE)

    def read(self, places: Places) -> dict[str, Tensor]:
        """Return windows as tensors (windows, length, ...), which nobody else has."""
        made = {
            name: self._room((len(places), one.rows, *final_shape(one.column)), one.column.dtype)
            for name, one in self._wanted.items()
        }
        self._reading.read(places, self._wanted, made)
        for window in np.flatnonzero(places.lead).tolist():
            for name, values in made.items():
                lead = int(places.lead[window]) * self._wanted[name].rows // self._length
                values[window, lead:] = values[window, :-lead]  # NumPy copies what overlaps.
                values[window, :lead] = 0
        return {name: self._ready(name, values) for name, values in made.items()}

    def _plan(self, column: Column) -> Wanted:
        if column.name in OF_STEPS:
            return Wanted(column, self._length * self._skip)
        return Wanted(column, self._length, self._skip)

    def _room(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Return an array to fill."""
        if self._pin:  # PyTorch keeps such memory until a copy to the GPU is over.
            return torch.empty(shape, dtype=getattr(torch, dtype), pin_memory=True).numpy()
        if shared.in_worker():
            return shared.take(shape, dtype)
        return self._buffers.take(shape, dtype)

    def _ready(self, name: str, values: NDArray[Any]) -> Tensor:
        """Return an array as the tensor that is handed out."""
        if self._skip > 1 and name in OF_STEPS:
            values = values.reshape(len(values), self._length, self._skip, *values.shape[2:])
        return torch.from_numpy(values)  # pyright: ignore[reportUnknownMemberType]


def mask(places: Places, context: int, length: int, frameskip: int = 1) -> Tensor:
    """Return which rows of windows, and of their contexts, are of an episode and not padded.

    Args:
        places: the windows.
        context: rows before each.
        length: rows of a window.
        frameskip: how far apart the rows lie.

    Returns:
        Bool (windows, context + length).
    """
    given = -(-places.rows // frameskip)
    row = np.arange(context + length) - places.lead[:, None]
    return torch.from_numpy((row >= 0) & (row < given[:, None]))  # pyright: ignore[reportUnknownMemberType]


def chosen(columns: Sequence[str], schema: Schema, *, masked: bool = False) -> tuple[Column, ...]:
    """Return the columns of these names.

    Args:
        columns: the names.
        schema: the columns that there are.
        masked: whether a mask stands beside them.

    Raises:
        InvalidInputError: it is no list of names, or one is the mask's.
        UnknownNameError: there is no such column.
    """
    given: Any = columns
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise InvalidInputError(f"columns {shown(columns)}: give a list of at least one column.")
    if masked and MASK in columns:
        raise InvalidInputError(
            f"column {MASK!r}: `pad` and `context` add one of this name; leave one out."
        )
    return tuple(schema[name] for name in columns)


def checked_context(context: int) -> int:
    """Return the number of rows of a context; InvalidInputError if it is none."""
    if not is_count(context, 0):
        raise InvalidInputError(f"context {shown(context)}: give a whole number from 0 on.")
    return int(context)
