"""By how much a model is better than others, with intervals by resampling episodes."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.estimates import bootstrap, iqms
from sandbox.evaluation import numbers
from sandbox.evaluation.imagining import COPY, MODEL, PIXELS, RIDGE, SHUFFLED, VELOCITY, ZEROS
from sandbox.evaluation.measuring import Measured
from sandbox.evaluation.pictures import MOVING_PSNR, PSNR, score

F64, I64 = NDArray[np.float64], NDArray[np.int64]
OTHERS = (COPY, SHUFFLED, ZEROS, VELOCITY, RIDGE)
Pool = Callable[[F64], F64]  # Sums windows (windows, horizons) by episodes, or choices of these.
Of = Callable[[Pool], F64]  # Returns a difference of pooled windows.


def gains(measured: Measured) -> list[dict[str, Any]]:
    """Return by how much the model is better than others, with intervals over episodes."""
    found, sums = list[dict[str, Any]](), measured.found.sums
    for measure in (PSNR, MOVING_PSNR):
        for other in (one for one in OTHERS if one in sums):
            if MODEL in sums:
                of = _scored(sums[MODEL].parts, sums[other].parts, measure)
                found.append(_gain(measured, PIXELS, measure, other, of))
    for column, every in measured.vectors().items():
        truth, deviation = measured.truth[column], measured.deviations[column]
        squares = {who: numbers.squares(one, truth, deviation) for who, one in every.items()}
        for other in (one for one in OTHERS if one in squares):
            of = _rooted(squares[MODEL], squares[other])
            found.append(_gain(measured, column, "nrmse", other, of))
    return found


def _scored(ours: Mapping[str, F64], theirs: Mapping[str, F64], measure: str) -> Of:
    """Return what computes the difference of two scores from pooled sums."""

    def of(pool: Pool) -> F64:
        one, other = (
            score({name: pool(part)[..., None, :] for name, part in parts.items()}, measure)
            for parts in (ours, theirs)
        )
        return one - other

    return of


def _rooted(ours: F64, theirs: F64) -> Of:
    """Return what computes by how much a root mean square is smaller, from pooled sums."""

    def of(pool: Pool) -> F64:
        count = pool(np.ones_like(ours))
        return np.sqrt(pool(theirs) / count) - np.sqrt(pool(ours) / count)

    return of


def _gain(measured: Measured, column: str, measure: str, other: str, of: Of) -> dict[str, Any]:
    """Return a difference over pooled windows, and the IQM of the differences of episodes."""
    episode = measured.windows.episode
    names, place = np.unique(episode, return_inverse=True)
    strata = _strata(measured)[names]

    def by_episode(part: F64) -> F64:
        total = np.zeros((len(names), part.shape[1]))
        np.add.at(total, place, part)
        return total

    each = of(by_episode)  # (episodes, horizons)
    each_known = np.where(np.isfinite(each), each, np.nan)

    def pooled(chosen: I64) -> F64:
        return of(lambda part: by_episode(part)[chosen].sum(1))

    def middle(chosen: I64) -> F64:
        columns = [each_known[:, n][chosen] for n in range(each.shape[1])]
        return np.stack([iqms(one) for one in columns], axis=1)

    return {
        "column": column,
        "measure": measure,
        "over": other,
        "pooled": [one and vars(one) for one in bootstrap(strata, pooled)],
        "iqm": [one and vars(one) for one in bootstrap(strata, middle)],
    }


def _strata(measured: Measured) -> I64:
    """Return the stratum of each episode: those of one world, scenario, split and policy."""
    columns = measured.held_out.episodes.facts.columns
    told = [columns[name] for name in ("environment", "scenario", "split", "policy")]
    return np.unique(np.stack(told, 1), axis=0, return_inverse=True)[1].reshape(-1)
