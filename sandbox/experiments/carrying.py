"""Carries out an experiment: its data, then run by run; what is there already is left as it is."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sandbox
from sandbox import api, dreaming, durable, files, jsonfile
from sandbox import prices as schedules
from sandbox.errors import SimulationError, TrainingError
from sandbox.evaluation.evaluate import JSON, evaluate
from sandbox.evaluation.evaluation import found_in
from sandbox.evidence.note import SigningKey
from sandbox.experiments import acting, figures
from sandbox.experiments.cells import Cell, Frozen
from sandbox.experiments.data import Data
from sandbox.experiments.places import (
    BILL,
    COMMAND,
    CONFIG,
    DREAMS,
    EVALUATION,
    MANIFEST,
    METRICS,
    MODEL,
    Places,
)
from sandbox.experiments.results import LABELS, Outcome, Results
from sandbox.ledger import Ledger
from sandbox.models import Checkpoint
from sandbox.run import bill as bills
from sandbox.run.bill import Bill, Quote
from sandbox.run.folder import Folder
from sandbox.run.recipe import Recipe
from sandbox.run.record import Record
from sandbox.run.watcher import Watcher
from sandbox.training.train import train

Told = Callable[[int, int, Mapping[str, float]], None]
Watching = Callable[[str, str], AbstractContextManager[Told]]


def nobody(doing: str, of: str) -> AbstractContextManager[Told]:
    """Tell nobody how far some work is."""
    return nullcontext(lambda done, total, numbers: None)


class _Kept(Watcher):
    """Tells how many episodes of a run are kept."""

    def __init__(self, told: Told) -> None:
        self._told, self._total = told, 0

    def quoted(self, recipe: Recipe, quote: Quote, done: int) -> None:
        """Note how many there will be."""
        self._total = recipe.episodes if recipe.credits is None else 0

    def kept(self, record: Record, bill: Bill) -> None:
        """Tell of one more."""
        self._told(bill.episodes, max(self._total, bill.episodes), {})


@dataclass
class Carrying:
    """Carries out an experiment.

    Attributes:
        it: the experiment.
        known: its data by key.
        places: where it lies.
        budget: the most that all of it may cost [microcredits]; None sets no limit.
        paid: what its parts have cost so far [microcredits], by their names.
        ledger, key, workers: as of `experiment`.
        watching: is told what is done.
    """

    it: Frozen
    known: Mapping[str, Data]
    places: Places
    budget: int | None
    paid: dict[str, int]
    ledger: Ledger
    key: SigningKey | None
    workers: int
    watching: Watching

    def carry_out(self) -> Results:
        """Make what is missing, and return what was found.

        A run whose numbers are not finite has failed, and the others go on.
        """
        spent = {key: self._data(key) for key in self.known}
        total, outcomes = len(self.it.runs), list[Outcome]()
        for number, (cell, seed) in enumerate(self.it.runs, start=1):
            failed = ""
            try:
                if not self.places.finished(cell, seed):
                    self._run(cell, seed, f"[{number}/{total}] {cell.name}, seed {seed}")
            except (TrainingError, SimulationError) as error:
                failed = str(error)
                self._note_paid(cell, seed, getattr(error, "charge_micro", 0))
            outcomes.append(self._outcome(cell, seed, failed))
        return Results(self.it, self.places, outcomes, spent)

    def _left(self, name: str) -> str | None:
        """Return what a part may cost of the budget [credits]; None sets no limit."""
        if self.budget is None:
            return None
        others = sum(micro for other, micro in self.paid.items() if other != name)
        return schedules.credits(max(0, self.budget - others))

    def _paying(self, name: str) -> dict[str, Any]:
        """Return the arguments that say who pays for a part."""
        return {"budget": self._left(name), "ledger": self.ledger}

    def _data(self, key: str) -> int:
        """Generate some data if it is missing; return what it has cost [microcredits]."""
        path, folder = self.places.data(key), Folder(self.places.data(key))
        if not (folder.exists and folder.finished):
            path.parent.mkdir(parents=True, exist_ok=True)
            with self.watching(f"Generating {self.known[key].recipe.named}", "episodes") as told:
                bill = api.generate(
                    self.known[key].recipe,
                    path,
                    prices=None if folder.exists else self.it.experiment.prices,
                    workers=self.workers,
                    key=self.key,
                    watcher=_Kept(told),
                    **self._paying(key),
                )
            self.paid[key] = bill.amount
        return self.paid[key]

    def _run(self, cell: Cell, seed: int, name: str) -> None:
        """Make a run: its manifest is written last."""
        folder = self.places.run(cell, seed)
        folder.mkdir(parents=True, exist_ok=True)
        self._begin(cell, seed, folder)
        if "agent" in cell.config:
            with self.watching(f"{name}: learning", "steps") as told:
                part, it = f"learn {cell.hash}/{seed}", self.it.experiment
                paying = {**self._paying(part), "account": it.account, "prices": it.prices}
                found, bill = acting.learned(cell.config["agent"], seed, folder, told, **paying)
                self.paid[part] = bill["learn"]
        else:
            found, bill = self._model(cell, seed, folder, name)
        jsonfile.write(folder / METRICS, found)
        jsonfile.write(folder / BILL, bill)
        jsonfile.write(folder / MANIFEST, self._manifest(cell, seed, folder))

    def _begin(self, cell: Cell, seed: int, folder: Path) -> None:
        """Write what the run is, and the command that makes it again in the experiment's folder."""
        jsonfile.write(folder / CONFIG, {**cell.config, "seeds": [seed]})
        named = (folder / CONFIG).relative_to(self.places.folder)
        command = f"sandbox experiment {named} --out ../AGAIN\n"
        durable.replace(folder / COMMAND, command.encode())

    def _model(
        self, cell: Cell, seed: int, folder: Path, name: str
    ) -> tuple[dict[str, float], dict[str, int]]:
        """Train a model, evaluate it and let it dream; return its figures and bill."""
        part = f"train {cell.hash}/{seed}"
        made = self._trained(cell, seed, folder, name, part)
        bill, found = {"train": made.facts.charge_micro}, dict[str, float]()
        if made.facts.error is not None:
            found[figures.ERROR] = made.facts.error
        self.paid[part] = made.facts.charge_micro
        if "test" in cell.data:
            self._evaluated(cell, folder, name)
            found |= found_in(folder / EVALUATION / JSON, figures.of_evaluation)
        if "dreams" in cell.config:
            bill["dreams"] = self._dreamt(cell, seed, folder, name)
        return found, bill

    def _trained(self, cell: Cell, seed: int, folder: Path, name: str, part: str) -> Checkpoint:
        if (folder / MODEL).exists():
            return Checkpoint.read(folder / MODEL)
        wanted: Any = cell.config["model"]
        held_out = [self.places.data(key) for key in cell.data.get("held_out", [])]
        with self.watching(f"{name}: training", "updates") as told:
            return train(
                [self.places.data(key) for key in cell.data["train"]],
                folder / MODEL,
                wanted["name"],
                wanted["size"],
                updates=wanted["updates"],
                held_out=held_out[0] if held_out else None,
                options=wanted["options"] | ({"exact": True} if wanted["exact"] else {}),
                settings={**wanted["settings"], "seed": seed},
                account=self.it.experiment.account,
                prices=self.it.experiment.prices,
                track=[*dict.fromkeys(("csv", *self.it.experiment.track))],
                progress=told,
                **self._paying(part),
            )

    def _evaluated(self, cell: Cell, folder: Path, name: str) -> None:
        if (folder / EVALUATION / JSON).exists():
            return
        asked: Any = cell.config["evaluation"]
        with self.watching(f"{name}: evaluating", "windows") as told:
            evaluate(
                folder / MODEL,
                [self.places.data(key) for key in cell.data["test"]],
                folder / EVALUATION,
                train=[self.places.data(key) for key in cell.data["train"]],
                trust_code=True,
                progress=lambda done, total: told(done, total, {}),
                futures=0,
                **asked,
            )

    def _dreamt(self, cell: Cell, seed: int, folder: Path, name: str) -> int:
        part, asked = f"dreams {cell.hash}/{seed}", cell.config["dreams"]
        with self.watching(f"{name}: dreaming", "episodes") as told:
            bill = dreaming.dream(
                folder / MODEL,
                self.places.data(cell.data["test"][0]),
                folder / DREAMS,
                seed=seed,
                trust_code=True,
                account=self.it.experiment.account,
                prices=self.it.experiment.prices,
                key=self.key,
                watcher=_Kept(told),
                **asked,
                **self._paying(part),
            )
        self.paid[part] = bill.amount
        return bill.amount

    def _manifest(self, cell: Cell, seed: int, folder: Path) -> dict[str, Any]:
        """Return what a finished run consists of."""
        listed = sorted(path for path in folder.rglob("*") if path.is_file())
        shown = [path for path in listed if path.name[0] != "." and path.name != MANIFEST]
        return {
            "format": 1,
            "hash": cell.hash,
            "seed": seed,
            "data": {key: self._run_of(key) for keys in cell.data.values() for key in keys},
            "files": {str(path.relative_to(folder)): files.sha256(path) for path in shown},
            "sandbox": sandbox.__version__,
        }

    def _run_of(self, key: str) -> str:
        return Folder(self.places.data(key)).run

    def _note_paid(self, cell: Cell, seed: int, trained: int) -> None:
        """Note what a run that failed has cost: its training or learning, and dreams."""
        name, folder = f"{cell.hash}/{seed}", self.places.run(cell, seed)
        if trained:
            self.paid[f"{'learn' if 'agent' in cell.config else 'train'} {name}"] = trained
        dreams = Folder(folder / DREAMS)
        if dreams.exists:
            self.paid[f"dreams {name}"] = bills.total(dreams.kept().usages)[1]

    def _outcome(self, cell: Cell, seed: int, failed: str) -> Outcome:
        if failed:
            paid = {label: self.paid.get(f"{label} {cell.hash}/{seed}", 0) for label in LABELS}
            return Outcome(cell, seed, {}, {k: v for k, v in paid.items() if v}, failed)
        bill = self.places.bill(cell, seed)
        return Outcome(cell, seed, self.places.metrics(cell, seed), bill)
