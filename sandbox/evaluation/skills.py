"""Skill over copying: of what is read in predicted pictures, and of the model's own numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.evaluation import numbers
from sandbox.evaluation.figures import ordered
from sandbox.evaluation.imagining import COPY, REAL
from sandbox.evaluation.measuring import Measured

F64, Bools = NDArray[np.float64], NDArray[np.bool_]
READABLE = 0.5  # Of the variance: an element is readable if real frames explain so much.


def poses(measured: Measured) -> dict[str, Any] | None:
    """Return what a network reads in predicted pictures, as skill over copying; None if nothing.

    Copying is reading the last true picture. What real frames explain is of rows at all horizons.
    """
    column, read = measured.pose, measured.found.read
    if column is None or measured.folds is None:
        return None
    truth, deviation = measured.truth[column], measured.deviations[column]
    moved = numbers.moved(truth, measured.last[column], deviation)
    own = measured.held_out.episodes.statistics([column])[column].std.reshape(-1)
    varies = np.where(np.isfinite(deviation) & (own > 0), own, np.nan)
    explained = 1 - ((read[REAL] - truth) ** 2).mean((0, 1)) / varies**2
    readable = np.nan_to_num(explained, nan=-1.0) >= READABLE
    names = measured.held_out.episodes.schema[column].elements
    names = names or tuple(f"{column} {n}" for n in range(len(deviation)))
    elements = [
        {
            "name": names[n],
            "explained": explained[n],
            "moved": moved[:, :, n].mean(0),
            **_both(read, truth, moved, deviation, np.arange(len(names)) == n),
        }
        for n in np.flatnonzero(readable).tolist()
    ]
    return {
        "column": column,
        "fitted_on": measured.folds.named,
        "elements": elements,
        "unreadable": [names[n] for n in np.flatnonzero(~readable & np.isfinite(deviation))],
        **_both(read, truth, moved, deviation, readable),
    }


def heads(measured: Measured) -> dict[str, Any]:
    """Return how well the model's own numbers predict, as skill over copying the true ones."""
    found = dict[str, Any]()
    for column, every in measured.vectors().items():
        truth, deviation = measured.truth[column], measured.deviations[column]
        moved = numbers.moved(truth, measured.last[column], deviation)
        found[column] = _both(every, truth, moved, deviation, np.isfinite(deviation))
    return found


def _both(
    every: Mapping[str, F64], truth: F64, moved: Bools, deviation: F64, some: Bools
) -> dict[str, dict[str, F64]]:
    """Return the skill of some elements, in their deviations: of all windows, and where they move.

    Args:
        every: by who predicts: (windows, horizons, elements).
        truth: what is true.
        moved: which elements have moved.
        deviation: of the elements.
        some: which elements count.
    """
    scaled = {who: (one / deviation)[..., some] for who, one in every.items()}
    target = (truth / deviation)[..., some]
    return {
        name: ordered(
            {
                who: numbers.skill(one, scaled[COPY], target, where)
                for who, one in scaled.items()
                if who != COPY
            }
        )
        for name, where in (("skill", None), ("skill_moved", moved[..., some]))
    }
