"""Walk over rough ground on four legs, by the angles that their joints shall take."""

import math
from collections.abc import Sequence
from dataclasses import replace

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
    Scene,
    Shape,
    Texture,
    orbit,
    sun,
    turned,
)

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
FAST_M_S = 0.6  # Reward saturates.

LEGS = {  # Which way from the middle.
    "front_left": (1, 1),
    "front_right": (1, -1),
    "back_left": (-1, 1),
    "back_right": (-1, -1),
}
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
    Reward: velocity along x in units of 0.6 m/s, times the upright part of the torso's z axis, -1
        to 1.
    Ends: terminated 2.5 m ahead of the start, which is success, or on its back (the torso's z axis
        points down); truncated after 10 s.
    Factors: torso_mass_kg, payload_kg, leg_scale, strength_n_m, ground_friction, roughness_m,
        gravity_m_s2, action_delay_steps, action_noise, torso_color, leg_color, ground_color,
        light_azimuth_deg, light_color, light_ambient, camera_pitch_deg.
    Events: feet_down, body_down, on_its_back.
    """

    family = "locomotion"
    control_hz = 20  # As Gymnasium's Ant.
    physics_hz = 240
    limit_s = 10.0
    action_size = 8
    state_bodies = ("robot",)
    state_joints = tuple(("robot", name) for name in JOINTS)
    events = ("feet_down", "body_down", "on_its_back")
    elements = (
        Element("x", "m", -25.0, 25.0),
        Element("y", "m", -25.0, 25.0),
        Element("z", "m", -0.5, 5.0),
        *(Element(f"up_{axis}", "1", -1.0, 1.0) for axis in "xyz"),
        Element("cos_yaw", "1", -1.0, 1.0),
        Element("sin_yaw", "1", -1.0, 1.0),
        *(Element(f"velocity_{axis}", "m/s", -20.0, 20.0) for axis in "xyz"),
        *(Element(f"spin_{axis}", "rad/s", -100.0, 100.0) for axis in "xyz"),
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
        action_delay_steps=Integer(0, 3, 0, "1", "steps by which actions are late"),
        action_noise=Uniform(0.0, 0.2, 0.0, "1", "deviation of the noise on actions"),
        torso_color=Color("#3f6fb5", "colour of the torso"),
        leg_color=Color("#3a3f47", "colour of the legs"),
        ground_color=Color("#b59f7a", "colour of the ground"),
        light_azimuth_deg=Uniform(-180.0, 180.0, -100.0, "deg", "where the light comes from"),
        light_color=Color("white", "colour of the light"),
        light_ambient=Uniform(0.3, 0.8, 0.55, "1", "light where none falls directly"),
        camera_pitch_deg=Uniform(10.0, 45.0, 24.0, "deg", "camera above the horizon"),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> Scene:
        """Stand the robot at one end of the rough ground."""
        bumps = rng.random((CELLS + 1, CELLS + 1))
        y, heading = rng.uniform(-0.2, 0.2), rng.uniform(-0.15, 0.15)
        bends = rng.uniform(-0.08, 0.08, len(JOINTS)).tolist()
        side = orbit("main", (0.1, 0.0, -0.08), 1.75, f.camera_pitch_deg, -62, fov_deg=40)
        back = Camera("behind", (-1.3, 0.0, 0.6), (0.3, 0.0, -0.05), fov_deg=45)
        nose = Camera("nose", (0.26, 0.0, 0.03), (1.0, 0.0, -0.25), fov_deg=75, mounted=True)
        return Scene(
            bodies=(*_ground(f, bumps), _robot(f, y, heading, bends)),
            cameras=tuple(replace(camera, body="robot") for camera in (side, back, nose)),
            light=sun(f.light_azimuth_deg, 55, f.rgba("light_color")[:3], f.light_ambient),
            engine=Engine(self.physics_hz, (0.0, 0.0, -f.gravity_m_s2)),
        )

    def started(self) -> None:
        """Remember where it starts."""
        x, y = self.world.centre("robot")[:2]
        self.start = (x, y)

    def act(self, action: list[float]) -> None:
        """Set the joints' targets; none is beyond its limits."""
        targets = [m + s * a for m, s, a in zip(STANCE * 4, SWING * 4, action, strict=True)]
        self.world.drive("robot", JOINTS, targets)

    def arrived(self) -> None:
        """Derive where the torso is and how it is turned."""
        row = self.row
        self.ahead, self.aside = row[0] - self.start[0], row[1] - self.start[1]
        x, y, z, w = row[3:7]
        self.forward = (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y))
        self.left = (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x))
        self.up = (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y))
        self.heading = math.atan2(self.forward[1], self.forward[0])

    def proprio(self) -> Sequence[float]:
        """Return the torso and the joints."""
        row, stance = self.row, STANCE * 4
        velocity, spin = row[7:10], row[10:13]
        return (
            *(self.ahead, self.aside, row[2]),
            *self.up,
            *(math.cos(self.heading), math.sin(self.heading)),
            *(_dot(velocity, self.forward), _dot(velocity, self.left), _dot(velocity, self.up)),
            *(_dot(spin, self.forward), _dot(spin, self.left), _dot(spin, self.up)),
            *[angle - rest for angle, rest in zip(row[13::2], stance, strict=True)],
            *row[14::2],
        )

    def reward(self) -> float:
        """Return the velocity while upright, -1 to 1."""
        return max(-1.0, min(1.0, self.row[7] / FAST_M_S)) * max(0.0, self.up[2])

    def success(self) -> bool:
        """Whether it is far ahead of the start."""
        return self.ahead >= FAR_M and self.up[2] >= 0.0

    def terminated(self) -> bool:
        """End on success, and on its back."""
        return self.success() or self.up[2] < 0.0

    def happening(self) -> Sequence[bool]:
        """Whether two feet or more are down, whether anything else is, and whether it lies."""
        feet = [self._pressed(shin) for shin in SHINS]
        down = sum(force > 0.0 for force in feet)
        return (down >= 2, self._pressed() > sum(feet) + 1e-6, self.up[2] < 0.0)

    def _pressed(self, link: str = "") -> float:
        """Return with what force a link, or the whole robot, presses on the ground [N]."""
        return sum(self.world.touch("robot", ground, link) for ground in ("ground", "plain"))

    def scripted(self, rng: np.random.Generator) -> Policy:
        """Return a policy that trots, and steers back to straight on."""
        return Trot(self)

    def play(self, rng: np.random.Generator) -> Policy:
        """Return a policy that trots this way and that, and crouches or stretches."""
        trot, left = Trot(self), 0

        def act() -> Vector:
            nonlocal left
            if left <= 0:
                left = int(rng.integers(10, 40))
                trot.stride, trot.turn = rng.uniform(-0.12, 0.14), rng.uniform(-0.08, 0.08)
                trot.hz, trot.lift = rng.uniform(1.0, 2.6), rng.uniform(0.02, 0.08)
                trot.height = rng.uniform(0.75, 1.1)
            left -= 1
            return trot()

        return act


class Trot:
    """A scripted policy: diagonal legs swing together, feet on half ellipses; sides steer.

    Lengths are in metres at leg scale 1, from the foot's place below the hip.
    """

    LEVEL = 0.56  # How much of a hip's height above the torso's middle its foot makes up for.

    def __init__(self, env: Quadruped) -> None:
        self.env = env
        self.hz, self.stride, self.lift, self.turn = 3.0, 0.051, 0.059, 0.0
        self.height = 0.863  # Of the hips, in units of the stance's.
        self.phase = 0.0

    def __call__(self) -> Vector:
        """Return the next action."""
        env = self.env
        self.phase += 2 * math.pi * self.hz / env.control_hz
        turn = self.turn + 0.137 * (-env.heading - 0.436 * env.aside)
        turn = max(-0.05, min(0.05, turn))
        action: list[float] = []
        for ahead, side in LEGS.values():
            phase = self.phase + (0.0 if ahead == side else math.pi)
            stride = self.stride - side * turn
            x = -stride * math.cos(phase)  # Forward while it swings, in the first half turn.
            z = self.lift * max(0.0, math.sin(phase))
            high = ahead * HIP_M[0] * env.forward[2] + side * HIP_M[1] * env.left[2]
            hip, knee = _bend(x, z - self.height * DEPTH_M - self.LEVEL * high)
            action += [(hip - STANCE[0]) / SWING[0], (knee - STANCE[1]) / SWING[1]]
        return np.array(action, np.float32).clip(-1.0, 1.0)


DEPTH_M = UPPER_M * (math.cos(STANCE[0]) + math.cos(STANCE[0] + STANCE[1]))  # Foot below hip.


def _bend(x: float, z: float) -> tuple[float, float]:
    """Return hip and knee [rad] that put the foot there, from the hip [m]; knees point back."""
    away = min(math.hypot(x, z), 1.98 * UPPER_M)
    knee = -2 * math.acos(away / (2 * UPPER_M))
    return math.atan2(-x, -z) - knee / 2, knee


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _robot(f: Values, y: float, heading: float, bends: Sequence[float]) -> Body:
    torso = Shape("box", TORSO_M, f.rgba("torso_color"))
    nose = Shape(
        "box", (0.02, 0.06, 0.025), (0.95, 0.8, 0.2, 1.0), Pose((0.225, 0.0, 0.01)), collides=False
    )
    side = 0.05 * (f.payload_kg / 0.5) ** (1 / 3)
    load = Shape("box", (side, side, side), (0.75, 0.3, 0.2, 1.0))
    long, motor = UPPER_M * f.leg_scale, Motor("position", f.strength_n_m)
    links = [
        Link("payload", Joint(), (load,), f.payload_kg, pose=Pose((0.0, 0.0, TORSO_M[2] + side)))
    ]
    for n, (leg, (ahead, left)) in enumerate(LEGS.items()):
        for part, name in enumerate(("hip", "knee")):
            bone = Shape(
                "capsule",
                (FOOT_M * (1 - 0.15 * part), long),
                f.rgba("leg_color"),
                Pose((0.0, 0.0, -long / 2)),
            )
            foot = Shape(
                "sphere",
                (FOOT_M * 1.1,),
                (0.15, 0.15, 0.16, 1.0),
                Pose((0.0, 0.0, -long)),
                collides=False,
            )
            at = (0.0, 0.0, -long) if part else (ahead * HIP_M[0], left * HIP_M[1], 0.0)
            links.append(
                Link(
                    f"{leg}_{name}",
                    Joint("revolute", (0.0, 1.0, 0.0), LIMITS[part], motor, 0.05),
                    (bone, foot) if part else (bone,),
                    0.2 if part else 0.4,
                    (0.0, 0.0, -long / 2),
                    Pose(at),
                    f"{leg}_hip" if part else "",
                    STANCE[part] + bends[2 * n + part],
                )
            )
    height = DEPTH_M * f.leg_scale + FOOT_M + 0.03 + f.roughness_m
    pose = turned(START_X_M, y, height, heading)
    return Body("robot", (torso, nose), f.torso_mass_kg, pose, Material(1.0), tuple(links))


def _ground(f: Values, bumps: np.ndarray) -> tuple[Body, Body]:
    """Rough ground, level with the plain about it at its edges."""
    heights = 0.008 + f.roughness_m * bumps
    heights[[0, -1], :] = heights[:, [0, -1]] = 0.0
    rows = tuple(tuple(row) for row in heights.tolist())
    color = f.rgba("ground_color")
    darker = (color[0] * 0.84, color[1] * 0.84, color[2] * 0.84)
    rough = Shape(
        "height_field", CELL_M, color, heights=rows, texture=Texture(width_m=0.5, color=darker)
    )
    far = (color[0] * 0.75, color[1] * 0.8, color[2] * 0.75, 1.0)
    surface = Material(friction=f.ground_friction)
    return (
        Body("ground", (rough,), material=surface),
        Body("plain", (Shape("plane", (), far),), pose=Pose((0.0, 0.0, -0.003)), material=surface),
    )
