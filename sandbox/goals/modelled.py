"""Planning on a model of yours, such as a trained world model."""

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sandbox.errors import PlanningError
from sandbox.goals.agents import Trial
from sandbox.goals.pair import F32
from sandbox.planning import Settings

Asked = tuple[
    "Start", F32
]  # What a planner asks a model: candidates (N, steps, size) from a start.


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

    The model may have `observation`, `image_size` and `antialias` as agents do; `begin(trial)`,
    which prepares it for a pair; and `cost(found, start)`, which makes costs (N,) of what its
    rollout returns. By `rollouts(starts, actions)` it takes candidates (B, N, steps, size) of B
    pairs in one call, and returns as many answers as starts: it declares that it gives what
    `rollout` gives of each.

    Args:
        settings: of the planner.
        model: the model.
        told: the options that say which model it is.
    """

    def __init__(self, settings: Settings, model: Any, told: Mapping[str, Any]) -> None:
        self._settings, self._model, self._told = settings, model, told
        self.observation = getattr(model, "observation", ("proprio",))
        self.image_size = getattr(model, "image_size", 64)
        self.antialias = getattr(model, "antialias", 1)

    @property
    def takes_several(self) -> bool:
        """Whether the model takes several pairs in one call."""
        return callable(getattr(self._model, "rollouts", None))

    def another(self) -> "Modelled":
        """Return an agent on the same model, for a pair that is tried at the same time."""
        return Modelled(self._settings, self._model, self._told)

    def begin(self, trial: Trial) -> None:
        """Prepare for a pair."""
        self._planner = self._settings.make(trial.action_size, trial.rng)
        self._seen, self._taken = list[Any](), list[F32]()
        self._coming = deque[F32]()
        if hasattr(self._model, "begin"):
            self._model.begin(trial)

    def deciding(self, observation: Any, goal: Mapping[str, Any]) -> Generator[Asked, Any, F32]:
        """Decide: yield what the planner asks, be sent costs, and return the next action."""
        self._seen.append(observation)
        if not self._coming:
            shape = (len(self._taken), self._planner.action_size)
            taken = np.array(self._taken, np.float32).reshape(shape)
            start = Start(tuple(self._seen), taken, goal)
            planning, costs = self._planner.planning(), None
            while not self._coming:
                try:
                    costs = yield start, planning.send(costs)
                except StopIteration as end:
                    self._coming.extend(end.value)
        self._taken.append(self._coming.popleft())
        return self._taken[-1]

    def answers(self, asked: Sequence[Asked]) -> list[Any]:
        """Return the costs (N,) of what planners ask, in one call for each number of candidates."""
        if len(asked) == 1:
            start, actions = asked[0]
            return [self._cost(self._model.rollout(start, actions), start)]
        found = dict[int, Any]()
        for shape in dict.fromkeys(actions.shape for _, actions in asked):
            places = [n for n, (_, actions) in enumerate(asked) if actions.shape == shape]
            starts = [asked[n][0] for n in places]
            given = self._model.rollouts(starts, np.stack([asked[n][1] for n in places]))
            if len(given) != len(starts):
                raise PlanningError(
                    f"the model's rollouts() gave {len(given)} answers for {len(starts)} pairs."
                )
            found |= {n: self._cost(one, asked[n][0]) for n, one in zip(places, given, strict=True)}
        return [found[n] for n in range(len(asked))]

    def _cost(self, found: Any, start: Start) -> Any:
        own: Any = getattr(self._model, "cost", None)
        return found if own is None else own(found, start)

    def described(self) -> dict[str, Any]:
        """Return all settings of the planner, and which model it plans on."""
        return {**self._settings.describe(), **self._told}
