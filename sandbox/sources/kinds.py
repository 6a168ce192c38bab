"""The kinds of branches, and what each does to a recorded state."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox import scene as sc
from sandbox.env import SandboxEnv, start
from sandbox.env.disturb import reshapable, seen_after
from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.renderer.camera import extrinsics
from sandbox.scenario import factors
from sandbox.scenario.disturbance import FORMS, Disturbance
from sandbox.scenario.factors import Color, Values
from sandbox.world import build
from sandbox.world.world import BODY_STATE

ACTIONS = ("noop", "same", "random")
POSSIBLE = ("impulse", "remove", "factor")
IMPOSSIBLE = ("vanish", "teleport", "ghost", "recolor", "reshape")  # No physics does these.
BY_CHANCE = ("random", "impulse", "teleport", "recolor", "reshape")  # These draw at random.
KICK_M_S = (0.3, 1.0)  # By how much an impulse changes a body's speed.
TELEPORT_M = (0.1, 0.3)
MOVING_M_S = 0.05
COLORS = {
    "crimson": (0.86, 0.08, 0.24),
    "royalblue": (0.25, 0.41, 0.88),
    "gold": (1.0, 0.84, 0.0),
    "seagreen": (0.18, 0.55, 0.34),
    "hotpink": (1.0, 0.41, 0.71),
    "white": (1.0, 1.0, 1.0),
}
UNLIKE = 0.6  # Least distance of two colours in RGB, at most sqrt(3).


class Look:
    """The bodies of a recorded state, and what can happen to them.

    Args:
        env: the environment, at the beginning of the episode.
        states: float64 (T+1, n), the column `state` of the episode.
        step: the row.
        rng: draws what a kind leaves open.

    Attributes:
        bodies: name of each body that is there to its 13 state numbers.
    """

    def __init__(
        self, env: SandboxEnv, states: NDArray[np.float64], step: int, rng: np.random.Generator
    ) -> None:
        self._env, self._step, self._rng = env, step, rng
        scene = env.world.scene
        for one in env.disturbances:
            if one.step(env.control_hz) <= step:
                scene = seen_after(scene, one)
        self._known = {body.name: body for body in scene.bodies}
        self._camera = scene.camera(env.pictures.cameras[0])
        self._paths = {
            name: states[:, n * BODY_STATE : (n + 1) * BODY_STATE]
            for n, name in enumerate(env.state_bodies)
        }
        self.bodies: dict[str, list[float]] = {
            name: path[step].tolist() for name, path in self._paths.items() if path[step, 3:7].any()
        }

    def branch(self, kind: str) -> dict[str, Any]:
        """Return a branch of a kind such as `impulse:ball_0`, as plain JSON."""
        what, _, target = kind.partition(":")
        if what not in (*ACTIONS, *POSSIBLE, *IMPOSSIBLE):
            known = [*ACTIONS, *POSSIBLE, *IMPOSSIBLE]
            raise UnknownNameError("kind of branch", what, known)
        happens = None if what in ACTIONS else self._happens(what, target)
        settled = None
        if happens is not None:
            found = Disturbance.model_validate(
                {"at_s": self._step / self._env.control_hz, **happens}
            )
            found.check(self._env.factors, f"branch {kind!r}")
            self._check_change(found, kind)
            settled = found.plain()
        return {"kind": kind, "impossible": what in IMPOSSIBLE, "disturbance": settled}

    def can(self, kind: str, body: str) -> bool:
        """Return whether a kind of branch can happen to a body."""
        return kind != "reshape" or (body in self._known and reshapable(self._known[body]) > 0.0)

    def moving(self, later: int) -> list[str]:
        """Return the moving bodies that the first camera sees now and `later` rows on."""
        return [
            name
            for name, row in self.bodies.items()
            if math.hypot(*row[7:10]) > MOVING_M_S
            and self._seen(row[:3])
            and self._seen(self._paths[name][self._step + later, :3].tolist())
        ]

    def _check_change(self, it: Disturbance, kind: str) -> None:
        """Refuse other factors that no episode under way can follow (InvalidInputError).

        Where something happened before, whoever simulates says so: a body may be another by then.
        """
        env = self._env
        before = any(one.step(env.control_hz) <= self._step for one in env.disturbances)
        if it.change is None or before:
            return
        new = {n: factors.parse(env.factors[n], v, kind) for n, v in it.change.items()}
        scene = start.scene(env, Values({**env.values, **new}), env.seed)
        try:
            build.check_follows(env.world.scene, scene)
        except InvalidInputError as error:
            raise InvalidInputError(f"branch {kind!r}: {error} Nothing was done.") from None

    def _happens(self, what: str, target: str) -> dict[str, Any]:
        if what == "factor":
            return {"change": self._factor(target)}
        body = self._body(target)
        if not self.can(what, body):
            raise InvalidInputError(
                f"{body!r} is not one box, ball, cylinder or capsule; reshape a body that is."
            )
        match what:
            case "remove" | "vanish":
                return {"remove": body}
            case "ghost":
                return {"ghost": body}
            case "recolor":
                return {"paint": {"body": body, "color": self._color(body)}}
            case "reshape":
                return {"reshape": {"body": body, "shape": self._form(body)}}
            case "impulse":
                x, y = self._direction()
                speed = float(self._rng.uniform(*KICK_M_S))
                return {"kick": {"body": body, "speed_m_s": [speed * x, speed * y, 0.0]}}
            case _:
                return {"place": {"body": body, "at": self._elsewhere(body)}}

    def _direction(self) -> tuple[float, float]:
        around = float(self._rng.uniform(-math.pi, math.pi))
        return math.cos(around), math.sin(around)

    def _elsewhere(self, body: str) -> list[float]:
        """Return a visible place where the body is at another time, so there is room for it.

        For a body that does not move, return a place beside it.
        """
        here, path = self.bodies[body][:3], self._paths[body]
        there = path[path[:, 3:7].any(axis=1), :3].tolist()
        nearest, farthest = TELEPORT_M
        places = [p for p in there if nearest < math.dist(p, here) < farthest and self._seen(p)]
        if places:
            return places[int(self._rng.integers(len(places)))]
        away, (x, y) = float(self._rng.uniform(*TELEPORT_M)), self._direction()
        return [here[0] + away * x, here[1] + away * y, here[2]]

    def _seen(self, xyz: Sequence[float]) -> bool:
        """Return whether a place is in the first camera's picture; true if that camera moves."""
        camera = self._camera
        if camera.body:
            return True
        x, y, z, _ = (extrinsics(camera) @ (*xyz, 1.0)).tolist()
        edge = z * math.tan(math.radians(camera.fov_deg) / 2)
        return camera.near_m < z < camera.far_m and abs(x) < edge and abs(y) < edge

    def _color(self, body: str) -> str:
        """Return a colour that is far from the body's."""
        known = self._known.get(body)
        shapes = known.shapes if isinstance(known, sc.Body) else ()
        now = shapes[0].color[:3] if shapes else (0.5, 0.5, 0.5)
        unlike = [name for name, color in COLORS.items() if math.dist(color, now) > UNLIKE]
        return str(self._rng.choice(unlike))

    def _form(self, body: str) -> str:
        """Return a shape other than the body's."""
        known = self._known.get(body)
        shapes = known.shapes if isinstance(known, sc.Body) else ()
        return str(self._rng.choice([f for f in FORMS if f not in [s.kind for s in shapes]]))

    def _body(self, name: str) -> str:
        """Return the name of a body; without a name that of the fastest."""
        if name:
            if name not in self.bodies:
                raise UnknownNameError("body that is there", name, self.bodies)
            return name
        if not self.bodies:
            raise InvalidInputError(
                f"{self._env.name()} has no body that is free to move; change a factor instead."
            )
        return max(self.bodies, key=lambda one: math.hypot(*self.bodies[one][7:10]))

    def _factor(self, text: str) -> dict[str, Any]:
        name, equals, value = text.partition("=")
        if name not in self._env.factors:
            raise UnknownNameError("factor", name, self._env.factors)
        try:
            given: Any = value if isinstance(self._env.factors[name], Color) else float(value)
        except ValueError:
            given = None
        if not equals or given is None:
            raise InvalidInputError(f"factor:{text}: give factor:NAME=VALUE.")
        return {name: given}
