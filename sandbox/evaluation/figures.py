"""The figures of an evaluation, computed from what was measured: plain JSON."""

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from sandbox.evaluation import events, numbers
from sandbox.evaluation.groups import groups
from sandbox.evaluation.imagining import COPY, MODEL, ORDER, SPREAD
from sandbox.evaluation.measuring import REWARD, TERMINATED, Measured
from sandbox.evaluation.pictures import MEASURES, MOVING_PSNR, PSNR, score
from sandbox.evaluation.spread import Spread

F64 = NDArray[np.float64]
GROUPED = 8  # The horizon of the table of groups, or the longest before it.
_DIGITS = 6


def ordered(every: Mapping[str, F64]) -> dict[str, F64]:
    """Return curves in the order of tables, by who predicts."""
    return {who: every[who] for who in ORDER if who in every}


def plain(value: Any) -> Any:
    """Return figures as plain JSON: numbers of six digits, None where there is none."""
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in cast(Mapping[str, Any], value).items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(one) for one in cast(list[Any], value)]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value


def pictures(measured: Measured, unknown: Spread) -> dict[str, dict[str, F64]]:
    """Return each measure of pictures, by who predicts, at each horizon."""
    sums = {who: one.parts for who, one in measured.found.sums.items()}
    sums |= {SPREAD: unknown.sums} if unknown.sums else {}
    every = {
        measure: ordered({who: score(parts, measure) for who, parts in sums.items()})
        for measure in MEASURES
    }
    return {  # Small pictures have no similarity.
        measure: found
        for measure, found in every.items()
        if not all(np.isnan(one).all() for one in found.values())
    }


def of_numbers(measured: Measured, unknown: Spread) -> dict[str, dict[str, F64]]:
    """Return the nRMSE of each column of numbers, by who predicts, at each horizon."""
    every = dict[str, dict[str, F64]]()
    for column, found in measured.vectors().items():
        truth, deviation = measured.truth[column], measured.deviations[column]
        said = {who: numbers.nrmse(one, truth, deviation) for who, one in found.items()}
        said |= {SPREAD: unknown.nrmse(column)} if column in unknown.squares else {}
        every[column] = ordered(said)
    return every


def reward(measured: Measured) -> dict[str, F64] | None:
    """Return how well rewards are predicted; None if they are not."""
    found = measured.found.numbers.get(REWARD)
    if found is None:
        return None
    return events.rewards(found[MODEL][..., 0], measured.truth[REWARD][..., 0])


def terminated(measured: Measured) -> list[dict[str, Any]] | None:
    """Return how well ends are told from other rows, at each horizon; None if they are not."""
    found = measured.found.numbers.get(TERMINATED)
    if found is None:
        return None
    made = list[dict[str, Any]]()
    for n, (labels, scores) in enumerate(measured.ends):
        others = measured.truth[TERMINATED][:, n, 0] > 0.5
        every = np.concatenate([labels, others])
        said = np.concatenate([scores, found[MODEL][:, n, 0]])
        made.append(events.ends(said, every))
    return made


def middle(measured: Measured) -> int:
    """Return the place of the horizon by which windows and groups are compared."""
    return max([n for n, h in enumerate(measured.asked.horizons) if h <= GROUPED], default=0)


def grouped(measured: Measured) -> dict[str, Any]:
    """Return errors by split, policy and ranges of factors, at one horizon."""
    horizons, place = measured.asked.horizons, middle(measured)
    rows = list[dict[str, Any]]()
    for group in groups(measured.held_out.episodes.facts):
        mine = group.episodes[measured.windows.episode]
        if mine.any():
            counts = {"windows": int(mine.sum()), "episodes": int(group.episodes.sum())}
            row = {"by": group.by, "name": group.name, **counts, **_errors(measured, mine, place)}
            rows.append(row)
    return {"horizon": horizons[place], "rows": rows}


def _errors(measured: Measured, mine: NDArray[np.bool_], place: int) -> dict[str, Any]:
    """Return the errors of model and copy-last in some windows, at the place of a horizon."""
    found, at = dict[str, Any](), slice(place, place + 1)
    for who, one in measured.found.sums.items():
        if who in (MODEL, COPY):
            parts = {name: part[mine, at] for name, part in one.parts.items()}
            found |= {
                f"{measure} {who}": score(parts, measure)[0] for measure in (PSNR, MOVING_PSNR)
            }
    for column, every in measured.vectors().items():
        for who in (MODEL, COPY):
            truth, deviation = measured.truth[column][mine], measured.deviations[column]
            found[f"nrmse {column} {who}"] = numbers.nrmse(every[who][mine], truth, deviation)[
                place
            ]
    return found
