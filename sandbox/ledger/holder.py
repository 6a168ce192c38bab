"""Which process holds credit, and whether it is still there."""

import functools
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast

State = Literal["living", "dead", "unknown"]
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process, told from all others that ever ran.

    Attributes:
        host: name of its machine.
        boot: id of the machine's start; "" where the system has none.
        space: id of its PID namespace, such as that of a container; "" where the system has none.
        pid: number of the process.
        started: when it started, as the system counts; "" where the system does not say.
    """

    host: str
    boot: str
    space: str
    pid: int
    started: str

    @classmethod
    def me(cls) -> Self:
        """Return this process."""
        return cls._of(os.getpid())

    @classmethod
    def starter(cls) -> Self:
        """Return the process that started this one as a worker; without one, this process."""
        import multiprocessing  # Only workers need it.

        parent = multiprocessing.parent_process()
        pid = None if parent is None else parent.pid
        return cls._of(os.getpid() if pid is None else pid)

    @classmethod
    def _of(cls, pid: int) -> Self:
        return cls(socket.gethostname(), _boot(), _space(), pid, _started(pid) or "")

    @classmethod
    def parse(cls, facts: Any) -> Self | None:
        """Return the holder in the facts of a reservation; None if they name none."""
        if not isinstance(facts, dict):
            return None
        known = cast("dict[str, Any]", facts)
        texts = {name: known.get(name) for name in ("host", "boot", "space", "started")}
        pid = known.get("pid")
        if type(pid) is not int or any(type(text) is not str for text in texts.values()):
            return None
        return cls(pid=pid, **cast("dict[str, Any]", texts))

    @property
    def plain(self) -> dict[str, Any]:
        """The holder as plain JSON."""
        return asdict(self)

    @property
    def state(self) -> State:
        """Whether the process lives; unknown if it is on another machine or in another container.

        A machine that was started again, under the same name, is another one.
        """
        if (self.host, self.boot, self.space) != (socket.gethostname(), _boot(), _space()):
            return "unknown"
        started = _started(self.pid)
        return "living" if started is not None and started == self.started else "dead"

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _started(pid: int) -> str | None:
    """Return when a process started, "" if the system does not say; None if it has ended."""
    if not (_PROC / "self" / "stat").exists():
        return _exists(pid)
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    state, *fields = text.rpartition(")")[2].split()  # After its name, which may hold anything.
    return None if state in ("Z", "X") else fields[18]  # Clock ticks since the machine started.


def _exists(pid: int) -> str | None:
    """Return "" if a process exists; None if not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return ""
    return ""


@functools.cache
def _boot() -> str:
    try:
        return (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()
    except OSError:
        return ""


def _space() -> str:
    try:
        return os.readlink(_PROC / "self" / "ns" / "pid")
    except OSError:
        return ""
