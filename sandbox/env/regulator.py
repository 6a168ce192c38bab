"""A linear-quadratic regulator, for scripted policies that balance something."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating[Any]]
ITERATIONS = 400


def regulator(a: Matrix, b: Matrix, q: Matrix, r: Matrix) -> Matrix:
    """Return the gains K of the action u = -K x that costs least.

    The Riccati equation is iterated from the cost of the last step.

    Args:
        a: (n, n): the next state is a x + b u.
        b: (n, m): what an action adds to it.
        q: (n, n): cost of a state.
        r: (m, m): cost of an action.
    """
    p: Matrix = q
    k: Matrix = np.zeros((b.shape[1], len(a)))
    for _ in range(ITERATIONS):
        k = np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)
        p = q + a.T @ p @ (a - b @ k)
    return k
