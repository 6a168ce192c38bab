"""A learned model behind planners: candidates are imagined, and compared with the goal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sandbox.errors import InvalidInputError
from sandbox.imagination.dreamer import quiet
from sandbox.models import Checkpoint
from sandbox.models.pictures import MOVES
from sandbox.models.protocol import WorldModel, imagining

PIXELS = "pixels"
_EVERY = 4  # Steps between the pictures that are compared with the goal's, and the last.
_MOVING = 20.0  # How much more pixels weigh that differ between here and the goal.


class Imagined:
    """A model for `sandbox goals run --agent icem --set model=CHECKPOINT.safetensors`.

    Each candidate is imagined from the pictures that were observed, and costs the squared error of
    its pictures, each fourth and the last, to the goal's; pixels that differ between here and the
    goal weigh 21 times as much.

    Args:
        path: a checkpoint of `sandbox.train`.

    Attributes:
        observation, image_size, antialias: what an agent with it observes.
        digest: of the checkpoint's model.

    Raises:
        InvalidInputError: the model does not see and give pictures, alone.
    """

    def __init__(self, path: str | Path) -> None:
        checkpoint = Checkpoint.read(path)
        self._model = imagining(checkpoint.model(), str(path))
        self.digest = checkpoint.digest
        if tuple(self._model.needs) != (PIXELS,) or PIXELS not in self._model.gives:
            raise InvalidInputError(
                f"{path}: needs {', '.join(self._model.needs)} and gives "
                f"{', '.join(self._model.gives)}; planning compares pictures, and takes a model "
                "that sees them alone."
            )
        self.observation = (PIXELS,)
        self.image_size = checkpoint.facts.row_shapes[PIXELS][1]
        self.antialias = checkpoint.facts.data.antialias

    def rollout(self, start: Any, actions: NDArray[np.float32]) -> Tensor:
        """Return what candidates cost, float32 (N,).

        Args:
            start: a `goals.modelled.Start`.
            actions: float32 (N, steps, A).
        """
        return cost(rollout(self._model, start, actions, PIXELS), start)


def rollout(
    model: WorldModel, start: Any, actions: NDArray[np.float32], column: str, every: int = _EVERY
) -> dict[int, Tensor]:
    """Return what a model imagines of candidates, by step: (N, ...) at some and the last.

    Args:
        model: the model.
        start: a `goals.modelled.Start`, whose observations have what the model needs.
        actions: float32 (N, steps, A).
        column: the column that it gives.
        every: how many steps lie between those that are imagined.
    """
    rows = start.observations[-model.context :]
    past = np.array(start.actions, np.float32)[len(start.actions) - len(rows) + 1 :]
    seen = {name: torch.stack([_row(name, one) for one in rows])[None] for name in model.needs}
    candidates, found = torch.tensor(actions), dict[int, Tensor]()
    with quiet():
        state = model.encode(seen, torch.tensor(past)[None])
        state = {n: one.expand(len(candidates), *one.shape[1:]) for n, one in state.items()}
        for step in range(candidates.shape[1]):
            state = model.step(state, candidates[:, step])
            if compared(step, candidates.shape[1], every):
                found[step] = model.decode(state)[column]
    return found


def compared(step: int, steps: int, every: int = _EVERY) -> bool:
    """Return whether the row after a step is compared with the goal, of so many steps."""
    return (step + 1) % every == 0 or step + 1 == steps


def cost(pictures: Mapping[int, Tensor], start: Any) -> Tensor:
    """Return what pictures (N, 3, H, W) of steps cost, float32 (N,)."""
    goal, here = (_row(PIXELS, one).float() / 255 for one in (start.goal, start.observations[-1]))
    weight = 1 + _MOVING * ((goal - here).abs() > MOVES / 255).any(0).float()
    each = [((one - goal).square().mean(1) * weight).mean((1, 2)) for one in pictures.values()]
    return torch.stack(each).mean(0)


def _row(name: str, observation: Any) -> Tensor:
    """Return an observed row as models take it: pictures (3, H, W) uint8, numbers float32."""
    found = cast(Any, observation)[name] if isinstance(observation, Mapping) else observation
    if name == PIXELS:
        return torch.tensor(np.asarray(found, np.uint8)).permute(2, 0, 1)
    return torch.tensor(np.asarray(found, np.float32))
