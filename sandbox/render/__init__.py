"""What a renderer is: pictures of a Scene at given poses, without knowing the simulator."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sandbox.scene import Camera, Scene


@dataclass(frozen=True, slots=True)
class Picture:
    """One camera's view.

    Attributes:
        pixels: uint8 (height, width, 3), red, green, blue.
        depth: float32 (height, width) [m] along the view axis; the far plane where nothing is.
        segmentation: int16 (height, width): a body's place in the scene, from 1; 0 where nothing
            is.
    """

    pixels: NDArray[np.uint8]
    depth: NDArray[np.float32]
    segmentation: NDArray[np.int16]


class Renderer(Protocol):
    """Draws one scene."""

    def load(self, scene: Scene) -> None:
        """Make ready to draw `scene`."""
        ...

    def draw(self, poses: NDArray[np.float64], camera: Camera, size: int) -> Picture:
        """Draw the scene with its frames at `poses` (n, 7), `size` pixels wide and high.

        The poses are those of every body's base and links, in the scene's order, world frame.
        """
        ...
