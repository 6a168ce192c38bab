"""What updates and imagined steps compute: counted, so that a bill follows from numbers alone."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from sandbox.errors import InvalidInputError, SandboxError
from sandbox.models.protocol import Learner, said, total

_MILLION = 1_000_000


def mflop(compute: Callable[[], Any]) -> int:
    """Return the multiplications and additions of what a function computes, in millions.

    Those of matrix products and convolutions are counted, by PyTorch's formulas; they depend on
    shapes alone, not on machine or values.
    """
    return -(-operations(compute) // _MILLION)


def operations(compute: Callable[[], Any]) -> int:
    """Return the multiplications and additions of what a function computes."""
    with _Counter() as counter:
        compute()
    return counter.total


class _Counter(TorchDispatchMode):
    """Counts what PyTorch's `FlopCounterMode` counts, without the seconds that it takes to begin.

    That mode imports torch's compiler, so that it is not compiled itself.
    """

    def __init__(self) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        keywords: dict[str, Any] = kwargs or {}
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:
            with self:
                parts = func.decompose(*args, **keywords)
            if parts is not NotImplemented:
                return parts
        found = func(*args, **keywords)
        if formula is not None:
            self.total += int(formula(*args, **keywords, out_val=found))
        return found


def of_update(model: Learner, name: str, batch: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the work of one update, per meter unit: it is tried once.

    Args:
        model: the model.
        name: what errors call it.
        batch: windows, as an update takes them.

    Raises:
        InvalidInputError: its loss fails, or is none.
    """

    def update() -> None:
        total(model.loss(batch, 0.0), name).backward()  # pyright: ignore[reportUnknownMemberType]
        model.zero_grad(set_to_none=True)

    try:
        return {"train_step": 1, "model_mflop": mflop(update)}
    except SandboxError:
        raise
    except Exception as error:  # Anything may happen in a module of somebody's.
        raise InvalidInputError(f"{name}: its loss fails on a batch: {said(error)}") from error
