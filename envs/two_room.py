"""Go to a mark, perhaps in the other of two rooms, through a door in the wall between them."""

import math
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sandbox import scene as sc
from sandbox.env import Actions, Aim, Element, SandboxEnv, Vector, clip, each, policy
from sandbox.env.factors import Color, Factors, Uniform, Values, handling, looks

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
CLEAR_M, GAIN_HZ = 0.012, 4.0  # Of the scripted policy: from posts, and speed by distance.
Point = tuple[float, float]


class TwoRoom(SandboxEnv):
    """Go to the mark.

    Observation (proprio), float32 (11,), world frame: 0:2 agent x, y [m]; 2:4 its velocity x, y
        [m/s]; 4:6 goal x, y [m]; 6 x of the wall [m]; 7 its thickness [m]; 8 y of the door [m];
        9 its width [m]; 10 seconds left [s].
    Goal, float64 (2,): the mark.
    Action, float32 (2,) in [-1, 1]: velocity x, y that the motors seek, in units of 0.15 m/s.
    Reward: progress is 1 - length of the shortest way to the goal / 1.6 m, 0 to 1.
    Ends: terminated within 3 cm of the goal, which is success; truncated after 20 s.
    """

    family = "navigation"
    control_hz = 10
    physics_hz = 60  # The agent moves 2.5 mm a step, a fourteenth of its usual radius.
    limit_s = 20.0
    action_size = 2
    state_joints = (("agent", "x"), ("agent", "y"))
    goal_names = ("x [m]", "y [m]")
    events = ("at_wall", "in_door", "in_goal_room")
    aim = Aim().near("agent.x.position agent.y.position", 0.03, 0.01)
    elements = (
        *each("agent_x agent_y", "m", -0.45, 0.45),
        *each("agent_vx agent_vy", "m/s", -1.0, 1.0),
        *each("goal_x goal_y", "m", -HALF_M, HALF_M),
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
        **handling(delay_steps=3, noise=0.3),
        agent_color=Color("royalblue", "colour of the agent"),
        goal_color=Color("crimson", "colour of the goal's mark"),
        wall_color=Color("#6b4a3a", "colour of the walls"),
        floor_color=Color("#e6dfcf", "colour of the floor"),
        **looks(40.0, (65.0, 90.0, 80.0)),
        camera_height_m=Uniform(1.3, 1.7, 1.35, "m", "height of the camera above the floor"),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> sc.Scene:
        """Put the agent into a room by chance, and the goal mostly into the other."""
        start, goal = _layout(rng)
        pitch, half, tall = f.camera_pitch_deg, HALF_M + OUTER_M, AGENT_HEIGHT_M
        away = f.camera_height_m / math.sin(math.radians(pitch))
        disc = sc.Shape("cylinder", (GOAL_RADIUS_M, 0.001), f.rgba("goal_color"), collides=False)
        body = sc.Shape("cylinder", (f.agent_radius_m, tall), f.rgba("agent_color"))
        reach, masses = ((-HALF_M, HALF_M),) * 2, (0.01, f.agent_mass_kg)
        just_above = {"high_m": tall / 2 + 0.003, "friction": 1.0}
        agent = sc.sliding("agent", (body,), start, reach, FORCE_N, masses, f.damping, **just_above)
        return sc.Scene(
            bodies=(
                sc.slab("floor", (half, half, 0.02), f.rgba("floor_color")),
                sc.Body("walls", tuple(_walls(f)), material=sc.Material(f.wall_friction)),
                sc.Body("goal", (disc,), pose=sc.turned(*goal, 0.0007)),
                agent,
            ),
            cameras=(
                sc.orbit("main", (0.0, 0.0, 0.0), away, pitch, fov_deg=42),
                sc.orbit("corner", (0.0, 0.0, 0.0), 1.75, 48, yaw_deg=-60, fov_deg=42),
                sc.Camera("agent", (0.0, -0.3, 0.4), (0.0, 0.03, 0.0), body="agent", link="y"),
            ),
            light=self.light(f, 62),
            engine=self.engine(f),
        )

    def started(self) -> None:
        """Remember the goal, and where the agent's middle fits through the door."""
        self.goal: Point = self.world.scene.bodies[2].pose.xyz[:2]
        self.door, self.wide = Door.of(self.values, 0.0), Door.of(self.values, CLEAR_M)
        self.goal_side = self.door.side(self.goal)
        f = self.values
        self.still = (*self.goal, f.wall_x_m, f.wall_thickness_m, f.door_y_m, f.door_width_m)

    def act(self, action: list[float]) -> None:
        self.world.drive("agent", ("x", "y"), [SPEED_M_S * a for a in action])

    def arrived(self) -> None:
        """Derive where the agent is, and how long the shortest way to the goal is."""
        x, vx, y, vy = self.row
        self.agent, self.velocity = (x, y), (vx, vy)
        self.way_m = length(self.agent, self.door.way(self.agent, self.goal))

    def proprio(self) -> tuple[float, ...]:
        return (*self.agent, *self.velocity, *self.still, self.seconds_left())

    def progress(self) -> float:
        return max(0.0, 1.0 - self.way_m / FARTHEST_M)

    def success(self) -> bool:
        return math.dist(self.agent, self.goal) < NEAR_M

    def happening(self) -> tuple[bool, ...]:
        """Return whether the agent touches a wall, is in the door, is in the goal's room."""
        side = self.door.side(self.agent)
        return (self.world.touch("agent", "walls") > 0.0, side == 0, side == self.goal_side)

    @policy
    def scripted(self, rng: np.random.Generator) -> Actions:
        """Take the shortest way, a finger's breadth from the door's posts."""
        pending = self.pending()
        while True:
            yield self._towards(self.goal, pending)

    @policy
    def play(self, rng: np.random.Generator) -> Actions:
        """Stroll through both rooms, into walls too."""
        pending = self.pending()
        while True:
            x, y = rng.uniform(-0.5, 0.5, 2).tolist()  # Some of it beyond the walls.
            left, straight = int(rng.integers(10, 40)), rng.random() < 0.3
            for _ in range(left):
                yield self._towards((x, y), pending, straight)
                if math.dist((x, y), self.agent) < NEAR_M:
                    break

    def _towards(self, aim: Point, pending: deque[Vector], straight: bool = False) -> Vector:
        """Return the next action on the shortest way to a place, or straight through walls.

        Actions that are not applied yet count as done.
        """
        step = SPEED_M_S / self.control_hz
        x, y = (at + step * sum(float(a[n]) for a in pending) for n, at in enumerate(self.agent))
        way = [aim] if straight else self.wide.way((x, y), aim)
        turned = len(way) > 1 and math.dist((x, y), way[0]) < CLEAR_M
        next_x, next_y = way[1 if turned else 0]
        away = math.dist((x, y), (next_x, next_y))
        pace = SPEED_M_S if len(way) > 1 else min(SPEED_M_S, away * GAIN_HZ)
        speed = pace / SPEED_M_S / max(away, 1e-9)
        action = np.array([(next_x - x) * speed, (next_y - y) * speed], np.float32).clip(-1.0, 1.0)
        pending.append(action)
        return action


class Door(NamedTuple):
    """The rectangle [m] that an agent's middle goes through between the rooms.

    An agent that is lower or higher by no more than `slack` counts as in it.
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
        (x, y), slack = (f.wall_x_m, f.door_y_m), clear_m + 0.002
        return cls(x - deep, x + deep, y - half, y + half, slack)

    def side(self, a: Point) -> int:
        """Return -1 in the left room, 1 in the right one, 0 in the door."""
        within = self.high - self.low + 2 * self.slack
        if self.left < a[0] < self.right and abs(2 * a[1] - self.low - self.high) <= within:
            return 0
        return -1 if 2 * a[0] < self.left + self.right else 1

    def way(self, a: Point, b: Point) -> list[Point]:
        """Return the points of the shortest way from `a` to `b`, which ends it."""
        here, there, posts = self.side(a), self.side(b), (self.low, self.high)
        if here == there:
            return [b]
        near, far = (self.left, self.right) if here < there else (self.right, self.left)
        if here == 0 or there == 0:
            x = far if here == 0 else near
            return [(x, clip(_height(a, b, x), *posts)), b]
        p, q = _height(a, b, near), _height(a, b, far)
        if self.low <= p <= self.high and self.low <= q <= self.high:
            return [(near, p), (far, q), b]
        ways: list[list[Point]] = []
        for y in posts:  # It bends at one of the posts' corners at least.
            ways.append([(near, y), (far, clip(_height((near, y), b, far), *posts)), b])
            ways.append([(near, clip(_height(a, (far, y), near), *posts)), (far, y), b])
        return min(ways, key=lambda way: length(a, way))


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


def _layout(rng: np.random.Generator) -> tuple[Point, Point]:
    """Draw start and goal."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    other = -side if rng.random() < OTHER_ROOM else side
    while True:
        (x, far), (y, along) = rng.uniform(*ROOM_M, 2), rng.uniform(-ALONG_M, ALONG_M, 2)
        start, goal = (float(side * x), float(y)), (float(other * far), float(along))
        if math.dist(start, goal) > APART_M:
            return start, goal


def _walls(f: Values) -> Iterator[sc.Shape]:
    """Yield four walls around, and one between the rooms, in two parts."""
    color, edge, tall = f.rgba("wall_color"), HALF_M + OUTER_M / 2, WALL_HEIGHT_M / 2
    yield from sc.rim((edge, edge), OUTER_M / 2, (HALF_M + OUTER_M, HALF_M), tall, color)
    low, high = f.door_y_m - f.door_width_m / 2, f.door_y_m + f.door_width_m / 2
    x, half = f.wall_x_m, f.wall_thickness_m / 2
    yield sc.box((half, (low + HALF_M) / 2, tall), (x, (low - HALF_M) / 2, tall), color)
    yield sc.box((half, (HALF_M - high) / 2, tall), (x, (high + HALF_M) / 2, tall), color)
