"""What updates and imagined steps compute: counted, so that a bill follows from numbers alone."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sandbox.models.protocol import WorldModel

_MILLION = 1_000_000


def mflop(compute: Callable[[], Any]) -> int:
    """Return the multiplications and additions of what a function computes, in millions.

    Those of matrix products and convolutions are counted, by PyTorch's `FlopCounterMode`; they
    depend on shapes alone, not on machine or values.
    """
    with FlopCounterMode(display=False) as counter:
        compute()
    return -(-int(counter.get_total_flops()) // _MILLION)


def of_update(model: WorldModel, batch: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the work of one update, per meter unit."""

    def update() -> None:
        total = torch.stack([*model.loss(batch, 0.0).values()]).sum()
        total.backward()  # pyright: ignore[reportUnknownMemberType]
        model.zero_grad(set_to_none=True)

    return {"train_step": 1, "model_mflop": mflop(update)}
