"""What an experiment found: results.json, results.csv, and a picture of curves."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import durable, estimates, jsonfile
from sandbox.evaluation.evaluate import JSON
from sandbox.evaluation.evaluation import found_in
from sandbox.evaluation.imagining import COPY
from sandbox.evaluation.imagining import MODEL as OURS
from sandbox.evaluation.pictures import MEASURES, MOVING_PSNR
from sandbox.experiments import figures
from sandbox.experiments.acting import CURVE
from sandbox.experiments.cells import Cell, Frozen
from sandbox.experiments.places import AGENT, EVALUATION, MODEL, Places
from sandbox.report import curves_picture
from sandbox.report.curves_picture import Line, Panel

LABELS = ("data", "train", "dreams", "learn")  # Of what is paid for, in order.
RESULTS, TABLE, PICTURE = "results.json", "results.csv", "results.png"


@dataclass(frozen=True)
class Outcome:
    """A run that is finished, or that failed.

    Attributes:
        cell: its configuration.
        seed: its seed.
        figures: what it found, by name.
        bill: what it has cost, its data left out, by label [microcredits].
        failed: why it failed; "" if it did not.
    """

    cell: Cell
    seed: int
    figures: Mapping[str, float]
    bill: Mapping[str, int]
    failed: str = ""


@dataclass(frozen=True)
class Results:
    """What an experiment found.

    Attributes:
        experiment: the experiment, settled.
        places: where it lies.
        runs: its runs, in order.
        data: what its data have cost, by key [microcredits].
    """

    experiment: Frozen
    places: Places
    runs: Sequence[Outcome]
    data: Mapping[str, int]

    @property
    def bill(self) -> dict[str, int]:
        """What all of it has cost, by label [microcredits]; data that runs share is paid once."""
        found = Counter({"data": sum(self.data.values())})
        for run in self.runs:
            found.update(run.bill)
        return {label: found[label] for label in LABELS if label in found}

    def of(self, cell: Cell) -> list[Outcome]:
        """Return the runs of a configuration that did not fail."""
        return [run for run in self.runs if run.cell.hash == cell.hash and not run.failed]

    def plain(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "format": 1,
            "experiment": self.experiment.document,
            "configurations": [
                {
                    "hash": cell.hash,
                    "values": cell.values,
                    "figures": figures.summary([run.figures for run in self.of(cell)]),
                }
                for cell in self.experiment.cells
            ],
            "runs": [
                {
                    "run": f"{run.cell.hash}/seed-{run.seed}",
                    "figures": dict(run.figures),
                    "charge_micro": dict(run.bill),
                    "failed": run.failed,
                }
                for run in self.runs
            ],
            "data": {key: {"charge_micro": micro} for key, micro in self.data.items()},
            "charge_micro": self.bill,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each configuration: its values, and means with half an interval."""
        found = [figures.summary([run.figures for run in self.of(c)]) for c in self.cells]
        names = figures.main([*dict.fromkeys(name for one in found for name in one)])
        return [
            {
                "configuration": cell.name,
                "seeds": len(self.of(cell)),
                **{name: figures.told(one[name]) if name in one else "-" for name in names},
            }
            for cell, one in zip(self.cells, found, strict=True)
        ]

    @property
    def cells(self) -> list[Cell]:
        """Its configurations."""
        return self.experiment.cells

    def write(self) -> None:
        """Write the three files into the experiment's folder."""
        folder = self.places.folder
        durable.replace(folder / TABLE, _csv(self.runs))
        panels = [panel for panel in (_trained(self), _evaluated(self)) if panel.lines]
        if panels:
            drawn = curves_picture.picture(self.experiment.experiment.name, [panels])
            durable.replace(folder / PICTURE, drawn)
        jsonfile.write(folder / RESULTS, self.plain())


def _csv(runs: Sequence[Outcome]) -> bytes:
    """Return a row for each run: configuration, seed, values, figures, credits."""
    keys = dict.fromkeys(key for run in runs for key in run.cell.values)
    names = dict.fromkeys(name for run in runs for name in run.figures)
    labels = dict.fromkeys(label for run in runs for label in run.bill)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    charges = [f"{label}_micro" for label in labels]
    table.writerow(["configuration", "seed", *keys, *names, *charges, "failed"])
    for run in runs:
        told = [run.cell.values.get(key) for key in keys]
        told += [run.figures.get(name) for name in names]
        told += [run.bill.get(label) for label in labels]
        table.writerow([run.cell.hash, run.seed, *told, run.failed])
    return text.getvalue().encode()


def _trained(found: Results) -> Panel:
    """Return the panel of the error while models train; of success while agents learn."""
    lines, learns = list[Line](), found.experiment.experiment.agent is not None
    x, y = ("steps", "success") if learns else ("update", figures.ERROR)
    name = f"{AGENT}/{CURVE}" if learns else str(Path(MODEL).with_suffix(".csv"))
    for number, cell in enumerate(found.cells):
        paths = [found.places.run(cell, run.seed) / name for run in found.of(cell)]
        lines += _lines(cell.name, number, [figures.curve(path, x, y) for path in paths])
    if learns:
        return Panel("while learning", "steps", "share of episodes that succeed", lines)
    title = "error on held-out episodes"
    return Panel(title, "update", "mean squared error", lines, log_y=True)


def _evaluated(found: Results) -> Panel:
    """Return the panel of the main measure over horizons, beside the last row kept."""
    read = {
        cell.hash: [one for run in found.of(cell) if (one := _evaluation(found, run))]
        for cell in found.cells
    }
    first = next((one for every in read.values() for one in every), None)
    if first is None:
        return Panel("", "", "", [])
    pictures = MOVING_PSNR in first["pictures"] and OURS in first["pictures"][MOVING_PSNR]
    column = next(iter(first["numbers"]), "")
    what = MEASURES[MOVING_PSNR] if pictures else f"nRMSE of {column}"

    def curve(one: Mapping[str, Any], who: str) -> dict[float, float]:
        every = one["pictures"][MOVING_PSNR] if pictures else one["numbers"].get(column, {})
        points = zip(one["horizons"], every.get(who, []), strict=False)
        return {float(h): value for h, value in points if value is not None}

    lines = list[Line]()
    for number, cell in enumerate(found.cells):
        lines += _lines(cell.name, number, [curve(one, OURS) for one in read[cell.hash]])
    copied = curve(first, COPY)
    lines.append(Line(COPY, [*copied], [*copied.values()], dashed=True, colour=7))
    return Panel("held-out test data", "rows ahead", what, lines, log_x=True)


def _evaluation(found: Results, run: Outcome) -> dict[str, Any]:
    path = found.places.run(run.cell, run.seed) / EVALUATION / JSON

    def whole(judged: dict[str, Any]) -> dict[str, Any]:
        figures.of_evaluation(judged)
        return judged

    return found_in(path, whole) if path.exists() else {}


def _lines(label: str, number: int, every: Sequence[Mapping[float, float]]) -> Iterator[Line]:
    """Yield the mean of some seeds' curves, with its interval, where all have a point."""
    xs = [x for x in (every[0] if every else ()) if all(x in one for one in every)]
    if xs:
        values = [[one[x] for one in every] for x in xs]
        known = [estimates.mean(some) for some in values]
        means = [sum(some) / len(some) for some in values]
        sure = [one for one in known if one is not None]
        low, high = [one.low for one in sure], [one.high for one in sure]
        whole = len(sure) == len(xs)
        yield Line(label, xs, means, low if whole else None, high if whole else None, colour=number)
