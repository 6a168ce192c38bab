"""Threads that are stopped and waited for, at the latest when the process ends."""

import atexit
import functools
import threading
from collections.abc import Callable

_RUNNING: "set[Background]" = set()


class Background:
    """A thread that does some work until it is over, or until it is told to stop.

    Args:
        name: the name of the thread.
        work: does it; looks often whether the event that it gets is set, and returns then.
    """

    def __init__(self, name: str, work: Callable[[threading.Event], None]) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=work, args=(self._stop,), name=name, daemon=True)
        _at_exit()
        _RUNNING.add(self)
        self._thread.start()

    def end(self) -> None:
        """Tell the thread to stop, and wait until it has."""
        self._stop.set()
        self.wait()
        _RUNNING.discard(self)

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until the work is over."""
        if self._thread is not threading.current_thread():  # Garbage is collected in any thread.
            self._thread.join(timeout_s)


@functools.cache
def _at_exit() -> None:
    """End what is running before HDF5 is closed: first what was registered last.

    HDF5 crashes the process if a thread still reads.
    """
    atexit.register(_end_all)


def _end_all() -> None:
    for one in list(_RUNNING):
        one.end()
