"""Swing a pole up by pushing the cart that it hangs on, and keep it up."""

import math

import numpy as np

from sandbox import scene as sc
from sandbox.env import Actions, Aim, PoleOnCart, SandboxEnv, each, policy
from sandbox.env.factors import Color, Factors, Uniform, Values, handling, looks

FORCE_N = 12.0  # At full action.
RAIL_HALF_M = 1.25
RAIL_HEIGHT_M = 0.85
UPRIGHT_COS = 0.97  # 14 degrees.
STILL_RAD_S = 1.0
HELD_S = 1.0  # Upright and still for so long is success.
CATCH_RAD, CATCH_RAD_S = 0.7, 6.0  # Within these the scripted policy balances the pole.


class CartpoleSwingup(SandboxEnv):
    """Swing the pole up and balance it.

    Observation (proprio), float32 (5,): 0 cart x [m]; 1:3 cos, sin of the pole's angle from
        upright; 3 cart velocity [m/s]; 4 pole velocity [rad/s].
    Action, float32 (1,) in [-1, 1]: force on the cart along x in units of 12 N.
    Reward: falls short by 1 - upright x centred x slow, each 0 to 1, as dm_control rewards them.
    Ends: truncated after 10 s; success is upright and still for the last second.
    """

    family = "control"
    control_hz = 50
    physics_hz = 500  # A free swing loses 2 % of its energy in 10 s; at 240 it loses 4 %.
    limit_s = 10.0
    fixed_length = True
    action_size = 1
    state_joints = (("cartpole", "cart"), ("cartpole", "pole"))
    state_measures = ("held_steps",)
    events = ("upright",)
    aim = (
        Aim()
        .near("cartpole.cart.position", 0.1, 0.05)
        .near("cartpole.cart.velocity", 0.5, 0.25, "m/s")
        .near("cartpole.pole.position", 0.26, 0.14, "rad", turns=True)
        .near("cartpole.pole.velocity", 1.0, 0.5, "rad/s")
    )
    elements = (
        *each("cart_x", "m", -1.3, 1.3),
        *each("pole_cos pole_sin", "1", -1.0, 1.0),
        *each("cart_velocity", "m/s", -12.0, 12.0),
        *each("pole_velocity", "rad/s", -45.0, 45.0),
    )
    factors = Factors(
        pole_mass_kg=Uniform(0.05, 0.4, 0.15, "kg", "mass of the pole"),
        pole_length_m=Uniform(0.4, 0.8, 0.6, "m", "length of the pole"),
        cart_mass_kg=Uniform(0.5, 1.5, 0.8, "kg", "mass of the cart"),
        rail_damping=Uniform(0.0, 0.5, 0.1, "N s/m", "friction of cart and rail"),
        gravity_m_s2=Uniform(6.0, 12.0, 9.81, "m/s^2", "gravity"),
        pole_color=Color("goldenrod", "colour of the pole"),
        cart_color=Color("steelblue", "colour of the cart"),
        **looks(-60.0, (5.0, 40.0, 18.0)),
        **handling(delay_steps=2),
    )

    def scene(self, f: Values, rng: np.random.Generator) -> sc.Scene:
        """Hang the pole down, almost, from a cart near the middle of the rail."""
        x, swing = rng.uniform(-0.3, 0.3), rng.uniform(-0.15, 0.15)
        ground = sc.slab("ground", (1.5, 0.45, 0.05), (0.80, 0.84, 0.78, 1.0))
        return sc.Scene(
            bodies=(
                ground,
                sc.rail(RAIL_HALF_M + 0.18, RAIL_HEIGHT_M),
                _cartpole(f, x, math.pi + swing),
            ),
            cameras=(
                sc.orbit("main", (0.0, 0.0, 0.72), 4.0, f.camera_pitch_deg, fov_deg=46),
                sc.orbit("side", (0.0, 0.0, 0.72), 4.0, 20, yaw_deg=-55, fov_deg=46),
                sc.Camera("cart", (0.0, -2.4, 0.6), (0.0, 0.0, 0.1), body="cartpole", link="cart"),
            ),
            light=self.light(f, 65),
            engine=self.engine(f),
        )

    def started(self) -> None:
        """Note that the pole is not up."""
        self.held_steps = 0

    def act(self, action: list[float]) -> None:
        self.world.drive("cartpole", ("cart",), (FORCE_N * action[0],))

    def arrived(self) -> None:
        """Derive the pole's angle from upright, and for how long it has been up."""
        self.x, self.speed = self.joint("cartpole", "cart")
        angle, self.spin = self.joint("cartpole", "pole")
        self.cos, self.sin = math.cos(angle), math.sin(angle)
        up = self.cos > UPRIGHT_COS and abs(self.spin) < STILL_RAD_S
        self.held_steps = self.held_steps + 1 if up else 0

    def proprio(self) -> tuple[float, ...]:
        return (self.x, self.cos, self.sin, self.speed, self.spin)

    def shortfall(self) -> float:
        upright = (self.cos + 1) / 2
        centred = (1 + 0.1 ** (self.x / RAIL_HALF_M) ** 2) / 2
        slow = (1 + 0.1 ** (self.spin / 5) ** 2) / 2
        return 1 - upright * centred * slow

    def success(self) -> bool:
        return self.held_steps >= HELD_S * self.control_hz

    def happening(self) -> tuple[bool, ...]:
        """Return whether the pole is upright."""
        return (self.cos > UPRIGHT_COS,)

    @policy
    def scripted(self, rng: np.random.Generator) -> Actions:
        """Pump the pole's energy up to that of standing, then catch and balance it."""
        f = self.values
        model = PoleOnCart(
            f.cart_mass_kg, f.pole_mass_kg, f.pole_length_m / 2, f.gravity_m_s2, f.rail_damping
        )
        gains = model.gains(1 / self.control_hz)
        while True:
            angle = math.atan2(self.sin, self.cos)
            if abs(angle) < CATCH_RAD and abs(self.spin) < CATCH_RAD_S:
                force = -float(gains @ (self.x, angle, self.speed, self.spin))
            else:
                force = model.pump(self.x, self.speed, self.cos, self.sin, self.spin)
            yield np.array([max(-1.0, min(1.0, force / FORCE_N))], np.float32)

    @policy
    def play(self, rng: np.random.Generator) -> Actions:
        """Shove the cart to and fro, for a while each; back from near the ends of the rail."""
        shove, left = 0.0, 0
        while True:
            near_end = abs(self.x) > 0.8 * RAIL_HALF_M
            if left <= 0 or near_end:
                side = -math.copysign(1.0, self.x) if near_end else float(rng.choice((-1.0, 1.0)))
                shove, left = side * rng.uniform(0.4, 1.0), int(rng.integers(8, 30))
            left -= 1
            yield np.array([shove], np.float32)


def _cartpole(f: Values, x: float, angle: float) -> sc.Body:
    """Return a cart on a sliding joint and a pole on a hinge about y, upright at 0."""
    length, color = f.pole_length_m, f.rgba("pole_color")
    middle, end = (0.0, 0.0, length / 2), sc.Pose((0.0, 0.0, length))
    pole = sc.box((0.035, 0.035, length / 2), middle, color)
    tip = sc.Shape("sphere", (0.07,), color, end, collides=False)
    cart = sc.Shape("box", (0.15, 0.09, 0.08), f.rgba("cart_color"))
    reach, motor = (-RAIL_HALF_M, RAIL_HALF_M), sc.Motor("torque", FORCE_N)
    sliding = sc.Joint("prismatic", sc.X, reach, motor, f.rail_damping)
    hinge, at = sc.Joint("revolute", sc.Y), sc.Pose((0.0, -0.13, 0.0))
    links = (
        sc.Link("cart", sliding, (cart,), f.cart_mass_kg, position=x),
        sc.Link("pole", hinge, (pole, tip), f.pole_mass_kg, middle, at, "cart", angle),
    )
    return sc.Body("cartpole", pose=sc.turned(0.0, 0.0, RAIL_HEIGHT_M), links=links)
