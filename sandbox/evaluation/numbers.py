"""How far predicted numbers are from true ones, in units of how much they vary."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sandbox.dataset.dataset import Dataset
from sandbox.dataset.scales import scales
from sandbox.evaluation.folds import Folds
from sandbox.evaluation.imagining import COPY, RIDGE, VELOCITY, Asked, gathered
from sandbox.evaluation.ridge import WINDOWS, Ridge
from sandbox.evaluation.windows import Windows

F64, Bools = NDArray[np.float64], NDArray[np.bool_]
MOVED = 0.1  # Deviations by which an element has moved since the last row seen.


def deviations(dataset: Dataset, column: str) -> F64:
    """Return the unit of each element (see `scales`); NaN where it is constant: it is left out."""
    found = scales(dataset.schema[column], dataset.statistics([column])[column].std)
    return np.where(found > 0, found, np.nan)


def true(rows: F64, asked: Asked) -> F64:
    """Return the rows at the horizons, (windows, horizons, elements)."""
    return rows[:, [asked.context - 1 + h for h in asked.horizons]]


def known(rows: F64, asked: Asked) -> dict[str, F64]:
    """Return what copy-last and constant velocity say, each (windows, horizons, elements)."""
    last = rows[:, asked.context - 1, None]
    found = {COPY: np.repeat(last, len(asked.horizons), axis=1)}
    if asked.context > 1:
        step = last - rows[:, asked.context - 2, None]
        found[VELOCITY] = last + np.array(asked.horizons)[None, :, None] * step
    return found


def by_ridge(
    column: str, rows: Mapping[str, F64], windows: Windows, folds: Folds, asked: Asked, seed: int
) -> dict[str, F64]:
    """Return what ridge regression says, fitted on the episodes of the folds."""
    found = np.full((len(windows), len(asked.horizons), rows[column].shape[2]), np.nan)
    fold_of = folds.of_episode[windows.episode]
    for fold in range(len(folds.among)):
        mine = fold_of == fold
        if not mine.any():
            continue
        fitting = gathered(
            folds.windows(fold, asked.length, WINDOWS, seed), [*dict.fromkeys((column, "action"))]
        )
        ridge = Ridge.fitted(fitting[column], fitting["action"], asked.context, asked.horizons)
        found[mine] = ridge(rows[column][mine], rows["action"][mine])
    return {RIDGE: found}


def squares(predicted: F64, truth: F64, deviation: F64) -> F64:
    """Return squared errors in deviations, the mean over elements: (windows, horizons)."""
    varies = np.isfinite(deviation)
    return (((predicted - truth) / deviation)[..., varies] ** 2).mean(-1)


def nrmse(predicted: F64, truth: F64, deviation: F64) -> F64:
    """Return the root of the mean squared error in deviations, (horizons,)."""
    return np.sqrt(squares(predicted, truth, deviation).mean(0))


def moved(truth: F64, last: F64, deviation: F64) -> Bools:
    """Return which elements have moved since the last row seen, (windows, horizons, elements)."""
    return np.abs(truth - last[:, None]) > MOVED * deviation


def skill(predicted: F64, copied: F64, truth: F64, where: Bools | None = None) -> F64:
    """Return 1 - MSE / MSE of copying at each horizon: 0 is copying, 1 is perfect.

    Args:
        predicted: (windows, horizons, elements); elements count alike, in any unit that they share.
        copied: likewise.
        truth: likewise.
        where: which of them count; None is all.

    Returns:
        (horizons,); NaN where nothing counts, or copying is perfect.
    """
    count = np.ones(truth.shape, np.bool_) if where is None else where
    ours, theirs = ((np.square(one - truth) * count).sum((0, 2)) for one in (predicted, copied))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(theirs > 0, 1 - ours / theirs, np.nan)
