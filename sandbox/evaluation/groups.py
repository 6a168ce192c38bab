"""Groups of episodes whose errors are compared: splits, policies, ranges of factors."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sandbox.dataset.facts import COLOR, FACTOR, Facts

Bools = NDArray[np.bool_]
_TEXTS = ("environment", "scenario", "split", "policy")
_FEW = 4  # Values of a factor up to so many are groups of their own; of more, terciles are.
_FEW_COLOURS = 8


@dataclass(frozen=True)
class Group:
    """Episodes that share something.

    Attributes:
        by: by what they are grouped, such as `split` or a factor's name.
        name: what they share.
        episodes: which they are, bool (episodes,).
    """

    by: str
    name: str
    episodes: Bools


def groups(facts: Facts) -> Iterator[Group]:
    """Yield the groups of episodes: of each text and factor that has more than one value."""
    yield Group("all", "all", np.ones(len(facts), np.bool_))
    for by in _TEXTS:
        codes = facts.columns[by]
        found: list[int] = np.unique(codes).tolist()
        if len(found) > 1:
            for code in found:  # NONE is the last.
                yield Group(by, (*facts.names[by], "unknown")[code], codes == code)
    for by in facts.factors:
        for column in (f"{FACTOR}{by}", f"{COLOR}{by}"):
            if column in facts.columns:
                yield from _of_factor(by, facts.columns[column], colour=column.startswith(COLOR))


def _of_factor(by: str, values: NDArray[np.float64], *, colour: bool) -> Iterator[Group]:
    known = np.unique(values[~np.isnan(values)])
    if len(known) < 2:
        return
    if len(known) <= (_FEW_COLOURS if colour else _FEW):
        for value in known.tolist():
            name = f"#{int(value):06x}" if colour else f"{value:.6g}"
            yield Group(by, name, values == value)
        return
    if colour:  # By how bright it is, from 0 to 255.
        parts = (np.nan_to_num(values).astype(np.int64) >> shift & 255 for shift in (16, 8, 0))
        values = np.where(np.isnan(values), np.nan, sum(parts) / 3)
        by, known = f"{by}, brightness", np.unique(values[~np.isnan(values)])
    low, high = np.quantile(values[~np.isnan(values)], [1 / 3, 2 / 3]).tolist()
    least, most = float(known[0]), float(known[-1])
    yield Group(by, f"{least:.3g} to {low:.3g}", values <= low)
    yield Group(by, f"{low:.3g} to {high:.3g}", (values > low) & (values <= high))
    yield Group(by, f"{high:.3g} to {most:.3g}", values > high)
