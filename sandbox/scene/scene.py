"""A scene: bodies, cameras, a light, and the settings of the physics engine."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from sandbox import digest
from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.scene.bodies import Body, Robot
from sandbox.scene.shapes import Vec3
from sandbox.scene.view import DAYLIGHT, Camera, Light


@dataclass(frozen=True)
class Engine:
    """The settings of the physics engine: every number that Bullet's results depend on.

    The defaults that keep bodies from sticking to walls are Kubric's (bulletphysics/bullet3 #3094).

    Attributes:
        rigid: whether bodies without links are Bullet's rigid bodies. If not they are multibodies
            without links, whose contacts take two to four times as long.
        solver_residual: the solver stops before its last iteration once the squares of what an
            iteration changed add up to less than this.
        island_size: bodies that touch each other are solved on their own where they are at least
            so many bodies, contacts and joints. With 1, those that rest are done early.
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
    rigid: bool = field(default=False, metadata=digest.LATER)
    solver_residual: float = field(default=1e-7, metadata=digest.LATER)
    island_size: int = field(default=128, metadata=digest.LATER)


@dataclass(frozen=True)
class Scene:
    """Everything that physics and pictures depend on.

    Attributes:
        bodies: the bodies and robots.
        cameras: the cameras.
        light: the light.
        engine: the settings of the physics engine.
        sky: red, green, blue of the background at the horizon and below it.
        zenith: red, green, blue of the background straight above.

    Raises:
        InvalidInputError: two bodies or two cameras share a name.
        UnknownNameError: a camera follows a body that is not in the scene.
    """

    bodies: tuple[Body | Robot, ...]
    cameras: tuple[Camera, ...] = ()
    light: Light = DAYLIGHT
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
        """The SHA-256 of the scene, 64 hex digits."""
        return digest.sha256(self)

    def camera(self, name: str) -> Camera:
        """Return the camera called `name`; UnknownNameError if the scene has none."""
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise UnknownNameError("camera", name, [c.name for c in self.cameras])


def movable(scene: Scene) -> Iterator[str]:
    """Yield the names of the bodies whose base can move."""
    for body in scene.bodies:
        if (isinstance(body, Body) and body.mass_kg > 0) or (
            isinstance(body, Robot) and not body.fixed
        ):
            yield body.name
