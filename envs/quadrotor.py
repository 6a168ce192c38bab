"""Fly a quadrotor past two markers to a third by its four rotors, in wind, and hover there."""

import math
from collections.abc import Sequence

import numpy as np

from sandbox import scene as sc
from sandbox.env import Actions, Element, SandboxEnv, Vector, axes, dot, each, of_each, policy
from sandbox.env.factors import Color, Factors, Uniform, Values, handling, looks

USUAL_MASS_KG = 0.6  # What the rotors lift at action 0 and thrust scale 1.
GRAVITY_M_S2 = 9.81
ROTOR_RADIUS_M = 0.075  # At thrust scale 1; the thrust of a disc goes with its area.
YAW_M = 0.02  # Torque of a rotor's drag, per thrust.
SPINS = (-1.0, 1.0, -1.0, 1.0)  # Of that torque: front left, front right, back right, back left.
HALF_M, CEILING_M = 1.1, 1.8  # The flight space: |x|, |y| and z.
MARKERS = 3
NEAR_M, HELD_S = 0.1, 1.0  # So near a marker is there; there for so long at the last is success.
HARD_M_S = 1.5  # Touching the floor faster than this is a crash.
HULL_M = 0.03  # Half the height of the box that collides and gives the moments of inertia.

# The scripted policies.
PLACE_HZ, FASTEST_M_S = 1.8, 1.4
VELOCITY_HZ, LEAN = 4.0, 0.55  # Gain; greatest horizontal part of the thrust's direction.
ATTITUDE, RATE = 100.0, 18.0

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
    """

    family = "flight"
    control_hz = 48
    limit_s = 10.0
    action_size = 4
    state_bodies = ("drone",)
    events = ("at_marker", "in_ground_effect", "crashed")
    elements = (
        *each("x y", "m", -1.3, 1.3),
        Element("z", "m", -0.2, 2.0),
        *each("velocity_x velocity_y velocity_z", "m/s", -25.0, 25.0),
        *each("up_x up_y up_z cos_yaw sin_yaw", "1", -1.0, 1.0),
        *each("spin_x spin_y spin_z", "rad/s", -120.0, 120.0),
        *each("thrust_0 thrust_1 thrust_2 thrust_3", "1", -1.0, 1.0),
        *of_each(
            ("next", "second", "third"),
            *each("x y", "m", -0.7, 0.7),
            Element("z", "m", 0.3, 1.4),
        ),
        Element("seconds_left", "s", 0.0, 10.0),
    )
    factors = Factors(
        mass_kg=Uniform(0.45, 0.8, USUAL_MASS_KG, "kg", "mass of the drone"),
        arm_m=Uniform(0.15, 0.22, 0.18, "m", "from the middle to each rotor; inertia goes with it"),
        thrust_scale=Uniform(0.85, 1.15, 1.0, "1", "strength of the rotors; shown by their size"),
        rotor_lag_s=Uniform(0.0, 0.06, 0.02, "s", "lag of thrust; shown by the rotors' thickness"),
        drag_n_s_m=Uniform(0.1, 0.5, 0.25, "N s/m", "drag; shown by the size of the canopy"),
        wind_x_m_s=Uniform(-2.0, 2.0, 0.0, "m/s", "wind towards +x; shown by the windsock"),
        wind_y_m_s=Uniform(-2.0, 2.0, 0.0, "m/s", "wind towards +y; shown by the windsock"),
        goal_x_m=Uniform(-0.7, 0.7, 0.35, "m", "x of the last marker"),
        goal_y_m=Uniform(-0.7, 0.7, -0.2, "m", "y of the last marker"),
        goal_z_m=Uniform(0.3, 1.4, 1.0, "m", "height of the last marker"),
        **handling(delay_steps=3, noise=0.15),
        body_color=Color("#2d4a8a", "colour of the drone"),
        goal_color=Color("crimson", "colour of the last marker; the others are paler"),
        floor_color=Color("#c9c2ae", "colour of the floor"),
        **looks(-110.0, (12.0, 50.0, 24.0)),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> sc.Scene:
        """Hang the drone and two markers anywhere, the drone turned anyhow and a little tilted."""
        x, y, z = *rng.uniform(-0.7, 0.7, 2).tolist(), rng.uniform(0.4, 1.3)
        heading, (roll, pitch) = rng.uniform(-math.pi, math.pi), rng.uniform(-0.15, 0.15, 2)
        drone = _drone(f, sc.Pose((x, y, z), _quaternion(roll, pitch, heading)))
        way = rng.uniform((-0.7, -0.7, 0.4), (0.7, 0.7, 1.3), (MARKERS - 1, 3)).tolist()
        way.append((f.goal_x_m, f.goal_y_m, f.goal_z_m))
        color, wide = f.rgba("floor_color"), HALF_M + 0.2
        tiles = sc.Texture(width_m=0.8, color=sc.shade(color, 0.86)[:3])
        hard = sc.Material(1.0, restitution=0.5)
        floor = sc.slab("floor", (wide, wide, 0.05), color, hard, texture=tiles)
        eye, ahead = (0.1, 0.0, 0.05), (1.0, 0.0, -0.1)
        return sc.Scene(
            bodies=(floor, _walls(), _windsock(f), *_markers(f, way), drone),
            cameras=(
                sc.orbit("main", (0.0, 0.0, 0.62), 4.1, f.camera_pitch_deg, fov_deg=44),
                sc.orbit("top", (0.0, 0.0, 0.5), 4.2, 90, fov_deg=44),
                sc.Camera("chase", (0.0, -1.0, 0.45), (0.0, 0.0, 0.0), body="drone"),
                sc.Camera("nose", eye, ahead, fov_deg=80, body="drone", mounted=True),
            ),
            light=self.light(f, 70),
            engine=self.engine(f),
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
        self.held, self.crashed, self.speed = 0, False, 0.0

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
        fx, fy, fz = dot(air, x), dot(air, y), dot(air, z)
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
        self.axes = x, y, z = axes(row)
        spin = row[10:]
        self.spin = (dot(spin, x), dot(spin, y), dot(spin, z))
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

    def proprio(self) -> tuple[float, ...]:
        forward, _, up = self.axes
        level = math.hypot(forward[0], forward[1])
        heading = (forward[0] / level, forward[1] / level) if level > 1e-9 else (1.0, 0.0)
        motion = (*self.position, *self.velocity, *up, *heading, *self.spin)
        return (*motion, *self.thrusts, *self.ahead, self.seconds_left())

    def reward(self) -> float:
        return 0.0 if self.crashed else (self.next + 1 / (1 + (self.away / 0.3) ** 2)) / MARKERS

    def success(self) -> bool:
        return self.held >= HELD_S * self.control_hz and not self.crashed

    def terminated(self) -> bool:
        """End on success, and on crashing."""
        return self.success() or self.crashed

    def happening(self) -> tuple[bool, ...]:
        """Return whether it is at the next marker, near the floor (4 radii), and crashed."""
        return (self.there, self.position[2] < 4 * self.radius, self.crashed)

    @policy
    def scripted(self, rng: np.random.Generator) -> Actions:
        """Fly to the markers."""
        pilot = Pilot(self)
        while True:
            yield pilot.towards(self.markers[self.next])

    @policy
    def play(self, rng: np.random.Generator) -> Actions:
        """Fly to random places, near the floor and the walls too."""
        pilot = Pilot(self)
        while True:
            x, y = rng.uniform(-0.9, 0.9, 2).tolist()
            aim = (x, y, rng.uniform(0.12, 1.6))
            for _ in range(rng.integers(24, 72)):
                yield pilot.towards(aim)


class Pilot:
    """A cascade: place, velocity, attitude, rate; then a mixer. It knows mass, wind, delay and lag.

    Delayed actions are still to come: it steers by the turning rate that they will have led to. It
    asks the rotors for more than it wants, by as much as they will lag behind.
    """

    def __init__(self, env: Quadrotor) -> None:
        f = env.values
        self.env, self.mass, self.drag = env, f.mass_kg, f.drag_n_s_m
        self.wind: Three = (f.wind_x_m_s, f.wind_y_m_s, 0.0)
        flat, inertia = env.side**2 + HULL_M**2, f.mass_kg / 3
        self.moments = (inertia * flat, inertia * flat, inertia * 2 * env.side**2)
        self.coming: list[Three] = [(0.0, 0.0, 0.0)] * f.action_delay_steps  # [rad/s^2]
        self.thrusts = list(env.thrusts)  # Of the rotors, when what is asked for now comes.

    def towards(self, aim: Three) -> Vector:
        """Return the rotors' commands."""
        env = self.env
        x, y, z = env.axes
        way = [PLACE_HZ * (a - p) for a, p in zip(aim, env.position, strict=True)]
        slow = min(1.0, FASTEST_M_S / max(math.hypot(*way), 1e-9))
        force = [
            self.mass * VELOCITY_HZ * (slow * w - v) + self.drag * (v - wind)
            for w, v, wind in zip(way, env.velocity, self.wind, strict=True)
        ]
        force[2] = max(force[2] + self.mass * GRAVITY_M_S2, 0.3 * self.mass * GRAVITY_M_S2)
        level = math.hypot(force[0], force[1])
        much = min(1.0, LEAN * force[2] / max(level, 1e-9))
        force[:2] = [force[0] * much, force[1] * much]
        total = math.hypot(*force)
        error = (-dot(force, y) / total, dot(force, x) / total, -0.3 * math.atan2(x[1], x[0]))
        states = [self._ahead(n, error[n], env.spin[n]) for n in range(3)]
        turning = [ATTITUDE * e - RATE * s for e, s in states]
        turning[2] = max(-12.0, min(12.0, 0.2 * turning[2]))
        if self.coming:
            self.coming = [*self.coming[1:], (turning[0], turning[1], turning[2])]
        torque = [m * t for m, t in zip(self.moments, turning, strict=True)]
        return self._mixed(dot(force, z), torque)

    def _ahead(self, axis: int, error: float, spin: float) -> tuple[float, float]:
        """Return the error and the rate about an axis when what is asked for now comes."""
        dt = 1 / self.env.control_hz
        for turning in self.coming:
            error -= dt * (spin + 0.5 * dt * turning[axis])
            spin += dt * turning[axis]
        return error, spin

    def _mixed(self, thrust: float, torque: Sequence[float]) -> Vector:
        """Return the rotors' commands that give a thrust [N] and torques [N m]."""
        env, command = self.env, list[float]()
        for n, ((x, y, _), spin) in enumerate(zip(env.rotors, SPINS, strict=True)):
            share = thrust / 4 + torque[0] / (4 * y) - torque[1] / (4 * x)
            share += spin * torque[2] / (4 * YAW_M)
            more = share / (env.unit * env.gains[n]) - 1 - self.thrusts[n]
            asked = max(-1.0, min(1.0, self.thrusts[n] + more / env.reacts))
            self.thrusts[n] += env.reacts * (asked - self.thrusts[n])
            command.append(asked)
        return np.array(command, np.float32)


def _drone(f: Values, pose: sc.Pose) -> sc.Body:
    """Return a cross, a canopy and four rotors; one unseen box collides for them all."""
    side, color = f.arm_m / math.sqrt(2), f.rgba("body_color")
    hull = sc.Shape("box", (side, side, HULL_M), visible=False)
    looks: list[sc.Shape] = []
    for turn in (math.pi / 4, -math.pi / 4):
        at = sc.turned(0.0, 0.0, 0.0, turn)
        looks.append(sc.Shape("box", (f.arm_m, 0.014, 0.01), color, at, collides=False))
    canopy = 0.075 * math.sqrt(f.drag_n_s_m / 0.25)
    looks.append(sc.Shape("box", (canopy, 0.7 * canopy, 0.028), color, collides=False))
    front, back = (0.95, 0.55, 0.1, 1.0), (0.25, 0.26, 0.28, 1.0)
    size = (ROTOR_RADIUS_M * math.sqrt(f.thrust_scale), 0.008 + 0.3 * f.rotor_lag_s)
    for x, y in ((side, side), (side, -side), (-side, -side), (-side, side)):
        at, paint = sc.Pose((x, y, 0.026)), front if x > 0 else back
        looks.append(sc.Shape("cylinder", size, paint, at, collides=False))
    surface = sc.Material(friction=0.6, restitution=0.1)
    return sc.Body("drone", (hull, *looks), f.mass_kg, pose, surface, angular_damping=0.3)


def _markers(f: Values, way: list[Three]) -> list[sc.Body]:
    """Return small balls in large glassy ones: near enough. The first is palest."""
    bodies: list[sc.Body] = []
    for n, place in enumerate(way):
        pale = 0.6 * (1 - n / (MARKERS - 1))
        r, g, b = (c + pale * (1.0 - c) for c in f.rgba("goal_color")[:3])
        core = sc.Shape("sphere", (0.045,), (r, g, b, 1.0), collides=False)
        shell = sc.Shape("sphere", (NEAR_M,), (r, g, b, 0.3), collides=False)
        bodies.append(sc.Body(f"marker_{n}", (core, shell), pose=sc.turned(*place)))
    return bodies


def _walls() -> sc.Body:
    """Return four walls and a ceiling that only the drone feels."""
    thick = 0.3
    far, wide = HALF_M + thick, HALF_M + 2 * thick
    sides = sc.rim((far, far), thick, (wide, wide), CEILING_M / 2, visible=False)
    top = sc.box((wide, wide, thick), (0.0, 0.0, CEILING_M + thick), visible=False)
    return sc.Body("walls", (*sides, top), material=sc.Material(0.1, restitution=0.5))


def _windsock(f: Values) -> sc.Body:
    """Return a sock on a pole beside the floor: it hangs in still air and streams in wind."""
    wind = math.hypot(f.wind_x_m_s, f.wind_y_m_s)
    droop, heading = math.atan2(1.2, wind), math.atan2(f.wind_y_m_s, f.wind_x_m_s)
    turn = _quaternion(0.0, droop, heading)
    (x, y, z), _, _ = axes((0.0, 0.0, 0.0, *turn))
    white, red = (0.95, 0.95, 0.93, 1.0), (0.9, 0.25, 0.1, 1.0)
    grey = (0.35, 0.36, 0.4, 1.0)
    parts = [sc.box((0.015, 0.015, 0.4), (0.0, 0.0, 0.4), grey, collides=False)]
    for n, out in enumerate((0.08, 0.22, 0.36)):
        size, color = (0.07, 0.06 - 0.01 * n, 0.06 - 0.01 * n), white if n % 2 else red
        at = sc.Pose((x * out, y * out, 0.78 + z * out), turn)
        parts.append(sc.Shape("box", size, color, at, collides=False))
    return sc.Body("windsock", tuple(parts), pose=sc.turned(-1.15, 1.15, 0.0))


def _quaternion(roll: float, pitch: float, heading: float) -> sc.Quat:
    """Return the quaternion of a turn about x, then y, then z of the world."""
    turns = ((math.cos(angle / 2), math.sin(angle / 2)) for angle in (roll, pitch, heading))
    (a, b), (c, d), (e, g) = turns
    x, y = b * c * e - a * d * g, a * d * e + b * c * g
    return (x, y, a * c * g - b * d * e, a * c * e + b * d * g)
