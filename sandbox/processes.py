"""Start processes that import nothing from the current folder, which may be a stranger's."""

import atexit
import io
import os
import signal
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context, popen_forkserver, reduction, spawn, util
from multiprocessing.context import (
    ForkServerContext,
    ForkServerProcess,
    SpawnContext,
    set_spawning_popen,
)
from multiprocessing.forkserver import ForkServer, read_signed
from multiprocessing.process import BaseProcess
from typing import Any, cast

_SAFE = "PYTHONSAFEPATH"  # Python then leaves the current folder out of `sys.path`.
_WARM = "sandbox.sources.warm"  # What a process is forked from has imported this.
_READ = ("PYTHON", "NUMBA", "OMP", "MKL", "OPENBLAS", "LD_", "GLIBC", "ATEN")  # When importing.


@contextmanager
def spawning(variables: Mapping[str, str] | None = None) -> Generator[SpawnContext]:
    """Yield what starts processes; those started during the block begin without the folder.

    A spawned process begins with `python -c`, which has the current folder first on its path: a
    `pickle.py` lying there would run. It gets this process's path afterwards.

    Args:
        variables: environment variables that they begin with, besides this process's.
    """
    with _safely(variables or {}):
        yield get_context("spawn")


@contextmanager
def pool(
    workers: int,
    start: Callable[..., None],
    given: tuple[Any, ...],
    variables: Mapping[str, str] | None = None,
) -> Generator[ProcessPoolExecutor]:
    """Yield spawned processes that do tasks; they are killed if the block ends by an error.

    Ctrl-C does not reach them: this process says when to stop, and what they do is then lost.

    Args:
        workers: number of processes, at most.
        start: called in each of them before its first task.
        given: what it is called with.
        variables: environment variables that they begin with, besides this process's.
    """
    with spawning(variables) as context:
        made = _Pool(workers, context, start, given)
        try:
            yield made
        except BaseException:
            for process in [*(made._processes or {}).values()]:  # pyright: ignore
                process.kill()
            raise
        finally:
            made.shutdown()


class _Pool(ProcessPoolExecutor):
    """As Python's own, which starts a process with a task, until there are enough."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        with _deaf():
            return super().submit(fn, *args, **kwargs)


@contextmanager
def forking() -> Generator[ForkServerContext]:
    """Yield what forks processes from one that has imported what simulating needs.

    That process is started when it is needed first, or by `prepare`, and ends with this one. It has
    one thread, no simulation and no open file, so that forking it is safe wherever this process is
    called. Those that are forked have the environment variables that it began with, and block
    Ctrl-C, as this process does during the block: keep it short.
    """
    with _safely({}), _deaf():
        yield _CONTEXT


def prepare() -> None:
    """Begin to start what processes are forked from; it imports while this process goes on."""
    with _safely({}), _deaf():
        _SERVER.begin()


@contextmanager
def _deaf() -> Generator[None]:
    """Begin processes that Ctrl-C does not reach: while they import, it would be a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _safely(variables: Mapping[str, str]) -> Generator[None]:
    """Let processes that begin during the block leave the current folder out."""
    theirs = {_SAFE: "1", **variables}
    before = {name: os.environ.get(name) for name in theirs}
    os.environ.update(theirs)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class _Server(ForkServer):
    """The process that others are forked from: ours alone, whatever a user's program forks."""

    def __init__(self) -> None:
        super().__init__()
        self.set_forkserver_preload([_WARM])
        self._began: dict[str, str] = {}

    def begin(self) -> None:
        """Start it, unless it runs with the variables of now that importing reads."""
        now = {name: value for name, value in os.environ.items() if name.startswith(_READ)}
        if now != self._began:
            self.end()
        self._began = now
        self.ensure_running()

    def end(self) -> None:
        """Kill it, if it runs: it holds nothing, and would take half a second to end itself."""
        if (pid := cast(int | None, getattr(self, "_forkserver_pid", None))) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):  # Somebody else waited for it.
            self._stop()  # pyright: ignore


class _Popen(popen_forkserver.Popen):
    """As Python's own, with our server."""

    def _launch(self, process_obj: BaseProcess) -> None:
        data, buffer = spawn.get_preparation_data(process_obj.name), io.BytesIO()
        set_spawning_popen(self)
        try:
            reduction.dump(data, buffer)
            reduction.dump(process_obj, buffer)
        finally:
            set_spawning_popen(None)
        _SERVER.begin()
        self.sentinel, writing = _SERVER.connect_to_new_process(self._fds)  # pyright: ignore
        held = os.dup(writing)  # The other process sees by it whether this one lives.
        self.finalizer = util.Finalize(self, util.close_fds, (held, self.sentinel))  # pyright: ignore
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(buffer.getbuffer())
        self.pid = read_signed(self.sentinel)


class _Process(ForkServerProcess):
    @staticmethod
    def _Popen(process_obj: BaseProcess) -> _Popen:  # noqa: N802
        return _Popen(process_obj)


class _Context(ForkServerContext):
    Process = _Process


_SERVER, _CONTEXT = _Server(), _Context()
atexit.register(_SERVER.end)
os.register_at_fork(after_in_child=_SERVER.__init__)  # A forked process has a server of its own.
