"""A training that is prepared: its data, its model, and what its work is."""

import hashlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import safetensors
import torch
from pydantic import ValidationError

import sandbox
from sandbox import digest, files, validation
from sandbox.dataset.finite import check_finite
from sandbox.errors import InvalidInputError
from sandbox.models import named, work
from sandbox.models.checkpoint import Data, Facts
from sandbox.models.protocol import GoalPolicy, Shapes, WorldModel
from sandbox.prices import PriceSchedule, plus
from sandbox.training import material
from sandbox.training.judge import Judge
from sandbox.training.material import Repeated, Windows
from sandbox.training.settings import Settings
from sandbox.training.trainer import seed


@dataclass(frozen=True)
class Job:
    """Data, model and settings of a training.

    Attributes:
        name, options, shapes: of the model.
        model: the model, with the weights with which it begins.
        windows, judge: what it is trained on, and what judges it.
        data, held_out: which episodes these are.
        shared: how many held-out frames are frames to train on too.
        settings: of the training; their updates are not settled yet.
        update, check: the work of an update, and of computing the error on held-out episodes.
        code: SHA-256 of the code that decides the weights.
    """

    name: str
    options: Mapping[str, Any]
    shapes: Shapes
    model: WorldModel | GoalPolicy
    windows: Windows | Repeated
    judge: Judge
    data: Data
    held_out: Data
    shared: int
    settings: Settings
    update: Mapping[str, int]
    check: Mapping[str, int]
    code: str

    @property
    def asked(self) -> list[Any]:
        """What decides the weights, as plain JSON, but for the number of updates."""
        return [
            self.name,
            dict(self.options),
            {name: list(shape) for name, shape in self.shapes.items()},
            self.settings.plain() | {"updates": 0},
            self.data.model_dump(),
            self.held_out.model_dump(),
            self.code,
        ]

    def settled(self, updates: int) -> Self:
        """Return the job with this number of updates."""
        return replace(self, settings=self.settings.model_copy(update={"updates": updates}))

    def facts(self, updates: int, error: float | None, schedule: PriceSchedule) -> Facts:
        """Return what a checkpoint of this job says, whose weights an update picked."""
        cost = schedule.cost(schedule.metered(self.work(0, self.settings.updates)))
        return Facts(
            model=self.name,
            options=dict(self.options),
            shapes={name: list(shape) for name, shape in self.shapes.items()},
            training=self.settings.plain(),
            data=self.data,
            held_out=self.held_out,
            shared_frames=self.shared,
            updates=updates,
            error=error,
            charge_micro=cost,
            prices=schedule.version,
            code=self.code,
            versions={
                "sandbox": sandbox.__version__,
                "torch": str(torch.__version__),
                "safetensors": safetensors.__version__,
            },
        )

    def work(self, done: int, until: int) -> dict[str, int]:
        """Return the work from one number of updates to another, per meter unit."""
        checks = sum(done < one <= until for one in self.settings.checked_at())
        return plus(plus({}, self.update, until - done), self.check, checks)


def prepared(
    runs: str | Path | Sequence[str | Path],
    held_out: str | Path | None,
    name: str,
    size: str,
    options: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> Job:
    """Prepare a training; its arguments are those of `train`."""
    given = material.opened(runs, held_out, parsed(settings).seed)
    shapes = material.shapes_of(given.train.schema)
    told, chosen, model = begun(name, size, options, settings, shapes)
    for one in (given.train, given.held_out):
        check_finite(one, (*model.needs, *model.gives, "action"), one.name)
    material.normalise(model, given.train)
    windows = Windows(given.train, model, told.batch, told.horizon, told.seed)
    judge = Judge.of(given.held_out, model, told.horizon, told.windows)
    return Job(
        name,
        chosen,
        shapes,
        model,
        windows,
        judge,
        material.data(given.train),
        material.data(given.held_out),
        given.shared,
        told,
        work.of_update(model, f"model {name}", next(windows.after(0))),
        {"model_mflop": work.mflop(judge.error)},
        code(name),
    )


def begun(
    name: str,
    size: str,
    options: Mapping[str, Any],
    settings: Mapping[str, Any],
    shapes: Shapes,
) -> tuple[Settings, dict[str, Any], WorldModel | GoalPolicy]:
    """Return settings, options and the model as a training begins with them."""
    told = parsed({**named.SETTINGS.get(name, {}), **settings})
    chosen = named.options_of(name, size, options)
    seed(told.seed)
    return told, chosen, named.make(name, chosen, shapes)


def parsed(settings: Mapping[str, Any]) -> Settings:
    """Return settings that people give by name; InvalidInputError if one is wrong."""
    if "updates" in settings:
        raise InvalidInputError("settings: updates are an argument of their own.")
    try:
        return Settings.model_validate({"updates": 1, **settings})
    except ValidationError as error:
        raise InvalidInputError(f"settings: {validation.first_fault(error, Settings)}") from None


@contextmanager
def threads(settings: Mapping[str, Any]) -> Generator[None]:
    """Let PyTorch have so many threads as the settings say, and afterwards as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(parsed(settings).threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def code(name: str) -> str:
    """Return the SHA-256 of the code that decides the weights: of the model, and of training."""
    here = sorted(Path(__file__).parent.glob("*.py"))
    hashed = [hashlib.sha256(files.read(path)).hexdigest() for path in here]
    return digest.sha256([named.code(name), *hashed])
