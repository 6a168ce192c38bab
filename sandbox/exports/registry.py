"""The formats by their names."""

from sandbox.errors import UnknownNameError
from sandbox.exports.dreamer import Dreamer
from sandbox.exports.formats import Format
from sandbox.exports.hf import HuggingFace
from sandbox.exports.lance import Lance
from sandbox.exports.lerobot import LeRobot
from sandbox.exports.minari import Minari
from sandbox.exports.ogbench import OgBench
from sandbox.exports.r2dreamer import R2Dreamer
from sandbox.exports.robomimic import Robomimic
from sandbox.exports.swm import Swm
from sandbox.exports.tdmpc2 import TdMpc2
from sandbox.exports.webdataset import WebDataset

_EVERY: tuple[Format, ...] = (
    *(Swm(), Minari(), Robomimic(), HuggingFace(), WebDataset(), LeRobot()),
    *(Dreamer(), R2Dreamer(), TdMpc2(), OgBench(), Lance()),
)
FORMATS: dict[str, Format] = {one.name: one for one in _EVERY}


def format_of(name: str) -> Format:
    """Return a format.

    Raises:
        UnknownNameError: there is none of that name.
    """
    if name not in FORMATS:
        raise UnknownNameError("format", name, FORMATS)
    return FORMATS[name]
