"""What a comparison found: figures of each model, and which differences exceed their interval."""

import csv
import io
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

import numpy as np

from sandbox.estimates import F64, student
from sandbox.evaluation.imagining import COPY, MODEL
from sandbox.evaluation.pictures import MOVING_PSNR, PSNR
from sandbox.valuation.asked import Asked

FORMAT: Literal[1] = 1
FIGURES = {  # Whether more is better.
    "error": False,
    "gain": True,
    "success": True,
}
_LEVEL = 0.95


@dataclass(frozen=True)
class Cell:
    """One model: of an arm, a seed and an amount.

    Attributes:
        arm, world, credits, seed: which it is.
        episodes, rows, data_micro: what it was trained on, with what picked its weights.
        training_micro: what its training cost [microcredits].
        error: open-loop error, the mean over horizons: of pictures, squared and from 0 to 1; else
            in standard deviations.
        copied: the same of copying the last row.
        gain: by how much it is better than copying: on moving pixels [dB]; else in standard
            deviations.
        success: share of goals that a planner reached with it; None if none was tried. Others are
            None where there is nothing to compute them of.
        curves: at each horizon, what `gain` is the mean of.
        failed: why there are no figures: its numbers are not finite; else "".
    """

    arm: str
    world: str
    credits: float
    seed: int
    episodes: int
    rows: int
    data_micro: int
    training_micro: int
    error: float | None
    copied: float | None
    gain: float | None
    success: float | None = None
    curves: Sequence[float | None] = field(default_factory=list[float | None])
    failed: str = ""

    @classmethod
    def of(cls, evaluation: Mapping[str, Any], **about: Any) -> Self:
        """Return the figures of an evaluation, as its file has it."""
        if evaluation["pictures"]:
            whole, moving = (evaluation["pictures"][one] for one in (PSNR, MOVING_PSNR))
            error, copied = ([_squared(db) for db in whole[who]] for who in (MODEL, COPY))
            gains = _differences(moving[MODEL], moving[COPY])
        else:
            first = next(iter(evaluation["numbers"].values()))
            error, copied = first[MODEL], first[COPY]
            gains = _differences(copied, error)
        about |= {"error": _mean(error), "copied": _mean(copied), "gain": _mean(gains)}
        return cls(**about, curves=gains)


Curve = Sequence[float | None]


def _squared(db: float | None) -> float | None:
    """Return the mean squared error that a PSNR is of, of values from 0 to 1."""
    return None if db is None else 10 ** (-db / 10)


def _differences(these: Curve, those: Curve) -> list[float | None]:
    pairs = zip(these, those, strict=True)
    return [None if one is None or other is None else one - other for one, other in pairs]


def _mean(curve: Curve) -> float | None:
    """Return the mean of what there is of a curve; None if it has nothing."""
    known = [one for one in curve if one is not None]
    return float(np.mean(known)) if known else None


@dataclass(frozen=True)
class Group:
    """The models of one world and amount, which may be compared.

    Attributes:
        world, credits: which they are.
        figure: what is compared.
        values: arm to its values, one a seed.
    """

    world: str
    credits: float
    figure: str
    values: Mapping[str, Sequence[float]]

    @property
    def table(self) -> F64:
        """The values, (arms, seeds)."""
        return np.array([*self.values.values()])

    def half(self, arm: str) -> float:
        """Return half the interval of 95 % of an arm's mean; NaN of one seed.

        The deviation between seeds is pooled over the arms.
        """
        count, seeds = self.table.shape
        rest = self.table - self.table.mean(1, keepdims=True)
        return _half(rest, count * (seeds - 1), _LEVEL) / math.sqrt(seeds)

    def differences(self) -> list[dict[str, Any]]:
        """Return the difference of each pair, the better one first.

        `half` is half its interval. Arms are compared seed by seed: what a seed does to all of them
        is taken out. All intervals of a group hold together with 95 % (Bonferroni).
        """
        table, pairs = self.table, [*itertools.combinations(self.values, 2)]
        (count, seeds), more = table.shape, FIGURES[self.figure]
        rest = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
        level = 1 - (1 - _LEVEL) / max(1, len(pairs))
        half = _half(rest, (count - 1) * (seeds - 1), level) * math.sqrt(2 / seeds)
        means, found = dict(zip(self.values, table.mean(1), strict=True)), list[dict[str, Any]]()
        for one, other in pairs:
            apart = float(means[one] - means[other]) * (1 if more else -1)
            better, than = (one, other) if apart >= 0 else (other, one)
            told = {"figure": self.figure, "better": better, "than": than, "by": abs(apart)}
            told |= {"half": _finite(half), "sure": abs(apart) > half}
            found.append({"world": self.world, "credits": self.credits, **told})
        return found


def _half(rest: F64, freedom: int, level: float) -> float:
    """Return half the interval of one value, from what is left of all; NaN if nothing is free."""
    if not freedom:
        return math.nan
    return student(freedom, level) * math.sqrt(float((rest**2).sum()) / freedom)


@dataclass(frozen=True)
class Worth:
    """What credits of data are worth.

    Attributes:
        asked: what was compared.
        cells: figures of each model.
        bill: what was done, to its price [microcredits].
    """

    asked: Asked
    cells: Sequence[Cell]
    bill: Mapping[str, int]

    @property
    def amount(self) -> int:
        """What all of it cost [microcredits]."""
        return sum(self.bill.values())

    def groups(self) -> Iterator[Group]:
        """Yield what may be compared, for each world, amount and figure: arms with all seeds."""
        for world, credits in dict.fromkeys((one.world, one.credits) for one in self.cells):
            mine = [c for c in self.cells if (c.world, c.credits) == (world, credits)]
            for figure in FIGURES:
                values = dict[str, list[float]]()
                for one in mine:
                    if (value := getattr(one, figure)) is not None:
                        values.setdefault(one.arm, []).append(value)
                whole = {arm: v for arm, v in values.items() if len(v) == self.asked.seeds}
                if whole:
                    yield Group(world, credits, figure, whole)

    def differences(self) -> list[dict[str, Any]]:
        """Return all differences, see `Group.differences`."""
        return [one for group in self.groups() for one in group.differences()]

    def plain(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        means = [
            {
                "world": group.world,
                "credits": group.credits,
                "figure": group.figure,
                "arm": arm,
                "mean": float(np.mean(values)),
                "half": _finite(group.half(arm)),
            }
            for group in self.groups()
            for arm, values in group.values.items()
        ]
        return {
            "format": FORMAT,
            "asked": self.asked.model_dump(),
            "models": [asdict(one) for one in self.cells],
            "means": means,
            "differences": self.differences(),
            "bill": [{"label": name, "micro": micro} for name, micro in self.bill.items()],
            "amount_micro": self.amount,
        }

    def csv(self) -> str:
        """Return a table of the models, a line each."""
        made = io.StringIO()
        names = [one for one in Cell.__dataclass_fields__ if one != "curves"]
        writer = csv.DictWriter(made, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(one) for one in self.cells)
        return made.getvalue()

    def rows(self) -> list[dict[str, str]]:
        """Return rows of a table: means with intervals, and what each arm is surely better than."""
        every = {(one.world, one.credits, one.figure): one for one in self.groups()}
        sure = [one for one in self.differences() if one["sure"]]
        made = list[dict[str, str]]()
        for world, credits in dict.fromkeys((one.world, one.credits) for one in self.cells):
            cells = [c for c in self.cells if (c.world, c.credits) == (world, credits)]
            for arm in dict.fromkeys(one.arm for one in cells):
                row = {"world": world, "credits": f"{credits:,.12g}", "recipe": arm}
                mine = [one.episodes for one in cells if one.arm == arm]
                row["episodes"] = f"{np.mean(mine):.1f}"
                for figure in FIGURES:
                    group = every.get((world, credits, figure))
                    if group is None or arm not in group.values:
                        continue
                    row[_HEADS[figure]] = _told(figure, group, arm)
                    beats = [
                        one["than"]
                        for one in sure
                        if (one["world"], one["credits"]) == (world, credits)
                        and (one["better"], one["figure"]) == (arm, figure)
                    ]
                    row[f"{figure}: better than"] = ", ".join(beats) or "-"
                made.append(row)
        return made


_HEADS = {"error": "error", "gain": "over copying", "success": "goals reached"}


def _told(figure: str, group: Group, arm: str) -> str:
    """Return mean and half interval of an arm in words."""
    mean, half = float(np.mean(group.values[arm])), group.half(arm)
    digits, times = {"error": (2, 1e3), "gain": (2, 1), "success": (0, 100)}[figure]
    unit = {"error": " e-3", "gain": "", "success": " %"}[figure]
    beside = "" if math.isnan(half) else f" ± {half * times:.{digits}f}"
    return f"{mean * times:.{digits}f}{beside}{unit}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
