"""The one module that imports PyBullet: clients, and the facts that their results depend on."""

import contextlib
import functools
import hashlib
import os
import platform
import sys
from collections.abc import Generator
from importlib import metadata
from pathlib import Path

import numpy as np


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Silence what C code prints: PyBullet announces its build, its importers each file."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [(fd, os.dup(fd)) for fd in (1, 2)]
    try:
        with open(os.devnull, "wb") as sink:
            for fd, _ in saved:
                os.dup2(sink.fileno(), fd)
        yield
    finally:
        for fd, copy in saved:
            os.dup2(copy, fd)
            os.close(copy)


with quiet():
    import pybullet


def connect() -> int:
    """Open a DIRECT client (20 to 32 ms, 16 to 30 MiB) and return its id."""
    with quiet():
        return pybullet.connect(pybullet.DIRECT)


def disconnect(client: int) -> None:
    """Close a client, if it is open."""
    with contextlib.suppress(pybullet.error):
        pybullet.disconnect(client)


@functools.cache
def engine() -> dict[str, str]:
    """Return the facts that a trajectory's bytes depend on besides its recipe.

    Bit-exact replay was measured on one CPU type at a time, so it is claimed only between runs
    whose `class` is equal: a digest of PyBullet's compiled file, the versions of NumPy and Python,
    and the CPU's name.
    """
    parts = {
        "pybullet": metadata.version("pybullet"),
        "pybullet_binary": _binary_hash(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "cpu": _cpu(),
    }
    name = hashlib.sha256("\n".join(f"{k}={v}" for k, v in parts.items()).encode()).hexdigest()
    return {**parts, "class": name[:16]}


def _binary_hash() -> str:
    """Return the wheel's own record of its compiled file's SHA-256, else the hash of the file."""
    for file in metadata.files("pybullet") or []:
        if file.name.startswith("pybullet.") and file.hash is not None:
            return f"{file.hash.mode}:{file.hash.value}"
    return "sha256:" + hashlib.sha256(Path(pybullet.__file__).read_bytes()).hexdigest()


def _cpu() -> str:
    """Return the CPU's model name, where the system gives it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{platform.machine()} {line.partition(':')[2].strip()}"
    return f"{platform.machine()} {platform.processor()}".strip()
