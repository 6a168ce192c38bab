"""Small geometry on the numbers of a state, fast enough for every step."""

import math
from collections.abc import Sequence

Three = tuple[float, float, float]


def yaw(body: Sequence[float]) -> float:
    """Return the rotation about z of a body's quaternion [rad]."""
    x, y, z, w = body[3:7]
    return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def axes(body: Sequence[float]) -> tuple[Three, Three, Three]:
    """Return the x, y and z axes of a body's frame, in the world's frame."""
    x, y, z, w = body[3:7]
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)),
        (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)),
        (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)),
    )


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the scalar product of two vectors of three numbers."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def clip(value: float, low: float, high: float) -> float:
    """Return a number, or the bound that it is beyond."""
    return low if value < low else high if value > high else value
