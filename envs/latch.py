"""Open a drawer or a door that may be bolted: only pulling tells, and a lever draws the bolt."""

import math
from collections.abc import Callable, Generator, Sequence

import numpy as np

from sandbox import scene as sc
from sandbox.env import Actions, Aim, Element, Probe, SandboxEnv, Vector, policy
from sandbox.env.factors import Color, Factors, Integer, Uniform, Values, handling, looks

REACH = ((-0.28, 0.28), (-0.42, -0.013), (0.03, 0.36))  # Of the finger's tip, x, y, z [m].
LEVER_RAD = 0.7  # Farther down it draws the bolt.
OPEN = (0.12, 0.8)  # Drawer [m] and door [rad]: success.
AJAR = (0.03, 0.15)  # So far open that it no longer moves by chance.
BLUE = (0.16, 0.30, 0.75, 1.0)

# The scripted policy.
GAIN_HZ = 3.0  # Of velocity on distance; gentle, for actions may be late.
CLOSE_M = 0.012
PATIENCE = 30  # Steps of pulling at what does not move.


class Latch(SandboxEnv):
    """Pull a drawer or a door open by its handle, drawing a bolt first if there is one.

    The bolt stands inside, where no camera sees it: it blocks the front until the lever is pushed
    down past 0.7 rad. Whether it is shut (`locked`) cannot be observed, only tried.

    Observation (proprio), float32 (13,), world frame: 0:3 fingertip [m]; 3:6 its velocity [m/s];
        6:9 middle of the handle [m]; 9:11 end of the lever, x, z [m]; 11 whether it is a door; 12
        seconds left [s].
    Action, float32 (3,) in [-1, 1]: finger velocity x, y, z in units of 0.35 m/s.
    Reward: progress is how far it is open as a fraction of what is success, 0 to 1.
    Ends: terminated when a drawer is open by 12 cm or a door by 0.8 rad, which is success;
        truncated after 20 s.
    """

    family = "articulated"
    control_hz = 30
    # Fingertip and bolt sink in by 3.4 mm at most; at 240 Hz by 1.4, for 2.7 times the work.
    physics_hz = 90
    limit_s = 20.0
    action_size = 3
    state_joints = (
        *Probe.joints,
        *(("cabinet", panel) for panel in ("drawer", "door")),
        *(("latch", part) for part in ("lever", "bolt")),
    )
    events = ("finger_on_handle", "finger_on_lever", "unlocked", "ajar")
    aim = (
        Aim()
        .near("cabinet.drawer.position", 0.02, 0.01)
        .near("cabinet.door.position", 0.13, 0.065, "rad")
        .near("latch.lever.position", 0.25, 0.125, "rad")
        .near("finger.x.position finger.y.position finger.z.position", 0.03, 0.015)
    )
    elements = (
        *Probe.elements((-0.32, 0.32), (-0.46, 0.03), (-0.02, 0.42)),
        Element("handle_x", "m", -0.4, 0.4),
        Element("handle_y", "m", -0.5, 0.1),
        Element("handle_z", "m", 0.0, 0.3),
        Element("lever_x", "m", -0.3, 0.3),
        Element("lever_z", "m", 0.15, 0.4),
        Element("is_door", "1", 0.0, 1.0),
        Element("seconds_left", "s", 0.0, 20.0),
    )
    factors = Factors(
        is_door=Integer(0, 1, 1, "1", "a door instead of a drawer"),
        locked=Integer(0, 1, 1, "1", "whether the bolt is shut; nothing shows it"),
        panel_mass_kg=Uniform(0.5, 3.0, 1.2, "kg", "mass of the drawer or the door"),
        hinge_damping=Uniform(1.0, 12.0, 4.0, "N s/m", "friction of the slide; door: a tenth"),
        lever_friction_n_m=Uniform(0.05, 0.3, 0.12, "N m", "friction of the lever"),
        handle_gap_m=Uniform(0.045, 0.065, 0.055, "m", "from the front to the handle's bar"),
        finger_friction=Uniform(0.0, 1.0, 0.3, "1", "Coulomb coefficient of the finger"),
        **handling(delay_steps=3, noise=0.3),
        cabinet_color=Color("#8a6a4a", "colour of the cabinet"),
        panel_color=Color("#d9b98a", "colour of the drawer or the door"),
        lever_color=Color("#c8322b", "colour of the lever"),
        **looks(-70.0, (18.0, 50.0, 32.0), light_range_deg=(-150.0, -30.0)),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> sc.Scene:
        """Place the handle and the lever by chance, and the finger somewhere before them."""
        handle = (rng.uniform(0.0, 0.07), rng.uniform(0.1, 0.15))
        lever = (rng.uniform(-0.17, -0.11), rng.uniform(0.0, 0.12))
        tip = [rng.uniform(-0.2, 0.2), rng.uniform(-0.32, -0.2), rng.uniform(0.1, 0.3)]
        cabinet = sc.cabinet(
            "cabinet",
            (handle[0], f.handle_gap_m, handle[1]),
            door=bool(f.is_door),
            mass_kg=f.panel_mass_kg,
            damping=f.hinge_damping,
            color=f.rgba("cabinet_color"),
            panel_color=f.rgba("panel_color"),
        )
        shut, color = bool(f.locked), f.rgba("lever_color")
        latch = sc.cabinet_latch(
            "latch", *lever, shut=shut, friction_n_m=f.lever_friction_n_m, color=color
        )
        finger = Probe.body(tip, REACH, BLUE, f.finger_friction)
        tiles, grey = sc.Texture(width_m=0.2, color=(0.62, 0.66, 0.62)), (0.72, 0.75, 0.71, 1.0)
        floor = sc.slab("floor", (0.45, 0.5, 0.03), grey, at=(0.0, -0.05), texture=tiles)
        return sc.Scene(
            bodies=(floor, cabinet, latch, finger),
            cameras=(
                sc.orbit("main", (0.0, -0.1, 0.17), 1.15, f.camera_pitch_deg, -62, fov_deg=42),
                sc.orbit("front", (0.0, -0.1, 0.17), 1.15, 15, fov_deg=42),
                sc.orbit("top", (0.0, -0.1, 0.1), 1.3, 90, fov_deg=42),
                sc.Camera("finger", (0.0, -0.3, 0.2), (0.0, 0.04, 0.0), body="finger", link="z"),
            ),
            light=self.light(f, 55),
            engine=self.engine(f),
        )

    def started(self) -> None:
        """Let the lever's friction act, and remember where the handle and the lever hang."""
        self.world.drive("latch", ("lever",), (0.0,))
        self.finger = Probe(self.world)
        self.door = bool(self.values.is_door)
        bodies = (body for body in self.world.scene.bodies if isinstance(body, sc.Body))
        front, lever = (b.links[0] for b in bodies if b.name in ("cabinet", "latch"))
        self.hang, bar = front.pose.xyz, front.shapes[sc.CABINET_BAR].pose.xyz
        self.handle_home = (self.hang[0] + bar[0], self.hang[1] + bar[1], self.hang[2] + bar[2])
        self.lever_home = lever.pose.xyz
        self._draw(not self.values.locked)

    def _draw(self, drawn: bool) -> None:
        """Draw the bolt, or hold it shut."""
        self.drawn = drawn
        self.world.drive("latch", ("bolt",), (sc.CABINET_BOLT_M if drawn else 0.0,))

    def act(self, action: list[float]) -> None:
        """Drive the finger; the lever, once down, draws the bolt, and it stays drawn."""
        if not self.drawn and self.lever > LEVER_RAD:
            self._draw(True)
        self.finger.move(action)

    def arrived(self) -> None:
        """Derive where the finger, the handle and the lever are, and how far it is open."""
        row = self.row
        self.finger.look(row)
        self.lever = row[10]
        self.opened = row[8] if self.door else row[6]
        x, y, z = self.handle_home
        if self.door:
            out, cos, sin = x - self.hang[0], math.cos(self.opened), math.sin(self.opened)
            x, y = self.hang[0] + out * cos + y * sin, y * cos - out * sin
        else:
            y -= self.opened
        self.handle = (x, y, z)
        (x, y, z), long = self.lever_home, sc.CABINET_LEVER_M
        self.lever_end = (x + long * math.cos(self.lever), y, z - long * math.sin(self.lever))

    def proprio(self) -> tuple[float, ...]:
        lever = (self.lever_end[0], self.lever_end[2])
        return (*self.finger.numbers(), *self.handle, *lever, self.door, self.seconds_left())

    def progress(self) -> float:
        return max(0.0, min(1.0, self.opened / OPEN[self.door]))

    def potential(self) -> float:
        """Return a fifth for each of: finger at the lever, lever down, finger behind the bar."""
        if self.drawn:
            return 0.4 + 0.2 * self.finger.near(self._behind()) + 0.4 * self.progress()
        pad = [0.2 * a + 0.8 * b for a, b in zip(self.lever_home, self.lever_end, strict=True)]
        return 0.2 * self.finger.near(pad) + 0.2 * min(1.0, self.lever / LEVER_RAD)

    def success(self) -> bool:
        return self.opened >= OPEN[self.door]

    def happening(self) -> tuple[bool, ...]:
        """Return whether the finger is on the front, on the lever, the bolt is drawn, and ajar."""
        return (
            self.world.touch("finger", "cabinet", "z", "door" if self.door else "drawer") > 0.0,
            self.world.touch("finger", "latch", "z", "lever") > 0.0,
            self.drawn,
            self.opened > AJAR[self.door],
        )

    @policy
    def scripted(self, rng: np.random.Generator) -> Actions:
        """Pull; if nothing moves, press the lever down and pull again."""
        while True:
            stuck = yield from self._pull()
            if stuck:
                yield from self._press()

    @policy
    def play(self, rng: np.random.Generator) -> Actions:
        """Poke about the handle and the lever, and pull at times."""
        while True:
            at = self.handle if rng.random() < 0.5 else self.lever_end
            off = rng.uniform((-0.08, -0.12, -0.1), (0.08, 0.06, 0.08)).tolist()
            aim = (at[0] + off[0], at[1] + off[1], at[2] + off[2])
            for _ in range(rng.integers(8, 25)):
                yield self.finger.towards(aim, 6.0)

    def _go(self, place: Callable[[], Sequence[float]], close_m: float) -> Actions:
        """Yield actions until the finger is at a place, which may move, or for 61 steps."""
        for _ in range(61):
            aim = place()
            arrived = math.dist(self.finger.tip, aim) < close_m
            yield self.finger.towards(aim, GAIN_HZ)
            if arrived:
                return

    def _behind(self, out_m: float = 0.0) -> sc.Vec3:
        """Return the place behind the handle's bar, or so far out from there."""
        (x, y, z), turn = self.handle, self.opened if self.door else 0.0
        gap = 0.5 * self.values.handle_gap_m
        x, y = x + gap * math.sin(turn), y + gap * math.cos(turn)
        return (x - out_m * math.sin(turn), y - out_m * math.cos(turn), z - 0.025)

    def _pull(self) -> Generator[Vector, None, bool]:
        """Hook behind the bar, from before and above, and pull; return whether it holds fast."""
        high, before, out = 0.05 + 0.02, -0.06, 0.05 + 0.5 * self.values.handle_gap_m
        for place, close in (
            (lambda: (self.finger.tip[0], min(-0.13, self.handle[1] + before)), 0.03),
            (lambda: (self._behind()[0], self.handle[1] + before), 0.02),
            (lambda: self._behind()[:2], CLOSE_M),
        ):
            yield from self._go(lambda at=place: (*at(), self.handle[2] + high), close)
        yield from self._go(self._behind, CLOSE_M)
        waited = 0
        while True:
            waited += 1
            still = waited > PATIENCE and self.opened < AJAR[self.door]
            tip, (x, _, z) = self.finger.tip, self.handle
            reached = abs(tip[0] - x) < 0.05 and tip[2] < z + 0.005  # Where it can pull.
            yield self.finger.towards(self._behind(out), 2 * GAIN_HZ)
            if still:
                return reached

    def _press(self) -> Actions:
        """Leave the handle, come from above, and press the lever's end down."""
        x, y, z = self.lever_home
        end, over_z = 0.8 * sc.CABINET_LEVER_M, min(z + 0.045, REACH[2][1] - 0.005)
        yield from self._go(
            lambda: (self.handle[0], self.finger.tip[1], self.handle[2] + 0.07), 0.03
        )
        yield from self._go(lambda: (self.finger.tip[0], -0.14, over_z), 0.03)
        yield from self._go(lambda: (x + end, -0.14, over_z), 0.02)
        yield from self._go(lambda: (x + end, y, over_z), CLOSE_M)
        for _ in range(41):
            down = self.lever > LEVER_RAD + 0.15
            at = x + end * math.cos(self.lever)
            yield self.finger.towards((at, y, self.finger.tip[2] - 0.05), 2 * GAIN_HZ)
            if down:
                break
        yield from self._go(lambda: (self.finger.tip[0], -0.14, self.finger.tip[2] + 0.02), 0.03)
        yield np.zeros(3, np.float32)
