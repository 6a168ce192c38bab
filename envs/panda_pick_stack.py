"""Pick up a cube with a Franka arm and put it onto another."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from sandbox.env import Element, Policy, SandboxEnv, Vector, yaw
from sandbox.scenario.factors import Color, Factors, Integer, Uniform, Values
from sandbox.scene import (
    PANDA_FINGERS,
    PANDA_JOINTS,
    PANDA_OPEN_M,
    Body,
    Camera,
    Engine,
    Material,
    Pose,
    Rgba,
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

BOX: tuple[Vec3, Vec3] = ((0.28, -0.32, 0.015), (0.62, 0.32, 0.35))  # Where the hand may go [m].
STARTS: tuple[Vec3, Vec3] = ((0.38, -0.1, 0.16), (0.52, 0.1, 0.24))
HAND_SPEED_M_S = 0.25  # At full action.
GRIP_SPEED_M_S = 0.1  # Of each finger.
FIRM = 3.0  # The right finger is so much stronger, and keeps to the middle: a gear would do that.
CELLS = tuple((x, y) for x in (0.39, 0.52) for y in (-0.16, 0.0, 0.16))
JITTER_M = 0.022
LIFTED_M = 0.02
MOVED_M = 0.01
STILL_M_S = 0.02
LEVEL_M = 0.005  # How exactly one cube is above the other.
HELD_S = 0.5
HIGH_M = 0.16  # Where a cube is carried.
ITERATIONS = 100  # Of the solver; with 30 a cube turns by 30 degrees in a hand that is shaken.
TABLE_M = 0.45  # Above the floor.
CUBES = 4
NAMES = tuple(f"cube_{n}" for n in range(CUBES))
OTHERS: tuple[Rgba, ...] = ((0.93, 0.74, 0.2, 1.0), (0.5, 0.35, 0.68, 1.0))
DRIVEN = (*PANDA_JOINTS, *PANDA_FINGERS)


class PandaPickStack(SandboxEnv):
    """Stack the first cube on the second, the hand pointing down.

    Observation (proprio), float32 (28,), world frame: 0:3 point between the fingertips x, y, z
        [m]; 3:6 its velocity [m/s]; 6 opening of the fingers [m]; 7:27 for each of four cubes, the
        one to pick first and the one to stack on second, x, y, z [m] and cos, sin of its yaw, all
        0 where there is no such cube; 27 seconds left [s].
    Action, float32 (4,) in [-1, 1]: velocity of the fingertips x, y, z in units of 0.25 m/s; what
        the fingers open to, -1 closed, 1 wide open.
    Reward: 0 to 0.25 for nearness to the cube; in the hand 0.25 to 0.7, as it comes nearer to its
        place; on its place 0.75, and up to 1 while it rests there, released.
    Ends: terminated when it has rested there, released, for half a second, which is success;
        truncated after 20 s.
    Factors: n_cubes, cube_size_m, pick_mass_kg, base_mass_kg, cube_friction, grip_n, gravity_m_s2,
        pick_color, base_color, table_color, light_azimuth_deg, light_color, light_ambient,
        camera_pitch_deg, action_delay_steps, action_noise.
    Events: in_hand, lifted, on_base, base_moved.
    """

    family = "manipulation"
    control_hz = 15  # As the data of DROID (Khazatsky et al. 2024).
    physics_hz = 240
    limit_s = 20.0
    action_size = 4
    state_bodies = NAMES
    state_joints = tuple(("panda", link) for link in DRIVEN)
    events = ("in_hand", "lifted", "on_base", "base_moved")
    elements = (
        Element("tip_x", "m", 0.0, 0.9),
        Element("tip_y", "m", -0.6, 0.6),
        Element("tip_z", "m", -0.1, 0.7),
        *(Element(f"tip_v{axis}", "m/s", -3.0, 3.0) for axis in "xyz"),
        Element("opening", "m", -0.02, 0.1),
        *(
            Element(f"{cube}_{part}", unit, low, high)
            for cube in NAMES
            for part, unit, low, high in (
                ("x", "m", -1.5, 2.5),
                ("y", "m", -2.0, 2.0),
                ("z", "m", -0.5, 1.0),
                ("cos_yaw", "1", -1.0, 1.0),
                ("sin_yaw", "1", -1.0, 1.0),
            )
        ),
        Element("seconds_left", "s", 0.0, 20.0),
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
        light_azimuth_deg=Uniform(-180.0, 180.0, -60.0, "deg", "where the light comes from"),
        light_color=Color("white", "colour of the light"),
        light_ambient=Uniform(0.3, 0.8, 0.55, "1", "light where none falls directly"),
        camera_pitch_deg=Uniform(20.0, 60.0, 35.0, "deg", "camera above the horizon"),
        action_delay_steps=Integer(0, 3, 0, "1", "steps by which actions come late"),
        action_noise=Uniform(0.0, 0.3, 0.0, "1", "deviation of noise on actions"),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> Scene:
        """Lay four cubes apart, and put the first `n_cubes` of them there."""
        tip = rng.uniform(*STARTS).tolist()
        cells: list[int] = rng.permutation(len(CELLS)).tolist()[:CUBES]
        jitter: list[list[float]] = rng.uniform(-JITTER_M, JITTER_M, (CUBES, 2)).tolist()
        turns = rng.uniform(-0.25, 0.25, CUBES).tolist()
        colors = (f.rgba("pick_color"), f.rgba("base_color"), *OTHERS)
        half = f.cube_size_m / 2
        cubes = tuple(
            Body(
                name,
                (Shape("box", (half, half, half), color),),
                f.base_mass_kg if n else f.pick_mass_kg,
                turned(CELLS[cell][0] + dx, CELLS[cell][1] + dy, half, turn),
                Material(friction=f.cube_friction),
            )
            for n, (name, cell, (dx, dy), turn, color) in enumerate(
                zip(NAMES, cells, jitter, turns, colors, strict=True)
            )
        )
        arm = panda(panda_joints(*tip), PANDA_OPEN_M / 2, grip_n=(f.grip_n, FIRM * f.grip_n))
        return Scene(
            bodies=(*_room(f), arm, *cubes[: f.n_cubes]),
            cameras=(
                orbit("main", (0.41, 0.0, 0.1), 1.05, f.camera_pitch_deg, -20, fov_deg=42),
                orbit("room", (0.31, 0.0, 0.27), 1.4, 25, -40, fov_deg=42),
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
        """Remember that the hand shall stay where it is, half open, and that nothing is stacked."""
        self.target: tuple[float, ...] = tuple(self.world.link("panda", "tip")[:3])
        self.grip = PANDA_OPEN_M / 2
        self.rested = 0
        self.home = next(b.pose.xyz for b in self.world.scene.bodies if b.name == NAMES[1])
        self.size: float = self.values.cube_size_m
        self.count: int = self.values.n_cubes

    def act(self, action: list[float]) -> None:
        """Move the target of the fingertips and that of the fingers, and the arm towards them.

        The left finger presses as hard as it may; the right one goes to the middle of both, so
        that a grasp is centred and does not drift.
        """
        by = [HAND_SPEED_M_S / self.control_hz * a for a in action[:3]]
        self.target = panda_moved(self.target, by, self.tip, BOX)
        asked, most = PANDA_OPEN_M * (1 + action[3]) / 2, GRIP_SPEED_M_S / self.control_hz
        self.grip = min(max(asked, self.grip - most), self.grip + most)
        right = max(self.grip, self.opening / 2)
        self.world.drive("panda", DRIVEN, [*panda_joints(*self.target), self.grip, right])

    def arrived(self) -> None:
        """Derive where fingertips and cubes are, what is held, and what rests where."""
        state = self.world.link("panda", "tip")
        self.tip, self.speed = state[:3], state[7:10]
        self.opening = (
            self.joint("panda", "left_finger")[0] + self.joint("panda", "right_finger")[0]
        )
        pick, base = self.row[:13], self.row[13:26]
        self.pick, self.base = pick[:3], base[:3]
        self.place = (base[0], base[1], base[2] + self.size)
        self.in_hand = self._holds()
        self.on_base = (
            abs(pick[2] - self.place[2]) < LEVEL_M
            and math.dist(pick[:2], base[:2]) < 0.45 * self.size
        )
        still = self.on_base and math.hypot(*pick[7:10]) < STILL_M_S
        free = still and self.world.touch("panda", "cube_0") == 0.0
        self.rested = self.rested + 1 if free else 0

    def _holds(self) -> bool:
        """Whether both fingers touch the first cube."""
        if math.dist(self.tip, self.pick) > 0.7 * self.size or self.opening > 1.4 * self.size:
            return False
        return all(self.world.touch("panda", "cube_0", finger) > 0.0 for finger in PANDA_FINGERS)

    def proprio(self) -> Sequence[float]:
        """Return the fingertips, the cubes and the time left."""
        cubes: list[float] = []
        for n in range(CUBES):
            if n >= self.count:
                cubes += (0.0,) * 5
                continue
            cube = self.row[13 * n : 13 * n + 7]
            x, y, z = cube[:3]
            turn = yaw(cube)
            cubes += (min(max(x, -1.5), 2.5), min(max(y, -2.0), 2.0), min(max(z, -0.5), 1.0))
            cubes += (math.cos(turn), math.sin(turn))
        speed = [min(max(v, -3.0), 3.0) for v in self.speed]
        return (*self.tip, *speed, self.opening, *cubes, self.seconds_left())

    def reward(self) -> float:
        """Return how far the task is done, 0 to 1."""
        if self.on_base:
            return 0.75 + 0.25 * min(1.0, self.rested / (HELD_S * self.control_hz))
        if self.in_hand:
            return 0.25 + 0.45 * (1.0 - math.tanh(5.0 * math.dist(self.pick, self.place)))
        return 0.25 * (1.0 - math.tanh(5.0 * math.dist(self.tip, self.pick)))

    def success(self) -> bool:
        """Whether the cube has rested on the other, released, for half a second."""
        return self.rested >= HELD_S * self.control_hz

    def terminated(self) -> bool:
        """End on success."""
        return self.success()

    def happening(self) -> Sequence[bool]:
        """Whether the cube is in the hand, lifted, on its place; whether the other has moved."""
        lifted = self.in_hand and self.pick[2] > self.size / 2 + LIFTED_M
        return (self.in_hand, lifted, self.on_base, math.dist(self.base, self.home) > MOVED_M)

    def scripted(self, rng: np.random.Generator) -> Policy:
        """Return a policy that picks, carries and puts down, and begins again if it fails."""
        actions = _stacking(self)
        return lambda: next(actions)

    def play(self, rng: np.random.Generator) -> Policy:
        """Return a policy that grasps at random cubes and drops them anywhere."""
        actions = _dropping(self, rng)
        return lambda: next(actions)


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


class Hand:
    """Goes to places, reckoning with its actions that have not been applied yet."""

    def __init__(self, env: PandaPickStack) -> None:
        self.env = env
        self.late: list[Vector] = [np.zeros(4, np.float32)] * env.values.action_delay_steps

    def to(
        self,
        place: Callable[[], Sequence[float]],
        grip: float,
        within_m: float = 0.012,
        least: int = 0,
        most: int = 60,
    ) -> Iterator[Vector]:
        """Yield actions until the hand is at a place, which may move, or time is up."""
        stride = HAND_SPEED_M_S / self.env.control_hz
        for n in range(most):
            pending = stride * np.sum(self.late, axis=0)[:3] if self.late else 0.0
            way = np.subtract(place(), self.env.target) - pending
            if n >= least and np.abs(way).max() < within_m:
                return
            way *= 0.5 / stride
            action = np.array([*(way / max(1.0, np.abs(way).max())), grip], np.float32)
            if self.late:
                self.late = [*self.late[1:], action]
            yield action


def _stacking(env: PandaPickStack) -> Iterator[Vector]:
    """Yield actions that stack the first cube on the second, again and again until it is there."""
    hand, wait = Hand(env), env.values.action_delay_steps

    def carried(up_m: float) -> Sequence[float]:
        """Where the hand has the cube so far above its place."""
        x, y, z = (p + t - c for p, t, c in zip(env.place, env.tip, env.pick, strict=True))
        return x, y, z + up_m

    while True:
        yield from hand.to(lambda: (*env.pick[:2], HIGH_M), 1.0, 0.015)
        yield from hand.to(lambda: env.pick, 1.0, 0.006, most=30)
        low = tuple(env.pick)
        yield from hand.to(lambda at=low: at, -1.0, least=8 + wait)
        yield from hand.to(lambda at=low: (*at[:2], HIGH_M), -1.0, 0.02, most=30)
        if not env.in_hand:
            continue
        yield from hand.to(lambda: (*carried(0.0)[:2], HIGH_M), -1.0, 0.006)
        if not env.in_hand:
            continue
        yield from hand.to(lambda: carried(0.001), -1.0, 0.004, most=30)
        low = env.target
        yield from hand.to(lambda at=low: at, 1.0, least=8 + wait)
        yield from hand.to(lambda at=low: (*at[:2], HIGH_M), 1.0, 0.02, least=20 + wait)


def _dropping(env: PandaPickStack, rng: np.random.Generator) -> Iterator[Vector]:
    """Yield actions that grasp at random cubes and drop them anywhere."""
    hand = Hand(env)
    while True:
        cube = 13 * int(rng.integers(env.count))
        at: list[float] = np.clip(env.row[cube : cube + 3], *BOX).tolist()
        x, y, z = at
        x, y = x + rng.normal(0.0, 0.005), y + rng.normal(0.0, 0.005)
        to = rng.uniform((0.34, -0.2, 0.05), (0.56, 0.2, 0.25)).tolist()
        for place, grip, least in (
            ((x, y, HIGH_M), 1.0, 0),
            ((x, y, z), 1.0, 0),
            ((x, y, z), -1.0, 8),
            ((x, y, HIGH_M), -1.0, 0),
            (to, -1.0, 0),
            (to, 1.0, 6),
        ):
            yield from hand.to(lambda at=place: at, grip, least=least)
