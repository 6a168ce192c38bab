"""Strike the cue ball when all balls rest, and watch where everything rolls."""

import math

import numpy as np

from sandbox import scene as sc
from sandbox.env import BODY_STATE, Actions, Aim, Element, SandboxEnv, each, of_each, policy
from sandbox.env.factors import Color, Factors, Integer, Uniform, Values, handling, looks
from sandbox.env.geometry import scattered

BALLS = 10
HALF_X_M, HALF_Y_M = 0.55, 0.40  # Of the cloth, between the cushions.
LARGEST_M = 0.045  # Radius; the layout leaves room for it whatever the radius is.
CUSHION_M, CUSHION_HEIGHT_M, FENCE_M = 0.05, 0.05, 0.4
STRIKE_M_S = 2.0  # What a full component of the action gives the cue ball.
REST_M_S = 0.015  # In x and in y.
COLORS: tuple[sc.Rgba, ...] = (
    *((0.96, 0.96, 0.93, 1.0), (0.86, 0.12, 0.12, 1.0), (0.98, 0.80, 0.12, 1.0)),
    *((0.13, 0.30, 0.75, 1.0), (0.50, 0.20, 0.60, 1.0), (0.95, 0.50, 0.10, 1.0)),
    *((0.10, 0.12, 0.14, 1.0), (0.55, 0.27, 0.12, 1.0), (0.35, 0.75, 0.95, 1.0)),
    (0.95, 0.55, 0.70, 1.0),
)
NAMES = tuple(f"ball_{n}" for n in range(BALLS))
Point = tuple[float, float]


class Billiards(SandboxEnv):
    """Strike the cue ball so that the object ball is hit.

    Observation (proprio), float32 (43,), world frame: 0:40 for each of ten balls, the cue ball
        first and the object ball second, x, y [m] and velocity x, y [m/s], all 0 where there is no
        such ball; 40 number of balls; 41 whether all rest, so that a strike counts; 42 seconds
        left [s].
    Action, float32 (2,) in [-1, 1]: impulse on the cue ball, x and y, in units of what gives it
        2 m/s; only when all balls rest at the beginning of the step, otherwise nothing happens.
    Reward: for success alone.
    Ends: truncated after 10 s; success is that the object ball was moved by more than 5 mm.
    """

    family = "intuitive physics"
    control_hz = 15
    physics_hz = 480  # A struck ball moves 4 mm a step, a twentieth of its diameter.
    limit_s = 10.0
    fixed_length = True
    action_size = 2
    state_bodies = NAMES
    state_measures = ("object_ball_moved",)
    events = ("all_rest", "object_ball_moved")
    aim = Aim().each(NAMES[:2], 0.06, 0.03, axes="xy")
    elements = (
        *of_each(
            NAMES,
            Element("x", "m", -HALF_X_M, HALF_X_M),
            Element("y", "m", -HALF_Y_M, HALF_Y_M),
            *each("vx vy", "m/s", -4.0, 4.0),
        ),
        Element("n_balls", "1", 3.0, 10.0),
        Element("all_rest", "1", 0.0, 1.0),
        Element("seconds_left", "s", 0.0, 10.0),
    )
    factors = Factors(
        n_balls=Integer(3, BALLS, 6, "1", "balls on the table, the cue ball included"),
        ball_mass_kg=Uniform(0.1, 0.4, 0.2, "kg", "mass of each ball"),
        ball_radius_m=Uniform(0.03, LARGEST_M, 0.038, "m", "radius of each ball"),
        restitution=Uniform(0.3, 0.7, 0.6, "1", "bounce of each ball and cushion, multiplied"),
        rolling_friction_m=Uniform(0.0005, 0.004, 0.0015, "m", "resistance to rolling"),
        cloth_friction=Uniform(0.1, 0.8, 0.4, "1", "Coulomb coefficient of the cloth"),
        object_color=Color("crimson", "colour of the object ball"),
        cloth_color=Color("#2f7d4f", "colour of the cloth"),
        **looks(50.0, (55.0, 90.0, 74.0)),
        **handling(delay_steps=3),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> sc.Scene:
        """Lay ten balls apart, and put the first `n_balls` of them there."""
        half = (HALF_X_M - 1.2 * LARGEST_M, HALF_Y_M - 1.2 * LARGEST_M)
        places, radius = scattered(rng, half, 2.3 * LARGEST_M, BALLS), f.ball_radius_m
        colors = (COLORS[0], f.rgba("object_color"), *COLORS[2:])
        surface = sc.Material(0.5, f.rolling_friction_m, f.rolling_friction_m, f.restitution)
        balls: list[sc.Body] = []
        for name, place, color in list(zip(NAMES, places, colors, strict=True))[: f.n_balls]:
            shape, at = sc.Shape("sphere", (radius,), color), sc.turned(*place, radius)
            balls.append(sc.Body(name, (shape,), f.ball_mass_kg, at, surface, (), 0.05, 0.05))
        return sc.Scene(
            bodies=(*_table(f), *balls),
            cameras=(
                sc.orbit("main", (0.0, 0.0, 0.0), 1.75, f.camera_pitch_deg, fov_deg=44),
                sc.orbit("top", (0.0, 0.0, 0.0), 1.75, 90, fov_deg=44),
                sc.Camera("cue", (0.0, -0.5, 0.35), (0.0, 0.1, 0.0), body="ball_0"),
            ),
            light=self.light(f, 58),
            engine=self.engine(f),
        )

    def started(self) -> None:
        """Note that no ball was hit."""
        self.count: int = self.values.n_balls
        self.home: Point | None = None
        self.hit = False

    def act(self, action: list[float]) -> None:
        if self.rest and (action[0] or action[1]):
            momentum = STRIKE_M_S * self.values.ball_mass_kg
            force = [momentum * part * self.physics_hz for part in action]  # For one physics step.
            self.world.push(NAMES[0], (*force, 0.0), self.body(NAMES[0])[:3])

    def arrived(self) -> None:
        """Derive where the balls are, whether they rest, and whether the object ball was moved."""
        row, balls = self.row, [0.0] * (4 * BALLS)
        balls[0::4], balls[1::4] = row[0::BODY_STATE], row[1::BODY_STATE]
        balls[2::4], balls[3::4] = vx, vy = row[7::BODY_STATE], row[8::BODY_STATE]
        self.balls = balls
        self.rest = max(*vx, *vy) < REST_M_S and min(*vx, *vy) > -REST_M_S
        x, y = balls[4], balls[5]
        if self.home is None:
            self.home = (x, y)
        moved = (x - self.home[0]) ** 2 + (y - self.home[1]) ** 2 > 0.005**2
        there = any(row[BODY_STATE + 3 : BODY_STATE + 7])  # No quaternion: it was taken away.
        self.hit = self.hit or (moved and there)

    def proprio(self) -> tuple[float, ...]:
        return (*self.balls, self.count, self.rest, self.seconds_left())

    def measured(self) -> tuple[float, ...]:
        return (self.hit,)

    def success(self) -> bool:
        return self.hit

    def happening(self) -> tuple[bool, ...]:
        """Return whether all balls rest, and whether the object ball was moved."""
        return (self.rest, self.hit)

    @policy
    def play(self, rng: np.random.Generator) -> Actions:
        """Strike at any of the balls, hard."""
        while True:
            action, balls = np.zeros(2, np.float32), self.balls
            if self.rest:
                n = 4 * int(rng.integers(1, self.count))
                x, y = balls[n] - balls[0], balls[n + 1] - balls[1]
                power = rng.uniform(0.6, 1.0) / max(math.hypot(x, y), 1e-9)
                action = np.array((x * power, y * power), np.float32).clip(-1.0, 1.0)
            yield action

    @policy
    def scripted(self, rng: np.random.Generator) -> Actions:
        """Aim at the object ball, over a cushion if others are in the way."""
        while True:
            action = np.zeros(2, np.float32)
            if self.rest:
                (x, y), (cue_x, cue_y) = self._aim(), self.balls[:2]
                away = math.hypot(x - cue_x, y - cue_y)
                aim = ((x - cue_x) / away, (y - cue_y) / away)
                action = np.array(aim, np.float32).clip(-1.0, 1.0)
            yield action

    def _aim(self) -> Point:
        """Return the object ball, or the nearest of its mirror images with a clear way to it."""
        cue_x, cue_y, _, _, x, y, *_ = self.balls
        wide, high = (half - self.values.ball_radius_m for half in (HALF_X_M, HALF_Y_M))
        across = [(2 * wide - x, y), (-2 * wide - x, y)]
        images = [(x, y), *across, (x, 2 * high - y), (x, -2 * high - y)]
        cue = (cue_x, cue_y)
        ways = [(self._clear(cue, image, wide, high), -math.dist(cue, image)) for image in images]
        return images[max(range(len(images)), key=ways.__getitem__)]

    def _clear(self, cue: Point, aim: Point, wide: float, high: float) -> bool:
        """Return whether the way to `aim`, folded at the cushions, touches no other ball."""
        others = [self.balls[n : n + 2] for n in range(8, 4 * self.count, 4)]
        apart = 2.1 * self.values.ball_radius_m
        for part in range(100):
            x = _fold(cue[0] + (aim[0] - cue[0]) * part / 100, wide)
            y = _fold(cue[1] + (aim[1] - cue[1]) * part / 100, high)
            if any(math.hypot(x - bx, y - by) < apart for bx, by in others):
                return False
        return True


def _fold(value: float, half: float) -> float:
    """Return a coordinate as a cushion at +-`half` reflects it."""
    return (-2 * half if value < -half else 2 * half) - value if abs(value) > half else value


def _table(f: Values) -> tuple[sc.Body, sc.Body]:
    """Return the cloth, and cushions with a fence above them that only balls feel."""
    wood, half, out = (0.42, 0.26, 0.15, 1.0), CUSHION_M / 2, CUSHION_M
    at, long, first = (HALF_X_M + half, HALF_Y_M + half), (HALF_Y_M + out, HALF_X_M), (1, -1)
    low, tall = CUSHION_HEIGHT_M / 2, FENCE_M / 2
    cushions = sc.rim(at, half, long, low, wood, signs=first, collides=False)
    fence = sc.rim(at, half, long, tall, wood, signs=first, visible=False)
    size, cloth = (HALF_X_M + out, HALF_Y_M + out, 0.03), sc.Material(f.cloth_friction)
    springy = sc.Material(0.2, restitution=f.restitution)
    return (
        sc.slab("table", size, f.rgba("cloth_color"), cloth),
        sc.Body("cushions", (*cushions, *fence), material=springy),
    )
