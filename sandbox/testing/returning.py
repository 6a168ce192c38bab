"""How a world goes on after it has gone back to a state."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sandbox.env import SandboxEnv
from sandbox.env.snapshots import Snapshot
from sandbox.errors import InvalidInputError

BEFORE, AFTER = 12, 10  # Steps before and after a snapshot.


@dataclass
class Way:
    """What some steps showed.

    Attributes:
        shown: state, observation, reward and labels of each step, as bytes.
        free: number of steps up to the first in which anything touched, that one not counted.
        last: the last state.
    """

    shown: list[bytes]
    free: int
    last: Any


def begun(env: SandboxEnv, seed: int) -> list[Any]:
    """Begin an episode, take some steps, and return the actions of those to come."""
    rng = np.random.default_rng(seed)
    drawn: list[Any] = [
        rng.uniform(-1, 1, env.action_size).astype(np.float32) for _ in range(BEFORE + AFTER)
    ]
    env.reset(seed=seed, options={"variation": ["all"]})
    for action in drawn[:BEFORE]:
        env.step(action)
    return drawn[BEFORE:]


def gone_on(env: SandboxEnv, actions: list[Any]) -> Way:
    """Take some steps."""
    shown: list[bytes] = []
    touched, state = [bool(env.world.impulses)], np.zeros(0)
    for action in actions:
        observation, reward, ended, _, info = env.step(action)
        state, (impulses, flags) = info["state"], env.labels()
        told = np.asarray(observation).tobytes() + impulses.tobytes() + bytes(flags)
        shown.append(state.tobytes() + told + np.float64(reward).tobytes())
        touched.append(bool(env.world.impulses))
        if ended:
            break
    free = touched.index(True) - 1 if True in touched else len(shown)
    return Way(shown, max(free, 0), state)


def fault(env: SandboxEnv, seed: int, *, exact: bool) -> str:
    """Return how an episode goes on otherwise after a snapshot was restored, or ""."""
    actions = begun(env, seed)
    with env.snapshot() as kept:
        before = _remembered(env)
        first = gone_on(env, actions)
        for _ in range(2):
            env.restore(kept, exact=exact)
            if _remembered(env) != before:
                return "something of the loop, the motors or the streams has not come back."
            again, count = gone_on(env, actions), len(first.shown) if exact else first.free
            if again.shown[:count] != first.shown[:count]:
                return f"the same actions show something else within {count} steps."
    return _released(env, kept)


def _remembered(env: SandboxEnv) -> Any:
    """Return all that has state besides bodies, to be compared."""
    episode = env.episode.copy()
    streams = [one and repr(one.bit_generator.state) for one in (episode.noise_rng,)]
    episode.noise_rng = None
    held = env.world.drives_held()
    return episode, streams, held, env.world.impulses.copy(), env.t, list(env.row), env.values


def _released(env: SandboxEnv, kept: Snapshot) -> str:
    """Return whether a snapshot that was released can still be restored; "" if not."""
    try:
        env.restore(kept)
    except InvalidInputError:
        return ""
    return "a snapshot that was released is restored."
