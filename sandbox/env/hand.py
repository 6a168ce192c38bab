"""The hand of a Panda arm, as a task owns it: pointing down, moved by its fingertips."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from sandbox.env.elements import each
from sandbox.env.policy import Vector
from sandbox.observation import Element
from sandbox.scene import PANDA_FINGERS, PANDA_JOINTS, Vec3, panda_joints, panda_moved
from sandbox.world import World
from sandbox.world.world import BODY_STATE

_SPEED_M_S = 3.0  # Faster is observed as this fast.


class Hand:
    """A hand whose fingertips an action moves; the task makes one in `started`.

    A snapshot copies it: a method assigns new values and changes no old one in place.

    Args:
        world: holds a body `panda`.
        box: lowest and highest place of the fingertips [m].
        hz: control steps a second.
        locked: links of the arm whose joints are fixed, as `sc.panda` was told.

    Attributes:
        joints: what a task logs in `state_joints`.
        measures: what it logs in `state_measures`: `tip`.
        tip: point between the fingertips [m].
        velocity: velocity of that point [m/s].
        target: where the arm is driven to.
        stride: how far a full action moves the target in one step [m].
    """

    SPEED_M_S = 0.25  # At full action.
    joints: ClassVar = tuple(("panda", link) for link in (*PANDA_JOINTS, *PANDA_FINGERS))
    measures: ClassVar = ("tip.x", "tip.y", "tip.z")
    _DRIVEN = (*PANDA_JOINTS, *PANDA_FINGERS)

    def __init__(
        self, world: World, box: tuple[Vec3, Vec3], hz: int, locked: Sequence[str] = ()
    ) -> None:
        self._world, self._box = world, box
        free = [n for n, link in enumerate(self._DRIVEN) if link not in locked]
        self._free, self._driven = free, tuple(self._DRIVEN[n] for n in free)
        self.stride = self.SPEED_M_S / hz
        self.look()
        self.target: tuple[float, ...] = tuple(self.tip)

    @staticmethod
    def elements(low_z_m: float, high_z_m: float) -> tuple[Element, ...]:
        """Return the elements of `numbers`, with the bounds of the tip's height."""
        return (
            Element("tip_x", "m", 0.0, 0.9),
            Element("tip_y", "m", -0.6, 0.6),
            Element("tip_z", "m", low_z_m, high_z_m),
            *each("tip_vx tip_vy tip_vz", "m/s", -_SPEED_M_S, _SPEED_M_S),
        )

    def look(self) -> None:
        """Read where the fingertips are; the task calls it in `arrived`.

        Of an arm that was taken away all is 0, as in the state.
        """
        there = self._world.has("panda")
        state = self._world.link("panda", "tip") if there else [0.0] * BODY_STATE
        self.tip, self.velocity = state[:3], state[7:10]

    def numbers(self) -> list[float]:
        """Return the place and the velocity of the fingertips, as they are observed."""
        top = _SPEED_M_S
        return [*self.tip, *[-top if v < -top else top if v > top else v for v in self.velocity]]

    def move(self, action: Sequence[float], fingers_m: tuple[float, float] = (0.0, 0.0)) -> None:
        """Move the target of the fingertips, drive the arm to it, and open the fingers so far."""
        stride = self.stride
        by = [stride * a for a in action]
        self.target = target = panda_moved(self.target, by, self.tip, self._box)
        every = [*panda_joints(*target), *fingers_m]
        self._world.drive("panda", self._driven, [every[n] for n in self._free])

    def towards(self, place: Sequence[float], within_m: float) -> Vector:
        """Return the action towards a place: at full speed, or slower when nearer than that."""
        way = np.subtract(place, self.tip)
        return (way / max(np.abs(way).max(), within_m)).astype(np.float32)
