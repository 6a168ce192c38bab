"""What a goal state is: which numbers of a world's state it is about, and how near is near.

A distance is 1 at the edge of *moderate*, and smaller inside. It follows from rows of the state
alone, so that whoever has logged rows can score them without simulating.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from sandbox.errors import InvalidInputError, UnknownNameError

F64 = NDArray[np.float64]
LEVELS = ("moderate", "strict")


@dataclass(frozen=True)
class Near:
    """How near some numbers of the state must come to the goal's, by their Euclidean distance.

    Attributes:
        names: names of the numbers, as in `state_names`, such as `t.x`.
        moderate, strict: the largest distance of each level, in `unit`.
        unit: their unit.
        turns: whether they are angles, each taken modulo a full turn [rad].
    """

    names: tuple[str, ...]
    moderate: float
    strict: float
    unit: str = "m"
    turns: bool = False

    @property
    def what(self) -> str:
        """What messages and tables call it."""
        return ", ".join(self.names)

    def error(self, rows: F64, goal: F64, at: Callable[[str], int]) -> F64:
        """Return the distance of states from a goal, in `unit`."""
        places = [at(name) for name in self.names]
        apart = rows[..., places] - goal[..., places]
        return np.sqrt(np.square(_turned(apart) if self.turns else apart).sum(-1))


@dataclass(frozen=True)
class Facing:
    """How near the heading of a body must come to the goal's: its rotation about z.

    Attributes:
        body: the body.
        moderate, strict: the largest angle of each level [rad].
        folds: how often the body looks the same in a full turn: 4 for a square.
    """

    body: str
    moderate: float
    strict: float
    folds: int = 1
    unit: str = "rad"

    @property
    def what(self) -> str:
        """What messages and tables call it."""
        return f"{self.body} yaw"

    @property
    def names(self) -> tuple[str, ...]:
        """The numbers that it is about."""
        return tuple(f"{self.body}.q{axis}" for axis in "xyzw")

    def error(self, rows: F64, goal: F64, at: Callable[[str], int]) -> F64:
        """Return the angle between states and a goal [rad]."""
        places = [at(name) for name in self.names]
        apart = _yaw(rows[..., places]) - _yaw(goal[..., places])
        return np.abs(_turned(apart * self.folds) / self.folds)


@dataclass(frozen=True)
class Aim:
    """What makes up a goal state of a world, beside its own success: parts, all of them at once.

    A world adds them one by one: `Aim().near("t.x t.y", 0.03, 0.015).facing("t", 20, 10)`.

    Attributes:
        parts: what must be near.
        held: for how many rows in a row, to count as reached.
    """

    parts: tuple[Near | Facing, ...] = ()
    held: int = 1

    def near(
        self,
        names: str,
        moderate: float,
        strict: float,
        unit: str = "m",
        *,
        turns: bool = False,
        each: bool = False,
    ) -> Self:
        """Return the aim with another part: some numbers of the state, by their distance.

        Args:
            names: their names, with spaces between.
            moderate: the largest distance of that level, in `unit`.
            strict: the largest distance of that level.
            unit: their unit.
            turns: whether they are angles, each taken modulo a full turn [rad].
            each: whether every number is a part for itself.
        """
        all_of, every = tuple(names.split()), [(name,) for name in names.split()]
        parts = [Near(one, moderate, strict, unit, turns) for one in (every if each else [all_of])]
        return self._with(*parts)

    def facing(self, body: str, moderate: float, strict: float, folds: int = 1) -> Self:
        """Return the aim with another part: the heading of a body, its rotation about z.

        Args:
            body: the body.
            moderate: the largest angle of that level [degrees].
            strict: the largest angle of that level.
            folds: how often the body looks the same in a full turn: 4 for a square.
        """
        return self._with(Facing(body, math.radians(moderate), math.radians(strict), folds))

    def each(
        self, bodies: Iterable[str], moderate: float, strict: float, axes: str = "xyz"
    ) -> Self:
        """Return the aim with a part for each body: its place [m]. Absent ones are where they were.

        Args:
            bodies: their names.
            moderate: the largest distance of that level [m].
            strict: the largest distance of that level.
            axes: the axes that matter.
        """
        parts = [Near(tuple(f"{body}.{a}" for a in axes), moderate, strict) for body in bodies]
        return self._with(*parts)

    def _with(self, *parts: Near | Facing) -> Self:
        return replace(self, parts=(*self.parts, *parts))

    def errors(self, names: Sequence[str], rows: Any, goal: Any, level: str = "moderate") -> F64:
        """Return how far states are from a goal, part by part, float64 (..., parts).

        Args:
            names: names of the numbers of a state: `state_names()` of the world.
            rows: states (..., numbers).
            goal: a state (numbers,), or one for each of `rows`.
            level: what is 1: moderate or strict.

        Raises:
            InvalidInputError: the numbers are not those of the names.
        """
        if level not in LEVELS:
            raise UnknownNameError("level", level, LEVELS)
        states, wanted = np.asarray(rows, np.float64), np.asarray(goal, np.float64)
        if not wanted.shape[-1:] == states.shape[-1:] == (len(names),):
            raise InvalidInputError(
                f"states {states.shape} and goal {wanted.shape}: each has the {len(names)} numbers "
                "of the world's state."
            )
        places = {name: n for n, name in enumerate(names)}
        found = [one.error(states, wanted, places.__getitem__) for one in self.parts]
        sizes = [getattr(one, level) for one in self.parts]
        return np.stack([error / size for error, size in zip(found, sizes, strict=True)], -1)

    def distance(self, names: Sequence[str], rows: Any, goal: Any, level: str = "moderate") -> F64:
        """Return the distance of states from a goal: that of the part that is farthest off.

        1 is the edge of the level. Arguments and errors are those of `errors`.
        """
        return self.errors(names, rows, goal, level).max(-1)

    @property
    def names(self) -> tuple[str, ...]:
        """The numbers of the state that it is about, each once."""
        return tuple(dict.fromkeys(name for one in self.parts for name in one.names))

    def reached(self, names: Sequence[str], rows: Any, goal: Any, level: str) -> NDArray[np.bool_]:
        """Return for each row of an episode, (rows, numbers), whether the goal is reached there.

        It is where this row and those before it, `held` together, are within the level.
        """
        within = self.distance(names, rows, goal, level) <= 1.0
        found = within.copy()
        for n in range(1, self.held):
            found &= np.concatenate([np.zeros(min(n, len(within)), bool), within[:-n]])
        return found

    def described(self) -> str:
        """Return the aim in words, for tables: parts with their two tolerances."""
        parts = [f"{one.what}: {_amount(one.moderate, one.strict, one.unit)}" for one in self.parts]
        held = f"; held for {self.held} rows" if self.held > 1 else ""
        return "; ".join(parts) + held

    def plain(self) -> dict[str, Any]:
        """Return the aim as plain JSON: a goal set keeps it."""
        parts = [
            {"kind": type(one).__name__.lower(), **{k: _plain(v) for k, v in vars(one).items()}}
            for one in self.parts
        ]
        return {"parts": parts, "held": self.held}

    def fault(self, names: Sequence[str]) -> str:
        """Return what is wrong with the aim for a world whose state has these numbers, or ""."""
        if not self.parts or self.held < 1:
            return "has no part, or is held for no row"
        for one in self.parts:
            lacking = [name for name in one.names if name not in names]
            if lacking:
                return f"is about {', '.join(lacking)}, which the state does not have"
            if not 0 < one.strict <= one.moderate < math.inf:
                return (
                    f"has tolerances {one.strict} and {one.moderate} for {one.what}: strict is "
                    "the smaller, and both are above 0"
                )
        return ""


def _plain(value: Any) -> Any:
    return list(cast(tuple[Any, ...], value)) if isinstance(value, tuple) else value


def _amount(moderate: float, strict: float, unit: str) -> str:
    if unit != "m":
        return f"{moderate:.3g}, {strict:.3g} {unit}"
    return f"{100 * moderate:g}, {100 * strict:g} cm"


def _yaw(q: F64) -> F64:
    """Return the rotation about z of quaternions xyzw [rad]; 0 of what is not in the scene."""
    x, y, z, w = (q[..., n] for n in range(4))
    return np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def _turned(angle: F64) -> F64:
    """Return angles between half a turn back and half a turn on [rad]."""
    return angle - 2 * math.pi * np.round(angle / (2 * math.pi))
