"""Pushing things over a table: how a flat body slides, and which of some cubes to push where."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sandbox.env.finger import Finger
from sandbox.env.geometry import Three, Two, distance, inside, shortest_way
from sandbox.env.policy import Actions, Vector

_PUSH_M_S = 0.2  # When pushing.
_GAP_M = 0.01  # Between finger and cubes when going round.
_DONE_M, _THERE_M = 0.016, 0.03  # From the mark, and from a place on the way.
_SIDE_HZ = 6.0  # How fast the finger comes back behind the middle.
_ASIDE_M = (0.07, 0.16, 0.25)  # How far off places on the way are,
_TURNS = 12  # in so many directions.


Contact = tuple[float, float, float, float]  # x, y, and inward normal x, y.


@dataclass(frozen=True, slots=True)
class LimitSurface:
    """How a flat body slides when it is pushed slowly, in a frame of its own.

    The limit surface (Goyal, Ruina and Papadopoulos 1991) is an ellipsoid: a force f with moment m
    about the centre of mass moves the body by (f, m / c^2).

    Attributes:
        middle: the centre of mass.
        radius: c, near the mean radius of the body.
        turn: how far apart poses are that differ by one radian.
    """

    middle: Two
    radius: float
    turn: float

    def way(self, here: Three, goal: Three, unit_m: float) -> Three:
        """Return how far the centre of mass has to go, and the body to turn, in its own frame.

        Args:
            here: pose of the body in the world: x, y [m], yaw [rad].
            goal: the pose that it shall have.
            unit_m: unit of length in its frame.
        """
        away = math.remainder(goal[2] - here[2], math.tau)
        (gx, gy), (cx, cy) = inside(goal[:2], here, unit_m), self.middle
        cos, sin = math.cos(away), math.sin(away)
        return gx + cos * cx - sin * cy - cx, gy + sin * cx + cos * cy - cy, away

    def push(self, contact: Contact, way: Three, longest: float) -> tuple[float, float]:
        """Return the best length of a push at a contact, and what it gains.

        Args:
            contact: where, and in which direction.
            way: as `way` returns it.
            longest: the greatest length.

        Returns:
            The length, 0 if the push leads away, and the fraction of the squared distance that it
            gains.
        """
        (x, y, nx, ny), (goal_x, goal_y, turn), k = contact, way, self.turn**2
        moment = (x - self.middle[0]) * ny - (y - self.middle[1]) * nx
        share = 1.0 + (moment / self.radius) ** 2  # Of the contact's way, a centre's.
        vx, vy, w = nx / share, ny / share, moment / self.radius**2 / share
        length = (goal_x * vx + goal_y * vy + k * turn * w) / (vx * vx + vy * vy + k * w * w)
        length = min(length, longest)
        if length <= 0.0:
            return 0.0, 0.0
        before = goal_x**2 + goal_y**2 + k * turn**2
        after_x, after_y = (goal_x - vx * length) ** 2, (goal_y - vy * length) ** 2
        after = after_x + after_y + k * (turn - w * length) ** 2
        return length, 1.0 - after / before


class PushPlanner:
    """A planner of pushes, one cube at a time; it plans again after each push.

    Where others are in the way it first pushes the cube to a place from which the way is free.
    A finger that stays behind the middle of a cube, as seen from where it shall go, turns the
    face that it touches that way by pushing: no need to plan how the cube turns.

    Args:
        finger: returns where the finger is now [m].
        cubes: returns where each cube is now [m]; one may go, or one without a mark come.
        marks: where each cube shall go [m].
        half_m: half the edge of a cube.
        field_m: largest |x| and |y| to which it pushes a cube.
        reach_m: largest |x| and |y| of the finger.
        hz: control steps a second.
    """

    def __init__(
        self,
        finger: Callable[[], Two],
        cubes: Callable[[], Mapping[int, Two]],
        marks: Sequence[Two],
        *,
        half_m: float,
        field_m: float,
        reach_m: float,
        hz: int,
    ) -> None:
        self._finger, self._cubes, self._marks = finger, cubes, marks
        self._half, self._field, self._reach, self._hz = half_m, field_m, reach_m, hz
        self._clear = half_m * math.sqrt(2.0) + Finger.RADIUS_M + _GAP_M  # From a cube's middle.

    def actions(self, rng: np.random.Generator) -> Actions:
        """Yield actions that go behind a cube, push it to its mark, and go on to the next."""
        while True:
            n, aim, way = self._choose(rng)
            if n is None:
                (fx, fy), (x, y) = self._finger(), way[0] if way else self._finger()
                still = math.dist((fx, fy), (x, y)) < 0.015
                yield np.zeros(2, np.float32) if still else self._towards((x, y))
                continue
            while self._marked(n) and way:
                if math.dist(self._finger(), way[0]) < 0.015:
                    del way[0]
                else:
                    yield self._towards(way[0])
            left = 0.06 + 1.2 * math.dist(self._cubes()[n], aim) if self._marked(n) else 0.0
            while self._marked(n):
                (ux, uy), (side, _) = self._heading(n, aim), self._beside(n, aim)
                back = max(-0.12, min(0.12, _SIDE_HZ * side))
                pace = min(_PUSH_M_S, 0.03 + 3.0 * math.dist(self._cubes()[n], aim))
                left -= pace / self._hz
                speed = (ux * pace + uy * back, uy * pace - ux * back)
                yield (np.array(speed, np.float32) / Finger.SPEED_M_S).clip(-1.0, 1.0)
                if left <= 0.0 or self._lost(n, aim):
                    break

    def _marked(self, n: int) -> bool:
        """Return whether a cube is there and has a mark."""
        return n in self._cubes() and n < len(self._marks)

    def _lost(self, n: int, aim: Two) -> bool:
        """Return whether a push ends: the cube is there, or the finger is not behind it."""
        if not self._marked(n):
            return True
        (side, behind), half = self._beside(n, aim), self._half
        lost = abs(side) > 0.9 * half or behind < 0.6 * half or behind > 2 * self._clear
        near = _DONE_M if aim == self._marks[n] else _THERE_M
        return math.dist(self._cubes()[n], aim) < near or lost

    def _heading(self, n: int, aim: Two) -> Two:
        """Return the direction from a cube to where it shall go."""
        (x, y), (gx, gy) = self._cubes()[n], aim
        far = max(math.dist((x, y), aim), 1e-9)
        return (gx - x) / far, (gy - y) / far

    def _beside(self, n: int, aim: Two) -> Two:
        """Return how far the finger is beside and behind a cube that shall go to a place."""
        (x, y), (ux, uy), (fx, fy) = self._cubes()[n], self._heading(n, aim), self._finger()
        return (fx - x) * -uy + (fy - y) * ux, (x - fx) * ux + (y - fy) * uy

    def _choose(self, rng: np.random.Generator) -> tuple[int | None, Two, list[Two]]:
        """Return the cube that is soonest pushed home, whereto, and the way to behind it."""
        marked = [(n, at) for n, at in self._cubes().items() if n < len(self._marks)]
        todo = [n for n, at in marked if math.dist(at, self._marks[n]) >= _DONE_M]
        moods = rng.uniform(0.0, 0.3, len(todo))  # Lest two drive each other away for ever.
        plans = sorted(
            (self._cost(n, aim) + mood, n, aim)
            for n, mood in zip(todo, moods.tolist(), strict=True)
            for aim in self._aims(n)
        )
        for _, n, aim in plans:
            way = self._way(n, aim)
            if way:
                return n, aim, way
        if not todo:
            return None, (0.0, 0.0), []
        # There is no way to any: go through the cubes.
        x, y = rng.uniform(-self._field, self._field, 2).tolist()
        return None, (0.0, 0.0), [(x, y)]

    def _aims(self, n: int) -> list[Two]:
        """Return where a cube may be pushed: to its mark, or to a place around it first."""
        x, y = self._cubes()[n]
        around = [
            (x + far * math.cos(turn), y + far * math.sin(turn))
            for turn in np.linspace(0.0, math.tau, _TURNS, endpoint=False).tolist()
            for far in _ASIDE_M
        ]
        return [self._marks[n], *(p for p in around if max(abs(p[0]), abs(p[1])) < self._field)]

    def _cost(self, n: int, aim: Two) -> float:
        """Return the way of a push [m], and what is added for cubes in the way."""
        cube, mark = self._cubes()[n], self._marks[n]
        others = [place for m, place in self._cubes().items() if m != n]
        legs = ((cube, aim), (aim, mark)) if aim != mark else ((cube, mark),)
        hindered = sum(distance(at, *leg) < 2.4 * self._half for at in others for leg in legs)
        detour = sum(math.dist(*leg) for leg in legs) - math.dist(cube, mark)
        return math.dist(self._finger(), cube) + detour + 0.2 * len(legs) + hindered

    def _way(self, n: int, aim: Two) -> list[Two]:
        """Return a way round the cubes to a place behind one, [] if there is none."""
        clear, (x, y), (ux, uy) = self._clear + 0.003, self._cubes()[n], self._heading(n, aim)
        goal = (x - ux * clear, y - uy * clear)
        if not self._free(goal):
            return []
        around = [
            (cx + 1.1 * clear * math.cos(a), cy + 1.1 * clear * math.sin(a))
            for cx, cy in self._cubes().values()
            for a in np.linspace(0, math.tau, 10, endpoint=False).tolist()
        ]
        free = [node for node in around if self._free(node)]
        return shortest_way([self._finger(), goal, *free], self._passes)

    def _free(self, a: Two) -> bool:
        """Return whether the finger can be at a place without touching a cube."""
        inside = max(abs(a[0]), abs(a[1])) < self._reach
        return inside and all(math.dist(a, c) > self._clear for c in self._cubes().values())

    def _passes(self, a: Two, b: Two) -> bool:
        """Return whether the finger can go straight from a place to another, or from a cube."""
        clear = self._clear
        for c in self._cubes().values():
            if math.dist(a, c) < clear:
                if (b[0] - a[0]) * (c[0] - a[0]) + (b[1] - a[1]) * (c[1] - a[1]) > 0.0:
                    return False
            elif distance(c, a, b) < clear:
                return False
        return True

    def _towards(self, aim: Two) -> Vector:
        """Return the action that moves the finger to a place in a step, as fast as it can."""
        (fx, fy), hz = self._finger(), self._hz
        vx, vy = (aim[0] - fx) * hz / Finger.SPEED_M_S, (aim[1] - fy) * hz / Finger.SPEED_M_S
        scale = 1.0 / max(1.0, math.hypot(vx, vy))
        return np.array([vx * scale, vy * scale], np.float32).clip(-1.0, 1.0)
