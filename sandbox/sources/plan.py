"""The plan of a run of branches: which recorded pasts, and what happens after each."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sandbox.errors import InvalidInputError
from sandbox.run.folder import Folder
from sandbox.run.record import Record
from sandbox.sources.kinds import BY_CHANCE, Look
from sandbox.sources.replay import Replay

MOST_BRANCHES = 100_000  # Of one episode.


def past(record: Record, step: int) -> dict[str, Any]:
    """Return what a plan says of a recorded episode that is branched off after `step`."""
    goal = {} if record.goal is None else {"goal": record.goal}  # No other plan has this key.
    return {
        **goal,
        "episode": record.episode,
        "step": step,
        "impossible": record.is_impossible,
        "seed": record.seed,
        "factors": record.factors,
        "disturbances": record.disturbances,
        "digest": record.digest,
        "steps": record.steps,
    }


def planned(folder: Folder, number: int, step: int, kinds: Sequence[str], k: int) -> dict[str, Any]:
    """Return the plan of some branches of one recorded episode.

    Args:
        folder: the run.
        number: number of the episode.
        step: the row at which the first action may differ.
        kinds: kinds of branches, such as `same`, `impulse:ball_0`, `factor:ball_mass_kg=0.3`.
        k: number of branches of each kind that draws at random.

    Raises:
        InvalidInputError, UnknownNameError: there is no such episode, step, kind or body.
    """
    folder.recipe  # noqa: B018  # Refuse what has none before its episodes are read.
    episode = folder.episode(number)
    record = Record.parse(episode.record)
    if not 0 <= step < record.steps:
        raise InvalidInputError(f"step {step}: the episode has steps 0 to {record.steps - 1}.")
    if k < 1 or not kinds:
        raise InvalidInputError("give at least one kind of branch, and k of at least 1.")
    if len(kinds) * k > MOST_BRANCHES:
        raise InvalidInputError(f"k {k}: give at most {MOST_BRANCHES // len(kinds):,}.")
    rng = np.random.default_rng([number, step, k])
    priced = folder.identity.schedule
    replay = Replay(folder.recipe, folder.scenario, folder.trust_code, schedule=priced)
    try:
        look = Look(replay.start(record), replay.states(episode), step, rng)
        branches = [
            {"past": 0, **look.branch(kind)}
            for kind in kinds
            for _ in range(k if kind.partition(":")[0] in BY_CHANCE else 1)
        ]
    finally:
        replay.close()
    return {"run": folder.run, "pasts": [past(record, step)], "branches": branches}
