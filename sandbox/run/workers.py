"""Several processes share the shards of one run."""

import multiprocessing
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.errors import BudgetExhaustedError, SandboxError
from sandbox.ledger import Ledger
from sandbox.run.recipe import Recipe

if TYPE_CHECKING:
    from sandbox.run.run import Progress, Run, Source

Message = tuple[str, Any]
Crew = dict[Connection, BaseProcess]  # Each by its own pipe: a lock could die with its holder.


class _OrphanedError(SandboxError):
    """The process that started this worker is gone."""


def share(run: "Run", workers: int, progress: "Progress") -> None:
    """Generate a run's missing episodes with several processes; each takes whole shards.

    Raises:
        SandboxError: what a worker raised, or that one died; the others are stopped, what they
            kept stays.
    """
    context = multiprocessing.get_context("spawn")
    crew: Crew = {}
    try:
        for n in range(workers):
            ear, mouth = context.Pipe(duplex=False)
            part = (n, run.recipe, run.folder, run.ledger, run.source, workers, mouth)
            process = context.Process(target=_work, args=part, name=f"worker {n}", daemon=True)
            process.start()
            mouth.close()  # So that the pipe ends with the worker.
            crew[ear] = process
        _listen(run, crew, progress)
    finally:
        for ear, process in crew.items():
            process.terminate()
            ear.close()
        for process in crew.values():
            process.join()


def _listen(run: "Run", crew: Crew, progress: "Progress") -> None:
    """Count what the workers keep until all are done."""
    working, poor = dict(crew), None
    while working:
        ready = wait(list(working))
        for ear in [ear for ear in working if ear in ready]:
            kind, what = _heard(ear, working[ear])
            if kind == "kept":
                run.count(what, progress)
                continue
            if kind == "failed":
                raise what
            if kind == "poor":  # The others use what credit there is.
                poor = what
            else:
                run.bill.already += what
            del working[ear]
    if poor is not None:
        raise poor


def _heard(ear: Connection, process: BaseProcess) -> Message:
    """Return what a worker says next; SandboxError if it died."""
    try:
        return ear.recv()
    except (EOFError, OSError):
        process.join()
        raise SandboxError(
            f"{process.name} died with exit status {process.exitcode}. What was kept is kept; run "
            "the same command again to continue."
        ) from None


def _work(
    worker: int,
    recipe: Recipe,
    folder: Path,
    ledger: Ledger,
    source: "Source",
    workers: int,
    mouth: Connection,
) -> None:
    """Be one of the processes: generate every `workers`-th shard."""
    import signal

    from sandbox.run.run import Run
    from sandbox.run.settle import lock, lock_lease

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent says when to stop.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def tell(record: Mapping[str, Any], _: object) -> None:
        _say(mouth, ("kept", dict(record)))

    run = Run(recipe, folder, ledger, source)
    try:
        with lock(folder, worker=worker), lock_lease(folder, ledger, worker):
            run.generate_some(worker, workers, tell)
        _say(mouth, ("done", run.bill.already))
    except SandboxError as error:
        kind = BudgetExhaustedError if isinstance(error, BudgetExhaustedError) else SandboxError
        with suppress(_OrphanedError):
            _say(mouth, ("poor" if kind is BudgetExhaustedError else "failed", kind(str(error))))
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        run.close()


def _say(mouth: Connection, message: Message) -> None:
    try:
        mouth.send(message)
    except OSError:
        raise _OrphanedError("the process that started this worker is gone.") from None
