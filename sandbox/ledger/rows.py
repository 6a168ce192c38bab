"""Check the rows of transfers: a row that cannot be valid is reported as damage."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, cast

from sandbox.errors import LedgerError
from sandbox.ledger.account import ABOUT
from sandbox.ledger.transfer import Booked, Move

LATEST_MS = 2**43  # Times are below this [ms since 1970]: 2248-09-26.
_NONE = type(None)
_TYPES: Mapping[str, tuple[type, ...]] = {  # Column to types, in the order of the columns.
    "seq": (int,),
    "id": (bytes,),
    "kind": (str,),
    "account": (str,),
    "amount": (int,),
    "facts": (str,),
    "parts": (str,),
    "lease": (bytes, _NONE),
    "run": (str, _NONE),
    "resolves": (int, _NONE),
    "corrects": (int, _NONE),
    "expires": (int, _NONE),
    "at": (int,),
    "link": (bytes,),
}


def booked_of(row: tuple[Any, ...]) -> Booked:
    """Return the transfer in a row that has all columns; LedgerError if it is damaged."""
    try:
        _check_columns(row)
        seq, id, kind, account, amount, facts, parts, *rest, at, link = row
        move = Move(id, kind, account, amount, facts_of(kind, facts), parts_of(parts), *rest)
    except (ValueError, RecursionError) as error:
        raise LedgerError(f"transfer {row[0]!r}: damaged: {error}. Restore a copy.") from None
    return Booked(seq, move, at, link)


def _check_columns(row: tuple[Any, ...]) -> None:
    """Check the types and ranges of a row's columns; ValueError says which is wrong."""
    for (name, types), value in zip(_TYPES.items(), row, strict=True):
        if type(value) not in types:
            raise ValueError(f"its {name} is {value!r}")
    seq, id, kind, _, amount, *_, expires, at, link = row
    right = {
        "seq": seq > 0,
        "id": len(id) == 16,
        "kind": kind in _FACTS,
        "amount": amount >= 0,
        "expires": 0 <= (expires or 0) < 2 * LATEST_MS,
        "at": is_time(at),
        "link": len(link) == 32,
    }
    if not all(right.values()):
        wrong = [name for name, is_right in right.items() if not is_right]
        raise ValueError(f"its {wrong[0]} is {row[list(_TYPES).index(wrong[0])]!r}")


def facts_of(kind: str, text: str) -> dict[str, Any]:
    """Return the facts in a text of JSON; ValueError if they do not fit the kind of transfer."""
    read = _read(text)
    if type(read) is not dict:
        raise ValueError(f"its facts are {_short(read)}, no object")
    facts = cast("dict[str, Any]", read)
    for name in _MAY.get(kind, ()):
        if not is_text(facts.get(name, "")):
            raise ValueError(f"its {name} is {_short(facts[name])}")
    for name, is_right in _FACTS[kind].items():
        if name not in facts or not is_right(facts[name]):
            raise ValueError(f"its {name} is {_short(facts.get(name, 'missing'))}")
    return facts


def parts_of(text: str) -> dict[tuple[str, int], int]:
    """Return the parts in a text of `transfer.text_of`; ValueError if it is not one."""
    read = _read(text)
    listed = cast("list[Any]", read if type(read) is list else [None])
    if not all(map(_is_part, listed)):
        raise ValueError(f"its parts are {_short(read)}, no list of [unit, pot, amount]")
    parts: dict[tuple[str, int], int] = {(unit, pot): amount for unit, pot, amount in listed}
    if len(parts) != len(listed):
        raise ValueError("its parts name a unit and pot twice")
    return parts


def is_time(ms: Any) -> bool:
    """Return whether `ms` is a time that the ledger can hold [ms since 1970]."""
    return type(ms) is int and 0 <= ms < LATEST_MS


def is_text(value: Any) -> bool:
    """Return whether `value` is text that UTF-8 can encode: it has no lone surrogates."""
    if type(value) is not str:
        return False
    return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _or_none(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or is_right(value)


def _is_part(value: Any) -> bool:
    if type(value) is not list or len(cast("list[Any]", value)) != 3:
        return False
    unit, pot, amount = cast("list[Any]", value)
    return is_text(unit) and _is_whole(pot) and _is_whole(amount)


def _are_texts(value: Any) -> bool:
    return type(value) is list and all(map(is_text, cast("list[Any]", value)))


def _are_quantities(value: Any) -> bool:
    if type(value) is not dict:
        return False
    return all(is_text(u) and _is_whole(n) for u, n in cast("dict[Any, Any]", value).items())


_MAY = {"post": ABOUT, "refund": ("verdict",)}  # Texts that may be among the facts.
_FACTS: Mapping[str, Mapping[str, Callable[[Any], bool]]] = {
    "open": {"mode": is_text, "overdraft": _is_whole},
    "grant": {
        "priority": _is_whole,
        "effective": _or_none(_is_whole),
        "expires": _or_none(_is_whole),
        "meters": _are_texts,
        "source": is_text,
    },
    "reserve": {"price_version": is_text},
    "post": {
        "evidence": is_text,
        "quantities": _are_quantities,
        "price_version": is_text,
        "episode": _or_none(_is_whole),
        "parent": _or_none(is_text),
    },
    "refund": {"post": is_text, "asked": is_text, "reason": is_text},
    "void": {},
    "expire": {},
    "breakage": {},
}


def _refused(text: str) -> NoReturn:
    raise ValueError(f"{text} is no whole number")


_JSON = json.JSONDecoder(parse_float=_refused, parse_constant=_refused)


def _read(text: str) -> Any:
    return _JSON.decode(text)


def _short(value: Any) -> str:
    return repr(value)[:60]
