"""What a planner is told: frozen, checked, and plain JSON as evidence."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_type_hints

import numpy as np

from sandbox.errors import InvalidInputError, shown

if TYPE_CHECKING:
    from sandbox.planning.search import Planner

MOST_NUMBERS = 100_000_000  # Of the candidates of one iteration, for each number of an action.


@dataclass(frozen=True)
class Within:
    """The range of a setting that is a number; both ends belong to it."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"from {self.low:g} to {self.high:,.15g}"


Presets = Mapping[str, Mapping[str, Any]]
Share = Annotated[float, Within(0, 1)]
Scale = Annotated[float, Within(1e-6, 1e6)]
CHEAP: Mapping[str, float] = {  # For a CPU, with the true simulator as the model.
    "samples": 64,
    "iterations": 5,
    "horizon": 25,
    "action_block": 1,
    "replan": 10,
}


@dataclass(frozen=True, kw_only=True)
class Settings(ABC):
    """The settings that every planner has; `horizon` and `replan` count blocks.

    A block is `action_block` environment steps. Each candidate has `steps` = `horizon` x
    `action_block` actions; `executed` = `replan` x `action_block` of the best are executed before
    the next plan.

    Attributes:
        samples: candidates in an iteration.
        iterations: iterations in a plan.
        horizon: length of a candidate [blocks].
        action_block: environment steps in a block.
        replan: how much of a plan is executed before the next [blocks].
        held: whether one action is held for a block; if not, each step has an action of its own.
        sigma: standard deviation of the noise in the first iteration [action].

    Raises:
        InvalidInputError: a setting of another type, out of its range, or against another.
    """

    samples: Annotated[int, Within(2, 100_000)] = 300
    iterations: Annotated[int, Within(1, 10_000)] = 30
    horizon: Annotated[int, Within(1, 10_000)] = 5
    action_block: Annotated[int, Within(1, 1_000)] = 5
    replan: Annotated[int, Within(1, 10_000)] = 5
    held: bool = False
    sigma: Scale = 1.0

    name: ClassVar[str]
    presets: ClassVar[Presets]

    def __post_init__(self) -> None:
        for key, hint in hints(type(self)).items():
            object.__setattr__(self, key, self._value(key, hint))
        if self.replan > self.horizon:
            raise InvalidInputError(
                f"{self.name}: replan {self.replan} is more than the horizon of {self.horizon}; "
                "a plan cannot be executed past its end."
            )
        if self.samples * self.steps > MOST_NUMBERS:
            raise InvalidInputError(
                f"{self.name}: {self.samples:,} samples of {self.steps:,} steps are more than "
                f"{MOST_NUMBERS:,} actions at once; plan with fewer or shorter ones."
            )

    def _value(self, key: str, hint: Any) -> bool | int | float:
        """Return a setting as the Python number that it is, or refuse it."""
        given: Any = getattr(self, key)
        value: Any = plain(given)
        if hint is bool:
            kind, fits = "True or False", isinstance(value, bool)
        else:
            wanted, within = hint.__origin__, hint.__metadata__[0]
            kind = f"a {'whole ' if wanted is int else ''}number {within}"
            fits = isinstance(value, int | wanted) and not isinstance(value, bool)
            fits = fits and within.low <= value <= within.high
            value = wanted(value) if fits else value
        if not fits:
            raise InvalidInputError(f"{self.name}: {key} must be {kind}, not {shown(given)}.")
        return value

    @property
    def steps(self) -> int:
        """Environment steps that each candidate lasts."""
        return self.horizon * self.action_block

    @property
    def executed(self) -> int:
        """Environment steps of a plan that are executed before the next."""
        return self.replan * self.action_block

    @property
    def actions(self) -> int:
        """Actions of a candidate that are chosen one by one."""
        return self.horizon if self.held else self.steps

    def sizes(self, *, first: bool) -> tuple[int, ...]:
        """Return how many candidates each iteration of a plan tries, at most.

        Args:
            first: whether it is an episode's first plan, which has no elites of an earlier one.
        """
        return (self.samples,) * self.iterations

    def simulated(self, plans: int) -> int:
        """Return how many steps the model simulates for the first plans of an episode, at most."""
        later = sum(self.sizes(first=False)) * max(plans - 1, 0)
        return (sum(self.sizes(first=True)) * min(plans, 1) + later) * self.steps

    def describe(self) -> dict[str, str | bool | int | float]:
        """Return the planner's name and all settings, as JSON has them."""
        return {"planner": self.name, **dataclasses.asdict(self)}

    @abstractmethod
    def make(self, action_size: int, rng: np.random.Generator) -> "Planner[Any]":
        """Return a planner for one pair.

        Args:
            action_size: numbers in an action.
            rng: a stream of its own; all of the planner's chance comes from it.

        Raises:
            InvalidInputError: `action_size` is no whole number above 0, or `rng` no generator.
        """


def plain(value: Any) -> Any:
    """Return a number of NumPy as the Python number that it holds; all else as it is."""
    return value.item() if hasattr(value, "dtype") and value.shape == () else value


def hints(kind: type[Settings]) -> dict[str, Any]:
    """Return the annotations of a class's settings, in their order."""
    every = get_type_hints(kind, include_extras=True)
    return {field.name: every[field.name] for field in dataclasses.fields(kind)}
