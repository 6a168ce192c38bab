"""The main figures of a run, and what all seeds of a configuration say together."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from sandbox import estimates, files
from sandbox.evaluation.imagining import COPY, MODEL
from sandbox.evaluation.pictures import MOVING_PSNR, PSNR

ERROR = "held_out"  # The error on held-out episodes: a figure, and a column of a training's CSV.


def of_evaluation(found: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of an evaluation's JSON: what the model says, and gains over copying.

    A gain is positive where the model is better than the last row kept: in dB for pictures, in
    deviations for numbers.
    """
    return dict(_of_evaluation(found))


def _of_evaluation(found: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    curves = {one: found["pictures"].get(one, {}) for one in (PSNR, MOVING_PSNR)}
    curves |= {f"nrmse.{column}": every for column, every in found["numbers"].items()}
    for measure, every in curves.items():
        better = -1 if measure.startswith("nrmse") else 1
        for place, horizon in enumerate(found["horizons"]):
            ours, copied = (_at(every, who, place) for who in (MODEL, COPY))
            if ours is not None:
                yield f"{measure}.{horizon}", float(ours)
            if ours is not None and copied is not None:
                yield f"{measure}.{horizon}.gain", better * (ours - copied)


def _at(every: Mapping[str, Sequence[float | None]], who: str, place: int) -> float | None:
    return every[who][place] if who in every else None


def curve(path: Path, x: str, y: str) -> dict[float, float]:
    """Return a column of a CSV over another, where it has a value; of an agent's first split."""
    rows = [*csv.DictReader(files.read(path).decode().splitlines())]
    mine = [row for row in rows if row.get(y) and row.get("split") == rows[0].get("split")]
    return {float(row[x]): float(row[y]) for row in mine}


def summary(every: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float | int | None]]:
    """Return for each figure of some seeds their mean, with an interval of 95 % from 2 seeds on."""
    names = dict.fromkeys(name for one in every for name in one)
    found = dict[str, dict[str, float | int | None]]()
    for name in names:
        values = [one[name] for one in every if name in one]
        interval = estimates.mean(values)
        found[name] = {
            "mean": sum(values) / len(values),
            "low": interval and interval.low,
            "high": interval and interval.high,
            "seeds": len(values),
        }
    return found


def main(names: Sequence[str]) -> list[str]:
    """Return the few figures that a table shows: the error, and the middle horizon's."""
    shown = [name for name in names if name == ERROR]
    for prefix in (MOVING_PSNR, "nrmse.", "success", "return"):
        mine = [name for name in names if name.startswith(prefix) and not name.endswith(".gain")]
        if mine:
            middle = mine[len(mine) // 2]
            shown += [one for one in (middle, f"{middle}.gain") if one in names]
    return shown


def told(one: Mapping[str, float | int | None]) -> str:
    """Return a mean as a table shows it, with half of its interval."""
    middle, low = cast(float, one["mean"]), one["low"]
    return f"{middle:.4g}" if low is None else f"{middle:.4g} ± {middle - low:.2g}"
