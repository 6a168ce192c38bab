"""Ridge regression of a column's numbers: linear in what was seen and in the actions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sandbox.evaluation.windows import tensor

F64 = NDArray[np.float64]
STRENGTH = 1e-3  # Of the penalty, for each window.
WINDOWS = 2000  # On which it is fitted, at most.


@dataclass(frozen=True)
class Ridge:
    """Predicts how a column changes from the last row seen to each horizon.

    Attributes:
        context: rows that are seen.
        horizons: the horizons.
        means, scales: of the features of each horizon.
        weights: of each horizon, (features + 1, elements); the last is a constant.
    """

    context: int
    horizons: tuple[int, ...]
    means: tuple[F64, ...]
    scales: tuple[F64, ...]
    weights: tuple[F64, ...]

    @classmethod
    def fitted(cls, rows: F64, actions: F64, context: int, horizons: Sequence[int]) -> Self:
        """Fit it on windows.

        Args:
            rows: the column, (windows, context + longest horizon, elements).
            actions: those taken at these rows, (windows, context + longest horizon, A).
            context: rows that are seen.
            horizons: rows after them to predict.
        """
        means, scales, weights = list[F64](), list[F64](), list[F64]()
        for horizon in horizons:
            plain = _features(rows, actions, context, horizon)
            mean, scale = plain.mean(0), plain.std(0)
            scale = np.where(scale > 1e-9, scale, 1.0)
            features = _with_one((plain - mean) / scale)
            target = rows[:, context - 1 + horizon] - rows[:, context - 1]
            weights.append(_solved(features, target))
            means.append(mean)
            scales.append(scale)
        return cls(context, tuple(horizons), tuple(means), tuple(scales), tuple(weights))

    def __call__(self, rows: F64, actions: F64) -> F64:
        """Return predictions (windows, horizons, elements), of windows as `fitted` takes them."""
        last, found = rows[:, self.context - 1], list[F64]()
        for n, horizon in enumerate(self.horizons):
            plain = _features(rows, actions, self.context, horizon)
            features = _with_one((plain - self.means[n]) / self.scales[n])
            weights = tensor(self.weights[n])
            found.append(last + (tensor(features) @ weights).numpy())
        return np.stack(found, axis=1)


def _features(rows: F64, actions: F64, context: int, horizon: int) -> F64:
    """Return the last row, the changes before it, and the actions, (windows, features)."""
    seen, count = rows[:, :context], len(rows)
    taken = actions[:, : context - 1 + horizon].reshape(count, -1)
    changes = np.diff(seen, axis=1).reshape(count, -1)
    return np.concatenate([seen[:, -1], changes, taken], axis=1)


def _with_one(features: F64) -> F64:
    return np.concatenate([features, np.ones((len(features), 1))], axis=1)


def _solved(features: F64, target: F64) -> F64:
    """Return the weights (features, elements); the last, of the constant, is not penalised.

    PyTorch computes them, with as many threads as it was given.
    """
    x, y = tensor(features), tensor(target)
    strength = torch.full((x.shape[1],), STRENGTH * len(x), dtype=torch.float64)
    strength[-1] = 1e-9 * len(x)
    solve = cast(Callable[[Tensor, Tensor], Tensor], torch.linalg.solve)  # pyright: ignore
    return solve(x.T @ x + torch.diag(strength), x.T @ y).numpy()
