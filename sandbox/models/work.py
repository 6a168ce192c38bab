"""What updates and imagined steps compute: counted, so that a bill follows from numbers alone."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from sandbox.models.protocol import Learner

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


def of_update(model: Learner, batch: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the work of one update, per meter unit."""

    def update() -> None:
        total = torch.stack([*model.loss(batch, 0.0).values()]).sum()
        total.backward()  # pyright: ignore[reportUnknownMemberType]
        model.zero_grad(set_to_none=True)

    return {"train_step": 1, "model_mflop": mflop(update)}
