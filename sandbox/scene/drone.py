"""A quadrotor as a body: what it weighs and measures, and how it looks."""

import math
from dataclasses import dataclass
from typing import ClassVar

from sandbox.scene.bodies import Body, Material
from sandbox.scene.shapes import Pose, Rgba, Shape, Vec3, turned

_ROTOR_M = 0.075  # Radius at thrust scale 1; the thrust of a disc goes with its area.
_FRONT: Rgba = (0.95, 0.55, 0.1, 1.0)
_BACK: Rgba = (0.25, 0.26, 0.28, 1.0)


@dataclass(frozen=True, slots=True)
class Airframe:
    """What distinguishes one quadrotor from another.

    Attributes:
        mass_kg: its mass.
        arm_m: from the middle to each rotor; the moments of inertia go with it.
        thrust_scale: strength of the rotors; shown by their size.
        lag_s: time constant of the rotors' thrust; shown by their thickness.
        drag_n_s_m: force of the air per speed; shown by the size of the canopy.
    """

    USUAL_KG: ClassVar = 0.6  # What the rotors lift at action 0 and thrust scale 1.
    HULL_M: ClassVar = 0.03  # Half the height of the box that collides and has the inertia.

    mass_kg: float
    arm_m: float
    thrust_scale: float
    lag_s: float
    drag_n_s_m: float

    @property
    def side_m(self) -> float:
        """Return |x| and |y| of the rotors in the body's frame."""
        return self.arm_m / math.sqrt(2)

    @property
    def radius_m(self) -> float:
        """Return the radius of a rotor."""
        return _ROTOR_M * math.sqrt(self.thrust_scale)

    def rotors(self, z: float = 0.0) -> tuple[Vec3, ...]:
        """Return places in the body's frame: front left, front right, back right, back left."""
        s = self.side_m
        return ((s, s, z), (s, -s, z), (-s, -s, z), (-s, s, z))


def drone(name: str, airframe: Airframe, pose: Pose, color: Rgba) -> Body:
    """Return a cross, a canopy and four rotors; one unseen box collides for them all."""
    side = airframe.side_m
    hull = Shape("box", (side, side, airframe.HULL_M), visible=False)
    looks: list[Shape] = []
    for turn in (math.pi / 4, -math.pi / 4):
        at = turned(0.0, 0.0, 0.0, turn)
        looks.append(Shape("box", (airframe.arm_m, 0.014, 0.01), color, at, collides=False))
    canopy = 0.075 * math.sqrt(airframe.drag_n_s_m / 0.25)
    looks.append(Shape("box", (canopy, 0.7 * canopy, 0.028), color, collides=False))
    size = (airframe.radius_m, 0.008 + 0.3 * airframe.lag_s)
    for place in airframe.rotors(0.026):
        paint = _FRONT if place[0] > 0 else _BACK
        looks.append(Shape("cylinder", size, paint, Pose(place), collides=False))
    surface = Material(friction=0.6, restitution=0.1)
    return Body(name, (hull, *looks), airframe.mass_kg, pose, surface, angular_damping=0.3)
