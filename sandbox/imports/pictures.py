"""Pictures of other formats: which columns hold some, and with channels last, as they lie here."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.observation import PICTURES

Shape = tuple[int, ...]
_CHANNELS = (1, 3, 4)  # Grey, colours, colours with opacity.
_SURE = (1, 3)  # Four may be pictures that follow each other.


@dataclass(frozen=True)
class Fitted:
    """What becomes of a column.

    Attributes:
        name: what it is called here.
        there: shape of a row in the format.
        shape: shape of a row here.
        first: whether its channels come first in the format.
        note: what a user should know of that, a sentence; "" for nothing.
    """

    name: str
    there: Shape
    shape: Shape
    first: bool = False
    note: str = ""

    def arranged(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return rows of the format (rows, ...) as they lie here."""
        if self.first:
            values = np.ascontiguousarray(np.moveaxis(values, 1, -1))
        return values.reshape(len(values), *self.shape)


def fitted(name: str, dtype: str, there: Shape, place: str) -> Fitted:
    """Return what becomes of a column of a format in which nobody says where channels are.

    Args:
        name: what it would be called here.
        dtype: its type.
        there: the shape of a row in the format.
        place: where it is there.
    """
    first = len(there) == 3 and there[0] in _SURE and there[2] not in _CHANNELS
    one = fit(name, dtype, there, first=first)
    if one is None:
        kind, dot, camera = name.partition(".")
        other = f"{kind}_values{dot}{camera}"
        note = f"{place} is {dtype} {there}, which is no picture here; it is kept as {other}."
        return Fitted(other, there, there, note=note)
    told = f"{place} has channels first; {name} has them last." if one.first else ""
    return replace(one, note=told)


def fit(name: str, dtype: str, there: Shape, *, first: bool) -> Fitted | None:
    """Return what becomes of a column; None if it is called as pictures are, and holds none.

    Args:
        name: what it is called here.
        dtype: its type.
        there: the shape of a row in the format.
        first: whether the channels of pictures come first in it.
    """
    if name.partition(".")[0] not in PICTURES:
        return Fitted(name, there, there)
    shape, first = there, first and len(there) == 3
    if len(there) == 3:
        *sides, channels = (*there[1:], there[0]) if first else there
        if channels not in _CHANNELS:
            return None
        shape = (*sides,) if channels == 1 else (*sides, channels)
    is_measured = not name.startswith("pixels") and len(shape) == 2
    is_color = dtype == "uint8" and len(shape) in (2, 3)
    return Fitted(name, there, shape, first) if is_color or is_measured else None


def notes(every: Iterable[Fitted]) -> list[str]:
    """Return what a user should know of some columns."""
    return [one.note for one in every if one.note]
