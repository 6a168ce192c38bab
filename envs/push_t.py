"""Push a T-shaped block into its outline with a round finger."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from sandbox.env import Element, Policy, SandboxEnv, Vector, yaw
from sandbox.scenario.factors import Color, Factors, Uniform, Values
from sandbox.scene import (
    Body,
    Camera,
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

UNIT_M = 0.05  # The T is 4 units wide and 4 long, its bars 1 wide, before scaling.
HALF_HEIGHT_M = 0.02
FINGER_RADIUS_M = 0.02
FINGER_SPEED_M_S = 0.5  # At full action.
FINGER_FORCE_N = 40.0  # Twice what the friction of the heaviest T is.
REACH_M = 0.36
TABLE_HALF_M = 0.42
RAIL_M = 0.02
GOAL_OVERLAP = 0.95

Rectangle = tuple[float, float, float, float]  # Centre x, y, half extents x, y.
T_UNITS: tuple[Rectangle, Rectangle] = ((0.0, 0.0, 2.0, 0.5), (0.0, -2.0, 0.5, 1.5))
T_CORNERS = (
    *((2.0, -0.5), (2.0, 0.5), (-2.0, 0.5), (-2.0, -0.5)),
    *((-0.5, -0.5), (-0.5, -3.5), (0.5, -3.5), (0.5, -0.5)),
)  # Counterclockwise.


class PushT(SandboxEnv):
    """Push the T onto its outline.

    Observation (proprio), float32 (11,), world frame: 0:2 finger x, y [m]; 2:4 T x, y, the middle
        of its bar [m]; 4:6 cos, sin of the T's yaw; 6:8 outline x, y [m]; 8:10 cos, sin of the
        outline's yaw; 10 seconds left [s].
    Action, float32 (2,) in [-1, 1]: finger velocity x, y in units of 0.5 m/s.
    Reward: overlap of T and outline as a fraction of the T's area, 0 to 1, this step.
    Ends: terminated at 95 % overlap, which is success; truncated after 30 s.
    Factors: t_mass_kg, t_friction, t_scale, finger_friction, goal_x_m, goal_y_m, goal_yaw_rad,
        t_color, table_color, light_azimuth_deg, light_color, light_ambient, camera_pitch_deg,
        action_noise.
    Events: finger_on_t, half_covered.
    """

    family = "manipulation"
    control_hz = 10
    limit_s = 30.0
    action_size = 2
    state_bodies = ("t",)
    events = ("finger_on_t", "half_covered")
    state_joints = (("finger", "x"), ("finger", "y"))
    elements = (
        Element("finger_x", "m", -0.4, 0.4),
        Element("finger_y", "m", -0.4, 0.4),
        Element("t_x", "m", -0.45, 0.45),
        Element("t_y", "m", -0.45, 0.45),
        Element("t_cos_yaw", "1", -1.0, 1.0),
        Element("t_sin_yaw", "1", -1.0, 1.0),
        Element("goal_x", "m", -0.15, 0.15),
        Element("goal_y", "m", -0.15, 0.15),
        Element("goal_cos_yaw", "1", -1.0, 1.0),
        Element("goal_sin_yaw", "1", -1.0, 1.0),
        Element("seconds_left", "s", 0.0, 30.0),
    )
    factors = Factors(
        t_mass_kg=Uniform(0.1, 2.0, 0.5, "kg", "mass of the T"),
        t_friction=Uniform(0.05, 1.0, 0.6, "1", "Coulomb coefficient of T and table"),
        t_scale=Uniform(0.8, 1.2, 1.0, "1", "size of the T and its outline"),
        finger_friction=Uniform(0.0, 1.0, 0.3, "1", "Coulomb coefficient of the finger"),
        goal_x_m=Uniform(-0.15, 0.15, 0.0, "m", "x of the outline"),
        goal_y_m=Uniform(-0.15, 0.15, 0.05, "m", "y of the outline"),
        goal_yaw_rad=Uniform(-math.pi, math.pi, 0.7, "rad", "yaw of the outline"),
        t_color=Color("tomato", "colour of the T"),
        table_color=Color("#e8dcc4", "colour of the table"),
        light_azimuth_deg=Uniform(-180.0, 180.0, 35.0, "deg", "where the light comes from"),
        light_color=Color("white", "colour of the light"),
        light_ambient=Uniform(0.3, 0.8, 0.55, "1", "light where none falls directly"),
        camera_pitch_deg=Uniform(50.0, 90.0, 72.0, "deg", "camera above the horizon"),
        action_noise=Uniform(0.0, 0.1, 0.0, "1", "deviation of the noise on actions"),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> Scene:
        """Lay the finger and the T at random places of the table, apart."""
        t_x, t_y = rng.uniform(-0.18, 0.18, 2).tolist()
        t_yaw = rng.uniform(-math.pi, math.pi)
        around, away = rng.uniform(-math.pi, math.pi), 0.22
        x, y = (c + away * t for c, t in ((t_x, math.cos(around)), (t_y, math.sin(around))))
        x, y = (c if abs(c) < REACH_M else -math.copysign(REACH_M, c) for c in (x, y))
        return Scene(
            bodies=(
                _table(f.rgba("table_color")),
                _outline(f, f.rgba("table_color")),
                _t(f, turned(t_x, t_y, HALF_HEIGHT_M, t_yaw)),
                _finger(x, y, f.finger_friction),
            ),
            cameras=(
                orbit("main", (0.0, 0.0, 0.0), 1.3, f.camera_pitch_deg, fov_deg=42),
                orbit("top", (0.0, 0.0, 0.0), 1.3, 90, fov_deg=42),
                Camera("finger", (0.0, -0.3, 0.25), (0.0, 0.04, 0.0), body="finger", link="y"),
            ),
            light=sun(f.light_azimuth_deg, 55, f.rgba("light_color")[:3], f.light_ambient),
        )

    def act(self, action: list[float]) -> None:
        """Drive the finger."""
        self.world.drive("finger", ("x", "y"), [FINGER_SPEED_M_S * a for a in action])

    def started(self) -> None:
        """Remember the outline."""
        f = self.values
        self.goal = (f.goal_x_m, f.goal_y_m, f.goal_yaw_rad)
        self.unit = UNIT_M * f.t_scale

    def arrived(self) -> None:
        """Derive where the finger and the T are, and how much of the outline the T covers."""
        t = self.body("t")
        self.finger = (self.joint("finger", "x")[0], self.joint("finger", "y")[0])
        self.t_pose = (t[0], t[1], yaw(t))
        self.overlap = overlap(self.t_pose, self.goal, self.unit)

    def proprio(self) -> Sequence[float]:
        """Return the finger, the T, the outline and the time left."""
        x, y, turn = self.t_pose
        goal_x, goal_y, goal_turn = self.goal
        return (
            *self.finger,
            *(x, y, math.cos(turn), math.sin(turn)),
            *(goal_x, goal_y, math.cos(goal_turn), math.sin(goal_turn)),
            self.seconds_left(),
        )

    def reward(self) -> float:
        """Return the overlap, 0 to 1."""
        return self.overlap

    def success(self) -> bool:
        """Whether the T covers 95 % of its outline."""
        return self.overlap >= GOAL_OVERLAP

    def terminated(self) -> bool:
        """End on success."""
        return self.success()

    def happening(self) -> Sequence[bool]:
        """Whether the finger touches the T, and whether half of the outline is covered."""
        return (self.world.touch("finger", "t") > 0.0, self.overlap > 0.5)

    def play(self, rng: np.random.Generator) -> Policy:
        """Return a policy that pushes past a random point of the T, goes elsewhere, and again."""
        aim, left, back = (0.0, 0.0), 0, True

        def act() -> Vector:
            nonlocal aim, left, back
            (fx, fy), (x, y, _) = self.finger, self.t_pose
            if left <= 0 or math.dist(aim, self.finger) < 0.02:
                back, left = not back, int(rng.integers(8, 16))
                around, far = rng.uniform(-math.pi, math.pi), 0.25 if back else 0.06
                aim = (x + far * math.cos(around), y + far * math.sin(around))
                if not back:  # Past that point of the T.
                    aim = (aim[0] + 0.4 * (aim[0] - fx), aim[1] + 0.4 * (aim[1] - fy))
            left -= 1
            speed = 0.6 / max(math.dist(aim, self.finger), 0.05)
            return np.array([(aim[0] - fx) * speed, (aim[1] - fy) * speed], np.float32)

        return act

    def scripted(self, rng: np.random.Generator) -> Policy:
        """Return a policy that makes the push that a model of sliding says gains most."""
        return Pusher(self)


def _table(color: Rgba) -> Body:
    wood = (color[0] * 0.55, color[1] * 0.45, color[2] * 0.35, 1.0)
    edge, half = TABLE_HALF_M - RAIL_M / 2, RAIL_M / 2
    rails = tuple(
        Shape("box", size, wood, Pose((x, y, 0.03)))
        for x, y, size in (
            (edge, 0.0, (half, TABLE_HALF_M, 0.015)),
            (-edge, 0.0, (half, TABLE_HALF_M, 0.015)),
            (0.0, edge, (TABLE_HALF_M - RAIL_M, half, 0.015)),
            (0.0, -edge, (TABLE_HALF_M - RAIL_M, half, 0.015)),
        )
    )
    top = Shape("box", (TABLE_HALF_M, TABLE_HALF_M, 0.02), color, Pose((0.0, 0.0, -0.02)))
    low = tuple(
        Shape(r.kind, r.size, r.color, Pose((r.pose.xyz[0], r.pose.xyz[1], 0.015))) for r in rails
    )
    return Body("table", (top, *low), material=Material(friction=1.0))


def _outline(f: Values, table: Rgba) -> Body:
    """A thin T that only pictures see: where the T shall go."""
    u = UNIT_M * f.t_scale
    color = (table[0] * 0.55, table[1] * 0.72, table[2] * 0.6, 1.0)
    shapes = tuple(
        Shape("box", (w * u, h * u, 0.0005), color, turned(x * u, y * u, 0.0), collides=False)
        for x, y, w, h in T_UNITS
    )
    return Body("outline", shapes, pose=turned(f.goal_x_m, f.goal_y_m, 0.0006, f.goal_yaw_rad))


def _t(f: Values, pose: Pose) -> Body:
    """The T: two boxes held by a fixed joint. A compound shape would not replay from a snapshot."""
    unit, color = UNIT_M * f.t_scale, f.rgba("t_color")
    boxes = [Shape("box", (w * unit, h * unit, HALF_HEIGHT_M), color) for _, _, w, h in T_UNITS]
    stem = Link(
        "stem",
        shapes=(boxes[1],),
        mass_kg=f.t_mass_kg * 3 / 7,
        pose=Pose((0.0, T_UNITS[1][1] * unit, 0.0)),
    )
    surface = Material(friction=f.t_friction)
    return Body("t", (boxes[0],), f.t_mass_kg * 4 / 7, pose, surface, (stem,))


def _finger(x: float, y: float, friction: float) -> Body:
    """A round finger on two sliding joints, above the table."""
    motor = Motor("velocity", FINGER_FORCE_N)
    limits = (-REACH_M, REACH_M)
    blue = (0.16, 0.30, 0.75, 1.0)
    tip = Shape("cylinder", (FINGER_RADIUS_M, 0.06), blue)
    return Body(
        "finger",
        pose=Pose((0.0, 0.0, 0.033)),
        material=Material(friction=friction),
        links=(
            Link("x", Joint("prismatic", (1.0, 0.0, 0.0), limits, motor), (), 0.2, position=x),
            Link(
                "y",
                Joint("prismatic", (0.0, 1.0, 0.0), limits, motor),
                (tip,),
                0.2,
                parent="x",
                position=y,
            ),
        ),
    )


def overlap(t: Sequence[float], goal: Sequence[float], unit: float) -> float:
    """Return the part of the T's area (pose x, y, yaw) inside the outline, 0 to 1; exact."""
    dx, dy, turn = t[0] - goal[0], t[1] - goal[1], t[2] - goal[2]
    cos, sin = math.cos(goal[2]), math.sin(goal[2])
    x, y = (dx * cos + dy * sin) / unit, (dy * cos - dx * sin) / unit
    cos, sin = math.cos(turn), math.sin(turn)
    # No point of the T is farther than 2.7 units from its centre of mass, 6 / 7 below its middle.
    if (x + sin * 6 / 7) ** 2 + (y + (1 - cos) * 6 / 7) ** 2 > 5.4**2:
        return 0.0
    corners = [(x + cos * px - sin * py, y + sin * px + cos * py) for px, py in T_CORNERS]
    bar, stem = T_UNITS
    return min(1.0, (_area_inside(corners, bar) + _area_inside(corners, stem)) / 7.0)


def _area_inside(corners: list[tuple[float, float]], r: Rectangle) -> float:
    """Return the area of a polygon, counterclockwise, inside an upright rectangle.

    Green's theorem with both coordinates clamped to the rectangle: -sum over edges of the integral
    of y dx. In every step of the environment: written for speed.
    """
    left, right, low, high = r[0] - r[2], r[0] + r[2], r[1] - r[3], r[1] + r[3]
    total = 0.0
    ax, ay = corners[-1]
    a = left if ax < left else right if ax > right else ax
    for bx, by in corners:
        b = left if bx < left else right if bx > right else bx
        if a != b:
            slope = (by - ay) / (bx - ax)
            p, q = ay + slope * (a - ax), ay + slope * (b - ax)  # Heights where it enters, leaves.
            if p > q:
                p, q = q, p
            if q <= low:
                mean = low
            elif p >= high:
                mean = high
            else:
                mean = 0.5 * (p + q)
                if p < low:
                    mean += 0.5 * (low - p) ** 2 / (q - p)
                if q > high:
                    mean -= 0.5 * (q - high) ** 2 / (q - p)
            total += (a - b) * mean
        ax, ay, a = bx, by, b
    return total


class Pusher:
    """A scripted policy: go round the T to the best place to push, push a little, look again.

    The T slides as a limit surface says (Goyal, Ruina and Papadopoulos 1991, as an ellipsoid): a
    force f with moment m about the centre of mass moves it by (f, m / c^2), with c near its mean
    radius. Lengths are in units of the T, in its frame, unless a name says otherwise.
    """

    RADIUS = 1.35  # c
    TURN = 1.6  # How far apart poses are that differ by one radian.
    COM = (0.0, -6 / 7)
    CLEARANCE = 0.28  # Between finger and T while going round.
    LONGEST = 1.6  # Push at once.
    DETOUR = 0.02  # What one unit of way is worth against squared distance gained.
    PUSH_SPEED_M_S = 0.12

    def __init__(self, env: PushT) -> None:
        self.env = env
        self.places = list(_places_to_push())
        self.place: tuple[float, float, float, float] | None = None
        self.left = 0.0  # Of the push being made.
        self.pushing = False

    def __call__(self) -> Vector:
        """Return the next action."""
        env = self.env
        self.reach = FINGER_RADIUS_M / env.unit
        finger = self._inside(env.finger)
        if self.place is None or (self.pushing and self.left <= 0.0):
            self._choose(finger)
        assert self.place is not None
        x, y, nx, ny = self.place
        gap = self.reach + self.CLEARANCE
        x_m, y_m = (
            max(-REACH_M, min(REACH_M, c)) for c in self._outside((x - nx * gap, y - ny * gap))
        )
        start = self._inside((x_m, y_m))
        if not self.pushing:
            way = self._way(finger, start)
            if math.dist(finger, start) > 0.12:
                return self._towards(finger, way, FINGER_SPEED_M_S)
            self.pushing, self.left = True, self.left + self.CLEARANCE
        stop = min(self.left, self.PUSH_SPEED_M_S / env.control_hz / env.unit)
        self.left -= stop
        aim = (finger[0] + nx * stop, finger[1] + ny * stop)
        side = (x - finger[0]) * -ny + (y - finger[1]) * nx
        return self._towards(finger, (aim[0] - ny * side * 0.5, aim[1] + nx * side * 0.5), 0.2)

    def _choose(self, finger: tuple[float, float]) -> None:
        """Choose the place and length of the push that brings the T nearest its outline."""
        goal_x, goal_y, turn = self._goal()
        best = -math.inf
        for x, y, nx, ny in self.places:
            moment = (x - self.COM[0]) * ny - (y - self.COM[1]) * nx
            share = 1.0 + (moment / self.RADIUS) ** 2  # Of the contact's way, a centre's.
            vx, vy, w = nx / share, ny / share, moment / self.RADIUS**2 / share
            k = self.TURN**2
            length = (goal_x * vx + goal_y * vy + k * turn * w) / (vx * vx + vy * vy + k * w * w)
            length = min(length, self.LONGEST)
            if length <= 0.0:
                continue
            before = goal_x**2 + goal_y**2 + k * turn**2
            after = (
                (goal_x - vx * length) ** 2
                + (goal_y - vy * length) ** 2
                + k * (turn - w * length) ** 2
            )
            gain = 1.0 - after / before - self.DETOUR * math.dist(finger, (x, y))
            if gain > best and self._reachable(x - nx * self.reach, y - ny * self.reach):
                best, self.place, self.left = gain, (x, y, nx, ny), length
        self.pushing = False

    def _goal(self) -> tuple[float, float, float]:
        """Return the way of the centre of mass and the turn to the outline, in the T's frame."""
        x, y, turn = self.env.goal
        away = math.remainder(turn - self.env.t_pose[2], math.tau)
        gx, gy = self._inside((x, y))
        cos, sin = math.cos(away), math.sin(away)
        cx, cy = self.COM
        return gx + cos * cx - sin * cy - cx, gy + sin * cx + cos * cy - cy, away

    def _way(self, finger: tuple[float, float], start: tuple[float, float]) -> tuple[float, float]:
        """Return where to go next to come to `start` without touching the T."""
        if self._clear(finger, start):
            return start
        ring = 3.4 + self.reach
        here = math.atan2(finger[1] - self.COM[1], finger[0] - self.COM[0])
        there = math.atan2(start[1] - self.COM[1], start[0] - self.COM[0])
        turn = math.remainder(there - here, math.tau)
        if abs(turn) < 0.05:
            return start
        angle = here + math.copysign(min(abs(turn), 0.35), turn)
        return (self.COM[0] + ring * math.cos(angle), self.COM[1] + ring * math.sin(angle))

    def _clear(self, a: tuple[float, float], b: tuple[float, float]) -> bool:
        """Whether the finger can go straight from `a` to `b` beside the T."""
        margin = self.reach + 0.6 * self.CLEARANCE
        for part in range(1, 21):
            x, y = a[0] + (b[0] - a[0]) * part / 20, a[1] + (b[1] - a[1]) * part / 20
            for cx, cy, w, h in T_UNITS:
                if math.hypot(max(abs(x - cx) - w, 0.0), max(abs(y - cy) - h, 0.0)) < margin:
                    return False
        return True

    def _reachable(self, x: float, y: float) -> bool:
        """Whether a point of the T's frame is where the finger can be."""
        px, py = self._outside((x, y))
        return abs(px) < REACH_M and abs(py) < REACH_M

    def _towards(
        self, finger: tuple[float, float], aim: tuple[float, float], speed_m_s: float
    ) -> Vector:
        """Return the action that moves the finger to `aim` in a step, as fast as allowed."""
        fx, fy = self._outside(finger)
        ax, ay = self._outside(aim)
        vx, vy = (ax - fx) * self.env.control_hz, (ay - fy) * self.env.control_hz
        speed = max(math.hypot(vx, vy), 1e-9)
        scale = min(1.0, speed_m_s / speed) / FINGER_SPEED_M_S
        return np.clip(np.array([vx * scale, vy * scale], np.float32), -1.0, 1.0)

    def _inside(self, point: tuple[float, float]) -> tuple[float, float]:
        """Turn world coordinates [m] into the T's frame [units]."""
        x, y, turn = self.env.t_pose
        dx, dy, cos, sin = point[0] - x, point[1] - y, math.cos(turn), math.sin(turn)
        return (dx * cos + dy * sin) / self.env.unit, (dy * cos - dx * sin) / self.env.unit

    def _outside(self, point: tuple[float, float]) -> tuple[float, float]:
        """Turn the T's frame [units] into world coordinates [m]."""
        x, y, turn = self.env.t_pose
        px, py, cos, sin = *(c * self.env.unit for c in point), math.cos(turn), math.sin(turn)
        return x + px * cos - py * sin, y + px * sin + py * cos


def _places_to_push() -> Iterator[tuple[float, float, float, float]]:
    """Yield contact x, y and inward normal x, y along the T's edges, in units, T frame."""
    for along in np.linspace(-1.8, 1.8, 13).tolist():
        yield along, 0.5, 0.0, -1.0
    for side in (-1.0, 1.0):
        yield 2.0 * side, 0.0, -side, 0.0
        for along in np.linspace(-3.3, -1.1, 8).tolist():
            yield 0.5 * side, along, -side, 0.0
        for along in (1.05, 1.4, 1.8):
            yield along * side, -0.5, 0.0, 1.0
    for along in (-0.35, 0.0, 0.35):
        yield along, -3.5, 0.0, 1.0
