"""Let something go down a ramp behind a screen that hides a hill: where does it reappear?"""

import itertools
import math
from collections.abc import Iterator

import numpy as np

from sandbox import scene as sc
from sandbox.env import Actions, Element, SandboxEnv, each, policy
from sandbox.env.factors import Color, Factors, Integer, Uniform, Values, handling, looks

TOP_X_M, FOOT_X_M, END_X_M, WALL_X_M = -1.06, -0.28, 0.52, 0.88  # Of ramp, track and tray.
BLEND_M = 0.1  # The ramp's foot is round so far to either side.
LEVEL_M, THICK_M, HALF_Y_M = 0.14, 0.03, 0.11  # Of the track: above the floor, and half across.
HILL_X_M, HILL_HALF_M = 0.11, 0.25
HILL_M = (0.04, 0.112)  # Height of the hill,
START_X_M = (-0.6, -0.4)  # and where the object starts; the gate takes it up to
HIGHEST_X_M = -0.95
SCREEN_M = (-0.28, 0.4, 0.48)  # From x to x, and its height.
LEFT_X_M = -0.38  # Left of it an object that was hidden is seen again.
GATE_M_S, OPEN_M_S, OPEN_M = 0.4, 0.8, 0.15
WAIT_S = 1.8  # How long the scripted policy lifts the object at most, and
SPARE_M = 0.045  # how much higher than friction and the highest hill need.


class RampOccluder(SandboxEnv):
    """Let the object go so that it passes the hidden hill and reappears on the right.

    Observation (proprio), float32 (13,), world frame: 0:3 object x, y, z [m]; 3:5 its velocity
        x, z [m/s]; 5 its spin about y [rad/s]; 6 gate along the ramp, down from where it began [m];
        7 gate above closed [m]; 8 whether the gate was opened; 9 whether the screen hides the
        object; 10 its shape, as the factor has it; 11 its size [m]; 12 seconds left [s].
    Action, float32 (2,) in [-1, 1]: above 0 opens the gate, for good; velocity of the closed gate
        down the ramp in units of 0.4 m/s, with which the object starts lower or higher.
    Reward: for success alone.
    Ends: truncated after 6 s; success is that the object has reappeared on the right: its middle
        is past the end of the track, beyond the screen, from where it cannot come back.
    """

    family = "intuitive physics"
    control_hz = 15
    physics_hz = 480  # An object at 2.5 m/s moves 5 mm a step, a tenth of its radius.
    limit_s = 6.0
    fixed_length = True
    action_size = 2
    state_bodies = ("object",)
    state_joints = (("gate", "slide"), ("gate", "bar"))
    state_measures = ("opened", "was_hidden", "seen_left", "seen_right")
    events = ("opened", "hidden", "seen_left", "seen_right")
    aim = "opening the gate decides, and then nobody steers"
    elements = (
        Element("object_x", "m", -1.5, 1.5),
        Element("object_y", "m", -0.5, 0.5),
        Element("object_z", "m", -0.5, 2.0),
        *each("object_vx object_vz", "m/s", -8.0, 8.0),
        Element("object_spin", "rad/s", -150.0, 150.0),
        Element("gate_slide", "m", -1.0, 1.0),
        Element("gate_bar", "m", -0.1, 0.4),
        *each("opened hidden", "1", 0.0, 1.0),
        Element("object_shape", "1", 0.0, 2.0),
        Element("object_radius", "m", 0.04, 0.07),
        Element("seconds_left", "s", 0.0, 6.0),
    )
    factors = Factors(
        object_shape=Integer(0, 2, 1, "1", "0 a box, 1 a ball, 2 a cylinder"),
        object_mass_kg=Uniform(0.1, 1.0, 0.4, "kg", "mass of the object"),
        object_radius_m=Uniform(0.045, 0.065, 0.058, "m", "radius, or half the box's width"),
        object_friction=Uniform(0.2, 0.5, 0.4, "1", "Coulomb coefficient of the object"),
        rolling_friction_m=Uniform(0.0, 0.0015, 0.0005, "m", "resistance to rolling"),
        track_friction=Uniform(0.2, 0.35, 0.3, "1", "of the track, multiplied by the object's"),
        ramp_angle_deg=Uniform(23.0, 30.0, 25.0, "deg", "how steep the ramp is"),
        gravity_m_s2=Uniform(6.0, 12.0, 9.81, "m/s^2", "gravity"),
        object_color=Color("crimson", "colour of the object"),
        screen_color=Color("#39597a", "colour of the screen"),
        track_color=Color("burlywood", "colour of the track"),
        **looks(-110.0, (6.0, 22.0, 13.0)),
        **handling(delay_steps=3),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> sc.Scene:
        """Put the object at a gate somewhere on the ramp, and a hill behind the screen."""
        hill, start = rng.uniform(*HILL_M), rng.uniform(*START_X_M)
        (left, right, _), high = SCREEN_M, SCREEN_M[2] / 2
        half, at = ((right - left) / 2, 0.01, high), ((left + right) / 2, -0.3, high)
        middle = ((TOP_X_M + WALL_X_M) / 2, 0.0, 0.25)
        return sc.Scene(
            bodies=(
                sc.slab("floor", (4.0, 4.0, 0.1), (0.45, 0.5, 0.42, 1.0), sc.Material(0.5)),
                sc.Body("track", _track(f, hill), material=sc.Material(f.track_friction)),
                sc.Body("ends", _ends(f), material=sc.Material(0.3)),
                sc.Body("fence", tuple(_fence()), material=sc.Material(0.0)),
                sc.Body("screen", (sc.box(half, at, f.rgba("screen_color")),)),
                _gate(f, start),
                _object(f, start),
            ),
            cameras=(
                sc.orbit("main", middle, 2.8, f.camera_pitch_deg, fov_deg=42),
                sc.orbit("behind", middle, 2.8, 18, yaw_deg=90, fov_deg=42),
                sc.orbit("top", middle, 2.8, 90, fov_deg=42),
            ),
            light=self.light(f, 55),
            engine=self.engine(f, contact_breaking_threshold_m=0.005),
        )

    def started(self) -> None:
        """Close the gate, note that the object was not seen, and remember what hides it."""
        self.thing = _, radius = (int(self.values.object_shape), float(self.values.object_radius_m))
        self.screen = (SCREEN_M[0] + radius, SCREEN_M[1] - radius)
        self.opened = self.was_hidden = self.seen_left = self.seen_right = False
        self.driven: tuple[float, float] | None = None

    def act(self, action: list[float]) -> None:
        self.opened = self.opened or action[0] > 0.0
        speeds = (0.0, OPEN_M_S) if self.opened else (GATE_M_S * action[1], 0.0)
        if speeds != self.driven:
            self.world.drive("gate", ("slide", "bar"), speeds)
            self.driven = speeds

    def arrived(self) -> None:
        """Derive whether the object is hidden, and where it was seen again."""
        x, (left, right) = self.row[0], self.screen
        self.hidden = left < x < right and self.row[2] > 0.0
        self.was_hidden = self.was_hidden or self.hidden
        self.seen_left = self.seen_left or (self.was_hidden and x < LEFT_X_M)
        self.seen_right = self.seen_right or x > END_X_M

    def proprio(self) -> tuple[float, ...]:
        r, flags = self.row, (self.opened, self.hidden)
        seen = (r[0], r[1], r[2], r[7], r[9], r[11], r[13], r[15])
        return (*seen, *flags, *self.thing, self.seconds_left())

    def success(self) -> bool:
        return self.seen_right

    def happening(self) -> tuple[bool, ...]:
        """Return whether the gate is open, the object hidden, seen on the left, on the right."""
        return (self.opened, self.hidden, self.seen_left, self.seen_right)

    @policy
    def play(self, rng: np.random.Generator) -> Actions:
        """Open the gate, now or soon, wherever the object is."""
        wait = int(rng.integers(0, 8))
        while True:
            yield np.array((1.0 if self.t >= wait else -1.0, 0.0), np.float32)

    @policy
    def scripted(self, rng: np.random.Generator) -> Actions:
        """Take the object as high as it needs for the highest hill, and open the gate."""
        f = self.values
        slides, rolls = (
            f.object_friction * f.track_friction,
            f.rolling_friction_m / f.object_radius_m,
        )
        lost, slope = rolls if f.object_shape else slides, math.tan(_steep(f))  # Per metre of way.
        enough = (FOOT_X_M * slope - HILL_M[1] - SPARE_M - lost * HILL_X_M) / (slope - lost)
        enough = max(enough, HIGHEST_X_M + 0.02)
        while True:
            high = self.row[0] < enough or self.t > WAIT_S * self.control_hz
            yield np.array((1.0 if high else -1.0, -1.0), np.float32)


def _steep(f: Values) -> float:
    return math.radians(f.ramp_angle_deg)


def _foot(f: Values, start: float) -> tuple[float, float]:
    """Return x and z of where the ramp carries an object whose middle is at x = `start`."""
    x = start - f.object_radius_m * math.sin(_steep(f))
    return x, LEVEL_M + (FOOT_X_M - x) * math.tan(_steep(f))


def _object(f: Values, start: float) -> sc.Body:
    """Return the object, on the ramp."""
    radius, color, steep = f.object_radius_m, f.rgba("object_color"), _steep(f)
    shape = (
        sc.Shape("box", (radius, radius, radius), color),
        sc.Shape("sphere", (radius,), color),
        sc.Shape("cylinder", (radius, 3 * radius), color, sc.Pose(quat=sc.LYING)),
    )[int(f.object_shape)]
    at = sc.tilted(start, 0.0, _foot(f, start)[1] + radius * math.cos(steep), steep)
    surface = sc.Material(f.object_friction, f.rolling_friction_m, f.rolling_friction_m, 0.2)
    return sc.Body("object", (shape,), f.object_mass_kg, at, surface, (), 0.02, 0.02)


def _gate(f: Values, start: float) -> sc.Body:
    """Return a bar across the ramp, below the object, that slides along it and opens upwards."""
    (x, z), steep, ahead = _foot(f, start), _steep(f), f.object_radius_m + 0.014
    at = sc.tilted(x + ahead * math.cos(steep), 0.0, z - ahead * math.sin(steep), steep)
    reach = (HIGHEST_X_M - start) / math.cos(steep), (-0.4 - start) / math.cos(steep)
    along = sc.Joint("prismatic", sc.X, reach, sc.Motor("velocity", 60.0))
    up = sc.Joint("prismatic", sc.Z, (0.0, OPEN_M), sc.Motor("velocity", 60.0))
    color, high = (0.15, 0.15, 0.17, 1.0), (OPEN_M + 0.1) / 2
    plate = sc.box((0.01, 0.1, 0.04), (0.0, 0.0, 0.046), color)
    frame = tuple(  # The bar moves in it; it goes through everything.
        sc.box((0.008, 0.008, high), (0.0, y, high), color, collides=False)
        for y in (-HALF_Y_M, HALF_Y_M)
    )
    links = sc.Link("slide", along, frame, 0.5), sc.Link("bar", up, (plate,), 0.5, parent="slide")
    return sc.Body("gate", pose=at, material=sc.Material(0.0), links=links)


def _top(f: Values) -> float:
    """Return how high the ramp begins."""
    return LEVEL_M + (FOOT_X_M - TOP_X_M) * math.tan(_steep(f))


def _profile(f: Values, hill: float) -> list[tuple[float, float]]:
    """Return x, z along the track: a ramp, its round foot, a hill, a flat end."""
    slope, before, after = math.tan(_steep(f)), FOOT_X_M - BLEND_M, FOOT_X_M + BLEND_M
    points = [(TOP_X_M, _top(f))]
    for x in np.linspace(before, after, 5).tolist():
        points.append((x, LEVEL_M + slope * (after - x) ** 2 / (4 * BLEND_M)))
    for n in range(9):  # With the others 15 slabs; Bullet drops a body's shapes after the 16th.
        part = -1.0 + n / 4
        height = hill * (1.0 + math.cos(math.pi * part)) / 2
        points.append((HILL_X_M + part * HILL_HALF_M, LEVEL_M + height))
    return [*points, (END_X_M, LEVEL_M)]


def _track(f: Values, hill: float) -> tuple[sc.Shape, ...]:
    """Return slabs from point to point, and legs below them."""
    color, dark = f.rgba("track_color"), sc.shade(f.rgba("track_color"), 0.6)
    shapes, below = list[sc.Shape](), THICK_M / 2
    for (x, z), (to_x, to_z) in itertools.pairwise(_profile(f, hill)):
        pitch, long = math.atan2(z - to_z, to_x - x), math.hypot(to_x - x, to_z - z)
        x, z = (x + to_x) / 2 - below * math.sin(pitch), (z + to_z) / 2 - below * math.cos(pitch)
        at, half = sc.tilted(x, 0.0, z, pitch), (long / 2, HALF_Y_M, below)
        shapes.append(sc.Shape("box", half, color, at))
    legs = ((TOP_X_M + 0.03, _top(f) - 0.06), (-0.2, LEVEL_M - 0.02), (0.47, LEVEL_M - 0.04))
    for (x, high), y in itertools.product(legs, (-0.09, 0.09)):
        half, at = (0.015, 0.015, high / 2), (x, y, high / 2)
        shapes.append(sc.box(half, at, dark, collides=False))
    return tuple(shapes)


def _ends(f: Values) -> tuple[sc.Shape, sc.Shape]:
    """Return what the object cannot pass, behind the ramp's top and at the end of the tray."""
    color, top, end = sc.shade(f.rgba("track_color"), 0.6), _top(f) + 0.05, HALF_Y_M + 0.05
    return (
        sc.box((0.015, HALF_Y_M, 0.08), (TOP_X_M - 0.015, 0.0, top), color),
        sc.box((0.02, end, 0.04), (WALL_X_M, 0.0, 0.04), color),
    )


def _fence() -> Iterator[sc.Shape]:
    """Yield what keeps the object on the track and in the tray, unseen."""
    for side in (-1.0, 1.0):
        yield sc.box((1.5, 0.1, 1.0), (0.0, side * (HALF_Y_M + 0.1), 1.0), visible=False)
    for x in (TOP_X_M - 0.1, WALL_X_M + 0.08):
        yield sc.box((0.1, 0.4, 1.0), (x, 0.0, 1.0), visible=False)
