"""Determinism classes: what a trajectory's bytes depend on besides its recipe.

Two machines of one class give the same bytes. A class is PyBullet's build and the fingerprint of
the mathematics. Classes of runs that were made before fingerprints name the CPU, Python and NumPy.
"""

import contextlib
import functools
import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sandbox import mathematics
from sandbox.errors import shown
from sandbox.world import bullet


@functools.cache
def engine() -> dict[str, str]:
    """Return the facts that a trajectory's bytes depend on, and the name of their `class`."""
    return _classed({**bullet.build(), "mathematics": mathematics.fingerprint()})


def drawing() -> str:
    """Return the name of TinyRenderer's class: the simulator's, and what only drawing uses."""
    return _classed({**engine(), "drawing": mathematics.of_drawing()})["class"]


def unlike(theirs: Mapping[str, str]) -> str:
    """Return how the class that a run names differs from this process's, in words, or ""."""
    ours = engine() if "mathematics" in theirs else _by_names()
    keys = [key for key in sorted({*theirs, *ours}) if theirs.get(key) != ours.get(key)]
    told = [key for key in keys if key != "class"] or keys
    return ", ".join(f"{k} was {shown(theirs.get(k))} and is {shown(ours.get(k))}" for k in told)


def variables(theirs: Mapping[str, str]) -> Mapping[str, str] | None:
    """Return environment variables with which a process here is of the class that a run names.

    Returns:
        None if there are none, or if it is not known whether there are; {} for this process.
    """
    if not unlike(theirs):
        return {}
    wanted = theirs.get("mathematics", "")
    if dict(theirs) != _classed({**bullet.build(), "mathematics": wanted}):
        return None
    return mathematics.variant(wanted)


def advice(theirs: Mapping[str, str]) -> str:
    """Return what to say of a replay that differs: " The run was made ...", or ""."""
    why = unlike(theirs)
    if not why:
        return ""
    known = variables(theirs) or {}
    remedy = " ".join(f"{name}={value}" for name, value in known.items())
    remedy = f"; set {remedy}, and give another --out" if remedy else ", which this machine lacks"
    return f" The run was made in another determinism class ({why}){remedy}."


def is_ours(name: str) -> bool:
    """Return whether a class of this name is this process's, by what it is or by names."""
    return name in (engine()["class"], drawing(), _by_names()["class"])


def machine() -> str:
    """Return what else a machine is: its CPU, C library, Python and NumPy."""
    library = " ".join(platform.libc_ver()).strip() or platform.system()
    return f"{_cpu()}, {library}, Python {platform.python_version()}, NumPy {np.__version__}"


def _classed(parts: Mapping[str, str]) -> dict[str, str]:
    named = hashlib.sha256("\n".join(f"{k}={v}" for k, v in parts.items()).encode()).hexdigest()
    return {**parts, "class": named[:16]}


@functools.cache
def _by_names() -> dict[str, str]:
    """Return this machine's class as runs named it before there were fingerprints."""
    names = {"numpy": np.__version__, "python": platform.python_version(), "cpu": _cpu()}
    return _classed({**bullet.build(), **names})


def _cpu() -> str:
    """Return the CPU's model name, where the system gives it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{platform.machine()} {line.partition(':')[2].strip()}"
    return f"{platform.machine()} {platform.processor()}".strip()
