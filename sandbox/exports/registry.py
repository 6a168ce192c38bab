"""The formats by their names."""

from sandbox.errors import InvalidInputError, UnknownNameError
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


def format_of(name: str, video: bool = False) -> Format:
    """Return a format, or that whose pictures are films.

    Raises:
        UnknownNameError: there is none of that name.
        InvalidInputError: it has no films.
    """
    if name not in FORMATS:
        raise UnknownNameError("format", name, FORMATS)
    if video and name != LeRobot.name:
        raise InvalidInputError(f"{name} has no films; {LeRobot.name} has. Leave out video.")
    return LeRobot(video=True) if video else FORMATS[name]
