"""Branches of recorded episodes: the same past, then something else; pairs for counterfactuals.

A branch is an ordinary episode: the recorded actions up to a step, checked bit for bit against what
was recorded, then other actions or a disturbance. Its record names where it comes from. It is
charged for all the work that was done; `prefix_micro` says how much of it was the shared past.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sandbox import prices
from sandbox.env import Policy, SandboxEnv
from sandbox.errors import FormatError
from sandbox.meter import Meter
from sandbox.run import folder as runs
from sandbox.run.recipe import Recipe, changed
from sandbox.run.run import Generation
from sandbox.sources import rollout
from sandbox.sources.plan import Due, due, planned, prefix, read
from sandbox.sources.surprises import Pair, pairs, surprises
from sandbox.trajectory import Episode, EpisodeBuffer

__all__ = [
    "Branching",
    "Due",
    "Pair",
    "branched",
    "due",
    "pairs",
    "planned",
    "prefix",
    "surprises",
]


class Branching(Generation):
    """Branches of recorded episodes, lived and paid for as episodes.

    Args:
        recipe: of the run that is branched off.
        folder: that run's.
        plan: from `planned`, or `surprises`.
        trust_code: see `catalogue.environment`.
    """

    def __init__(
        self, recipe: Recipe, folder: Path, plan: Mapping[str, Any], trust_code: bool = False
    ) -> None:
        self.recipe, self._trust_code = recipe, trust_code
        meter = Meter(prices.current())
        self.env = rollout.make(recipe, meter, runs.scenario_of(folder), trust_code)
        self.scenario = self.env.scenario
        self._folder, self._plan = folder, plan
        self.plan: Mapping[str, Any] | None = plan
        self._read: tuple[int, Episode] | None = None  # The last past, by its episode.

    @classmethod
    def of(
        cls, folder: Path, plan: Mapping[str, Any], trust_code: bool = False, **changes: Any
    ) -> "Branching":
        """Return the branches of a plan; changes are of the recipe's account, budget and such."""
        recipe = changed(runs.recipe_of(folder), episodes=len(plan["branches"]), **changes)
        return cls(recipe, folder, plan, trust_code)

    def __reduce__(self) -> tuple[Any, ...]:
        return Branching, (self.recipe, self._folder, self._plan, self._trust_code)

    def live(self, run: str, index: int, buffer: EpisodeBuffer) -> tuple[int, dict[str, Any]]:
        """Live the past again, compare it, and go on otherwise.

        Raises:
            FormatError: the past is not what was recorded. It is not charged.
        """
        wanted, env = due(self._plan, index), self.env
        assert wanted.branch is not None, "a branch comes from somewhere"
        past, step = self._past(int(wanted.branch["episode"])), int(wanted.branch["step"])
        actions = _Actions(past, wanted, step, (self.recipe.seed, index))
        options = {
            "variation_values": wanted.factors,
            "disturbances": list(wanted.disturbances),
        }
        steps, success = rollout.rollout(env, actions, buffer, wanted.seed, options)
        rollout.finish(env, buffer, steps, index)
        _check_past(past, buffer, step)
        facts = rollout.record(env, self.recipe, run, index, wanted, steps)
        facts |= rollout.outcome(buffer, steps, success)
        return steps, facts | branched(wanted, buffer)

    def _past(self, episode: int) -> Episode:
        if self._read is None or self._read[0] != episode:
            self._read = episode, read(self._folder, episode)
        return self._read[1]


def branched(wanted: Due, buffer: EpisodeBuffer) -> dict[str, Any]:
    """Return what the record of a branch says besides; {} for another episode."""
    if wanted.branch is None:
        return {}
    return {"branch": {**wanted.branch, "prefix_micro": prefix(wanted.branch, buffer)}}


class _Actions:
    """The recorded actions up to a step, then those of a kind of branch."""

    def __init__(self, past: Episode, wanted: Due, step: int, seed: tuple[int, int]) -> None:
        self._past, self._step = past.rows["action"][:-1], step
        self._kind = wanted.policy.removeprefix("branch:").partition(":")[0]
        self._rng = np.random.default_rng([*seed, step])

    def __call__(self, env: SandboxEnv) -> Policy:
        zero = np.zeros(env.action_size, np.float32)

        def act() -> Any:
            if env.t < self._step or self._kind not in ("noop", "random"):
                return self._past[env.t] if env.t < len(self._past) else zero
            if self._kind == "noop":
                return zero
            return self._rng.uniform(-1.0, 1.0, env.action_size).astype(np.float32)

        return act


def _check_past(past: Episode, buffer: EpisodeBuffer, step: int) -> None:
    for name, column in past.rows.items():
        if name in ("episode_idx", "action", "truncated", "terminated"):
            continue
        if column[: step + 1].tobytes() != buffer.arrays[name][: step + 1].tobytes():
            raise FormatError(
                f"the past differs from what was recorded, in column {name!r}: another determinism "
                "class, or another version of the environment. Nothing was charged."
            )
