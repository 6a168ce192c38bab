"""A learned model behind planners: candidates are imagined, and compared with the goal."""

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
from sandbox.models.protocol import imagining

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
        observation, image_size: what an agent with it observes.
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

    def rollout(self, start: Any, actions: NDArray[np.float32]) -> Tensor:
        """Return what candidates cost, float32 (N,).

        Args:
            start: a `goals.modelled.Start`.
            actions: float32 (N, steps, A).
        """
        count = self._model.context
        seen = torch.stack([_picture(one) for one in start.observations[-count:]])
        past = np.array(start.actions, np.float32)[len(start.actions) - len(seen) + 1 :]
        goal = _picture(start.goal[PIXELS]).float() / 255
        here = seen[-1].float() / 255
        weight = 1 + _MOVING * ((goal - here).abs() > MOVES / 255).any(0).float()
        candidates = torch.tensor(actions)
        with quiet():
            state = self._model.encode({PIXELS: seen[None]}, torch.tensor(past)[None])
            state = {n: one.expand(len(candidates), *one.shape[1:]) for n, one in state.items()}
            costs = list[Tensor]()
            for step in range(candidates.shape[1]):
                state = self._model.step(state, candidates[:, step])
                if (step + 1) % _EVERY == 0 or step + 1 == candidates.shape[1]:
                    apart = (self._model.decode(state)[PIXELS] - goal).square().mean(1)
                    costs.append((apart * weight).mean((1, 2)))
            return torch.stack(costs).mean(0)


def _picture(observation: Any) -> Tensor:
    """Return an observed picture (H, W, 3) with channels first."""
    found = cast(Any, observation)[PIXELS] if isinstance(observation, dict) else observation
    return torch.tensor(np.asarray(found, np.uint8)).permute(2, 0, 1)
