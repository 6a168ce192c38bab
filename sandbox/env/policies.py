"""Named policies that collect data: random, smooth noise, scripted, scripted with noise, play."""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np

from sandbox.env import Policy, SandboxEnv, Vector
from sandbox.errors import InvalidInputError, SandboxError

OU_THETA = 0.15  # Pull towards 0 per step, and
OU_SIGMA = 0.35  # noise per step: stationary deviation 0.66, correlated over about 6 steps.
SCRIPTED_NOISE = 0.3  # Deviation of the noise added to a scripted action, correlated likewise.


def _random(env: SandboxEnv, rng: np.random.Generator) -> Policy:
    def act() -> Vector:
        return rng.uniform(-1.0, 1.0, env.action_size).astype(np.float32)

    return act


def _ou_noise(env: SandboxEnv, rng: np.random.Generator) -> Policy:
    """Return a policy of Ornstein-Uhlenbeck noise: actions that wander instead of trembling."""
    noise = np.zeros(env.action_size)

    def act() -> Vector:
        noise[:] += -OU_THETA * noise + OU_SIGMA * rng.standard_normal(env.action_size)
        return np.clip(noise, -1.0, 1.0).astype(np.float32)

    return act


def _scripted(env: SandboxEnv, rng: np.random.Generator) -> Policy:
    return env.scripted(rng)


def _scripted_noisy(env: SandboxEnv, rng: np.random.Generator) -> Policy:
    scripted, noise = env.scripted(rng), _ou_noise(env, rng)

    def act() -> Vector:
        return np.clip(scripted() + SCRIPTED_NOISE * noise(), -1.0, 1.0).astype(np.float32)

    return act


def _play(env: SandboxEnv, rng: np.random.Generator) -> Policy:
    return env.play(rng)


Maker = Callable[[SandboxEnv, np.random.Generator], Policy]
POLICIES: dict[str, Maker] = {
    "random": _random,
    "ou_noise": _ou_noise,
    "scripted": _scripted,
    "scripted_noisy": _scripted_noisy,
    "play": _play,
}


def find(name: str) -> Maker:
    """Return the function that makes a policy: one of POLICIES, or one of yours, MODULE:FUNCTION.

    It is called with the environment in its first state, and the generator that it shall draw from.
    It reads the environment and changes nothing in it; `env.branch()` is there to look ahead in.

    Raises:
        InvalidInputError: the module or the function cannot be imported.
    """
    if name in POLICIES:
        return POLICIES[name]
    module, _, function = name.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # Anything may happen in a file of somebody's.
        raise InvalidInputError(
            f"policy {name!r}: cannot be imported: {_said(error)}. Give one of "
            f"{', '.join(POLICIES)}, or MODULE:FUNCTION of a module on your PYTHONPATH."
        ) from error
    if not callable(found):
        raise InvalidInputError(
            f"policy {name!r}: is no function of an environment and a generator."
        )
    return partial(_yours, name, cast(Maker, found))


def _yours(name: str, make: Maker, env: SandboxEnv, rng: np.random.Generator) -> Policy:
    """Return a policy of somebody's; whatever goes wrong in it is one line."""
    act: Any = _called(name, env, make, env, rng)
    if not callable(act):
        raise InvalidInputError(
            f"policy {name!r}: returns {type(act).__name__}; return a function without arguments "
            "that returns an action."
        )
    return partial(_called, name, env, cast(Policy, act))


def _called(name: str, env: SandboxEnv, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of somebody's, which may read the environment and not change it."""
    env.asking = name
    try:
        return function(*arguments)
    except (SandboxError, KeyboardInterrupt):
        raise
    except BaseException as error:  # Anything may happen in a file of somebody's.
        raise InvalidInputError(f"policy {name!r}: failed: {_said(error)}.") from error
    finally:
        env.asking = ""


def _said(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
