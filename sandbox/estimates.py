"""What samples say: means with intervals, by Student's t or by resampling whole episodes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64, I64 = NDArray[np.float64], NDArray[np.int64]
RESAMPLES = 2000
_LEVELS = (0.025, 0.975)
_AT_ONCE = 1 << 22  # Numbers that are drawn together.


@dataclass(frozen=True)
class Interval:
    """A value with its interval of 95 %.

    Attributes:
        value, low, high: in any unit.
    """

    value: float
    low: float
    high: float


def mean(values: Sequence[float]) -> Interval | None:
    """Return the mean of samples, such as seeds, with Student's interval; None of fewer than 2."""
    if len(values) < 2:
        return None
    middle, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    half = student(len(values) - 1, 0.95) * spread / math.sqrt(len(values))
    return Interval(middle, middle - half, middle + half)


def iqm(values: Sequence[float]) -> float:
    """Return the mean of the middle half of values (Agarwal et al. 2021); NaN of none."""
    return float(iqms(np.array([values], np.float64))[0]) if len(values) else math.nan


def iqms(rows: F64) -> F64:
    """Return the mean of the middle half of each row (n, values), which has at least one value."""
    ordered, count = np.sort(rows, axis=1), rows.shape[1]
    edges, quarter = np.arange(count + 1, dtype=np.float64), count / 4
    inside = np.minimum(edges[1:], count - quarter) - np.maximum(edges[:-1], quarter)
    weights = np.clip(inside, 0.0, 1.0)  # Values at the two ends count in part.
    return (ordered * weights).sum(1) / weights.sum()


def bootstrap(
    strata: NDArray[Any], of: Callable[[I64], F64], seed: int = 0, resamples: int = RESAMPLES
) -> list[Interval | None]:
    """Return statistics of episodes, each with its interval: percentiles of resamples.

    Episodes are drawn again with replacement, from each stratum as many as it has.

    Args:
        strata: the stratum of each episode, (episodes,).
        of: returns the statistics of choices of episodes, (choices, statistics), from their
            numbers, int64 (choices, episodes).
        seed: seed of the draws.
        resamples: how many are drawn.

    Returns:
        One for each statistic; None where it is not finite, or there is one episode alone.
    """
    count = len(strata)
    value = of(np.arange(count, dtype=np.int64)[None])[0]
    if count < 2:
        return [None] * len(value)
    rng, drawn = np.random.default_rng(seed), list[F64]()
    for size in _sizes(count, resamples):
        drawn.append(of(_drawn(strata, size, rng)))
    return _intervals(value, drawn)


def crossed(scores: F64, strata: NDArray[Any], seed: int = 0) -> Interval | None:
    """Return the IQM of scores of several runs, with an interval: both are drawn again.

    Runs, such as the seeds of a model, and episodes are drawn again with replacement, from each
    stratum as many episodes as it has. An episode without a score of every run is left out.

    Args:
        scores: of every run and episode, (runs, episodes).
        strata: the stratum of each episode, (episodes,).
        seed: seed of the draws.

    Returns:
        None where there is one run alone, or no episode.
    """
    known = np.isfinite(scores).all(0)
    scores, strata = scores[:, known], strata[known]
    runs = len(scores)
    if runs < 2 or not scores.size:
        return None
    rng, drawn = np.random.default_rng(seed), list[F64]()
    for size in _sizes(scores.size, RESAMPLES):
        chosen = _drawn(strata, size, rng)[:, None]
        again = scores[rng.integers(0, runs, (size, runs, 1)), chosen]
        drawn.append(iqms(again.reshape(size, -1))[:, None])
    return _intervals(iqms(scores.reshape(1, -1)), drawn)[0]


def _sizes(count: int, resamples: int) -> list[int]:
    """Return how many resamples of so many numbers are drawn together, each time."""
    step = max(1, _AT_ONCE // count)
    return [min(step, resamples - first) for first in range(0, resamples, step)]


def _drawn(strata: NDArray[Any], size: int, rng: np.random.Generator) -> I64:
    """Return choices of episodes, (size, episodes): of each stratum as many as it has."""
    groups = [np.flatnonzero(strata == one) for one in np.unique(strata)]
    chosen = [group[rng.integers(0, len(group), (size, len(group)))] for group in groups]
    return np.concatenate(chosen, axis=1)


def _intervals(value: F64, drawn: Sequence[F64]) -> list[Interval | None]:
    low, high = np.quantile(np.concatenate(drawn), _LEVELS, axis=0)
    found = np.stack([value, low, high], axis=1)
    return [Interval(*one) if np.isfinite(one).all() else None for one in found.tolist()]


def student(freedom: int, level: float) -> float:
    """Return the t between which and its negative a share of Student's distribution lies.

    Args:
        freedom: degrees of freedom, at least 1.
        level: the share, such as 0.95.
    """
    low, high = 0.0, 1.0  # Of the angle whose tangent is t / sqrt(freedom), in right angles.
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(freedom, middle) < level else (low, middle)
    return math.sqrt(freedom) * math.tan(math.pi / 2 * low)


def _within(freedom: int, angle: float) -> float:
    """Return the share of Student's distribution within an angle (Abramowitz and Stegun 26.7.3)."""
    sine, cosine = math.sin(math.pi / 2 * angle), math.cos(math.pi / 2 * angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine**2 * k / (k + 1)
    return angle + 2 / math.pi * sine * total if odd else sine * total
