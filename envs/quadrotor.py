"""Fly a quadrotor past two markers to a third by its four rotors, in wind, and hover there."""

import math

import numpy as np

from sandbox import scene as sc
from sandbox.env import (
    Actions,
    Aim,
    Element,
    Pilot,
    Rotors,
    SandboxEnv,
    axes,
    each,
    of_each,
    policy,
)
from sandbox.env.factors import Color, Factors, Uniform, Values, handling, looks

HALF_M, CEILING_M = 1.1, 1.8  # The flight space: |x|, |y| and z.
MARKERS = 3
NEAR_M, HELD_S = 0.1, 1.0  # So near a marker is there; there for so long at the last is success.
HARD_M_S = 1.5  # Touching the floor faster than this is a crash.
Three = tuple[float, float, float]


class Quadrotor(SandboxEnv):
    """Fly to the markers in turn, pale to full in colour, and stay at the last.

    Nothing leaves the flight space: it has walls and a ceiling that nobody sees.

    Observation (proprio), float32 (28,), world frame: 0:3 position [m]; 3:6 velocity [m/s]; 6:9 the
        body's z axis; 9:11 cos, sin of yaw; 11:14 angular velocity in the body's frame [rad/s];
        14:18 thrust of the rotors, in the units of the action; 18:27 the next marker, the one after
        it and the one after that [m], the last again where there is no other; 27 seconds left [s].
    Goal, float64 (3,): the next marker.
    Action, float32 (4,) in [-1, 1]: thrust of the rotors front left, front right, back right, back
        left; -1 is none, 0 a quarter of the usual weight, 1 twice that.
    Reward: progress is (markers left behind + 1 / (1 + (distance to the next / 0.3 m)^2)) / 3.
    Ends: terminated after 1 s within 10 cm of the last marker, having been so near the others in
        turn, which is success, or on crashing: tilted by more than 90 degrees, or touching the
        floor at more than 1.5 m/s; truncated after 10 s.
    """

    family = "flight"
    control_hz = 48
    limit_s = 10.0
    action_size = 4
    state_bodies = ("drone",)
    state_measures = (
        *(f"rotor_{n}.thrust" for n in range(4)),
        *("markers_behind", "held_steps", "crashed"),
    )
    goal_names = ("x [m]", "y [m]", "z [m]")
    events = ("at_marker", "in_ground_effect", "crashed")
    aim = Aim().each(("drone",), 0.1, 0.05).near("drone.vx drone.vy drone.vz", 0.5, 0.25, "m/s")
    elements = (
        *Rotors.elements(1.3, -0.2, 2.0),
        *of_each(
            ("next", "second", "third"),
            *each("x y", "m", -0.7, 0.7),
            Element("z", "m", 0.3, 1.4),
        ),
        Element("seconds_left", "s", 0.0, 10.0),
    )
    factors = Factors(
        mass_kg=Uniform(0.45, 0.8, sc.Airframe.USUAL_KG, "kg", "mass of the drone"),
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
        pose = sc.Pose((x, y, z), sc.euler(roll, pitch, heading))
        drone = sc.drone("drone", _airframe(f), pose, f.rgba("body_color"))
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
        """Remember the markers, and start the rotors."""
        poses = {body.name: body.pose for body in self.world.scene.bodies}
        self.markers: list[Three] = [poses[f"marker_{n}"].xyz for n in range(MARKERS)]
        self._head_for(0)
        self.rotors = Rotors(self.world, "drone", _airframe(self.values), self.control_hz)
        self.held, self.crashed, self.speed = 0, False, 0.0

    def _head_for(self, marker: int) -> None:
        """Remember which marker is next, and the places of those to come, the last again."""
        self.next = marker
        places = (self.markers[min(marker + n, MARKERS - 1)] for n in range(MARKERS))
        self.ahead = [part for place in places for part in place]

    def act(self, action: list[float]) -> None:
        f = self.values
        self.rotors.move(action, f.drag_n_s_m, (f.wind_x_m_s, f.wind_y_m_s))

    def arrived(self) -> None:
        """Derive where the drone is, and whether it hovers or has crashed."""
        rotors = self.rotors
        rotors.look(self.body("drone"))
        self.away = math.dist(rotors.position, self.markers[self.next])
        self.there = self.away < NEAR_M
        if self.there and self.next < MARKERS - 1:
            self._head_for(self.next + 1)
            self.away = math.dist(rotors.position, self.markers[self.next])
        elif self.next == MARKERS - 1:
            self.held = self.held + 1 if self.there else 0
        low = rotors.position[2] < 0.3
        hit = low and self.speed > HARD_M_S and self.world.touch("drone", "floor") > 0.0
        self.crashed = self.crashed or hit or rotors.axes[2][2] < 0.0
        self.speed = math.hypot(*rotors.velocity)  # Before what comes next.

    def proprio(self) -> tuple[float, ...]:
        return (*self.rotors.numbers(), *self.ahead, self.seconds_left())

    def measured(self) -> tuple[float, ...]:
        return (*self.rotors.thrusts, self.next, self.held, self.crashed)

    def wanted(self) -> Three:
        return self.markers[self.next]

    def progress(self) -> float:
        return (self.next + 1 / (1 + (self.away / 0.3) ** 2)) / MARKERS

    def success(self) -> bool:
        return self.held >= HELD_S * self.control_hz and not self.crashed

    def terminated(self) -> bool:
        """End on success, and on crashing."""
        return self.success() or self.crashed

    def happening(self) -> tuple[bool, ...]:
        """Return whether it is at the next marker, near the floor (4 radii), and crashed."""
        low = self.rotors.position[2] < 4 * self.rotors.radius
        return (self.there, low, self.crashed)

    @policy
    def scripted(self, rng: np.random.Generator) -> Actions:
        """Fly to the markers."""
        pilot = self._pilot()
        while True:
            yield pilot.towards(self.markers[self.next], self.rotors)

    @policy
    def play(self, rng: np.random.Generator) -> Actions:
        """Fly to random places, near the floor and the walls too."""
        pilot = self._pilot()
        while True:
            x, y = rng.uniform(-0.9, 0.9, 2).tolist()
            aim = (x, y, rng.uniform(0.12, 1.6))
            for _ in range(rng.integers(24, 72)):
                yield pilot.towards(aim, self.rotors)

    def _pilot(self) -> Pilot:
        f = self.values
        wind = (f.wind_x_m_s, f.wind_y_m_s, 0.0)
        return Pilot(self.rotors, _airframe(f), wind, f.action_delay_steps)


def _airframe(f: Values) -> sc.Airframe:
    return sc.Airframe(f.mass_kg, f.arm_m, f.thrust_scale, f.rotor_lag_s, f.drag_n_s_m)


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
    turn = sc.euler(0.0, droop, heading)
    (x, y, z), _, _ = axes((0.0, 0.0, 0.0, *turn))
    white, red = (0.95, 0.95, 0.93, 1.0), (0.9, 0.25, 0.1, 1.0)
    grey = (0.35, 0.36, 0.4, 1.0)
    parts = [sc.box((0.015, 0.015, 0.4), (0.0, 0.0, 0.4), grey, collides=False)]
    for n, out in enumerate((0.08, 0.22, 0.36)):
        size, color = (0.07, 0.06 - 0.01 * n, 0.06 - 0.01 * n), white if n % 2 else red
        at = sc.Pose((x * out, y * out, 0.78 + z * out), turn)
        parts.append(sc.Shape("box", size, color, at, collides=False))
    return sc.Body("windsock", tuple(parts), pose=sc.turned(-1.15, 1.15, 0.0))
