"""Branches of a recorded episode: the same past, then something else; pairs for counterfactuals.

A branch is an ordinary episode: the recorded actions up to a step, checked bit for bit against what
was recorded, then other actions or a disturbance. Its record names where it comes from. It is
charged for all the work that was done; `prefix_micro` says how much of it was the shared past.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sandbox import catalogue, rollout, runs
from sandbox.collect import Generation
from sandbox.env import Policy, SandboxEnv
from sandbox.errors import FormatError, InvalidInputError, UnknownNameError
from sandbox.factors import Color
from sandbox.recipe import Recipe, changed
from sandbox.scenario.disturbance import Disturbance
from sandbox.trajectory import Episode, EpisodeBuffer, ShardReader, shards
from sandbox.world.world import BODY_STATE

ACTIONS = ("noop", "same", "random")
POSSIBLE = ("impulse", "remove", "factor")
IMPOSSIBLE = ("vanish", "teleport", "ghost", "recolor")  # Violations of what one may expect.
BY_CHANCE = ("random", "impulse", "teleport", "recolor")  # Each is another.
KICK_M_S = (0.3, 1.0)  # By how much an impulse changes a body's speed.
TELEPORT_M = (0.1, 0.25)
COLORS = ("crimson", "royalblue", "gold", "seagreen", "hotpink", "white")


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
        extra = [] if one["disturbance"] is None else [one["disturbance"]]
        branch = {key: plan[key] for key in ("run", "episode", "step")}
        branch |= {"kind": one["kind"], "impossible": one["impossible"]}
        past = plan["past"]
        disturbances = [*past["disturbances"], *extra]
        return Due(past["seed"], f"branch:{one['kind']}", past["factors"], disturbances, branch)
    except (LookupError, TypeError) as error:
        raise FormatError(f"the plan of branches has no {error}; restore it from a copy.") from None


def planned(folder: Path, episode: int, step: int, kinds: Sequence[str], k: int) -> dict[str, Any]:
    """Return the plan of some branches of a recorded episode.

    Args:
        folder: of the run.
        episode: its number.
        step: where the past ends: the first action that may differ is the one at this row.
        kinds: of branches, such as `same`, `impulse:ball_0`, `factor:ball_mass_kg=0.3`.
        k: how many of each kind that has chance in it.

    Raises:
        InvalidInputError, UnknownNameError: there is no such episode, step, kind or body.
    """
    known, recipe, recorded = runs.read_run(folder), runs.recipe_of(folder), read(folder, episode)
    facts = recorded.record
    if not 0 <= step < len(recorded) - 1:
        raise InvalidInputError(f"step {step}: the episode has steps 0 to {len(recorded) - 2}.")
    if k < 1 or not kinds:
        raise InvalidInputError("give at least one kind of branch, and k of at least 1.")
    rng = np.random.default_rng([episode, step, k])
    env = catalogue.environment(recipe.environment)
    look = _Look(env, recorded.rows["state"][step].tolist(), step, rng)
    branches = [
        look.branch(kind)
        for kind in kinds
        for _ in range(k if kind.partition(":")[0] in BY_CHANCE else 1)
    ]
    past = {key: facts[key] for key in ("seed", "factors", "disturbances", "digest", "steps")}
    return {
        "run": known["run"],
        "episode": episode,
        "step": step,
        "past": past,
        "branches": branches,
    }


def read(folder: Path, number: int) -> Episode:
    """Return an episode of a run; InvalidInputError if it has none of that number."""
    first = 0
    for path in shards(folder):
        with ShardReader(path) as reader:
            if first <= number < first + len(reader):
                return reader.read(number - first)
            first += len(reader)
    raise InvalidInputError(f"episode {number}: the run has 0 to {first - 1}.")


class Branching(Generation):
    """Branches of a recorded episode, lived and paid for as episodes.

    Args:
        recipe: of the run that is branched off.
        folder: that run's.
        plan: from `planned`.
    """

    def __init__(self, recipe: Recipe, folder: Path, plan: Mapping[str, Any]) -> None:
        super().__init__(recipe, runs.scenario_of(folder))
        self._folder, self._plan = folder, plan
        self.plan: Mapping[str, Any] | None = plan
        self._past = read(folder, plan["episode"])

    @classmethod
    def of(cls, folder: Path, plan: Mapping[str, Any], **changes: Any) -> "Branching":
        """Return the branches of a plan; changes are of the recipe's account, budget and such."""
        recipe = changed(runs.recipe_of(folder), episodes=len(plan["branches"]), **changes)
        return cls(recipe, folder, plan)

    def __reduce__(self) -> tuple[Any, ...]:
        return Branching, (self.recipe, self._folder, self._plan)

    def live(self, run: str, index: int, buffer: EpisodeBuffer) -> tuple[int, dict[str, Any]]:
        """Live the past again, compare it, and go on otherwise.

        Raises:
            FormatError: the past is not what was recorded. It is not charged.
        """
        wanted, env, step = due(self._plan, index), self.env, int(self._plan["step"])
        actions = _Actions(self._past, wanted, step, (self.recipe.seed, index))
        options = {
            "variation_values": wanted.factors,
            "disturbances": list(wanted.disturbances),
        }
        steps, success = rollout.rollout(env, actions, buffer, wanted.seed, options)
        rollout.finish(env, buffer, steps, index)
        _check_past(self._past, buffer, step)
        facts = rollout.record(env, self.recipe, run, index, wanted, steps)
        facts |= rollout.outcome(buffer, steps, success)
        return steps, facts | branched(wanted, buffer)


def branched(wanted: Due, buffer: EpisodeBuffer) -> dict[str, Any]:
    """Return what the record of a branch says besides; {} for another episode."""
    if wanted.branch is None:
        return {}
    shared = buffer.arrays["charge"][: wanted.branch["step"] + 1]
    return {"branch": {**wanted.branch, "prefix_micro": int(shared.sum())}}


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


class _Look:
    """What can be done to a world in a recorded state."""

    def __init__(
        self, env: type[SandboxEnv], state: list[float], step: int, rng: np.random.Generator
    ) -> None:
        self._env, self._rng = env, rng
        self._at_s = step / env.control_hz
        self._bodies = {
            name: state[n * BODY_STATE : (n + 1) * BODY_STATE]
            for n, name in enumerate(env.state_bodies)
            if any(state[n * BODY_STATE + 3 : n * BODY_STATE + 7])
        }

    def branch(self, kind: str) -> dict[str, Any]:
        """Return one branch of a kind, in plain JSON."""
        what, _, whom = kind.partition(":")
        if what not in (*ACTIONS, *POSSIBLE, *IMPOSSIBLE):
            known = [*ACTIONS, *POSSIBLE, *IMPOSSIBLE]
            raise UnknownNameError("kind of branch", what, known)
        happens = None if what in ACTIONS else self._happens(what, whom)
        settled = None
        if happens is not None:
            found = Disturbance.model_validate({"at_s": self._at_s, **happens})
            found.check(self._env.factors, f"branch {kind!r}")
            settled = found.plain()
        return {"kind": kind, "impossible": what in IMPOSSIBLE, "disturbance": settled}

    def _happens(self, what: str, whom: str) -> dict[str, Any]:
        if what == "factor":
            return {"change": self._factor(whom)}
        body = self._body(whom)
        if what in ("remove", "vanish"):
            return {"remove": body}
        if what == "ghost":
            return {"ghost": body}
        if what == "recolor":
            return {"paint": {"body": body, "color": str(self._rng.choice(COLORS))}}
        around = float(self._rng.uniform(-math.pi, math.pi))
        x, y = math.cos(around), math.sin(around)
        if what == "impulse":
            speed = float(self._rng.uniform(*KICK_M_S))
            return {"kick": {"body": body, "speed_m_s": [speed * x, speed * y, 0.0]}}
        away = float(self._rng.uniform(*TELEPORT_M))
        px, py, pz = self._bodies[body][:3]
        return {"place": {"body": body, "at": [px + away * x, py + away * y, pz]}}

    def _body(self, name: str) -> str:
        """Return the body that is named, else the one that moves fastest."""
        if name:
            if name not in self._bodies:
                raise UnknownNameError("body that is there", name, self._bodies)
            return name
        if not self._bodies:
            raise InvalidInputError(
                f"{self._env.name()} has no body that is free to move; change a factor instead."
            )
        return max(self._bodies, key=lambda one: math.hypot(*self._bodies[one][7:10]))

    def _factor(self, text: str) -> dict[str, Any]:
        name, equals, value = text.partition("=")
        if name not in self._env.factors:
            raise UnknownNameError("factor", name, self._env.factors)
        try:
            given: Any = value if isinstance(self._env.factors[name], Color) else float(value)
        except ValueError:
            given = None
        if not equals or given is None:
            raise InvalidInputError(f"factor:{text}: give factor:NAME=VALUE.")
        return {name: given}
