"""Pick up a cube with a Franka arm and put it onto another."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from sandbox import scene as sc
from sandbox.env import BODY_STATE, Actions, Aim, Hand, SandboxEnv, Vector, each, of_each, policy
from sandbox.env.factors import Color, Factors, Integer, Uniform, Values, handling, looks
from sandbox.env.geometry import yaw

BOX = ((0.28, -0.32, 0.015), (0.62, 0.32, 0.35))  # Lowest and highest place of the fingertips [m].
STARTS = ((0.38, -0.1, 0.16), (0.52, 0.1, 0.24))
GRIP_SPEED_M_S, OPEN_M = 0.1, sc.PANDA_OPEN_M / 2  # Of each finger: the fastest, the first place.
FIRM = 3.0  # The right finger is so much stronger, and keeps to the middle: a gear would do that.
CELLS = tuple((x, y) for x in (0.39, 0.52) for y in (-0.16, 0.0, 0.16))
JITTER_M = 0.022
LIFTED_M, MOVED_M = 0.02, 0.01
STILL_M_S = 0.02
LEVEL_M = 0.005  # How exactly one cube is above the other.
HELD_S = 0.5
HIGH_M = 0.16  # Where a cube is carried.
# With 70 iterations a cube turns twice as far in a shaken hand, with 30 it is lost. Groups that
# touch are solved alone: cubes that nobody touches are done after a few.
SOLVER = {"solver_iterations": 100, "solver_residual": 1e-5, "island_size": 1, "rigid": True}
NEAR_M = 0.01  # Bullet looks at what is nearer. With half of it cubes tilt more in a shaken hand.
CUBES = 4
NAMES = tuple(f"cube_{n}" for n in range(CUBES))
OTHERS: tuple[sc.Rgba, ...] = ((0.93, 0.74, 0.2, 1.0), (0.5, 0.35, 0.68, 1.0))


class PandaPickStack(SandboxEnv):
    """Stack the first cube on the second, the hand pointing down.

    Observation (proprio), float32 (28,), world frame: 0:3 point between the fingertips x, y, z
        [m]; 3:6 its velocity [m/s]; 6 opening of the fingers [m]; 7:27 for each of four cubes, the
        one to pick first and the one to stack on second, x, y, z [m] and cos, sin of its yaw, all
        0 where there is no such cube; 27 seconds left [s].
    Goal, float64 (3,): where the middle of the first cube is when it stands on the second.
    Action, float32 (4,) in [-1, 1]: velocity of the fingertips x, y, z in units of 0.25 m/s; what
        the fingers open to, -1 closed, 1 wide open.
    Reward: progress is 0 to 0.25 for nearness to the cube; in the hand 0.25 to 0.7, as it comes
        nearer to its place; on its place 0.75, and up to 1 while it rests there, released.
    Ends: terminated when it has rested there, released, for half a second, which is success;
        truncated after 20 s.
    """

    family = "manipulation"
    control_hz = 15  # As the data of DROID (Khazatsky et al. 2024).
    limit_s = 20.0
    action_size = 4
    state_bodies = NAMES
    state_joints = Hand.joints
    state_measures = (*Hand.measures, "in_hand", "rested_steps")
    goal_names = ("x [m]", "y [m]", "z [m]")
    events = ("in_hand", "lifted", "on_base", "base_moved")
    aim = Aim().each(NAMES, 0.03, 0.015)
    elements = (
        *Hand.elements(-0.1, 0.7),
        *each("opening", "m", -0.02, 0.1),
        *of_each(
            NAMES,
            *each("x", "m", -1.5, 2.5),
            *each("y", "m", -2.0, 2.0),
            *each("z", "m", -0.5, 1.0),
            *each("cos_yaw sin_yaw", "1", -1.0, 1.0),
        ),
        *each("seconds_left", "s", 0.0, 20.0),
    )
    factors = Factors(
        n_cubes=Integer(2, CUBES, 4, "1", "cubes on the table"),
        cube_size_m=Uniform(0.038, 0.05, 0.046, "m", "edge of each cube"),
        pick_mass_kg=Uniform(0.03, 0.25, 0.1, "kg", "mass of the cube to pick"),
        base_mass_kg=Uniform(0.05, 0.5, 0.1, "kg", "mass of each other cube"),
        cube_friction=Uniform(0.5, 1.0, 0.8, "1", "Coulomb coefficient of the cubes"),
        grip_n=Uniform(25.0, 40.0, 30.0, "N", "greatest force of a finger"),
        gravity_m_s2=Uniform(6.0, 12.0, 9.81, "m/s^2", "gravity"),
        pick_color=Color("crimson", "colour of the cube to pick"),
        base_color=Color("royalblue", "colour of the cube to stack on"),
        table_color=Color("#c9b79a", "colour of the table"),
        **looks(-60.0, (20.0, 60.0, 35.0)),
        **handling(delay_steps=3, noise=0.3),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> sc.Scene:
        """Lay four cubes apart, and put the first `n_cubes` of them there."""
        tip = rng.uniform(*STARTS).tolist()
        cells: list[int] = rng.permutation(len(CELLS)).tolist()[:CUBES]
        jitter: list[list[float]] = rng.uniform(-JITTER_M, JITTER_M, (CUBES, 2)).tolist()
        turns = rng.uniform(-0.25, 0.25, CUBES).tolist()
        colors = (f.rgba("pick_color"), f.rgba("base_color"), *OTHERS)
        half, surface = f.cube_size_m / 2, sc.Material(friction=f.cube_friction)
        cubes: list[sc.Body] = []
        for n in range(f.n_cubes):
            (x, y), (dx, dy) = CELLS[cells[n]], jitter[n]
            place = sc.turned(x + dx, y + dy, half, turns[n])
            shape = sc.Shape("box", (half, half, half), colors[n])
            mass = f.base_mass_kg if n else f.pick_mass_kg
            cubes.append(sc.Body(NAMES[n], (shape,), mass, place, surface))
        grip = (f.grip_n, FIRM * f.grip_n)
        arm = sc.panda(sc.panda_joints(*tip), OPEN_M, grip_n=grip, locked=sc.PANDA_LEVELLED)
        return sc.Scene(
            bodies=(*sc.panda_room(f.rgba("table_color"), friction=1.0), arm, *cubes),
            cameras=(
                sc.orbit("main", (0.41, 0.0, 0.1), 1.05, f.camera_pitch_deg, -20, fov_deg=42),
                sc.orbit("room", (0.31, 0.0, 0.27), 1.4, 25, -40, fov_deg=42),
                sc.PANDA_CAMERA,
            ),
            light=self.light(f, 60),
            engine=self.engine(f, contact_breaking_threshold_m=NEAR_M, **SOLVER),
        )

    def started(self) -> None:
        """Hold the hand where it is, half open, and note that nothing is stacked."""
        self.hand = Hand(self.world, BOX, self.control_hz, sc.PANDA_LEVELLED)
        self.grip, self.rested = OPEN_M, 0
        self.home = next(b.pose.xyz for b in self.world.scene.bodies if b.name == NAMES[1])
        self.size: float = self.values.cube_size_m
        self.count: int = self.values.n_cubes

    def act(self, action: list[float]) -> None:
        """Move the hand and its fingers.

        The left finger presses as hard as it may. The right one goes to the middle of both, so
        that a grasp is centred and does not drift.
        """
        asked, most = sc.PANDA_OPEN_M * (1 + action[3]) / 2, GRIP_SPEED_M_S / self.control_hz
        self.grip = min(max(asked, self.grip - most), self.grip + most)
        self.hand.move(action[:3], (self.grip, max(self.grip, self.opening / 2)))

    def arrived(self) -> None:
        """Derive where the fingers and the cubes are, what is held, and what rests where."""
        self.hand.look()
        self.opening = (
            self.joint("panda", "left_finger")[0] + self.joint("panda", "right_finger")[0]
        )
        pick, base = self.row[:13], self.row[13:26]
        self.pick, self.base = pick[:3], base[:3]
        self.goal = (base[0], base[1], base[2] + self.size)
        self.in_hand = self._holds()
        self.on_base = (
            abs(pick[2] - self.goal[2]) < LEVEL_M
            and math.dist(pick[:2], base[:2]) < 0.45 * self.size
        )
        still = self.on_base and math.hypot(*pick[7:10]) < STILL_M_S
        free = still and self.world.touch("panda", "cube_0") == 0.0
        self.rested = self.rested + 1 if free else 0

    def _holds(self) -> bool:
        """Return whether both fingers touch the first cube."""
        if math.dist(self.hand.tip, self.pick) > 0.7 * self.size or self.opening > 1.4 * self.size:
            return False
        return all(self.world.touch("panda", "cube_0", one) > 0.0 for one in sc.PANDA_FINGERS)

    def proprio(self) -> tuple[float, ...]:
        cubes: list[float] = []
        for n in range(self.count):
            cube = self.row[BODY_STATE * n : BODY_STATE * n + 7]
            x, y, z = cube[:3]
            turn = yaw(cube)
            cubes += (min(max(x, -1.5), 2.5), min(max(y, -2.0), 2.0), min(max(z, -0.5), 1.0))
            cubes += (math.cos(turn), math.sin(turn))
        cubes += (0.0,) * (5 * (CUBES - self.count))
        return (*self.hand.numbers(), self.opening, *cubes, self.seconds_left())

    def measured(self) -> tuple[float, ...]:
        return (*self.hand.tip, self.in_hand, self.rested)

    def progress(self) -> float:
        if self.on_base:
            return 0.75 + 0.25 * min(1.0, self.rested / (HELD_S * self.control_hz))
        if self.in_hand:
            return 0.25 + 0.45 * (1.0 - math.tanh(5.0 * math.dist(self.pick, self.goal)))
        return 0.25 * (1.0 - math.tanh(5.0 * math.dist(self.hand.tip, self.pick)))

    def success(self) -> bool:
        return self.rested >= HELD_S * self.control_hz

    def happening(self) -> tuple[bool, ...]:
        """Return whether the cube is in the hand, lifted, in its place; the other has moved."""
        lifted = self.in_hand and self.pick[2] > self.size / 2 + LIFTED_M
        return (self.in_hand, lifted, self.on_base, math.dist(self.base, self.home) > MOVED_M)

    @policy
    def scripted(self, rng: np.random.Generator) -> Actions:
        """Pick, carry and put down the cube, and begin again after a failure."""
        go, wait = partial(self._go, self.pending()), self.values.action_delay_steps

        def carried(up_m: float) -> Sequence[float]:
            """Return where the hand has the cube so far above its place."""
            tip, cube = self.hand.tip, self.pick
            x, y, z = (p + t - c for p, t, c in zip(self.goal, tip, cube, strict=True))
            return x, y, z + up_m

        while True:
            yield from go(lambda: (*self.pick[:2], HIGH_M), 1.0, 0.015)
            yield from go(lambda: self.pick, 1.0, 0.006, most=30)
            low = tuple(self.pick)
            yield from go(lambda at=low: at, -1.0, least=8 + wait)
            yield from go(lambda at=low: (*at[:2], HIGH_M), -1.0, 0.02, most=30)
            if not self.in_hand:
                continue
            yield from go(lambda: (*carried(0.0)[:2], HIGH_M), -1.0, 0.006)
            if not self.in_hand:
                continue
            yield from go(lambda: carried(0.001), -1.0, 0.004, most=30)
            low = self.hand.target
            yield from go(lambda at=low: at, 1.0, least=8 + wait)
            yield from go(lambda at=low: (*at[:2], HIGH_M), 1.0, 0.02, least=20 + wait)

    @policy
    def play(self, rng: np.random.Generator) -> Actions:
        """Grasp at random cubes and drop them anywhere."""
        go = partial(self._go, self.pending())
        while True:
            cube = BODY_STATE * int(rng.integers(self.count))
            x, y, z = np.clip(self.row[cube : cube + 3], *BOX).tolist()
            x, y = x + rng.normal(0.0, 0.005), y + rng.normal(0.0, 0.005)
            to = rng.uniform((0.34, -0.2, 0.05), (0.56, 0.2, 0.25)).tolist()
            over, low = (x, y, HIGH_M), (x, y, z)
            for place, grip, least in (
                *((over, 1.0, 0), (low, 1.0, 0), (low, -1.0, 8)),
                *((over, -1.0, 0), (to, -1.0, 0), (to, 1.0, 6)),
            ):
                yield from go(lambda at=place: at, grip, least=least)

    def _go(
        self,
        pending: deque[Vector],
        place: Callable[[], Sequence[float]],
        grip: float,
        within_m: float = 0.012,
        least: int = 0,
        most: int = 60,
    ) -> Actions:
        """Yield actions until the hand is at a place, which may move, or time is up.

        Actions that are not applied yet count as done.
        """
        stride = self.hand.stride
        for n in range(most):
            coming = stride * np.sum(pending, axis=0)[:3] if pending else 0.0
            way = np.subtract(place(), self.hand.target) - coming
            if n >= least and np.abs(way).max() < within_m:
                return
            way *= 0.5 / stride
            action = np.array([*(way / max(1.0, np.abs(way).max())), grip], np.float32)
            pending.append(action)
            yield action
