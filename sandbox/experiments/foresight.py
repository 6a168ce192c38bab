"""What an experiment will cost at most, part by part, before any of it is done."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from sandbox import prices as schedules
from sandbox.errors import InvalidInputError
from sandbox.experiments import acting
from sandbox.experiments.cells import Asked, Cell, Frozen
from sandbox.experiments.data import Data
from sandbox.experiments.places import DREAMS, MODEL, Places
from sandbox.imagination.dreamer import tier_of
from sandbox.imagination.imaginer import Imaginer
from sandbox.ledger import Ledger
from sandbox.models import Checkpoint
from sandbox.models.protocol import imagining
from sandbox.prices import PriceSchedule, plus
from sandbox.run import admission, bill
from sandbox.run.folder import Folder
from sandbox.run.run import Run
from sandbox.sources.generation import Generation
from sandbox.training import jobs
from sandbox.training.amount import Amount
from sandbox.training.foresight import foreseen
from sandbox.training.jobs import Job
from sandbox.training.part import Part


@dataclass(frozen=True)
class Item:
    """A part of an experiment that somebody pays for.

    Attributes:
        label: data, train, dreams or learn.
        name: which of these.
        paid: what it has cost so far [microcredits].
        left: what the rest costs at most, per meter unit [microcredits].
        exact: whether it costs just that.
    """

    label: str
    name: str
    paid: int
    left: Mapping[str, int]
    exact: bool = True

    @property
    def most(self) -> int:
        """What it costs at most, what is paid included [microcredits]."""
        return self.paid + sum(self.left.values())


@dataclass(frozen=True)
class Quote:
    """What an experiment costs.

    Attributes:
        items: its parts.
        runs: how many runs it has, and
        finished: how many of them are finished.
    """

    items: list[Item]
    runs: int
    finished: int

    @property
    def most(self) -> int:
        """What all of it costs at most [microcredits]."""
        return sum(one.most for one in self.items)

    @property
    def exact(self) -> bool:
        """Whether it costs just that."""
        return all(one.exact for one in self.items)

    @property
    def labels(self) -> dict[str, int]:
        """What each kind of work costs at most [microcredits]."""
        found = Counter[str]()
        for one in self.items:
            found[one.label] += one.most
        return dict(found)

    @property
    def left(self) -> dict[str, int]:
        """What is not paid yet, per meter unit [microcredits]."""
        found = dict[str, int]()
        for one in self.items:
            found = plus(found, one.left)
        return found


class Foresight:
    """Knows the work of an experiment's parts, by what their episodes will look like.

    Attributes:
        schedule: the prices.
    """

    def __init__(self, schedule: PriceSchedule) -> None:
        self.schedule = schedule
        self._jobs = dict[str, Job]()

    def updates(self, one: Asked) -> int:
        """Return how many updates the training of a configuration has.

        Raises:
            InvalidInputError: the training would be refused.
        """
        model = one.experiment.model
        assert model is not None, "only models are trained by updates"
        self.schedule.require("train_step", "model_mflop")
        micro = None if model.credits is None else schedules.micro(model.credits)
        job = self._job(one.config(), one.data["train"][0], one.digest())
        with jobs.threads(model.settings):
            return Amount(model.updates, model.minutes, micro).count(job, self.schedule, model.size)

    def training(self, cell: Cell, train: Data) -> Job:
        """Return the training of a configuration."""
        job = self._job(cell.config, train, cell.asked)
        return job.settled(cell.config["model"]["updates"])

    def _job(self, config: Mapping[str, Any], train: Data, name: str) -> Job:
        if name not in self._jobs:
            model = config["model"]
            options = model["options"] | ({"exact": True} if model["exact"] else {})
            with jobs.threads(model["settings"]):
                self._jobs[name] = foreseen(
                    train.schema,
                    train.rows,
                    model["name"],
                    model["size"],
                    options,
                    model["settings"],
                )
            if "test" in config:
                imagining(self._jobs[name].model, f"model {model['name']}")
        return self._jobs[name]

    def dreaming(self, cell: Cell, train: Data) -> dict[str, int]:
        """Return the work of an imagined episode, at most.

        Raises:
            InvalidInputError: the model could not dream so.
        """
        asked: Any = cell.config["dreams"]
        self.schedule.require("imagined_step", "imagined_pixel", "model_mflop")
        job = self.training(cell, train)
        made = Checkpoint(job.facts(0, None, self.schedule), job.model.state_dict(), {})
        told = {"model": made.digest, "tier": tier_of(made, asked.get("tier")), **asked}
        return Imaginer(made, told, train.schema, trust_code=True).work(asked["steps"])

    def charges(self, work: Mapping[str, int]) -> dict[str, int]:
        """Return what work costs, per meter unit [microcredits]."""
        return self.schedule.charges(self.schedule.metered(work))


def quote(
    it: Frozen, known: Mapping[str, Data], places: Places, foresight: Foresight, ledger: Ledger
) -> Quote:
    """Return what an experiment costs, and what of that is paid.

    Args:
        it: the experiment.
        known: its data by key.
        places: where it lies.
        foresight: knows the work of its parts.
        ledger: where it is charged.

    Raises:
        InvalidInputError: a training or dreams would be refused.
        RunConflictError: a folder holds other data than its name says.
    """
    items = [_of_data(one, places, it, ledger) for one in known.values()]
    finished = 0
    for cell, seed in it.runs:
        done = places.finished(cell, seed)
        if "model" in cell.config and not done:
            _check_rows(cell, known, foresight)
        finished += done
        if done:
            paid = places.bill(cell, seed)
            items += [
                Item(label, f"{label} {cell.hash}/{seed}", micro, {})
                for label, micro in paid.items()
            ]
        elif "agent" in cell.config:
            most = acting.most(cell.config["agent"], foresight.schedule)
            items.append(Item("learn", f"learn {cell.hash}/{seed}", 0, most, exact=False))
        else:
            items += _of_run(cell, seed, known[cell.data["train"][0]], places, foresight)
    return Quote(items, len(it.runs), finished)


def _check_rows(cell: Cell, known: Mapping[str, Data], foresight: Foresight) -> None:
    """Refuse what no episode to come is long enough for, or what they are too few for.

    Raises:
        InvalidInputError: nothing was done.
    """
    train = [known[key] for key in cell.data["train"]]
    job = foresight.training(cell, train[0])
    length, batch = job.model.context + job.settings.horizon, job.settings.batch
    if all(one.recipe.credits is None for one in train):
        count = sum(one.recipe.episodes for one in train)
        most = sum(one.recipe.episodes * max(0, one.rows - length + 1) for one in train)
        if most < batch or (count < 2 and "held_out" not in cell.data):
            raise InvalidInputError(
                f"train: its {count} episode(s) have {most:,} windows of {length} rows at most; an "
                f"update takes {batch:,}, and an episode is held out. Nothing was done. Give more "
                "episodes, or a smaller setting batch or horizon."
            )
    if "test" not in cell.data:
        return
    longest = min(known[key].rows for key in cell.data["test"])
    asked, dreams = cell.config["evaluation"], cell.config.get("dreams")
    context = asked.get("context") or max(2, job.model.context)
    needs = {"evaluation": context + min(asked["horizons"])}
    if dreams is not None:
        acts = dreams["steps"] if dreams["policy"] == "recorded" else 0
        needs["dreams"] = job.model.context + acts
    for part, rows in needs.items():
        if rows > longest:
            raise InvalidInputError(
                f"{part}: takes {rows:,} rows in sequence, and an episode of test has {longest:,} "
                "at most. Nothing was done. Ask for fewer, or let episodes last longer."
            )


def _of_data(one: Data, places: Places, it: Frozen, ledger: Ledger) -> Item:
    folder = places.data(one.key)
    begun = Folder(folder).exists
    schedule = None if begun else schedules.chosen(it.experiment.prices)
    run = Run(Generation(one.recipe), folder, ledger, schedule=schedule)
    with closing(run):
        quoted = run.quote()
        paid = bill.total(run.folder.kept().usages)[1] if begun else 0
        whole = begun and run.folder.finished
        left: Mapping[str, int] = (
            {} if whole else admission.least(run, quoted, paid, greedy=False)[0]
        )
    return Item("data", one.key, paid, left, exact=whole or quoted.exact)


def _of_run(
    cell: Cell, seed: int, train: Data, places: Places, foresight: Foresight
) -> Iterator[Item]:
    """Yield what a run costs that is not finished."""
    name, folder = f"{cell.hash}/{seed}", places.run(cell, seed)
    job, path = foresight.training(cell, train), folder / MODEL
    total = job.settings.updates
    if path.exists():
        yield Item("train", f"train {name}", Checkpoint.read(path).facts.charge_micro, {})
    else:
        part = Part.read(path)
        done = 0 if part is None else part.begun.done
        paid = sum(foresight.charges(job.work(0, done)).values())
        yield Item(
            "train", f"train {name}", paid, foresight.charges(job.work(done, total)), exact=False
        )
    if "dreams" in cell.config:
        one, count = foresight.dreaming(cell, train), cell.config["dreams"]["episodes"]
        kept = Folder(folder / DREAMS)
        usages = kept.kept().usages if kept.exists else []
        left = foresight.charges(plus({}, one, max(0, count - len(usages))))
        yield Item("dreams", f"dreams {name}", bill.total(usages)[1], left, exact=False)


def check(quoted: Quote, account: str, limit: int | None, ledger: Ledger) -> None:
    """Refuse an experiment that cannot be paid as a whole.

    Raises:
        BudgetExhaustedError: budget or account cannot pay it. Nothing was done.
    """
    most = "" if quoted.exact else "up to "
    work = f"{quoted.runs} runs and their data cost {most}{schedules.credits(quoted.most)} credits"
    spent = quoted.most - sum(quoted.left.values())
    admission.payable(work, spent, quoted.left, limit, account, ledger)
