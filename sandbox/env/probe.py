"""A finger in the air, pointing down, as a task owns it."""

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from sandbox.env.elements import each
from sandbox.env.geometry import Three
from sandbox.env.policy import Vector
from sandbox.observation import Element
from sandbox.scene import Body, Pose, Rgba, Shape, box, sliding
from sandbox.world import World


class Probe:
    """A finger that an action moves along x, y and z; the task makes one in `started`.

    A snapshot copies it: a method assigns new values and changes no old one in place.

    Args:
        world: holds a body `finger`, made by `body`.

    Attributes:
        joints: what a task logs in `state_joints`, before other joints, without bodies.
        tip: the finger's tip [m].
        velocity: velocity of the tip [m/s].
    """

    SPEED_M_S = 0.35  # At full action.
    RADIUS_M, LENGTH_M, FORCE_N = 0.011, 0.16, 25.0
    RISE_M, WITHIN_M, FAR_M = 0.06, 0.025, 0.8  # Of the way in `near`.
    joints: ClassVar = tuple(("finger", axis) for axis in "xyz")
    tip: Three
    velocity: Three

    def __init__(self, world: World) -> None:
        self._world = world

    @classmethod
    def body(
        cls,
        tip: Sequence[float],
        reach: Sequence[tuple[float, float]],
        color: Rgba,
        friction: float,
    ) -> Body:
        """Return the finger, whose joints are 0 at the world's origin.

        Args:
            tip: its first place [m].
            reach: lowest and highest x, y and z of the tip [m].
            color: colour of the finger.
            friction: its Coulomb coefficient.
        """
        middle = Pose((0.0, 0.0, cls.LENGTH_M / 2))
        rod = Shape("cylinder", (cls.RADIUS_M, cls.LENGTH_M), color, middle)
        steel = (0.25, 0.27, 0.3, 1.0)
        wrist = box((0.022, 0.022, 0.02), (0.0, 0.0, cls.LENGTH_M), steel, collides=False)
        return sliding("finger", (rod, wrist), tip, reach, cls.FORCE_N, friction=friction)

    @staticmethod
    def elements(
        x: tuple[float, float], y: tuple[float, float], z: tuple[float, float]
    ) -> tuple[Element, ...]:
        """Return the elements of `numbers`, with the bounds of the tip's x, y and z."""
        return (
            Element("finger_x", "m", *x),
            Element("finger_y", "m", *y),
            Element("finger_z", "m", *z),
            *each("finger_velocity_x finger_velocity_y finger_velocity_z", "m/s", -3.0, 3.0),
        )

    def numbers(self) -> tuple[float, ...]:
        """Return the place and the velocity of the tip, as they are observed."""
        return (*self.tip, *self.velocity)

    def look(self, row: Sequence[float]) -> None:
        """Read the state, which begins with `joints`; the task calls it in `arrived`."""
        self.tip, self.velocity = (row[0], row[2], row[4]), (row[1], row[3], row[5])

    def near(self, aim: Sequence[float]) -> float:
        """Return how near the tip is to a place that it reaches from above, 0 to 1.

        The way is up to 6 cm above the place, across, and down. Within 2.5 cm, seen from above, and
        no lower than that below the place, it is down alone. 0 stands for 0.8 m or more.
        """
        across, above = math.dist(self.tip[:2], aim[:2]), self.tip[2] - aim[2]
        over = across < self.WITHIN_M and above > -self.WITHIN_M
        way = abs(above) if over else abs(above - self.RISE_M) + self.RISE_M
        return max(0.0, 1.0 - (across + way) / self.FAR_M)

    def move(self, action: Sequence[float]) -> None:
        """Drive the finger with an action."""
        self._world.drive("finger", ("x", "y", "z"), [self.SPEED_M_S * a for a in action])

    def towards(self, aim: Sequence[float], gain_hz: float) -> Vector:
        """Return the action towards a place, slower when near."""
        speed = [gain_hz * (a - t) / self.SPEED_M_S for a, t in zip(aim, self.tip, strict=True)]
        most = max(1.0, max(abs(s) for s in speed))
        return np.array([s / most for s in speed], np.float32)
