"""The plan of a run of branches: which pasts, and what happens after each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from sandbox import prices
from sandbox.env import SandboxEnv
from sandbox.errors import FormatError, InvalidInputError
from sandbox.meter import Meter
from sandbox.run import folder as runs
from sandbox.sources import rollout
from sandbox.sources.kinds import BY_CHANCE, Look
from sandbox.trajectory import Episode, EpisodeBuffer, ShardReader, shards


@dataclass(frozen=True)
class Due:
    """What an episode of a run is lived with.

    Attributes:
        seed, policy: of its record.
        factors: their values, plain.
        disturbances: what happens, plain.
        branch: where it branches off, or None.
    """

    seed: int
    policy: str
    factors: Mapping[str, Any]
    disturbances: Sequence[Mapping[str, Any]]
    branch: Mapping[str, Any] | None = None


def due(plan: Mapping[str, Any], index: int) -> Due:
    """Return what episode `index` of a run of branches is lived with; FormatError if none."""
    try:
        one = plan["branches"][index]
        past = plan["pasts"][one["past"]]
        extra = [] if one["disturbance"] is None else [one["disturbance"]]
        branch = {"run": plan["run"]} | {key: past[key] for key in ("episode", "step")}
        branch |= {key: one[key] for key in ("past", "kind")}
        branch["impossible"] = one["impossible"] or past["impossible"]
        disturbances = [*past["disturbances"], *extra]
        return Due(past["seed"], f"branch:{one['kind']}", past["factors"], disturbances, branch)
    except (LookupError, TypeError) as error:
        raise FormatError(f"the plan of branches has no {error}; restore it from a copy.") from None


def the_past(episode: Episode, number: int, step: int) -> dict[str, Any]:
    """Return what a plan says of an episode that is branched off."""
    kept = ("seed", "factors", "disturbances", "digest", "steps")
    facts = {"episode": number, "step": step, "impossible": is_impossible(episode)}
    return facts | {key: episode.record[key] for key in kept}


def prefix(branch: Mapping[str, Any], buffer: EpisodeBuffer) -> int:
    """Return what the past of a branch cost [microcredits]."""
    return int(buffer.arrays["charge"][: branch["step"] + 1].sum())


def is_impossible(episode: Episode) -> bool:
    """Whether an episode is a branch in which something happened that cannot be."""
    return bool(episode.record.get("branch", {}).get("impossible"))


def planned(
    folder: Path, episode: int, step: int, kinds: Sequence[str], k: int, trust_code: bool = False
) -> dict[str, Any]:
    """Return the plan of some branches of a recorded episode.

    Args:
        folder: of the run.
        episode: its number.
        step: where the past ends: the first action that may differ is the one at this row.
        kinds: of branches, such as `same`, `impulse:ball_0`, `factor:ball_mass_kg=0.3`.
        k: how many of each kind that has chance in it.
        trust_code: see `catalogue.environment`.

    Raises:
        InvalidInputError, UnknownNameError: there is no such episode, step, kind or body.
    """
    recorded = read(folder, episode)
    if not 0 <= step < len(recorded) - 1:
        raise InvalidInputError(f"step {step}: the episode has steps 0 to {len(recorded) - 2}.")
    if k < 1 or not kinds:
        raise InvalidInputError("give at least one kind of branch, and k of at least 1.")
    rng = np.random.default_rng([episode, step, k])
    with Beginning(folder, trust_code) as beginning:
        look = Look(beginning.of(recorded), recorded.rows["state"], step, rng)
        branches = [
            {"past": 0, **look.branch(kind)}
            for kind in kinds
            for _ in range(k if kind.partition(":")[0] in BY_CHANCE else 1)
        ]
    past = the_past(recorded, episode, step)
    return {"run": runs.read_run(folder)["run"], "pasts": [past], "branches": branches}


def read(folder: Path, number: int) -> Episode:
    """Return an episode of a run; InvalidInputError if it has none of that number."""
    first = 0
    for path in shards(folder):
        with ShardReader(path) as reader:
            if first <= number < first + len(reader):
                return reader.read(number - first)
            first += len(reader)
    raise InvalidInputError(f"episode {number}: the run has 0 to {first - 1}.")


def count(folder: Path) -> int:
    """Return how many episodes a run has."""
    total = 0
    for path in shards(folder):
        with ShardReader(path) as reader:
            total += len(reader)
    return total


class Beginning:
    """An environment that is put to the beginning of a run's episodes; nobody pays.

    Args:
        folder: of the run.
        trust_code: see `catalogue.environment`.
    """

    def __init__(self, folder: Path, trust_code: bool = False) -> None:
        meter, scenario = Meter(prices.current()), runs.scenario_of(folder)
        self._env = rollout.make(runs.recipe_of(folder), meter, scenario, trust_code)

    def of(self, episode: Episode) -> SandboxEnv:
        """Return the environment at the beginning of an episode."""
        facts = episode.record
        options = {"variation_values": facts["factors"], "disturbances": facts["disturbances"]}
        self._env.reset(seed=facts["seed"], options=options)
        return self._env

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._env.meter.void()
        self._env.close()
