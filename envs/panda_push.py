"""Push a cube over a table to a disc with the closed fingers of a Franka arm."""

import math
from collections.abc import Sequence

import numpy as np

from sandbox.env import Element, Policy, SandboxEnv, Vector, yaw
from sandbox.scenario.factors import Color, Factors, Integer, Uniform, Values
from sandbox.scene import (
    PANDA_FINGERS,
    PANDA_JOINTS,
    Body,
    Camera,
    Engine,
    Material,
    Pose,
    Scene,
    Shape,
    Vec3,
    orbit,
    panda,
    panda_joints,
    panda_moved,
    sun,
    turned,
)

BOX: tuple[Vec3, Vec3] = ((0.28, -0.32, 0.02), (0.62, 0.32, 0.3))  # Where the hand may go [m].
STARTS: tuple[Vec3, Vec3] = ((0.38, -0.08, 0.12), (0.5, 0.08, 0.2))
HAND_SPEED_M_S = 0.25  # At full action.
SPREAD_M = (0.05, 0.03)  # Of the disc, along x and y, either way.
DISC_M = 0.04
WITHIN_M = 0.03
MOVED_M = 0.01
TABLE_M = 0.45  # Above the floor.
DRIVEN = (*PANDA_JOINTS, *PANDA_FINGERS)


class PandaPush(SandboxEnv):
    """Push the cube onto the disc with closed fingers, the hand pointing down.

    Observation (proprio), float32 (14,), world frame: 0:3 point between the fingertips x, y, z
        [m]; 3:6 its velocity [m/s]; 6:9 cube x, y, z [m]; 9:11 cos, sin of the cube's yaw; 11:13
        disc x, y [m]; 13 seconds left [s].
    Action, float32 (3,) in [-1, 1]: velocity of the fingertips x, y, z in units of 0.25 m/s.
    Reward: minus the horizontal distance of cube and disc [m], at least -1.
    Ends: terminated within 3 cm, the cube on the table, which is success; truncated after 15 s.
    Factors: cube_mass_kg, cube_friction, cube_size_m, finger_friction, gravity_m_s2, goal_x_m,
        goal_y_m, goal_spread, cube_color, goal_color, table_color, light_azimuth_deg, light_color,
        light_ambient, camera_pitch_deg, action_delay_steps, action_noise.
    Events: hand_on_cube, cube_moved, cube_out_of_reach.
    """

    family = "manipulation"
    control_hz = 15  # As the data of DROID (Khazatsky et al. 2024).
    limit_s = 15.0
    action_size = 3
    state_bodies = ("cube",)
    state_joints = tuple(("panda", link) for link in DRIVEN)
    events = ("hand_on_cube", "cube_moved", "cube_out_of_reach")
    elements = (
        Element("tip_x", "m", 0.0, 0.9),
        Element("tip_y", "m", -0.6, 0.6),
        Element("tip_z", "m", -0.1, 0.7),
        *(Element(f"tip_v{axis}", "m/s", -3.0, 3.0) for axis in "xyz"),
        Element("cube_x", "m", -1.5, 2.5),
        Element("cube_y", "m", -2.0, 2.0),
        Element("cube_z", "m", -0.5, 1.0),
        Element("cube_cos_yaw", "1", -1.0, 1.0),
        Element("cube_sin_yaw", "1", -1.0, 1.0),
        Element("goal_x", "m", 0.3, 0.6),
        Element("goal_y", "m", -0.1, 0.1),
        Element("seconds_left", "s", 0.0, 15.0),
    )
    factors = Factors(
        cube_mass_kg=Uniform(0.05, 1.5, 0.3, "kg", "mass of the cube"),
        cube_friction=Uniform(0.15, 0.9, 0.5, "1", "Coulomb coefficient of cube and table"),
        cube_size_m=Uniform(0.045, 0.07, 0.06, "m", "edge of the cube"),
        finger_friction=Uniform(0.1, 0.7, 0.4, "1", "of fingers and cube: this x the cube's"),
        gravity_m_s2=Uniform(6.0, 12.0, 9.81, "m/s^2", "gravity"),
        goal_x_m=Uniform(0.4, 0.5, 0.45, "m", "middle of where the disc may be, x"),
        goal_y_m=Uniform(-0.03, 0.03, 0.0, "m", "middle of where the disc may be, y"),
        goal_spread=Uniform(0.0, 1.0, 1.0, "1", "how far from there it may be, of SPREAD_M"),
        cube_color=Color("crimson", "colour of the cube"),
        goal_color=Color("#2f7d4f", "colour of the disc"),
        table_color=Color("#c9b79a", "colour of the table"),
        light_azimuth_deg=Uniform(-180.0, 180.0, -60.0, "deg", "where the light comes from"),
        light_color=Color("white", "colour of the light"),
        light_ambient=Uniform(0.3, 0.8, 0.55, "1", "light where none falls directly"),
        camera_pitch_deg=Uniform(25.0, 65.0, 40.0, "deg", "camera above the horizon"),
        action_delay_steps=Integer(0, 3, 0, "1", "steps by which actions come late"),
        action_noise=Uniform(0.0, 0.3, 0.0, "1", "deviation of noise on actions"),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> Scene:
        """Lay the cube on the left or the right, and the disc between."""
        tip = rng.uniform(*STARTS).tolist()
        x, y, turn = rng.uniform((0.37, 0.13, -0.7), (0.52, 0.22, 0.7)).tolist()
        y *= 1.0 if rng.random() < 0.5 else -1.0
        away = rng.uniform(-1.0, 1.0, 2).tolist()
        goal_x, goal_y = (
            m + f.goal_spread * s * a
            for m, s, a in zip((f.goal_x_m, f.goal_y_m), SPREAD_M, away, strict=True)
        )
        half = f.cube_size_m / 2
        cube = Shape("box", (half, half, half), f.rgba("cube_color"))
        disc = Shape("cylinder", (DISC_M, 0.001), f.rgba("goal_color"), collides=False)
        return Scene(
            bodies=(
                *_room(f),
                Body("goal", (disc,), pose=turned(goal_x, goal_y, 0.0006)),
                panda(panda_joints(*tip), friction=f.finger_friction),
                Body(
                    "cube",
                    (cube,),
                    f.cube_mass_kg,
                    turned(x, y, half, turn),
                    Material(friction=f.cube_friction),
                ),
            ),
            cameras=(
                orbit("main", (0.39, 0.0, 0.11), 1.1, f.camera_pitch_deg, -20, fov_deg=42),
                orbit("room", (0.31, 0.0, 0.27), 1.4, 25, -40, fov_deg=42),
                Camera(
                    *("hand", (0.1, 0.0, 0.0), (0.03, 0.0, 0.2), (1.0, 0.0, 0.0), 75.0, 0.01),
                    body="panda",
                    link="hand",
                    mounted=True,
                ),
            ),
            light=sun(f.light_azimuth_deg, 60, f.rgba("light_color")[:3], f.light_ambient),
            engine=Engine(self.physics_hz, (0.0, 0.0, -f.gravity_m_s2)),
        )

    def started(self) -> None:
        """Remember the disc, where the cube was, and that the hand shall stay where it is."""
        bodies = {body.name: body for body in self.world.scene.bodies}
        self.goal = bodies["goal"].pose.xyz[:2]
        self.home = bodies["cube"].pose.xyz[:2]
        self.target: tuple[float, ...] = tuple(self.world.link("panda", "tip")[:3])

    def act(self, action: list[float]) -> None:
        """Move the target of the fingertips, and the arm towards it."""
        by = [HAND_SPEED_M_S / self.control_hz * a for a in action]
        self.target = panda_moved(self.target, by, self.tip, BOX)
        self.world.drive("panda", DRIVEN, [*panda_joints(*self.target), 0.0, 0.0])

    def arrived(self) -> None:
        """Derive where fingertips and cube are, and how far the cube is from the disc."""
        state = self.world.link("panda", "tip")
        self.tip, self.speed = state[:3], state[7:10]
        self.cube = self.row[:7]
        self.distance = math.dist(self.cube[:2], self.goal)

    def proprio(self) -> Sequence[float]:
        """Return the fingertips, the cube, the disc and the time left."""
        x, y, z = self.cube[:3]
        turn = yaw(self.cube)
        return (
            *self.tip,
            *(min(max(v, -3.0), 3.0) for v in self.speed),
            *(min(max(x, -1.5), 2.5), min(max(y, -2.0), 2.0), min(max(z, -0.5), 1.0)),
            *(math.cos(turn), math.sin(turn)),
            *self.goal,
            self.seconds_left(),
        )

    def reward(self) -> float:
        """Return minus the distance of cube and disc, at least -1."""
        return -min(self.distance, 1.0)

    def success(self) -> bool:
        """Whether the cube is on the disc."""
        return self.distance < WITHIN_M and 0.0 < self.cube[2] < 0.06

    def terminated(self) -> bool:
        """End on success."""
        return self.success()

    def happening(self) -> Sequence[bool]:
        """Whether the hand touches the cube, and whether that has moved, or left the hand's box."""
        inside = all(low < c < high for c, low, high in zip(self.cube[:2], *BOX, strict=False))
        return (
            self.world.touch("panda", "cube") > 0.0,
            math.dist(self.cube[:2], self.home) > MOVED_M,
            not inside,
        )

    def scripted(self, rng: np.random.Generator) -> Policy:
        """Return a policy that goes behind the cube and pushes it to the disc."""
        return Pusher(self)

    def play(self, rng: np.random.Generator) -> Policy:
        """Return a policy that sweeps the cube to one random place after another."""
        aims: list[tuple[float, ...]] = []
        left = 0

        def act() -> Vector:
            nonlocal left
            if not aims or left <= 0:
                x, y = self.cube[:2]
                to_x, to_y = rng.uniform((0.37, -0.14), (0.53, 0.14)).tolist()
                far = max(math.hypot(x - to_x, y - to_y), 1e-6)
                x, y = x + 0.1 * (x - to_x) / far, y + 0.1 * (y - to_y) / far
                aims[:] = [(x, y, 0.13), (x, y, 0.025), (to_x, to_y, 0.025)]
                left = 70
            left -= 1
            way = np.subtract(aims[0], self.tip)
            if np.abs(way).max() < 0.02:
                aims.pop(0)
            return (way / max(np.abs(way).max(), 0.04)).astype(np.float32)

        return act


def _room(f: Values) -> tuple[Body, Body]:
    """A floor, and a table on which the arm stands."""
    color = f.rgba("table_color")
    dark = (color[0] * 0.6, color[1] * 0.6, color[2] * 0.6, 1.0)
    top = Shape("box", (0.5, 0.48, 0.02), color, Pose((0.3, 0.0, -0.02)))
    foot = Shape("box", (0.4, 0.38, (TABLE_M - 0.04) / 2), dark, Pose((0.3, 0.0, -0.245)))
    floor = Shape("plane", color=(0.62, 0.65, 0.66, 1.0))
    return (
        Body("floor", (floor,), pose=Pose((0.0, 0.0, -TABLE_M))),
        Body("table", (top, foot), material=Material(friction=1.0)),
    )


class Pusher:
    """A scripted policy: above the cube to behind it, down, and along the line to the disc.

    It stays on the line through disc and cube, which turns as the cube slips; where it is too far
    off, it begins again. It reckons with its actions that have not been applied yet.
    """

    HIGH_M, LOW_M = 0.12, 0.028
    CLEAR_M = 0.025  # Between fingers and cube, before the push.
    OFF_M = 0.02  # Sideways.
    PUSH = 0.5  # Part of full speed.

    def __init__(self, env: PandaPush) -> None:
        self.env = env
        self.pushing = False
        self.stride = HAND_SPEED_M_S / env.control_hz
        self.late: list[Vector] = [np.zeros(3, np.float32)] * env.values.action_delay_steps

    def __call__(self) -> Vector:
        """Return the next action."""
        env = self.env
        x, y, z = np.add(env.target, self.stride * sum(self.late)).tolist()
        cx, cy = env.cube[:2]
        far = max(env.distance, 1e-6)
        dx, dy = (env.goal[0] - cx) / far, (env.goal[1] - cy) / far
        across = (y - cy) * dx - (x - cx) * dy
        behind = (env.tip[0] - cx) * dx + (env.tip[1] - cy) * dy < 0.0
        width = 2.0 if self.pushing else 1.0
        self.pushing = behind and abs(across) < width * self.OFF_M / 2 and z < 0.03 + 0.01 * width
        if self.pushing:
            aside = max(-0.6, min(0.6, -0.35 * across / self.stride))
            way = (self.PUSH * dx - aside * dy, self.PUSH * dy + aside * dx)
            return self._action(*(self.stride * w / 0.4 for w in way), self.LOW_M - z)
        turn = yaw(env.cube) - math.atan2(dy, dx)
        half = env.values.cube_size_m / 2 * (abs(math.cos(turn)) + abs(math.sin(turn)))
        back = half + 0.015 + self.CLEAR_M
        way = (cx - back * dx - x, cy - back * dy - y)
        away = math.hypot(*way)
        if away < 0.02 or (away < 0.03 and z < 0.1):
            return self._action(*way, self.LOW_M - z)
        if z < self.HIGH_M - 0.03:
            return self._action(0.0, 0.0, self.HIGH_M - z)
        return self._action(*way, self.HIGH_M - z)

    def _action(self, *way: float) -> Vector:
        """Return the action that goes that way [m], a part of it at once, and at most full."""
        action = np.array(way) * 0.4 / self.stride
        action /= max(1.0, float(np.abs(action).max()))
        action = action.astype(np.float32)
        if self.late:
            self.late = [*self.late[1:], action]
        return action
