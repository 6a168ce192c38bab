"""Read arrays from an HDF5 file that anybody may have made, wherever in it they lie."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from sandbox import files, memory
from sandbox.errors import FormatError, shown
from sandbox.trajectory import layout, untrusted
from sandbox.trajectory.reader import DAMAGE

MOST_LEVELS = 4  # Of groups in groups.
MOST_NAMES = 1000  # In a group that is no list of episodes.


class Source:
    """An HDF5 file, opened for reading. No link in it is followed, and no other file is read.

    Args:
        path: the file.

    Raises:
        FormatError: it is no HDF5 file, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = untrusted.open_file(path, growing=False)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextmanager
    def opening(self) -> Generator[None]:
        """Do as `guarded`, and close the file if an error leaves the block."""
        try:
            with self.guarded():
                yield
        except BaseException:
            self.close()
            raise

    @contextmanager
    def guarded(self) -> Generator[None]:
        """Turn errors of h5py into FormatErrors, and begin each message with the file's path."""
        try:
            yield
        except FormatError as error:
            text = str(error)
            named = text if text.startswith(str(self.path)) else f"{self.path}: {text}"
            raise FormatError(named) from None
        except DAMAGE as error:
            if untrusted.is_passing(error):
                raise files.unreadable(self.path, error) from None
            what = layout.one_line(error)
            raise FormatError(f"{self.path}: is damaged: {what}. Get it again.") from error

    def names(self, place: str = "") -> list[str]:
        """Return the names in a group."""
        group = self._at(place)
        if not isinstance(group, h5py.Group):
            raise FormatError(f"{place or 'its root'} is no group.")
        return _names(group)

    def places(self, place: str = "") -> Iterator[tuple[str, str, tuple[int, ...]]]:
        """Yield place, type and shape of all arrays in a group, and in the groups in it.

        Args:
            place: the group; an array is the only one.
        """
        waiting = [place]
        while waiting:
            here = waiting.pop(0)
            one = self._at(here)
            if isinstance(one, h5py.Dataset):
                yield here, one.dtype.name, tuple(one.shape or ())
                continue
            if not isinstance(one, h5py.Group):
                raise FormatError(f"{here!r} is neither a group nor an array.")
            names = _names(one)
            if len(names) > MOST_NAMES or here.count("/") > MOST_LEVELS:
                raise FormatError(
                    f"{here or 'its root'} has {len(names)} parts at level {here.count('/')}; "
                    f"at most {MOST_NAMES} parts, {MOST_LEVELS} levels deep, are read."
                )
            waiting += [f"{here}/{name}" if here else name for name in names]

    def has(self, place: str) -> bool:
        """Return whether something is at a place."""
        try:
            self._at(place)
        except LookupError:
            return False
        return True

    def column(self, place: str) -> layout.StoredColumn:
        """Open an array for reading rows.

        Raises:
            FormatError: there is none, or it is kept elsewhere, packed by foreign filters, or not
                as large as it says.
        """
        if not self.has(place):
            raise FormatError(f"there is no {place!r} in it.")
        one = self._at(place)
        if not isinstance(one, h5py.Dataset) or not one.shape:
            raise FormatError(f"{place!r} is no array.")
        if 0 in one.shape[1:]:
            raise FormatError(f"{place!r} has rows of {one.shape[1:]}, which have no values.")
        made = untrusted.stored(one, repr(place))
        if made.stored() < made.extent:
            raise FormatError(
                f"{place!r} has {made.stored()} of {made.extent} rows; it is damaged."
            )
        return made

    def refuse_size(self, rows: NDArray[np.int64], row_bytes: int) -> None:
        """Refuse episodes that so small a file cannot hold, or this process's memory."""
        untrusted.check_room(rows, row_bytes, self._file)
        memory.refuse(int(rows.max(initial=0)) * row_bytes, 3, f"{self.path}: an episode")

    def number(self, place: str, name: str) -> int | None:
        """Return an attribute of a group that is one whole number; None if there is none."""
        group: Any = self._at(place)
        if name not in group.attrs:
            return None
        found = group.attrs.get_id(name)
        whole = isinstance(found.get_type(), h5py.h5t.TypeIntegerID)
        return int(group.attrs[name]) if whole and found.shape == () else None

    def _at(self, place: str) -> object:
        """Return what is at a place, to which no link leads; LookupError if nothing is."""
        one: Any = self._file
        for part in filter(None, place.split("/")):
            if not isinstance(one, h5py.Group) or part in (".", ".."):
                raise KeyError(place)
            links: Any = one.id.links
            if not links.exists(part.encode()):
                raise KeyError(place)
            if links.get_info(part.encode()).type != h5py.h5l.TYPE_HARD:
                raise FormatError(f"{place!r} is a link to elsewhere; copy the data into the file.")
            one = one[part]
        return one


def native(values: NDArray[Any]) -> NDArray[Any]:
    """Return an array in the order of bytes of this machine."""
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def _names(group: h5py.Group) -> list[str]:
    """Return the names in a group; FormatError if one is no text."""
    found: list[object] = list(group)
    for one in found:
        text = one if isinstance(one, str) else ""  # h5py gives bytes that are no UTF-8 as bytes.
        if not text or text.encode(errors="replace").decode() != text:
            raise FormatError(f"it has the name {shown(one)}, which is no text; call it otherwise.")
    return [str(one) for one in found]
