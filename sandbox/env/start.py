"""What an episode starts from: scenario, factors, scene, disturbances, and its longest length."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sandbox import scenario as scenarios
from sandbox.env import options as asked
from sandbox.errors import InvalidInputError, shown
from sandbox.scenario import Scenario, factors
from sandbox.scenario.camera import with_cameras
from sandbox.scenario.disturbance import Disturbance
from sandbox.scenario.factors import Values
from sandbox.scene import Scene

if TYPE_CHECKING:
    from sandbox.env.loop import SandboxEnv

_LAYOUT = 1  # Spawn key of the layout stream; factors.stream() has 0, the noise on actions 2.


def scenario(
    env: "SandboxEnv", given: str | Path | Mapping[str, Any] | None, split: str | None
) -> Scenario:
    """Return the scenario of an environment; None varies nothing but the layout.

    Raises:
        UnknownNameError, InvalidInputError: it is for another environment, or not valid.
    """
    plain = {"format": scenarios.FORMAT, "environment": env.name()}
    found, where = scenarios.load(plain if given is None else given)
    if found.environment not in (env.name(), env.written()):
        raise InvalidInputError(
            f"{where}: this scenario is for {found.environment!r}, not {env.name()!r}."
        )
    found.check(env.factors, where)
    found.settings(split)
    return found


def about(
    env: "SandboxEnv", scenario: str | Path | Mapping[str, Any] | None, label: str | None
) -> dict[str, str | None]:
    """Return what statements say of an environment's charges: the names that were given."""
    named = "(a mapping)" if isinstance(scenario, Mapping) else scenario and str(scenario)
    return {"environment": env.name(), "scenario": named, "label": label}


def limit(env: "SandboxEnv") -> int:
    """Return the number of steps after which an episode is truncated.

    Raises:
        InvalidInputError: the scenario asks for longer episodes than the class has.
    """
    limit, usual = env.scenario.limit_s, env.max_episode_steps()
    steps = usual if limit is None else round(limit * env.control_hz)
    if not 0 < steps <= usual:
        raise InvalidInputError(
            f"limit_s {shown(limit)}: {env.name()} lasts a step to {env.limit_s} s; give as much."
        )
    return steps


def values(
    env: "SandboxEnv",
    seed: int,
    names: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
) -> Values:
    """Draw the factors of an episode.

    Args:
        env: the environment.
        seed: seed of the episode.
        names: factors to draw from their whole range, whatever the scenario says.
        changes: values for some factors.
    """
    drawn = dict(env.scenario.sample(env.factors, seed, env.split))
    for name in names:
        drawn[name] = factors.sample(env.factors[name], factors.stream(seed, name))
    return scenarios.with_values(Values(drawn), changes or {}, env.factors)


def scene(env: "SandboxEnv", values: Values, seed: int) -> Scene:
    """Return the scene of an episode.

    Raises:
        InvalidInputError: its engine has another rate than the class says.
    """
    layout = np.random.SeedSequence(seed, spawn_key=(_LAYOUT,))
    made = env.scene(values, np.random.default_rng(layout))
    if made.engine.physics_hz != env.physics_hz:  # A step would have another length.
        raise InvalidInputError(
            f"{env.name()}: scene() has an engine of {made.engine.physics_hz} Hz, but physics_hz "
            f"is {env.physics_hz}. Give it engine=self.engine(f)."
        )
    return with_cameras(made, env.scenario.cameras)


def disturbances(
    env: "SandboxEnv", seed: int, values: Values, options: Mapping[str, Any] | None
) -> list[Disturbance]:
    """Return the disturbances of an episode, those of the scenario or those given, drawn."""
    given, it = asked.disturbances(options, env.factors), env.scenario
    if given is not None:
        it = it.model_copy(update={"disturbances": given})
    return it.happenings(env.factors, values, seed)
