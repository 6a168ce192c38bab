"""Geometry and surfaces."""

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
    """A place and an orientation: `xyz` [m], `quat` (x, y, z, w), unit length."""

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


@dataclass(frozen=True)
class Texture:
    """What a surface shows besides its colour; make an image's with `image()`.

    It lies on each side of a shape as a slide projector along the shape's nearest axis would throw
    it (box projection), its middle at the shape's origin, and repeats.

    Attributes:
        kind: a checker, or the image of a file, which the shape's colour tints.
        width_m: of one repeat: two squares, or the image, whose height is the same.
        color: red, green, blue of a checker's other squares.
        path, sha256: of the image, and of its bytes, so that the scene's digest names them.
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
        kind: what it is; a plane is infinite with its normal along +z.
        size: box half extents; sphere (radius,); cylinder and capsule (radius, length along z, the
            capsule's without its caps); plane (); mesh scale per axis; height field (width, depth)
            of a cell.
        color: red, green, blue, alpha; with alpha below 1 it shows what is behind and throws no
            shadow, and neither depth nor segmentation knows of it: a goal's marker, say.
        pose: in the frame of the body or link.
        collides: takes part in physics.
        visible: takes part in pictures.
        path, sha256: of a mesh's file, and of its bytes; make one with `mesh()`.
        heights: of a height field [m], rows along y of columns along x, its middle at the origin.
        texture: what the surface shows.
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
    """Return the shape of a mesh file, named by path: absolute, or below pybullet_data.

    Args:
        path: of an OBJ, STL, PLY or OFF file.
        scale: per axis.
        color: unless the file has several colours of its own; GREY is also the file's only one.
        rest: any other attribute of Shape.

    Raises:
        InvalidInputError: there is no such file.
    """
    return Shape("mesh", scale, color, path=path, sha256=sha256_of(path), **rest)


def image(path: str, width_m: float = 1.0) -> Texture:
    """Return the texture of an image file, named by path: absolute, or below pybullet_data.

    Raises:
        InvalidInputError: there is no such file.
    """
    return Texture("image", width_m, path=path, sha256=sha256_of(path))
