"""How well a model in training predicts episodes that no update sees."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from sandbox.dataset.batches import Batches
from sandbox.dataset.dataset import Dataset
from sandbox.models.protocol import Policy, WorldModel, is_policy
from sandbox.training.material import ready

HORIZONS = (1, 2, 4, 8)
_BATCH = 16
Batch = dict[str, Tensor]


class Judge:
    """Computes the error on the same windows again and again.

    Args:
        episodes: the held-out episodes.
        model: what is judged.
        horizon: rows after those that the model encodes.
        windows: how many windows, at most.

    Raises:
        InvalidInputError: no episode is long enough for a window.
    """

    def __init__(
        self, episodes: Dataset, model: WorldModel | Policy, horizon: int, windows: int
    ) -> None:
        self._model, self._column = model, "action" if is_policy(model) else model.gives[0]
        self._horizons = [one for one in HORIZONS if one <= horizon]
        columns = tuple(dict.fromkeys((*model.needs, self._column, "action")))
        every = Batches(episodes, _BATCH, model.context + horizon, columns, prefetch=0)
        self._batches = list[Batch]()
        for batch in every:
            self._batches.append(ready(batch))
            if len(self._batches) * _BATCH >= windows:
                break

    def error(self) -> float:
        """Return the mean squared error of the first column that the model gives, open loop.

        The mean is over horizons 1, 2, 4 and 8, windows, and elements; pictures are from 0 to 1.
        Of a policy, it is the error of its action, whose goal is the last row of the window.
        """
        model: Any = self._model
        model.eval()
        found = self._acted if is_policy(model) else self._imagined
        with torch.no_grad():
            each = [one for batch in self._batches for one in found(model, batch)]
        return sum(error for error, _ in each) / sum(count for _, count in each)

    def _imagined(self, model: WorldModel, batch: Batch) -> Iterator[tuple[float, int]]:
        """Yield the error at each horizon, times the windows, and how many these are."""
        begin = model.context
        seen = {name: batch[name][:, :begin] for name in model.needs}
        state = model.encode(seen, batch["action"][:, : begin - 1])
        for step in range(1, max(self._horizons) + 1):
            state = model.step(state, batch["action"][:, begin - 2 + step])
            if step in self._horizons:
                found = model.decode(state)[self._column]
                want = batch[self._column][:, begin - 1 + step]
                want = want.float() / 255 if want.dtype == torch.uint8 else want
                yield float((found - want).square().mean()) * len(want), len(want)

    def _acted(self, model: Policy, batch: Batch) -> Iterator[tuple[float, int]]:
        """Yield the error of the action after the context, towards the last row."""
        seen = {name: batch[name][:, : model.context] for name in model.sees}
        found = model.policy(seen, {name: batch[name][:, -1] for name in model.aims})
        want = batch["action"][:, model.context - 1]
        yield float((found - want).square().mean()) * len(want), len(want)
