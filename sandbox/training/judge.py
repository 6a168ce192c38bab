"""How well a model in training predicts episodes that no update sees."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Self, cast

import torch
from torch import Tensor

from sandbox.dataset.batches import Batches
from sandbox.dataset.dataset import Dataset
from sandbox.dataset.scales import scales
from sandbox.models.protocol import GoalPolicy, WorldModel, is_policy
from sandbox.training.material import check_windows, ready

HORIZONS = (1, 2, 4, 8)
BATCH = 16
Batch = dict[str, Tensor]


class Judge:
    """Computes the error on the same windows again and again.

    Args:
        batches: the windows.
        model: what is judged.
        horizon: rows after those that the model encodes.
        deviations: units of the elements of the column that is judged, 0 where nothing varies;
            None for pictures and actions.
    """

    def __init__(
        self,
        batches: Sequence[Batch],
        model: WorldModel | GoalPolicy,
        horizon: int,
        deviations: Tensor | None = None,
    ) -> None:
        self._batches, self._model, self._column = batches, model, _judged_by(model)
        self._horizons = [one for one in HORIZONS if one <= horizon]
        self._scale = torch.ones(())
        if deviations is not None:
            self._scale = torch.where(deviations > 0, deviations, 1.0)

    @classmethod
    def of(
        cls, episodes: Dataset, model: WorldModel | GoalPolicy, horizon: int, windows: int
    ) -> Self:
        """Return what judges a model on held-out episodes, by some windows at most.

        Raises:
            InvalidInputError: no episode is long enough for a window.
        """
        check_windows(episodes, model.context, horizon, 1, "that pick the weights")
        column, deviations = _judged_by(model), None
        if column not in ("pixels", "action"):
            std = episodes.statistics([column])[column].std
            deviations = torch.tensor(scales(episodes.schema[column], std)).float()
        columns = tuple(dict.fromkeys((*model.needs, column, "action")))
        every = Batches(episodes, BATCH, model.context + horizon, columns, prefetch=0)
        chosen = [ready(batch) for batch in islice(every, -(-windows // BATCH))]
        return cls(chosen, model, horizon, deviations)

    def error(self) -> float:
        """Return the mean squared error of the first column that the model gives, open loop.

        The mean is over horizons 1, 2, 4 and 8, windows, and elements; pictures are from 0 to 1,
        and numbers in their `scales` over the held-out episodes. Of a policy,
        it is the error of its action, whose goal is the last row of the window.
        """
        self._model.eval()
        with torch.no_grad():
            each = [one for batch in self._batches for one in self._errors(batch)]
        return sum(error for error, _ in each) / sum(count for _, count in each)

    def _errors(self, batch: Batch) -> Iterator[tuple[float, int]]:
        model = self._model
        if is_policy(model):
            return self._acted(model, batch)
        return self._imagined(cast(WorldModel, model), batch)

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
                apart = (found - want) / self._scale
                yield float(apart.square().mean()) * len(want), len(want)

    def _acted(self, model: GoalPolicy, batch: Batch) -> Iterator[tuple[float, int]]:
        """Yield the error of the action after the context, towards the last row."""
        seen = {name: batch[name][:, : model.context] for name in model.sees}
        found = model.policy(seen, {name: batch[name][:, -1] for name in model.aims})
        want = batch["action"][:, model.context - 1]
        yield float((found - want).square().mean()) * len(want), len(want)


def _judged_by(model: WorldModel | GoalPolicy) -> str:
    """Return the column whose error is computed."""
    return "action" if is_policy(model) else model.gives[0]
