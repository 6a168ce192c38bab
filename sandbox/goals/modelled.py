"""Planning on a model of yours, such as a trained world model."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sandbox.goals.agents import Trial
from sandbox.goals.pair import F32
from sandbox.planning import Settings


@dataclass(frozen=True)
class Start:
    """Where the candidates of a plan start.

    Attributes:
        observations: all that was observed of the pair so far, the present last.
        actions: what was done between them, float32 (steps, action_size).
        goal: the goal, as in `Trial`.
    """

    observations: Sequence[Any]
    actions: F32
    goal: Mapping[str, Any]


class Modelled:
    """An agent that plans on a model of yours: its `rollout(start, actions)` has a `Start`.

    The model may have `observation` and `image_size` as agents do; `begin(trial)`, which prepares
    it for a pair; and `cost(found, start)`, which makes costs (N,) of what its rollout returns.

    Args:
        settings: of the planner.
        model: the model.
        told: the options that say which model it is.
    """

    def __init__(self, settings: Settings, model: Any, told: Mapping[str, Any]) -> None:
        self._settings, self._model, self._told = settings, model, told
        self.observation = getattr(model, "observation", ("proprio",))
        self.image_size = getattr(model, "image_size", 64)

    def begin(self, trial: Trial) -> None:
        """Prepare for a pair."""
        self._planner = self._settings.make(trial.action_size, trial.rng)
        self._seen, self._taken = list[Any](), list[F32]()
        self._coming = deque[F32]()
        if hasattr(self._model, "begin"):
            self._model.begin(trial)

    def act(self, observation: Any, goal: Mapping[str, Any]) -> F32:
        """Return the next planned action, float32 (action_size,)."""
        self._seen.append(observation)
        if not self._coming:
            self._coming.extend(self._plan(goal))
        self._taken.append(self._coming.popleft())
        return self._taken[-1]

    def _plan(self, goal: Mapping[str, Any]) -> F32:
        shape = (len(self._taken), self._planner.action_size)
        taken = np.array(self._taken, np.float32).reshape(shape)
        start = Start(tuple(self._seen), taken, goal)
        own: Any = getattr(self._model, "cost", None)

        def cost(found: Any) -> Any:
            return own(found, start)

        return self._planner.plan(self._model, start, None if own is None else cost)

    def described(self) -> dict[str, Any]:
        """Return all settings of the planner, and which model it plans on."""
        return {**self._settings.describe(), **self._told}
