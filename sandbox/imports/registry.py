"""The formats that are imported, by their names."""

from collections.abc import Callable
from pathlib import Path

from sandbox.errors import UnknownNameError
from sandbox.imports.incoming import Incoming
from sandbox.imports.lerobot import LeRobot
from sandbox.imports.minari import Minari
from sandbox.imports.plain import Plain
from sandbox.imports.swm import Swm

SOURCES: dict[str, Callable[[Path, Path | None], Incoming]] = {
    "minari": Minari,
    "lerobot": LeRobot,
    "swm": Swm,
    "hdf5": Plain,
}
NEEDS = {"lerobot": "pyarrow"}  # Packages that reading a format imports.


def source_of(name: str) -> Callable[[Path, Path | None], Incoming]:
    """Return what opens a dataset of a format.

    Raises:
        UnknownNameError: there is no format of that name.
    """
    if name not in SOURCES:
        raise UnknownNameError("format", name, SOURCES)
    return SOURCES[name]
