"""Push a cube over a table to a disc with the closed fingers of a Franka arm."""

import math
from collections.abc import Sequence

import numpy as np

from sandbox import scene as sc
from sandbox.env import Actions, Aim, Element, Hand, SandboxEnv, each, policy, yaw
from sandbox.env.factors import Color, Factors, Uniform, Values, handling, looks

BOX = ((0.28, -0.32, 0.02), (0.62, 0.32, 0.3))  # Lowest and highest place of the fingertips [m].
STARTS = ((0.38, -0.08, 0.12), (0.5, 0.08, 0.2))
SPREAD_M = (0.05, 0.03)  # Of the disc, along x and y, either way.
DISC_M = 0.04
WITHIN_M, FAR_M = 0.03, 0.4  # Cube and disc, for success and where progress is 0.
MOVED_M = 0.01
ITERATIONS = 30  # Of the solver.

# The scripted policy.
HIGH_M, LOW_M = 0.12, 0.028  # Fingertips on the way, and while they push.
CLEAR_M = 0.025  # Between fingers and cube, before the push.
OFF_M = 0.02  # Sideways from the line through disc and cube.
PUSH = 0.5  # Part of full speed.


class PandaPush(SandboxEnv):
    """Push the cube onto the disc with closed fingers, the hand pointing down.

    Observation (proprio), float32 (14,), world frame: 0:3 point between the fingertips x, y, z
        [m]; 3:6 its velocity [m/s]; 6:9 cube x, y, z [m]; 9:11 cos, sin of the cube's yaw; 11:13
        disc x, y [m]; 13 seconds left [s].
    Goal, float64 (2,): the disc's middle.
    Action, float32 (3,) in [-1, 1]: velocity of the fingertips x, y, z in units of 0.25 m/s.
    Reward: progress is 1 - horizontal distance of cube and disc / 0.4 m, 0 to 1.
    Ends: terminated within 3 cm, the cube on the table, which is success; truncated after 15 s.
    """

    family = "manipulation"
    control_hz = 15  # As the data of DROID (Khazatsky et al. 2024).
    limit_s = 15.0
    action_size = 3
    state_bodies = ("cube",)
    state_joints = Hand.joints
    state_measures = Hand.measures
    goal_names = ("x [m]", "y [m]")
    events = ("hand_on_cube", "cube_moved", "cube_out_of_reach")
    aim = Aim().each(("cube",), 0.03, 0.015)
    elements = (
        *Hand.elements(-0.1, 0.7),
        Element("cube_x", "m", -1.5, 2.5),
        Element("cube_y", "m", -2.0, 2.0),
        Element("cube_z", "m", -0.5, 1.0),
        *each("cube_cos_yaw cube_sin_yaw", "1", -1.0, 1.0),
        Element("goal_x", "m", 0.3, 0.6),
        Element("goal_y", "m", -0.1, 0.1),
        Element("seconds_left", "s", 0.0, 15.0),
    )
    factors = Factors(
        cube_mass_kg=Uniform(0.05, 1.5, 0.3, "kg", "mass of the cube"),
        cube_friction=Uniform(0.15, 0.9, 0.5, "1", "Coulomb coefficient of cube and table"),
        cube_size_m=Uniform(0.045, 0.07, 0.06, "m", "edge of the cube"),
        finger_friction=Uniform(0.1, 0.7, 0.4, "1", "of the fingers, multiplied by the cube's"),
        gravity_m_s2=Uniform(6.0, 12.0, 9.81, "m/s^2", "gravity"),
        goal_x_m=Uniform(0.4, 0.5, 0.45, "m", "middle of the disc's range, x"),
        goal_y_m=Uniform(-0.03, 0.03, 0.0, "m", "middle of the disc's range, y"),
        goal_spread=Uniform(0.0, 1.0, 1.0, "1", "size of the disc's range, in units of SPREAD_M"),
        cube_color=Color("crimson", "colour of the cube"),
        goal_color=Color("#2f7d4f", "colour of the disc"),
        table_color=Color("#c9b79a", "colour of the table"),
        **looks(-60.0, (25.0, 65.0, 40.0)),
        **handling(delay_steps=3, noise=0.3),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> sc.Scene:
        """Lay the cube on the left or the right, and the disc between."""
        tip = rng.uniform(*STARTS).tolist()
        x, y, turn = rng.uniform((0.37, 0.13, -0.7), (0.52, 0.22, 0.7)).tolist()
        y *= 1.0 if rng.random() < 0.5 else -1.0
        away = rng.uniform(-1.0, 1.0, 2).tolist()
        middle, spread = (f.goal_x_m, f.goal_y_m), f.goal_spread
        gx, gy = (m + spread * s * a for m, s, a in zip(middle, SPREAD_M, away, strict=True))
        half = f.cube_size_m / 2
        cube = sc.Shape("box", (half, half, half), f.rgba("cube_color"))
        place, surface = sc.turned(x, y, half, turn), sc.Material(friction=f.cube_friction)
        disc = sc.Shape("cylinder", (DISC_M, 0.001), f.rgba("goal_color"), collides=False)
        return sc.Scene(
            bodies=(
                *sc.panda_room(f.rgba("table_color"), friction=1.0),
                sc.Body("goal", (disc,), pose=sc.turned(gx, gy, 0.0006)),
                sc.panda(sc.panda_joints(*tip), friction=f.finger_friction),
                sc.Body("cube", (cube,), f.cube_mass_kg, place, surface),
            ),
            cameras=(
                sc.orbit("main", (0.39, 0.0, 0.11), 1.1, f.camera_pitch_deg, -20, fov_deg=42),
                sc.orbit("room", (0.31, 0.0, 0.27), 1.4, 25, -40, fov_deg=42),
                sc.PANDA_CAMERA,
            ),
            light=self.light(f, 60),
            engine=self.engine(f, solver_iterations=ITERATIONS),
        )

    def started(self) -> None:
        """Remember where the disc is and the cube was, and hold the hand where it is."""
        bodies = {body.name: body for body in self.world.scene.bodies}
        self.goal, self.home = bodies["goal"].pose.xyz[:2], bodies["cube"].pose.xyz[:2]
        self.hand = Hand(self.world, BOX, self.control_hz)

    def act(self, action: list[float]) -> None:
        self.hand.move(action)

    def arrived(self) -> None:
        """Compute how far the cube is from the disc."""
        self.hand.look()
        self.cube = self.row[:7]
        self.distance = math.dist(self.cube[:2], self.goal)

    def proprio(self) -> tuple[float, ...]:
        x, y, z = self.cube[:3]
        turn = yaw(self.cube)
        return (
            *self.hand.numbers(),
            *(min(max(x, -1.5), 2.5), min(max(y, -2.0), 2.0), min(max(z, -0.5), 1.0)),
            *(math.cos(turn), math.sin(turn)),
            *self.goal,
            self.seconds_left(),
        )

    def measured(self) -> list[float]:
        return self.hand.tip

    def progress(self) -> float:
        return 1.0 - min(1.0, self.distance / FAR_M)

    def success(self) -> bool:
        return self.distance < WITHIN_M and 0.0 < self.cube[2] < 0.06

    def happening(self) -> tuple[bool, ...]:
        """Return whether the hand touches the cube, it has moved, and it has left the box."""
        touched = self.world.touch("panda", "cube") > 0.0
        inside = all(low < c < high for c, low, high in zip(self.cube[:2], *BOX, strict=False))
        return (touched, math.dist(self.cube[:2], self.home) > MOVED_M, not inside)

    @policy
    def scripted(self, rng: np.random.Generator) -> Actions:
        """Go above the cube to behind it, down, and push it along the line to the disc.

        That line turns as the cube slips. A hand that is too far off it begins again.
        """
        pending, pushing, stride = self.pending(), False, self.hand.stride
        while True:
            x, y, z = np.add(self.hand.target, stride * sum(pending)).tolist()
            cx, cy = self.cube[:2]
            far = max(self.distance, 1e-6)
            dx, dy = (self.goal[0] - cx) / far, (self.goal[1] - cy) / far
            across = (y - cy) * dx - (x - cx) * dy
            behind = (self.hand.tip[0] - cx) * dx + (self.hand.tip[1] - cy) * dy < 0.0
            width = 2.0 if pushing else 1.0
            pushing = behind and abs(across) < width * OFF_M / 2 and z < 0.03 + 0.01 * width
            if pushing:
                aside = max(-0.6, min(0.6, -0.35 * across / stride))
                way = (PUSH * dx - aside * dy, PUSH * dy + aside * dx)
                way = [*(stride * w / 0.4 for w in way), LOW_M - z]
            else:
                way = self._to_behind((x, y, z), (dx, dy))
            action = np.array(way) * 0.4 / stride
            action = (action / max(1.0, float(np.abs(action).max()))).astype(np.float32)
            pending.append(action)
            yield action

    def _to_behind(self, at: Sequence[float], push: tuple[float, float]) -> Sequence[float]:
        """Return the way [m] from a place to where a push in a direction begins."""
        (x, y, z), (dx, dy) = at, push
        turn = yaw(self.cube) - math.atan2(dy, dx)
        half = self.values.cube_size_m / 2 * (abs(math.cos(turn)) + abs(math.sin(turn)))
        back = half + 0.015 + CLEAR_M
        way = (self.cube[0] - back * dx - x, self.cube[1] - back * dy - y)
        away = math.hypot(*way)
        if away < 0.02 or (away < 0.03 and z < 0.1):
            return (*way, LOW_M - z)
        return (0.0, 0.0, HIGH_M - z) if z < HIGH_M - 0.03 else (*way, HIGH_M - z)

    @policy
    def play(self, rng: np.random.Generator) -> Actions:
        """Sweep the cube to one random place after another."""
        while True:
            x, y = self.cube[:2]
            to_x, to_y = rng.uniform((0.37, -0.14), (0.53, 0.14)).tolist()
            far = max(math.hypot(x - to_x, y - to_y), 1e-6)
            x, y = x + 0.1 * (x - to_x) / far, y + 0.1 * (y - to_y) / far
            aims = [(x, y, 0.13), (x, y, 0.025), (to_x, to_y, 0.025)]
            for _ in range(70):
                aim = aims[0]
                if np.abs(np.subtract(aim, self.hand.tip)).max() < 0.02:
                    aims.pop(0)
                yield self.hand.towards(aim, within_m=0.04)
                if not aims:
                    break
