"""Planning on the true simulator: how far the best possible model would get a planner."""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from sandbox import planning
from sandbox.env import costs
from sandbox.env.aim import Aim
from sandbox.errors import SimulationError
from sandbox.goals.agents import Insider, Trial
from sandbox.goals.pair import F32, F64, Pair
from sandbox.goals.stage import Stage, walk
from sandbox.planning import Settings


class Simulator:
    """The world itself as a planner's model: a twin of the one that is scored.

    For each plan it is built again, and what was done so far is replayed; then every candidate
    begins at a snapshot, in order. So what comes of a plan depends on nothing but the plan: a
    restored world remembers in contact what was simulated before.

    Args:
        stage: the stage that is scored; the twin is another like it.

    Attributes:
        steps, resets: what it has simulated since `count` was last called.
    """

    def __init__(self, stage: Stage) -> None:
        self._twin = stage.twin()
        self._goals, self.steps, self.resets = stage.goals, 0, 0

    def go(self, pair: Pair, taken: list[F32]) -> None:
        """Build the world again, where a pair is after some actions."""
        info = self._twin.begin(pair)[1]
        walk(self._twin.env, info, taken)
        self.resets += 1
        self.steps += pair.start.step + len(taken)
        self._pair, self._here = pair, self._twin.env.snapshot()

    def rollout(self, start: Any, actions: F32) -> F64:
        """Return what candidates cost, (N,): how far they stay from the goal.

        Args:
            start: nothing; they begin where `go` went.
            actions: float32 (N, steps, size).
        """
        self.steps += actions.shape[0] * actions.shape[1]
        found = np.empty(len(actions))
        for n, candidate in enumerate(actions.tolist()):
            self._twin.env.restore(self._here)
            found[n] = self._cost(self._pair, candidate)
        return found

    def _cost(self, pair: Pair, candidate: list[list[float]]) -> float:
        env, states, left = self._twin.env, list[list[float]](), list[float]()
        task = self._goals.is_task
        try:
            for numbers in candidate:
                env.advance(numbers)
                env.look()
                if task:
                    env.done = bool(env.success())
                    left.append(0.0 if env.done else 1.0 + env.shortfall())
                else:
                    states.append(env.row)
        except SimulationError:
            return math.inf
        if task:
            return sum(left)
        return float(away(env.aim, env.state_names(), np.array(states), pair.goal))

    def close(self) -> None:
        """Release the simulator."""
        self._twin.close()


def away(aim: Any, names: Any, states: F64, goal: F64) -> float:
    """Return how far states stay from a goal: the mean of their distances, and the nearest."""
    assert isinstance(aim, Aim), "a set with goals has been looked at"
    errors = aim.errors(names, states, goal, "strict")
    apart = np.sqrt(np.square(errors).sum(-1))
    return float(apart.mean() + apart.min())


class Planned(Insider):
    """A planner on the true simulator. When it has reached the goal strictly, it rests.

    Args:
        settings: of the planner.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._simulator: Simulator | None = None

    def begin(self, trial: Trial, pair: Pair, stage: Stage) -> None:
        """Prepare for a pair."""
        super().begin(trial, pair, stage)
        if self._simulator is None:
            self._simulator = Simulator(stage)
        self._simulator.steps = self._simulator.resets = 0
        self._planner = self._settings.make(trial.action_size, trial.rng)
        self._taken, self._coming = list[F32](), deque[F32]()
        self._seen, self._rests = list[list[float]](), False

    def act(self, step: int) -> F32:
        """Return the next planned action; zeros once the goal was reached strictly."""
        assert self._simulator is not None, "begin() made it"
        self._rests = self._rests or self._is_there()
        if self._rests:
            return np.zeros(self.trial.action_size, np.float32)
        if not self._coming:
            self._simulator.go(self.pair, self._taken)
            self._coming.extend(self._planner.plan(self._simulator, None))
        self._taken.append(self._coming.popleft())
        return self._taken[-1]

    def _is_there(self) -> bool:
        """Return whether the goal is reached strictly in the row that the world is in."""
        env = self.stage.env
        self._seen.append(env.row)
        reached = self.stage.hits(self.pair, np.array(self._seen), [env.done] * len(self._seen))
        return bool(reached.within["strict"][-1])

    def work(self) -> dict[str, int]:
        """Return what its twin has simulated for this pair: physics, and no pictures."""
        twin = self._simulator
        assert twin is not None, "begin() made it"
        env = self.stage.env
        return costs.simulated(env, env.meter.schedule, twin.resets, twin.steps)

    def most(self, stage: Stage) -> dict[str, int]:
        """Return what its twin simulates for a pair at most."""
        goals, env = stage.goals, stage.env
        plans = -(-goals.budget // self._settings.executed)
        longest = max(pair.start.step for pair in goals.pairs) + goals.budget
        steps = self._settings.simulated(plans) + plans * longest
        return costs.simulated(env, env.meter.schedule, plans, steps)

    def described(self) -> dict[str, Any]:
        """Return all settings of the planner, and what it plans on."""
        return {**self._settings.describe(), "model": "simulator"}

    def close(self) -> None:
        """Release the twin."""
        if self._simulator is not None:
            self._simulator.close()


def made(name: str, options: Mapping[str, Any]) -> Planned:
    """Return a planner by name, with options such as people write in YAML, and a `preset`."""
    given = dict(options)
    preset = given.pop("preset", None)
    return Planned(planning.planner(name, given, preset))
