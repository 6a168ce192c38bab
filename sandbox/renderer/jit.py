"""Compile with Numba, with a cache on disk; warn if the cache cannot be written."""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from sandbox import simulator

with simulator.required():
    import numba

if cast(Any, numba).config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set, and in Python alone a picture takes minutes")

P = ParamSpec("P")
R = TypeVar("R")

# No fast-math: a sum may not be taken in another order on another CPU.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False, "_nrt": False}

# Numba's cache of a kernel is valid while the kernel's own file is unchanged. A kernel also depends
# on what it calls, so the cache here depends on all files of the renderer.
SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).digest()


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` into its callers: a real call would copy all its array structures."""
    return cast(Callable[P, R], numba.njit(forceinline=True, **_OPTIONS)(function))


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` on its first call, and cache the result on disk.

    Warns:
        UserWarning: no folder for the cache can be written; each process compiles again (seconds).
    """
    try:
        kernel: Any = numba.njit(cache=True, **_OPTIONS)(function)
        kernel._cache._cache_file._source_stamp = SOURCES
        return cast(Callable[P, R], kernel)
    except RuntimeError as error:  # What Numba raises if it finds no folder to write to.
        warnings.warn(
            f"the renderer's compiled code cannot be kept ({error}): every process compiles it "
            "again, which takes seconds. Point NUMBA_CACHE_DIR at a folder that can be written.",
            stacklevel=2,
        )
        return cast(Callable[P, R], numba.njit(**_OPTIONS)(function))


def is_cached(kernel: Callable[..., Any]) -> bool:
    """Return whether a kernel is compiled on disk, for some arguments, as its source is now."""
    cache = getattr(kernel, "_cache", None)
    try:
        return bool(cast(Any, cache)._cache_file._load_index())
    except (AttributeError, OSError):  # Compiled without a cache; or it cannot be read.
        return False


_ENTRIES: dict[Any, Callable[..., Any]] = {}


def entry_point(kernel: Callable[..., R]) -> Callable[..., R]:
    """Return the compiled function of a kernel, or the kernel itself before its first call.

    Numba checks the types of all arguments in every call (12 us for 55 arrays). The compiled
    function does not, so the caller must pass the right types, dimensions and memory order.
    """
    entry = _ENTRIES.get(kernel)
    if entry is None:
        entries: dict[Any, Any] = cast(Any, kernel).overloads
        if not entries:
            return kernel
        (compiled,) = entries.values()
        entry = _ENTRIES[kernel] = compiled.entry_point
    return entry
