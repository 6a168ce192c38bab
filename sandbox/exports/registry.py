"""The formats by their names."""

from sandbox.errors import UnknownNameError
from sandbox.exports.formats import Format
from sandbox.exports.minari import Minari
from sandbox.exports.robomimic import Robomimic
from sandbox.exports.swm import Swm

FORMATS: dict[str, Format] = {one.name: one for one in (Swm(), Minari(), Robomimic())}


def format_of(name: str) -> Format:
    """Return a format.

    Raises:
        UnknownNameError: there is none of that name.
    """
    if name not in FORMATS:
        raise UnknownNameError("format", name, FORMATS)
    return FORMATS[name]
