"""The four rotors of a quadrotor, as a task owns them, and a pilot that commands them."""

import math
from collections.abc import Sequence

import numpy as np

from sandbox.env.elements import each
from sandbox.env.geometry import Three, axes, dot
from sandbox.env.policy import Vector
from sandbox.env.task import GRAVITY_M_S2
from sandbox.observation import Element
from sandbox.scene import Airframe
from sandbox.world import World

_YAW_M = 0.02  # Torque of a rotor's drag, per thrust.
_SPINS = (-1.0, 1.0, -1.0, 1.0)  # Of that torque: front left, front right, back right, back left.


class Rotors:
    """Rotors whose thrust an action sets; the task makes them in `started`.

    Each rotor thrusts along the body's z axis and more near the floor: T / T_inf =
    1 / (1 - (R / 4z)^2), at most 4/3 (Cheeseman and Bennett 1955). What is commanded comes with a
    lag of first order, reckoned once a control step. Drag is linear in the velocity through the
    air.

    A snapshot copies it: a method assigns new values and changes no old one in place.

    Args:
        world: holds the body.
        name: of the body, made by `sandbox.scene.drone`.
        airframe: of the body.
        hz: control steps a second.

    Attributes:
        hz: control steps a second.
        places: of the rotors in the body's frame: front left, front right, back right, back left.
        radius: of a rotor [m].
        unit: thrust of a rotor at action 0, far from the floor [N].
        reacts: how much of a change of command comes in one step, 0 to 1.
        thrusts: of the rotors, in the units of the action.
        gains: of thrust by the floor, of each rotor.
        position: of the body [m].
        velocity: of the body [m/s].
        axes: x, y and z axes of the body, world frame.
        spin: angular velocity in the body's frame [rad/s].
    """

    position: list[float]
    velocity: list[float]
    axes: tuple[Three, Three, Three]
    spin: Three
    gains: list[float]

    def __init__(self, world: World, name: str, airframe: Airframe, hz: int) -> None:
        self._world, self._name, self._side = world, name, airframe.side_m
        self.hz, self.places, self.radius = hz, airframe.rotors(), airframe.radius_m
        self.unit = airframe.thrust_scale * Airframe.USUAL_KG * GRAVITY_M_S2 / 4
        self.reacts = 1.0 - math.exp(-1 / (hz * max(airframe.lag_s, 1e-6)))
        self.thrusts = [0.0] * 4

    @staticmethod
    def elements(half_m: float, low_z_m: float, high_z_m: float) -> tuple[Element, ...]:
        """Return the elements of `numbers`, with the bounds of |x| and |y|, and of the height."""
        return (
            *each("x y", "m", -half_m, half_m),
            Element("z", "m", low_z_m, high_z_m),
            *each("velocity_x velocity_y velocity_z", "m/s", -25.0, 25.0),
            *each("up_x up_y up_z cos_yaw sin_yaw", "1", -1.0, 1.0),
            *each("spin_x spin_y spin_z", "rad/s", -120.0, 120.0),
            *each("thrust_0 thrust_1 thrust_2 thrust_3", "1", -1.0, 1.0),
        )

    def look(self, row: list[float]) -> None:
        """Read the 13 numbers of the body; the task calls it in `arrived`."""
        self.position, self.velocity = row[:3], row[7:10]
        self.axes = x, y, z = axes(row)
        spin = row[10:]
        self.spin = (dot(spin, x), dot(spin, y), dot(spin, z))
        high, a, b = row[2], self._side * x[2], self._side * y[2]
        heights = (high + a + b, high + a - b, high - a - b, high - a + b)  # Of the rotors.
        least, quarter = 0.5 * self.radius, 0.25 * self.radius
        self.gains = [1 / (1 - (quarter / (h if h > least else least)) ** 2) for h in heights]

    def numbers(self) -> list[float]:
        """Return the motion of the body and the thrust of the rotors, as they are observed."""
        forward, _, up = self.axes
        level = math.hypot(forward[0], forward[1])
        heading = (forward[0] / level, forward[1] / level) if level > 1e-9 else (1.0, 0.0)
        return [*self.position, *self.velocity, *up, *heading, *self.spin, *self.thrusts]

    def move(self, action: Sequence[float], drag_n_s_m: float, wind: tuple[float, float]) -> None:
        """Thrust with each rotor; drag and wind are shared by the four, whose middle is the mass's.

        A rotor's drag turns the body: a couple of lateral forces at two rotors across.

        Args:
            action: the commands.
            drag_n_s_m: force of the air per speed.
            wind: towards +x and +y [m/s].
        """
        (x, y, z), (vx, vy, vz), drag = self.axes, self.velocity, drag_n_s_m / 4
        air = (drag * (wind[0] - vx), drag * (wind[1] - vy), -drag * vz)
        fx, fy, fz = dot(air, x), dot(air, y), dot(air, z)
        late, unit = self.reacts, self.unit
        self.thrusts = [t + late * (a - t) for t, a in zip(self.thrusts, action, strict=True)]
        a, b, c, d = [unit * (1 + t) * g for t, g in zip(self.thrusts, self.gains, strict=True)]
        pull = _YAW_M * (b + d - a - c) / (4 * self._side)  # Each part of the couple's forces.
        forces = (
            (fx - pull, fy + pull, fz + a),
            (fx, fy, fz + b),
            (fx + pull, fy - pull, fz + c),
            (fx, fy, fz + d),
        )
        self._world.thrust(self._name, tuple(zip(forces, self.places, strict=True)))


class Pilot:
    """A cascade: place, velocity, attitude, rate; then a mixer. It knows mass, wind, delay and lag.

    Delayed actions are still to come: it steers by the turning rate that they will have led to. It
    asks the rotors for more than it wants, by as much as they will lag behind.

    Args:
        rotors: what it will command.
        airframe: whose mass and drag it reckons with.
        wind: velocity of the air [m/s].
        late: steps by which actions are delayed.
    """

    PLACE_HZ, FASTEST_M_S = 1.8, 1.4
    VELOCITY_HZ, LEAN = 4.0, 0.55  # Gain; greatest horizontal part of the thrust's direction.
    ATTITUDE, RATE = 100.0, 18.0

    def __init__(self, rotors: Rotors, airframe: Airframe, wind: Three, late: int) -> None:
        self._wind = wind
        self._mass, self._drag = airframe.mass_kg, airframe.drag_n_s_m
        side = rotors.places[0][0]
        flat, inertia = side**2 + Airframe.HULL_M**2, airframe.mass_kg / 3
        self._moments = (inertia * flat, inertia * flat, inertia * 2 * side**2)
        self._coming: list[Three] = [(0.0, 0.0, 0.0)] * late  # [rad/s^2]
        self._thrusts = list(rotors.thrusts)  # When what is asked for now comes.

    def towards(self, aim: Three, rotors: Rotors) -> Vector:
        """Return the commands that fly to a place, given the rotors as they are now."""
        mass, dt = self._mass, 1 / rotors.hz
        x, y, z = rotors.axes
        way = [self.PLACE_HZ * (a - p) for a, p in zip(aim, rotors.position, strict=True)]
        slow = min(1.0, self.FASTEST_M_S / max(math.hypot(*way), 1e-9))
        force = [
            mass * self.VELOCITY_HZ * (slow * w - v) + self._drag * (v - wind)
            for w, v, wind in zip(way, rotors.velocity, self._wind, strict=True)
        ]
        force[2] = max(force[2] + mass * GRAVITY_M_S2, 0.3 * mass * GRAVITY_M_S2)
        level = math.hypot(force[0], force[1])
        much = min(1.0, self.LEAN * force[2] / max(level, 1e-9))
        force[:2] = [force[0] * much, force[1] * much]
        total = math.hypot(*force)
        error = (-dot(force, y) / total, dot(force, x) / total, -0.3 * math.atan2(x[1], x[0]))
        states = [self._ahead(n, error[n], rotors.spin[n], dt) for n in range(3)]
        turning = [self.ATTITUDE * e - self.RATE * s for e, s in states]
        turning[2] = max(-12.0, min(12.0, 0.2 * turning[2]))
        if self._coming:
            self._coming = [*self._coming[1:], (turning[0], turning[1], turning[2])]
        torque = [m * t for m, t in zip(self._moments, turning, strict=True)]
        return self._mixed(dot(force, z), torque, rotors)

    def _ahead(self, axis: int, error: float, spin: float, dt: float) -> tuple[float, float]:
        """Return the error and the rate about an axis when what is asked for now comes."""
        for turning in self._coming:
            error -= dt * (spin + 0.5 * dt * turning[axis])
            spin += dt * turning[axis]
        return error, spin

    def _mixed(self, thrust: float, torque: Sequence[float], rotors: Rotors) -> Vector:
        """Return the rotors' commands that give a thrust [N] and torques [N m]."""
        thrusts, command = self._thrusts, list[float]()
        for n, ((x, y, _), spin) in enumerate(zip(rotors.places, _SPINS, strict=True)):
            share = thrust / 4 + torque[0] / (4 * y) - torque[1] / (4 * x)
            share += spin * torque[2] / (4 * _YAW_M)
            more = share / (rotors.unit * rotors.gains[n]) - 1 - thrusts[n]
            asked = max(-1.0, min(1.0, thrusts[n] + more / rotors.reacts))
            thrusts[n] += rotors.reacts * (asked - thrusts[n])
            command.append(asked)
        return np.array(command, np.float32)
