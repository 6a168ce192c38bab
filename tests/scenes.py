"""Scenes to draw."""

import numpy as np
from numpy.typing import NDArray

from sandbox.scene import Body, Camera, Scene, Shape

F64 = NDArray[np.float64]


def zoo() -> tuple[Scene, F64]:
    """A plane and one thing of each kind, with shadows; and where they are."""
    shapes = [
        *(Shape("plane"), Shape("box", (0.2, 0.1, 0.15)), Shape("sphere", (0.15,))),
        *(Shape("cylinder", (0.1, 0.3)), Shape("capsule", (0.08, 0.25))),
    ]
    places = (
        (0.0, 0.0, 0.0),
        (0.3, 0.2, 0.15),
        (-0.3, 0.1, 0.15),
        (0.0, -0.3, 0.2),
        (0.1, 0.5, 0.3),
    )
    bodies = tuple(Body(f"body {n}", (shape,), 1.0) for n, shape in enumerate(shapes))
    camera = Camera("main", (0.4, -1.6, 1.1), (0.0, 0.0, 0.1))
    return Scene(bodies, (camera,)), np.array([[*xyz, 0.0, 0.0, 0.0, 1.0] for xyz in places])
