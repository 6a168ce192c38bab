"""By how much a model is better than others, with intervals by resampling episodes."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.estimates import bootstrap, iqms
from sandbox.evaluation import numbers
from sandbox.evaluation.imagining import COPY, MODEL, PIXELS, RIDGE, SHUFFLED, VELOCITY, ZEROS
from sandbox.evaluation.measuring import Measured
from sandbox.evaluation.pictures import MOVING_PSNR, PSNR, score

F64, I64 = NDArray[np.float64], NDArray[np.int64]
NRMSE = "nrmse"
OTHERS = (COPY, SHUFFLED, ZEROS, VELOCITY, RIDGE)
Pool = Callable[[F64], F64]  # Sums windows (windows, horizons) by episodes, or choices of these.
Of = Callable[[Pool], F64]  # Returns a score of pooled windows, or a difference of two.


def gains(measured: Measured) -> list[dict[str, Any]]:
    """Return by how much the model is better than others, with intervals over episodes."""
    return [
        _gain(measured, column, measure, other, partial(_better, every, other, measure))
        for column, measure, every in measures(measured)
        for other in OTHERS
        if other in every and MODEL in every
    ]


def measures(measured: Measured) -> Iterator[tuple[str, str, dict[str, Of]]]:
    """Yield a column, a measure of it, and its scores by who predicts."""
    sums = measured.found.sums
    for measure in (PSNR, MOVING_PSNR) if sums else ():
        yield (
            PIXELS,
            measure,
            {who: partial(_scored, one.parts, measure) for who, one in sums.items()},
        )
    for column, every in measured.vectors().items():
        truth, deviation = measured.truth[column], measured.deviations[column]
        squares = {who: numbers.squares(one, truth, deviation) for who, one in every.items()}
        yield column, NRMSE, {who: partial(_rooted, one) for who, one in squares.items()}


def by_episode(measured: Measured) -> Pool:
    """Return what sums windows (windows, horizons) by their episodes, (episodes, horizons)."""
    names, place = np.unique(measured.windows.episode, return_inverse=True)

    def pool(part: F64) -> F64:
        total = np.zeros((len(names), part.shape[1]))
        np.add.at(total, place, part)
        return total

    return pool


def _scored(parts: Mapping[str, F64], measure: str, pool: Pool) -> F64:
    """Return a score of pictures from pooled sums."""
    return score({name: pool(part)[..., None, :] for name, part in parts.items()}, measure)


def _rooted(squares: F64, pool: Pool) -> F64:
    """Return a root mean square from pooled sums."""
    return np.sqrt(pool(squares) / pool(np.ones_like(squares)))


def _better(every: Mapping[str, Of], other: str, measure: str, pool: Pool) -> F64:
    """Return by how much the model is better than another."""
    apart = every[MODEL](pool) - every[other](pool)
    return -apart if measure == NRMSE else apart


def _gain(measured: Measured, column: str, measure: str, other: str, of: Of) -> dict[str, Any]:
    """Return a difference over pooled windows, and the IQM of the differences of episodes."""
    pool, groups = by_episode(measured), strata(measured)
    each = of(pool)  # (episodes, horizons)
    each_known = np.where(np.isfinite(each), each, np.nan)

    def pooled(chosen: I64) -> F64:
        return of(lambda part: pool(part)[chosen].sum(1))

    def middle(chosen: I64) -> F64:
        columns = [each_known[:, n][chosen] for n in range(each.shape[1])]
        return np.stack([iqms(one) for one in columns], axis=1)

    return {
        "column": column,
        "measure": measure,
        "over": other,
        "pooled": [one and vars(one) for one in bootstrap(groups, pooled)],
        "iqm": [one and vars(one) for one in bootstrap(groups, middle)],
    }


def strata(measured: Measured) -> I64:
    """Return the stratum of each episode that has windows, int64 (episodes,).

    Those of one world, scenario, split and policy are one.
    """
    columns = measured.held_out.episodes.facts.columns
    told = [columns[name] for name in ("environment", "scenario", "split", "policy")]
    every = np.unique(np.stack(told, 1), axis=0, return_inverse=True)[1].reshape(-1)
    return every[np.unique(measured.windows.episode)]
