"""Several processes share the shards of one run."""

import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from sandbox.errors import BudgetExhaustedError, SandboxError, SimulationError
from sandbox.ledger import Ledger
from sandbox.processes import spawning
from sandbox.run.bill import Bill
from sandbox.run.locks import lock, lock_lease
from sandbox.run.record import Record
from sandbox.run.run import Progress, Run
from sandbox.run.source import Source

Message = tuple[str, Any]
# Each process has its own pipe: a lock on a shared one could die with its holder.
Processes = dict[Connection, BaseProcess]


class _OrphanedError(SandboxError):
    """The process that started this worker has ended."""


def sharing(workers: int) -> Callable[[Run, Progress], None] | None:
    """Return how to make a run's episodes with several processes; None for a single one."""
    return None if workers == 1 else partial(_share, workers=workers)


def _share(run: Run, progress: Progress, workers: int) -> None:
    """Make a run's missing episodes with several processes; each takes whole shards.

    Raises:
        SandboxError: a worker failed or died. The others are stopped; what they kept stays.
    """
    processes: Processes = {}
    allowance = None if run.allowance is None else run.allowance // workers
    try:
        with spawning() as context:
            for n in range(workers):
                receiver, sender = context.Pipe(duplex=False)
                limits = (allowance, run.most_shards)
                part = (n, run.source, run.path, run.ledger, workers, sender, limits)
                process = context.Process(target=_work, args=part, name=f"worker {n}", daemon=True)
                before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Until it
                process.start()  # can ignore Ctrl-C: while it imports, that would be a traceback.
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                sender.close()  # So that the pipe ends when the worker does.
                processes[receiver] = process
        _listen(run, processes, progress)
    finally:
        for receiver, process in processes.items():
            process.terminate()
            receiver.close()
        for process in processes.values():
            process.join()


def _listen(run: Run, processes: Processes, progress: Progress) -> None:
    """Count what the workers keep until all are done."""
    working, exhausted = dict(processes), None
    while working:
        ready = wait(list(working))
        for receiver in [one for one in working if one in ready]:
            kind, content = _receive(receiver, working[receiver])
            if kind == "kept":
                run.count(content, progress)
                continue
            if kind == "failed":
                raise content
            if kind == "exhausted":  # The others use what credit there is.
                exhausted = content
            else:
                run.bill.already += content
            del working[receiver]
    if exhausted is not None:
        raise exhausted


def _receive(receiver: Connection, process: BaseProcess) -> Message:
    """Return the next message of a worker; SandboxError if it died."""
    try:
        return receiver.recv()
    except (EOFError, OSError):
        process.join()
        raise SandboxError(
            f"{process.name} died with exit status {process.exitcode}. What was kept is kept; run "
            "the same command again to continue."
        ) from None


def _work(
    worker: int,
    source: Source,
    path: Path,
    ledger: Ledger,
    workers: int,
    sender: Connection,
    limits: tuple[int | None, int | None],
) -> None:
    """Run a worker process: make every `workers`-th shard, within a run's limits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent says when to stop.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt, _OrphanedError):
        run = Run(source, path, ledger)
        run.allowance, run.most_shards = limits
        try:
            _send(sender, _made(run, worker, workers, sender))
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            run.close()


def _made(run: Run, worker: int, workers: int, sender: Connection) -> Message:
    """Make a worker's shards; return what the parent is told at the end."""

    def report(record: Record, _: Bill) -> None:
        _send(sender, ("kept", record))

    try:
        with lock(run.path, worker=worker), lock_lease(run.folder, run.ledger, worker):
            run.make_some(worker, workers, report)
    except _OrphanedError:
        raise
    except SandboxError as error:
        kinds = (BudgetExhaustedError, SimulationError, SandboxError)
        kind = next(one for one in kinds if isinstance(error, one))
        return "exhausted" if kind is BudgetExhaustedError else "failed", kind(str(error))
    return "done", run.bill.already


def _send(sender: Connection, message: Message) -> None:
    try:
        sender.send(message)
    except OSError:
        raise _OrphanedError("the process that started this worker has ended.") from None
