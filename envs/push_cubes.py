"""Push cubes onto marks of their colours with a round finger."""

import math

import numpy as np

from sandbox import scene as sc
from sandbox.env import (
    BODY_STATE,
    Actions,
    Aim,
    Finger,
    PushPlanner,
    SandboxEnv,
    each,
    of_each,
    policy,
)
from sandbox.env.factors import Color, Factors, Integer, Uniform, Values, handling, looks
from sandbox.env.geometry import Two, clip, scattered, yaw

CUBES = 8
FINGER_FORCE_N = 15.0
REACH_M = 0.41
TABLE_HALF_M, RAIL_M = 0.47, 0.02
FENCE_M = 0.3  # Of the rails, as cubes feel them.
FIELD_M = 0.3  # Cubes and marks lie no farther out at the start, and
APART_M = 0.115  # so far apart, whatever their size is.
STROKE_M = 0.021  # Of the marks' lines.
NEAR_M = 0.03  # Cube and mark, for success.
SEEN_M = 0.5  # Greatest coordinate that is observed.
FAR_M = 0.6  # Of no worth any more.
COLORS: tuple[sc.Rgba, ...] = (
    (0.86, 0.16, 0.16, 1.0),
    (0.13, 0.35, 0.80, 1.0),
    (0.16, 0.60, 0.25, 1.0),
    (0.97, 0.78, 0.10, 1.0),
    (0.52, 0.22, 0.64, 1.0),
    (0.20, 0.78, 0.86, 1.0),
    (0.95, 0.50, 0.72, 1.0),
    (0.42, 0.26, 0.14, 1.0),
)
NAMES = tuple(f"cube_{n}" for n in range(CUBES))


class PushCubes(SandboxEnv):
    """Push every cube onto the mark of its colour.

    Observation (proprio), float32 (52,), world frame: 0:2 finger x, y [m]; 2:50 for each of eight
        cubes its x, y [m], cos, sin of its yaw, and its mark's x, y [m], all 0 where there is no
        such cube; 50 number of cubes; 51 seconds left [s].
    Goal, float64 (16,): the marks of the eight cubes, 0 where there is no such cube.
    Action, float32 (2,) in [-1, 1]: finger velocity x, y in units of 0.5 m/s.
    Reward: progress is the mean over the cubes of 1 - distance to the mark / 0.6 m, 0 to 1.
    Ends: terminated when every cube is within 3 cm of its mark, however it is turned, which is
        success; truncated after 60 s.
    """

    family = "manipulation"
    control_hz = 10
    limit_s = 60.0
    action_size = 2
    state_bodies = NAMES
    state_joints = Finger.joints
    goal_names = tuple(f"{name}_{axis} [m]" for name in NAMES for axis in "xy")
    events = ("finger_on_cube", "cube_on_cube", "one_at_mark")
    aim = Aim().each(NAMES, 0.03, 0.015)
    elements = (
        *each("finger_x finger_y", "m", -0.45, 0.45),
        *of_each(
            NAMES,
            *each("x y", "m", -SEEN_M, SEEN_M),
            *each("cos_yaw sin_yaw", "1", -1.0, 1.0),
            *each("mark_x mark_y", "m", -FIELD_M, FIELD_M),
        ),
        *each("n_cubes", "1", 0.0, 8.0),
        *each("seconds_left", "s", 0.0, 60.0),
    )
    factors = Factors(
        n_cubes=Integer(1, CUBES, 3, "1", "cubes on the table, each with a mark"),
        cube_size_m=Uniform(0.05, 0.07, 0.06, "m", "edge of each cube"),
        cube_mass_kg=Uniform(0.05, 0.4, 0.15, "kg", "mass of each cube"),
        cube_friction=Uniform(0.2, 1.0, 0.5, "1", "Coulomb coefficient of cubes and table"),
        finger_friction=Uniform(0.0, 0.8, 0.3, "1", "of the finger, multiplied by the cubes'"),
        gravity_m_s2=Uniform(5.0, 12.0, 9.81, "m/s^2", "gravity"),
        **handling(noise=0.2),
        first_color=Color("#db2929", "colour of the first cube and its mark"),
        finger_color=Color("#30343c", "colour of the finger"),
        table_color=Color("#e8dcc4", "colour of the table"),
        **looks(35.0, (55.0, 90.0, 74.0)),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> sc.Scene:
        """Lay eight cubes and their marks apart, and put the first `n_cubes` of them there."""
        places = scattered(rng, (FIELD_M, FIELD_M), APART_M, 2 * CUBES + 1)  # And the finger's.
        turns = rng.uniform(-math.pi, math.pi, CUBES).tolist()
        colors = (f.rgba("first_color"), *COLORS[1:])
        half, mass, surface = f.cube_size_m / 2, f.cube_mass_kg, sc.Material(f.cube_friction)
        marks, cubes = list[sc.Body](), list[sc.Body]()
        for n in range(f.n_cubes):
            marks.append(_mark(f"mark_{n}", places[2 * n + 1], f.cube_size_m, colors[n]))
            shape = sc.Shape("box", (half, half, half), colors[n])
            place = sc.turned(*places[2 * n], half, turns[n])
            cubes.append(sc.Body(NAMES[n], (shape,), mass, place, surface))
        color, friction = f.rgba("finger_color"), f.finger_friction
        finger = Finger.body(places[-1], REACH_M, FINGER_FORCE_N, 0.07, color, friction)
        wood = f.rgba("table_color")
        table = sc.railed_table(TABLE_HALF_M, RAIL_M, 0.04, wood, fence_m=FENCE_M)
        return sc.Scene(
            bodies=(table, *marks, *cubes, finger),
            cameras=(
                sc.orbit("main", (0.0, 0.0, 0.0), 1.42, f.camera_pitch_deg, fov_deg=42),
                sc.orbit("top", (0.0, 0.0, 0.0), 1.42, 90, fov_deg=42),
                Finger.camera,
            ),
            light=self.light(f, 58),
            engine=self.engine(f),
        )

    def started(self) -> None:
        """Remember the marks."""
        poses = {body.name: body.pose for body in self.world.scene.bodies}
        self.count: int = self.values.n_cubes
        self.marks: list[Two] = [poses[f"mark_{n}"].xyz[:2] for n in range(self.count)]
        self.finger = Finger(self.world)
        self.half: float = self.values.cube_size_m / 2

    def act(self, action: list[float]) -> None:
        self.finger.move(action)

    def arrived(self) -> None:
        """Derive where the finger and the cubes are, and how far from their marks."""
        row = self.row
        self.finger.at = (row[-4], row[-2])
        self.cubes: dict[int, Two] = {}
        self.numbers = [0.0] * (6 * CUBES)
        for n in range(CUBES):
            at = BODY_STATE * n
            if not any(row[at + 3 : at + 7]):  # No quaternion: no cube.
                continue
            self.cubes[n] = x, y = row[at], row[at + 1]
            turn = yaw(row[at : at + BODY_STATE])
            mark = self.marks[n] if n < self.count else (0.0, 0.0)
            seen = [clip(c, -SEEN_M, SEEN_M) for c in (x, y)]  # One may fly off when kicked.
            self.numbers[6 * n : 6 * n + 6] = (*seen, math.cos(turn), math.sin(turn), *mark)
        self.away = {
            n: math.dist(place, self.marks[n]) for n, place in self.cubes.items() if n < self.count
        }

    def proprio(self) -> tuple[float, ...]:
        return (*self.finger.at, *self.numbers, self.count, self.seconds_left())

    def wanted(self) -> list[float]:
        there = [c for mark in self.marks[: self.count] for c in mark]
        return there + [0.0] * (2 * (CUBES - self.count))

    def progress(self) -> float:
        if not self.away:
            return 0.0
        return sum(max(0.0, 1.0 - d / FAR_M) for d in self.away.values()) / len(self.away)

    def success(self) -> bool:
        return bool(self.away) and max(self.away.values()) < NEAR_M

    def happening(self) -> tuple[bool, ...]:
        """Return whether the finger touches a cube, a cube another, and one is at its mark."""
        pairs = [(touch.a, touch.b) for touch in self.world.contacts()]
        on_cube = any("finger" in pair and "table" not in pair for pair in pairs)
        together = any(a in NAMES and b in NAMES for a, b in pairs)
        return (on_cube, together, any(d < NEAR_M for d in self.away.values()))

    @policy
    def play(self, rng: np.random.Generator) -> Actions:
        """Push past a cube, go elsewhere, and again."""

        def aim_for(back: bool) -> Two:
            (x, y), (dx, dy) = rng.uniform(-0.36, 0.36, 2), rng.uniform(-0.02, 0.02, 2)
            n, (fx, fy) = int(rng.integers(max(1, len(self.cubes)))), self.finger.at
            if back or not self.cubes:
                return float(x), float(y)
            x, y = list(self.cubes.values())[n]
            return x + 0.6 * (x - fx) + float(dx), y + 0.6 * (y - fy) + float(dy)

        return Finger.sweep(lambda: self.finger.at, rng, aim_for)

    @policy
    def scripted(self, rng: np.random.Generator) -> Actions:
        """Go behind a cube, push it to its mark, go on to the next."""
        planner = PushPlanner(
            lambda: self.finger.at,
            lambda: self.cubes,
            self.marks,
            half_m=self.half,
            field_m=FIELD_M,
            reach_m=REACH_M,
            hz=self.control_hz,
        )
        yield from planner.actions(rng)


def _mark(name: str, place: Two, size: float, color: sc.Rgba) -> sc.Body:
    """Return a square outline that only pictures see."""
    half, line = size / 2 + 0.5 * STROKE_M, STROKE_M / 2
    long = (half + line, half - line)
    sides = sc.rim((half, half), line, long, 0.0005, color, middle_m=0.0, collides=False)
    return sc.Body(name, tuple(sides), pose=sc.turned(*place, 0.0006))
