"""The one module that imports PyBullet: clients, and which build of it this is."""

import contextlib
import csv
import ctypes
import functools
import hashlib
import os
import platform
import sys
import threading
from collections.abc import Generator
from importlib import metadata
from pathlib import Path, PurePosixPath

from sandbox import simulator

_STREAMS = {"linux": ("stdout", "stderr"), "darwin": ("__stdoutp", "__stderrp")}
_ONE_THREAD = threading.RLock()
os.register_at_fork(before=_ONE_THREAD.acquire, after_in_parent=_ONE_THREAD.release)
os.register_at_fork(after_in_child=_ONE_THREAD.release)


@functools.cache
def _streams() -> tuple[list[ctypes.c_void_p], list[int | None], int | None]:
    """Return the variables that hold C's output streams, what they hold, and a stream to nowhere.

    musl keeps these variables in memory that cannot be written: there, Bullet prints.
    """
    names = _STREAMS.get(sys.platform, ())
    if not names or (sys.platform == "linux" and platform.libc_ver()[0] != "glibc"):
        return [], [], None
    library = ctypes.CDLL(None)
    library.fopen.restype = ctypes.c_void_p
    sink: int | None = library.fopen(os.devnull.encode(), b"w")
    found = [ctypes.c_void_p.in_dll(library, name) for name in names]
    return found, [one.value for one in found], sink


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Silence what Bullet prints: its build when it is imported, what its importers find.

    It prints through C's streams, which Python does not use: what the process prints meanwhile, in
    this thread or another, arrives. The descriptors stay as they are.
    """
    with _ONE_THREAD:
        variables, before, sink = _streams()
        try:
            for variable in variables:
                variable.value = sink
            yield
        finally:
            for variable, stream in zip(variables, before, strict=True):
                variable.value = stream


if simulator.is_installed("pybullet"):
    with quiet():
        import pybullet
else:  # Environments can be imported and listed; the first client is refused.
    pybullet = simulator.absent()


def connect() -> int:
    """Open a DIRECT client (20 to 32 ms, 16 to 30 MiB) and return its id.

    Raises:
        NoSimulatorError: PyBullet or Numba is not installed.
    """
    simulator.require()
    return pybullet.connect(pybullet.DIRECT)


def disconnect(client: int) -> None:
    """Close a client, if it is open."""
    with contextlib.suppress(pybullet.error):
        pybullet.disconnect(client)


@functools.cache
def build() -> dict[str, str]:
    """Return PyBullet's version and a digest of its compiled file.

    Raises:
        NoSimulatorError: PyBullet or Numba is not installed.
    """
    simulator.require()
    return {"pybullet": metadata.version("pybullet"), "pybullet_binary": _binary_hash()}


def _binary_hash() -> str:
    """Return the wheel's own record of its compiled file's SHA-256, else the hash of the file."""
    listed = metadata.distribution("pybullet").read_text("RECORD") or ""
    for path, digest, _ in csv.reader(line for line in listed.splitlines() if "pybullet." in line):
        if PurePosixPath(path).name.startswith("pybullet.") and digest:
            return digest.replace("=", ":", 1)
    return "sha256:" + hashlib.sha256(Path(pybullet.__file__).read_bytes()).hexdigest()
