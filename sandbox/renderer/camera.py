"""Camera matrices in the convention of OpenCV."""

import math

import numpy as np
from numpy.typing import NDArray

from sandbox.scene import Camera

F64 = NDArray[np.float64]


def intrinsics(camera: Camera, size: int) -> F64:
    """Return a camera's matrix K (3, 3) for square pictures of `size` pixels.

    A point (x, y, z) in the camera's frame (x right, y down, z ahead, as in OpenCV) has
    (u, v, w) = K (x, y, z) and appears at column u / w and row v / w. The first pixel has its
    centre at 0.5.
    """
    focal = size / (2.0 * np.tan(np.radians(camera.fov_deg) / 2.0))
    return np.array([[focal, 0.0, size / 2.0], [0.0, focal, size / 2.0], [0.0, 0.0, 1.0]])


def extrinsics(camera: Camera, pose: F64 | None = None) -> F64:
    """Return the matrix (4, 4) from the world's frame to a camera's (x right, y down, z ahead).

    Args:
        camera: the camera; it may be fixed, follow a body, or be mounted on one.
        pose: the pose of the frame that the camera follows (x, y, z [m], quaternion xyzw); None
            for a fixed camera.
    """
    eye, target, up = (np.array(v) for v in (camera.eye, camera.target, camera.up))
    if camera.body:
        assert pose is not None, "a camera with a body needs its pose"
        if camera.mounted:
            turn = rotation(pose[3:])
            eye, target, up = turn @ eye, turn @ target, turn @ up
        eye, target = eye + pose[:3], target + pose[:3]
    ahead = target - eye
    ahead /= math.sqrt(ahead.dot(ahead))
    right = _cross(ahead, up)
    right /= math.sqrt(right.dot(right))
    matrix = np.eye(4)
    matrix[0, :3], matrix[1, :3], matrix[2, :3] = right, _cross(ahead, right), ahead
    matrix[:3, 3] = -(matrix[:3, :3] @ eye)
    return matrix


def _cross(a: F64, b: F64) -> F64:
    """Return the cross product of two vectors, with NumPy's bits in a tenth of its time."""
    (x, y, z), (u, v, w) = a.tolist(), b.tolist()
    return np.array((y * w - z * v, z * u - x * w, x * v - y * u))


def rotation(quat: F64) -> F64:
    """Return the rotation matrix (3, 3) of a quaternion xyzw of unit length."""
    x, y, z, w = quat.tolist()
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
