"""Check the arguments of a function against its annotations, before it does anything."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
from pydantic import ConfigDict, InstanceOf, TypeAdapter, ValidationError

from sandbox.errors import InvalidInputError, shown

_P = ParamSpec("_P")
_R = TypeVar("_R")
_CONFIG = ConfigDict(arbitrary_types_allowed=True, strict=True)
_WORDS = {
    type(None): "None",
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
}
_KINDS = {"Path": "a path", "Sequence": "a list", "Mapping": "a mapping", "Callable": "a function"}


def checked(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return a function that refuses an argument which its annotation does not allow.

    A NumPy number counts as the Python number that it holds. Nothing is converted: the function
    gets what it was given.

    Raises:
        InvalidInputError: an argument of another type. Nothing was done.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        refuse(function, signature.bind(*args, **kwargs).arguments)
        return function(*args, **kwargs)

    return call


def refuse(function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Refuse arguments, by name, that a function's annotations do not allow.

    Raises:
        InvalidInputError: an argument of another type.
    """
    for name, value in arguments.items():
        _check(inspect.unwrap(function), name, value)


def _check(function: Callable[..., Any], name: str, value: object) -> None:
    """Refuse an argument of another type than a function's annotation allows."""
    wanted, adapters = _annotated(function)
    if name not in adapters:  # self
        return
    try:
        adapters[name].validate_python(value.item() if isinstance(value, np.generic) else value)
    except ValidationError:
        raise InvalidInputError(
            f"{function.__qualname__.removesuffix('.__init__')}: {name} must be "
            f"{_described(wanted[name])}, not {shown(value)}."
        ) from None


@cache
def _annotated(function: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, TypeAdapter[Any]]]:
    """Return the annotations of a function's parameters, and what checks each."""
    hints = typing.get_type_hints(function, include_extras=True)
    hints.pop("return", None)
    return hints, {name: _adapter(_checkable(hint)) for name, hint in hints.items()}


def _adapter(hint: Any) -> TypeAdapter[Any]:
    """Return what checks an annotation; pydantic lets no class of ours have a configuration."""
    return TypeAdapter(hint, config=None if _is_ours(typing.get_args(hint)[:1]) else _CONFIG)


def _checkable(hint: Any) -> Any:
    """Return an annotation as pydantic shall check it: our classes by what they are, not hold."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:  # The function names the nearest of them.
        return str
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(map(_checkable, inner))]  # noqa: UP007
    if origin is None and _is_ours((hint,)):
        return InstanceOf[hint]
    return hint


def _is_ours(hints: tuple[Any, ...]) -> bool:
    """Return whether these annotations are a class of this library."""
    return any(inspect.isclass(one) and one.__module__.startswith("sandbox") for one in hints)


def _described(hint: Any) -> str:
    """Return an annotation in words: "text, a whole number or None"."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        *words, last = dict.fromkeys(map(_described, inner))
        return f"{', '.join(words)} or {last}" if words else last
    if origin is typing.Literal:
        return " or ".join(map(repr, inner))
    if origin is typing.Annotated:
        return str(inner[1].description)
    if hint in _WORDS:
        return _WORDS[hint]
    name = getattr(origin or hint, "__name__", str(hint))
    kind = _KINDS.get(name, f"a {name}")
    return f"{kind} of {_described(inner[0])}" if name == "Sequence" else kind
