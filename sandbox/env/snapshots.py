"""Returning to a state: exactly, by replaying the episode, or fast and inexactly."""

import copy
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from sandbox.env import copying, exits, start
from sandbox.env import options as asked
from sandbox.env import reward as rewards
from sandbox.env.episode import Episode
from sandbox.errors import InvalidInputError, SandboxError, shown
from sandbox.ledger import AccountFunds
from sandbox.renderer import Picture
from sandbox.scenario.factors import Values
from sandbox.world import World
from sandbox.world.saved import Kept

if TYPE_CHECKING:
    from sandbox.env.loop import SandboxEnv

E = TypeVar("E", bound="SandboxEnv")


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A state of an episode under way; see `SandboxEnv.snapshot`.

    Used as a context, it is released at the end; so it is when nothing refers to it any more.
    Pickled, it has what `restore(exact=True)` needs, and no more.

    Attributes:
        of: world, factors and disturbances of the episode, which a replay needs.
        world: the simulation; None if it was pickled.
        episode: what the loop remembers.
        t, row, values: as a task reads them.
        drawn: the row's pictures that are drawn, which are paid; none if it was pickled.
        simulated: number of steps simulated in the episode when it was taken.
        inexact: whether it was taken after an inexact restore.
        task: the task's own attributes.
        stream: the environment's own stream.
        release: frees what Bullet keeps of it; it can be restored exactly alone after that.
    """

    of: Mapping[str, Any]
    world: Kept | None
    episode: Episode
    t: int
    row: list[float]
    values: Values
    drawn: Mapping[str, Picture]
    simulated: int
    inexact: bool
    task: Mapping[str, Any]
    stream: np.random.Generator | None
    release: Callable[[], None]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __getstate__(self) -> dict[str, Any]:
        here: dict[str, Any] = {
            "world": None,
            "task": {},
            "stream": None,
            "drawn": {},
            "release": _nothing,
        }
        return {**self.__dict__, **here}


def _nothing() -> None:
    """Release nothing: a snapshot of another process has no state in Bullet."""


def take(env: "SandboxEnv") -> Snapshot:
    """Return the state that an environment is in."""
    exits.refuse_asking(env, "snapshot")
    if env.t < 0 or env.closed or env.episode.failed or copying.is_elsewhere(env):
        exits.refuse_outside(env, "snapshot")
    kept = env.world.save()
    return Snapshot(
        of=_origin(env),
        world=kept,
        episode=env.episode.copy(),
        t=env.t,
        row=list(env.row),
        values=env.values,
        drawn=env.pictures.drawn(),
        simulated=env.past.simulated(env.t),
        inexact=env.past.inexact,
        task=_copied(env, env.remembered()),
        stream=copy.deepcopy(env._np_random),  # pyright: ignore[reportPrivateUsage]
        release=partial(_release, env.world, weakref.ref(kept)),
    )


def _release(world: World, kept: "weakref.ref[Kept]") -> None:
    found = kept()
    if found is not None:
        world.free(found)


def _copied(env: "SandboxEnv", task: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task's attributes that no later step changes, however deep they are.

    What belongs to the environment (its world, its values) stays the same object.
    """
    ours: list[Any] = [env, *(value for name, value in vars(env).items() if name not in task)]
    memo = {id(one): one for one in ours}
    try:
        return {name: copy.deepcopy(value, memo) for name, value in task.items()}
    except TypeError as error:
        raise InvalidInputError(
            f"{env.name()} has an attribute that cannot be copied ({error}), so that no snapshot "
            "can hold it. Nothing was done. Keep numbers, lists, arrays and generators in it."
        ) from error


def restore(env: "SandboxEnv", snapshot: Snapshot, *, exact: bool = False) -> None:
    """Put an environment back into a state of the same episode.

    Raises:
        InvalidInputError: see `SandboxEnv.restore`.
        BudgetExhaustedError: an exact restore cannot be paid. Nothing was done.
    """
    exits.refuse_asking(env, "restore")
    if not isinstance(snapshot, Snapshot):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidInputError(f"restore({shown(snapshot)}): give what snapshot() returned.")
    if env.closed or env.episode.failed or env.t < 0 or copying.is_elsewhere(env):
        exits.refuse_outside(env, "restore")
    if exact:
        _replay(env, snapshot)
        return
    if snapshot.world is None:
        raise InvalidInputError(
            "restore() takes a snapshot of this process; this one comes from another. Nothing was "
            "done. Use exact=True after a reset to the same episode."
        )
    task, begun = _copied(env, snapshot.task), False
    before = exits.Before.of(env)
    try:
        looks = env.world.scene
        env.world.load(snapshot.world)
        begun = True
        if env.world.scene is not looks:
            env.pictures.load(env.world.scene)
        env.past.go_back(env.episode.actions, snapshot.simulated, snapshot.t)
        for name in [name for name in env.remembered() if name not in task]:
            delattr(env, name)
        for name, value in task.items():
            setattr(env, name, value)
        env.past.inexact = True
        _take_over(env, snapshot)
    except BaseException as error:
        if begun or not isinstance(error, SandboxError):
            exits.restore_failed(env, error, before)
        raise


def _take_over(env: "SandboxEnv", snapshot: Snapshot) -> None:
    """Give the loop what it remembered when a snapshot was taken, and whether that was the end."""
    env.episode = snapshot.episode.copy()
    env.t, env.row, env.values = snapshot.t, list(snapshot.row), snapshot.values
    if snapshot.stream is not None:
        env._np_random = copy.deepcopy(snapshot.stream)  # pyright: ignore[reportPrivateUsage]
    env.pictures.arrive(snapshot.drawn)


def _origin(env: "SandboxEnv") -> dict[str, Any]:
    """Return what an episode starts from, in plain data."""
    return {
        "environment": env.name(),
        "seed": env.seed,
        "scene": env.scene_digest,
        "factors": env.changes[0][1].plain(),
        "disturbances": [one.plain() for one in env.disturbances],
        "labels": env.world.feels,
        "limit_s": env.max_steps / env.control_hz,
        "reward": env.keywords["reward"],  # An episode under the other one knows no worth.
    }


def _replay(env: "SandboxEnv", snapshot: Snapshot) -> None:
    """Build the scene again and replay the actions before a snapshot, which is charged."""
    ours = _origin(env)
    unlike = [key for key, value in ours.items() if snapshot.of.get(key) != value]
    if unlike:
        raise InvalidInputError(
            f"restore(exact=True) to a snapshot of another episode: another {', '.join(unlike)}. "
            "Nothing was done. Reset to the same episode first."
        )
    if snapshot.inexact:
        raise InvalidInputError(
            "restore(exact=True) to a snapshot that was taken after an inexact restore(), which no "
            "replay reaches. Nothing was done."
        )
    cost, paid = env.costs.replay(env, snapshot.t), False
    before = exits.Before.of(env, cost)
    try:
        env.meter.charge_extra(cost)
        paid = True
        env.past.rebuild(env.episode.actions, snapshot.simulated, snapshot.t)
        _rebuilt(env, snapshot)
        if env.row != snapshot.row:
            raise InvalidInputError(
                f"restore(exact=True) did not reach the state at step {snapshot.t}: made by "
                "another version, on another machine, or changed from outside. Reset to go on."
            )
        _take_over(env, snapshot)
    except BaseException as error:
        if paid or not isinstance(error, SandboxError):
            exits.restore_failed(env, error, before)
        raise


def _rebuilt(env: "SandboxEnv", snapshot: Snapshot) -> None:
    """Build the scene of the episode again, and take the actions that led to a snapshot."""
    known, values = env.disturbances, env.changes[0][1]
    scene = start.scene(env, values, env.seed)
    env.episode = Episode.begun(env.seed, values, known, scene.digest, hz=env.control_hz)
    env.values, env.t = values, 0
    env.pictures.load(scene)
    env.world.build(scene)
    env.world.watch(env.state_bodies, env.state_joints)
    env.started()
    env.look()
    rewards.begin(env)
    for action in snapshot.episode.actions:
        env.advance(action)
        env.look()


def branch(env: E, disturbances: Sequence[Mapping[str, Any]], account: str | None) -> E:
    """Return another environment at the same state, by replaying the episode.

    Raises:
        InvalidInputError: before the first reset, or the replay did not reach the same state.
    """
    if env.t < 0:
        raise InvalidInputError("branch() before the first episode: call reset() first.")
    if env.closed or env.episode.failed or copying.is_elsewhere(env):
        exits.refuse_outside(env, "branch")
    keywords: dict[str, Any] = {**env.keywords, "scenario": env.scenario.model_dump()}
    about = start.about(env, env.keywords["scenario"], env.keywords["label"])
    paid = env.meter.funds
    ledger = paid.ledger if isinstance(paid, AccountFunds) else None  # One book for both.
    keywords["meter"] = asked.meter(account, None, about, env.meter.schedule, ledger)
    twin = type(env)(**keywords)
    twin.world.feels = env.world.feels
    known = [one.plain() for one in env.disturbances]
    values = env.changes[0][1].plain()
    options = {"variation_values": values, "disturbances": [*known, *disturbances]}
    try:
        twin.reset(seed=env.seed, options={**options, "goal": env.goal_state})
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
