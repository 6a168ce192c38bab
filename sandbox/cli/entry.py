"""Run the command line."""

import atexit
import gc
import os
import sys
import threading
import warnings
from contextlib import suppress
from typing import NoReturn, TextIO

from sandbox.cli import stopping
from sandbox.errors import SandboxError, line

_GARBAGE = 10_000  # New objects after which Python looks for garbage; importing makes many.


def run() -> None:
    """Be the program `sandbox`: run the command line, and end at once.

    To take apart what was imported would take a third of a second.
    """
    gc.set_threshold(_GARBAGE)
    try:
        main()
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        _leave(end.code or 0)
    _leave(0)


def _leave(status: int) -> None:
    """Exit as Python does, but for freeing what the system frees anyway."""
    main_thread = threading.main_thread()
    if any(not one.daemon for one in threading.enumerate() if one is not main_thread):
        sys.exit(status)  # Python waits for them.
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def main() -> None:
    """Run the command line; an error that a user can fix is one line on stderr and status 2."""
    _prepare_streams()
    warnings.formatwarning = _warning
    stopping.at_once()
    from sandbox.cli.app import app

    try:
        try:
            app()
        finally:
            _flush()
    except SandboxError as error:
        _end(str(error))
    except BrokenPipeError:  # Such as `| head`: who reads has seen enough.
        _stop_printing()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # Typer would exit with 1.
            _stop_printing()
        raise
    except OSError as error:  # What the system refuses, and no message of ours foresaw.
        where = f"{error.filename}: " if error.filename else ""
        _end(f"{where}{error.strerror or error}. Look at the disk and its permissions.")
    except MemoryError:
        _end("there is not enough memory. Close other programs, or ask for less at a time.")


def _warning(message: Warning | str, category: type[Warning], *_: object) -> str:
    """Return a warning as one line, of which no user needs the place in the code."""
    said = line(str(message))
    return f"warning: {said}\n" if category is UserWarning else f"{category.__name__}: {said}\n"


def _flush() -> None:
    """Hand on what was printed; OSError if a pipe or a disk does not take it."""
    try:
        sys.stdout.flush()
    except OSError:
        _give_up(sys.stdout)
        raise


def _stop_printing() -> NoReturn:
    """Exit as a program does that is ended because nobody reads what it prints."""
    _give_up(sys.stdout)
    sys.exit(141)


def _give_up(stream: TextIO) -> None:
    """Print no more to a stream: Python would try once more when it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _end(message: str) -> NoReturn:
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, soft_wrap=True, emoji=False)
    try:
        console.print(f"[bold red]error:[/] {escape(line(message))}", highlight=False)
    except OSError:  # Such as a full disk behind stderr.
        _give_up(sys.stderr)
    sys.exit(2)


def _prepare_streams() -> None:
    """Let every character be printed where a terminal knows few, and nothing where none is."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream.closed:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
