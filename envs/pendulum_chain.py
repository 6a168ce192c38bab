"""Whirl a chain of links up by a torque at its first joint, and watch it tumble."""

import math
from dataclasses import replace

import numpy as np

from sandbox import scene as sc
from sandbox.env import Actions, Aim, Element, SandboxEnv, each, of_each, policy
from sandbox.env.factors import Color, Factors, Integer, Uniform, Values, handling, looks

LINKS = 5
NAMES = tuple(f"link_{n}" for n in range(1, LINKS + 1))
TORQUE_N_M = 4.0  # At full action: half of what would hold the default chain out sideways.
PIVOT_M = 2.2  # Above the ground.
THICK_M, APART_M = 0.07, 0.15  # Half of a link's width; each link is so far in front of the last.
UP = 0.8  # Of the reach: how high the tip must come,
HELD_S = 0.1  # and for how long.
SWING_RAD = 1.2  # Largest first angle of each joint, from hanging straight.
FASTEST_RAD_S = 100.0  # Bullet lets no joint turn faster.

# The scripted policy.
RATE = 40.0  # Its square, in units of gravity / reach; a rod needs 3 to turn over.
GAIN = 1.0  # Of full torque, per rad/s.
SURE = 0.15  # Momentum, in units of a rod's at gravity / reach, from which the way is clear.


def _all(what: str) -> str:
    return " ".join(f"chain.{name}.{what}" for name in NAMES)


class PendulumChain(SandboxEnv):
    """Whirl the chain up.

    Observation (proprio), float32 (17,), world frame: 0:15 for each of five links, the one on the
        pivot first, cos and sin of its angle from upright and its angular velocity [rad/s], both
        about y, all 0 where there is no such link; 15 number of links; 16 height of the tip above
        the pivot as a fraction of the reach.
    Action, float32 (1,) in [-1, 1]: torque of the stand on the first link, in units of 4 N m.
    Reward: progress is (1 + height of the tip above the pivot / reach) / 2, 0 to 1.
    Ends: truncated after 10 s; success is that the tip has been above 80 % of its reach for 0.1 s
        on end, once or more often.
    """

    family = "control"
    control_hz = 40
    # Bullet's steps are of first order in what velocities do (Coriolis). Undamped and let go of at
    # the start, the energy above hanging changes within 10 s by (median, greatest of 12 seeds) 0.1
    # and 0.1 % with one link, 0.7 and 2 % with two, 1.4 and 8 % with three, 6 and 26 % with five;
    # tumbling with the energy of standing upright, by 6 and 17 % with two, 38 and 52 % with five.
    physics_hz = 2000
    limit_s = 10.0
    fixed_length = True
    action_size = 1
    state_joints = tuple(("chain", name) for name in NAMES)
    state_measures = ("held_steps", "reached")
    events = ("tip_above_pivot", "tip_up")
    aim = (
        Aim()
        .near(_all("position"), 0.35, 0.175, "rad", turns=True, each=True)
        .near(_all("velocity"), 2.0, 1.0, "rad/s", each=True)
    )
    elements = (
        *of_each(
            NAMES,
            *each("cos sin", "1", -1.0, 1.0),
            Element("velocity", "rad/s", -FASTEST_RAD_S, FASTEST_RAD_S),
        ),
        Element("n_links", "1", 0.0, 5.0),
        Element("tip_height", "1", -1.0, 1.0),
    )
    factors = Factors(
        n_links=Integer(1, LINKS, 2, "1", "links of the chain"),
        reach_m=Uniform(1.2, 2.0, 1.8, "m", "length of the chain, all links alike"),
        chain_mass_kg=Uniform(0.6, 1.4, 1.0, "kg", "mass of the chain, all links alike"),
        joint_damping=Uniform(0.0, 0.03, 0.005, "N m s/rad", "friction in each joint"),
        gravity_m_s2=Uniform(5.0, 12.0, 9.81, "m/s^2", "gravity"),
        **handling(delay_steps=3, noise=0.3),
        link_color=Color("darkorange", "colour of every other link"),
        tip_color=Color("royalblue", "colour of the tip"),
        ground_color=Color("#b9c4b2", "colour of the ground"),
        **looks(-60.0, (2.0, 35.0, 12.0)),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> sc.Scene:
        """Hang the chain from its pivot, bent by chance."""
        bends = rng.uniform(-SWING_RAD, SWING_RAD, LINKS).tolist()
        middle, last = (0.0, 0.0, PIVOT_M - 0.1), NAMES[int(f.n_links) - 1]
        ground = sc.slab("ground", (2.6, 1.2, 0.06), f.rgba("ground_color"))
        return sc.Scene(
            bodies=(ground, _stand(), _chain(f, bends)),
            cameras=(
                sc.orbit("main", middle, 6.6, f.camera_pitch_deg, fov_deg=40),
                sc.orbit("side", middle, 6.6, 15, yaw_deg=-50, fov_deg=40),
                sc.Camera("last", (0.0, -4.5, 0.0), (0.0, 0.0, 0.0), body="chain", link=last),
            ),
            light=self.light(f, 60),
            engine=self.engine(f),
        )

    def started(self) -> None:
        """Note that the tip has not been up."""
        self.count: int = self.values.n_links
        self.absent = [0.0] * (3 * (LINKS - self.count))
        self.held, self.reached = 0, False

    def act(self, action: list[float]) -> None:
        self.world.drive("chain", NAMES[:1], (TORQUE_N_M * action[0],))

    def arrived(self) -> None:
        """Derive how each link stands, and how high the tip is."""
        links: list[float] = []
        angle = velocity = height = 0.0
        there = any(self.row)  # Joints that are all 0 are those of a chain that was taken away.
        for n in range(0, 2 * self.count if there else 0, 2):
            angle += self.row[n]
            velocity += self.row[n + 1]
            cos = math.cos(angle)
            height += cos
            seen = max(-FASTEST_RAD_S, min(FASTEST_RAD_S, velocity))
            links += (cos, math.sin(angle), seen)
        self.links = links if there else [0.0] * (3 * self.count)
        self.height = height / self.count
        self.held = self.held + 1 if self.height > UP else 0
        self.reached = self.reached or self.held >= HELD_S * self.control_hz

    def proprio(self) -> tuple[float, ...]:
        return (*self.links, *self.absent, self.count, self.height)

    def measured(self) -> tuple[float, ...]:
        return (self.held, self.reached)

    def progress(self) -> float:
        return (1.0 + self.height) / 2

    def success(self) -> bool:
        return self.reached

    def happening(self) -> tuple[bool, ...]:
        """Return whether the tip is above the pivot, and whether it is up."""
        return (self.height > 0.0, self.height > UP)

    @policy
    def scripted(self, rng: np.random.Generator) -> Actions:
        """Turn the chain the way it swings already, at a rate, by the first link.

        A torque along the swing of the whole adds to it. One that brings the first link back to
        the rate takes away what the links do against each other: the whirling chain stretches.
        """
        unit = math.sqrt(self.values.gravity_m_s2 / self.values.reach_m)
        while True:
            way = max(-1.0, min(1.0, self._momentum() / unit / SURE))
            rate = way * math.sqrt(RATE) * unit
            yield np.array([np.clip(GAIN * (rate - self.links[2]), -1.0, 1.0)], np.float32)

    def _momentum(self) -> float:
        """Return the angular momentum about the pivot over a straight chain's inertia [rad/s]."""
        x = z = vx = vz = total = 0.0
        links, half = self.links, 1.0 / self.values.n_links / 2
        for cos, sin, spin in zip(links[0::3], links[1::3], links[2::3], strict=True):
            dx, dz = half * sin, half * cos
            total += (z + dz) * (vx + spin * dz) - (x + dx) * (vz - spin * dx)
            total += spin * half**2 / 3
            x, z, vx, vz = x + 2 * dx, z + 2 * dz, vx + 2 * spin * dz, vz - 2 * spin * dx
        return 3.0 * total / self.count

    @policy
    def play(self, rng: np.random.Generator) -> Actions:
        """Let go and shove in turn, for a while each."""
        free = True
        while True:
            free, left = not free, int(rng.integers(8, 40))
            shove = 0.0 if free else float(rng.choice((-1.0, 1.0)) * rng.uniform(0.5, 1.0))
            for _ in range(left):
                yield np.array([shove], np.float32)


def _stand() -> sc.Body:
    """Return a post behind the chain, and the pin that it hangs on; nothing touches them."""
    grey = (0.5, 0.52, 0.55, 1.0)
    back = 1.5 * THICK_M + 0.05
    post = sc.box((0.07, 0.05, PIVOT_M / 2), (0.0, back, PIVOT_M / 2), grey)
    foot = sc.box((0.45, 0.35, 0.025), (0.0, back, 0.025), grey)
    pin = sc.Shape("cylinder", (0.08, 2 * back), grey, sc.Pose((0.0, 0.0, PIVOT_M), sc.LYING))
    return sc.Body("stand", tuple(replace(one, collides=False) for one in (post, foot, pin)))


def _chain(f: Values, bends: list[float]) -> sc.Body:
    """Return links on hinges about y, each on the one before, the first on the pivot."""
    length, color = f.reach_m / f.n_links, f.rgba("link_color")
    middle, mass, links = (0.0, 0.0, length / 2), f.chain_mass_kg / f.n_links, list[sc.Link]()
    for n, name in enumerate(NAMES[: f.n_links]):
        look = sc.shade(color, 0.55) if n % 2 else color
        shapes = [sc.box((THICK_M, THICK_M, length / 2), middle, look)]
        if n == f.n_links - 1:
            end, paint = sc.Pose((0.0, 0.0, length)), f.rgba("tip_color")
            shapes.append(sc.Shape("sphere", (0.14,), paint, end, collides=False))
        motor = None if n else sc.Motor("torque", TORQUE_N_M)
        hinge = sc.Joint("revolute", sc.Y, None, motor, f.joint_damping)
        at = sc.Pose((0.0, -APART_M, length)) if n else sc.Pose()
        parent, bend = (NAMES[n - 1], bends[n]) if n else ("", bends[n] + math.pi)  # 0 is upright.
        links.append(sc.Link(name, hinge, tuple(shapes), mass, middle, at, parent, bend))
    return sc.Body("chain", pose=sc.turned(0.0, 0.0, PIVOT_M), links=tuple(links))
