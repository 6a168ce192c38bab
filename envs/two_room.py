"""Go to a mark, perhaps in the other of two rooms, through a door in the wall between them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sandbox.env import Element, Policy, SandboxEnv, Vector
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

HALF_M = 0.42  # Of the floor, between the outer walls.
ROOM_M = (0.19, 0.36)  # |x| of starts and goals, clear of the wall wherever it stands, and
ALONG_M = 0.35  # their largest |y|.
OTHER_ROOM = 0.8  # How often the goal is not in the room of the start.
APART_M = 0.2  # Start and goal in the same room.
WALL_HEIGHT_M, OUTER_M = 0.09, 0.03
AGENT_HEIGHT_M = 0.07
GOAL_RADIUS_M = 0.04
NEAR_M = 0.03  # Agent and goal, for success.
SPEED_M_S = 0.15  # At full action.
FORCE_N = 0.5  # Of the motors: it takes a heavy agent half a second to get going.
FARTHEST_M = 1.6  # No way is longer.

Point = tuple[float, float]


class TwoRoom(SandboxEnv):
    """Go to the mark.

    Observation (proprio), float32 (11,), world frame: 0:2 agent x, y [m]; 2:4 its velocity x, y
        [m/s]; 4:6 goal x, y [m]; 6 x of the wall [m]; 7 its thickness [m]; 8 y of the door [m];
        9 its width [m]; 10 seconds left [s].
    Action, float32 (2,) in [-1, 1]: velocity x, y that the motors seek, in units of 0.15 m/s.
    Reward: 1 - length of the shortest way to the goal / 1.6 m, 0 to 1, this step.
    Ends: terminated within 3 cm of the goal, which is success; truncated after 20 s.
    Factors: wall_x_m, wall_thickness_m, door_y_m, door_width_m, agent_radius_m, agent_mass_kg,
        damping, wall_friction, action_delay_steps, action_noise, agent_color, goal_color,
        wall_color, floor_color, light_azimuth_deg, light_color, light_ambient, camera_pitch_deg,
        camera_height_m.
    Events: at_wall, in_door, in_goal_room.
    """

    family = "navigation"
    control_hz = 10
    physics_hz = 60  # The agent moves 2.5 mm a step, a fourteenth of its usual radius.
    limit_s = 20.0
    action_size = 2
    state_joints = (("agent", "x"), ("agent", "y"))
    events = ("at_wall", "in_door", "in_goal_room")
    elements = (
        Element("agent_x", "m", -0.45, 0.45),
        Element("agent_y", "m", -0.45, 0.45),
        Element("agent_vx", "m/s", -1.0, 1.0),
        Element("agent_vy", "m/s", -1.0, 1.0),
        Element("goal_x", "m", -HALF_M, HALF_M),
        Element("goal_y", "m", -HALF_M, HALF_M),
        Element("wall_x", "m", -0.1, 0.1),
        Element("wall_thickness", "m", 0.0, 0.1),
        Element("door_y", "m", -0.3, 0.3),
        Element("door_width", "m", 0.0, 0.25),
        Element("seconds_left", "s", 0.0, 20.0),
    )
    factors = Factors(
        wall_x_m=Uniform(-0.08, 0.08, 0.0, "m", "x of the wall between the rooms"),
        wall_thickness_m=Uniform(0.02, 0.08, 0.04, "m", "thickness of that wall"),
        door_y_m=Uniform(-0.27, 0.27, 0.1, "m", "y of the door's middle"),
        door_width_m=Uniform(0.12, 0.25, 0.17, "m", "width of the door"),
        agent_radius_m=Uniform(0.025, 0.045, 0.036, "m", "radius of the agent"),
        agent_mass_kg=Uniform(0.2, 1.5, 0.5, "kg", "mass of the agent"),
        damping=Uniform(0.0, 2.0, 0.5, "N s/m", "resistance to the agent's motion"),
        wall_friction=Uniform(0.0, 0.8, 0.2, "1", "Coulomb coefficient of agent and walls"),
        action_delay_steps=Integer(0, 3, 0, "1", "steps by which actions are late"),
        action_noise=Uniform(0.0, 0.3, 0.0, "1", "deviation of the noise on actions"),
        agent_color=Color("royalblue", "colour of the agent"),
        goal_color=Color("crimson", "colour of the goal's mark"),
        wall_color=Color("#6b4a3a", "colour of the walls"),
        floor_color=Color("#e6dfcf", "colour of the floor"),
        light_azimuth_deg=Uniform(-180.0, 180.0, 40.0, "deg", "where the light comes from"),
        light_color=Color("white", "colour of the light"),
        light_ambient=Uniform(0.3, 0.8, 0.55, "1", "light where none falls directly"),
        camera_pitch_deg=Uniform(65.0, 90.0, 80.0, "deg", "camera above the horizon"),
        camera_height_m=Uniform(1.3, 1.7, 1.35, "m", "camera above the floor"),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> Scene:
        """Put the agent into a room by chance, and the goal mostly into the other."""
        start, goal = _layout(rng)
        pitch = f.camera_pitch_deg
        away = f.camera_height_m / math.sin(math.radians(pitch))
        return Scene(
            bodies=(_floor(f.rgba("floor_color")), _walls(f), _goal(f, goal), _agent(f, start)),
            cameras=(
                orbit("main", (0.0, 0.0, 0.0), away, pitch, fov_deg=42),
                orbit("corner", (0.0, 0.0, 0.0), 1.75, 48, yaw_deg=-60, fov_deg=42),
                Camera("agent", (0.0, -0.3, 0.4), (0.0, 0.03, 0.0), body="agent", link="y"),
            ),
            light=sun(f.light_azimuth_deg, 62, f.rgba("light_color")[:3], f.light_ambient),
            engine=Engine(self.physics_hz),
        )

    def started(self) -> None:
        """Remember the goal, and where the agent's middle fits through the door."""
        goal = next(body for body in self.world.scene.bodies if body.name == "goal")
        self.goal: Point = goal.pose.xyz[:2]
        self.door = Door.of(self.values, 0.0)
        self.goal_side = self.door.side(self.goal)
        f = self.values
        self.still = (*self.goal, f.wall_x_m, f.wall_thickness_m, f.door_y_m, f.door_width_m)

    def act(self, action: list[float]) -> None:
        """Drive the agent."""
        self.world.drive("agent", ("x", "y"), [SPEED_M_S * a for a in action])

    def arrived(self) -> None:
        """Derive where the agent is, and how long the shortest way to the goal is."""
        x, vx, y, vy = self.row
        self.agent, self.velocity = (x, y), (vx, vy)
        self.way_m = length(self.agent, self.door.way(self.agent, self.goal))

    def proprio(self) -> Sequence[float]:
        """Return the agent, the goal, the wall with its door, and the time left."""
        return (*self.agent, *self.velocity, *self.still, self.seconds_left())

    def reward(self) -> float:
        """Return how near the goal is along the shortest way, 0 to 1."""
        return max(0.0, 1.0 - self.way_m / FARTHEST_M)

    def success(self) -> bool:
        """Whether the agent is at the goal."""
        return math.dist(self.agent, self.goal) < NEAR_M

    def terminated(self) -> bool:
        """End on success."""
        return self.success()

    def happening(self) -> Sequence[bool]:
        """Whether the agent touches a wall, is in the door, is in the goal's room."""
        side = self.door.side(self.agent)
        return (self.world.touch("agent", "walls") > 0.0, side == 0, side == self.goal_side)

    def scripted(self, rng: np.random.Generator) -> Policy:
        """Return a policy that takes the shortest way, a finger's breadth from the door's posts."""
        walker, aim = Walker(self), self.goal

        def act() -> Vector:
            return walker.towards(aim)

        return act

    def play(self, rng: np.random.Generator) -> Policy:
        """Return a policy that strolls through both rooms, into walls too."""
        walker, aim, left, straight = Walker(self), (0.0, 0.0), 0, False

        def act() -> Vector:
            nonlocal aim, left, straight
            if left <= 0 or math.dist(aim, self.agent) < NEAR_M:
                x, y = rng.uniform(-0.5, 0.5, 2).tolist()  # Some of it beyond the walls.
                aim, left, straight = (x, y), int(rng.integers(10, 40)), rng.random() < 0.3
            left -= 1
            return walker.towards(aim, straight)

        return act


class Door(NamedTuple):
    """Where an agent's middle shall be between the rooms: an upright rectangle [m].

    One that is lower or higher by no more than `slack` counts as in it.
    """

    left: float
    right: float
    low: float
    high: float
    slack: float

    @classmethod
    def of(cls, f: Values, clear_m: float) -> "Door":
        """Return the door for an agent that keeps `clear_m` from its posts."""
        deep = f.wall_thickness_m / 2 + f.agent_radius_m + clear_m
        half = max(f.door_width_m / 2 - f.agent_radius_m - clear_m, 0.0)
        x, y = f.wall_x_m, f.door_y_m
        return cls(x - deep, x + deep, y - half, y + half, clear_m + 0.002)

    def side(self, a: Point) -> int:
        """Return -1 in the left room, 1 in the right one, 0 in the door."""
        if self.left < a[0] < self.right and abs(2 * a[1] - self.low - self.high) <= (
            self.high - self.low + 2 * self.slack
        ):
            return 0
        return -1 if 2 * a[0] < self.left + self.right else 1

    def way(self, a: Point, b: Point) -> list[Point]:
        """Return the points of the shortest way from `a` to `b`, which ends it."""
        here, there = self.side(a), self.side(b)
        if here == there:
            return [b]
        near, far = (self.left, self.right) if here < there else (self.right, self.left)
        if here == 0:
            return [(far, self._clamp(_height(a, b, far))), b]
        if there == 0:
            return [(near, self._clamp(_height(a, b, near))), b]
        p, q = _height(a, b, near), _height(a, b, far)
        if self.low <= p <= self.high and self.low <= q <= self.high:
            return [(near, p), (far, q), b]
        ways: list[list[Point]] = []
        for y in (self.low, self.high):  # It bends at one of the posts' corners at least.
            ways.append([(near, y), (far, self._clamp(_height((near, y), b, far))), b])
            ways.append([(near, self._clamp(_height(a, (far, y), near))), (far, y), b])
        return min(ways, key=lambda way: length(a, way))

    def _clamp(self, y: float) -> float:
        return self.low if y < self.low else self.high if y > self.high else y


def length(a: Point, way: list[Point]) -> float:
    """Return how long a way from `a` is [m]."""
    total = 0.0
    for b in way:
        total += math.dist(a, b)
        a = b
    return total


def _height(a: Point, b: Point, x: float) -> float:
    """Return y at `x` of the line through two points."""
    return a[1] + (b[1] - a[1]) * (x - a[0]) / (b[0] - a[0])


class Walker:
    """Walks the shortest way; it knows how late actions are, and counts on those under way."""

    CLEAR_M = 0.012  # From posts.
    GAIN_HZ = 4.0

    def __init__(self, env: TwoRoom) -> None:
        self.env = env
        self.door = Door.of(env.values, self.CLEAR_M)
        self.under_way: list[Vector] = [np.zeros(2, np.float32)] * env.values.action_delay_steps

    def towards(self, aim: Point, straight: bool = False) -> Vector:
        """Return the next action on the way to `aim`, or straight to it, through walls or not."""
        step = SPEED_M_S / self.env.control_hz
        x = self.env.agent[0] + step * sum(float(a[0]) for a in self.under_way)
        y = self.env.agent[1] + step * sum(float(a[1]) for a in self.under_way)
        way = [aim] if straight else self.door.way((x, y), aim)
        next_x, next_y = way[0]
        if len(way) > 1 and math.dist((x, y), way[0]) < self.CLEAR_M:
            next_x, next_y = way[1]
        away = math.dist((x, y), (next_x, next_y))
        pace = SPEED_M_S if len(way) > 1 else min(SPEED_M_S, away * self.GAIN_HZ)
        speed = pace / SPEED_M_S / max(away, 1e-9)
        action = np.array([(next_x - x) * speed, (next_y - y) * speed], np.float32).clip(-1.0, 1.0)
        self.under_way = [*self.under_way, action][1:]
        return action


def _layout(rng: np.random.Generator) -> tuple[Point, Point]:
    """Draw start and goal."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    other = -side if rng.random() < OTHER_ROOM else side
    while True:
        (x, far), (y, along) = rng.uniform(*ROOM_M, 2), rng.uniform(-ALONG_M, ALONG_M, 2)
        start, goal = (float(side * x), float(y)), (float(other * far), float(along))
        if math.dist(start, goal) > APART_M:
            return start, goal


def _floor(color: Rgba) -> Body:
    half = HALF_M + OUTER_M
    return Body("floor", (Shape("box", (half, half, 0.02), color, Pose((0.0, 0.0, -0.02))),))


def _walls(f: Values) -> Body:
    """Four around, and one between the rooms, in two parts."""
    color, edge, half = f.rgba("wall_color"), HALF_M + OUTER_M / 2, OUTER_M / 2
    low, high = f.door_y_m - f.door_width_m / 2, f.door_y_m + f.door_width_m / 2
    boxes = (
        *((side * edge, 0.0, half, HALF_M + OUTER_M) for side in (-1, 1)),
        *((0.0, side * edge, HALF_M, half) for side in (-1, 1)),
        (f.wall_x_m, (low - HALF_M) / 2, f.wall_thickness_m / 2, (low + HALF_M) / 2),
        (f.wall_x_m, (high + HALF_M) / 2, f.wall_thickness_m / 2, (HALF_M - high) / 2),
    )
    tall = WALL_HEIGHT_M / 2
    shapes = tuple(Shape("box", (w, h, tall), color, Pose((x, y, tall))) for x, y, w, h in boxes)
    return Body("walls", shapes, material=Material(f.wall_friction))


def _goal(f: Values, place: Point) -> Body:
    """A disc that only pictures see."""
    disc = Shape("cylinder", (GOAL_RADIUS_M, 0.001), f.rgba("goal_color"), collides=False)
    return Body("goal", (disc,), pose=turned(*place, 0.0007))


def _agent(f: Values, start: Point) -> Body:
    """A round agent on two sliding joints, just above the floor."""
    shape = Shape("cylinder", (f.agent_radius_m, AGENT_HEIGHT_M), f.rgba("agent_color"))
    motor, limits = Motor("velocity", FORCE_N), (-HALF_M, HALF_M)
    x = Joint("prismatic", (1.0, 0.0, 0.0), limits, motor, f.damping)
    y = Joint("prismatic", (0.0, 1.0, 0.0), limits, motor, f.damping)
    return Body(
        "agent",
        pose=turned(0.0, 0.0, AGENT_HEIGHT_M / 2 + 0.003),
        material=Material(1.0),
        links=(
            Link("x", x, (), 0.01, position=start[0]),
            Link("y", y, (shape,), f.agent_mass_kg, parent="x", position=start[1]),
        ),
    )
