"""Open a drawer or a door that may be bolted: only pulling tells, and a lever draws the bolt."""

import math
from collections.abc import Sequence

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
    Texture,
    Vec3,
    orbit,
    sun,
)

FINGER_M = 0.011  # Radius.
FINGER_LENGTH_M = 0.16
FINGER_M_S = 0.35  # At full action.
FINGER_N = 25.0
REACH = ((-0.28, 0.28), (-0.42, -0.013), (0.03, 0.36))  # Of the finger's tip, x, y, z [m].
HALF_WIDTH_M, DEPTH_M, HEIGHT_M = 0.22, 0.30, 0.36  # Of the cabinet; its front is at y = 0.
PANEL_X_M, PANEL_Z_M, PANEL_THICK_M = 0.16, (0.05, 0.20), 0.015  # Half width; lowest and highest.
LEVER_M, LEVER_Z_M = 0.08, 0.30  # Its length, and its hinge's height.
LEVER_RAD = 0.7  # Farther down it draws the bolt.
BOLT_M = 0.06  # How far the bolt goes up.
OPEN = (0.12, 0.8)  # Drawer [m] and door [rad]: success.
AJAR = (0.03, 0.15)  # So far open that it no longer moves by chance.


class Latch(SandboxEnv):
    """Pull a drawer or a door open by its handle, drawing a bolt first if there is one.

    The bolt stands inside, where no camera sees it: it blocks the front until the lever is pushed
    down past 0.7 rad. Whether it is shut (`locked`) cannot be observed, only tried.

    Observation (proprio), float32 (13,), world frame: 0:3 fingertip [m]; 3:6 its velocity [m/s];
        6:9 middle of the handle [m]; 9:11 end of the lever, x, z [m]; 11 whether it is a door; 12
        seconds left [s].
    Action, float32 (3,) in [-1, 1]: finger velocity x, y, z in units of 0.35 m/s.
    Reward: how far it is open as a fraction of what is success, 0 to 1.
    Ends: terminated when a drawer is open by 12 cm or a door by 0.8 rad, which is success;
        truncated after 20 s.
    Factors: is_door, locked, panel_mass_kg, hinge_damping, lever_friction_n_m, handle_gap_m,
        finger_friction, action_delay_steps, action_noise, cabinet_color, panel_color, lever_color,
        light_azimuth_deg, light_color, light_ambient, camera_pitch_deg.
    Events: finger_on_handle, finger_on_lever, unlocked, ajar.
    """

    family = "articulated"
    control_hz = 30
    # Fingertip and bolt sink in by 3.4 mm at most; at 240 Hz by 1.4, for 2.7 times the work.
    physics_hz = 90
    limit_s = 20.0
    action_size = 3
    state_joints = (
        ("finger", "x"),
        ("finger", "y"),
        ("finger", "z"),
        ("cabinet", "drawer"),
        ("cabinet", "door"),
        ("latch", "lever"),
        ("latch", "bolt"),
    )
    events = ("finger_on_handle", "finger_on_lever", "unlocked", "ajar")
    elements = (
        Element("finger_x", "m", -0.32, 0.32),
        Element("finger_y", "m", -0.46, 0.03),
        Element("finger_z", "m", -0.02, 0.42),
        *(Element(f"finger_velocity_{axis}", "m/s", -3.0, 3.0) for axis in "xyz"),
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
        action_delay_steps=Integer(0, 3, 0, "1", "steps by which actions are late"),
        action_noise=Uniform(0.0, 0.3, 0.0, "1", "deviation of the noise on actions"),
        cabinet_color=Color("#8a6a4a", "colour of the cabinet"),
        panel_color=Color("#d9b98a", "colour of the drawer or the door"),
        lever_color=Color("#c8322b", "colour of the lever"),
        light_azimuth_deg=Uniform(-150.0, -30.0, -70.0, "deg", "where the light comes from"),
        light_color=Color("white", "colour of the light"),
        light_ambient=Uniform(0.3, 0.8, 0.55, "1", "light where none falls directly"),
        camera_pitch_deg=Uniform(18.0, 50.0, 32.0, "deg", "camera above the horizon"),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> Scene:
        """Place the handle and the lever by chance, and the finger somewhere before them."""
        handle = (rng.uniform(0.0, 0.07), rng.uniform(0.1, 0.15))
        lever = (rng.uniform(-0.17, -0.11), rng.uniform(0.0, 0.12))
        tip = [rng.uniform(-0.2, 0.2), rng.uniform(-0.32, -0.2), rng.uniform(0.1, 0.3)]
        return Scene(
            bodies=(_floor(), _cabinet(f, *handle), _latch(f, *lever), _finger(f, tip)),
            cameras=(
                orbit("main", (0.0, -0.1, 0.17), 1.15, f.camera_pitch_deg, -62, fov_deg=42),
                orbit("front", (0.0, -0.1, 0.17), 1.15, 15, fov_deg=42),
                orbit("top", (0.0, -0.1, 0.1), 1.3, 90, fov_deg=42),
                Camera("finger", (0.0, -0.3, 0.2), (0.0, 0.04, 0.0), body="finger", link="z"),
            ),
            light=sun(f.light_azimuth_deg, 55, f.rgba("light_color")[:3], f.light_ambient),
            engine=Engine(self.physics_hz),
        )

    def started(self) -> None:
        """Let the lever's friction act, and remember where what moves hangs."""
        self.world.drive("latch", ("lever",), (0.0,))
        self.door = bool(self.values.is_door)
        self.panel = "door" if self.door else "drawer"
        cabinet, latch = (b for b in self.world.scene.bodies if b.name in ("cabinet", "latch"))
        assert isinstance(cabinet, Body)
        assert isinstance(latch, Body)
        hang, bar = cabinet.links[0].pose.xyz, cabinet.links[0].shapes[BAR].pose.xyz
        self.handle_home = (hang[0] + bar[0], hang[1] + bar[1], hang[2] + bar[2])
        self.hinge_x = hang[0]
        self.lever_home = latch.links[0].pose.xyz
        self._draw(not self.values.locked)

    def _draw(self, drawn: bool) -> None:
        """Draw the bolt, or hold it shut."""
        self.drawn = drawn
        self.world.drive("latch", ("bolt",), (BOLT_M if drawn else 0.0,))

    def act(self, action: list[float]) -> None:
        """Drive the finger; the lever, once down, draws the bolt, and it stays drawn."""
        if not self.drawn and self.lever > LEVER_RAD:
            self._draw(True)
        self.world.drive("finger", ("x", "y", "z"), [FINGER_M_S * a for a in action])

    def arrived(self) -> None:
        """Derive where the finger, the handle and the lever are, and how far it is open."""
        row = self.row
        self.tip, self.speed = (row[0], row[2], row[4]), (row[1], row[3], row[5])
        self.lever = row[10]
        self.opened = row[8] if self.door else row[6]
        x, y, z = self.handle_home
        if self.door:
            out, cos, sin = x - self.hinge_x, math.cos(self.opened), math.sin(self.opened)
            x, y = self.hinge_x + out * cos + y * sin, y * cos - out * sin
        else:
            y -= self.opened
        self.handle = (x, y, z)
        x, y, z = self.lever_home
        down = (math.cos(self.lever), math.sin(self.lever))
        self.lever_end = (x + LEVER_M * down[0], y, z - LEVER_M * down[1])

    def proprio(self) -> Sequence[float]:
        """Return finger, handle, lever, what it is, and the time left; nothing of the bolt."""
        return (
            *self.tip,
            *self.speed,
            *self.handle,
            self.lever_end[0],
            self.lever_end[2],
            self.door,
            self.seconds_left(),
        )

    def reward(self) -> float:
        """Return how far it is open, 0 to 1."""
        return max(0.0, min(1.0, self.opened / OPEN[self.door]))

    def success(self) -> bool:
        """Whether it is open."""
        return self.opened >= OPEN[self.door]

    def terminated(self) -> bool:
        """End on success."""
        return self.success()

    def happening(self) -> Sequence[bool]:
        """Whether the finger is on the front, on the lever; whether the bolt is drawn; ajar."""
        return (
            self.world.touch("finger", "cabinet", "z", self.panel) > 0.0,
            self.world.touch("finger", "latch", "z", "lever") > 0.0,
            self.drawn,
            self.opened > AJAR[self.door],
        )

    def scripted(self, rng: np.random.Generator) -> Policy:
        """Return a policy that pulls, and if nothing moves turns the lever and pulls again."""
        return Opener(self)

    def play(self, rng: np.random.Generator) -> Policy:
        """Return a policy that pokes about the handle and the lever, and pulls at times."""
        aim, left = self.tip, 0

        def act() -> Vector:
            nonlocal aim, left
            if left <= 0:
                at = self.handle if rng.random() < 0.5 else self.lever_end
                off = rng.uniform((-0.08, -0.12, -0.1), (0.08, 0.06, 0.08)).tolist()
                aim = (at[0] + off[0], at[1] + off[1], at[2] + off[2])
                left = int(rng.integers(8, 25))
            left -= 1
            return _towards(self.tip, aim, 6.0)

        return act


class Opener:
    """A scripted policy, in phases: go, hook, pull; go, press the lever; and so on until open."""

    GAIN = 3.0  # Of velocity on distance [1/s]; gentle, for actions may be late.
    CLOSE_M = 0.012
    PATIENCE = 30  # Steps of pulling at what does not move.

    def __init__(self, env: Latch) -> None:
        self.env = env
        self.steps = self._pull
        self.phase, self.waited = 0, 0

    def __call__(self) -> Vector:
        """Return the next action."""
        self.waited += 1
        return self.steps()

    def _turn_to(self, steps: Policy) -> None:
        self.steps, self.phase, self.waited = steps, 0, 0

    def _next(self) -> None:
        self.phase, self.waited = self.phase + 1, 0

    def _go(self, aim: Vec3, close: float = CLOSE_M) -> Vector:
        """Go there; the phase ends on arriving, or after a while."""
        if math.dist(self.env.tip, aim) < close or self.waited > 60:
            self._next()
        return _towards(self.env.tip, aim, self.GAIN)

    def _pull(self) -> Vector:
        """Come from before and above, hook behind the bar, and pull."""
        env = self.env
        x, y, z = env.handle
        turn = env.opened if env.door else 0.0
        behind = 0.5 * env.values.handle_gap_m  # Between bar and front.
        hook = (x + behind * math.sin(turn), y + behind * math.cos(turn), z - 0.025)
        above = 0.05 + 0.02
        match self.phase:
            case 0:
                return self._go((env.tip[0], min(-0.13, y - 0.06), z + above), 0.03)
            case 1:
                return self._go((hook[0], y - 0.06, z + above), 0.02)
            case 2:
                return self._go((hook[0], hook[1], z + above))
            case 3:
                return self._go(hook)
            case _:
                if self.waited > self.PATIENCE and env.opened < AJAR[env.door]:
                    self._turn_to(self._press if self._reached() else self._pull)
                out = 0.05 + behind
                ahead = (hook[0] - out * math.sin(turn), hook[1] - out * math.cos(turn), hook[2])
                return _towards(env.tip, ahead, 2 * self.GAIN)

    def _reached(self) -> bool:
        """Whether the finger is where it can pull."""
        tip, (x, _, z) = self.env.tip, self.env.handle
        return abs(tip[0] - x) < 0.05 and tip[2] < z + 0.005

    def _press(self) -> Vector:
        """Leave the handle, come from above, press the lever's end down, then pull."""
        env = self.env
        x, y, z = env.lever_home
        over = (x + 0.8 * LEVER_M, y, min(z + 0.045, REACH[2][1] - 0.005))
        match self.phase:
            case 0:
                hx, _, hz = env.handle
                return self._go((hx, env.tip[1], hz + 0.07), 0.03)
            case 1:
                return self._go((env.tip[0], -0.14, over[2]), 0.03)
            case 2:
                return self._go((over[0], -0.14, over[2]), 0.02)
            case 3:
                return self._go(over)
            case 4:
                if env.lever > LEVER_RAD + 0.15 or self.waited > 40:
                    self._next()
                end = 0.8 * LEVER_M
                at = x + end * math.cos(env.lever)
                return _towards(env.tip, (at, y, env.tip[2] - 0.05), 2 * self.GAIN)
            case 5:
                return self._go((env.tip[0], -0.14, env.tip[2] + 0.02), 0.03)
            case _:
                self._turn_to(self._pull)
                return np.zeros(3, np.float32)


def _towards(tip: Vec3, aim: Sequence[float], gain: float) -> Vector:
    """Return the action that goes there, slower when near."""
    speed = [gain * (a - t) / FINGER_M_S for a, t in zip(aim, tip, strict=True)]
    most = max(1.0, max(abs(s) for s in speed))
    return np.array([s / most for s in speed], np.float32)


BAR = 1  # Which of a panel's shapes is the handle's bar.
KEEPER = (0.13, 0.05, 0.125)  # Where, with the front shut.
STEEL, BLUE = (0.25, 0.27, 0.3, 1.0), (0.16, 0.30, 0.75, 1.0)


def _box(half: Vec3, at: Vec3, color: Rgba, collides: bool = True) -> Shape:
    return Shape("box", half, color, Pose(at), collides)


def _panel(f: Values, x: float, handle: Vec3) -> tuple[Shape, ...]:
    """The front, its middle at `x` from its link's origin, its handle, and the bolt's keeper.

    The keeper is the block behind the front that a shut bolt holds; x of handle and keeper are from
    the front's middle.
    """
    low, high = PANEL_Z_M
    half, middle = PANEL_THICK_M / 2, (low + high) / 2
    size = (PANEL_X_M - 0.003, half, (high - low) / 2 - 0.003)
    hx, hy, hz = x + handle[0], handle[1], handle[2]
    long = (-PANEL_THICK_M - hy) / 2
    kx, ky, kz = x + KEEPER[0], KEEPER[1], KEEPER[2]
    return (
        _box(size, (x, -half, middle), f.rgba("panel_color")),
        _box((0.055, 0.007, 0.009), (hx, hy, hz), STEEL),
        *(_box((0.008, long, 0.008), (hx + s * 0.047, hy + long, hz), STEEL) for s in (-1, 1)),
        _box((0.012, 0.01, 0.015), (kx, ky, kz), STEEL),
        _box((0.004, ky / 2, 0.01), (kx + 0.009, ky / 2, kz), STEEL, collides=False),
    )


def _cabinet(f: Values, handle_x: float, handle_z: float) -> Body:
    """A carcass open in front, and in it a drawer on a slide or a door on a hinge at its left."""
    handle = (handle_x, -PANEL_THICK_M - f.handle_gap_m, handle_z)
    if f.is_door:
        hinge = Joint("revolute", (0.0, 0.0, -1.0), (0.0, 1.7), damping=f.hinge_damping / 10)
        shapes, com, at = _panel(f, PANEL_X_M, handle), (PANEL_X_M, 0.0, 0.12), -PANEL_X_M
        link = Link("door", hinge, shapes, f.panel_mass_kg, com, Pose((at, 0.0, 0.0)))
    else:
        slide = Joint("prismatic", (0.0, -1.0, 0.0), (0.0, 0.22), damping=f.hinge_damping)
        shapes = (*_panel(f, 0.0, handle), *_tray(f.rgba("panel_color")))
        link = Link("drawer", slide, shapes, f.panel_mass_kg, (0.0, 0.1, 0.1))
    return Body("cabinet", _carcass(f.rgba("cabinet_color")), links=(link,))


def _carcass(color: Rgba) -> tuple[Shape, ...]:
    low, high = PANEL_Z_M
    wall, deep, dark = (HALF_WIDTH_M - PANEL_X_M) / 2, DEPTH_M / 2, (0.16, 0.13, 0.11, 1.0)
    side, tall, middle = PANEL_X_M + wall, (high - low) / 2, (low + high) / 2
    lid, back = (HEIGHT_M - high) / 2, (0.0, DEPTH_M - 0.005, middle)
    return (
        _box((HALF_WIDTH_M, deep, low / 2), (0.0, deep, low / 2), color),
        _box((HALF_WIDTH_M, deep, lid), (0.0, deep, HEIGHT_M - lid), color),
        *(_box((wall, deep, tall), (s * side, deep, middle), color) for s in (-1, 1)),
        _box((PANEL_X_M, 0.005, tall), back, dark, collides=False),
    )


def _tray(color: Rgba) -> tuple[Shape, ...]:
    """What a drawer is besides its front; only pictures see it."""
    inside, low = (color[0] * 0.8, color[1] * 0.8, color[2] * 0.8, 1.0), PANEL_Z_M[0]
    wide = PANEL_X_M - 0.012
    return (
        *(
            _box((0.005, 0.12, 0.045), (s * wide, 0.12, low + 0.055), inside, False)
            for s in (-1, 1)
        ),
        _box((wide, 0.12, 0.005), (0.0, 0.12, low + 0.01), inside, False),
    )


def _latch(f: Values, x: float, angle: float) -> Body:
    """The lever on the cabinet's front, and the bolt inside: in the way of the keeper, or up."""
    half, color = LEVER_M / 2, f.rgba("lever_color")
    lever = _box((half, 0.008, 0.01), (half, 0.0, 0.0), color)
    knob = Shape("sphere", (0.015,), color, collides=False)
    friction = Motor("velocity", f.lever_friction_n_m)
    hinge = Joint("revolute", (0.0, 1.0, 0.0), (0.0, 1.3), friction, 0.02)
    bolt = _box((0.012, 0.01, 0.015), (0.0, 0.0, 0.0), (0.5, 0.5, 0.55, 1.0))
    slide = Joint("prismatic", (0.0, 0.0, 1.0), (0.0, BOLT_M), Motor("position", 60.0))
    at, place = Pose((x, -0.013, LEVER_Z_M)), Pose((KEEPER[0], KEEPER[1] - 0.022, KEEPER[2]))
    shut = 0.0 if f.locked else BOLT_M
    links = (
        Link("lever", hinge, (lever, knob), 0.1, (half, 0.0, 0.0), at, position=angle),
        Link("bolt", slide, (bolt,), 0.2, pose=place, position=shut),
    )
    return Body("latch", material=Material(0.2), links=links)


def _finger(f: Values, tip: Sequence[float]) -> Body:
    """A round finger pointing down, on three sliding joints that are 0 at the world's origin."""
    long = FINGER_LENGTH_M / 2
    rod = Shape("cylinder", (FINGER_M, FINGER_LENGTH_M), BLUE, Pose((0.0, 0.0, long)))
    wrist = _box((0.022, 0.022, 0.02), (0.0, 0.0, 2 * long), STEEL, collides=False)
    axes = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
    links: list[Link] = []
    for (name, axis), limits, position in zip(axes.items(), REACH, tip, strict=True):
        joint = Joint("prismatic", axis, limits, Motor("velocity", FINGER_N))
        shapes = (rod, wrist) if name == "z" else ()
        parent = links[-1].name if links else ""
        links.append(Link(name, joint, shapes, 0.2, parent=parent, position=position))
    return Body("finger", material=Material(friction=f.finger_friction), links=tuple(links))


def _floor() -> Body:
    tiles, grey = Texture(width_m=0.2, color=(0.62, 0.66, 0.62)), (0.72, 0.75, 0.71, 1.0)
    at = Pose((0.0, -0.05, -0.03))
    return Body("floor", (Shape("box", (0.45, 0.5, 0.03), grey, at, texture=tiles),))
