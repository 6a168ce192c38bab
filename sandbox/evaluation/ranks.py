"""Ranks: how well one order of numbers is that of others."""

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


def ranks(values: F64) -> F64:
    """Return the rank of each number, from 1 on; equal ones share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def spearman(said: F64, true: F64) -> float:
    """Return the rank correlation of numbers (n,), from -1 to 1 (Spearman 1904).

    It is 0 if all that is said is equal, and NaN if all that is true is.
    """
    one, other = (ranks(each) - (len(each) + 1) / 2 for each in (said, true))
    if not other.any():
        return float("nan")
    spread = np.sqrt((one @ one) * (other @ other))
    return float(one @ other / spread) if spread else 0.0


def regret(said: F64, true: F64) -> float:
    """Return the true cost of what is said to be cheapest: 0 is the least, 1 the mean of all.

    NaN if all true costs are equal. Of several that are said to be cheapest, the mean counts.
    """
    finite = np.isfinite(true)
    if not finite.any():
        return float("nan")
    costs = np.where(finite, true, true[finite].max())
    least, picked = costs.min(), costs[said == said.min()].mean()
    spread = costs.mean() - least
    return float((picked - least) / spread) if spread > 0 else float("nan")
