"""What a renderer is: pictures of a Scene at given poses, without knowing the simulator."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from sandbox.errors import InvalidInputError
from sandbox.observation import PICTURES
from sandbox.scene import Camera, Scene

_BYTES, _WORDS = np.dtype(np.uint8), np.dtype(np.int16)
_DTYPES = {
    "pixels": _BYTES,
    "depth": np.dtype(np.float32),
    "segmentation": _WORDS,
    "links": _WORDS,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """Arrays that one camera's view is drawn into; one without elements is not wanted.

    Attributes:
        size: pixels in width and height.
        pixels: uint8 (size, size, 3), red, green, blue.
        depth: float32 (size, size) [m] along the view axis; the far plane where nothing is.
        segmentation: int16 (size, size): a body's place in the scene, from 1; 0 where nothing is.
        links: int16 (size, size): the place, from 1, of the base or link among all bodies' bases
            and links, in the scene's order; 0 where nothing is.

    Raises:
        InvalidInputError: arrays of other shapes or types, not contiguous, or not writable.
    """

    size: int
    pixels: NDArray[np.uint8]
    depth: NDArray[np.float32]
    segmentation: NDArray[np.int16]
    links: NDArray[np.int16]

    def __post_init__(self) -> None:  # Compiled loops take all this for granted.
        n = self.size
        for name, dtype in _DTYPES.items():
            array: NDArray[Any] = getattr(self, name)
            whole, none = ((n, n, 3), (0, 0, 3)) if dtype is _BYTES else ((n, n), (0, 0))
            fits = array.dtype == dtype and array.flags.carray
            if not fits or (array.shape != whole and array.shape != none):
                raise InvalidInputError(
                    f"a picture of {n} pixels with {name} {array.dtype} {array.shape}, writable: "
                    f"{array.flags.writeable}: Picture.empty makes contiguous ones that fit."
                )

    @classmethod
    def empty(cls, size: int, names: Sequence[str] = PICTURES) -> "Picture":
        """Return the arrays named, of `size` pixels, not yet drawn."""
        pixels, depth, bodies, links = (size if name in names else 0 for name in PICTURES)
        return cls(
            size,
            np.empty((pixels, pixels, 3), np.uint8),
            np.empty((depth, depth), np.float32),
            np.empty((bodies, bodies), np.int16),
            np.empty((links, links), np.int16),
        )


class Renderer(Protocol):
    """Draws one scene.

    Class attributes:
        name: what a recipe calls it.
        determinism: pictures drawn under another are not claimed to have the same bytes.
    """

    name: ClassVar[str]
    determinism: ClassVar[str]

    def load(self, scene: Scene) -> None:
        """Make ready to draw `scene`."""
        ...

    def warm_up(self) -> None:
        """Do what must be done once on a machine before the first picture."""
        ...

    def check(self, poses: NDArray[np.float64], camera: Camera) -> None:
        """Refuse a camera whose eye is inside something (InvalidInputError)."""
        ...

    def draw(self, poses: NDArray[np.float64], camera: Camera, picture: Picture) -> None:
        """Draw the scene with its frames at `poses` (n, 7) into a picture's arrays.

        The poses are those of every body's base and links, in the scene's order, world frame.
        """
        ...
