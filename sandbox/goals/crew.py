"""Work that several processes share, whose results come in order whoever did it."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, parent_process
from threading import Thread
from typing import Any, Protocol, TypeVar

from sandbox import processes
from sandbox.errors import FormatError, InvalidInputError, SandboxError

R = TypeVar("R", covariant=True)
_AHEAD = 2  # Tasks that a process has waiting.


class Worker(Protocol[R]):
    """Does tasks, one after another; each process has one of its own."""

    def do(self, task: Any) -> R:
        """Do a task, whose result depends on the task alone."""
        ...

    def close(self) -> None:
        """Release what it has."""
        ...


def results(make: Callable[[], Worker[R]], tasks: Iterable[Any], workers: int) -> Generator[R]:
    """Yield the results of tasks in their order.

    A task is taken when there is somebody to do it: whoever makes them can stop.

    Args:
        make: makes a worker; it is sent to the processes.
        tasks: what is to be done.
        workers: number of processes; 1 starts none.

    Raises:
        SandboxError: a process died, or a task failed.
    """
    if workers == 1:
        worker = make()
        try:
            for task in tasks:
                yield worker.do(task)
        finally:
            worker.close()
        return
    try:
        with processes.pool(workers, _start, (make,)) as pool:
            waiting = deque[Future[Any]]()
            for task in tasks:
                waiting.append(pool.submit(_do, task))
                if len(waiting) >= workers * _AHEAD:
                    yield _told(waiting.popleft().result())
            while waiting:
                yield _told(waiting.popleft().result())
    except BrokenProcessPool:
        raise SandboxError(
            "a process died. What is done is kept; run the same command again to continue."
        ) from None


_mine: Worker[Any] | None = None  # Of a process that was started here.
_refused: SandboxError | None = None  # Why it has no worker.


def _start(make: Callable[[], Worker[Any]]) -> None:
    global _mine, _refused
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        _mine = make()
    except SandboxError as error:  # Told by the first task: a process that dies says nothing.
        _refused = error


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _do(task: Any) -> tuple[str, Any]:
    """Do a task; an error is told by its text, for not every error can be sent."""
    try:
        if _refused is not None:
            raise _refused
        assert _mine is not None, "_start comes first"
        return "", _mine.do(task)
    except FormatError as error:
        return "FormatError", str(error)
    except InvalidInputError as error:
        return "InvalidInputError", str(error)
    except SandboxError as error:
        return "SandboxError", str(error)


def _told(said: tuple[str, Any]) -> Any:
    kinds = {"FormatError": FormatError, "InvalidInputError": InvalidInputError}
    failed, result = said
    if failed:
        raise kinds.get(failed, SandboxError)(result)
    return result
