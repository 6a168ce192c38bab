"""Tap the first domino of a row that may have a gap, and watch how far they fall."""

import math
from typing import NamedTuple

import numpy as np

from sandbox import scene as sc
from sandbox.env import BODY_STATE, Actions, Element, SandboxEnv, Vector, each, of_each, policy
from sandbox.env.factors import Color, Factors, Integer, Uniform, Values, handling, looks
from sandbox.env.geometry import clip

MOST = 20
SPACING_M = (0.085, 0.11)  # From domino to domino.
GAP_M = (0.15, 0.33)  # Instead, where there is a gap; one a little short of a height is crossed.
GAP_CHANCE = 0.65  # That there is one before the eleventh domino.
BEND_RAD = 0.16  # Greatest turn from domino to domino.
WIDTH_M = 0.1
DAMPING = 0.02  # Of each domino.
ITERATIONS = 30  # Of the solver.
TAP_M_S = 0.6  # What a full component of the action would give a domino that slides.
STANDS_COS, FALLEN_COS = 0.97, 0.5  # Of the lean: 14 and 60 degrees.
REST_M_S, REST_RAD_S, REST_ROWS = 0.01, 0.05, 3
ABOUT_M = 3.0  # What is farther off is observed as that far.
NAMES = tuple(f"domino_{n}" for n in range(MOST))


class Place(NamedTuple):
    """The place of a domino, and the direction of the row there."""

    x: float
    y: float
    yaw: float


class Dominoes(SandboxEnv):
    """Topple the row to its last domino.

    Observation (proprio), float32 (103,), world frame: 0:100 for each of twenty dominoes, the first
        of the row first, x, y, z [m] of its middle and x, y of the direction its top points in, all
        0 where there is no such domino; 100 number of dominoes; 101 whether all rest, so that a
        tap counts; 102 seconds left [s].
    Action, float32 (2,) in [-1, 1]: tap near the top of the first domino that stands, an impulse x
        and y in units of 0.6 m/s times its mass; only when all rest, otherwise nothing happens.
    Reward: progress is the share of the dominoes that have fallen.
    Ends: truncated after 5 s; success is that the last domino has fallen.
    """

    family = "intuitive physics"
    control_hz = 30
    limit_s = 5.0
    fixed_length = True
    action_size = 2
    state_bodies = NAMES
    state_measures = ("fallen", "last_fallen", "still_steps")
    events = ("all_rest", "first_fallen", "last_fallen", "stopped")
    aim = "one push decides, and then nobody steers"
    elements = (
        *of_each(
            NAMES,
            *each("x y", "m", -ABOUT_M, ABOUT_M),
            Element("z", "m", -0.1, 1.0),
            *each("top_x top_y", "1", -1.01, 1.01),
        ),
        Element("n_dominoes", "1", 6.0, 20.0),
        Element("all_rest", "1", 0.0, 1.0),
        Element("seconds_left", "s", 0.0, 5.0),
    )
    factors = Factors(
        n_dominoes=Integer(6, MOST, 12, "1", "dominoes in the row"),
        domino_mass_kg=Uniform(0.1, 0.6, 0.3, "kg", "mass of each domino"),
        domino_height_m=Uniform(0.17, 0.22, 0.2, "m", "height of each domino"),
        domino_thickness_m=Uniform(0.025, 0.045, 0.035, "m", "thickness of each domino"),
        domino_friction=Uniform(0.3, 0.8, 0.5, "1", "Coulomb coefficient of the dominoes"),
        floor_friction=Uniform(0.6, 1.2, 1.0, "1", "of the floor, multiplied by the dominoes'"),
        restitution=Uniform(0.0, 0.4, 0.1, "1", "bounce of each domino, multiplied in a contact"),
        gravity_m_s2=Uniform(6.0, 12.0, 9.81, "m/s^2", "gravity"),
        domino_color=Color("goldenrod", "colour of all dominoes but the last"),
        last_color=Color("crimson", "colour of the last domino"),
        floor_color=Color("#5f7f8f", "colour of the floor"),
        **looks(140.0, (30.0, 70.0, 46.0)),
        **handling(delay_steps=3),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> sc.Scene:
        """Stand twenty dominoes in a bent row, maybe with a gap, the first `n_dominoes` there."""
        places = _layout(rng)[: f.n_dominoes]
        size = (f.domino_thickness_m / 2, WIDTH_M / 2, f.domino_height_m / 2)
        colors = [f.rgba("domino_color")] * (len(places) - 1) + [f.rgba("last_color")]
        surface = sc.Material(f.domino_friction, restitution=f.restitution)
        mass, dominoes = f.domino_mass_kg, list[sc.Body]()
        for name, (x, y, yaw), color in zip(NAMES, places, colors, strict=False):
            shape, place = sc.Shape("box", size, color), sc.turned(x, y, size[2], yaw)
            dominoes.append(sc.Body(name, (shape,), mass, place, surface, (), DAMPING, DAMPING))
        floor = (4.0, 4.0, 0.1), f.rgba("floor_color"), sc.Material(f.floor_friction)
        middle, away = _seen(places)
        return sc.Scene(
            bodies=(sc.slab("floor", *floor), *dominoes),
            cameras=(
                sc.orbit("main", middle, away, f.camera_pitch_deg, fov_deg=40),
                sc.orbit("top", middle, 1.1 * away, 90, fov_deg=40),
                sc.orbit("start", (places[0].x, places[0].y, 0.1), 0.9, 25, yaw_deg=-140),
            ),
            light=self.light(f, 55),
            engine=self.engine(
                f, solver_iterations=ITERATIONS, contact_breaking_threshold_m=0.005, rigid=True
            ),
        )

    def started(self) -> None:
        """Note that no domino has fallen, and that all have stood still for long."""
        self.count: int = self.values.n_dominoes
        self.fallen, self.still = [False] * self.count, REST_ROWS
        self.stopped = False

    def act(self, action: list[float]) -> None:
        if not self.rest or not (action[0] or action[1]) or self.next < 0:
            return
        momentum = TAP_M_S * self.values.domino_mass_kg
        force = [momentum * part * self.physics_hz for part in action]  # For one physics step.
        x, y, z = self.body(NAMES[self.next])[:3]
        high = 0.35 * self.values.domino_height_m
        self.world.push(NAMES[self.next], (*force, 0.0), (x, y, z + high))

    def arrived(self) -> None:
        """Derive which way each domino points, which have fallen, and whether all rest."""
        row, told, fallen = self.row, list[float](), self.fallen
        self.next, fastest, spinning = -1, 0.0, 0.0
        for n in range(self.count):
            x, y, z, i, j, k, w, *speeds = row[n * BODY_STATE : (n + 1) * BODY_STATE]
            told += (clip(x, -ABOUT_M, ABOUT_M), clip(y, -ABOUT_M, ABOUT_M), min(z, 1.0))
            told += (2 * (i * k + w * j), 2 * (j * k - w * i))
            up = 1.0 - 2.0 * (i * i + j * j)
            fallen[n] = fallen[n] or up < FALLEN_COS
            if self.next < 0 and up > STANDS_COS and z > 0.0 and not fallen[n]:
                self.next = n
            fastest = max(fastest, *speeds[:3], -min(speeds[:3]))
            spinning = max(spinning, *speeds[3:], -min(speeds[3:]))
        self.told = told + [0.0] * (5 * (MOST - self.count))
        still = fastest < REST_M_S and spinning < REST_RAD_S
        self.still = self.still + 1 if still else 0
        self.rest = self.still >= REST_ROWS
        self.stopped = self.stopped or (self.rest and fallen[0] and not fallen[-1])

    def proprio(self) -> tuple[float, ...]:
        return (*self.told, self.count, self.rest, self.seconds_left())

    def measured(self) -> tuple[float, ...]:
        return (sum(self.fallen), self.fallen[-1], self.still)

    def progress(self) -> float:
        return sum(self.fallen) / self.count

    def success(self) -> bool:
        return self.fallen[-1]

    def happening(self) -> tuple[bool, ...]:
        """Return whether all rest, the first fell, the last fell, and the row once stopped."""
        return (self.rest, self.fallen[0], self.fallen[-1], self.stopped)

    @policy
    def play(self, rng: np.random.Generator) -> Actions:
        """Tap the first domino once, forwards, with a random power and direction."""
        power, aside = rng.uniform(0.5, 1.0), rng.uniform(-0.4, 0.4)
        while True:
            yield np.zeros(2, np.float32) if self.fallen[0] else self._tap(power, aside)

    @policy
    def scripted(self, rng: np.random.Generator) -> Actions:
        """Tap the first domino that stands, again where the row stopped."""
        while True:
            yield self._tap(1.0, 0.0)

    def _tap(self, power: float, aside_rad: float) -> Vector:
        """Return a tap along the row at the first domino that stands, if all rest."""
        if not self.rest or self.next < 0:
            return np.zeros(2, np.float32)
        ahead = min(self.next + 1, self.count - 1)
        here, there = (self.body(NAMES[n])[:2] for n in (ahead - 1, ahead))
        way = math.atan2(there[1] - here[1], there[0] - here[0]) + aside_rad
        return np.array((power * math.cos(way), power * math.sin(way)), np.float32)


def _layout(rng: np.random.Generator) -> list[Place]:
    """Draw a row of twenty that begins at -x, bends gently, and may have a gap."""
    spacing, bend = rng.uniform(*SPACING_M), rng.uniform(-BEND_RAD, BEND_RAD)
    place, wide = int(rng.integers(1, 10)), rng.uniform(*GAP_M)
    gap = rng.uniform() < GAP_CHANCE
    x, y, yaw = -0.55, rng.uniform(-0.1, 0.1), -bend * 5.0 + rng.uniform(-0.2, 0.2)
    places: list[Place] = []
    for n in range(MOST):
        places.append(Place(x, y, yaw))
        step = wide if gap and n == place else spacing
        x, y = x + step * math.cos(yaw + bend / 2), y + step * math.sin(yaw + bend / 2)
        yaw += bend
    return places


def _seen(places: list[Place]) -> tuple[sc.Vec3, float]:
    """Return the place that a camera looks at, and from how far, to see the whole row."""
    xs, ys = [p.x for p in places], [p.y for p in places]
    wide = max(max(xs) - min(xs), 1.2 * (max(ys) - min(ys)))
    return ((max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2, 0.08), 0.66 + 1.4 * wide
