"""Cameras and lights."""

import math
from dataclasses import dataclass

from sandbox.errors import InvalidInputError
from sandbox.scene.shapes import Vec3


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        name: unique in the scene.
        eye: the position of the camera [m]. A fixed camera's `eye`, `target` and `up` are in the
            world frame. For a camera that follows a body, they start at the body's origin, with the
            axes of the world, or of the body if the camera is mounted.
        target: the point that the camera looks at [m].
        up: the direction that is up in the picture.
        fov_deg: the vertical field of view, from the picture's top to its bottom.
        near_m: the distance along the view axis below which nothing is drawn.
        far_m: the distance along the view axis beyond which nothing is drawn.
        body: the body that the camera follows; "" for a fixed camera.
        link: the link of that body to follow; "" for its base.
        mounted: whether the camera turns with the body.
        supersampling: 1, or 2 for colours that are the means of 2 x 2 samples a pixel.

    Raises:
        InvalidInputError: the camera cannot see anything.
    """

    name: str
    eye: Vec3
    target: Vec3
    up: Vec3 = (0.0, 0.0, 1.0)
    fov_deg: float = 45.0
    near_m: float = 0.05
    far_m: float = 10.0
    body: str = ""
    link: str = ""
    mounted: bool = False
    supersampling: int = 1

    def __post_init__(self) -> None:
        who = f"camera {self.name!r}"
        numbers = (*self.eye, *self.target, *self.up, self.fov_deg, self.near_m, self.far_m)
        if not all(math.isfinite(n) for n in numbers):
            raise InvalidInputError(f"{who}: {self}: all its numbers must be finite.")
        if not 0 < self.near_m < self.far_m:
            raise InvalidInputError(
                f"{who}: near {self.near_m} m, far {self.far_m} m: give 0 < near < far."
            )
        if not 0 < self.fov_deg < 180:
            raise InvalidInputError(f"{who}: field of view {self.fov_deg}: give 0 to 180 degrees.")
        if self.supersampling not in (1, 2):
            raise InvalidInputError(f"{who}: supersampling {self.supersampling!r}: give 1 or 2.")
        way = tuple(t - e for t, e in zip(self.target, self.eye, strict=True))
        (x, y, z), (a, b, c) = way, self.up
        across = math.hypot(y * c - z * b, z * a - x * c, x * b - y * a)
        if across <= 1e-9 * math.hypot(*way) * math.hypot(*self.up):
            raise InvalidInputError(
                f"{who}: looks from {self.eye} to {self.target} with {self.up} up: give two "
                "places, and an up that does not point along the view."
            )


@dataclass(frozen=True)
class Light:
    """A distant light: `direction` points from the scene towards it.

    A surface is drawn in its colour times (`ambient` + `diffuse` x `color` x cosine of the angle
    between its normal and the light), after Lambert. In shadow only `ambient` counts.
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


DAYLIGHT = Light()


def orbit(
    name: str,
    target: Vec3,
    distance_m: float,
    pitch_deg: float,
    yaw_deg: float = -90.0,
    fov_deg: float = 45.0,
) -> Camera:
    """Return a camera that looks at `target` from `distance_m` away.

    It is `pitch_deg` above the horizon of the target, and `yaw_deg` from +x around it.
    """
    pitch, yaw = math.radians(pitch_deg), math.radians(yaw_deg)
    eye = (
        target[0] + distance_m * math.cos(pitch) * math.cos(yaw),
        target[1] + distance_m * math.cos(pitch) * math.sin(yaw),
        target[2] + distance_m * math.sin(pitch),
    )
    up = (0.0, 1.0, 0.0) if pitch_deg > 89.0 else (0.0, 0.0, 1.0)
    return Camera(name, eye, target, up, fov_deg, 0.05, max(4.0, 4 * distance_m))


def sun(
    azimuth_deg: float,
    elevation_deg: float = 60.0,
    color: Vec3 = (1.0, 1.0, 1.0),
    ambient: float = 0.55,
) -> Light:
    """Return a light from `azimuth_deg` from +x and `elevation_deg` above the horizon."""
    a, e = math.radians(azimuth_deg), math.radians(elevation_deg)
    direction = (math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e))
    return Light(direction, color, ambient)
