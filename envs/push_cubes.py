"""Push cubes onto marks of their colours with a round finger."""

import heapq
import math
from collections.abc import Sequence

import numpy as np

from sandbox.env import BODY_STATE, Element, Policy, SandboxEnv, Vector, yaw
from sandbox.scenario.factors import Color, Factors, Integer, Uniform, Values
from sandbox.scene import (
    Body,
    Camera,
    Engine,
    Joint,
    Link,
    Material,
    Motor,
    Pose,
    Rgba,
    Scene,
    Shape,
    orbit,
    sun,
    turned,
)

CUBES = 8
FINGER_RADIUS_M = 0.02
FINGER_SPEED_M_S = 0.5  # At full action.
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
COLORS: tuple[Rgba, ...] = (
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

Point = tuple[float, float]


class PushCubes(SandboxEnv):
    """Push every cube onto the mark of its colour.

    Observation (proprio), float32 (52,), world frame: 0:2 finger x, y [m]; 2:50 for each of eight
        cubes its x, y [m], cos, sin of its yaw, and its mark's x, y [m], all 0 where there is no
        such cube; 50 number of cubes; 51 seconds left [s].
    Action, float32 (2,) in [-1, 1]: finger velocity x, y in units of 0.5 m/s.
    Reward: mean over the cubes of 1 - distance to the mark / 0.6 m, 0 to 1, this step.
    Ends: terminated when every cube is within 3 cm of its mark, however it is turned, which is
        success; truncated after 60 s.
    Factors: n_cubes, cube_size_m, cube_mass_kg, cube_friction, finger_friction, gravity_m_s2,
        action_noise, first_color, finger_color, table_color, light_azimuth_deg, light_color,
        light_ambient, camera_pitch_deg.
    Events: finger_on_cube, cube_on_cube, one_at_mark.
    """

    family = "manipulation"
    control_hz = 10
    limit_s = 60.0
    action_size = 2
    state_bodies = NAMES
    state_joints = (("finger", "x"), ("finger", "y"))
    events = ("finger_on_cube", "cube_on_cube", "one_at_mark")
    elements = (
        Element("finger_x", "m", -0.45, 0.45),
        Element("finger_y", "m", -0.45, 0.45),
        *(
            Element(f"{cube}_{part}", unit, -bound, bound)
            for cube in NAMES
            for part, unit, bound in (
                ("x", "m", SEEN_M),
                ("y", "m", SEEN_M),
                ("cos_yaw", "1", 1.0),
                ("sin_yaw", "1", 1.0),
                ("mark_x", "m", FIELD_M),
                ("mark_y", "m", FIELD_M),
            )
        ),
        Element("n_cubes", "1", 0.0, 8.0),
        Element("seconds_left", "s", 0.0, 60.0),
    )
    factors = Factors(
        n_cubes=Integer(1, CUBES, 3, "1", "cubes on the table, each with a mark"),
        cube_size_m=Uniform(0.05, 0.07, 0.06, "m", "edge of each cube"),
        cube_mass_kg=Uniform(0.05, 0.4, 0.15, "kg", "mass of each cube"),
        cube_friction=Uniform(0.2, 1.0, 0.5, "1", "Coulomb coefficient of cubes and table"),
        finger_friction=Uniform(0.0, 0.8, 0.3, "1", "that of the finger, times the cubes'"),
        gravity_m_s2=Uniform(5.0, 12.0, 9.81, "m/s^2", "gravity"),
        action_noise=Uniform(0.0, 0.2, 0.0, "1", "deviation of the noise on actions"),
        first_color=Color("#db2929", "colour of the first cube and its mark"),
        finger_color=Color("#30343c", "colour of the finger"),
        table_color=Color("#e8dcc4", "colour of the table"),
        light_azimuth_deg=Uniform(-180.0, 180.0, 35.0, "deg", "where the light comes from"),
        light_color=Color("white", "colour of the light"),
        light_ambient=Uniform(0.3, 0.8, 0.55, "1", "light where none falls directly"),
        camera_pitch_deg=Uniform(55.0, 90.0, 74.0, "deg", "camera above the horizon"),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> Scene:
        """Lay eight cubes and their marks apart, and put the first `n_cubes` of them there."""
        places, turns = _places(rng), rng.uniform(-math.pi, math.pi, CUBES).tolist()
        colors = (f.rgba("first_color"), *COLORS[1:])
        count = int(f.n_cubes)
        marks = (_mark(n, places[2 * n + 1], f.cube_size_m, colors[n]) for n in range(count))
        cubes = (_cube(n, places[2 * n], turns[n], f, colors[n]) for n in range(count))
        return Scene(
            bodies=(_table(f.rgba("table_color")), *marks, *cubes, _finger(places[-1], f)),
            cameras=(
                orbit("main", (0.0, 0.0, 0.0), 1.42, f.camera_pitch_deg, fov_deg=42),
                orbit("top", (0.0, 0.0, 0.0), 1.42, 90, fov_deg=42),
                Camera("finger", (0.0, -0.3, 0.25), (0.0, 0.04, 0.0), body="finger", link="y"),
            ),
            light=sun(f.light_azimuth_deg, 58, f.rgba("light_color")[:3], f.light_ambient),
            engine=Engine(gravity=(0.0, 0.0, -f.gravity_m_s2)),
        )

    def started(self) -> None:
        """Remember the marks."""
        poses = {body.name: body.pose for body in self.world.scene.bodies}
        self.count: int = self.values.n_cubes
        self.marks: list[Point] = [poses[f"mark_{n}"].xyz[:2] for n in range(self.count)]

    def act(self, action: list[float]) -> None:
        """Drive the finger."""
        self.world.drive("finger", ("x", "y"), [FINGER_SPEED_M_S * a for a in action])

    def arrived(self) -> None:
        """Derive where the finger and the cubes are, and how far from their marks."""
        row = self.row
        self.finger: Point = (row[-4], row[-2])
        self.cubes: dict[int, Point] = {}
        self.numbers = [0.0] * (6 * CUBES)
        for n in range(CUBES):
            at = BODY_STATE * n
            if not any(row[at + 3 : at + 7]):  # No quaternion: no cube.
                continue
            self.cubes[n] = x, y = row[at], row[at + 1]
            turn = yaw(row[at : at + BODY_STATE])
            mark = self.marks[n] if n < self.count else (0.0, 0.0)
            seen = [max(-SEEN_M, min(SEEN_M, c)) for c in (x, y)]  # One may fly off when kicked.
            self.numbers[6 * n : 6 * n + 6] = (*seen, math.cos(turn), math.sin(turn), *mark)
        self.away = {
            n: math.dist(place, self.marks[n]) for n, place in self.cubes.items() if n < self.count
        }

    def proprio(self) -> Sequence[float]:
        """Return the finger, the cubes with their marks, how many, and the time left."""
        return (*self.finger, *self.numbers, self.count, self.seconds_left())

    def reward(self) -> float:
        """Return the mean closeness of cubes and marks, 0 to 1."""
        if not self.away:
            return 0.0
        return sum(max(0.0, 1.0 - d / FAR_M) for d in self.away.values()) / len(self.away)

    def success(self) -> bool:
        """Whether every cube is at its mark."""
        return bool(self.away) and max(self.away.values()) < NEAR_M

    def terminated(self) -> bool:
        """End on success."""
        return self.success()

    def happening(self) -> Sequence[bool]:
        """Whether the finger touches a cube, one cube another, and whether one is at its mark."""
        pairs = [(touch.a, touch.b) for touch in self.world.contacts()]
        on_cube = any("finger" in pair and "table" not in pair for pair in pairs)
        together = any(a in NAMES and b in NAMES for a, b in pairs)
        return (on_cube, together, any(d < NEAR_M for d in self.away.values()))

    def scripted(self, rng: np.random.Generator) -> Policy:
        """Return a policy that pushes one cube after the other, from behind, going round them."""
        return Pusher(self, rng)

    def play(self, rng: np.random.Generator) -> Policy:
        """Return a policy that pushes past a cube, goes elsewhere, and again."""
        aim, left, back = (0.0, 0.0), 0, True

        def act() -> Vector:
            nonlocal aim, left, back
            fx, fy = self.finger
            if left <= 0 or math.dist(aim, self.finger) < 0.02:
                back, left = not back, int(rng.integers(8, 16))
                (x, y), (dx, dy) = rng.uniform(-0.36, 0.36, 2), rng.uniform(-0.02, 0.02, 2)
                n = int(rng.integers(max(1, len(self.cubes))))
                aim = (float(x), float(y))
                if not back and self.cubes:  # Past one of the cubes.
                    x, y = list(self.cubes.values())[n]
                    aim = (x + 0.6 * (x - fx) + float(dx), y + 0.6 * (y - fy) + float(dy))
            left -= 1
            speed = 0.6 / max(math.dist(aim, self.finger), 0.05)
            vector = np.array([(aim[0] - fx) * speed, (aim[1] - fy) * speed], np.float32)
            return vector.clip(-1.0, 1.0)

        return act


class Pusher:
    """A scripted policy: go behind a cube, push it to its mark, go on to the next.

    Where others are in the way it pushes the cube to a place first from which the way is free. A
    finger that stays behind the middle of a cube, as seen from where it shall go, turns the face
    that it touches that way by pushing: no need to plan how the cube turns.
    """

    SPEED_M_S = 0.2  # When pushing.
    GAP_M = 0.01  # Between finger and cubes when going round.
    DONE_M, THERE_M = 0.016, 0.03  # From the mark, and from a place on the way.
    SIDE_HZ = 6.0  # How fast the finger comes back behind the middle.
    ASIDE_M = (0.07, 0.16, 0.25)  # How far off places on the way are,
    TURNS = 12  # in so many directions.

    def __init__(self, env: PushCubes, rng: np.random.Generator) -> None:
        self.env, self.rng = env, rng
        half = env.values.cube_size_m / 2
        self.half, self.clear = half, half * math.sqrt(2.0) + FINGER_RADIUS_M + self.GAP_M
        self.cube: int | None = None
        self.aim: Point = (0.0, 0.0)
        self.way: list[Point] = []
        self.pushing, self.left = False, 0.0

    def __call__(self) -> Vector:
        """Return the next action."""
        env = self.env
        if self.cube not in env.away or (self.pushing and self._over(self.cube)):
            self.cube, self.pushing, self.way = None, False, []
        if self.cube is None and not self.way:
            self._choose()
        while self.way and math.dist(env.finger, self.way[0]) < 0.015:
            del self.way[0]
        if self.way and not self.pushing:
            return self._towards(self.way[0])
        if self.cube is None:
            return np.zeros(2, np.float32)
        if not self.pushing:
            self.pushing, self.left = True, 0.06 + 1.2 * math.dist(env.cubes[self.cube], self.aim)
        return self._push(self.cube)

    def _push(self, n: int) -> Vector:
        (x, y), (ux, uy) = self.env.cubes[n], self._heading(n)
        fx, fy = self.env.finger
        side = (fx - x) * -uy + (fy - y) * ux
        back = max(-0.12, min(0.12, self.SIDE_HZ * side))
        pace = min(self.SPEED_M_S, 0.03 + 3.0 * math.dist((x, y), self.aim))
        self.left -= pace / self.env.control_hz
        speed = (ux * pace + uy * back, uy * pace - ux * back)
        return (np.array(speed, np.float32) / FINGER_SPEED_M_S).clip(-1.0, 1.0)

    def _over(self, n: int) -> bool:
        """Whether a push ends: the cube is there, or the finger is not behind it any more."""
        (x, y), (ux, uy), (fx, fy) = self.env.cubes[n], self._heading(n), self.env.finger
        side, behind = (fx - x) * -uy + (fy - y) * ux, (x - fx) * ux + (y - fy) * uy
        lost = abs(side) > 0.9 * self.half or behind < 0.6 * self.half or behind > 2 * self.clear
        near = self.DONE_M if self.aim == self.env.marks[n] else self.THERE_M
        return math.dist((x, y), self.aim) < near or lost or self.left <= 0.0

    def _heading(self, n: int) -> Point:
        """Return the direction from a cube to where it shall go."""
        (x, y), (gx, gy) = self.env.cubes[n], self.aim
        far = max(math.dist((x, y), self.aim), 1e-9)
        return (gx - x) / far, (gy - y) / far

    def _choose(self) -> None:
        """Choose the cube that is soonest pushed home, whereto, and the way to behind it."""
        todo = [n for n, away in self.env.away.items() if away >= self.DONE_M]
        moods = self.rng.uniform(0.0, 0.3, len(todo))  # Lest two drive each other away for ever.
        plans = sorted(
            (self._cost(n, aim) + mood, n, aim)
            for n, mood in zip(todo, moods.tolist(), strict=True)
            for aim in self._aims(n)
        )
        for _, n, self.aim in plans:
            self.way = self._way(n)
            if self.way:
                self.cube = n
                return
        if todo:  # No way to any of them: through whatever is there.
            x, y = self.rng.uniform(-FIELD_M, FIELD_M, 2).tolist()
            self.way = [(x, y)]

    def _aims(self, n: int) -> list[Point]:
        """Return where a cube may be pushed: to its mark, or to a place around it first."""
        x, y = self.env.cubes[n]
        around = [
            (x + far * math.cos(turn), y + far * math.sin(turn))
            for turn in np.linspace(0.0, math.tau, self.TURNS, endpoint=False).tolist()
            for far in self.ASIDE_M
        ]
        return [self.env.marks[n], *(p for p in around if max(abs(p[0]), abs(p[1])) < FIELD_M)]

    def _cost(self, n: int, aim: Point) -> float:
        """Return the way of a push [m], and what is added for cubes in the way."""
        cube, mark = self.env.cubes[n], self.env.marks[n]
        others = [place for m, place in self.env.cubes.items() if m != n]
        legs = ((cube, aim), (aim, mark)) if aim != mark else ((cube, mark),)
        hindered = sum(_distance(at, *leg) < 2.4 * self.half for at in others for leg in legs)
        detour = sum(math.dist(*leg) for leg in legs) - math.dist(cube, mark)
        return math.dist(self.env.finger, cube) + detour + 0.2 * len(legs) + hindered

    def _way(self, n: int) -> list[Point]:
        """Return a way round the cubes to a place behind one, [] if there is none (Dijkstra)."""
        env, clear = self.env, self.clear + 0.003
        (x, y), (ux, uy) = env.cubes[n], self._heading(n)
        goal = (x - ux * clear, y - uy * clear)
        if not self._free(goal):
            return []
        around = [
            (cx + 1.1 * clear * math.cos(a), cy + 1.1 * clear * math.sin(a))
            for cx, cy in env.cubes.values()
            for a in np.linspace(0, math.tau, 10, endpoint=False).tolist()
        ]
        nodes = [env.finger, goal, *(node for node in around if self._free(node))]
        costs, before = {0: 0.0}, dict[int, int]()
        queue = [(0.0, 0)]
        while queue:
            cost, a = heapq.heappop(queue)
            if a == 1:
                break
            for b in range(1, len(nodes)):
                far = cost + math.dist(nodes[a], nodes[b])
                if far < costs.get(b, math.inf) and self._passes(nodes[a], nodes[b]):
                    costs[b], before[b] = far, a
                    heapq.heappush(queue, (far, b))
        way, b = list[Point](), 1
        while b in before:
            way.insert(0, nodes[b])
            b = before[b]
        return way

    def _free(self, a: Point) -> bool:
        """Whether the finger can be at a place without touching a cube."""
        inside = max(abs(a[0]), abs(a[1])) < REACH_M
        return inside and all(math.dist(a, c) > self.clear for c in self.env.cubes.values())

    def _passes(self, a: Point, b: Point) -> bool:
        """Whether the finger can go straight from one place to another, or away from a cube."""
        for c in self.env.cubes.values():
            if math.dist(a, c) < self.clear:
                if (b[0] - a[0]) * (c[0] - a[0]) + (b[1] - a[1]) * (c[1] - a[1]) > 0.0:
                    return False
            elif _distance(c, a, b) < self.clear:
                return False
        return True

    def _towards(self, aim: Point) -> Vector:
        """Return the action that moves the finger to `aim` in a step, as fast as it can."""
        (fx, fy), hz = self.env.finger, self.env.control_hz
        vx, vy = (aim[0] - fx) * hz / FINGER_SPEED_M_S, (aim[1] - fy) * hz / FINGER_SPEED_M_S
        scale = 1.0 / max(1.0, math.hypot(vx, vy))
        return np.array([vx * scale, vy * scale], np.float32).clip(-1.0, 1.0)


def _distance(c: Point, a: Point, b: Point) -> float:
    """Return how near the line from `a` to `b` comes to a point."""
    (x, y), (dx, dy) = (c[0] - a[0], c[1] - a[1]), (b[0] - a[0], b[1] - a[1])
    part = (x * dx + y * dy) / max(dx * dx + dy * dy, 1e-12)
    part = max(0.0, min(1.0, part))
    return math.hypot(x - part * dx, y - part * dy)


def _places(rng: np.random.Generator) -> list[Point]:
    """Draw places apart: a cube and its mark in turn, then the finger's."""
    places: list[Point] = []
    while len(places) < 2 * CUBES + 1:
        x, y = rng.uniform(-FIELD_M, FIELD_M, 2).tolist()
        if all(math.dist((x, y), other) > APART_M for other in places):
            places.append((x, y))
    return places


def _table(color: Rgba) -> Body:
    """A table with rails: low to the eye, high for what would leave it."""
    wood = (color[0] * 0.55, color[1] * 0.45, color[2] * 0.35, 1.0)
    edge, half, long = TABLE_HALF_M - RAIL_M / 2, RAIL_M / 2, TABLE_HALF_M - RAIL_M
    top = Shape("box", (TABLE_HALF_M, TABLE_HALF_M, 0.02), color, Pose((0.0, 0.0, -0.02)))
    sides = (
        *((side * edge, 0.0, half, TABLE_HALF_M) for side in (-1, 1)),
        *((0.0, side * edge, long, half) for side in (-1, 1)),
    )
    rails = [
        Shape("box", (w, h, 0.02), wood, Pose((x, y, 0.02)), collides=False) for x, y, w, h in sides
    ]
    fence = [
        Shape("box", (w, h, FENCE_M / 2), wood, Pose((x, y, FENCE_M / 2)), visible=False)
        for x, y, w, h in sides
    ]
    return Body("table", (top, *rails, *fence), material=Material(1.0))


def _mark(n: int, place: Point, size: float, color: Rgba) -> Body:
    """A square outline that only pictures see."""
    half, line = size / 2 + 0.5 * STROKE_M, STROKE_M / 2
    sides = (
        *((side * half, 0.0, line, half + line) for side in (-1, 1)),
        *((0.0, side * half, half - line, line) for side in (-1, 1)),
    )
    shapes = tuple(
        Shape("box", (w, h, 0.0005), color, Pose((x, y, 0.0)), collides=False)
        for x, y, w, h in sides
    )
    return Body(f"mark_{n}", shapes, pose=turned(*place, 0.0006))


def _cube(n: int, place: Point, turn: float, f: Values, color: Rgba) -> Body:
    half = f.cube_size_m / 2
    shape = Shape("box", (half, half, half), color)
    surface = Material(f.cube_friction)
    return Body(NAMES[n], (shape,), f.cube_mass_kg, turned(*place, half, turn), surface)


def _finger(place: Point, f: Values) -> Body:
    """A round finger on two sliding joints, above the table."""
    motor, limits = Motor("velocity", FINGER_FORCE_N), (-REACH_M, REACH_M)
    tip = Shape("cylinder", (FINGER_RADIUS_M, 0.07), f.rgba("finger_color"))
    x = Joint("prismatic", (1.0, 0.0, 0.0), limits, motor)
    y = Joint("prismatic", (0.0, 1.0, 0.0), limits, motor)
    return Body(
        "finger",
        pose=Pose((0.0, 0.0, 0.038)),
        material=Material(f.finger_friction),
        links=(
            Link("x", x, (), 0.2, position=place[0]),
            Link("y", y, (tip,), 0.2, parent="x", position=place[1]),
        ),
    )
