"""Compile kernels with Numba. Imported only where code of one is not kept yet."""

from collections.abc import Callable
from typing import Any, cast

from sandbox import simulator
from sandbox.renderer.code import Code, Kind

with simulator.required():
    import numba
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic
    from numba.np import arrayobj

_NUMBA, _TYPES, _ARRAYS, _TUPLES = (cast(Any, m) for m in (numba, types, arrayobj, cgutils))
# No fast-math: a sum may not be taken in another order on another CPU.
_OPTIONS: dict[str, Any] = {
    **{"error_model": "numpy", "fastmath": False, "_nrt": False},
    **{"no_cpython_wrapper": True, "no_cfunc_wrapper": True},  # Python calls none of them.
}
_MADE = list[Any]()  # Types refer to these weakly.


def typed(function: Callable[..., Any], inline: bool) -> Any:
    """Return what Numba takes a kernel for, where another calls it.

    Args:
        function: the kernel, in Python.
        inline: whether it becomes a part of its callers: a call would copy its array structures.
    """
    made = _NUMBA.njit(forceinline=inline, **_OPTIONS)(function)
    _MADE.append(made)
    return _TYPES.Dispatcher(made)


def compiled(kernel: Callable[..., Any], args: tuple[Any, ...], kinds: tuple[Kind, ...]) -> Code:
    """Compile a kernel for arguments such as these: C-contiguous arrays, and named tuples of them.

    Args:
        kernel: returns an integer or None.
        args: the arguments.
        kinds: of their arrays; see `Code`.
    """
    names: dict[str, Any] = {"kernel": kernel, "array": _array}
    words = iter(range(sum(1 + dimensions for _, dimensions in kinds)))
    call = f"kernel({', '.join(_expression(arg, words, names) for arg in args)})"
    returns = kernel.__annotations__["return"] is not None
    exec(f"def entry(words):\n    {f'return {call}' if returns else f'{call}; return 0'}\n", names)
    entry: Any = _NUMBA.njit(**_OPTIONS)(names["entry"])
    entry.compile((_TYPES.CPointer(_TYPES.int64),))
    (made,) = entry.overloads.values()
    _, _, (machine, _) = made.library.serialize_using_object_code()
    return Code(made.fndesc.llvm_func_name, kinds, machine)


def _expression(arg: Any, words: Any, names: dict[str, Any]) -> str:
    """Return the Python expression that takes an argument from a row of integers."""
    kind = cast(Any, type(arg))
    if issubclass(kind, tuple):
        names[kind.__name__] = kind
        return f"{kind.__name__}({', '.join(_expression(one, words, names) for one in arg)})"
    address, *shape = (f"words[{next(words)}]" for _ in range(1 + arg.ndim))
    names[arg.dtype.name] = arg.dtype.type
    return f"array({address}, ({', '.join(shape)},), {arg.dtype.name})"


@intrinsic
def _array(_: Any, address: Any, shape: Any, dtype: Any) -> Any:
    """Return the C-contiguous array at an address. Numba's own `carray` counts references."""
    made = _TYPES.Array(dtype.dtype, shape.count, "C")

    def generate(context: Any, builder: Any, _: Any, args: Any) -> Any:
        array: Any = _ARRAYS.make_array(made)(context, builder)
        size = context.get_abi_sizeof(context.get_data_type(made.dtype))
        sizes: Any = _TUPLES.unpack_tuple(builder, args[1])
        strides = [context.get_constant(_TYPES.intp, size)]
        for length in sizes[:0:-1]:
            strides.insert(0, builder.mul(strides[0], length))
        data = builder.inttoptr(args[0], array.data.type)
        _ARRAYS.populate_array(array, data, sizes, strides, size, None)
        return array._getvalue()

    return made(address, shape, dtype), generate
