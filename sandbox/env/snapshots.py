"""Returning to a state: exactly, by replaying the episode, or fast and inexactly."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from sandbox.env import exits
from sandbox.env.episode import Episode
from sandbox.errors import InvalidInputError
from sandbox.scenario.factors import Values
from sandbox.world.world import Kept

if TYPE_CHECKING:
    from sandbox.env.loop import SandboxEnv

E = TypeVar("E", bound="SandboxEnv")


@dataclass(frozen=True)
class Snapshot:
    """A state of an episode under way; see `SandboxEnv.snapshot`.

    Attributes:
        world: the simulation.
        episode: what the loop remembers.
        t, row, values: as a task reads them.
        simulated: number of steps simulated in the episode when it was taken.
        task: the task's own attributes.
    """

    world: Kept
    episode: Episode
    t: int
    row: list[float]
    values: Values
    simulated: int
    task: Mapping[str, Any]


def take(env: "SandboxEnv") -> Snapshot:
    """Return the state that an environment is in."""
    task = {name: copy.copy(value) for name, value in env.remembered().items()}
    kept = env.world.save()
    simulated = env.past.simulated(env.t)
    return Snapshot(kept, env.episode.copy(), env.t, list(env.row), env.values, simulated, task)


def restore(env: "SandboxEnv", snapshot: Snapshot) -> None:
    """Put an environment back into a state of the same episode.

    Raises:
        InvalidInputError: it is another episode, or a body has come, gone or changed its shape.
    """
    if env.closed or env.episode.failed:
        exits.refuse_outside(env, "restore")
    looks = env.world.scene
    env.world.load(snapshot.world)
    if env.world.scene is not looks:
        env.pictures.load(env.world.scene)
    env.past.go_back(env.episode.actions, snapshot.simulated, snapshot.t)
    env.episode = snapshot.episode.copy()
    env.episode.over = False
    env.t, env.row, env.values = snapshot.t, list(snapshot.row), snapshot.values
    for name, value in snapshot.task.items():
        setattr(env, name, copy.copy(value))
    env.pictures.arrive()


def branch(env: E, disturbances: Sequence[Mapping[str, Any]], account: str | None) -> E:
    """Return another environment at the same state, by replaying the episode.

    Raises:
        InvalidInputError: before the first reset, or the replay did not reach the same state.
    """
    if env.t < 0:
        raise InvalidInputError("branch() before the first episode: call reset() first.")
    keywords: dict[str, Any] = {**env.keywords, "account": account}
    keywords["scenario"] = env.scenario.model_dump()  # Its file may be another by now.
    twin = type(env)(**keywords)
    twin.world.feels = env.world.feels
    known = [one.plain() for one in env.disturbances]
    values = env.changes[0][1].plain()
    options = {"variation_values": values, "disturbances": [*known, *disturbances]}
    try:
        twin.reset(seed=env.seed, options=options)
        for action in env.episode.actions:
            twin.step(np.array(action, np.float32))
        _check_reached(twin, env)
    except BaseException:
        twin.meter.void()  # Nobody gets what was simulated.
        twin.close()
        raise
    return twin


def _check_reached(twin: "SandboxEnv", env: "SandboxEnv") -> None:
    """Refuse a replay that is not at the state of the environment that it is of."""
    if twin.row != env.row:
        raise InvalidInputError(
            f"branch() at step {env.t}: the replay did not reach the same state; a disturbance "
            "before now, or restore(), changed it."
        )
