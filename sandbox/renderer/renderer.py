"""The interface of renderers: draw a scene at given poses, without a simulator."""

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
    """The arrays that a picture is drawn into; an array without elements is skipped.

    Attributes:
        size: width and height [pixels].
        pixels: uint8 (size, size, 3), red, green, blue.
        depth: float32 (size, size), distance along the view axis [m]; the far plane's in the sky.
        segmentation: int16 (size, size), the body's number in the scene, from 1; 0 in the sky.
        links: int16 (size, size), the number, from 1, of the base or link among those of all bodies
            in the scene's order; 0 in the sky.

    Raises:
        InvalidInputError: an array has another shape or type, or is not contiguous or writable.
    """

    size: int
    pixels: NDArray[np.uint8]
    depth: NDArray[np.float32]
    segmentation: NDArray[np.int16]
    links: NDArray[np.int16]

    def __post_init__(self) -> None:  # Compiled loops do not check this.
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
        """Return a new picture of `size` pixels with the named arrays; the others are empty."""
        pixels, depth, bodies, links = (size if name in names else 0 for name in PICTURES)
        return cls(
            size,
            np.empty((pixels, pixels, 3), np.uint8),
            np.empty((depth, depth), np.float32),
            np.empty((bodies, bodies), np.int16),
            np.empty((links, links), np.int16),
        )


class Renderer(Protocol):
    """A renderer, which draws one scene.

    Attributes:
        name: the renderer's name in recipes.
    """

    name: ClassVar[str]

    @property
    def determinism(self) -> str:
        """A version; pictures have the same bytes only under the same version."""
        ...

    def load(self, scene: Scene) -> None:
        """Prepare to draw `scene`."""
        ...

    def warm_up(self) -> None:
        """Do the work that the first picture on a machine would need, such as compiling."""
        ...

    def check(self, poses: NDArray[np.float64], camera: Camera) -> None:
        """Raise InvalidInputError if the camera's eye is inside something."""
        ...

    def draw(self, poses: NDArray[np.float64], camera: Camera, picture: Picture) -> None:
        """Draw the scene with its frames at `poses` (n, 7) into a picture's arrays.

        There is one pose for each body's base and links, in the scene's order, world frame.
        """
        ...
