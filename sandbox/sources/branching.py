"""Branches of recorded episodes: the same past, then something else.

A branch is an ordinary episode: the recorded actions up to a step, checked bit for bit against what
was recorded, then other actions or a disturbance. Its record names where it comes from. It is
charged for all the work that was done; `prefix_micro` says how much of it was the shared past.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from sandbox.env import Policy, SandboxEnv
from sandbox.errors import FormatError
from sandbox.ledger import Lease
from sandbox.prices import PriceSchedule, plus
from sandbox.run.bill import Quote
from sandbox.run.folder import Folder
from sandbox.run.recipe import Recipe
from sandbox.run.record import Record
from sandbox.sources import columns, rollout, setup
from sandbox.sources.generator import Generator
from sandbox.trajectory import Episode, EpisodeBuffer
from sandbox.world import determinism

_MAY_DIFFER = (  # Columns of the shared past. A row costs more when its text is longer.
    *("run", "episode_idx", "reset_options", "charge"),
    *("action", "truncated", "terminated"),
)


class Branching:
    """Branches of recorded episodes, simulated and paid for as episodes are.

    Args:
        recipe: recipe of the run that is branched off, with as many episodes as branches.
        folder: that run.
        plan: the plan, from `plan.planned` or `surprises.planned`.
    """

    def __init__(self, recipe: Recipe, folder: Folder, plan: Mapping[str, Any]) -> None:
        self._recipe, self._folder, self._plan = recipe, folder, plan
        self._generator = Generator(recipe, folder.sole.scenario, folder.trust_code)
        self._env = self._generator.env
        self.origin = replace(self._generator.origin, plan=plan)
        self.schema = columns.schema(self._env, plan)
        self._env.log(self.schema.row_bytes)
        self.max_rows = self._generator.max_rows
        self._last: tuple[int, Episode] | None = None  # The past that was read last.

    def __reduce__(self) -> tuple[Any, ...]:
        folder = self._folder
        return _branching, (self._recipe, folder.path, folder.trust_code, self._plan)

    def quote(self, done: int, schedule: PriceSchedule) -> Quote:
        """Return what the branches after the first `done` cost at most."""
        longest, count = self._generator.longest(schedule), self._recipe.episodes - done
        whole = plus({}, longest, max(0, count))
        exact = self._env.fixed_length
        return Quote(whole, schedule.cost(whole), exact, longest, schedule.version)

    @property
    def makers(self) -> list[Self]:
        """This one: it has no parts."""
        return [self]

    def pay_from(self, lease: Lease | None, schedule: PriceSchedule) -> None:
        """Pay for the branches to come from a lease."""
        self._generator.pay_from(lease, schedule)

    def warm_up(self) -> None:
        """Compile the renderer, once on a machine."""
        self._generator.warm_up()

    def make(self, run: str, index: int, buffer: EpisodeBuffer, limit: int | None = None) -> Record:
        """Replay the past, compare it, and continue differently.

        Raises:
            FormatError: the past is not what was recorded. It is not charged.
        """
        assert limit is None, "a plan says how many there are"
        start, env = setup.of_branch(self._plan, index), self._env
        assert start.branch is not None, "a branch comes from somewhere"
        past, step = self._past(int(start.branch["episode"])), int(start.branch["step"])
        actions = _Actions(past, start.policy, step, (self._recipe.seed, index))
        steps, success = rollout.rollout(env, actions, buffer, start.seed, start.options)
        rollout.finish(env, buffer, steps, run, index)
        _check_past(past, buffer, step, self._folder)
        return rollout.record(env, self._recipe, run, index, start, buffer, steps, success)

    def on_kept(self) -> None:
        """End the episode in the meter; the run posts it."""
        self._generator.on_kept()

    def close(self) -> None:
        """Release the simulator; an episode that was not kept is not charged."""
        self._generator.close()
        self._folder.close()

    def _past(self, number: int) -> Episode:
        if self._last is None or self._last[0] != number:
            self._last = number, self._folder.episode(number)
        return self._last[1]


class _Actions:
    """The recorded actions up to a step, then those of a kind of branch."""

    def __init__(self, past: Episode, policy: str, step: int, seed: tuple[int, int]) -> None:
        self._past, self._step = past.rows["action"][:-1], step
        self._kind = policy.removeprefix("branch:").partition(":")[0]
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


def _branching(recipe: Recipe, path: Path, trust_code: bool, plan: Mapping[str, Any]) -> Branching:
    return Branching(recipe, Folder(path, trust_code), plan)


def _check_past(past: Episode, buffer: EpisodeBuffer, step: int, folder: Folder) -> None:
    for name, column in past.rows.items():
        if name in _MAY_DIFFER:
            continue
        again = columns.narrowed(buffer.arrays[name], column)
        if column[: step + 1].tobytes() != again[: step + 1].tobytes():
            raise FormatError(
                f"the past differs from what was recorded, in column {name!r}. Nothing was charged."
                f"{determinism.advice(folder.identity.engine)}"
            )
