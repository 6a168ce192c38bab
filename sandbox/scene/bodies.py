"""What moves: bodies, their joints, and robots from files."""

from dataclasses import dataclass
from typing import Literal

from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.scene.assets import sha256_of
from sandbox.scene.shapes import ORIGIN, Pose, Shape, Vec3

JointKind = Literal["fixed", "revolute", "prismatic", "spherical"]

MotorKind = Literal["velocity", "position", "torque"]


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
    pose: Pose = ORIGIN
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
        linear_damping, angular_damping: Bullet's d: of a free body dv/dt = -d v (1 + |v|), measured
            (v in m/s or rad/s).
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
    """Return the robot of a URDF file, named by path: absolute, or below pybullet_data.

    Raises:
        InvalidInputError: there is no such file.
    """
    return Robot(name, urdf, sha256_of(urdf), pose, fixed, positions, motor)
