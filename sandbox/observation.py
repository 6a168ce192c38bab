"""Observation modalities (numbers and pictures) and their Gymnasium spaces."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from gymnasium import spaces

from sandbox.errors import InvalidInputError, UnknownNameError, shown

PICTURES = ("pixels", "depth", "segmentation", "links")
NUMBERS = ("proprio", "factors")
MODALITIES = (*NUMBERS, *PICTURES)
RENDERERS = ("raster", "tiny")
ANTIALIAS = (1, 4, 8)  # Samples of colour in a pixel.
DEEPEST_M = 100.0  # The largest far plane of any camera.


class Element(NamedTuple):
    """One number of an observation: its name, its unit and its bounds."""

    name: str
    unit: str
    low: float
    high: float


def space(name: str, size: int, elements: Sequence[Element]) -> spaces.Box:
    """Return the space of one modality.

    Args:
        name: one of MODALITIES.
        size: width and height of pictures [pixels].
        elements: the numbers of `proprio` or `factors`.
    """
    match name:
        case "proprio" | "factors":
            low, high = ([e.low for e in elements], [e.high for e in elements])
            return spaces.Box(np.array(low, np.float32), np.array(high, np.float32))
        case "pixels":
            return spaces.Box(0, 255, (size, size, 3), np.uint8)
        case "depth":
            return spaces.Box(0.0, DEEPEST_M, (size, size), np.float32)
        case _:
            return spaces.Box(0, np.iinfo(np.int16).max, (size, size), np.int16)


def names(observation: str | Sequence[str]) -> tuple[str, ...]:
    """Return the modalities that an `observation` keyword names.

    Raises:
        InvalidInputError: no name, one twice, or one that is not in MODALITIES.
    """
    found = (observation,) if isinstance(observation, str) else tuple(observation)
    if not found or len(set(found)) != len(found):
        raise InvalidInputError(
            f"observation {shown(observation)}: name each of {MODALITIES} once."
        )
    for name in found:
        if name not in MODALITIES:
            raise UnknownNameError("observation", name, MODALITIES)
    return found


def checked_size(size: object) -> int:
    """Return an `image_size` [pixels]; InvalidInputError if it is not from 8 to 1024."""
    if isinstance(size, bool) or not isinstance(size, int) or not 8 <= size <= 1024:
        raise InvalidInputError(f"image_size {shown(size)}: give a whole number from 8 to 1024.")
    return size


def checked_antialias(samples: object, renderer: str) -> int:
    """Return an `antialias` [samples a pixel].

    Raises:
        InvalidInputError: it is not in ANTIALIAS, or `tiny` draws, which takes one sample.
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or samples not in ANTIALIAS:
        raise InvalidInputError(f"antialias {shown(samples)}: give 1 (off), 4 or 8.")
    if samples > 1 and renderer == "tiny":
        raise InvalidInputError(
            f"antialias {samples}: Bullet's TinyRenderer takes one sample a pixel. Give antialias "
            "1, or renderer raster."
        )
    return samples
