"""Run in a plane: a cheetah of a torso and two legs, by the torques of its six joints."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sandbox import scene as sc
from sandbox.env import Actions, Aim, Element, SandboxEnv, Vector, each, policy
from sandbox.env.factors import Color, Factors, Uniform, Values, handling, looks

HALF_M, RADIUS_M = 0.5, 0.046  # Of the torso; all capsules are as thick.
FAR_M = 6.0  # Where success is.


class Segment(NamedTuple):
    """A part of a leg: its end at rest from its joint [m], and its joint's limits and strength."""

    name: str
    end: tuple[float, float]  # x, z.
    mass_kg: float
    limits: tuple[float, float]
    torque_n_m: float  # At full action.
    spring_n_m: float  # Per radian from rest.


SEGMENTS = (  # From the torso down, the back leg first.
    Segment("back_thigh", (0.16, -0.25), 1.5, (-0.6, 1.0), 90.0, 60.0),
    Segment("back_shin", (-0.27, -0.15), 1.3, (-0.8, 0.8), 70.0, 45.0),
    Segment("back_foot", (0.07, -0.18), 0.8, (-0.4, 0.8), 40.0, 30.0),
    Segment("front_thigh", (-0.14, -0.24), 1.4, (-1.0, 0.7), 90.0, 45.0),
    Segment("front_shin", (0.13, -0.19), 1.0, (-1.1, 0.9), 50.0, 30.0),
    Segment("front_foot", (0.09, -0.15), 0.7, (-0.5, 0.5), 25.0, 15.0),
)
JOINTS = tuple(segment.name for segment in SEGMENTS)
GALLOP_HZ = 3.29
GALLOP = (  # Of each joint mean, amplitude, phase [rad]; found by the cross-entropy method.
    *((0.033, 1.013, 2.700), (0.541, 0.483, -0.211), (-0.439, 0.536, 1.946)),
    *((-0.165, 0.347, 3.916), (-0.603, 1.068, 4.027), (0.356, -0.402, 4.260)),
)


class Cheetah2d(SandboxEnv):
    """Run as fast and as far as possible, to the right.

    The torso slides along x and z and turns about y, after the half cheetah of Wawrzynski (2009).
    Each joint has a spring towards its rest besides its torque.

    Observation (proprio), float32 (19,): 0 x since the start [m]; 1 z of the torso [m]; 2:4 cos,
        sin of its pitch, nose down positive; 4:10 joint angles from rest: back thigh, shin, foot,
        front thigh, shin, foot [rad]; 10:12 velocity x, z [m/s]; 12 pitch velocity [rad/s]; 13:19
        joint velocities [rad/s].
    Action, float32 (6,) in [-1, 1]: torques of these joints in units of 90, 70, 40, 90, 50 and 25
        N m times `torque_scale`.
    Reward: progress is the way ahead as a fraction of 6 m, -1 to 1.
    Ends: truncated after 6 s; success is to be 6 m ahead of the start then.
    """

    family = "locomotion"
    control_hz = 20  # As Gymnasium's HalfCheetah.
    physics_hz = 480  # At 240 feet sink 42 mm into the ground, nearly their radius; here 21.
    limit_s = 6.0
    fixed_length = True
    action_size = 6
    state_joints = tuple(("runner", name) for name in ("x", "z", "torso", *JOINTS))
    events = ("back_foot_down", "front_foot_down", "upside_down")
    aim = (
        Aim()
        .near("runner.x.position", 0.2, 0.1)
        .near("runner.torso.position", 0.35, 0.175, "rad", turns=True)
    )
    elements = (
        Element("x", "m", -100.0, 100.0),
        Element("z", "m", -1.0, 20.0),
        *each("cos_pitch sin_pitch", "1", -1.0, 1.0),
        *each(" ".join(JOINTS), "rad", -3.0, 3.0),
        *each("velocity_x velocity_z", "m/s", -50.0, 50.0),
        *(Element(f"{name}_velocity", "rad/s", -150.0, 150.0) for name in ("pitch", *JOINTS)),
    )
    factors = Factors(
        torso_mass_kg=Uniform(4.0, 9.0, 6.0, "kg", "mass of the torso"),
        leg_scale=Uniform(0.85, 1.15, 1.0, "1", "length of the legs"),
        torque_scale=Uniform(0.8, 1.2, 1.0, "1", "strength of the joints"),
        joint_damping=Uniform(1.0, 3.0, 2.0, "N m s/rad", "of the thighs; less farther down"),
        ground_friction=Uniform(0.5, 1.5, 1.0, "1", "Coulomb coefficient of ground and feet"),
        gravity_m_s2=Uniform(7.0, 12.0, 9.81, "m/s^2", "gravity"),
        **handling(delay_steps=3, noise=0.3),
        torso_color=Color("#d98c2b", "colour of the torso"),
        leg_color=Color("#a3581f", "colour of the legs"),
        ground_color=Color("#8fa882", "colour of the ground"),
        **looks(-75.0, (3.0, 35.0, 12.0)),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> sc.Scene:
        """Stand the cheetah on the ground, its joints near rest."""
        bends = rng.uniform(-0.1, 0.1, len(JOINTS)).tolist()
        pitch, middle = rng.uniform(-0.05, 0.05), (0.1, 0.0, -0.2)
        cameras = (
            sc.orbit("main", middle, 2.7, f.camera_pitch_deg, fov_deg=42),
            sc.orbit("along", middle, 2.7, 20, -140, fov_deg=42),
            sc.Camera("nose", (0.7, 0.0, 0.1), (2.0, 0.0, -0.3), fov_deg=70, mounted=True),
        )
        color = f.rgba("ground_color")
        tiles = sc.Texture(width_m=1.0, color=sc.shade(color, 0.8)[:3])
        grass = sc.Shape("plane", (), color, texture=tiles)
        ground = sc.Body("ground", (grass,), material=sc.Material(friction=f.ground_friction))
        return sc.Scene(
            bodies=(ground, _runner(f, pitch, bends)),
            cameras=tuple(replace(camera, body="runner", link="torso") for camera in cameras),
            light=self.light(f, 65),
            engine=self.engine(f),
        )

    def started(self) -> None:
        """Remember the strength, and from where the torso slides up and down."""
        self.home = _height(self.values.leg_scale)
        self.strong = [s.torque_n_m * self.values.torque_scale for s in SEGMENTS]

    def act(self, action: list[float]) -> None:
        every = zip(self.strong, action, SEGMENTS, self.angles, strict=True)
        torques = [strong * a - s.spring_n_m * angle for strong, a, s, angle in every]
        self.world.drive("runner", JOINTS, torques)

    def arrived(self) -> None:
        """Derive where the torso is and how the joints are bent."""
        self.x, self.speed, _, _, self.pitch, *_ = self.row
        self.angles = self.row[6::2]

    def proprio(self) -> tuple[float, ...]:
        row, (cos, sin) = self.row, (math.cos(self.pitch), math.sin(self.pitch))
        return (row[0], self.home + row[2], cos, sin, *self.angles, *row[1:6:2], *row[7::2])

    def progress(self) -> float:
        return max(-1.0, min(1.0, self.x / FAR_M))

    def success(self) -> bool:
        return self.x >= FAR_M

    def happening(self) -> tuple[bool, ...]:
        """Return whether each foot is on the ground, and whether the back is."""
        feet = (self.world.touch("runner", "ground", foot) > 0.0 for foot in JOINTS[2::3])
        return (*feet, math.cos(self.pitch) < 0.0)

    @policy
    def scripted(self, rng: np.random.Generator) -> Actions:
        """Gallop: each joint's torque is a wave, all of one frequency, whatever happens."""
        while True:
            yield self._torques(GALLOP_HZ, GALLOP)

    @policy
    def play(self, rng: np.random.Generator) -> Actions:
        """Stray from the gallop or its reverse, for a second or so each."""
        while True:
            left, back = int(rng.integers(10, 30)), rng.random() < 0.5
            hz = float(rng.uniform(2.5, 4.0)) * (-1.0 if back else 1.0)
            waves = GALLOP + rng.normal(0.0, (0.1, 0.1, 0.4), (len(JOINTS), 3))
            for _ in range(left):
                yield self._torques(hz, waves.tolist())

    def _torques(self, hz: float, waves: Sequence[tuple[float, float, float]]) -> Vector:
        """Return the action of this step: a wave for each joint."""
        turn = 2 * math.pi * hz * self.t / self.control_hz
        torques = [mean + much * math.sin(turn + phase) for mean, much, phase in waves]
        return np.array(torques, np.float32).clip(-1.0, 1.0)


def _runner(f: Values, pitch: float, bends: Sequence[float]) -> sc.Body:
    """Return the cheetah: a trunk that slides along x and z and turns, and its legs."""
    torque, color = sc.Motor("torque", 200.0 * f.torque_scale), f.rgba("torso_color")
    trunk = _capsule((-HALF_M, 0.0), (HALF_M, 0.0), color)
    head = _capsule((HALF_M, 0.0), (HALF_M + 0.18, 0.16), color)
    turning, torso = sc.Joint("revolute", sc.Y), (trunk, head)
    links = [
        sc.Link("x", sc.Joint("prismatic", sc.X), mass_kg=0.01),
        sc.Link("z", sc.Joint("prismatic", sc.Z), mass_kg=0.01, parent="x"),
        sc.Link("torso", turning, torso, f.torso_mass_kg, parent="z", position=pitch),
    ]
    at, parent = sc.Pose(), ""
    for n, (name, end, mass, limits, _, spring) in enumerate(SEGMENTS):
        if n % 3 == 0:  # A thigh.
            at, parent = sc.Pose((HALF_M if n else -HALF_M, 0.0, 0.0)), "torso"
        x, z = (f.leg_scale * part for part in end)
        hinge = sc.Joint("revolute", sc.Y, limits, torque, f.joint_damping * spring / 60.0)
        bone, middle = _capsule((0.0, 0.0), (x, z), f.rgba("leg_color")), (x / 2, 0.0, z / 2)
        links.append(sc.Link(name, hinge, (bone,), mass, middle, at, parent, bends[n]))
        at, parent = sc.Pose((x, 0.0, z)), name
    base = sc.Pose((0.0, 0.0, _height(f.leg_scale)))
    return sc.Body("runner", pose=base, material=sc.Material(friction=1.0), links=tuple(links))


def _height(leg_scale: float) -> float:
    """Return how high the torso is when the longer leg is just above the ground."""
    depths = (sum(s.end[1] for s in leg) for leg in (SEGMENTS[:3], SEGMENTS[3:]))
    return -leg_scale * min(depths) + RADIUS_M + 0.03


def _capsule(a: tuple[float, float], b: tuple[float, float], color: sc.Rgba) -> sc.Shape:
    """Return a capsule from one point of the plane y = 0 to another."""
    x, z = b[0] - a[0], b[1] - a[1]
    pose = sc.tilted((a[0] + b[0]) / 2, 0.0, (a[1] + b[1]) / 2, math.atan2(x, z))
    return sc.Shape("capsule", (RADIUS_M, math.hypot(x, z)), color, pose)
