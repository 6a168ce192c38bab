"""Bring the fingertips of a Franka arm to a ball in the air."""

import math

import numpy as np

from sandbox import scene as sc
from sandbox.env import Actions, Aim, Element, Hand, SandboxEnv, policy
from sandbox.env.factors import Color, Factors, Uniform, Values, handling, looks

BOX = ((0.28, -0.32, 0.02), (0.62, 0.32, 0.4))  # Lowest and highest place of the fingertips [m].
GOALS = ((0.32, -0.28, 0.05), (0.58, 0.28, 0.27))
SPREAD_M = (0.08, 0.16, 0.06)  # Along each axis, either way.
STARTS = ((0.33, -0.2, 0.32), (0.5, 0.2, 0.38))
WITHIN_M, FAR_M = 0.02, 0.8  # Fingertips and ball, for success and where progress is 0.
ITERATIONS = 20  # Of the solver; the arm comes to rest within 0.1 mm, with 50 within 0.01 mm.


class PandaReach(SandboxEnv):
    """Reach for the ball, the hand pointing down.

    Observation (proprio), float32 (16,), world frame: 0:3 point between the fingertips x, y, z
        [m]; 3:6 its velocity [m/s]; 6:9 ball x, y, z [m]; 9:16 angles of the seven joints [rad].
    Goal, float64 (3,): the ball.
    Action, float32 (3,) in [-1, 1]: velocity of the fingertips x, y, z in units of 0.25 m/s.
    Reward: progress is 1 - distance of fingertips and ball / 0.8 m, 0 to 1.
    Ends: terminated within 2 cm, which is success; truncated after 6 s.
    """

    family = "manipulation"
    control_hz = 15  # As the data of DROID (Khazatsky et al. 2024).
    limit_s = 6.0
    action_size = 3
    state_joints = Hand.joints
    state_measures = Hand.measures
    goal_names = ("x [m]", "y [m]", "z [m]")
    events = ("near_goal", "hand_low")
    aim = Aim().near("tip.x tip.y tip.z", 0.02, 0.01)
    elements = (
        *Hand.elements(-0.05, 0.8),
        *(Element(f"goal_{a}", "m", *ends) for a, *ends in zip("xyz", *GOALS, strict=True)),
        *(
            Element(f"joint_{n}", "rad", low - 0.1, high + 0.1)
            for n, (low, high) in enumerate(sc.PANDA_LIMITS, start=1)
        ),
    )
    factors = Factors(
        payload_kg=Uniform(0.0, 2.0, 0.0, "kg", "mass that the hand carries unseen"),
        motor_strength=Uniform(0.6, 1.0, 1.0, "1", "part of the motors' greatest torques"),
        gravity_m_s2=Uniform(1.6, 12.0, 9.81, "m/s^2", "gravity"),
        goal_x_m=Uniform(0.4, 0.5, 0.46, "m", "middle of the ball's range, x"),
        goal_y_m=Uniform(-0.12, 0.12, 0.0, "m", "middle of the ball's range, y"),
        goal_z_m=Uniform(0.11, 0.21, 0.16, "m", "middle of the ball's range, z"),
        goal_spread=Uniform(0.0, 1.0, 1.0, "1", "size of the ball's range, in units of SPREAD_M"),
        goal_radius_m=Uniform(0.018, 0.035, 0.026, "m", "radius of the ball"),
        goal_color=Color("tomato", "colour of the ball"),
        arm_color=Color("#eef0f2", "colour of the arm"),
        table_color=Color("#c9b79a", "colour of the table"),
        **looks(-60.0, (15.0, 55.0, 30.0)),
        **handling(delay_steps=3, noise=0.3),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> sc.Scene:
        """Hold the hand anywhere above the table, and the ball below it."""
        tip, away = rng.uniform(*STARTS).tolist(), rng.uniform(-1.0, 1.0, 3).tolist()
        middle, spread = (f.goal_x_m, f.goal_y_m, f.goal_z_m), f.goal_spread
        x, y, z = (m + spread * s * a for m, s, a in zip(middle, SPREAD_M, away, strict=True))
        arm = sc.panda(
            sc.panda_joints(*tip),
            color=f.rgba("arm_color"),
            payload_kg=f.payload_kg,
            strength=f.motor_strength,
        )
        ball = sc.Shape("sphere", (f.goal_radius_m,), f.rgba("goal_color"), collides=False)
        goal = sc.Body("goal", (ball,), pose=sc.Pose((x, y, z)))
        main = sc.orbit("main", (0.31, 0.0, 0.27), 1.4, f.camera_pitch_deg, -40, fov_deg=42)
        side = sc.orbit("side", (0.33, 0.0, 0.28), 1.5, 10, -90, fov_deg=42)
        return sc.Scene(
            bodies=(*sc.panda_room(f.rgba("table_color"), friction=0.5), arm, goal),
            cameras=(main, side, sc.PANDA_CAMERA),
            light=self.light(f, 60),
            engine=self.engine(f, solver_iterations=ITERATIONS),
        )

    def started(self) -> None:
        """Remember where the ball is, and hold the hand where it is."""
        self.goal = self.world.scene.bodies[-1].pose.xyz
        self.hand = Hand(self.world, BOX, self.control_hz)

    def act(self, action: list[float]) -> None:
        self.hand.move(action)

    def arrived(self) -> None:
        """Compute how far the fingertips are from the ball."""
        self.hand.look()
        self.distance = math.dist(self.hand.tip, self.goal)

    def proprio(self) -> tuple[float, ...]:
        return (*self.hand.numbers(), *self.goal, *self.row[0:14:2])

    def measured(self) -> list[float]:
        return self.hand.tip

    def progress(self) -> float:
        return 1.0 - min(1.0, self.distance / FAR_M)

    def success(self) -> bool:
        return self.distance < WITHIN_M

    def happening(self) -> tuple[bool, ...]:
        """Return whether the ball is near, and whether the fingertips are close to the table."""
        return (self.distance < 0.06, self.hand.tip[2] < 0.06)

    @policy
    def scripted(self, rng: np.random.Generator) -> Actions:
        """Go straight to the ball, slower when near."""
        gain = 0.6 / (1 + self.values.action_delay_steps) / self.hand.stride
        while True:
            way = [gain * (g - t) for g, t in zip(self.goal, self.hand.tip, strict=True)]
            yield np.array(way, np.float32).clip(-1.0, 1.0)

    @policy
    def play(self, rng: np.random.Generator) -> Actions:
        """Go from one random place to another."""
        while True:
            aim = rng.uniform(*BOX).tolist()
            for _ in range(rng.integers(10, 40)):
                yield self.hand.towards(aim, within_m=0.02)
                if math.dist(aim, self.hand.tip) < 0.03:
                    break
