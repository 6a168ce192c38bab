"""Swing a pole up by pushing the cart that it hangs on, and keep it up."""

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
    Motor,
    Pose,
    Scene,
    Shape,
    orbit,
    sun,
    turned,
)

FORCE_N = 12.0  # At full action.
RAIL_HALF_M = 1.25
RAIL_HEIGHT_M = 0.85
UPRIGHT_COS = 0.97  # 14 degrees.
STILL_RAD_S = 1.0
HELD_S = 1.0  # Upright and still for so long is success.


class CartpoleSwingup(SandboxEnv):
    """Swing the pole up and balance it.

    Observation (proprio), float32 (5,): 0 cart x [m]; 1:3 cos, sin of the pole's angle from
        upright; 3 cart velocity [m/s]; 4 pole velocity [rad/s].
    Action, float32 (1,) in [-1, 1]: force on the cart along x in units of 12 N.
    Reward: upright x centred x slow, each 0 to 1, after dm_control's cartpole swingup.
    Ends: truncated after 10 s; success is upright and still for the last second.
    Factors: pole_mass_kg, pole_length_m, cart_mass_kg, rail_damping, gravity_m_s2, pole_color,
        cart_color, light_azimuth_deg, light_color, light_ambient, camera_pitch_deg,
        action_delay_steps.
    Events: upright.
    """

    family = "control"
    control_hz = 50
    physics_hz = 500  # A free swing loses 2 % of its energy in 10 s; at 240 it loses 4 %.
    limit_s = 10.0
    fixed_length = True
    action_size = 1
    state_joints = (("cartpole", "cart"), ("cartpole", "pole"))
    events = ("upright",)
    elements = (
        Element("cart_x", "m", -1.3, 1.3),
        Element("pole_cos", "1", -1.0, 1.0),
        Element("pole_sin", "1", -1.0, 1.0),
        Element("cart_velocity", "m/s", -12.0, 12.0),
        Element("pole_velocity", "rad/s", -45.0, 45.0),
    )
    factors = Factors(
        pole_mass_kg=Uniform(0.05, 0.4, 0.15, "kg", "mass of the pole"),
        pole_length_m=Uniform(0.4, 0.8, 0.6, "m", "length of the pole"),
        cart_mass_kg=Uniform(0.5, 1.5, 0.8, "kg", "mass of the cart"),
        rail_damping=Uniform(0.0, 0.5, 0.1, "N s/m", "friction of cart and rail"),
        gravity_m_s2=Uniform(6.0, 12.0, 9.81, "m/s^2", "gravity"),
        pole_color=Color("goldenrod", "colour of the pole"),
        cart_color=Color("steelblue", "colour of the cart"),
        light_azimuth_deg=Uniform(-180.0, 180.0, -60.0, "deg", "where the light comes from"),
        light_color=Color("white", "colour of the light"),
        light_ambient=Uniform(0.3, 0.8, 0.55, "1", "light where none falls directly"),
        camera_pitch_deg=Uniform(5.0, 40.0, 18.0, "deg", "camera above the horizon"),
        action_delay_steps=Integer(0, 2, 0, "1", "steps by which actions come late"),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> Scene:
        """Hang the pole down, almost, from a cart near the middle of the rail."""
        x, swing = rng.uniform(-0.3, 0.3), rng.uniform(-0.15, 0.15)
        return Scene(
            bodies=(_ground(), _rail(), _cartpole(f, x, math.pi + swing)),
            cameras=(
                orbit("main", (0.0, 0.0, 0.72), 4.0, f.camera_pitch_deg, fov_deg=46),
                orbit("side", (0.0, 0.0, 0.72), 4.0, 20, yaw_deg=-55, fov_deg=46),
                Camera("cart", (0.0, -2.4, 0.6), (0.0, 0.0, 0.1), body="cartpole", link="cart"),
            ),
            light=sun(f.light_azimuth_deg, 65, f.rgba("light_color")[:3], f.light_ambient),
            engine=Engine(physics_hz=self.physics_hz, gravity=(0.0, 0.0, -f.gravity_m_s2)),
        )

    def started(self) -> None:
        """Forget how long the pole has been up."""
        self.held = 0

    def act(self, action: list[float]) -> None:
        """Push the cart."""
        self.push = action[0]
        self.world.drive("cartpole", ("cart",), (FORCE_N * action[0],))

    def arrived(self) -> None:
        """Derive the pole's angle from upright, and for how long it has been up."""
        self.x, self.speed = self.joint("cartpole", "cart")
        angle, self.spin = self.joint("cartpole", "pole")
        self.cos, self.sin = math.cos(angle), math.sin(angle)
        up = self.cos > UPRIGHT_COS and abs(self.spin) < STILL_RAD_S
        self.held = self.held + 1 if up else 0

    def proprio(self) -> Sequence[float]:
        """Return the cart and the pole."""
        return (self.x, self.cos, self.sin, self.speed, self.spin)

    def reward(self) -> float:
        """Return upright x centred x slow, 0 to 1."""
        upright = (self.cos + 1) / 2
        centred = (1 + 0.1 ** (self.x / RAIL_HALF_M) ** 2) / 2
        slow = (1 + 0.1 ** (self.spin / 5) ** 2) / 2
        return upright * centred * slow

    def success(self) -> bool:
        """Whether the pole has been upright and still for a second."""
        return self.held >= HELD_S * self.control_hz

    def happening(self) -> Sequence[bool]:
        """Whether the pole is upright."""
        return (self.cos > UPRIGHT_COS,)

    def scripted(self, rng: np.random.Generator) -> Policy:
        """Return a policy that pumps energy into the pole, then balances it."""
        return SwingUp(self)

    def play(self, rng: np.random.Generator) -> Policy:
        """Return a policy that shoves the cart to and fro, for a while each."""
        shove, left = 0.0, 0  # And how many steps of it are left.

        def act() -> Vector:
            nonlocal shove, left
            near_end = abs(self.x) > 0.8 * RAIL_HALF_M
            if left <= 0 or near_end:
                side = -math.copysign(1.0, self.x) if near_end else float(rng.choice((-1.0, 1.0)))
                shove, left = side * rng.uniform(0.4, 1.0), int(rng.integers(8, 30))
            left -= 1
            return np.array([shove], np.float32)

        return act


def _ground() -> Body:
    slab = Shape("box", (1.5, 0.45, 0.05), (0.80, 0.84, 0.78, 1.0), Pose((0.0, 0.0, -0.05)))
    return Body("ground", (slab,))


def _rail() -> Body:
    """A rail on two posts, too far from everything to touch it."""
    grey = (0.45, 0.47, 0.5, 1.0)
    rail = Shape("box", (RAIL_HALF_M + 0.18, 0.025, 0.025), grey, collides=False)
    posts = tuple(
        Shape(
            "box",
            (0.04, 0.04, RAIL_HEIGHT_M / 2),
            grey,
            Pose((side * (RAIL_HALF_M + 0.18), 0.0, -RAIL_HEIGHT_M / 2)),
            collides=False,
        )
        for side in (-1, 1)
    )
    return Body("rail", (rail, *posts), pose=turned(0.0, 0.0, RAIL_HEIGHT_M))


def _cartpole(f: Values, x: float, angle: float) -> Body:
    """A cart on a sliding joint and a pole on a hinge about y, upright at 0."""
    length = f.pole_length_m
    middle = (0.0, 0.0, length / 2)
    pole = Shape("box", (0.035, 0.035, length / 2), f.rgba("pole_color"), Pose(middle))
    tip = Shape("sphere", (0.07,), f.rgba("pole_color"), Pose((0.0, 0.0, length)), collides=False)
    cart = Shape("box", (0.15, 0.09, 0.08), f.rgba("cart_color"))
    sliding = Joint(
        "prismatic",
        (1.0, 0.0, 0.0),
        (-RAIL_HALF_M, RAIL_HALF_M),
        Motor("torque", FORCE_N),
        f.rail_damping,
    )
    return Body(
        "cartpole",
        pose=turned(0.0, 0.0, RAIL_HEIGHT_M),
        links=(
            Link("cart", sliding, (cart,), f.cart_mass_kg, position=x),
            Link(
                "pole",
                Joint("revolute", (0.0, 1.0, 0.0)),
                (pole, tip),
                f.pole_mass_kg,
                com=middle,
                pose=Pose((0.0, -0.13, 0.0)),
                parent="cart",
                position=angle,
            ),
        ),
    )


class SwingUp:
    """A scripted policy: pump the pole's energy up to that of standing, then catch it.

    Swing-up after Astrom and Furuta (2000), with the cart's acceleration as the input; balance by
    the linear-quadratic regulator of the linearised cart and pole.
    """

    PUMP = 14.0  # Cart acceleration per energy missing, as a fraction of that of standing [m/s^2].
    CATCH_RAD, CATCH_RAD_S = 0.7, 6.0

    def __init__(self, env: CartpoleSwingup) -> None:
        self.env = env
        f = env.values
        self.cart, self.pole, self.length = f.cart_mass_kg, f.pole_mass_kg, f.pole_length_m
        self.gravity = f.gravity_m_s2
        self.gain = self._regulator()

    def __call__(self) -> Vector:
        """Return the next action."""
        env = self.env
        angle = math.atan2(env.sin, env.cos)
        if abs(angle) < self.CATCH_RAD and abs(env.spin) < self.CATCH_RAD_S:
            state = np.array([env.x, angle, env.speed, env.spin])
            force = -float(self.gain @ state)
        else:
            half = self.length / 2
            inertia = self.pole * self.length**2 / 3
            standing = 2 * self.pole * self.gravity * half
            energy = inertia * env.spin**2 / 2 + self.pole * self.gravity * half * (env.cos - 1)
            pump = self.PUMP * energy / standing * (1 if env.spin * env.cos >= 0 else -1)
            force = self._force(pump - 8.0 * env.x - 2.5 * env.speed)
        return np.array([max(-1.0, min(1.0, force / FORCE_N))], np.float32)

    def _force(self, acceleration: float) -> float:
        """Return the force that gives the cart an acceleration, against what the pole does."""
        env, pole, half = self.env, self.pole, self.length / 2
        inert = self.cart + pole * (1 - 0.75 * env.cos**2)
        pulled = pole * env.sin * (0.75 * self.gravity * env.cos - half * env.spin**2)
        return inert * acceleration + pulled + env.values.rail_damping * env.speed

    def _regulator(self) -> np.ndarray:
        """Return the gains of x, angle, velocity, spin: the Riccati equation, iterated."""
        half, total = self.length / 2, self.cart + self.pole
        lean = half * (4 / 3 - self.pole / total)
        a = np.zeros((4, 4))
        a[0, 2] = a[1, 3] = 1.0
        a[3, 1] = self.gravity / lean
        a[2, 1] = -self.pole * half * a[3, 1] / total
        b = np.array(
            [
                [0.0],
                [0.0],
                [1 / total * (1 + self.pole * half / (total * lean))],
                [-1 / (total * lean)],
            ]
        )
        dt = 1 / self.env.control_hz
        a, b = np.eye(4) + a * dt, b * dt
        q, r = np.diag([1.0, 10.0, 0.3, 0.3]), np.array([[0.02]])
        p, k = q, np.zeros((1, 4))
        for _ in range(400):
            k = np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)
            p = q + a.T @ p @ (a - b @ k)
        return k[0]
