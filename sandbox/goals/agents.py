"""Who acts on pairs: floors, ceilings, and what is yours."""

import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, redirect_stdout
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from sandbox.env.policies import POLICIES
from sandbox.errors import InvalidInputError, shown
from sandbox.goals.pair import F32, F64, Pair
from sandbox.goals.stage import Stage

_ACTING, _GLOBAL = 21, 22  # Names of streams; those of the filters are others.


@dataclass(frozen=True)
class Trial:
    """What an agent is told of a pair before it acts on it.

    Attributes:
        pair: number of the pair in its set.
        seed: seed of this try.
        rng: a generator that belongs to pair and seed alone.
        environment: name of the world.
        budget: steps that the agent has.
        action_size: numbers of an action, each in [-1, 1].
        goal: the goal, by name: `state`, float64 (numbers,), and `pixels`, uint8 (H, W, 3), if the
            agent observes pictures. {} where the goal is the world's own task.
    """

    pair: int
    seed: int
    rng: np.random.Generator
    environment: str
    budget: int
    action_size: int
    goal: Mapping[str, Any]


@runtime_checkable
class Agent(Protocol):
    """Acts on pairs.

    It may say what it observes: `observation`, a list; `image_size` and `antialias` of pictures.
    """

    def begin(self, trial: Trial) -> None:
        """Prepare for a pair; what was remembered of another must not matter."""
        ...

    def act(self, observation: Any, goal: Mapping[str, Any]) -> Any:
        """Return an action, float32 (action_size,)."""
        ...


@dataclass(frozen=True)
class Wanted:
    """An agent by name, with its options.

    Attributes:
        name: one of ours, or MODULE:FUNCTION; the function takes the options and returns an Agent.
        options: plain JSON.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        try:
            json.dumps(self.options, allow_nan=False, ensure_ascii=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInputError(
                f"agent {shown(self.name)}: its options are not plain JSON, which results keep: "
                f"{said(error)}."
            ) from None


class Insider:
    """An agent of ours, which may look at the pair and its world; this one does nothing.

    Attributes:
        draws: whether it acts by chance. If not, every seed gives the same.
    """

    observation: Sequence[str] = ("proprio",)
    image_size, antialias = 64, 1
    draws = True

    def begin(self, trial: Trial, pair: Pair, stage: Stage) -> None:
        """Prepare for a pair, in whose start the stage is."""
        self.trial, self.pair, self.stage = trial, pair, stage

    def act(self, step: int) -> F32:
        """Return the action of a step, float32 (action_size,); zeros are nothing."""
        return np.zeros(self.trial.action_size, np.float32)

    def work(self) -> dict[str, int]:
        """Return what it has simulated for this pair, per meter unit."""
        return {}

    def close(self) -> None:
        """Release what it has."""

    def most(self, stage: Stage) -> dict[str, int]:
        """Return what it simulates for a pair at most, per meter unit."""
        return {}

    def described(self) -> dict[str, Any]:
        """Return all settings that decide what it does, as plain JSON."""
        return {}


class _Noop(Insider):
    """Zeros, which are nothing."""

    draws = False


class _Random(Insider):
    """Uniform actions, from another stream than that of the filter."""

    def act(self, step: int) -> F32:
        return self.trial.rng.uniform(-1.0, 1.0, self.trial.action_size).astype(np.float32)


class _Recorded(Insider):
    """The known solution, then nothing."""

    draws = False

    def act(self, step: int) -> F32:
        known = self.pair.known
        return known[step] if step < len(known) else np.zeros(self.trial.action_size, np.float32)


class _Scripted(Insider):
    """The world's own scripted policy, which knows the world's task and no other goal."""

    def begin(self, trial: Trial, pair: Pair, stage: Stage) -> None:
        super().begin(trial, pair, stage)
        self._policy = POLICIES["scripted"](stage.env, trial.rng)

    def act(self, step: int) -> F32:
        return self._policy()

    def most(self, stage: Stage) -> dict[str, int]:
        if not stage.goals.is_task:  # It is asked before anything is paid.
            raise InvalidInputError(
                f"agent 'scripted' does the task of {stage.goals.environment}, and this set has "
                "goals of another kind. Use it with sets made by --kind task."
            )
        return super().most(stage)


BUILT_IN: dict[str, Callable[[], Insider]] = {
    "noop": _Noop,
    "random": _Random,
    "recorded": _Recorded,
    "scripted": _Scripted,
}


FLOORS = {"noop": "floor", "random": "floor", "recorded": "ceiling"}  # Beside every other agent.


def stream(digest: str, pair: int, seed: int, name: int = _ACTING) -> np.random.Generator:
    """Return the random stream of a pair and a seed, which no other has."""
    return np.random.default_rng([int(digest[:16], 16), pair, seed, name])


def seed_others(digest: str, pair: int, seed: int) -> None:
    """Seed the global generators of Python, NumPy and PyTorch, which somebody's agent may use."""
    drawn = int(stream(digest, pair, seed, _GLOBAL).integers(1 << 32))
    random.seed(drawn)
    np.random.seed(drawn)  # noqa: NPY002
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(drawn)


def aside() -> AbstractContextManager[Any]:
    """Return a context in which what somebody's code prints goes to stderr: stdout is ours."""
    return redirect_stdout(sys.stderr)


def said(error: BaseException) -> str:
    """Return an error of somebody's code in one line."""
    try:
        text = str(error)
    except Exception:  # An error of somebody's may have no text.
        text = "it cannot say why"
    return " ".join(f"{type(error).__name__}: {text}".split())


def goal_of(pair: Pair, pixels: Any | None, *, task: bool) -> dict[str, Any]:
    """Return what an agent sees of a goal."""
    if task:
        return {}
    state: F64 = np.array(pair.goal)
    return {"state": state} if pixels is None else {"state": state, "pixels": pixels}
