"""Puts a world into the start of a pair by replaying its past; knows when a goal is reached."""

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sandbox import catalogue
from sandbox.env import SandboxEnv
from sandbox.env.aim import LEVELS, Aim
from sandbox.errors import FormatError, InvalidInputError
from sandbox.goals.pair import F32, F64, Hits, Pair
from sandbox.goals.sets import GoalSet
from sandbox.meter import Meter
from sandbox.prices import PriceSchedule, plus
from sandbox.sources.rollout import states_digest
from sandbox.world import determinism


class Stage:
    """A world in which pairs begin; it counts work, and nobody pays for it here.

    Args:
        goals: the set.
        observation: what the world observes.
        image_size: pixels of a side of its pictures.
        antialias: samples of colour in a pixel of them.
        schedule: the prices by which work is counted.
        trust_code: whether to import a world that the set calls MODULE:CLASS, and to run a set
            whose world's code has changed since.

    Attributes:
        goals: the set.
        env: the environment.

    Raises:
        FormatError: the world has another aim, or its code has changed.
    """

    def __init__(
        self,
        goals: GoalSet,
        schedule: PriceSchedule,
        observation: Sequence[str] = ("proprio",),
        image_size: int = 64,
        antialias: int = 1,
        *,
        trust_code: bool = False,
    ) -> None:
        self.goals = goals
        kind = catalogue.environment(goals.environment, trust_code)
        goals.check_aim(kind.aim)
        code = catalogue.code(goals.environment)
        if code != goals.code and not trust_code:
            raise FormatError(
                f"the code of {goals.environment} has changed since the set was made: {code[:12]} "
                f"instead of {goals.code[:12]}. Make the set again, or take it as it is with "
                "--trust-code."
            )
        self.env: SandboxEnv = kind(
            scenario=goals.scenario,
            observation=observation[0] if len(observation) == 1 else list(observation),
            image_size=image_size,
            antialias=antialias,
            meter=Meter(schedule),
        )
        self._work: dict[str, int] = {}
        self._schedule, self._trust_code = schedule, trust_code

    def twin(self) -> Self:
        """Return another stage like this one, which observes numbers alone."""
        return type(self)(self.goals, self._schedule, trust_code=self._trust_code)

    def taken(self) -> dict[str, int]:
        """Return the work since this was asked last, per meter unit."""
        found, self._work = plus(self._work, self.env.meter.quantities), {}
        self.env.meter.void()
        return found

    def close(self) -> None:
        """Release the simulator."""
        self.env.meter.void()
        self.env.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, pair: Pair) -> tuple[Any, dict[str, Any]]:
        """Put the world into a pair's start; return the observation there, and its info.

        Raises:
            FormatError: its past cannot be replayed, or does not lead to the state that it should.
        """
        try:
            return self._begun(pair)
        except InvalidInputError as error:
            raise FormatError(f"pair {pair.number}: cannot begin: {error}") from error

    def _begun(self, pair: Pair) -> tuple[Any, dict[str, Any]]:
        start, env = pair.start, self.env
        self._work = plus(self._work, env.meter.quantities)
        env.meter.void()
        goal = None if self.goals.is_task else pair.goal
        observation, info = env.reset(seed=start.seed, options=_options(pair, goal))
        states = [info["state"]]
        for action in start.actions:
            observation, _, over, cut, info = env.step(action)
            states.append(info["state"])
            if over or cut:
                break
        if env.scene_digest != start.scene or states_digest(np.array(states)) != start.past:
            raise FormatError(
                f"pair {pair.number}: its past does not lead to its start here. "
                f"{determinism.advice(self.goals.engine)}"
            )
        return observation, info

    def hits(self, pair: Pair, states: F64, done: Sequence[bool]) -> "Reached":
        """Return where a goal is reached.

        Args:
            pair: the pair.
            states: (rows, numbers), from the start on.
            done: whether the world's own task is done in each row.
        """
        if self.goals.is_task:
            within = np.array(done)
            return Reached(dict.fromkeys(LEVELS, within), np.where(within, 0.0, 1.0))
        aim, names = self.env.aim, self.env.state_names()
        assert isinstance(aim, Aim), "the set has been looked at"
        within = {level: aim.reached(names, states, pair.goal, level) for level in LEVELS}
        return Reached(within, aim.distance(names, states, pair.goal))


class Reached:
    """Where a goal is reached, row by row from the start on.

    Attributes:
        within: for each level, bool (rows,).
        distance: of each row, in moderate tolerances.
    """

    def __init__(self, within: dict[str, NDArray[np.bool_]], distance: F64) -> None:
        self.within, self.distance = within, distance

    def first(self, level: str) -> int | None:
        """Return the first step at which it is reached; None if it is not."""
        found = np.flatnonzero(self.within[level])
        return int(found[0]) if len(found) else None

    @property
    def hits(self) -> Hits:
        """The first step of each level."""
        return Hits(moderate=self.first("moderate"), strict=self.first("strict"))


def walk(env: SandboxEnv, info: dict[str, Any], actions: Iterable[F32]) -> tuple[F64, list[bool]]:
    """Take actions until the last, or the end of the episode; return states and whether done.

    Args:
        env: the environment.
        info: of the row in which it is, which is the first.
        actions: the actions.
    """
    states, done = [info["state"]], [bool(info["success"])]
    for action in actions:
        if env.episode.over:
            break
        info = env.step(action)[4]
        states.append(info["state"])
        done.append(bool(info["success"]))
    return np.array(states), done


def _options(pair: Pair, goal: F64 | None) -> dict[str, Any]:
    start = pair.start
    return {
        "variation_values": start.factors,
        "disturbances": start.disturbances,
        "goal": goal,
    }
