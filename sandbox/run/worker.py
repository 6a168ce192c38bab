"""A process that makes episodes of a run for another: whole shards, or one by one.

It pays for what it makes. A shard it writes itself; a single episode goes to the other process,
which keeps it and says so, and only then is it charged.
"""

import os
import signal
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sandbox.errors import BudgetExhaustedError, SandboxError, SimulationError
from sandbox.interrupts import Uninterrupted
from sandbox.ledger import Ledger
from sandbox.run.bill import Bill
from sandbox.run.filling import Alone, Filling
from sandbox.run.locks import lock, lock_lease
from sandbox.run.record import Record
from sandbox.run.run import Run
from sandbox.run.source import Source

Message = tuple[Any, ...]
SHARD, EPISODE, KEPT, END = "shard", "episode", "kept", "end"  # What a worker is told,
MADE, POOR, FAILED = "made", "poor", "failed"  # and what it says.


class OrphanedError(SandboxError):
    """The process that started this worker has ended."""


def work(
    worker: int,
    source: Source,
    path: Path,
    ledger: Ledger,
    channel: Connection,
    limits: tuple[int | None, int | None],
    variables: Mapping[str, str],
) -> None:
    """Run a worker process until it is told to end.

    Args:
        worker: its number.
        source: where the episodes come from.
        path: folder of the run.
        ledger: where the run is charged.
        channel: to the process that started it.
        limits: `allowance` and `most_shards` of its `Run`.
        variables: environment variables of that process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent says when to stop.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ.clear()  # The server that this process comes from may have begun with others.
    os.environ.update(variables)
    with suppress(KeyboardInterrupt, OrphanedError):
        run = Run(source, path, ledger)
        run.allowance, run.most_shards = limits
        try:
            _send(channel, _worked(run, worker, channel))
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            run.close()


def _worked(run: Run, worker: int, channel: Connection) -> Message:
    """Do what the worker is told; return what it says at its end."""
    try:
        with lock(run.path, worker=worker, leased=True), lock_lease(run.folder, run.ledger, worker):
            _Worker(run, worker, channel).work()
    except OrphanedError:
        raise
    except SandboxError as error:
        kind = SimulationError if isinstance(error, SimulationError) else SandboxError
        return FAILED, kind(str(error))
    return END, run.bill.already


class _Worker:
    """Makes what it is told to.

    Args:
        run: the run.
        worker: number of the worker.
        channel: to the process that tells it.
    """

    def __init__(self, run: Run, worker: int, channel: Connection) -> None:
        self._run, self._channel = run, channel
        self._alone = Alone(run, worker)
        self._tasks = deque[Message]()
        self._made = set[int]()  # Episodes that are not kept yet.

    def work(self) -> None:
        """Make shards and episodes until the end; charge what is kept, release the rest."""
        self._alone.lease.may_release = lambda: not self._made
        self._alone.begin(lambda: None)
        try:
            while (task := self._next())[0] != END:
                kind, number, part = task
                try:
                    if kind == SHARD:
                        self._fill(number)
                    else:
                        self._make(part, number)
                except BudgetExhaustedError as error:
                    refused = BudgetExhaustedError(str(error))
                    _send(self._channel, (POOR, kind, number, refused))
        finally:
            self._alone.close()

    def _fill(self, shard: int) -> None:
        """Make the missing episodes of a shard, and write it."""

        def report(record: Record, _: Bill) -> None:
            _send(self._channel, (KEPT, record))

        try:
            Filling(self._run, [shard], self._alone, report).fill()
        finally:
            self._alone.begin(lambda: None)
        _send(self._channel, (SHARD, shard))

    def _make(self, part: int, index: int) -> None:
        """Make an episode, and send it."""
        with Uninterrupted():
            made = self._alone.make(part, index)
            assert made is not None, "nothing limits it"
            record, episode = made
            self._made.add(index)
            episode.digest  # noqa: B018  # Hashed here, and sent with it.
            _send(self._channel, (MADE, record, episode))

    def _next(self) -> Message:
        """Return what to do next; charge what is kept meanwhile."""
        while not self._tasks or self._channel.poll():
            self._listen()
        return self._tasks.popleft()

    def _listen(self) -> None:
        """Take a message: what to do later, or which episodes are kept."""
        try:
            message = self._channel.recv()
        except (EOFError, OSError):
            raise OrphanedError("the process that started this worker has ended.") from None
        if message[0] == KEPT:
            self._made -= {record.episode for record in message[1]}
            self._alone.charge(message[1])
        else:
            self._tasks.append(message)


def _send(channel: Connection, message: Message) -> None:
    try:
        channel.send(message)
    except OSError:
        raise OrphanedError("the process that started this worker has ended.") from None
