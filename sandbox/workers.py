"""Several processes share the shards of one run."""

import multiprocessing
import os
import queue
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.errors import BudgetExhaustedError, SandboxError
from sandbox.ledger import Ledger
from sandbox.recipe import Recipe

if TYPE_CHECKING:
    from sandbox.collect import Progress, Run, Source

Message = tuple[str, Any]


class _OrphanedError(SandboxError):
    """The process that started this worker is gone."""


def share(run: "Run", workers: int, progress: "Progress") -> None:
    """Generate a run's missing episodes with several processes; each takes whole shards.

    Raises:
        SandboxError: what a worker raised; the others are stopped, what they kept stays.
    """
    context = multiprocessing.get_context("spawn")
    said: Any = context.Queue()
    part = (run.recipe, run.folder, run.ledger, run.source, workers, os.getpid(), said)
    crew = [
        context.Process(target=_work, args=(n, *part), name=f"worker {n}", daemon=True)
        for n in range(workers)
    ]
    for process in crew:
        process.start()
    try:
        _listen(run, crew, said, progress)
    finally:
        for process in crew:
            process.terminate()
        for process in crew:
            process.join()


def _listen(run: "Run", crew: Sequence[BaseProcess], said: Any, progress: "Progress") -> None:
    """Count what the workers keep until all are done."""
    working, poor = len(crew), None
    while working:
        try:
            kind, what = said.get(timeout=0.5)
        except queue.Empty:
            dead = [p for p in crew if p.exitcode not in (None, 0)]
            if dead:
                raise SandboxError(
                    f"{dead[0].name} died with exit status {dead[0].exitcode}. What was kept is "
                    "kept; run the same command again to continue."
                ) from None
            continue
        if kind == "kept":
            run.count(what, progress)
        elif kind == "poor":  # The others use what credit there is.
            poor, working = what, working - 1
        elif kind == "failed":
            raise what
        else:
            run.bill.already += what
            working -= 1
    if poor is not None:
        raise poor


def _work(
    worker: int,
    recipe: Recipe,
    folder: Path,
    ledger: Ledger,
    source: "Source",
    workers: int,
    parent: int,
    said: Any,
) -> None:
    """Be one of the processes: generate every `workers`-th shard."""
    import signal

    from sandbox.collect import Run, lock

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent says when to stop.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def tell(record: Mapping[str, Any], _: object) -> None:
        if os.getppid() != parent:
            raise _OrphanedError("the process that started this worker is gone.")
        said.put(("kept", dict(record)))

    run = Run(recipe, folder, ledger, source)
    try:
        with lock(folder, worker=worker):
            run.generate_some(worker, workers, tell)
        said.put(("done", run.bill.already))
    except SandboxError as error:
        kind = BudgetExhaustedError if isinstance(error, BudgetExhaustedError) else SandboxError
        said.put(("poor" if kind is BudgetExhaustedError else "failed", kind(str(error))))
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        run.close()
