"""Bring the fingertips of a Franka arm to a ball in the air."""

import math
from collections.abc import Sequence

import numpy as np

from sandbox.env import Element, Policy, SandboxEnv, Vector
from sandbox.scenario.factors import Color, Factors, Integer, Uniform, Values
from sandbox.scene import (
    PANDA_FINGERS,
    PANDA_JOINTS,
    PANDA_LIMITS,
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
)

BOX: tuple[Vec3, Vec3] = ((0.28, -0.32, 0.02), (0.62, 0.32, 0.4))  # Where the hand may go [m].
GOALS: tuple[Vec3, Vec3] = ((0.32, -0.28, 0.05), (0.58, 0.28, 0.27))
SPREAD_M = (0.08, 0.16, 0.06)  # Along each axis, either way.
STARTS: tuple[Vec3, Vec3] = ((0.33, -0.2, 0.32), (0.5, 0.2, 0.38))
HAND_SPEED_M_S = 0.25  # At full action.
WITHIN_M = 0.02
ITERATIONS = 20  # Of the solver; the arm comes to rest within 0.1 mm, with 50 within 0.01 mm.
TABLE_M = 0.45  # Above the floor.


class PandaReach(SandboxEnv):
    """Reach for the ball, the hand pointing down.

    Observation (proprio), float32 (16,), world frame: 0:3 point between the fingertips x, y, z
        [m]; 3:6 its velocity [m/s]; 6:9 ball x, y, z [m]; 9:16 angles of the seven joints [rad].
    Action, float32 (3,) in [-1, 1]: velocity of the fingertips x, y, z in units of
        0.25 m/s.
    Reward: minus the distance of fingertips and ball [m], at least -1.
    Ends: terminated within 2 cm, which is success; truncated after 6 s.
    Factors: payload_kg, motor_strength, gravity_m_s2, goal_x_m, goal_y_m,
        goal_z_m, goal_spread, goal_radius_m, goal_color, arm_color, table_color,
        light_azimuth_deg, light_color, light_ambient, camera_pitch_deg, action_delay_steps,
        action_noise.
    Events: near_goal, hand_low.
    """

    family = "manipulation"
    control_hz = 15  # As the data of DROID (Khazatsky et al. 2024).
    limit_s = 6.0
    action_size = 3
    state_joints = tuple(("panda", link) for link in (*PANDA_JOINTS, *PANDA_FINGERS))
    events = ("near_goal", "hand_low")
    elements = (
        Element("tip_x", "m", 0.0, 0.9),
        Element("tip_y", "m", -0.6, 0.6),
        Element("tip_z", "m", -0.05, 0.8),
        *(Element(f"tip_v{axis}", "m/s", -3.0, 3.0) for axis in "xyz"),
        *(
            Element(f"goal_{axis}", "m", low, high)
            for axis, low, high in zip("xyz", *GOALS, strict=True)
        ),
        *(
            Element(f"joint_{n}", "rad", low - 0.1, high + 0.1)
            for n, (low, high) in enumerate(PANDA_LIMITS, start=1)
        ),
    )
    factors = Factors(
        payload_kg=Uniform(0.0, 2.0, 0.0, "kg", "mass that the hand carries unseen"),
        motor_strength=Uniform(0.6, 1.0, 1.0, "1", "part of the motors' greatest torques"),
        gravity_m_s2=Uniform(1.6, 12.0, 9.81, "m/s^2", "gravity"),
        goal_x_m=Uniform(0.4, 0.5, 0.46, "m", "middle of where the ball may be, x"),
        goal_y_m=Uniform(-0.12, 0.12, 0.0, "m", "middle of where the ball may be, y"),
        goal_z_m=Uniform(0.11, 0.21, 0.16, "m", "middle of where the ball may be, z"),
        goal_spread=Uniform(0.0, 1.0, 1.0, "1", "how far from there it may be, of SPREAD_M"),
        goal_radius_m=Uniform(0.018, 0.035, 0.026, "m", "radius of the ball"),
        goal_color=Color("tomato", "colour of the ball"),
        arm_color=Color("#eef0f2", "colour of the arm"),
        table_color=Color("#c9b79a", "colour of the table"),
        light_azimuth_deg=Uniform(-180.0, 180.0, -60.0, "deg", "where the light comes from"),
        light_color=Color("white", "colour of the light"),
        light_ambient=Uniform(0.3, 0.8, 0.55, "1", "light where none falls directly"),
        camera_pitch_deg=Uniform(15.0, 55.0, 30.0, "deg", "camera above the horizon"),
        action_delay_steps=Integer(0, 3, 0, "1", "steps by which actions come late"),
        action_noise=Uniform(0.0, 0.3, 0.0, "1", "deviation of noise on actions"),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> Scene:
        """Hold the hand anywhere above the table, and the ball below it."""
        tip = rng.uniform(*STARTS)
        away = rng.uniform(-1.0, 1.0, 3)
        goal = _goal(f, away.tolist())
        arm = panda(
            panda_joints(*tip.tolist()),
            color=f.rgba("arm_color"),
            payload_kg=f.payload_kg,
            strength=f.motor_strength,
        )
        ball = Shape("sphere", (f.goal_radius_m,), f.rgba("goal_color"), collides=False)
        return Scene(
            bodies=(*_room(f), arm, Body("goal", (ball,), pose=Pose(goal))),
            cameras=(
                orbit("main", (0.31, 0.0, 0.27), 1.4, f.camera_pitch_deg, -40, fov_deg=42),
                orbit("side", (0.33, 0.0, 0.28), 1.5, 10, -90, fov_deg=42),
                Camera(
                    *("hand", (0.1, 0.0, 0.0), (0.03, 0.0, 0.2), (1.0, 0.0, 0.0), 75.0, 0.01),
                    body="panda",
                    link="hand",
                    mounted=True,
                ),
            ),
            light=sun(f.light_azimuth_deg, 60, f.rgba("light_color")[:3], f.light_ambient),
            engine=Engine(
                self.physics_hz, (0.0, 0.0, -f.gravity_m_s2), solver_iterations=ITERATIONS
            ),
        )

    def started(self) -> None:
        """Remember where the ball is, and that the hand shall stay where it is."""
        x, y, z = self.world.scene.bodies[-1].pose.xyz
        self.goal = (x, y, z)
        self.target: tuple[float, ...] = tuple(self.world.link("panda", "tip")[:3])
        self.stride = HAND_SPEED_M_S / self.control_hz

    def act(self, action: list[float]) -> None:
        """Move the target of the fingertips, and the arm towards it."""
        by = [self.stride * a for a in action]
        self.target = panda_moved(self.target, by, self.tip, BOX)
        self.world.drive("panda", DRIVEN, [*panda_joints(*self.target), 0.0, 0.0])

    def arrived(self) -> None:
        """Derive where the fingertips are, and how far from the ball."""
        state = self.world.link("panda", "tip")
        self.tip, self.speed = state[:3], state[7:10]
        self.distance = math.dist(self.tip, self.goal)

    def proprio(self) -> Sequence[float]:
        """Return the fingertips, the ball and the joints."""
        speed = [-3.0 if v < -3.0 else 3.0 if v > 3.0 else v for v in self.speed]
        return (*self.tip, *speed, *self.goal, *self.row[0:14:2])

    def reward(self) -> float:
        """Return minus the distance, at least -1."""
        return -min(self.distance, 1.0)

    def success(self) -> bool:
        """Whether the fingertips are at the ball."""
        return self.distance < WITHIN_M

    def terminated(self) -> bool:
        """End on success."""
        return self.success()

    def happening(self) -> Sequence[bool]:
        """Whether the ball is near, and whether the fingertips are close above the table."""
        return (self.distance < 0.06, self.tip[2] < 0.06)

    def scripted(self, rng: np.random.Generator) -> Policy:
        """Return a policy that goes straight to the ball, slower when near."""
        gain = 0.6 / (1 + self.values.action_delay_steps) / self.stride

        def act() -> Vector:
            way = [gain * (g - t) for g, t in zip(self.goal, self.tip, strict=True)]
            return np.clip(np.array(way, np.float32), -1.0, 1.0)

        return act

    def play(self, rng: np.random.Generator) -> Policy:
        """Return a policy that goes from one random place to another."""
        aim, left = self.tip, 0

        def act() -> Vector:
            nonlocal aim, left
            if left <= 0 or math.dist(aim, self.tip) < 0.03:
                aim, left = rng.uniform(*BOX).tolist(), int(rng.integers(10, 40))
            left -= 1
            way = np.subtract(aim, self.tip)
            return (way / max(np.abs(way).max(), 0.02)).astype(np.float32)

        return act


DRIVEN = (*PANDA_JOINTS, *PANDA_FINGERS)


def _goal(f: Values, away: Sequence[float]) -> Vec3:
    """Return where the ball is, `away` in -1 to 1 of its spread."""
    middle = (f.goal_x_m, f.goal_y_m, f.goal_z_m)
    x, y, z = (m + f.goal_spread * s * a for m, s, a in zip(middle, SPREAD_M, away, strict=True))
    return (x, y, z)


def _room(f: Values) -> tuple[Body, Body]:
    """A floor, and a table on which the arm stands."""
    color = f.rgba("table_color")
    dark = (color[0] * 0.6, color[1] * 0.6, color[2] * 0.6, 1.0)
    top = Shape("box", (0.5, 0.48, 0.02), color, Pose((0.3, 0.0, -0.02)))
    foot = Shape("box", (0.4, 0.38, (TABLE_M - 0.04) / 2), dark, Pose((0.3, 0.0, -0.245)))
    floor = Shape("plane", color=(0.62, 0.65, 0.66, 1.0))
    return (
        Body("floor", (floor,), pose=Pose((0.0, 0.0, -TABLE_M))),
        Body("table", (top, foot), material=Material(friction=0.5)),
    )
