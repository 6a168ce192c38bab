"""What Ctrl-C does before, while and after a command works."""

import os
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import FrameType

STATUS = 130  # Of a command that Ctrl-C ended, as shells have it.
_LATER_S = 0.05
AGAIN = "Stopped. Run the same command again."


def at_once() -> None:
    """Let Ctrl-C end this process at once, from now on, but while its command is `heard`.

    While it imports there is nothing to finish, and an interrupt would be a traceback; so it would
    be while Python ends. Who started it with Ctrl-C ignored, as nohup does, has it ignored.
    """
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _before)


@contextmanager
def heard() -> Generator[None]:
    """Let Ctrl-C raise KeyboardInterrupt, as a command that works expects.

    Modules that are imported meanwhile are imported to their end: libraries that an interrupt
    leaves half imported say something else, such as `TypeError: expected a message argument`.
    """
    if signal.getsignal(signal.SIGINT) is not _before:
        yield
        return
    signal.signal(signal.SIGINT, _while)
    sys.unraisablehook = _lost
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _after)


def _before(*_: int | FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, f"{AGAIN}\n".encode())
    os._exit(STATUS)


def _while(number: int, frame: FrameType | None) -> None:
    if not _imports(frame):
        signal.default_int_handler(number, frame)
    _again()


def _lost(told: "sys.UnraisableHookArgs") -> None:
    """Interrupt again if an interrupt came in a callback of C code, which raises nothing."""
    if isinstance(told.exc_value, KeyboardInterrupt):
        _again()
    else:
        sys.__unraisablehook__(told)


def _again() -> None:
    later = threading.Timer(_LATER_S, os.kill, (os.getpid(), signal.SIGINT))
    later.daemon = True
    later.start()


def _imports(frame: FrameType | None) -> bool:
    """Return whether a frame is one of a module that is being imported, or is called by one."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _after(*_: int | FrameType | None) -> None:
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(STATUS)
