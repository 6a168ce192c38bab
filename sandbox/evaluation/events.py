"""Rewards and ends that a model predicts: their error, and how well they are told apart."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.evaluation.ranks import ranks

F64, Bools = NDArray[np.float64], NDArray[np.bool_]


def rewards(predicted: F64, truth: F64) -> dict[str, F64]:
    """Return how well rewards are predicted at each horizon.

    Args:
        predicted: (windows, horizons).
        truth: likewise.

    Returns:
        `rmse` of the model, and of predicting the mean of the truth; `correlation`, NaN where a
        side does not vary. Each is (horizons,).
    """
    away = truth - truth.mean(0)
    ours = predicted - predicted.mean(0)
    spread = np.sqrt((away**2).sum(0) * (ours**2).sum(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.where(spread > 0, (away * ours).sum(0) / spread, np.nan)
    return {
        "rmse": np.sqrt(((predicted - truth) ** 2).mean(0)),
        "rmse of the mean": np.sqrt((away**2).mean(0)),
        "correlation": correlation,
    }


def auc(scores: F64, labels: Bools) -> float:
    """Return how often a true case has a higher score than a false one; a tie counts half.

    Args:
        scores: (cases,).
        labels: likewise.

    Returns:
        From 0 to 1; NaN if one kind of case is missing.
    """
    true, false = int(labels.sum()), int((~labels).sum())
    if not true or not false:
        return float("nan")
    return float((ranks(scores)[labels].sum() - true * (true + 1) / 2) / (true * false))


def ends(scores: F64, labels: Bools) -> dict[str, Any]:
    """Return how well ends are told from other rows, from (cases,) of each."""
    found = auc(scores, labels)
    return {"cases": len(labels), "ends": int(labels.sum()), "auc": found}
