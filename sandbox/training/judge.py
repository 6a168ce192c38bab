"""How well a model in training predicts episodes that no update sees."""

import torch
from torch import Tensor

from sandbox.dataset.batches import Batches
from sandbox.dataset.dataset import Dataset
from sandbox.models.protocol import WorldModel
from sandbox.training.material import ready

HORIZONS = (1, 2, 4, 8)
_BATCH = 16


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

    def __init__(self, episodes: Dataset, model: WorldModel, horizon: int, windows: int) -> None:
        self._model, self._column = model, model.gives[0]
        self._horizons = [one for one in HORIZONS if one <= horizon]
        columns = tuple(dict.fromkeys((*model.needs, self._column, "action")))
        every = Batches(episodes, _BATCH, model.context + horizon, columns, prefetch=0)
        self._batches = list[dict[str, Tensor]]()
        for batch in every:
            self._batches.append(ready(batch))
            if len(self._batches) * _BATCH >= windows:
                break

    def error(self) -> float:
        """Return the mean squared error of the first column that the model gives, open loop.

        The mean is over horizons 1, 2, 4 and 8, windows, and elements; pictures are from 0 to 1.
        """
        model, total, count = self._model, 0.0, 0
        model.eval()
        with torch.no_grad():
            for batch in self._batches:
                begin = model.context
                seen = {name: batch[name][:, :begin] for name in model.needs}
                state = model.encode(seen, batch["action"][:, : begin - 1])
                for step in range(1, max(self._horizons) + 1):
                    state = model.step(state, batch["action"][:, begin - 2 + step])
                    if step in self._horizons:
                        found = model.decode(state)[self._column]
                        want = batch[self._column][:, begin - 1 + step]
                        want = want.float() / 255 if want.dtype == torch.uint8 else want
                        total += float((found - want).square().mean()) * len(want)
                        count += len(want)
        return total / count
