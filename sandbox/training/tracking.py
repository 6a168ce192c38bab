"""Where the numbers of a training go: a file, TensorBoard, or a service that you use."""

import csv
import importlib
import importlib.util
import io
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from sandbox import durable
from sandbox.errors import InvalidInputError, SandboxError, UnknownNameError

Numbers = Mapping[str, float]
_PROJECT = "sandbox"


@dataclass(frozen=True)
class Tracked:
    """A training whose numbers are tracked.

    Attributes:
        out: its checkpoint.
        id: names this training and no other; it stays the same after a kill.
        done: the update after which it goes on.
    """

    out: Path
    id: str
    done: int


class Tracker(Protocol):
    """Takes the numbers of a training."""

    def write(self, rows: Sequence[Numbers]) -> None:
        """Take all numbers so far, a mapping for each update that has some, `update` among them."""
        ...

    def close(self) -> None:
        """Send what is still to be sent."""
        ...


class _Csv:
    """A file of comma-separated values beside the checkpoint; what a row lacks is empty."""

    def __init__(self, of: Tracked) -> None:
        self._path = of.out.with_suffix(".csv")

    def write(self, rows: Sequence[Numbers]) -> None:
        names = dict.fromkeys(name for row in rows for name in row)
        text = io.StringIO()
        table = csv.DictWriter(text, [*names], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        durable.replace(self._path, text.getvalue().encode())

    def close(self) -> None: ...


class _Jsonl:
    """A file with a line of JSON for each update that has numbers."""

    def __init__(self, of: Tracked) -> None:
        self._path = of.out.with_suffix(".jsonl")

    def write(self, rows: Sequence[Numbers]) -> None:
        durable.replace(self._path, "".join(f"{json.dumps(row)}\n" for row in rows).encode())

    def close(self) -> None: ...


class _Steps:
    """Gives each update's numbers once to a function of a package, which may fail.

    Args:
        name: what warnings call it.
        done: the last update whose numbers are there already.
        log: takes an update and its numbers.
        close: is called at the end.
    """

    def __init__(
        self,
        name: str,
        done: int,
        log: Callable[[int, dict[str, float]], Any],
        close: Callable[[], Any],
    ) -> None:
        self._name, self._done, self._log, self._close = name, done, log, close
        self._failed = False

    def write(self, rows: Sequence[Numbers]) -> None:
        for row in rows:
            if row["update"] > self._done and not self._failed:
                self._done = int(row["update"])
                told = {name: row[name] for name in row if name != "update"}
                self._call(partial(self._log, self._done, told))

    def close(self) -> None:
        self._call(self._close)

    def _call(self, function: Callable[[], Any]) -> None:
        """Call a package; where it fails, warn once, and tell it no more numbers."""
        try:
            with redirect_stdout(sys.stderr):  # Ours is for results.
                function()
        except Exception as error:  # Of a server, a disk, or the package itself.
            if not self._failed:
                said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                warnings.warn(
                    f"tracker {self._name}: gets no more numbers after update {self._done}: "
                    f"{said}. Training goes on.",
                    stacklevel=2,
                )
            self._failed = True


def _tensorboard(of: Tracked) -> Tracker:
    """Event files in a folder beside the checkpoint."""
    board = _package("tensorboardX", "worldmodel-sandbox[train]")
    writer = board.SummaryWriter(str(of.out.with_suffix(".tensorboard")), purge_step=of.done)

    def log(update: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, update)
        writer.flush()

    return _Steps("tensorboard", of.done, log, writer.close)


def _wandb(of: Tracked) -> Tracker:
    """Weights & Biases: a folder beside the checkpoint, which `wandb sync` sends.

    WANDB_MODE=online sends at once.
    """
    wandb = _package("wandb")
    folder = of.out.with_suffix(".wandb")
    folder.mkdir(exist_ok=True)
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", _PROJECT),
        id=of.id,
        name=of.out.stem,
        dir=str(folder),
        mode=os.environ.get("WANDB_MODE", "offline"),
        resume="allow",
        settings=wandb.Settings(silent=True, console="off"),
    )
    return _Steps(
        "wandb", of.done, lambda update, numbers: run.log(numbers, step=update), run.finish
    )


def _mlflow(of: Tracked) -> Tracker:
    """MLflow: the server of MLFLOW_TRACKING_URI, or an SQLite file beside the checkpoint."""
    mlflow = _package("mlflow")
    kept = f"sqlite:///{of.out.with_suffix('.mlflow.db').absolute()}"
    client = mlflow.MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", kept))
    known = client.get_experiment_by_name(_PROJECT)
    experiment = known.experiment_id if known else client.create_experiment(_PROJECT)
    found = client.search_runs([experiment], f"tags.training = '{of.id}'")
    tags = {"training": of.id}
    made = found or [client.create_run(experiment, run_name=of.out.stem, tags=tags)]
    run = made[0].info.run_id

    def log(update: int, numbers: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        each = [mlflow.entities.Metric(name, one, now, update) for name, one in numbers.items()]
        client.log_batch(run, metrics=each)

    return _Steps("mlflow", of.done, log, lambda: client.set_terminated(run))


def _trackio(of: Tracked) -> Tracker:
    """Trackio: its folder of this user (TRACKIO_DIR), which `trackio show` serves."""
    trackio = _package("trackio")
    own: dict[str, Any] = {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
    with redirect_stdout(sys.stderr):
        name = f"{of.out.stem}-{of.id[:8]}"
        run = trackio.init(project=_PROJECT, name=name, resume="allow", **own)
    return _Steps(
        "trackio", of.done, lambda update, numbers: run.log(numbers, step=update), run.finish
    )


def _package(name: str, install: str = "") -> Any:
    """Import a package; InvalidInputError says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InvalidInputError(
            f"tracker {name.removesuffix('X').lower()}: the package {name} is not installed. "
            f'`pip install "{install or name}"` installs it.'
        ) from None


KINDS: dict[str, Callable[[Tracked], Tracker]] = {
    "csv": _Csv,
    "jsonl": _Jsonl,
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
    "trackio": _trackio,
}


@contextmanager
def trackers(of: Tracked, kinds: Sequence[str] | None) -> Generator[list[Tracker]]:
    """Yield trackers of a training, and close them.

    Args:
        of: the training.
        kinds: some of KINDS; None is CSV, and TensorBoard if tensorboardX is installed.

    Raises:
        UnknownNameError: there is no such tracker.
        InvalidInputError: its package is not installed, or cannot begin.
    """
    there = importlib.util.find_spec("tensorboardX") is not None
    wanted = kinds if kinds is not None else ("csv", "tensorboard") if there else ("csv",)
    for one in wanted:
        if one not in KINDS:
            raise UnknownNameError("tracker", one, KINDS)
    with ExitStack() as stack:
        made = list[Tracker]()
        for one in wanted:
            made.append(_begun(one, of))
            stack.callback(made[-1].close)
        yield made


def _begun(kind: str, of: Tracked) -> Tracker:
    """Return a tracker (InvalidInputError if its package cannot begin)."""
    try:
        return KINDS[kind](of)
    except SandboxError:
        raise
    except Exception as error:  # Of a server, a driver, a disk, or a package that is missing.
        said = " ".join(str(error).split())[:300]
        raise InvalidInputError(f"tracker {kind}: cannot begin: {said}") from error
