"""The digest of data: SHA-256 of its deterministic CBOR (RFC 8949, section 4.2)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, cast

import cbor2

# Metadata of a dataclass's field that was added later: where it has its default it is not hashed,
# so that what has no use for it keeps its digest.
LATER = {"later": True}
_AS_IT_IS = frozenset((type(None), bool, int, float, str, bytes))


def plain(value: Any) -> Any:
    """Return `value` as dicts with text keys, lists, text, numbers, bytes and None.

    A dataclass becomes a list: the name of its class, then its fields in order. That takes half
    as long to hash as a dict, whose keys have to be sorted. Fields of metadata LATER follow as
    a dict, those that have not their default.

    Raises:
        TypeError: `value` has no canonical form; a set, for instance, has no order.
    """
    kind = cast(type[Any], type(value))
    if kind in _AS_IT_IS:
        return value
    if kind is tuple or kind is list:
        items = cast(Sequence[Any], value)
        if _AS_IT_IS.issuperset(map(type, items)):
            return list(items)
        return [plain(item) for item in items]
    names, later = _fields(kind)
    if names:
        told = [kind.__name__, *[plain(getattr(value, name)) for name in names]]
        if later:
            new = {n: plain(it) for n, default in later if (it := getattr(value, n)) != default}
            return [*told, new] if new else told
        return told
    return _rarely_plain(value)


def _rarely_plain(value: Any) -> Any:
    """Return `value` as plain data; the slower path, for types that are rare in scenes."""
    match value:
        case bool() | int() | float() | str() | bytes():
            return value
        case Mapping():
            pairs = cast(Mapping[Any, Any], value).items()
            return {str(key): plain(item) for key, item in pairs}
        case list() | tuple():
            return [plain(item) for item in cast(Sequence[Any], value)]
        case _ if hasattr(value, "tolist"):  # An array or number of NumPy, whose import is slow.
            return value.tolist()
        case _ if is_dataclass(value) and not isinstance(value, type):
            return [type(value).__name__]
        case _:
            raise TypeError(f"{type(value).__name__} has no canonical form")


@lru_cache(maxsize=256)
def _fields(kind: type[Any]) -> tuple[tuple[str, ...], tuple[tuple[str, Any], ...]]:
    """Return the names of a dataclass's fields, and the later ones with their defaults.

    Both are () for any other class.
    """
    every = fields(kind) if is_dataclass(kind) else ()
    names = tuple(field.name for field in every if not field.metadata.get("later"))
    later = tuple((field.name, field.default) for field in every if field.metadata.get("later"))
    return names, later


def encode(value: Any) -> bytes:
    """Return the deterministic CBOR bytes of `value`."""
    return cbor2.dumps(plain(value), canonical=True)


def encode_plain(value: Any) -> bytes:
    """Return the deterministic CBOR bytes of data read from JSON, which needs no conversion."""
    return cbor2.dumps(value, canonical=True)


def sha256(value: Any) -> str:
    """Return the SHA-256 of `value`'s deterministic CBOR, as 64 hex digits."""
    return hashlib.sha256(encode(value)).hexdigest()
