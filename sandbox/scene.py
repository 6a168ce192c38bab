"""What is in the world, as frozen data: physics, pictures and documentation are built from it.

Lengths are metres, masses kilograms, angles radians unless a name says otherwise. The world frame
has z up. Quaternions are (x, y, z, w). Colours are red, green, blue and alpha in 0..1, as shown.
"""

import hashlib
import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from sandbox import digest
from sandbox.errors import InvalidInputError, UnknownNameError

Vec3 = tuple[float, float, float]
Quat = tuple[float, float, float, float]
Rgba = tuple[float, float, float, float]

ShapeKind = Literal["box", "sphere", "cylinder", "capsule", "plane", "mesh", "height_field"]
JointKind = Literal["fixed", "revolute", "prismatic", "spherical"]
MotorKind = Literal["velocity", "position", "torque"]

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


def turned(x: float, y: float, z: float, yaw_rad: float = 0.0) -> Pose:
    """Return the pose at (x, y, z) [m], turned by `yaw_rad` about z."""
    return Pose((x, y, z), (0.0, 0.0, math.sin(yaw_rad / 2), math.cos(yaw_rad / 2)))


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
    pose: Pose = Pose()
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


@dataclass(frozen=True)
class Material:
    """How a surface touches others.

    Attributes:
        friction: Coulomb coefficient, lateral; a contact's is the product of both bodies' (Bullet).
        rolling_friction: resistance to rolling [m].
        spinning_friction: resistance to spinning about the contact normal [m].
        restitution: 0 to 0.7; above that Bullet's contacts gain energy. A contact's is the product.
    """

    friction: float = 0.5
    rolling_friction: float = 0.0
    spinning_friction: float = 0.0
    restitution: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.restitution <= 0.7:
            raise InvalidInputError(
                f"restitution {self.restitution!r}: Bullet gains energy above 0.7; use 0 to 0.7."
            )


@dataclass(frozen=True)
class Motor:
    """What may drive a joint: its kind and the largest force [N] or torque [N m] it may use."""

    kind: MotorKind
    max_force: float


@dataclass(frozen=True)
class Joint:
    """How a link hangs on its parent.

    Attributes:
        kind: fixed, revolute, prismatic or spherical.
        axis: in the link's frame; fixed and spherical joints do not use it.
        limits: lowest and highest position ([m] or [rad]), or None.
        motor: None is a free joint.
        damping: force per velocity ([N s/m] or [N m s/rad]).
    """

    kind: JointKind = "fixed"
    axis: Vec3 = (0.0, 0.0, 1.0)
    limits: tuple[float, float] | None = None
    motor: Motor | None = None
    damping: float = 0.0


@dataclass(frozen=True)
class Link:
    """A moving part of a body.

    Attributes:
        name: unique in its body.
        joint: to the parent.
        shapes: its geometry.
        mass_kg: its mass.
        com: its centre of mass, in its frame [m].
        pose: its frame, in the frame of its parent, at joint position 0.
        parent: the name of another link, or "" for the body's base.
        position: the joint's first position ([m] or [rad]).
    """

    name: str
    joint: Joint = Joint()
    shapes: tuple[Shape, ...] = ()
    mass_kg: float = 0.0
    com: Vec3 = (0.0, 0.0, 0.0)
    pose: Pose = Pose()
    parent: str = ""
    position: float = 0.0


@dataclass(frozen=True)
class Body:
    """A base with its links.

    Attributes:
        name: unique in its scene.
        shapes: the base's geometry; its centre of mass is the base frame's origin.
        mass_kg: the base's mass; 0 holds it in place.
        pose: the base's first pose, world frame.
        material: of all its surfaces.
        links: in an order in which parents come before children.
        linear_damping, angular_damping: fraction of velocity lost per second.
    """

    name: str
    shapes: tuple[Shape, ...] = ()
    mass_kg: float = 0.0
    pose: Pose = Pose()
    material: Material = Material()
    links: tuple[Link, ...] = ()
    linear_damping: float = 0.0
    angular_damping: float = 0.0

    def __post_init__(self) -> None:
        known = [""]
        for link in self.links:
            if link.parent not in known:
                raise UnknownNameError("earlier link", link.parent, known, f"body {self.name!r}")
            known.append(link.name)
        if len(set(known)) != len(known):
            raise InvalidInputError(f"body {self.name!r}: two links share a name: {known[1:]}.")


@dataclass(frozen=True)
class Robot:
    """A body described by a URDF file; make one with `robot()`.

    Attributes:
        name: unique in its scene.
        urdf: the file's path, absolute or below pybullet_data.
        sha256: of the file's bytes, so that the scene's digest names them.
        pose: of the base, world frame.
        fixed: holds the base in place.
        positions: first positions of the movable joints, in the file's order; () is all 0.
        motor: how its movable joints are driven; their greatest forces are the file's.
    """

    name: str
    urdf: str
    sha256: str
    pose: Pose = Pose()
    fixed: bool = True
    positions: tuple[float, ...] = ()
    motor: MotorKind = "position"


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        name: unique in its scene.
        eye, target, up: where it is, what it looks at, what is up in the picture. In the world's
            frame [m]; of one that follows, from the body's origin; of one mounted, in its frame.
        fov_deg: the angle from the picture's top to its bottom.
        near_m, far_m: nothing nearer or farther along the view axis is seen.
        body: whose base it follows (keeping its direction) or, if `mounted`, is fixed to.
        mounted: turns with the body.
        supersampling: 1, or 2: colours are the means of 2 x 2 samples a pixel.

    Raises:
        InvalidInputError: a camera that sees nothing.
    """

    name: str
    eye: Vec3
    target: Vec3
    up: Vec3 = (0.0, 0.0, 1.0)
    fov_deg: float = 45.0
    near_m: float = 0.05
    far_m: float = 10.0
    body: str = ""
    mounted: bool = False
    supersampling: int = 1

    def __post_init__(self) -> None:
        told = f"camera {self.name!r}"
        numbers = (*self.eye, *self.target, *self.up, self.fov_deg, self.near_m, self.far_m)
        if not all(math.isfinite(n) for n in numbers):
            raise InvalidInputError(f"{told}: {self}: all its numbers must be finite.")
        if not 0 < self.near_m < self.far_m:
            raise InvalidInputError(
                f"{told}: near {self.near_m} m, far {self.far_m} m: give 0 < near < far."
            )
        if not 0 < self.fov_deg < 180:
            raise InvalidInputError(f"{told}: field of view {self.fov_deg}: give 0 to 180 degrees.")
        if self.supersampling not in (1, 2):
            raise InvalidInputError(f"{told}: supersampling {self.supersampling!r}: give 1 or 2.")
        way = tuple(t - e for t, e in zip(self.target, self.eye, strict=True))
        (x, y, z), (a, b, c) = way, self.up
        across = math.hypot(y * c - z * b, z * a - x * c, x * b - y * a)
        if across <= 1e-9 * math.hypot(*way) * math.hypot(*self.up):
            raise InvalidInputError(
                f"{told}: looks from {self.eye} to {self.target} with {self.up} up: give two "
                "places, and an up that does not point along the view."
            )


@dataclass(frozen=True)
class Light:
    """A distant light: `direction` points from the scene towards it.

    A surface shows its colour times `ambient` + `diffuse` x `color` x the cosine of the angle at
    which the light falls on it (Lambert), the second term where no shadow is.
    """

    direction: Vec3 = (0.4, -0.5, 1.0)
    color: Vec3 = (1.0, 1.0, 1.0)
    ambient: float = 0.55
    diffuse: float = 0.5
    shadows: bool = True

    def __post_init__(self) -> None:
        numbers = (*self.direction, *self.color, self.ambient, self.diffuse)
        if not all(math.isfinite(n) for n in numbers) or not any(self.direction):
            raise InvalidInputError(f"{self}: give finite numbers, and a direction that is not 0.")


@dataclass(frozen=True)
class Engine:
    """How the scene is simulated: every number that Bullet's result depends on.

    The defaults against sticky walls are Kubric's (bulletphysics/bullet3 #3094).
    """

    physics_hz: int = 240
    gravity: Vec3 = (0.0, 0.0, -9.81)
    solver_iterations: int = 50
    erp: float = 0.2
    contact_erp: float = 0.2
    friction_erp: float = 0.2
    contact_breaking_threshold_m: float = 0.02
    contact_slop: float = 0.00001
    restitution_velocity_threshold: float = 0.0
    split_impulse: bool = True
    cone_friction: bool = False
    warm_starting: float = 0.0


@dataclass(frozen=True)
class Scene:
    """Everything that physics and pictures need to know.

    Attributes:
        bodies, cameras, light, engine: its parts.
        sky: colour of what nothing covers, at the horizon and below it, and
        zenith: straight above.

    Raises:
        InvalidInputError: two bodies or two cameras share a name, or a camera's body is not there.
    """

    bodies: tuple[Body | Robot, ...]
    cameras: tuple[Camera, ...] = ()
    light: Light = Light()
    engine: Engine = Engine()
    sky: Vec3 = (0.86, 0.90, 0.95)
    zenith: Vec3 = (0.55, 0.70, 0.90)

    def __post_init__(self) -> None:
        for kind, names in (
            ("bodies", [b.name for b in self.bodies]),
            ("cameras", [c.name for c in self.cameras]),
        ):
            if len(set(names)) != len(names):
                raise InvalidInputError(f"two {kind} of a scene share a name: {names}.")
        for camera in self.cameras:
            if camera.body and camera.body not in (b.name for b in self.bodies):
                known = [b.name for b in self.bodies]
                raise UnknownNameError("body", camera.body, known, f"camera {camera.name!r}")

    @cached_property
    def digest(self) -> str:
        """The SHA-256 that names this scene, 64 hex digits."""
        return digest.sha256(self)

    def camera(self, name: str) -> Camera:
        """Return the camera called `name`; UnknownNameError if there is none."""
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise UnknownNameError("camera", name, [c.name for c in self.cameras])


def movable(scene: Scene) -> Iterator[str]:
    """Yield the names of the bodies whose base is free to move."""
    for body in scene.bodies:
        if (isinstance(body, Body) and body.mass_kg > 0) or (
            isinstance(body, Robot) and not body.fixed
        ):
            yield body.name


def orbit(
    name: str,
    target: Vec3,
    distance_m: float,
    pitch_deg: float,
    yaw_deg: float = -90.0,
    fov_deg: float = 45.0,
) -> Camera:
    """Return a camera looking at `target`, `pitch_deg` above the horizon, `yaw_deg` from +x."""
    pitch, yaw = math.radians(pitch_deg), math.radians(yaw_deg)
    eye = (
        target[0] + distance_m * math.cos(pitch) * math.cos(yaw),
        target[1] + distance_m * math.cos(pitch) * math.sin(yaw),
        target[2] + distance_m * math.sin(pitch),
    )
    up = (0.0, 1.0, 0.0) if pitch_deg > 89.0 else (0.0, 0.0, 1.0)
    return Camera(name, eye, target, up, fov_deg, 0.05, max(4.0, 4 * distance_m))


def sun(azimuth_deg: float, elevation_deg: float = 60.0) -> Light:
    """Return a light `azimuth_deg` from +x and `elevation_deg` above the horizon."""
    a, e = math.radians(azimuth_deg), math.radians(elevation_deg)
    return Light((math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)))


def robot(
    name: str,
    urdf: str,
    pose: Pose = Pose(),
    *,
    fixed: bool = True,
    positions: tuple[float, ...] = (),
    motor: MotorKind = "position",
) -> Robot:
    """Return the robot of a URDF file, named by path: absolute, or below pybullet_data.

    Raises:
        InvalidInputError: there is no such file.
    """
    return Robot(name, urdf, _sha256(urdf), pose, fixed, positions, motor)


def mesh(path: str, scale: Vec3 = (1.0, 1.0, 1.0), color: Rgba = GREY, **rest: Any) -> Shape:
    """Return the shape of a mesh file, named by path: absolute, or below pybullet_data.

    Args:
        path: of an OBJ, STL, PLY or OFF file.
        scale: per axis.
        color: where the file has no colours of its own.
        rest: any other attribute of Shape.

    Raises:
        InvalidInputError: there is no such file.
    """
    return Shape("mesh", scale, color, path=path, sha256=_sha256(path), **rest)


def image(path: str, width_m: float = 1.0) -> Texture:
    """Return the texture of an image file, named by path: absolute, or below pybullet_data.

    Raises:
        InvalidInputError: there is no such file.
    """
    return Texture("image", width_m, path=path, sha256=_sha256(path))


def _sha256(path: str) -> str:
    return hashlib.sha256(asset(path).read_bytes()).hexdigest()


def asset(path: str) -> Path:
    """Return where a named asset lies: an absolute path, or one below pybullet_data."""
    spec = importlib.util.find_spec("pybullet_data")
    roots = list(spec.submodule_search_locations or []) if spec else []
    for candidate in [Path(path)] if Path(path).is_absolute() else [Path(r) / path for r in roots]:
        if candidate.is_file():
            return candidate
    raise InvalidInputError(
        f"no asset {path!r}: give an absolute path, or one below pybullet_data "
        f"({', '.join(roots)})."
    )
