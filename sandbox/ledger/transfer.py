"""Transfers: what moves between which pots, and what identifies a transfer.

An account's credit is in *pots*: one for each grant, with the number of the grant's transfer, and
pot 0, which has no conditions. Work beyond all grants (overage) is paid from pot 0, which may go
below 0 by the account's overdraft.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as quoted
from types import MappingProxyType
from typing import Any, Literal

from sandbox.errors import InvalidInputError, shown

LARGEST = 2**62  # The largest amount of one transfer [microcredits].
ANY = "*"  # In parts: no particular meter unit.

Kind = Literal["open", "grant", "reserve", "post", "void", "expire", "breakage", "refund"]
Charges = Mapping[str, int]  # Microcredits per meter unit.
Parts = Mapping[tuple[str, int], int]  # (meter unit, pot) to microcredits.
Leg = tuple[str, int, int, int]  # Account, pot, change of posted, change of pending.

OTHER_SIDE: Mapping[str, str] = MappingProxyType(
    {
        "grant": "@grants",
        "breakage": "@breakage",
        **dict.fromkeys(("reserve", "void", "expire", "post", "refund"), "@plant"),
    }
)
_SIGNS = {  # How a kind changes the account's posted and pending balances.
    "grant": (1, 0),
    "refund": (1, 0),
    "post": (-1, 0),
    "breakage": (-1, 0),
    "reserve": (0, 1),
    "void": (0, -1),
    "expire": (0, -1),
}


@dataclass(frozen=True, slots=True)
class Move:
    """A transfer to book.

    Attributes:
        id: 16 bytes, chosen by the client, so that the transfer is booked at most once.
        kind: one of Kind.
        account: the account whose credit moves.
        amount: microcredits.
        facts: plain JSON. Kind, account, amount and facts identify the transfer: the same id with
            others is refused.
        parts: the pots that the amount comes from or goes to, per meter unit; the ledger chooses.
        lease: the name under which credit is, or was, held, 16 bytes; or None.
        run: the id of the run that the transfer belongs to, 64 hex digits; or None.
        resolves: the number of the reservation that a void or expiry closes.
        corrects: the number of the post that a refund corrects.
        expires: when a hold or a grant ends [ms since 1970]; or None.
    """

    id: bytes
    kind: Kind
    account: str
    amount: int
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    parts: Parts = field(default_factory=dict[tuple[str, int], int])
    lease: bytes | None = None
    run: str | None = None
    resolves: int | None = None
    corrects: int | None = None
    expires: int | None = None


@dataclass(frozen=True, slots=True)
class Booked:
    """A booked transfer.

    Attributes:
        seq: the number of the transfer, from 1.
        move: the transfer.
        at: when it was booked [ms since 1970].
        link: the SHA-256 of the previous transfer's link and this transfer's columns.
    """

    seq: int
    move: Move
    at: int
    link: bytes


def legs(kind: str, account: str, amount: int, parts: Parts) -> list[Leg]:
    """Return how a transfer changes the pots of both sides; the changes add up to 0."""
    if kind == "open":
        return []
    posted, pending = _SIGNS[kind]
    pots: dict[int, int] = {}
    for (_, pot), part in parts.items():
        pots[pot] = pots.get(pot, 0) + part
    found = [(account, pot, posted * part, pending * part) for pot, part in sorted(pots.items())]
    found.append((OTHER_SIDE[kind], 0, -posted * amount, -pending * amount))
    return found


def text_of(parts: Parts) -> str:
    """Return parts as canonical JSON: [[unit, pot, amount], ...], sorted."""
    every = [f"[{quoted(unit)},{pot},{amount}]" for (unit, pot), amount in sorted(parts.items())]
    return f"[{','.join(every)}]"


_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(value: Any) -> str:
    """Return canonical JSON: sorted keys, ASCII, one line."""
    return _JSON.encode(value)


def charge_id(run: str, episode: int, parent: str | None = None) -> bytes:
    """Return the id of an episode's post: the first 16 bytes of a SHA-256.

    It is over "charge/v1", run, episode; for an episode rendered from the run `parent`, over
    "render/v1", run, parent, episode. The parts are joined by line feeds. Other parts never join to
    the same text, because the last part is a number.
    """
    if parent is not None:
        return named("render/v1", run, parent, str(episode))
    return named("charge/v1", run, str(episode))


def named(*parts: str) -> bytes:
    """Return an id derived from parts: the first 16 bytes of their SHA-256."""
    return hashlib.sha256("\n".join(parts).encode()).digest()[:16]


def checked_id(id: bytes) -> bytes:
    """Return the id of a transfer; InvalidInputError unless it is 16 bytes."""
    if type(id) is not bytes or len(id) != 16:
        raise InvalidInputError(f"{id!r} is no id of a transfer; give 16 bytes.")
    return id


def check_amount(what: str, amount: int, least: int = 0) -> None:
    """Refuse an amount [microcredits] unless it is a whole number from `least` to LARGEST."""
    if type(amount) is not int or not least <= amount <= LARGEST:
        raise InvalidInputError(
            f"{what} of {shown(amount)} microcredits cannot be booked; give {least} to {LARGEST:,}."
        )
