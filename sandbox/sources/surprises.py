"""Pairs for violation of expectation: the same past, then a possible and an impossible future.

After Riochet et al., IntPhys (arXiv:1803.07616): a model that has learned physics should find the
impossible member of a pair less likely than the possible one, and both share every frame before.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sandbox.env import HAPPENS, SandboxEnv
from sandbox.errors import FormatError, InvalidInputError, UnknownNameError, shown
from sandbox.observation import PICTURES
from sandbox.run.folder import Folder
from sandbox.run.record import Record
from sandbox.sources import plan as plans
from sandbox.sources.kinds import IMPOSSIBLE, Look
from sandbox.sources.replay import Replay
from sandbox.trajectory import Episode
from sandbox.trajectory.episode import Rows

AFTER = 8  # Rows after a surprise, at least, in which it can be seen.
SOON = 5  # Rows within which a body that becomes a ghost would have touched another.


class Moment(NamedTuple):
    """A moment at which a surprise may happen.

    Attributes:
        step: the last row before it.
        body: the body that it happens to.
    """

    step: int
    body: str


def planned(
    folder: Folder,
    kinds: Sequence[str] | None,
    wanted: int,
    during: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the plan of pairs: `wanted` moments of the run's episodes for each kind of surprise.

    Args:
        folder: the run.
        kinds: kinds of surprises, of IMPOSSIBLE; None is each that has enough moments.
        wanted: number of pairs of each kind.
        during: an event of the environment: only moments at which it holds are used.
        seed: seed of the choice of moments, and of what happens.

    Raises:
        UnknownNameError, InvalidInputError: there is no such kind or event, or too few moments.
    """
    _check(kinds, wanted, seed)
    rng = np.random.default_rng([seed, wanted])
    pasts: list[dict[str, Any]] = []
    branches: list[dict[str, Any]] = []
    priced = folder.identity.schedule
    replay = Replay(folder.recipe, folder.scenario, folder.trust_code, schedule=priced)
    try:
        for kind in _possible(folder) if kinds is None else kinds:
            drawn = _pairs(folder, replay, kind, during, rng)
            found = list(itertools.islice(drawn, wanted))
            if len(found) < wanted and kinds is None:
                continue
            if len(found) < wanted:
                raise InvalidInputError(_too_few(folder, len(found), kind, during, wanted))
            for past, branch in found:
                same = {"kind": "same", "impossible": False, "disturbance": None}
                branches += [{"past": len(pasts), **one} for one in (same, branch)]
                pasts.append(past)
    finally:
        replay.close()
    if not pasts:
        raise InvalidInputError(_too_few(folder, 0, "any surprise", during, wanted))
    return {"run": folder.run, "pasts": pasts, "branches": branches}


def _check(kinds: Sequence[str] | None, wanted: int, seed: int) -> None:
    """Refuse a kind that there is not, no kind, or a number out of range."""
    for kind in kinds or ():
        if kind not in IMPOSSIBLE:
            raise UnknownNameError("surprise", kind, IMPOSSIBLE)
    if wanted < 1 or (kinds is not None and not kinds):
        raise InvalidInputError("give at least one kind of surprise, and at least one pair.")
    if wanted > plans.MOST_BRANCHES:
        raise InvalidInputError(f"pairs {shown(wanted)}: give at most {plans.MOST_BRANCHES:,}.")
    if not 0 <= seed < 2**63:
        raise InvalidInputError(f"seed {shown(seed)}: give a whole number from 0 to 2^63 - 1.")


def _possible(folder: Folder) -> list[str]:
    """Return the kinds for which a run has columns: `ghost` needs labels, `recolor` pictures."""
    recipe = folder.recipe
    drawn = any(name in PICTURES for name in recipe.observation)
    lacks = {"ghost": not recipe.labels, "recolor": not drawn}
    return [kind for kind in IMPOSSIBLE if not lacks.get(kind)]


def _too_few(folder: Folder, found: int, kind: str, during: str | None, wanted: int) -> str:
    when = f" during {during}" if during else ""
    return (
        f"{folder.path}: {found} episodes have a moment for {kind}{when}, and {wanted} pairs are "
        "asked for: a body that is free to move and does so in the first camera's sight, and, for "
        "ghost, soon touches another. Ask for fewer, or generate more episodes."
    )


def _pairs(
    folder: Folder,
    replay: Replay,
    kind: str,
    during: str | None,
    rng: np.random.Generator,
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield pasts, each with a surprise after it; each past is of another episode."""
    for number in rng.permutation(folder.count()).tolist():
        episode = folder.episode(number)
        record = Record.parse(episode.record)
        if record.is_impossible:
            continue
        env, states = replay.start(record), replay.states(episode)
        moments = _moments(env, episode, states, kind, during, rng)
        if not moments:
            continue
        step, body = moments[int(rng.integers(len(moments)))]
        look = Look(env, states, step, rng)
        yield plans.past(record, step), look.branch(f"{kind}:{body}")


def _moments(
    env: SandboxEnv,
    episode: Episode,
    states: NDArray[np.float64],
    kind: str,
    during: str | None,
    rng: np.random.Generator,
) -> list[Moment]:
    """Return the moments of an episode at which a kind of surprise can be seen."""
    holds = _holding(env, episode, during)
    found = [
        Moment(step, body)
        for step in range(max(len(episode) - 1 - AFTER, 0))
        if holds[step]
        for body in _bodies(Look(env, states, step, rng), kind)
    ]
    return sorted({*found} & _touching(env, episode)) if kind == "ghost" else found


def _bodies(look: Look, kind: str) -> list[str]:
    return [body for body in look.moving(AFTER) if look.can(kind, body)]


def _holding(env: SandboxEnv, episode: Episode, during: str | None) -> NDArray[np.bool_]:
    """Return for each row whether an event holds and will end; true everywhere without an event."""
    if during is None:
        return np.ones(len(episode), np.bool_)
    if during not in (*HAPPENS, *env.events):
        raise UnknownNameError("event", during, (*HAPPENS, *env.events))
    holds = _labels(episode, f"event.{during}")
    return holds & (np.arange(len(holds)) < np.flatnonzero(~holds).max(initial=0))


def _touching(env: SandboxEnv, episode: Episode) -> set[Moment]:
    """Return the moments at which a body will soon touch another that it could pass through."""
    touches, names = _labels(episode, "contact_impulse"), env.touching()
    found: set[Moment] = set()
    for n, body in enumerate(names):
        for row in np.flatnonzero(touches[:, n, : len(names)].any(axis=1)).tolist():
            found |= {Moment(row - early, body) for early in range(1, SOON + 1)}
    return found


def _labels(episode: Episode, column: str) -> NDArray[Any]:
    if column not in episode.rows:
        raise InvalidInputError(
            f"the run has no column {column!r}; generate it with `labels: true` in its recipe."
        )
    return episode.rows[column]


@dataclass(frozen=True)
class Pair:
    """Two episodes of a run of surprises with the same past.

    Attributes:
        kind: kind of the surprise and its body, such as vanish:ball_1.
        possible: number of the episode that continues as recorded.
        impossible: number of the episode in which the surprise happens.
        step: the last row that both must share.
        parts_at: the first row whose pictures differ, or whose states if there are no pictures;
            None if the surprise is never seen.
        pictured: whether the pair has pictures: without, no colour is seen.
    """

    kind: str
    possible: int
    impossible: int
    step: int
    parts_at: int | None
    pictured: bool


def pairs(folder: Folder) -> list[Pair]:
    """Return the pairs of a finished run of surprises, read and compared.

    Raises:
        FormatError: this is no such run.
    """
    found, total = list[Pair](), folder.count()
    if total % 2:
        raise FormatError(
            f"{folder.path}: {total} episodes are no pairs; let the run finish first."
        )
    for n in range(0, total, 2):
        one, other = folder.episode(n), folder.episode(n + 1)
        here, there = (Record.parse(episode.record).branch or {} for episode in (one, other))
        if here.get("kind") != "same" or here.get("past") != there.get("past", ...):
            raise FormatError(f"{folder.path}: episodes {n} and {n + 1} are no pair of surprises.")
        pictures = [name for name in one.rows if name.partition(".")[0] in PICTURES]
        parts_at = _parts_at(one.rows, other.rows, pictures or ["state"])
        found.append(Pair(there["kind"], n, n + 1, here["step"], parts_at, bool(pictures)))
    return found


def _parts_at(one: Rows, other: Rows, columns: Sequence[str]) -> int | None:
    firsts: list[int] = []
    for name in columns:
        rows = min(len(one[name]), len(other[name]))
        unlike = (one[name][:rows] != other[name][:rows]).reshape(rows, -1).any(axis=1)
        firsts += np.flatnonzero(unlike)[:1].tolist()
    return min(firsts, default=None)
