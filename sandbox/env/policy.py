"""A policy: what it is called with, what it returns, and writing one as a generator."""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import ParamSpec

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Policy = Callable[[], Vector]  # Returns the next action each time it is called.
Actions = Iterator[Vector]  # Of a generator; see `policy`.
P = ParamSpec("P")


def policy(actions: Callable[P, Actions]) -> Callable[P, Policy]:
    """Return a function that starts a generator of actions and returns it as a policy.

    The generator yields actions for ever. Between two of them the environment takes a step, so it
    reads the state after each `yield`.
    """

    @wraps(actions)
    def started(*args: P.args, **kwargs: P.kwargs) -> Policy:
        return iter(actions(*args, **kwargs)).__next__

    return started
