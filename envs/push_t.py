"""Push a T-shaped block into its outline with a round finger."""

import math
from collections.abc import Iterator

import numpy as np

from sandbox import scene as sc
from sandbox.env import Actions, Aim, Element, Finger, SandboxEnv, Vector, each, policy, yaw
from sandbox.env.factors import Color, Factors, Uniform, Values, handling, looks
from sandbox.env.geometry import Three, Two, area_inside, clear_of, inside, outside, round_about
from sandbox.env.pushing import Contact, LimitSurface

UNIT_M = 0.05  # The T is 4 units wide and 4 long, its bars 1 wide, before scaling.
HALF_HEIGHT_M = 0.02
FINGER_FORCE_N = 40.0  # Twice what the friction of the heaviest T is.
REACH_M = 0.36
TABLE_HALF_M = 0.42
RAIL_M = 0.02
FENCE_M = 0.3  # Of the rails, as the T feels them: a finger can wedge it onto lower ones.
GOAL_OVERLAP = 0.95

T_UNITS = ((0.0, 0.0, 2.0, 0.5), (0.0, -2.0, 0.5, 1.5))  # Centre x, y, half extents x, y.
T_CORNERS = (
    *((2.0, -0.5), (2.0, 0.5), (-2.0, 0.5), (-2.0, -0.5)),
    *((-0.5, -0.5), (-0.5, -3.5), (0.5, -3.5), (0.5, -0.5)),
)  # Counterclockwise.

# The scripted policy, in units of the T and in its frame unless a name says otherwise.
COM = (0.0, -6 / 7)
SLIDING = LimitSurface(COM, radius=1.35, turn=1.6)
CLEARANCE = 0.28  # Between finger and T while going round.
LONGEST = 1.6  # Push at once.
DETOUR = 0.02  # What one unit of way is worth against squared distance gained.
PUSH_M_S = 0.12


class PushT(SandboxEnv):
    """Push the T onto its outline.

    Observation (proprio), float32 (11,), world frame: 0:2 finger x, y [m]; 2:4 T x, y, the middle
        of its bar [m]; 4:6 cos, sin of the T's yaw; 6:8 outline x, y [m]; 8:10 cos, sin of the
        outline's yaw; 10 seconds left [s].
    Goal, float64 (3,): pose of the outline.
    Action, float32 (2,) in [-1, 1]: finger velocity x, y in units of 0.5 m/s.
    Reward: progress is the overlap of T and outline as a fraction of the T's area, 0 to 1.
    Ends: terminated at 95 % overlap, which is success; truncated after 30 s.
    """

    family = "manipulation"
    control_hz = 10
    limit_s = 30.0
    action_size = 2
    state_bodies = ("t",)
    events = ("finger_on_t", "half_covered")
    state_joints = Finger.joints
    goal_names = ("x [m]", "y [m]", "yaw [rad]")
    aim = Aim().near("t.x t.y", 0.03, 0.015).facing("t", 20, 10)
    elements = (
        *each("finger_x finger_y", "m", -0.4, 0.4),
        *each("t_x t_y", "m", -0.45, 0.45),
        *each("t_cos_yaw t_sin_yaw", "1", -1.0, 1.0),
        *each("goal_x goal_y", "m", -0.15, 0.15),
        *each("goal_cos_yaw goal_sin_yaw", "1", -1.0, 1.0),
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
        **looks(35.0, (50.0, 90.0, 72.0)),
        **handling(noise=0.1),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> sc.Scene:
        """Lay the finger and the T at random places of the table, apart."""
        t_x, t_y = rng.uniform(-0.18, 0.18, 2).tolist()
        t_yaw = rng.uniform(-math.pi, math.pi)
        around, away = rng.uniform(-math.pi, math.pi), 0.22
        x, y = (c + away * t for c, t in ((t_x, math.cos(around)), (t_y, math.sin(around))))
        x, y = (c if abs(c) < REACH_M else -math.copysign(REACH_M, c) for c in (x, y))
        blue, color = (0.16, 0.30, 0.75, 1.0), f.rgba("table_color")
        finger = Finger.body((x, y), REACH_M, FINGER_FORCE_N, 0.06, blue, f.finger_friction)
        table = sc.railed_table(TABLE_HALF_M, RAIL_M, 0.03, color, fence_m=FENCE_M, signs=(1, -1))
        t = _t(f, sc.turned(t_x, t_y, HALF_HEIGHT_M, t_yaw))
        return sc.Scene(
            bodies=(table, _outline(f, color), t, finger),
            cameras=(
                sc.orbit("main", (0.0, 0.0, 0.0), 1.3, f.camera_pitch_deg, fov_deg=42),
                sc.orbit("top", (0.0, 0.0, 0.0), 1.3, 90, fov_deg=42),
                Finger.camera,
            ),
            light=self.light(f, 55),
            engine=self.engine(f),
        )

    def started(self) -> None:
        """Remember the outline."""
        f, self.finger = self.values, Finger(self.world)
        self.goal = (f.goal_x_m, f.goal_y_m, f.goal_yaw_rad)
        self.unit = UNIT_M * f.t_scale

    def act(self, action: list[float]) -> None:
        self.finger.move(action)

    def arrived(self) -> None:
        """Derive where the finger and the T are, and how much of the outline the T covers."""
        t = self.body("t")
        self.finger.at = (self.joint("finger", "x")[0], self.joint("finger", "y")[0])
        self.t_pose = (t[0], t[1], yaw(t))
        self.overlap = overlap(self.t_pose, self.goal, self.unit)

    def proprio(self) -> tuple[float, ...]:
        poses: list[float] = []
        for x, y, turn in (self.t_pose, self.goal):
            poses += (x, y, math.cos(turn), math.sin(turn))
        return (*self.finger.at, *poses, self.seconds_left())

    def progress(self) -> float:
        return self.overlap

    def success(self) -> bool:
        return self.overlap >= GOAL_OVERLAP

    def happening(self) -> tuple[bool, ...]:
        """Return whether the finger touches the T, and whether half of the outline is covered."""
        return (self.world.touch("finger", "t") > 0.0, self.overlap > 0.5)

    @policy
    def play(self, rng: np.random.Generator) -> Actions:
        """Push past a random point of the T, go elsewhere, and again."""

        def aim_for(back: bool) -> Two:
            (fx, fy), (x, y, _) = self.finger.at, self.t_pose
            around, far = rng.uniform(-math.pi, math.pi), 0.25 if back else 0.06
            x, y = x + far * math.cos(around), y + far * math.sin(around)
            return (x, y) if back else (x + 0.4 * (x - fx), y + 0.4 * (y - fy))

        return Finger.sweep(lambda: self.finger.at, rng, aim_for)

    @policy
    def scripted(self, rng: np.random.Generator) -> Actions:
        """Go round the T to the best place to push, push a little, look again."""
        reach, left, place = Finger.RADIUS_M / self.unit, 0.0, (0.0, 0.5, 0.0, -1.0)
        while True:
            place, left = self._best(reach) or (place, left)
            x, y, nx, ny = place
            while True:
                finger, gap = self._inside(self.finger.at), reach + CLEARANCE
                start = self._outside((x - nx * gap, y - ny * gap))
                start_x, start_y = (max(-REACH_M, min(REACH_M, c)) for c in start)
                start = self._inside((start_x, start_y))
                if math.dist(finger, start) <= 0.12:
                    break
                yield self._towards(finger, self._way(finger, start, reach), Finger.SPEED_M_S)
            left += CLEARANCE
            while left > 0.0:
                finger = self._inside(self.finger.at)
                stop = min(left, PUSH_M_S / self.control_hz / self.unit)
                left -= stop
                ahead_x, ahead_y = finger[0] + nx * stop, finger[1] + ny * stop
                side = (x - finger[0]) * -ny + (y - finger[1]) * nx
                aim = (ahead_x - ny * side * 0.5, ahead_y + nx * side * 0.5)
                yield self._towards(finger, aim, 0.2)

    def _best(self, reach: float) -> tuple[Contact, float] | None:
        """Return the place and length of the push that brings the T nearest its outline."""
        way = SLIDING.way(self.t_pose, self.goal, self.unit)
        finger, best, found = self._inside(self.finger.at), -math.inf, None
        for x, y, nx, ny in _places_to_push():
            length, gain = SLIDING.push((x, y, nx, ny), way, LONGEST)
            if not length:
                continue
            gain -= DETOUR * math.dist(finger, (x, y))
            px, py = self._outside((x - nx * reach, y - ny * reach))
            if gain > best and abs(px) < REACH_M and abs(py) < REACH_M:
                best, found = gain, ((x, y, nx, ny), length)
        return found

    def _way(self, finger: Two, start: Two, reach: float) -> Two:
        """Return where to go next to come to `start` without touching the T."""
        if clear_of(T_UNITS, finger, start, reach + 0.6 * CLEARANCE):
            return start
        return round_about(finger, start, COM, 3.4 + reach)

    def _towards(self, finger: Two, aim: Two, speed_m_s: float) -> Vector:
        """Return the action that moves the finger to `aim` in a step, as fast as allowed."""
        (fx, fy), (ax, ay) = self._outside(finger), self._outside(aim)
        vx, vy = (ax - fx) * self.control_hz, (ay - fy) * self.control_hz
        speed = max(math.hypot(vx, vy), 1e-9)
        scale = min(1.0, speed_m_s / speed) / Finger.SPEED_M_S
        return np.clip(np.array([vx * scale, vy * scale], np.float32), -1.0, 1.0)

    def _inside(self, point: Two) -> Two:
        """Turn world coordinates [m] into the T's frame [units]."""
        return inside(point, self.t_pose, self.unit)

    def _outside(self, point: Two) -> Two:
        """Turn the T's frame [units] into world coordinates [m]."""
        return outside(point, self.t_pose, self.unit)


def _places_to_push() -> Iterator[Contact]:
    """Yield places along the T's edges."""
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


def overlap(t: Three, goal: Three, unit: float) -> float:
    """Return the part of the T's area (pose x, y, yaw) inside the outline, 0 to 1; exact."""
    (x, y), turn = inside(t[:2], goal, unit), t[2] - goal[2]
    cos, sin = math.cos(turn), math.sin(turn)
    # No point of the T is farther than 2.7 units from its centre of mass, 6 / 7 below its middle.
    if (x + sin * 6 / 7) ** 2 + (y + (1 - cos) * 6 / 7) ** 2 > 5.4**2:
        return 0.0
    corners = [(x + cos * px - sin * py, y + sin * px + cos * py) for px, py in T_CORNERS]
    bar, stem = T_UNITS
    return min(1.0, (area_inside(corners, bar) + area_inside(corners, stem)) / 7.0)


def _outline(f: Values, table: sc.Rgba) -> sc.Body:
    """Return a thin T that only pictures see: where the T shall go."""
    u, color = UNIT_M * f.t_scale, sc.shade(table, 0.55, 0.72, 0.6)
    shapes = tuple(
        sc.box((w * u, h * u, 0.0005), (x * u, y * u, 0.0), color, collides=False)
        for x, y, w, h in T_UNITS
    )
    place = sc.turned(f.goal_x_m, f.goal_y_m, 0.0006, f.goal_yaw_rad)
    return sc.Body("outline", shapes, pose=place)


def _t(f: Values, pose: sc.Pose) -> sc.Body:
    """Return two boxes held by a fixed joint; a compound shape would not replay from a snapshot."""
    u, color, mass = UNIT_M * f.t_scale, f.rgba("t_color"), f.t_mass_kg
    bar, stem = (sc.Shape("box", (w * u, h * u, HALF_HEIGHT_M), color) for _, _, w, h in T_UNITS)
    below = sc.Pose((0.0, T_UNITS[1][1] * u, 0.0))
    link = sc.Link("stem", shapes=(stem,), mass_kg=mass * 3 / 7, pose=below)
    return sc.Body("t", (bar,), mass * 4 / 7, pose, sc.Material(friction=f.t_friction), (link,))
