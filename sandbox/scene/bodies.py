"""Bodies, their joints, and robots from URDF files."""

from dataclasses import dataclass
from typing import Literal

from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.scene.assets import sha256_of
from sandbox.scene.shapes import ORIGIN, Pose, Shape, Vec3

JointKind = Literal["fixed", "revolute", "prismatic", "spherical"]

MotorKind = Literal["velocity", "position", "torque"]


@dataclass(frozen=True)
class Material:
    """The contact properties of a surface; Bullet multiplies those of both bodies.

    Attributes:
        friction: lateral Coulomb coefficient.
        rolling_friction: resistance to rolling [m].
        spinning_friction: resistance to spinning about the contact normal [m].
        restitution: 0 to 0.7; above 0.7 Bullet's contacts gain energy.
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
    """A motor at a joint: its kind, and its largest force [N] or torque [N m]."""

    kind: MotorKind
    max_force: float


@dataclass(frozen=True)
class Joint:
    """The joint between a link and its parent.

    Attributes:
        kind: fixed, revolute, prismatic or spherical.
        axis: the direction in the link's frame; fixed and spherical joints ignore it.
        limits: lowest and highest position ([m] or [rad]); None means no limits.
        motor: the joint's motor; None is a free joint.
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
        name: unique in the body.
        joint: the joint to the parent.
        shapes: the link's geometry.
        mass_kg: the link's mass.
        com: the centre of mass in the link's frame [m].
        pose: the link's frame in its parent's frame, at joint position 0.
        parent: the name of an earlier link, or "" for the body's base.
        position: the joint's initial position ([m] or [rad]).
    """

    name: str
    joint: Joint = Joint()
    shapes: tuple[Shape, ...] = ()
    mass_kg: float = 0.0
    com: Vec3 = (0.0, 0.0, 0.0)
    pose: Pose = ORIGIN
    parent: str = ""
    position: float = 0.0


@dataclass(frozen=True)
class Body:
    """A body: a base with its links.

    Attributes:
        name: unique in the scene.
        shapes: the base's geometry; the origin of its frame is its centre of mass.
        mass_kg: the base's mass; 0 fixes it in place.
        pose: the base's initial pose, world frame.
        material: the contact properties of all surfaces.
        links: the links, parents before children.
        linear_damping: Bullet's d. A free body slows down by dv/dt = -d v (1 + |v|), as measured
            (v in m/s).
        angular_damping: the same for rotation (v in rad/s).
    """

    name: str
    shapes: tuple[Shape, ...] = ()
    mass_kg: float = 0.0
    pose: Pose = ORIGIN
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
        name: unique in the scene.
        urdf: the path of the file, absolute or below pybullet_data.
        sha256: the SHA-256 of the file, so that the scene's digest covers its bytes.
        pose: the base's initial pose, world frame.
        fixed: whether the base is fixed in place.
        positions: initial positions of the movable joints, in the file's order; () is all 0.
        motor: the kind of motor at the movable joints; the file has their largest forces.
    """

    name: str
    urdf: str
    sha256: str
    pose: Pose = ORIGIN
    fixed: bool = True
    positions: tuple[float, ...] = ()
    motor: MotorKind = "position"


def robot(
    name: str,
    urdf: str,
    pose: Pose = ORIGIN,
    *,
    fixed: bool = True,
    positions: tuple[float, ...] = (),
    motor: MotorKind = "position",
) -> Robot:
    """Return the robot in a URDF file, whose path is absolute or below pybullet_data.

    Raises:
        InvalidInputError: there is no such file.
    """
    return Robot(name, urdf, sha256_of(urdf), pose, fixed, positions, motor)
