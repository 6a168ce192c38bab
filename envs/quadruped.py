"""Walk over rough ground on four legs, by the angles that their joints shall take."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sandbox import scene as sc
from sandbox.env import Actions, Aim, Element, SandboxEnv, Vector, axes, dot, each, policy
from sandbox.env.factors import Color, Factors, Uniform, Values, handling, looks

TORSO_M = (0.21, 0.10, 0.045)  # Half extents.
HIP_M = (0.17, 0.15)  # |x|, |y| of the hips.
UPPER_M = 0.17  # A thigh, and a shin, at leg scale 1.
FOOT_M = 0.022  # Radius of thighs, shins and feet.
STANCE = (0.65, -1.3)  # Hip and knee [rad]: the foot is below the hip.
SWING = (0.6, 0.7)  # Rad from there at full action.
LIMITS = ((-0.5, 1.8), (-2.3, -0.3))
CELLS, CELL_M = 24, (0.24, 0.16)  # Of the rough ground: 5.8 m long, 3.8 m wide.
START_X_M = -2.0
FAR_M = 2.5  # Success.
DEPTH_M = UPPER_M * (math.cos(STANCE[0]) + math.cos(STANCE[0] + STANCE[1]))  # Foot below hip.
LEVEL = 0.56  # How much of a hip's height above the torso's middle its foot makes up for.
AHEAD, SIDES = {"front": 1, "back": -1}, {"left": 1, "right": -1}
LEGS = {f"{a}_{s}": (AHEAD[a], SIDES[s]) for a in AHEAD for s in SIDES}
JOINTS = tuple(f"{leg}_{part}" for leg in LEGS for part in ("hip", "knee"))
SHINS = JOINTS[1::2]


class Quadruped(SandboxEnv):
    """Walk straight on as far as possible, and do not fall over.

    Observation (proprio), float32 (30,): 0:2 x, y since the start, world frame [m]; 2 z [m]; 3:6
        the torso's z axis; 6:8 cos, sin of yaw; 8:11 velocity [m/s] and 11:14 angular velocity
        [rad/s], both in the torso's frame; 14:22 joint angles from the stance [rad]; 22:30 their
        velocities [rad/s]: hip and knee of the legs front left, front right, back left, back right.
    Action, float32 (8,) in [-1, 1]: targets of these joints, from the stance, in units of 0.6 rad
        (hips) and 0.7 rad (knees).
    Reward: progress is the way ahead as a fraction of 2.5 m, -1 to 1.
    Ends: terminated 2.5 m ahead of the start, which is success, or on its back (the torso's z axis
        points down); truncated after 10 s.
    """

    family = "locomotion"
    control_hz = 20  # As Gymnasium's Ant.
    limit_s = 10.0
    action_size = 8
    state_bodies = ("robot",)
    state_joints = tuple(("robot", name) for name in JOINTS)
    state_measures = ("start.x", "start.y")
    events = ("feet_down", "body_down", "on_its_back")
    aim = Aim().each(("robot",), 0.1, 0.05, axes="xy").facing("robot", 20, 10)
    elements = (
        *each("x y", "m", -25.0, 25.0),
        Element("z", "m", -0.5, 5.0),
        *each("up_x up_y up_z cos_yaw sin_yaw", "1", -1.0, 1.0),
        *each("velocity_x velocity_y velocity_z", "m/s", -20.0, 20.0),
        *each("spin_x spin_y spin_z", "rad/s", -100.0, 100.0),
        *(Element(name, "rad", -3.0, 3.0) for name in JOINTS),
        *(Element(f"{name}_velocity", "rad/s", -150.0, 150.0) for name in JOINTS),
    )
    factors = Factors(
        torso_mass_kg=Uniform(3.0, 7.0, 5.0, "kg", "mass of the torso"),
        payload_kg=Uniform(0.2, 2.5, 0.5, "kg", "mass of the box on its back; shown by its size"),
        leg_scale=Uniform(0.85, 1.15, 1.0, "1", "length of the legs"),
        strength_n_m=Uniform(14.0, 30.0, 20.0, "N m", "largest torque of a joint"),
        ground_friction=Uniform(0.4, 1.2, 0.8, "1", "Coulomb coefficient of ground and feet"),
        roughness_m=Uniform(0.0, 0.05, 0.02, "m", "height of the highest bump"),
        gravity_m_s2=Uniform(7.0, 12.0, 9.81, "m/s^2", "gravity"),
        **handling(delay_steps=3, noise=0.2),
        torso_color=Color("#3f6fb5", "colour of the torso"),
        leg_color=Color("#3a3f47", "colour of the legs"),
        ground_color=Color("#b59f7a", "colour of the ground"),
        **looks(-100.0, (10.0, 45.0, 24.0)),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> sc.Scene:
        """Stand the robot at one end of the rough ground."""
        bumps = rng.random((CELLS + 1, CELLS + 1))
        y, heading = rng.uniform(-0.2, 0.2), rng.uniform(-0.15, 0.15)
        bends = rng.uniform(-0.08, 0.08, len(JOINTS)).tolist()
        cameras = (
            sc.orbit("main", (0.1, 0.0, -0.08), 1.75, f.camera_pitch_deg, -62, fov_deg=40),
            sc.Camera("behind", (-1.3, 0.0, 0.6), (0.3, 0.0, -0.05), fov_deg=45),
            sc.Camera("nose", (0.26, 0.0, 0.03), (1.0, 0.0, -0.25), fov_deg=75, mounted=True),
        )
        return sc.Scene(
            bodies=(*_ground(f, bumps), _robot(f, y, heading, bends)),
            cameras=tuple(replace(camera, body="robot") for camera in cameras),
            light=self.light(f, 55),
            engine=self.engine(f),
        )

    def started(self) -> None:
        """Remember where it starts."""
        x, y = self.world.centre("robot")[:2]
        self.start = (x, y)

    def act(self, action: list[float]) -> None:
        targets = [m + s * a for m, s, a in zip(STANCE * 4, SWING * 4, action, strict=True)]
        self.world.drive("robot", JOINTS, targets)

    def arrived(self) -> None:
        """Derive where the torso is and how it is turned."""
        row = self.row
        self.ahead, self.aside = row[0] - self.start[0], row[1] - self.start[1]
        self.forward, self.left, self.up = axes(row)
        self.heading = math.atan2(self.forward[1], self.forward[0])

    def proprio(self) -> tuple[float, ...]:
        row, frame = self.row, (self.forward, self.left, self.up)
        return (
            *(self.ahead, self.aside, row[2]),
            *self.up,
            *(math.cos(self.heading), math.sin(self.heading)),
            *[dot(row[7:10], axis) for axis in frame],
            *[dot(row[10:13], axis) for axis in frame],
            *[angle - rest for angle, rest in zip(row[13:29:2], STANCE * 4, strict=True)],
            *row[14:29:2],
        )

    def measured(self) -> tuple[float, ...]:
        return self.start

    def progress(self) -> float:
        return max(-1.0, min(1.0, self.ahead / FAR_M))

    def success(self) -> bool:
        return self.ahead >= FAR_M and self.up[2] >= 0.0

    def terminated(self) -> bool:
        """End on success, and on its back."""
        return self.success() or self.up[2] < 0.0

    def happening(self) -> tuple[bool, ...]:
        """Return whether two feet or more are down, anything else is, and it lies on its back."""
        feet = [self._pressed(shin) for shin in SHINS]
        down = sum(force > 0.0 for force in feet)
        return (down >= 2, self._pressed() > sum(feet) + 1e-6, self.up[2] < 0.0)

    def _pressed(self, link: str = "") -> float:
        """Return with what force a link, or the whole robot, presses on the ground [N]."""
        return sum(self.world.touch("robot", ground, link) for ground in ("ground", "plain"))

    @policy
    def scripted(self, rng: np.random.Generator) -> Actions:
        """Trot, and steer back to straight on."""
        trot = Trot()
        while True:
            yield self._trotting(trot)

    @policy
    def play(self, rng: np.random.Generator) -> Actions:
        """Trot this way and that, and crouch or stretch."""
        trot = Trot()
        while True:
            left = int(rng.integers(10, 40))
            trot.stride, trot.turn = rng.uniform(-0.12, 0.14), rng.uniform(-0.08, 0.08)
            trot.hz, trot.lift = rng.uniform(1.0, 2.6), rng.uniform(0.02, 0.08)
            trot.height = rng.uniform(0.75, 1.1)
            for _ in range(left):
                yield self._trotting(trot)

    def _trotting(self, trot: "Trot") -> Vector:
        """Return the next action: diagonal legs swing together, feet on half ellipses."""
        trot.phase += 2 * math.pi * trot.hz / self.control_hz
        turn = trot.turn + 0.137 * (-self.heading - 0.436 * self.aside)
        turn = max(-0.05, min(0.05, turn))
        action: list[float] = []
        for ahead, side in LEGS.values():
            phase = trot.phase + (0.0 if ahead == side else math.pi)
            stride = trot.stride - side * turn  # The sides steer.
            x = -stride * math.cos(phase)  # Forward while it swings, in the first half turn.
            z = trot.lift * max(0.0, math.sin(phase))
            high = ahead * HIP_M[0] * self.forward[2] + side * HIP_M[1] * self.left[2]
            hip, knee = _bend(x, z - trot.height * DEPTH_M - LEVEL * high)
            action += [(hip - STANCE[0]) / SWING[0], (knee - STANCE[1]) / SWING[1]]
        return np.array(action, np.float32).clip(-1.0, 1.0)


@dataclass
class Trot:
    """A trot, in metres at leg scale 1, from a foot's place below its hip."""

    hz: float = 3.0
    stride: float = 0.051
    lift: float = 0.059
    turn: float = 0.0
    height: float = 0.863  # Of the hips, in units of the stance's.
    phase: float = 0.0


def _bend(x: float, z: float) -> tuple[float, float]:
    """Return hip and knee [rad] that put the foot there, from the hip [m]; knees point back."""
    away = min(math.hypot(x, z), 1.98 * UPPER_M)
    knee = -2 * math.acos(away / (2 * UPPER_M))
    return math.atan2(-x, -z) - knee / 2, knee


def _robot(f: Values, y: float, heading: float, bends: Sequence[float]) -> sc.Body:
    """Return the robot: a torso with a load on its back, and four legs."""
    torso = sc.Shape("box", TORSO_M, f.rgba("torso_color"))
    yellow, black = (0.95, 0.8, 0.2, 1.0), (0.15, 0.15, 0.16, 1.0)
    nose = sc.box((0.02, 0.06, 0.025), (0.225, 0.0, 0.01), yellow, collides=False)
    side, long = 0.05 * (f.payload_kg / 0.5) ** (1 / 3), UPPER_M * f.leg_scale
    load, on = sc.Shape("box", (side,) * 3, (0.75, 0.3, 0.2, 1.0)), (0.0, 0.0, TORSO_M[2] + side)
    links = [sc.Link("payload", sc.Joint(), (load,), f.payload_kg, pose=sc.Pose(on))]
    end, middle = (0.0, 0.0, -long), (0.0, 0.0, -long / 2)
    motor = sc.Motor("position", f.strength_n_m)
    foot = sc.Shape("sphere", (FOOT_M * 1.1,), black, sc.Pose(end), collides=False)
    for n, (leg, (ahead, left)) in enumerate(LEGS.items()):
        for part, name in enumerate(("hip", "knee")):
            size, color = (FOOT_M * (1 - 0.15 * part), long), f.rgba("leg_color")
            bone = sc.Shape("capsule", size, color, sc.Pose(middle))
            hinge = sc.Joint("revolute", sc.Y, LIMITS[part], motor, 0.05)
            at = sc.Pose(end if part else (ahead * HIP_M[0], left * HIP_M[1], 0.0))
            shapes, mass = ((bone, foot), 0.2) if part else ((bone,), 0.4)
            parent, angle = f"{leg}_hip" if part else "", STANCE[part] + bends[2 * n + part]
            links.append(sc.Link(f"{leg}_{name}", hinge, shapes, mass, middle, at, parent, angle))
    height = DEPTH_M * f.leg_scale + FOOT_M + 0.03 + f.roughness_m
    pose, surface = sc.turned(START_X_M, y, height, heading), sc.Material(1.0)
    return sc.Body("robot", (torso, nose), f.torso_mass_kg, pose, surface, tuple(links))


def _ground(f: Values, bumps: np.ndarray) -> tuple[sc.Body, sc.Body]:
    """Return rough ground, and a plain that is level with it at its edges."""
    heights = 0.008 + f.roughness_m * bumps
    heights[[0, -1], :] = heights[:, [0, -1]] = 0.0
    rows = tuple(tuple(row) for row in heights.tolist())
    color, surface = f.rgba("ground_color"), sc.Material(friction=f.ground_friction)
    tiles = sc.Texture(width_m=0.5, color=sc.shade(color, 0.84)[:3])
    rough = sc.Shape("height_field", CELL_M, color, heights=rows, texture=tiles)
    far, low = sc.Shape("plane", (), sc.shade(color, 0.75, 0.8, 0.75)), sc.Pose((0.0, 0.0, -0.003))
    return (
        sc.Body("ground", (rough,), material=surface),
        sc.Body("plain", (far,), pose=low, material=surface),
    )
