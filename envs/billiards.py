"""Strike the cue ball when all balls rest, and watch where everything rolls."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from sandbox.env import BODY_STATE, Element, Policy, SandboxEnv, Vector
from sandbox.scenario.factors import Color, Factors, Integer, Uniform, Values
from sandbox.scene import (
    Body,
    Camera,
    Engine,
    Material,
    Pose,
    Rgba,
    Scene,
    Shape,
    orbit,
    sun,
    turned,
)

BALLS = 10
HALF_X_M, HALF_Y_M = 0.55, 0.40  # Of the cloth, between the cushions.
LARGEST_M = 0.045  # Radius; the layout leaves room for it whatever the radius is.
CUSHION_M, CUSHION_HEIGHT_M, FENCE_M = 0.05, 0.05, 0.4
STRIKE_M_S = 2.0  # What a full component of the action gives the cue ball.
REST_M_S = 0.015  # In x and in y.
COLORS: tuple[Rgba, ...] = (
    (0.96, 0.96, 0.93, 1.0),
    (0.86, 0.12, 0.12, 1.0),
    (0.98, 0.80, 0.12, 1.0),
    (0.13, 0.30, 0.75, 1.0),
    (0.50, 0.20, 0.60, 1.0),
    (0.95, 0.50, 0.10, 1.0),
    (0.10, 0.12, 0.14, 1.0),
    (0.55, 0.27, 0.12, 1.0),
    (0.35, 0.75, 0.95, 1.0),
    (0.95, 0.55, 0.70, 1.0),
)
NAMES = tuple(f"ball_{n}" for n in range(BALLS))


class Billiards(SandboxEnv):
    """Strike the cue ball so that the object ball is hit.

    Observation (proprio), float32 (43,), world frame: 0:40 for each of ten balls, the cue ball
        first and the object ball second, x, y [m] and velocity x, y [m/s], all 0 where there is no
        such ball; 40 number of balls; 41 whether all rest, so that a strike counts; 42 seconds
        left [s].
    Action, float32 (2,) in [-1, 1]: impulse on the cue ball, x and y, in units of what gives it
        2 m/s; only when all balls rest at the beginning of the step, otherwise nothing happens.
    Reward: 1 in the step in which the object ball is first moved by more than 5 mm, otherwise 0.
    Ends: truncated after 10 s; success is that the object ball was moved.
    Factors: n_balls, ball_mass_kg, ball_radius_m, restitution, rolling_friction_m, cloth_friction,
        object_color, cloth_color, light_azimuth_deg, light_color, light_ambient,
        camera_pitch_deg, action_delay_steps.
    Events: all_rest, object_ball_moved.
    """

    family = "intuitive physics"
    control_hz = 15
    physics_hz = 480  # A struck ball moves 4 mm a step, a twentieth of its diameter.
    limit_s = 10.0
    fixed_length = True
    action_size = 2
    state_bodies = NAMES
    events = ("all_rest", "object_ball_moved")
    elements = (
        *(
            Element(f"{ball}_{part}", unit, -bound, bound)
            for ball in NAMES
            for part, unit, bound in (
                ("x", "m", HALF_X_M),
                ("y", "m", HALF_Y_M),
                ("vx", "m/s", 4.0),
                ("vy", "m/s", 4.0),
            )
        ),
        Element("n_balls", "1", 3.0, 10.0),
        Element("all_rest", "1", 0.0, 1.0),
        Element("seconds_left", "s", 0.0, 10.0),
    )
    factors = Factors(
        n_balls=Integer(3, BALLS, 6, "1", "balls on the table, the cue ball included"),
        ball_mass_kg=Uniform(0.1, 0.4, 0.2, "kg", "mass of each ball"),
        ball_radius_m=Uniform(0.03, LARGEST_M, 0.038, "m", "radius of each ball"),
        restitution=Uniform(0.3, 0.7, 0.6, "1", "bounce of balls and cushions, multiplied"),
        rolling_friction_m=Uniform(0.0005, 0.004, 0.0015, "m", "resistance to rolling"),
        cloth_friction=Uniform(0.1, 0.8, 0.4, "1", "Coulomb coefficient of the cloth"),
        object_color=Color("crimson", "colour of the object ball"),
        cloth_color=Color("#2f7d4f", "colour of the cloth"),
        light_azimuth_deg=Uniform(-180.0, 180.0, 50.0, "deg", "where the light comes from"),
        light_color=Color("white", "colour of the light"),
        light_ambient=Uniform(0.3, 0.8, 0.55, "1", "light where none falls directly"),
        camera_pitch_deg=Uniform(55.0, 90.0, 74.0, "deg", "camera above the horizon"),
        action_delay_steps=Integer(0, 3, 0, "1", "steps by which actions come late"),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> Scene:
        """Lay ten balls apart, and put the first `n_balls` of them there."""
        places = _layout(rng)
        colors = (COLORS[0], f.rgba("object_color"), *COLORS[2:])
        balls = tuple(
            _ball(name, place, color, f)
            for name, place, color in zip(NAMES, places, colors, strict=True)
        )
        return Scene(
            bodies=(*_table(f), *balls[: f.n_balls]),
            cameras=(
                orbit("main", (0.0, 0.0, 0.0), 1.75, f.camera_pitch_deg, fov_deg=44),
                orbit("top", (0.0, 0.0, 0.0), 1.75, 90, fov_deg=44),
                Camera("cue", (0.0, -0.5, 0.35), (0.0, 0.1, 0.0), body="ball_0"),
            ),
            light=sun(f.light_azimuth_deg, 58, f.rgba("light_color")[:3], f.light_ambient),
            engine=Engine(self.physics_hz),
        )

    def started(self) -> None:
        """Remember that nothing was hit yet."""
        self.count: int = self.values.n_balls
        self.home: tuple[float, float] | None = None
        self.hit = self.just_hit = False

    def act(self, action: list[float]) -> None:
        """Strike the cue ball, if all balls rest."""
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
        self.just_hit = moved and not self.hit
        self.hit = self.hit or moved

    def proprio(self) -> Sequence[float]:
        """Return the balls, how many, whether they rest, and the time left."""
        return (*self.balls, self.count, self.rest, self.seconds_left())

    def reward(self) -> float:
        """Return 1 when the object ball is first moved."""
        return float(self.just_hit)

    def success(self) -> bool:
        """Whether the object ball was moved."""
        return self.hit

    def happening(self) -> Sequence[bool]:
        """Whether all balls rest, and whether the object ball was moved."""
        return (self.rest, self.hit)

    def play(self, rng: np.random.Generator) -> Policy:
        """Return a policy that strikes at any of the balls, hard."""

        def act() -> Vector:
            if not self.rest:
                return np.zeros(2, np.float32)
            n = int(rng.integers(1, self.count))
            x, y = self.balls[4 * n] - self.balls[0], self.balls[4 * n + 1] - self.balls[1]
            power = rng.uniform(0.6, 1.0) / max(math.hypot(x, y), 1e-9)
            return np.array((x * power, y * power), np.float32).clip(-1.0, 1.0)

        return act

    def scripted(self, rng: np.random.Generator) -> Policy:
        """Return a policy that aims at the object ball, over a cushion if others are in the way."""

        def act() -> Vector:
            if not self.rest:
                return np.zeros(2, np.float32)
            x, y = self._aim()
            away = math.hypot(x - self.balls[0], y - self.balls[1])
            aim = ((x - self.balls[0]) / away, (y - self.balls[1]) / away)
            return np.array(aim, np.float32).clip(-1.0, 1.0)

        return act

    def _aim(self) -> tuple[float, float]:
        """Return the object ball, or the nearest of its mirror images with a clear way to it."""
        x, y = self.balls[4:6]
        wide, high = (half - self.values.ball_radius_m for half in (HALF_X_M, HALF_Y_M))
        images = [
            (x, y),
            (2 * wide - x, y),
            (-2 * wide - x, y),
            (x, 2 * high - y),
            (x, -2 * high - y),
        ]
        cue = (self.balls[0], self.balls[1])
        ways = [(self._clear(cue, image, wide, high), -math.dist(cue, image)) for image in images]
        return images[max(range(len(images)), key=ways.__getitem__)]

    def _clear(
        self, cue: tuple[float, float], aim: tuple[float, float], wide: float, high: float
    ) -> bool:
        """Whether the cue ball comes to `aim`, folded at the cushions, without touching others."""
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
    if value > half:
        return 2 * half - value
    return -2 * half - value if value < -half else value


def _layout(rng: np.random.Generator) -> list[tuple[float, float]]:
    """Draw ten places apart from each other and from the cushions."""
    return list(_places(rng))


def _places(rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    room = np.array([HALF_X_M - 1.2 * LARGEST_M, HALF_Y_M - 1.2 * LARGEST_M])
    taken: list[tuple[float, float]] = []
    while len(taken) < BALLS:
        x, y = rng.uniform(-room, room).tolist()
        if all(math.dist((x, y), other) > 2.3 * LARGEST_M for other in taken):
            taken.append((x, y))
            yield x, y


def _ball(name: str, place: tuple[float, float], color: Rgba, f: Values) -> Body:
    return Body(
        name,
        (Shape("sphere", (f.ball_radius_m,), color),),
        f.ball_mass_kg,
        turned(*place, f.ball_radius_m),
        Material(0.5, f.rolling_friction_m, f.rolling_friction_m, f.restitution),
        linear_damping=0.05,
        angular_damping=0.05,
    )


def _table(f: Values) -> tuple[Body, Body]:
    """The cloth, and cushions with a fence above them that only balls see."""
    cloth, wood = f.rgba("cloth_color"), (0.42, 0.26, 0.15, 1.0)
    half, out = CUSHION_M / 2, CUSHION_M
    top = Shape("box", (HALF_X_M + out, HALF_Y_M + out, 0.03), cloth, Pose((0.0, 0.0, -0.03)))
    sides = (
        (HALF_X_M + half, 0.0, half, HALF_Y_M + out),
        (-HALF_X_M - half, 0.0, half, HALF_Y_M + out),
        (0.0, HALF_Y_M + half, HALF_X_M, half),
        (0.0, -HALF_Y_M - half, HALF_X_M, half),
    )
    low, tall = CUSHION_HEIGHT_M / 2, FENCE_M / 2
    cushions = [
        Shape("box", (w, h, low), wood, Pose((x, y, low)), collides=False) for x, y, w, h in sides
    ]
    fence = [
        Shape("box", (w, h, tall), wood, Pose((x, y, tall)), visible=False) for x, y, w, h in sides
    ]
    return (
        Body("table", (top,), material=Material(f.cloth_friction, 0.0, 0.0, 0.0)),
        Body("cushions", (*cushions, *fence), material=Material(0.2, restitution=f.restitution)),
    )
