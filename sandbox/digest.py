"""One way to name data by its content: SHA-256 of deterministic CBOR (RFC 8949, section 4.2)."""

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import cbor2
import numpy as np


def plain(value: Any) -> Any:
    """Return `value` as dicts with text keys, lists, text, numbers, bytes and None.

    Raises:
        TypeError: for anything else, sets above all: their order is not part of their value.
    """
    match value:
        case None | bool() | int() | float() | str() | bytes():
            return value
        case np.generic():
            return value.item()
        case np.ndarray():
            return value.tolist()
        case Mapping():
            return {str(key): plain(value[key]) for key in value}
        case list() | tuple():
            return [plain(item) for item in value]
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
