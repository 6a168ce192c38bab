"""What planners share: candidates are drawn, a model says what they cost, the cheapest are kept."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sandbox.errors import InvalidInputError, PlanningError, shown
from sandbox.planning.noise import Array, coloured
from sandbox.planning.settings import Settings, plain

Actions = NDArray[np.float32]
Rollout = Callable[[Any, Actions], Any]
Cost = Callable[[Any], Any]
_F = TypeVar("_F", bound=np.floating[Any])
_S = TypeVar("_S", bound=Settings)
_T = TypeVar("_T")


Asking = Generator[Actions, Any, _T]  # Yields candidates, and is sent what they cost.


class Model(Protocol):
    """What says where actions lead from a start, or what they cost.

    A call has one pair's candidates, in a fixed order.
    """

    def rollout(self, start: Any, actions: Actions, /) -> Any:
        """Return the costs (N,) of N candidates, or what the planner's `cost` turns into them.

        Args:
            start: whatever the planner was given; planners do not look into it.
            actions: float32 (N, steps, size) in [-1, 1], which the model may change. A model of
                torch converts them (`torch.from_numpy(actions)`), and may return a tensor.
        """
        ...


@dataclass(frozen=True)
class Tried:
    """Candidates and their costs, in the order in which they were tried.

    Attributes:
        actions: float32 (N, actions, size).
        costs: float64 (N,); infinity stands for what is not a finite number.
    """

    actions: Actions
    costs: Array

    def then(self, later: "Tried") -> "Tried":
        """Return both, these first."""
        return Tried(
            np.concatenate([self.actions, later.actions]),
            np.concatenate([self.costs, later.costs]),
        )

    def best(self, most: int) -> "Tried":
        """Return the cheapest with a finite cost, in order; of equal ones the first."""
        order = np.argsort(self.costs, kind="stable")[:most]
        order = order[np.isfinite(self.costs[order])]
        return Tried(self.actions[order], self.costs[order])


class Planner(ABC, Generic[_S]):
    """Plans for one pair; its bytes depend on settings, stream and the model's answers alone.

    Args:
        settings: what it is told.
        action_size: numbers in an action.
        rng: a stream of its own; all chance comes from it.

    Raises:
        InvalidInputError: `action_size` is no whole number above 0, or `rng` no generator.
    """

    def __init__(self, settings: _S, action_size: int, rng: np.random.Generator) -> None:
        whole = plain(action_size)
        if type(whole) is not int or whole < 1:
            raise InvalidInputError(
                f"{settings.name}: action_size must be a whole number above 0, not {shown(whole)}."
            )
        stream: Any = rng
        if not isinstance(stream, np.random.Generator):
            raise InvalidInputError(
                f"{settings.name}: rng must be a numpy.random.Generator, not {shown(stream)}."
            )
        self.settings, self.action_size, self.rng = settings, whole, stream
        self.begin()

    def begin(self) -> None:
        """Begin an episode: forget what was planned. The stream goes on where it is."""
        self._mean = np.zeros((self.settings.actions, self.action_size))

    def plan(self, model: Model | Rollout, start: Any, cost: Cost | None = None) -> Actions:
        """Return the actions to execute now; plan again after all of them.

        Args:
            model: has `rollout(start, actions)`, or is such a function.
            start: where the model shall start.
            cost: turns what the model returns into costs (N,); left out if it returns costs.

        Returns:
            float32 (settings.executed, action_size), in [-1, 1].

        Raises:
            InvalidInputError: `model` is neither.
            PlanningError: the model gave costs of another shape, or none that is finite. The
                planner keeps its last plan.
        """
        rollout = getattr(model, "rollout", model)
        if not callable(rollout):
            raise InvalidInputError(
                f"model {shown(model)}: give an object with rollout(start, actions), or such a "
                "function."
            )
        planning, found = self.planning(), None
        while True:
            try:
                candidates = planning.send(found)
            except StopIteration as end:
                return end.value
            found = rollout(start, candidates)
            found = found if cost is None else cost(found)

    @abstractmethod
    def planning(self) -> Asking[Actions]:
        """Plan as `plan` does, for a caller who asks the model.

        Yields candidates, float32 (N, steps, size), which may be changed; is sent their costs (N,);
        returns the actions to execute now.
        """

    def _drawn(
        self, count: int, mean: Array, sigma: Array | float, exponent: float = 0.0
    ) -> Actions:
        """Return candidates around a mean, clipped to what an action may be."""
        noise = coloured(self.rng, (count, *mean.shape), exponent)
        return np.clip(mean + sigma * noise, -1, 1).astype(np.float32)

    def _try(self, candidates: Actions) -> Asking[Tried]:
        """Let candidates be rolled out, all in one call."""
        found = yield self._stepwise(candidates)
        return Tried(candidates, _costs(found, len(candidates)))

    def _stepwise(self, actions: Array | Actions) -> Actions:
        """Return a copy with one action a step, along the last axis but one."""
        times = self.settings.action_block if self.settings.held else 1
        return np.repeat(actions, times, axis=-2).astype(np.float32)

    def _execute(self, plan: Array | Actions) -> Actions:
        """Return the steps of a plan that are executed."""
        return self._stepwise(plan)[: self.settings.executed]

    def _later(self, actions: NDArray[_F]) -> NDArray[_F]:
        """Return the actions that are left when a plan's first ones have been executed."""
        settings = self.settings
        return actions[..., settings.replan if settings.held else settings.executed :, :]

    def _shifted_mean(self, mean: Array, *, repeats: bool) -> Array:
        """Return the mean with which the next plan begins.

        Args:
            mean: the last of this plan.
            repeats: whether it ends with its last action, repeated; else with zeros.
        """
        rest = self._later(mean)
        end = rest[-1:] if repeats and len(rest) else np.zeros((1, self.action_size))
        return np.concatenate([rest, np.repeat(end, len(mean) - len(rest), axis=0)])


def _costs(found: Any, count: int) -> Array:
    """Return a model's costs of so many candidates as float64, infinity for each that is none."""
    if hasattr(found, "detach"):  # A tensor of torch; float64 holds bfloat16, which NumPy lacks.
        found = found.detach().cpu().double().numpy()
    try:
        costs = np.asarray(found)
    except ValueError:  # Lists of different lengths.
        costs = np.empty((), object)
    if costs.dtype.kind not in "biuf" or costs.shape != (count,):
        kind = f"numbers of shape {costs.shape}" if costs.dtype.kind in "biuf" else shown(found)
        raise PlanningError(
            f"the model gave {kind} for {count} candidates, not costs of shape ({count},): return "
            "one number for each, or give the planner a cost that makes them of states."
        )
    costs = costs.astype(np.float64)
    finite = np.isfinite(costs)
    if not finite.any():
        raise PlanningError(
            f"not one of the {count} costs that the model gave is finite; the first is "
            f"{costs[0]}. Look at the model, and at its cost, at this start."
        )
    return np.where(finite, costs, np.inf)
