"""Updates of a model's weights: one at a time, the same bytes from the same state."""

import hashlib
import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from sandbox.errors import SandboxError, TrainingError
from sandbox.models.protocol import Learner, said, total
from sandbox.training.settings import Settings

_LAST = 0.02  # The learning rate at the end, as a share of its height.


class Trainer:
    """A model, its optimiser, and how many updates they have had.

    Args:
        model: the model.
        settings: of the training.

    Attributes:
        model: the model.
        done: the number of updates.
        whole: whether the weights are those after so many; not in the middle of an update.
    """

    def __init__(self, model: Learner, settings: Settings) -> None:
        self.model, self.done, self.whole, self._settings = model, 0, True, settings
        self._weights = [one for one in model.parameters() if one.requires_grad]
        self._optimiser = torch.optim.AdamW(
            self._weights, settings.lr, weight_decay=settings.weight_decay
        )

    def update(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        """Change the weights once; return the parts of the loss, and the gradient's norm.

        Raises:
            TrainingError: the loss is not finite, or the model fails. The weights are as they were.
        """
        with failing(f"update {self.done}"):
            return self._updated(batch)

    def _updated(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        settings = self._settings
        seed(settings.seed, self.done)
        self.model.train()
        progress = self.done / settings.updates
        for group in self._optimiser.param_groups:
            group["lr"] = settings.lr * _share(self.done, settings)
        low = settings.precision == "bfloat16"
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            parts = self.model.loss(batch, progress)
        loss = total(parts, "the model")
        if not torch.isfinite(loss):
            each = ", ".join(f"{name} {float(one.detach()):g}" for name, one in parts.items())
            raise TrainingError(
                f"update {self.done}: the loss is not finite ({each}). Look at the data with "
                "`sandbox doctor`, or lower the learning rate (--set lr=...)."
            )
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
        norm = torch.nn.utils.clip_grad_norm_(self._weights, settings.clip)
        self.whole = False
        self._optimiser.step()  # pyright: ignore[reportUnknownMemberType]
        self.done, self.whole = self.done + 1, True
        found = {name: float(one.detach()) for name, one in parts.items()}
        return {"loss": float(loss.detach()), **found, "gradient": float(norm)}

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the model's weights, by name."""
        every = self.model.state_dict()
        return {name: one.detach().clone() for name, one in every.items()}

    def state(self) -> dict[str, Tensor]:
        """Return all that the next update depends on, as tensors by name."""
        found = {f"last.{name}": one for name, one in self.weights().items()}
        known: dict[int, dict[str, Any]] = self._optimiser.state_dict()["state"]
        for number, kept in known.items():
            found |= {f"adamw.{number}.{name}": one.detach().clone() for name, one in kept.items()}
        return found

    def load(self, state: Mapping[str, Tensor], done: int) -> None:
        """Go on where a state was taken."""
        self.model.load_state_dict(_under(state, "last."))
        kept = dict[int, dict[str, Tensor]]()
        for name, one in _under(state, "adamw.").items():
            number, _, what = name.partition(".")
            kept.setdefault(int(number), {})[what] = one
        whole = self._optimiser.state_dict()
        self._optimiser.load_state_dict({**whole, "state": kept})
        self.done = done


@contextmanager
def failing(where: str) -> Generator[None]:
    """Say in a TrainingError how a model fails, where it may: such as for lack of memory."""
    try:
        yield
    except SandboxError:
        raise
    except Exception as error:  # Anything may happen in a module of somebody's.
        raise TrainingError(
            f"{where}: the model fails: {said(error).rstrip('.')}. What was done before is kept."
        ) from error


def seed(*numbers: int) -> None:
    """Seed what a model draws by chance: PyTorch's global generator."""
    drawn = hashlib.sha256(repr(numbers).encode()).digest()[:8]
    torch.manual_seed(int.from_bytes(drawn, "little") >> 1)  # pyright: ignore


def digest(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of weights: the evidence of the updates that made them."""
    found = hashlib.sha256()
    for name in sorted(weights):
        one = weights[name].detach().cpu().contiguous()
        found.update(f"{name} {one.dtype} {tuple(one.shape)}\n".encode())
        found.update(one.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _share(done: int, settings: Settings) -> float:
    """Return the learning rate of an update, as a share of its height."""
    rise = min(1.0, (done + 1) / settings.warm_up)
    left = max(1, settings.updates - settings.warm_up)
    fall = min(1.0, max(0.0, (done - settings.warm_up) / left))
    return rise * (_LAST + (1 - _LAST) * 0.5 * (1 + math.cos(math.pi * fall)))


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: one for name, one in state.items() if name.startswith(prefix)}
