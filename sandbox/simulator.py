"""What simulation needs and reading does not: libraries that a newer Python may lack.

PyBullet's wheels stop at CPython 3.11. Where it is absent, whatever reads works, environments are
listed, and whatever simulates or draws raises a NoSimulatorError.
"""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from sandbox.errors import NoSimulatorError

LIBRARIES = {"pybullet": "PyBullet", "numba": "Numba"}  # A package, and what people call it.
VERSION = sys.version_info[:2]
NEWEST = (3, 11)  # The newest Python for which PyBullet has a wheel.


def fault() -> str:
    """Return in one sentence why nothing can be simulated here, or ""."""
    lacking = [package for package in LIBRARIES if not is_installed(package)]
    if not lacking:
        return ""
    here, newest = (".".join(map(str, version)) for version in (VERSION, NEWEST))
    told = " and ".join(LIBRARIES[package] for package in lacking)
    what = f"simulation needs {told}, which this Python {here} lacks"
    install = '`pip install "worldmodel-sandbox[sim]"`'
    if "pybullet" not in lacking or VERSION <= NEWEST:
        return f"{what}: {install} installs what is missing."
    return (
        f"{what}, because PyBullet has wheels up to Python {newest}: {install} compiles it in "
        f"about 15 minutes, or use Python {newest}."
    )


def require() -> None:
    """Refuse to simulate.

    Raises:
        NoSimulatorError: a library that simulation needs is not installed.
    """
    if text := fault():
        raise NoSimulatorError(text)


@contextmanager
def required() -> Generator[None]:
    """Import what only simulation needs inside this block.

    Raises:
        NoSimulatorError: it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError:
        require()
        raise


def is_installed(package: str) -> bool:
    """Return whether a package can be found; it is not imported."""
    return find_spec(package) is not None


def absent() -> Any:
    """Return what stands for a library that is not installed, so that its users can be imported.

    Its constants can be put into tables: each is its name. Any other attribute is a
    NoSimulatorError.
    """
    return _Absent()


class _Absent:
    def __getattr__(self, name: str) -> str:
        if not name.isupper():
            require()
            raise AttributeError(name)
        return name
