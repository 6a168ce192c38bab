"""What a training is, before it begins."""

from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

Whole = Annotated[int, Field(ge=1, le=10_000_000)]
Small = Annotated[int, Field(ge=1, le=10_000)]
Positive = Annotated[float, Field(gt=0, le=1e3, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Precision = Literal["bfloat16", "float32"]


def _quickest() -> Precision:
    """Return the precision in which this CPU trains faster.

    Without instructions for bfloat16, oneDNN's convolutions in it took 20 times those in float32.
    """
    known = getattr(torch.cpu, "get_capabilities", dict[str, bool])()
    return "bfloat16" if known.get("avx512_bf16") or known.get("amx_bf16") else "float32"


class Settings(BaseModel):
    """Settings that decide the weights, with the data and the machine's class.

    Attributes:
        updates: how many there are.
        batch: windows in an update.
        horizon: rows of a window after those that the model encodes.
        lr: learning rate of AdamW at its height; it rises for `warm_up` updates, then falls as a
            cosine to a fiftieth.
        weight_decay: of AdamW.
        clip: the largest norm of a gradient.
        seed: of weights, order, and what the model draws.
        threads: of PyTorch; another number gives other weights.
        precision: of the model's matrices while it trains; bfloat16 where the CPU has instructions
            for it, unless it is said.
        checks: how often the error on held-out episodes is computed.
        windows: how many held-out windows it is computed on.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    updates: Whole
    batch: Small = 8
    horizon: Small = 8
    lr: Positive = 2e-3
    weight_decay: Share = 1e-4
    warm_up: Small = 100
    clip: Positive = 1.0
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    precision: Precision = Field(default_factory=_quickest)
    checks: Annotated[int, Field(ge=1, le=1000)] = 10
    windows: Small = 64

    def checked_at(self) -> list[int]:
        """Return the updates after which the error on held-out episodes is computed."""
        steps = min(self.checks, self.updates)
        return [self.updates * (n + 1) // steps for n in range(steps)]

    def plain(self) -> dict[str, Any]:
        """Return them as plain JSON."""
        return self.model_dump()
