"""Pour beads from a cup into a bowl, between two panes so that each bead is seen."""

import math
from collections.abc import Iterator

import numpy as np

from sandbox import scene as sc
from sandbox.env import BODY_STATE, Actions, Element, SandboxEnv, each, policy
from sandbox.env.factors import Color, Factors, Integer, Uniform, Values, handling, looks

MOST, COLUMNS, APART_M = 60, 8, 0.031  # Beads, in a row, and from one to the next.
DEEP_M = 0.017  # Half of what is between the panes.
CUP_X_M, CUP_Z_M, CUP_M = (-0.36, 0.12), 0.52, (0.128, 0.13)  # Reach, height, half inside.
START_X_M, BOWL_X_M = (-0.3, -0.04), (0.02, 0.26)  # Where cup and bowl may be at first.
BOWL_HIGH_M, WALL_M, END_X_M = 0.14, 0.006, 0.5
RUBS = 0.6  # Coulomb coefficient of floor, bowl and cup.
SUNK_M = 0.04  # Half the height of the bowl's bottom, most of which is below the floor.
SLIDE_M_S, TILT_RAD_S = 0.3, 1.2  # At full action.
FURTHEST_RAD = 2.4
CONTAINED = 0.6  # Share of the beads in the bowl that is success.
THROW_M = 0.235  # From the cup's middle to where a steady pour lands.
NAMES = tuple(f"bead_{n}" for n in range(MOST))


class Pour(SandboxEnv):
    """Pour the beads into the bowl.

    Observation (proprio), float32 (13,), world frame: 0 cup x [m]; 1 its tilt towards +x [rad];
        2 its velocity [m/s]; 3 its tilt's velocity [rad/s]; 4 bowl x [m]; 5 half its width [m];
        6:12 of the beads mean, least and greatest x, then z [m]; 12 seconds left [s].
    Goal, float64 (2,): the bowl's middle and half its width, as observed.
    Action, float32 (2,) in [-1, 1]: velocity of the cup along x in units of 0.3 m/s; velocity of
        its tilt in units of 1.2 rad/s.
    Reward: progress is the share of the beads that are in the bowl.
    Ends: truncated after 6 s; success is that at least 60 % of the beads are in the bowl: between
        its walls and below their tops.
    """

    family = "intuitive physics"
    control_hz = 20
    physics_hz = 160  # At 120 beads fall into each other by more than a radius.
    limit_s = 6.0
    fixed_length = True
    action_size = 2
    state_bodies = NAMES
    state_joints = (("cup", "slide"), ("cup", "tilt"))
    state_measures = ("cup.x",)
    goal_names = ("bowl_x [m]", "bowl_half [m]")
    events = ("pouring", "spilled", "contained")
    aim = "the beads that have left the cup cannot be steered"
    elements = (
        Element("cup_x", "m", -0.5, 0.3),
        Element("cup_tilt", "rad", -1.0, 3.0),
        Element("cup_vx", "m/s", -2.0, 2.0),
        Element("cup_tilt_velocity", "rad/s", -10.0, 10.0),
        Element("bowl_x", "m", -0.1, 0.4),
        Element("bowl_half", "m", 0.1, 0.15),
        *each("beads_mean_x beads_least_x beads_greatest_x", "m", -1.0, 1.0),
        *each("beads_mean_z beads_least_z beads_greatest_z", "m", -0.2, 2.0),
        Element("seconds_left", "s", 0.0, 6.0),
    )
    factors = Factors(
        n_beads=Integer(30, MOST, 40, "1", "beads in the cup"),
        bead_radius_m=Uniform(0.012, 0.015, 0.014, "m", "radius of each bead"),
        bead_density_kg_m3=Uniform(500.0, 2500.0, 1200.0, "kg/m^3", "density of the beads"),
        bead_friction=Uniform(0.1, 0.8, 0.4, "1", "Coulomb coefficient of each bead"),
        rolling_friction_m=Uniform(
            0.0001, 0.001, 0.0003, "m", "resistance to rolling on the floor and in the bowl"
        ),
        restitution=Uniform(0.0, 0.6, 0.3, "1", "bounce of each bead, multiplied in a contact"),
        bowl_half_m=Uniform(0.11, 0.14, 0.125, "m", "half the width of the bowl, inside"),
        gravity_m_s2=Uniform(6.0, 12.0, 9.81, "m/s^2", "gravity"),
        bead_color=Color("gold", "colour of the beads"),
        cup_color=Color("crimson", "colour of the cup"),
        bowl_color=Color("navy", "colour of the bowl"),
        pane_color=Color("#8fa3a8", "colour of the pane behind"),
        **looks(-70.0, (0.0, 12.0, 4.0), light_range_deg=(-160.0, -20.0)),
        **handling(delay_steps=3, noise=0.3),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> sc.Scene:
        """Fill the cup with the first `n_beads` of sixty beads, somewhere beside the bowl."""
        start, bowl = rng.uniform(*START_X_M), rng.uniform(*BOWL_X_M)
        shaken = rng.uniform(-0.0005, 0.0005, MOST).tolist()
        middle = (0.0, 0.0, 0.36)
        ground, stiff = (
            sc.Material(RUBS, _rolling(f), restitution=bounce) for bounce in (0.3, 0.5)
        )
        return sc.Scene(
            bodies=(
                sc.slab("floor", (3.0, 3.0, 0.1), (0.36, 0.33, 0.3, 1.0), ground),
                sc.Body("panes", (_pane(f.rgba("pane_color")),)),
                sc.Body("bowl", _bowl(f), 0.0, sc.turned(bowl, 0, 0), stiff),
                _cup(f, start),
                *_beads(f, start, shaken),
                *_bounds(),
            ),
            cameras=(
                sc.orbit("main", middle, 1.5, f.camera_pitch_deg, fov_deg=40),
                sc.orbit("side", middle, 1.5, 20, yaw_deg=-60, fov_deg=40),
            ),
            light=self.light(f, 40),
            engine=self.engine(
                f,
                solver_iterations=6,
                contact_erp=0.4,
                contact_breaking_threshold_m=0.001,
                rigid=True,
            ),
        )

    def started(self) -> None:
        """Remember where the bowl is, and note that nothing was spilled."""
        self.count: int = self.values.n_beads
        at = {body.name: body.pose.xyz[0] for body in self.world.scene.bodies}
        self.start, self.bowl = at["cup"], at["bowl"]
        self.half, self.spilled = float(self.values.bowl_half_m), False

    def act(self, action: list[float]) -> None:
        (x, _), (tilt, _) = self.joint("cup", "slide"), self.joint("cup", "tilt")
        speed, rate, (low, high) = SLIDE_M_S * action[0], TILT_RAD_S * action[1], CUP_X_M
        free = low < self.start + x + speed / self.control_hz < high
        turns = -0.5 < tilt + rate / self.control_hz < FURTHEST_RAD
        drives = (speed if free else 0.0, rate if turns else 0.0)
        self.world.drive("cup", ("slide", "tilt"), drives)

    def arrived(self) -> None:
        """Count the beads in the bowl and those on the floor."""
        row, end = self.row, self.count * BODY_STATE
        self.xs, self.zs = row[0:end:BODY_STATE], row[2:end:BODY_STATE]
        low, high, inside, lost = self.bowl - self.half, self.bowl + self.half, 0, 0
        for x, z in zip(self.xs, self.zs, strict=True):
            if 0.0 < z < BOWL_HIGH_M:  # 0 is a bead that was taken away.
                inside += low < x < high
                lost += z < 0.03 and not low < x < high
        self.share = inside / self.count
        self.spilled = self.spilled or lost > 0

    def proprio(self) -> tuple[float, ...]:
        (x, speed), (tilt, rate) = self.joint("cup", "slide"), self.joint("cup", "tilt")
        cup, xs, zs = (self.start + x, tilt, speed, rate), self.xs, self.zs
        beads_x = (sum(xs) / self.count, min(xs), max(xs))
        beads_z = (sum(zs) / self.count, min(zs), max(zs))
        return (*cup, self.bowl, self.half, *beads_x, *beads_z, self.seconds_left())

    def measured(self) -> tuple[float, ...]:
        return (self.start + self.joint("cup", "slide")[0],)

    def wanted(self) -> tuple[float, ...]:
        return (self.bowl, self.half)

    def progress(self) -> float:
        return self.share

    def success(self) -> bool:
        return self.share >= CONTAINED

    def happening(self) -> tuple[bool, ...]:
        """Return whether the cup is tilted far, a bead lay on the floor, most are in the bowl."""
        return (self.joint("cup", "tilt")[0] > 0.8, self.spilled, self.success())

    @policy
    def play(self, rng: np.random.Generator) -> Actions:
        """Pour where the cup is, fast or slow."""
        pour = np.array((0.0, rng.uniform(0.5, 1.0)), np.float32)
        while True:
            yield pour.copy()

    @policy
    def scripted(self, rng: np.random.Generator) -> Actions:
        """Take the cup to where a pour meets the bowl, and pour."""
        pouring = False
        while True:
            off = self.bowl - THROW_M - self.start - self.joint("cup", "slide")[0]
            pouring = pouring or abs(off) < 0.02
            speed = max(-1.0, min(1.0, 4.0 * off / SLIDE_M_S))
            yield np.array((speed, 0.8 if pouring else 0.0), np.float32)


def _beads(f: Values, start: float, shaken: list[float]) -> Iterator[sc.Body]:
    """Yield beads in rows, the lowest on the cup's bottom."""
    radius, color = f.bead_radius_m, f.rgba("bead_color")
    mass = f.bead_density_kg_m3 * 4 / 3 * math.pi * radius**3
    shade = sc.shade(color, 0.72)
    material = sc.Material(f.bead_friction, restitution=f.restitution)
    for n in range(f.n_beads):
        row, column = divmod(n, COLUMNS)
        x = start + (column - (COLUMNS - 1) / 2) * APART_M + shaken[n]
        z = CUP_Z_M - CUP_M[1] + radius + row * APART_M
        shape = sc.Shape("sphere", (radius,), shade if (row + column) % 2 else color)
        yield sc.Body(NAMES[n], (shape,), mass, sc.turned(x, 0.0, z), material)


def _rolling(f: Values) -> float:
    """Return what floor and bowl take for the beads' resistance to rolling [m].

    Bullet multiplies each side's by the other's friction. If the beads had it, every two of them
    would have three more rows to solve, which are most of a heap's.
    """
    return f.rolling_friction_m * RUBS / f.bead_friction


def _cup(f: Values, start: float) -> sc.Body:
    """Return a bottom and two walls, on a joint that tilts, on one that slides."""
    color, (wide, high), deep, thick = f.rgba("cup_color"), CUP_M, DEEP_M - 0.001, WALL_M
    bottom = sc.box((wide + 2 * thick, deep, thick), (0, 0, -high - thick), color)
    walls = (sc.box((thick, deep, high), (x, 0, 0), color) for x in (-wide - thick, wide + thick))
    along = sc.Joint("prismatic", sc.X, motor=sc.Motor("velocity", 500.0))
    about = sc.Joint("revolute", sc.Y, motor=sc.Motor("velocity", 100.0))
    slide = sc.Link("slide", along, (), 0.5)
    tilt = sc.Link("tilt", about, (bottom, *walls), 0.5, parent="slide")
    at, surface = sc.turned(start, 0.0, CUP_Z_M), sc.Material(RUBS, restitution=0.3)
    return sc.Body("cup", pose=at, material=surface, links=(slide, tilt))


def _bowl(f: Values) -> tuple[sc.Shape, ...]:
    color, far, high = f.rgba("bowl_color"), f.bowl_half_m + WALL_M, BOWL_HIGH_M / 2
    bottom = sc.box((f.bowl_half_m, DEEP_M, SUNK_M), (0.0, 0.0, 2 * WALL_M - SUNK_M), color)
    walls = (sc.box((WALL_M, DEEP_M, high), (x, 0.0, high), color) for x in (-far, far))
    return (bottom, *walls)


def _pane(color: sc.Rgba) -> sc.Shape:
    """Return the pane behind, as it is seen; what holds the beads are bounds."""
    half = (END_X_M + 0.02, 0.05, 0.4)
    return sc.box(half, (0.0, DEEP_M + 0.05, 0.4), color, collides=False)


def _bounds() -> Iterator[sc.Body]:
    """Yield what holds the beads, unseen: behind and before them planes, which cost least."""
    smooth, half = sc.Material(0.0), math.sqrt(0.5)
    plane = sc.Shape("plane", visible=False)
    for name, side in (("behind", 1.0), ("before", -1.0)):  # The upper sides face the beads.
        place = sc.Pose((0.0, side * DEEP_M, 0.0), (side * half, 0.0, 0.0, half))
        yield sc.Body(name, (plane,), 0.0, place, smooth)
    for name, side in (("left_end", -1.0), ("right_end", 1.0)):
        place = (side * (END_X_M + 0.05), 0.0, 0.4)
        end = sc.box((0.05, DEEP_M, 0.4), place, sc.GREY, visible=False)
        yield sc.Body(name, (end,), material=smooth)
