"""What a world model is: it encodes what was seen, steps with actions, and decodes."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeGuard, cast, runtime_checkable

import torch
from torch import Tensor

from sandbox.errors import InvalidInputError, shown

State = dict[str, Tensor]  # Whatever a model remembers; every tensor is batch first.
Shapes = Mapping[str, tuple[int, ...]]  # Of a row of each column, pictures with channels first.
METHODS = ("encode", "step", "decode", "loss")
OF_POLICIES = ("policy", "loss")
FACTS, OF_GOALS = ("needs", "gives", "context"), ("sees", "aims")


@runtime_checkable
class Learner(Protocol):
    """A torch module that is trained on windows: a world model or a policy.

    Rows are those of `Batches`: `action[t]` is taken at row t, `reward[t]` is received on arriving
    there. Tensors are batch first.

    Attributes:
        needs: the columns that it takes, besides `action`; those of `encode`.
        gives: the columns that `decode` returns; () of a policy.
        context: how many rows it sees; it also takes fewer, and at least one.
    """

    needs: tuple[str, ...]
    gives: tuple[str, ...]
    context: int

    def loss(self, batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return the parts of the loss of a batch of windows, each one number; they are added.

        Args:
            batch: columns by name, (B, T, ...), with `action` float32 (B, T, A).
            progress: how far training is, from 0 to 1.
        """
        ...

    # And what every torch.nn.Module has:
    def train(self, mode: bool = True) -> Any: ...  # noqa: D102
    def eval(self) -> Any: ...  # noqa: D102
    def parameters(self) -> Iterator[torch.nn.Parameter]: ...  # noqa: D102
    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...  # noqa: D102
    def named_modules(self) -> Iterator[tuple[str, torch.nn.Module]]: ...  # noqa: D102
    def double(self) -> Any: ...  # noqa: D102
    def zero_grad(self, set_to_none: bool = True) -> None: ...  # noqa: D102


@runtime_checkable
class WorldModel(Learner, Protocol):
    """A torch module that imagines what comes of actions."""

    def encode(self, context: Mapping[str, Tensor], actions: Tensor) -> State:
        """Return the state at the last of some rows.

        Args:
            context: columns by name, (B, K, ...); `pixels` are uint8 (B, K, 3, H, W).
            actions: float32 (B, K - 1, A), those taken between the rows.
        """
        ...

    def step(self, state: State, action: Tensor) -> State:
        """Return the state one row later, after an action, float32 (B, A)."""
        ...

    def decode(self, state: State) -> dict[str, Tensor]:
        """Return what a state looks like.

        `pixels` are float32 (B, 3, H, W) from 0 to 1, `terminated` a probability (B,), `reward`
        (B,), and all others float32 (B, ...) in the units of the column.
        """
        ...


@runtime_checkable
class GoalPolicy(Learner, Protocol):
    """A torch module that acts towards a goal, and imagines nothing.

    Attributes:
        sees, aims: the columns of its observations and of its goals.
    """

    sees: tuple[str, ...]
    aims: tuple[str, ...]

    def policy(self, observation: Mapping[str, Tensor], goal: Mapping[str, Tensor]) -> Tensor:
        """Return what to do at the last of some rows, float32 (B, A).

        Args:
            observation: columns of `sees` by name, (B, K, ...).
            goal: columns of `aims` by name, (B, ...), as a row in which the goal is reached.
        """
        ...


def is_policy(model: Any) -> TypeGuard[GoalPolicy]:
    """Return whether a model acts, and imagines nothing."""
    return callable(getattr(model, "policy", None)) and not hasattr(model, "step")


def imagining(model: Any, name: str) -> WorldModel:
    """Return a model that imagines (InvalidInputError if it is a policy)."""
    if is_policy(model):
        raise InvalidInputError(
            f"{name}: is a policy, which acts and imagines nothing. Give a world model; a policy "
            "acts on goals by `sandbox goals run SET --agent gcbc --set model=NAME.safetensors`."
        )
    return model


def acting(model: Any, name: str) -> GoalPolicy:
    """Return a model that acts (InvalidInputError if it is a world model)."""
    if not is_policy(model):
        raise InvalidInputError(
            f"{name}: is a world model, which imagines and does not act. Give a policy, such as "
            "`sandbox train --model gcbc` makes; a planner plans on a world model "
            "(--agent icem --set model=NAME.safetensors)."
        )
    return model


def check(model: Any, name: str, shapes: Shapes) -> WorldModel | GoalPolicy:
    """Return a model that keeps its protocol; it is tried once, on a batch of zeros.

    Args:
        model: the model.
        name: what errors call it.
        shapes: of the columns that there are, `action` among them.

    Raises:
        InvalidInputError: it does not; the message says where.
    """
    if not isinstance(model, torch.nn.Module):
        raise InvalidInputError(f"{name}: is {type(model).__name__}, and no torch.nn.Module.")
    acts = is_policy(model)
    methods, facts = (OF_POLICIES, (*FACTS, *OF_GOALS)) if acts else (METHODS, FACTS)
    lacks = [one for one in methods if not callable(getattr(model, one, None))]
    lacks += [one for one in facts if not hasattr(model, one)]
    if lacks:
        kind = "policy" if acts else "world model"
        raise InvalidInputError(f"{name}: has no {', '.join(lacks)}, which a {kind} has.")
    found: Any = model
    if any(torch.nn.parameter.is_lazy(one) for one in model.parameters()):
        raise InvalidInputError(f"{name}: has lazy layers; give each the number of its inputs.")
    _check_facts(found, name, shapes, facts)
    try:
        (_try_policy if acts else _try)(found, name, shapes)
    except InvalidInputError:
        raise
    except Exception as error:  # Anything may happen in a module of somebody's.
        raise InvalidInputError(f"{name}: fails on a batch of zeros: {said(error)}") from error
    return found


_NO_MEMORY = ("not enough memory", "can't allocate memory", "out of memory")  # As PyTorch says it.


def said(error: Exception) -> str:
    """Return what an exception of a model says, with its kind, in one line."""
    text = str(error)
    if isinstance(error, MemoryError) or any(one in text for one in _NO_MEMORY):
        return "memory is not enough. Take a smaller --size, batch (--set batch=...) or pictures."
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def total(parts: Any, name: str) -> Tensor:
    """Return the sum of the parts of a loss.

    Args:
        parts: what `loss` returned.
        name: what errors call the model.

    Raises:
        InvalidInputError: they are no dict of numbers, or none depends on the weights.
    """
    named = cast(dict[Any, Any], parts) if isinstance(parts, dict) else {}
    good = all(
        isinstance(key, str) and isinstance(one, Tensor) and one.dim() == 0
        for key, one in named.items()
    )
    if not named or not good:
        raise InvalidInputError(
            f"{name}: loss() returns {shown(parts, 60)}; give a dict of tensors by name, each of "
            "one number and of shape ()."
        )
    found = torch.stack([*named.values()]).sum()
    if not found.requires_grad:
        raise InvalidInputError(f"{name}: loss() depends on no weight, so that nothing is learned.")
    return found


def _check_facts(model: Any, name: str, shapes: Shapes, facts: tuple[str, ...]) -> None:
    for fact in (one for one in facts if one != "context"):
        named: Any = getattr(model, fact)
        listed = cast(list[Any], [*named] if isinstance(named, tuple | list) else [None])  # type: ignore
        if not all(isinstance(one, str) for one in listed):
            raise InvalidInputError(f"{name}: {fact} is {shown(named)}; give names of columns.")
        missing = [one for one in listed if one not in shapes]
        if missing:
            raise InvalidInputError(
                f"{name}: {fact} {', '.join(missing)}, which the data lacks. It has "
                f"{', '.join(shapes)}."
            )
    if not is_policy(model) and not model.gives:
        raise InvalidInputError(f"{name}: gives no column, so that nobody could judge it.")
    if type(model.context) is not int or not 1 <= model.context <= 10_000:
        raise InvalidInputError(
            f"{name}: context is {shown(model.context)}; give a whole number from 1 on."
        )


def zeros(shapes: Shapes, columns: tuple[str, ...], batch: int, rows: int) -> dict[str, Tensor]:
    """Return rows of zeros of some columns, as `encode` takes them."""
    kinds = {"pixels": torch.uint8}
    return {
        one: torch.zeros(batch, rows, *shapes[one], dtype=kinds.get(one, torch.float32))
        for one in columns
    }


def _try(model: WorldModel, name: str, shapes: Shapes) -> None:
    batch, size = 2, shapes["action"]
    context = zeros(shapes, tuple(model.needs), batch, model.context)
    with torch.no_grad():
        state = model.encode(context, torch.zeros(batch, model.context - 1, *size))
        state = model.step(_state(state, name, "encode", batch), torch.zeros(batch, *size))
        found = model.decode(_state(state, name, "step", batch))
    for column in model.gives:
        want = (batch, *shapes[column])
        if column not in found or tuple(found[column].shape) != want:
            got = tuple(found[column].shape) if column in found else "nothing"
            raise InvalidInputError(f"{name}: decode() gives {got} for {column!r}, not {want}.")


def _try_policy(model: GoalPolicy, name: str, shapes: Shapes) -> None:
    batch = 2
    observation = zeros(shapes, tuple(model.sees), batch, model.context)
    goal = {one: rows[:, 0] for one, rows in zeros(shapes, tuple(model.aims), batch, 1).items()}
    with torch.no_grad():
        found: Any = model.policy(observation, goal)
    want, got = (batch, *shapes["action"]), tuple(getattr(found, "shape", ()))
    if got != want:
        raise InvalidInputError(f"{name}: policy() gives {got}, not actions {want}.")


def _state(state: Any, name: str, method: str, batch: int) -> State:
    good = isinstance(state, dict) and all(
        isinstance(one, Tensor) and one.dim() >= 1 and len(one) == batch
        for one in state.values()  # type: ignore
    )
    if not good:
        raise InvalidInputError(
            f"{name}: {method}() returns {shown(state, 60)}; give a dict of tensors, batch first."
        )
    return state  # type: ignore
