"""Kernels: functions that Numba compiles once on a machine, and LLVM loads afterwards.

Numba takes longer to import than all else that draws. So it is imported only where no code is kept.
A kernel takes arrays, and named tuples of them. What it is compiled to takes a row of integers:
the address and the shape of each array.
"""

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any, Generic, ParamSpec, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from sandbox.renderer import code

if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
    raise ImportError("NUMBA_DISABLE_JIT is set, and in Python alone a picture takes minutes")

P = ParamSpec("P")
R = TypeVar("R")
U = NDArray[Any]


class Kernel(Generic[P, R]):
    """A compiled function. Called from Python, it is compiled for what it is called with first.

    Args:
        function: what is compiled. It returns an integer or None, unless only kernels call it.
        inline: whether it becomes a part of its callers: a call would copy its array structures.
    """

    def __init__(self, function: Callable[P, R], inline: bool) -> None:
        functools.update_wrapper(self, function)
        self.function, self._inline = function, inline
        self._code: code.Code | None = None

    def __call__(self, *args: P.args, **_: P.kwargs) -> R:
        """Run it."""
        return Call(self, *args)()

    @functools.cached_property
    def _numba_type_(self) -> Any:
        """What Numba asks of a global that a function uses."""
        from sandbox.renderer import compiling

        return compiling.typed(self.function, self._inline)

    @property
    def is_kept(self) -> bool:
        """Whether its code is here: kept on this machine, or compiled by this process."""
        if self._code is None:
            self._code = code.find(self.function.__name__)
        return self._code is not None

    def native(self, args: tuple[Any, ...]) -> Callable[..., int]:
        """Return its compiled function, loaded or compiled for arguments such as these.

        Raises:
            TypeError: it was compiled for other kinds of arrays.
        """
        name, kinds = self.function.__name__, tuple(map(_kind, _arrays(args)))
        if not self.is_kept:
            from sandbox.renderer import compiling

            self._code = compiling.compiled(self, args, kinds)
            code.keep(name, self._code)
        assert self._code is not None
        if self._code.kinds != kinds:
            raise TypeError(f"{name}: compiled for arrays {self._code.kinds}, given {kinds}.")
        return self._code.function


class Call(Generic[R]):
    """A kernel with its arguments: arrays whose values may change.

    To find where an array lies takes microseconds in Python, so it is done once.
    """

    def __init__(self, kernel: Kernel[..., R], *args: Any) -> None:
        self._function, self._args = kernel.native(args), args  # Which are not freed before.
        words = [word for one in _arrays(args) for word in (one.ctypes.data, *one.shape)]
        self._row, self._result, self._error = (np.array(it) for it in (words, [0], [0]))
        self._places = [one.ctypes.data for one in (self._result, self._error, self._row)]

    def __call__(self) -> R:
        """Run the kernel."""
        status = self._function(*self._places)
        assert status == 0, "no kernel raises"
        return cast(R, int(self._result[0]))


def inlined(function: Callable[P, R]) -> Kernel[P, R]:
    """Compile a function into the kernels that call it."""
    return Kernel(function, inline=True)


def compiled(function: Callable[P, R]) -> Kernel[P, R]:
    """Compile a function when it is called first, unless its code is kept on this machine."""
    return Kernel(function, inline=False)


def _arrays(given: tuple[Any, ...]) -> Iterator[U]:
    """Yield the arrays of arguments in order."""
    for one in given:
        if isinstance(one, tuple):
            yield from _arrays(cast(tuple[Any, ...], one))
        else:
            yield one


def _kind(array: U) -> code.Kind:
    """Return type and number of dimensions of an array, which must be C-contiguous."""
    if not array.flags.c_contiguous:
        raise TypeError("a kernel takes arrays that are C-contiguous.")
    return array.dtype.char, array.ndim
