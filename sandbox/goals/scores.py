"""What results say: rates with intervals, differences between agents, and plain means."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sandbox.estimates import iqm
from sandbox.goals.agents import FLOORS
from sandbox.goals.results import Results
from sandbox.goals.sets import GoalSet
from sandbox.goals.trials import Outcome

F64 = NDArray[np.float64]
MEASURES = ("strict", "strict_end", "moderate", "moderate_end")
_Z = 1.959963984540054  # Of a normal distribution, between which and its negative 95 % lie.
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Rate:
    """A share with its interval of 95 %.

    Attributes:
        value, low, high: from 0 to 1.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def wilson(share: float, count: int) -> Rate:
    """Return the interval of a share of `count` independent tries (Wilson 1927)."""
    square = _Z * _Z / count
    middle = (share + square / 2) / (1 + square)
    half = _Z / (1 + square) * math.sqrt(share * (1 - share) / count + square / (4 * count))
    return Rate(share, max(0.0, middle - half), min(1.0, middle + half))


def met(outcome: Outcome, measure: str) -> bool:
    """Return whether a try met a measure: reached at some step, or at the end."""
    if measure.endswith("_end"):
        return bool(getattr(outcome, measure))
    return getattr(outcome.hits, measure) is not None


def by_pair(results: Results, measure: str) -> F64:
    """Return for each pair the share of its seeds that met a measure."""
    met_by = np.zeros((len(results.head.seeds), results.head.pairs))
    for place, outcome in enumerate(results.outcomes):
        met_by[divmod(place, results.head.pairs)] = met(outcome, measure)
    return met_by.mean(0)


def rate(results: Results, measure: str) -> Rate:
    """Return how many pairs met a measure.

    The interval is that of as many tries as there are pairs: seeds of one pair are not independent.
    """
    each = by_pair(results, measure)
    return wilson(float(each.mean()), len(each))


def difference(one: Results, other: Results, measure: str) -> Rate:
    """Return by how much more pairs one met a measure than the other, on the same pairs.

    The interval is a paired bootstrap over pairs (percentiles of 10,000 resamples).
    """
    apart = by_pair(one, measure) - by_pair(other, measure)
    rng = np.random.default_rng(0)
    drawn = apart[rng.integers(0, len(apart), (_RESAMPLES, len(apart)))].mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return Rate(float(apart.mean()), low, high)


def regret(results: Results, goals: GoalSet, level: str = "strict") -> float:
    """Return how many steps more than the known solution were used: the IQM over pairs.

    Of a pair it is the mean of its seeds. A try that never reaches the goal has used its whole
    budget, so that giving up early pays nothing; one that is quicker counts below 0.

    Args:
        results: the results.
        goals: their set.
        level: the level that is to be reached, moderate or strict.
    """
    apart = np.zeros((len(results.head.seeds), results.head.pairs))
    for place, outcome in enumerate(results.outcomes):
        known, hit = (getattr(it.hits, level) for it in (goals.pairs[outcome.pair], outcome))
        used = goals.budget if hit is None else hit
        apart[divmod(place, results.head.pairs)] = used - known
    return iqm(apart.mean(0).tolist())


def by_task(results: Results, goals: GoalSet) -> dict[str, str]:
    """Return by the name of each task how many seeds reached it strictly; {} of another set."""
    shares = by_pair(results, "strict").tolist()
    return dict(zip(goals.tasks, (f"{100 * share:.0f} %" for share in shares), strict=False))


def lacking(every: Sequence[Results]) -> str:
    """Return which floors and ceilings results lack, and how to have them, or ""."""
    there = {one.head.agent for one in every}
    names = [name for name in FLOORS if name not in there]
    if not names:
        return ""
    said = ", ".join(f"{FLOORS[name]} {name}" for name in names)
    return (
        f"Missing: {said}. Rates say little without them. Have them by `sandbox goals run SET "
        f"--agent {names[0]} --out {names[0]}.json`, and report them together."
    )
