"""One way to name data by its content: SHA-256 of deterministic CBOR (RFC 8949, section 4.2)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, cast

import cbor2
import numpy as np
from numpy.typing import NDArray


def plain(value: Any) -> Any:
    """Return `value` as dicts with text keys, lists, text, numbers, bytes and None.

    Raises:
        TypeError: for anything else, sets above all: their order is not part of their value.
    """
    match value:
        case None | bool() | int() | float() | str() | bytes():
            return value
        case np.ndarray() | np.generic():
            return cast(NDArray[Any], value).tolist()
        case Mapping():
            pairs = cast(Mapping[Any, Any], value).items()
            return {str(key): plain(item) for key, item in pairs}
        case list() | tuple():
            return [plain(item) for item in cast(Sequence[Any], value)]
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            raise TypeError(f"{type(value).__name__} has no canonical form")


def encode(value: Any) -> bytes:
    """Return the deterministic CBOR bytes of `value`."""
    return cbor2.dumps(plain(value), canonical=True)


def sha256(value: Any) -> str:
    """Return the SHA-256 of `value`'s deterministic CBOR, as 64 hex digits."""
    return hashlib.sha256(encode(value)).hexdigest()
