"""Poke a tower of blocks that were stacked carelessly: some stand, some fall by themselves."""

import math
from typing import NamedTuple

import numpy as np

from sandbox import scene as sc
from sandbox.env import BODY_STATE, Actions, Element, SandboxEnv, each, of_each, policy
from sandbox.env.factors import Color, Factors, Integer, Uniform, Values, handling, looks
from sandbox.env.geometry import clip

MOST = 10
HALF_M, HALF_HIGH_M = (0.065, 0.1), (0.035, 0.055)  # Of a block: across and up, at scale 1.
DAMPING = 0.02  # Of each block.
ASIDE_M = 0.062  # Greatest offset in x and in y from the block below.
POKE_M_S = 3.0  # What a full component of the action would give the block alone.
WEAKEST = 0.35  # Length of x and y below which an action is no poke.
HARD = 0.65  # How the scripted policy pokes, and
LOOK_S = 0.6  # how long it watches before.
REST_M_S, REST_RAD_S = 0.02, 0.1
ABOUT_M = 3.0  # What is farther off is observed as that far.
NAMES = tuple(f"block_{n}" for n in range(MOST))


class Block(NamedTuple):
    """The place of a block, and half its size, at scale 1."""

    x: float
    y: float
    yaw: float
    half: sc.Vec3


class Tower(SandboxEnv):
    """Bring the tower down.

    Observation (proprio), float32 (53,), world frame: 0:50 for each of ten blocks, the lowest
        first, x, y, z [m] of its middle and x, y of the direction its top points in, all 0 where
        there is no such block; 50 number of blocks; 51 whether it was poked; 52 seconds left [s].
    Action, float32 (3,) in [-1, 1]: a poke, x and y of an impulse in units of 3 m/s times the mass
        of the block that it hits, and which, from the lowest to the highest; x and y shorter than
        0.35 are no poke, and after the first poke nothing happens.
    Reward: progress is how much of its height above the floor the top block has lost, 0 to 1.
    Ends: truncated after 5 s; success is that the tower has toppled: its top block's middle is
        more than half a block lower than it began.
    """

    family = "intuitive physics"
    control_hz = 20
    limit_s = 5.0
    fixed_length = True
    action_size = 3
    state_bodies = NAMES
    state_measures = ("poked", "first_height", "toppled_below")
    events = ("poked", "toppled", "fell_alone", "at_rest")
    aim = "one poke decides, and then nobody steers"
    elements = (
        *of_each(
            NAMES,
            *each("x y", "m", -ABOUT_M, ABOUT_M),
            Element("z", "m", -0.1, ABOUT_M),
            *each("top_x top_y", "1", -1.01, 1.01),
        ),
        Element("n_blocks", "1", 3.0, 10.0),
        Element("poked", "1", 0.0, 1.0),
        Element("seconds_left", "s", 0.0, 5.0),
    )
    factors = Factors(
        n_blocks=Integer(3, MOST, 6, "1", "blocks of the tower"),
        block_density_kg_m3=Uniform(200.0, 1000.0, 500.0, "kg/m^3", "density of the blocks"),
        block_width=Uniform(0.85, 1.15, 1.0, "1", "scale of the blocks, across"),
        block_height=Uniform(0.85, 1.15, 1.0, "1", "scale of the blocks, up"),
        block_friction=Uniform(0.4, 1.0, 0.75, "1", "Coulomb coefficient of each block"),
        restitution=Uniform(0.0, 0.4, 0.1, "1", "bounce of each block, multiplied in a contact"),
        gravity_m_s2=Uniform(6.0, 12.0, 9.81, "m/s^2", "gravity"),
        block_color=Color("goldenrod", "colour of the first, third, ... block"),
        other_color=Color("steelblue", "colour of the second, fourth, ... block"),
        top_color=Color("crimson", "colour of the top block"),
        floor_color=Color("#7d8a6a", "colour of the floor"),
        **looks(-120.0, (8.0, 40.0, 20.0)),
        **handling(delay_steps=3),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> sc.Scene:
        """Stack ten blocks of many sizes, each somewhat aside, the first `n_blocks` of them."""
        stack = _layout(rng)[: f.n_blocks]
        colors = [f.rgba("other_color" if n % 2 else "block_color") for n in range(len(stack) - 1)]
        surface = sc.Material(f.block_friction, restitution=f.restitution)
        blocks, height, density = list[sc.Body](), 0.0, f.block_density_kg_m3
        for name, block, color in zip(NAMES, stack, [*colors, f.rgba("top_color")], strict=False):
            a, b, c = block.half
            half = (a * f.block_width, b * f.block_width, c * f.block_height)
            shape, mass = sc.Shape("box", half, color), density * 8 * math.prod(half)
            place = sc.turned(block.x, block.y, height + half[2], block.yaw)
            blocks.append(sc.Body(name, (shape,), mass, place, surface, (), DAMPING, DAMPING))
            height += 2 * half[2]
        floor = sc.slab("floor", (6.0, 6.0, 0.1), f.rgba("floor_color"), sc.Material(1.0))
        middle, away = (0.0, 0.0, 0.42 * height), 0.8 + 1.35 * height
        return sc.Scene(
            bodies=(floor, *blocks),
            cameras=(
                sc.orbit("main", middle, away, f.camera_pitch_deg, yaw_deg=-65, fov_deg=42),
                sc.orbit("side", middle, away, 12, yaw_deg=25, fov_deg=42),
                sc.orbit("top", (0.0, 0.0, 0.0), 2.0 + height, 90, fov_deg=42),
            ),
            light=self.light(f, 55),
            engine=self.engine(f, contact_breaking_threshold_m=0.005),
        )

    def started(self) -> None:
        """Remember how high the top block is, and that no block was poked."""
        self.count: int = self.values.n_blocks
        self.top = (self.count - 1) * BODY_STATE
        every = self.world.scene.bodies[1:]  # The first is the floor.
        boxes = [body.shapes[0].size[2] for body in every if isinstance(body, sc.Body)]
        self.high = 2 * sum(boxes) - boxes[-1]
        self.low = self.high - sum(boxes) / len(boxes)  # Half a block of the tower's mean.
        self.poked = self.alone = False

    def act(self, action: list[float]) -> None:
        x, y, where = action
        if self.poked or math.hypot(x, y) < WEAKEST:
            return
        self.poked = True
        n = min(int((where + 1) / 2 * self.count), self.count - 1)
        at = self.body(NAMES[n])[:3]
        block = self.world.scene.bodies[n + 1]
        mass = block.mass_kg if isinstance(block, sc.Body) else 0.0
        power = POKE_M_S * mass * self.physics_hz  # For one physics step.
        self.world.push(NAMES[n], (x * power, y * power, 0.0), at)

    def arrived(self) -> None:
        """Derive which way each block points, whether all rest, and whether the tower toppled."""
        row, told = self.row, list[float]()
        fastest, spinning, far = 0.0, 0.0, ABOUT_M
        for n in range(self.count):
            x, y, z, i, j, k, w, *speeds = row[n * BODY_STATE : (n + 1) * BODY_STATE]
            told += (clip(x, -far, far), clip(y, -far, far), clip(z, -far, far))
            told += (2 * (i * k + w * j), 2 * (j * k - w * i))
            fastest = max(fastest, *speeds[:3], -min(speeds[:3]))
            spinning = max(spinning, *speeds[3:], -min(speeds[3:]))
        self.told = told + [0.0] * (5 * (MOST - self.count))
        self.rest = fastest < REST_M_S and spinning < REST_RAD_S
        self.height = row[self.top + 2] or self.high  # 0 where it was taken away.
        self.toppled = self.height < self.low
        self.alone = self.alone or (self.toppled and not self.poked)

    def proprio(self) -> tuple[float, ...]:
        return (*self.told, self.count, self.poked, self.seconds_left())

    def measured(self) -> tuple[float, ...]:
        return (self.poked, self.high, self.low)

    def progress(self) -> float:
        return max(0.0, min(1.0, 1.0 - self.height / self.high))

    def success(self) -> bool:
        return self.toppled

    def happening(self) -> tuple[bool, ...]:
        """Return whether it was poked, has toppled, did so before a poke, and all rest."""
        return (self.poked, self.toppled, self.alone, self.rest)

    @policy
    def play(self, rng: np.random.Generator) -> Actions:
        """Poke somewhere at once, not too hard, or not at all."""
        angle, power = rng.uniform(-math.pi, math.pi), rng.uniform(0.0, 0.8)
        where = rng.uniform(-1.0, 1.0)
        poke = np.array((power * math.cos(angle), power * math.sin(angle), where), np.float32)
        while True:
            yield poke.copy()

    @policy
    def scripted(self, rng: np.random.Generator) -> Actions:
        """Watch whether the tower falls; if it does not, poke its top hard."""
        angle = rng.uniform(-math.pi, math.pi)
        x, y = HARD * math.cos(angle), HARD * math.sin(angle)
        while True:
            watching = self.t < LOOK_S * self.control_hz or self.poked or self.toppled
            yield np.array((0.0, 0.0, 0.0) if watching else (x, y, 1.0), np.float32)


def _layout(rng: np.random.Generator) -> list[Block]:
    """Draw ten blocks, each a random step aside from the one below."""
    x, y, stack = 0.0, 0.0, list[Block]()
    for _ in range(MOST):
        a, b = rng.uniform(*HALF_M, 2).tolist()
        half = (a, b, rng.uniform(*HALF_HIGH_M))
        stack.append(Block(x, y, rng.uniform(-0.3, 0.3), half))
        aside_x, aside_y = rng.uniform(-ASIDE_M, ASIDE_M, 2).tolist()
        x, y = x + aside_x, y + aside_y
    return stack
