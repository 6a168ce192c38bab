"""A round finger that slides over a table, as a task owns it."""

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from sandbox.env.policy import Actions
from sandbox.scene import Body, Camera, Rgba, Shape, sliding
from sandbox.world import World

Point = tuple[float, float]


class Finger:
    """A finger that an action moves; the task makes one in `started`.

    A snapshot copies it: a method assigns new values and changes no old one in place.

    Args:
        world: holds a body `finger`, made by `body`.

    Attributes:
        joints: what a task logs in `state_joints`.
        camera: follows the finger.
        at: the finger's place [m]; the task sets it in `arrived`.
    """

    SPEED_M_S = 0.5  # At full action.
    RADIUS_M = 0.02
    joints: ClassVar = (("finger", "x"), ("finger", "y"))
    camera: ClassVar = Camera(
        "finger", (0.0, -0.3, 0.25), (0.0, 0.04, 0.0), body="finger", link="y"
    )

    def __init__(self, world: World) -> None:
        self._world = world
        self.at: Point = (0.0, 0.0)

    @classmethod
    def body(
        cls, at: Point, reach_m: float, force_n: float, tall_m: float, color: Rgba, friction: float
    ) -> Body:
        """Return the finger, just above the table.

        Args:
            at: its first place [m].
            reach_m: largest |x| and |y|.
            force_n: greatest force of its motors.
            tall_m: its length.
            color: colour of the finger.
            friction: its Coulomb coefficient.
        """
        tip, limits = Shape("cylinder", (cls.RADIUS_M, tall_m), color), ((-reach_m, reach_m),) * 2
        high = round(tall_m / 2 + 0.003, 6)
        return sliding("finger", (tip,), at, limits, force_n, high_m=high, friction=friction)

    def move(self, action: Sequence[float]) -> None:
        """Drive the finger with an action."""
        self._world.drive("finger", ("x", "y"), [self.SPEED_M_S * a for a in action])

    @staticmethod
    def sweep(
        at: Callable[[], Point], rng: np.random.Generator, aim_for: Callable[[bool], Point]
    ) -> Actions:
        """Yield actions that sweep to one place after another, for ever.

        Args:
            at: returns where the finger is now.
            rng: draws how long it takes.
            aim_for: returns the next place: one beyond an object, or, if True, one away from it.
        """
        back = True
        while True:
            back, left = not back, int(rng.integers(8, 16))
            aim = x, y = aim_for(back)
            for _ in range(left):
                fx, fy = at()
                speed = 0.6 / max(math.dist(aim, (fx, fy)), 0.05)
                yield np.array([(x - fx) * speed, (y - fy) * speed], np.float32).clip(-1.0, 1.0)
                if math.dist(aim, at()) < 0.02:
                    break
