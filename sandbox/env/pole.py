"""A pole on a cart: the forces that swing it up and balance it, for scripted policies."""

from dataclasses import dataclass

import numpy as np

from sandbox.env.regulator import Matrix, regulator

PUMP = 14.0  # Cart acceleration per energy missing, as a fraction of that of standing [m/s^2].
HOME_1_S2, HOME_1_S = 8.0, 2.5  # What pulls the cart back to x = 0, per m and per m/s.


@dataclass(frozen=True)
class PoleOnCart:
    """A uniform pole on a cart.

    Attributes:
        cart_kg: mass of the cart [kg].
        pole_kg: mass of the pole [kg].
        half_m: half the pole's length [m].
        gravity_m_s2: gravity [m/s^2].
        damping_n_s_m: friction of cart and rail [N s/m].
    """

    cart_kg: float
    pole_kg: float
    half_m: float
    gravity_m_s2: float
    damping_n_s_m: float

    def gains(self, dt: float) -> Matrix:
        """Return the gains K (4,): a force -K (x, angle, velocity, spin) balances the pole.

        The equations are those of Barto, Sutton and Anderson (1983) without friction, linearised
        upright; `dt` is the time between two actions [s].
        """
        pole, half, total = self.pole_kg, self.half_m, self.cart_kg + self.pole_kg
        lean = half * (4 / 3 - pole / total)
        a, b = np.zeros((4, 4)), np.zeros((4, 1))
        a[0, 2] = a[1, 3] = 1.0
        a[3, 1] = self.gravity_m_s2 / lean
        a[2, 1] = -pole * half * a[3, 1] / total
        b[2:, 0] = 1 / total * (1 + pole * half / (total * lean)), -1 / (total * lean)
        q, r = np.diag([1.0, 10.0, 0.3, 0.3]), np.array([[0.02]])
        return regulator(np.eye(4) + a * dt, b * dt, q, r)[0]

    def pump(self, x: float, speed: float, cos: float, sin: float, spin: float) -> float:
        """Return the force [N] that brings the pole's energy up to that of standing.

        The swing-up is that of Astrom and Furuta (2000), with the cart's acceleration as input; the
        angle is from upright.
        """
        pole, gravity, half = self.pole_kg, self.gravity_m_s2, self.half_m
        inertia, standing = pole * (2 * half) ** 2 / 3, 2 * pole * gravity * half
        energy = inertia * spin**2 / 2 + pole * gravity * half * (cos - 1)
        pump = PUMP * energy / standing * (1 if spin * cos >= 0 else -1)
        wanted = pump - HOME_1_S2 * x - HOME_1_S * speed
        inert = self.cart_kg + pole * (1 - 0.75 * cos**2)
        pull = pole * sin * (0.75 * gravity * cos - half * spin**2)
        return inert * wanted + pull + self.damping_n_s_m * speed
