"""Train a model from runs; a plain function, which the command line only calls."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from sandbox import digest, files, outputs
from sandbox import prices as schedules
from sandbox.arguments import checked
from sandbox.errors import InvalidInputError, TrainingError
from sandbox.ledger import Ledger
from sandbox.ledger.locks import writing
from sandbox.models import checkpoint
from sandbox.models.checkpoint import Checkpoint
from sandbox.prices import PriceSchedule
from sandbox.run.admission import payable
from sandbox.till import Till
from sandbox.training import jobs
from sandbox.training.amount import Amount
from sandbox.training.jobs import Job
from sandbox.training.making import Making, Progress
from sandbox.training.part import Begun, Part
from sandbox.training.tracking import Tracked, trackers

PathLike = str | Path
Credits = str | int | float
Quoted = Callable[[int, int], None]
Minutes = Annotated[float, Field(gt=0, le=100_000, description="a number above 0")]
Count = Annotated[int, Field(ge=1, le=10_000_000, description="a whole number above 0")]


@checked
def train(
    runs: PathLike | Sequence[PathLike],
    out: PathLike,
    model: str = "conv",
    size: str = "tiny",
    *,
    updates: Count | None = None,
    minutes: Minutes | None = None,
    credits: Credits | None = None,
    held_out: PathLike | None = None,
    options: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    account: str | None = "local",
    budget: Credits | None = None,
    prices: PathLike | None = None,
    ledger: Ledger | None = None,
    track: Sequence[str] | None = None,
    quoted: Quoted = lambda micro, updates: None,
    progress: Progress = lambda done, total, numbers: None,
) -> Checkpoint:
    """Train a world model, and write its checkpoint; called again, it goes on where it stopped.

    The same data, model and settings give the same weights on one class of machine, with the same
    number of threads. Episodes that no update sees pick the weights.

    Args:
        runs: the runs to train on, as `Dataset` takes them.
        out: the checkpoint, NAME.safetensors; it must not exist.
        model: conv, rssm, jepa, mlp, gcbc, or MODULE:CLASS of a torch module that keeps
            `models.WorldModel`.
        size: nano, tiny, small or base, of a model of ours.
        updates: number of updates.
        minutes: as many updates as this machine makes in these minutes.
        credits: as many updates as these credits pay.
        held_out: a run that shares no seed and no frame with `runs`; None keeps a tenth of their
            episodes apart.
        options: of the model.
        settings: of the training, as `Settings` has them.
        account: who pays; None pays for nothing.
        budget: the most that it may cost [credits].
        prices: version or .yaml file of a price schedule; None is the current one.
        ledger: where it is charged; None is this machine's ledger.
        track: csv, jsonl, tensorboard, wandb, mlflow or trackio, several; None is CSV, and
            TensorBoard if it is installed.
        quoted: is told what all of it costs [microcredits], and how many updates it has.
        progress: is told how many updates are done, of how many, and the last numbers.

    Raises:
        FormatError: a run cannot be read, or another training is under way there.
        InvalidInputError: the data lacks a column, or does not fit the model. Nothing was done.
        BudgetExhaustedError: budget or account cannot pay it. Nothing was done; or, if the credit
            was spent meanwhile, what is done is kept.
        TrainingError: the loss is not finite.
    """
    path, schedule = _free(out), schedules.chosen(prices)
    schedule.require("train_step", "model_mflop")
    wanted = Amount(updates, minutes, None if credits is None else schedules.micro(credits))
    wanted.check()
    with jobs.threads(settings or {}):
        job = jobs.prepared(runs, held_out, model, size, options or {}, settings or {})
        asked = digest.sha256([job.asked, wanted.plain, schedule.digest])
        about = {"environment": job.data.environment, "scenario": None, "label": "train"}
        till = Till(schedule, account, budget, ledger, about, piece="a piece of training")
        try:
            with writing(path):
                _free(path)  # Another process may have written it since.
                part = Part.of(path, asked, account, lambda: wanted.count(job, schedule, size))
                _check_payable(job, part.begun, schedule, budget, ledger)
                quoted(*_cost(job, part.begun.updates, schedule))
                told = Tracked(path, part.begun.id, part.begun.done)
                with trackers(told, track) as tracked:
                    made = Making(job, part, till, tracked, progress).made(schedule)
                made.write(path)
                part.remove()
        except TrainingError as error:
            error.charge_micro = till.spent
            raise
        finally:
            till.close()
    return made


@checked
def quote(
    runs: PathLike | Sequence[PathLike],
    model: str = "conv",
    size: str = "tiny",
    *,
    updates: Count | None = None,
    minutes: Minutes | None = None,
    credits: Credits | None = None,
    held_out: PathLike | None = None,
    options: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    prices: PathLike | None = None,
) -> tuple[int, int]:
    """Return what `train` costs [microcredits], and how many updates it makes.

    Its arguments are those of `train`.
    """
    schedule = schedules.chosen(prices)
    schedule.require("train_step", "model_mflop")
    wanted = Amount(updates, minutes, None if credits is None else schedules.micro(credits))
    wanted.check()
    with jobs.threads(settings or {}):
        job = jobs.prepared(runs, held_out, model, size, options or {}, settings or {})
        return _cost(job, wanted.count(job, schedule, size), schedule)


def _cost(job: Job, updates: int, schedule: PriceSchedule) -> tuple[int, int]:
    """Return what so many updates cost [microcredits], and their number."""
    return schedule.cost(schedule.metered(job.settled(updates).work(0, updates))), updates


def _check_payable(
    job: Job,
    begun: Begun,
    schedule: PriceSchedule,
    budget: Credits | None,
    ledger: Ledger | None,
) -> None:
    """Refuse a training whose updates, or the rest of them, cannot be paid."""
    if begun.account is None:
        return
    settled = job.settled(begun.updates)
    spent = schedule.cost(schedule.metered(settled.work(0, begun.done)))
    left = schedule.charges(schedule.metered(settled.work(begun.done, begun.updates)))
    cost = schedules.credits(spent + sum(left.values()))
    limit = None if budget is None else schedules.micro(budget)
    work, fewer = f"{begun.updates} updates cost {cost} credits", "ask for fewer --updates"
    payable(work, spent, left, limit, begun.account, ledger or Ledger(), fewer)


def _free(out: PathLike) -> Path:
    """Return the place of a new checkpoint (InvalidInputError if there is something)."""
    path = files.place(out)
    checkpoint.check_out(path)
    outputs.check(path)
    if path.exists():
        raise InvalidInputError(
            f"{path}: there is something already; nothing was done. Give another --out."
        )
    return path
