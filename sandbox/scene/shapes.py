"""Shapes, their poses and their textures."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from sandbox.errors import InvalidInputError
from sandbox.scene.assets import sha256_of

Vec3 = tuple[float, float, float]

Quat = tuple[float, float, float, float]

Rgba = tuple[float, float, float, float]

ShapeKind = Literal["box", "sphere", "cylinder", "capsule", "plane", "mesh", "height_field"]

GREY: Rgba = (0.6, 0.6, 0.6, 1.0)

_SIZES: dict[str, int] = {
    "box": 3,
    "sphere": 1,
    "cylinder": 2,
    "capsule": 2,
    "plane": 0,
    "mesh": 3,
    "height_field": 2,
}


@dataclass(frozen=True)
class Pose:
    """A position `xyz` [m] and an orientation `quat` (x, y, z, w) of unit length."""

    xyz: Vec3 = (0.0, 0.0, 0.0)
    quat: Quat = (0.0, 0.0, 0.0, 1.0)


ORIGIN = Pose()
LYING: Quat = (math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5))  # A cylinder along y.


def turned(x: float, y: float, z: float, yaw_rad: float = 0.0) -> Pose:
    """Return the pose at (x, y, z) [m], turned by `yaw_rad` about z."""
    return Pose((x, y, z), (0.0, 0.0, math.sin(yaw_rad / 2), math.cos(yaw_rad / 2)))


def tilted(x: float, y: float, z: float, pitch_rad: float) -> Pose:
    """Return the pose at (x, y, z) [m], turned by `pitch_rad` about y: +x goes down."""
    return Pose((x, y, z), (0.0, math.sin(pitch_rad / 2), 0.0, math.cos(pitch_rad / 2)))


def euler(roll_rad: float, pitch_rad: float, heading_rad: float) -> Quat:
    """Return the quaternion of a turn about x, then y, then z of the world."""
    turns = (
        (math.cos(angle / 2), math.sin(angle / 2)) for angle in (roll_rad, pitch_rad, heading_rad)
    )
    (a, b), (c, d), (e, g) = turns
    x, y = b * c * e - a * d * g, a * d * e + b * c * g
    return (x, y, a * c * g - b * d * e, a * c * e + b * d * g)


@dataclass(frozen=True)
class Texture:
    """The texture of a shape; make one from an image file with `image()`.

    It is projected onto each side along the shape's nearest axis (box projection), with its middle
    at the shape's origin, and repeats.

    Attributes:
        kind: `checker`, or `image` for an image file, which the shape's colour tints.
        width_m: the width of one repeat: two squares, or the image, which is as high as wide.
        color: red, green, blue of every second square of a checker.
        path: the path of the image file.
        sha256: the SHA-256 of the image file, so that the scene's digest covers its bytes.
    """

    kind: Literal["checker", "image"] = "checker"
    width_m: float = 1.0
    color: Vec3 = (1.0, 1.0, 1.0)
    path: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.width_m) and self.width_m > 0):
            raise InvalidInputError(f"a texture {self.width_m!r} m wide: give a positive width.")


@dataclass(frozen=True)
class Shape:
    """One piece of geometry in the frame of its body or link.

    Attributes:
        kind: one of ShapeKind; a plane is infinite with its normal along +z.
        size: half extents of a box; (radius,) of a sphere; (radius, length along z) of a cylinder
            or capsule, the capsule's without its caps; () for a plane; scale per axis of a mesh;
            (width, depth) of a height field's cell [m].
        color: red, green, blue, alpha. With alpha below 1 the shape is translucent, casts no shadow
            and is not in depth and segmentation pictures; use it for the marker of a goal.
        pose: the shape's frame in the frame of the body or link.
        collides: whether the shape takes part in physics.
        visible: whether the shape is drawn.
        path: the path of a mesh's file; make a mesh with `mesh()`.
        sha256: the SHA-256 of a mesh's file.
        heights: the heights of a height field [m], rows along y of columns along x, centred.
        texture: the texture of the surface, or None.
    """

    kind: ShapeKind
    size: tuple[float, ...] = ()
    color: Rgba = GREY
    pose: Pose = ORIGIN
    collides: bool = True
    visible: bool = True
    path: str = ""
    sha256: str = ""
    heights: tuple[tuple[float, ...], ...] = ()
    texture: Texture | None = None

    def __post_init__(self) -> None:
        if len(self.size) != _SIZES[self.kind]:
            raise InvalidInputError(
                f"a {self.kind} takes {_SIZES[self.kind]} sizes, not {self.size!r}."
            )
        if any(not (math.isfinite(s) and s > 0) for s in self.size):
            raise InvalidInputError(f"a {self.kind} of size {self.size!r}: sizes are positive.")
        if self.kind == "height_field":
            columns = {len(row) for row in self.heights}
            whole = len(self.heights) > 1 and len(columns) == 1 and min(columns) > 1
            if not whole or not all(math.isfinite(h) for row in self.heights for h in row):
                raise InvalidInputError(
                    f"a height field of {len(self.heights)} rows of {sorted(columns)} heights: "
                    "give at least 2 rows of the same length, at least 2, all finite."
                )


def mesh(path: str, scale: Vec3 = (1.0, 1.0, 1.0), color: Rgba = GREY, **rest: Any) -> Shape:
    """Return the shape of a mesh file, whose path is absolute or below pybullet_data.

    Args:
        path: the path of an OBJ, STL, PLY or OFF file.
        scale: the scale per axis.
        color: the colour, unless the file has several colours. GREY stands for the colour of a
            file that has one.
        rest: any other attribute of Shape.

    Raises:
        InvalidInputError: there is no such file.
    """
    return Shape("mesh", scale, color, path=path, sha256=sha256_of(path), **rest)


def image(path: str, width_m: float = 1.0) -> Texture:
    """Return the texture of an image file, whose path is absolute or below pybullet_data.

    Raises:
        InvalidInputError: there is no such file.
    """
    return Texture("image", width_m, path=path, sha256=sha256_of(path))
