"""numba's compiler with its cache on disk; says so where the cache cannot be written."""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")

# No fast-math: a sum may not be taken in another order on another CPU.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False, "_nrt": False}

# Numba takes what it kept for fresh while the kernel's own file is unchanged; a kernel is made of
# what it calls, too.
SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).digest()


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` into each that calls it: a call of its own would copy all its arrays."""
    return cast(Callable[P, R], numba.njit(forceinline=True, **_OPTIONS)(function))


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` when it is first called, and keep the result on disk.

    Warns:
        UserWarning: no folder for the cache can be written; each process compiles anew (seconds).
    """
    try:
        kernel: Any = numba.njit(cache=True, **_OPTIONS)(function)
        kernel._cache._cache_file._source_stamp = SOURCES
        return cast(Callable[P, R], kernel)
    except RuntimeError as error:  # What numba says when it finds no folder to write to.
        warnings.warn(
            f"the renderer's compiled code cannot be kept ({error}): every process compiles it "
            "anew, which takes seconds. Point NUMBA_CACHE_DIR at a folder that can be written.",
            stacklevel=2,
        )
        return cast(Callable[P, R], numba.njit(**_OPTIONS)(function))


_ENTRIES: dict[Any, Callable[..., Any]] = {}


def entry_point(kernel: Callable[..., R]) -> Callable[..., R]:
    """Return what a kernel has been compiled to, once it has.

    Numba looks at the kinds of all arrays in every call (12 us for 55 of them); this does not, so
    who calls it answers for their types, dimensions and order.
    """
    entry = _ENTRIES.get(kernel)
    if entry is None:
        entries: dict[Any, Any] = cast(Any, kernel).overloads
        if not entries:
            return kernel
        (compiled,) = entries.values()
        entry = _ENTRIES[kernel] = compiled.entry_point
    return entry
