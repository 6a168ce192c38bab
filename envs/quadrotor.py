"""Fly a quadrotor past two markers to a third by its four rotors, in wind, and hover there."""

import math
from collections.abc import Sequence

import numpy as np

from sandbox.env import Element, Policy, SandboxEnv, Vector
from sandbox.scenario.factors import Color, Factors, Integer, Uniform, Values
from sandbox.scene import (
    Body,
    Camera,
    Engine,
    Material,
    Pose,
    Quat,
    Scene,
    Shape,
    Texture,
    orbit,
    sun,
    turned,
)

USUAL_MASS_KG = 0.6  # What the rotors lift at action 0 and thrust scale 1.
GRAVITY_M_S2 = 9.81
ROTOR_RADIUS_M = 0.075  # At thrust scale 1; the thrust of a disc goes with its area.
YAW_M = 0.02  # Torque of a rotor's drag, per thrust.
SPINS = (-1.0, 1.0, -1.0, 1.0)  # Of that torque: front left, front right, back right, back left.
HALF_M, CEILING_M = 1.1, 1.8  # The flight space: |x|, |y| and z.
MARKERS = 3
NEAR_M, HELD_S = 0.1, 1.0  # So near a marker is there; there for so long at the last is success.
HARD_M_S = 1.5  # Touching the floor faster than this is a crash.

Three = tuple[float, float, float]


class Quadrotor(SandboxEnv):
    """Fly to the markers in turn, pale to full in colour, and stay at the last.

    Each rotor thrusts along the body's z axis and more near the floor: T / T_inf =
    1 / (1 - (R / 4z)^2), at most 4/3 (Cheeseman and Bennett 1955). What is commanded comes with a
    lag of first order, reckoned once a control step. Drag is linear in the velocity through the
    air. Nothing leaves the flight space: it has walls and a ceiling that nobody sees.

    Observation (proprio), float32 (28,), world frame: 0:3 position [m]; 3:6 velocity [m/s]; 6:9 the
        body's z axis; 9:11 cos, sin of yaw; 11:14 angular velocity in the body's frame [rad/s];
        14:18 thrust of the rotors, in the units of the action; 18:27 the next marker, the one after
        it and the one after that [m], the last again where there is no other; 27 seconds left [s].
    Action, float32 (4,) in [-1, 1]: thrust of the rotors front left, front right, back right, back
        left; -1 is none, 0 a quarter of the usual weight, 1 twice that.
    Reward: (markers left behind + 1 / (1 + (distance to the next / 0.3 m)^2)) / 3, 0 to 1; 0 on
        crashing.
    Ends: terminated after 1 s within 10 cm of the last marker, having been so near the others in
        turn, which is success, or on crashing: tilted by more than 90 degrees, or touching the
        floor at more than 1.5 m/s; truncated after 10 s.
    Factors: mass_kg, arm_m, thrust_scale, rotor_lag_s, drag_n_s_m, wind_x_m_s, wind_y_m_s,
        goal_x_m, goal_y_m, goal_z_m, action_delay_steps, action_noise, body_color, goal_color,
        floor_color, light_azimuth_deg, light_color, light_ambient, camera_pitch_deg.
    Events: at_marker, in_ground_effect, crashed.
    """

    family = "flight"
    control_hz = 48
    physics_hz = 240
    limit_s = 10.0
    action_size = 4
    state_bodies = ("drone",)
    events = ("at_marker", "in_ground_effect", "crashed")
    elements = (
        Element("x", "m", -1.3, 1.3),
        Element("y", "m", -1.3, 1.3),
        Element("z", "m", -0.2, 2.0),
        *(Element(f"velocity_{axis}", "m/s", -25.0, 25.0) for axis in "xyz"),
        *(Element(f"up_{axis}", "1", -1.0, 1.0) for axis in "xyz"),
        Element("cos_yaw", "1", -1.0, 1.0),
        Element("sin_yaw", "1", -1.0, 1.0),
        *(Element(f"spin_{axis}", "rad/s", -120.0, 120.0) for axis in "xyz"),
        *(Element(f"thrust_{rotor}", "1", -1.0, 1.0) for rotor in range(4)),
        *(
            Element(f"{marker}_{axis}", "m", low, high)
            for marker in ("next", "second", "third")
            for axis, low, high in (("x", -0.7, 0.7), ("y", -0.7, 0.7), ("z", 0.3, 1.4))
        ),
        Element("seconds_left", "s", 0.0, 10.0),
    )
    factors = Factors(
        mass_kg=Uniform(0.45, 0.8, USUAL_MASS_KG, "kg", "mass"),
        arm_m=Uniform(0.15, 0.22, 0.18, "m", "from the middle to each rotor; inertia goes with it"),
        thrust_scale=Uniform(0.85, 1.15, 1.0, "1", "strength of the rotors; shown by their size"),
        rotor_lag_s=Uniform(0.0, 0.06, 0.02, "s", "lag of thrust; shown by the rotors' thickness"),
        drag_n_s_m=Uniform(0.1, 0.5, 0.25, "N s/m", "drag; shown by the size of the canopy"),
        wind_x_m_s=Uniform(-2.0, 2.0, 0.0, "m/s", "wind towards +x; shown by the windsock"),
        wind_y_m_s=Uniform(-2.0, 2.0, 0.0, "m/s", "wind towards +y; shown by the windsock"),
        goal_x_m=Uniform(-0.7, 0.7, 0.35, "m", "x of the last marker"),
        goal_y_m=Uniform(-0.7, 0.7, -0.2, "m", "y of the last marker"),
        goal_z_m=Uniform(0.3, 1.4, 1.0, "m", "height of the last marker"),
        action_delay_steps=Integer(0, 3, 0, "1", "steps by which actions are late"),
        action_noise=Uniform(0.0, 0.15, 0.0, "1", "deviation of the noise on actions"),
        body_color=Color("#2d4a8a", "colour of the drone"),
        goal_color=Color("crimson", "colour of the last marker; the others are paler"),
        floor_color=Color("#c9c2ae", "colour of the floor"),
        light_azimuth_deg=Uniform(-180.0, 180.0, -110.0, "deg", "where the light comes from"),
        light_color=Color("white", "colour of the light"),
        light_ambient=Uniform(0.3, 0.8, 0.55, "1", "light where none falls directly"),
        camera_pitch_deg=Uniform(12.0, 50.0, 24.0, "deg", "camera above the horizon"),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> Scene:
        """Hang the drone and two markers anywhere, the drone turned anyhow and a little tilted."""
        x, y, z = *rng.uniform(-0.7, 0.7, 2).tolist(), rng.uniform(0.4, 1.3)
        heading, (roll, pitch) = rng.uniform(-math.pi, math.pi), rng.uniform(-0.15, 0.15, 2)
        pose = Pose((x, y, z), _quaternion(roll, pitch, heading))
        way = rng.uniform((-0.7, -0.7, 0.4), (0.7, 0.7, 1.3), (MARKERS - 1, 3)).tolist()
        way.append((f.goal_x_m, f.goal_y_m, f.goal_z_m))
        return Scene(
            bodies=(_floor(f), _walls(), _windsock(f), *_markers(f, way), _drone(f, pose)),
            cameras=(
                orbit("main", (0.0, 0.0, 0.62), 4.1, f.camera_pitch_deg, fov_deg=44),
                orbit("top", (0.0, 0.0, 0.5), 4.2, 90, fov_deg=44),
                Camera("chase", (0.0, -1.0, 0.45), (0.0, 0.0, 0.0), body="drone"),
                Camera(
                    "nose",
                    (0.1, 0.0, 0.05),
                    (1.0, 0.0, -0.1),
                    fov_deg=80,
                    body="drone",
                    mounted=True,
                ),
            ),
            light=sun(f.light_azimuth_deg, 70, f.rgba("light_color")[:3], f.light_ambient),
            engine=Engine(self.physics_hz, (0.0, 0.0, -GRAVITY_M_S2)),
        )

    def started(self) -> None:
        """Remember where the rotors are and what they do."""
        f, poses = self.values, {body.name: body.pose for body in self.world.scene.bodies}
        self.markers: list[Three] = [poses[f"marker_{n}"].xyz for n in range(MARKERS)]
        self._head_for(0)
        self.reacts = 1.0 - math.exp(-1 / (self.control_hz * max(f.rotor_lag_s, 1e-6)))
        self.thrusts = [0.0] * 4  # Of the rotors, in the units of the action.
        self.side = s = f.arm_m / math.sqrt(2)
        self.rotors: tuple[Three, ...] = ((s, s, 0.0), (s, -s, 0.0), (-s, -s, 0.0), (-s, s, 0.0))
        self.radius = ROTOR_RADIUS_M * math.sqrt(f.thrust_scale)
        self.unit = f.thrust_scale * USUAL_MASS_KG * GRAVITY_M_S2 / 4  # Of a rotor at action 0 [N].
        self.held = 0
        self.crashed = False
        self.speed = 0.0

    def _head_for(self, marker: int) -> None:
        """Remember which marker is next, and the places of those to come, the last again."""
        self.next = marker
        places = (self.markers[min(marker + n, MARKERS - 1)] for n in range(MARKERS))
        self.ahead = [part for place in places for part in place]

    def act(self, action: list[float]) -> None:
        """Thrust with each rotor; drag and wind are shared by the four, whose middle is the mass's.

        A rotor's drag turns the body: a couple of lateral forces at two rotors across.
        """
        f, (x, y, z), (vx, vy, vz) = self.values, self.axes, self.velocity
        drag = f.drag_n_s_m / 4
        air = (drag * (f.wind_x_m_s - vx), drag * (f.wind_y_m_s - vy), -drag * vz)
        fx, fy, fz = _dot(air, x), _dot(air, y), _dot(air, z)
        late, unit = self.reacts, self.unit
        self.thrusts = [t + late * (a - t) for t, a in zip(self.thrusts, action, strict=True)]
        a, b, c, d = [unit * (1 + t) * g for t, g in zip(self.thrusts, self.gains, strict=True)]
        pull = YAW_M * (b + d - a - c) / (4 * self.side)  # Each component of the couple's forces.
        forces = (
            (fx - pull, fy + pull, fz + a),
            (fx, fy, fz + b),
            (fx + pull, fy - pull, fz + c),
            (fx, fy, fz + d),
        )
        self.world.thrust("drone", tuple(zip(forces, self.rotors, strict=True)))

    def arrived(self) -> None:
        """Derive where the drone is and how it is turned, and whether it hovers or has crashed."""
        row = self.body("drone")
        self.position, self.velocity = row[:3], row[7:10]
        self.axes = x, y, z = _axes(row[3:7])
        spin = row[10:]
        self.spin = (_dot(spin, x), _dot(spin, y), _dot(spin, z))
        high, a, b = row[2], self.side * x[2], self.side * y[2]
        heights = (high + a + b, high + a - b, high - a - b, high - a + b)  # Of the rotors.
        least, quarter = 0.5 * self.radius, 0.25 * self.radius
        self.gains = [  # Of thrust.
            1 / (1 - (quarter / (h if h > least else least)) ** 2) for h in heights
        ]
        self.away = math.dist(self.position, self.markers[self.next])
        self.there = self.away < NEAR_M
        if self.there and self.next < MARKERS - 1:
            self._head_for(self.next + 1)
            self.away = math.dist(self.position, self.markers[self.next])
        elif self.next == MARKERS - 1:
            self.held = self.held + 1 if self.there else 0
        low = row[2] < 0.3
        hit = low and self.speed > HARD_M_S and self.world.touch("drone", "floor") > 0.0
        self.crashed = self.crashed or hit or z[2] < 0.0
        self.speed = math.hypot(*self.velocity)  # Before what comes next.

    def proprio(self) -> Sequence[float]:
        """Return the drone, its rotors, the markers to come, and the time left."""
        forward, _, up = self.axes
        level = math.hypot(forward[0], forward[1])
        heading = (forward[0] / level, forward[1] / level) if level > 1e-9 else (1.0, 0.0)
        return (
            *self.position,
            *self.velocity,
            *up,
            *heading,
            *self.spin,
            *self.thrusts,
            *self.ahead,
            self.seconds_left(),
        )

    def reward(self) -> float:
        """Return how many markers are behind and how near the next is, 0 to 1."""
        return 0.0 if self.crashed else (self.next + 1 / (1 + (self.away / 0.3) ** 2)) / MARKERS

    def success(self) -> bool:
        """Whether the drone has been at all markers, at the last for a second."""
        return self.held >= HELD_S * self.control_hz and not self.crashed

    def terminated(self) -> bool:
        """End on success, and on crashing."""
        return self.success() or self.crashed

    def happening(self) -> Sequence[bool]:
        """Whether it is at the next marker, near the floor (4 radii: 0.4 % more), or crashed."""
        return (self.there, self.position[2] < 4 * self.radius, self.crashed)

    def scripted(self, rng: np.random.Generator) -> Policy:
        """Return a policy that flies to the markers."""
        pilot = Pilot(self)
        return lambda: pilot.towards(self.markers[self.next])

    def play(self, rng: np.random.Generator) -> Policy:
        """Return a policy that flies to random places, near the floor and the walls too."""
        pilot, aim, left = Pilot(self), (0.0, 0.0, 1.0), 0

        def act() -> Vector:
            nonlocal aim, left
            if left <= 0:
                x, y = rng.uniform(-0.9, 0.9, 2).tolist()
                aim, left = (x, y, rng.uniform(0.12, 1.6)), int(rng.integers(24, 72))
            left -= 1
            return pilot.towards(aim)

        return act


class Pilot:
    """A cascade: place, velocity, attitude, rate; then a mixer. It knows mass, wind, delay and lag.

    Late actions are still to come: it steers by the turning rate that they will have led to, and
    asks the rotors for more than it wants, by as much as they will lag behind.
    """

    PLACE, FASTEST_M_S = 1.8, 1.4
    VELOCITY, LEAN = 4.0, 0.55  # Gain [1/s]; greatest horizontal part of the thrust's direction.
    ATTITUDE, RATE = 100.0, 18.0

    def __init__(self, env: Quadrotor) -> None:
        f = env.values
        self.env, self.mass, self.drag = env, f.mass_kg, f.drag_n_s_m
        self.wind: Three = (f.wind_x_m_s, f.wind_y_m_s, 0.0)
        flat, self.inertia = env.side**2 + HULL_M**2, f.mass_kg / 3
        self.moments = (self.inertia * flat, self.inertia * flat, self.inertia * 2 * env.side**2)
        self.coming: list[Three] = [(0.0, 0.0, 0.0)] * f.action_delay_steps  # [rad/s^2]
        self.thrusts = list(env.thrusts)  # Of the rotors, when what is asked for now comes.

    def towards(self, aim: Three) -> Vector:
        """Return the rotors' commands."""
        env = self.env
        x, y, z = env.axes
        way = [self.PLACE * (a - p) for a, p in zip(aim, env.position, strict=True)]
        slow = min(1.0, self.FASTEST_M_S / max(math.hypot(*way), 1e-9))
        force = [
            self.mass * self.VELOCITY * (slow * w - v) + self.drag * (v - wind)
            for w, v, wind in zip(way, env.velocity, self.wind, strict=True)
        ]
        force[2] = max(force[2] + self.mass * GRAVITY_M_S2, 0.3 * self.mass * GRAVITY_M_S2)
        level = math.hypot(force[0], force[1])
        much = min(1.0, self.LEAN * force[2] / max(level, 1e-9))
        force[:2] = [force[0] * much, force[1] * much]
        total = math.hypot(*force)
        error = (-_dot(force, y) / total, _dot(force, x) / total, -0.3 * math.atan2(x[1], x[0]))
        turning = [
            self.ATTITUDE * e - self.RATE * s
            for e, s in (
                self._ahead(n, e, s) for n, (e, s) in enumerate(zip(error, env.spin, strict=True))
            )
        ]
        turning[2] = max(-12.0, min(12.0, 0.2 * turning[2]))
        if self.coming:
            self.coming = [*self.coming[1:], (turning[0], turning[1], turning[2])]
        return self._mixed(
            _dot(force, z), [m * t for m, t in zip(self.moments, turning, strict=True)]
        )

    def _ahead(self, axis: int, error: float, spin: float) -> tuple[float, float]:
        """Return the error and the rate about an axis when what is asked for now comes."""
        dt = 1 / self.env.control_hz
        for turning in self.coming:
            error -= dt * (spin + 0.5 * dt * turning[axis])
            spin += dt * turning[axis]
        return error, spin

    def _mixed(self, thrust: float, torque: Sequence[float]) -> Vector:
        env = self.env
        command: list[float] = []
        for n, ((x, y, _), spin) in enumerate(zip(env.rotors, SPINS, strict=True)):
            share = thrust / 4 + torque[0] / (4 * y) - torque[1] / (4 * x)
            share += spin * torque[2] / (4 * YAW_M)
            more = share / (env.unit * env.gains[n]) - 1 - self.thrusts[n]
            asked = max(-1.0, min(1.0, self.thrusts[n] + more / env.reacts))
            self.thrusts[n] += env.reacts * (asked - self.thrusts[n])
            command.append(asked)
        return np.array(command, np.float32)


HULL_M = 0.03  # Half the height of the box that collides and gives the moments of inertia.


def _drone(f: Values, pose: Pose) -> Body:
    """A cross of two boxes, a canopy and four rotors; one unseen box collides for them all."""
    side, color = f.arm_m / math.sqrt(2), f.rgba("body_color")
    hull = Shape("box", (side, side, HULL_M), visible=False)
    looks = [
        Shape("box", (f.arm_m, 0.014, 0.01), color, turned(0.0, 0.0, 0.0, turn), collides=False)
        for turn in (math.pi / 4, -math.pi / 4)
    ]
    canopy = 0.075 * math.sqrt(f.drag_n_s_m / 0.25)
    looks.append(Shape("box", (canopy, 0.7 * canopy, 0.028), color, collides=False))
    front, back = (0.95, 0.55, 0.1, 1.0), (0.25, 0.26, 0.28, 1.0)
    radius = ROTOR_RADIUS_M * math.sqrt(f.thrust_scale)
    for x, y in ((side, side), (side, -side), (-side, -side), (-side, side)):
        paint = front if x > 0 else back
        disc = Shape(
            "cylinder",
            (radius, 0.008 + 0.3 * f.rotor_lag_s),
            paint,
            Pose((x, y, 0.026)),
            collides=False,
        )
        looks.append(disc)
    surface = Material(friction=0.6, restitution=0.1)
    return Body("drone", (hull, *looks), f.mass_kg, pose, surface, angular_damping=0.3)


def _markers(f: Values, way: list[Three]) -> list[Body]:
    """Small balls in large glassy ones: near enough. The first is palest."""
    bodies: list[Body] = []
    for n, place in enumerate(way):
        pale = 0.6 * (1 - n / (MARKERS - 1))
        r, g, b = (c + pale * (1.0 - c) for c in f.rgba("goal_color")[:3])
        core = Shape("sphere", (0.045,), (r, g, b, 1.0), collides=False)
        shell = Shape("sphere", (NEAR_M,), (r, g, b, 0.3), collides=False)
        bodies.append(Body(f"marker_{n}", (core, shell), pose=turned(*place)))
    return bodies


def _floor(f: Values) -> Body:
    color, wide = f.rgba("floor_color"), HALF_M + 0.2
    darker = (color[0] * 0.86, color[1] * 0.86, color[2] * 0.86)
    tiles = Texture(width_m=0.8, color=darker)
    slab = Shape("box", (wide, wide, 0.05), color, Pose((0.0, 0.0, -0.05)), texture=tiles)
    return Body("floor", (slab,), material=Material(friction=1.0, restitution=0.5))


def _walls() -> Body:
    """Four walls and a ceiling that only the drone feels."""
    thick, middle = 0.3, CEILING_M / 2
    far, wide = HALF_M + thick, HALF_M + 2 * thick
    sides = [
        Shape("box", (thick, wide, middle), pose=Pose((side * far, 0.0, middle)), visible=False)
        for side in (-1, 1)
    ] + [
        Shape("box", (wide, thick, middle), pose=Pose((0.0, side * far, middle)), visible=False)
        for side in (-1, 1)
    ]
    top = Pose((0.0, 0.0, CEILING_M + thick))
    return Body(
        "walls",
        (*sides, Shape("box", (wide, wide, thick), pose=top, visible=False)),
        material=Material(friction=0.1, restitution=0.5),
    )


def _windsock(f: Values) -> Body:
    """A sock on a pole at the edge of the floor: it hangs in still air and streams in wind."""
    wind = math.hypot(f.wind_x_m_s, f.wind_y_m_s)
    droop, heading = math.atan2(1.2, wind), math.atan2(f.wind_y_m_s, f.wind_x_m_s)
    turn = _quaternion(0.0, droop, heading)
    along, _, _ = _axes(turn)
    white, red = (0.95, 0.95, 0.93, 1.0), (0.9, 0.25, 0.1, 1.0)
    pole = Shape(
        "box", (0.015, 0.015, 0.4), (0.35, 0.36, 0.4, 1.0), Pose((0.0, 0.0, 0.4)), collides=False
    )
    rings = [
        Shape(
            "box",
            (0.07, 0.06 - 0.01 * n, 0.06 - 0.01 * n),
            white if n % 2 else red,
            Pose((along[0] * out, along[1] * out, 0.78 + along[2] * out), turn),
            collides=False,
        )
        for n, out in enumerate((0.08, 0.22, 0.36))
    ]
    return Body("windsock", (pole, *rings), pose=turned(-1.15, 1.15, 0.0))


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _quaternion(roll: float, pitch: float, heading: float) -> Quat:
    """Return the quaternion of a turn about x, then y, then z of the world."""
    (a, b), (c, d), (e, g) = (
        (math.cos(angle / 2), math.sin(angle / 2)) for angle in (roll, pitch, heading)
    )
    return (
        b * c * e - a * d * g,
        a * d * e + b * c * g,
        a * c * g - b * d * e,
        a * c * e + b * d * g,
    )


def _axes(quat: Sequence[float]) -> tuple[Three, Three, Three]:
    """Return the x, y and z axes of a frame, in the world's."""
    x, y, z, w = quat
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)),
        (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)),
        (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)),
    )
