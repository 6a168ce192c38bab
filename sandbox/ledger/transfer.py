"""One transfer: what it moves between which pots, and what makes it the same transfer.

An account's credit lies in *pots*: one for each grant, numbered as the grant's transfer is, and
pot 0, which has no conditions. Use beyond all grants (overage) comes out of pot 0, which goes below
0 as far as the account's overdraft lets it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as quoted
from types import MappingProxyType
from typing import Any, Literal

from sandbox.errors import InvalidInputError

LARGEST = 2**62  # Microcredits; of one transfer.
ANY = "*"  # In parts: of no meter unit in particular.

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
_SIGNS = {  # Of what a kind does to the account's posted and pending balances.
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
        id: 16 bytes, made by whoever wants it, so that it is booked at most once.
        kind: what it does.
        account: whose credit it is.
        amount: microcredits.
        facts: plain JSON; with kind, account and amount, what makes it the same transfer.
        parts: which pots the amount comes from or goes to, per meter unit; the book's choice.
        lease: 16 bytes; under what name credit is held, or was.
        run: the run that it is about, 64 hex digits, or None.
        resolves: number of the reservation that it ends.
        corrects: number of the post that it corrects.
        expires: when a hold, or a grant, ends [ms since 1970].
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
    """A transfer on the book.

    Attributes:
        seq: its number.
        move: what it is; see Move.
        at: when it was booked [ms since 1970].
        link: SHA-256 over the link before it and all that it says.
    """

    seq: int
    move: Move
    at: int
    link: bytes


def legs(kind: str, account: str, amount: int, parts: Parts) -> list[Leg]:
    """Return what a transfer does to the pots of both sides; their sum is 0."""
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
    """Return the id of an episode's post, 16 bytes: SHA-256 of "charge/v1", run, episode.

    For an episode rendered from another run: of "render/v1", run, parent, episode. The parts are
    joined by line feeds; no others join to the same text, for the last part is a number.
    """
    if parent is not None:
        return named("render/v1", run, parent, str(episode))
    return named("charge/v1", run, str(episode))


def named(*parts: str) -> bytes:
    """Return the 16 bytes that name something, always the same for the same parts."""
    return hashlib.sha256("\n".join(parts).encode()).digest()[:16]


def checked_id(id: bytes) -> bytes:
    """Return an id; InvalidInputError if it has not 16 bytes."""
    if type(id) is not bytes or len(id) != 16:
        raise InvalidInputError(f"{id!r} is no id of a transfer; give 16 bytes.")
    return id


def check_amount(what: str, amount: int, least: int = 0) -> None:
    """Refuse an amount that is no whole number from `least` to LARGEST [microcredits]."""
    if type(amount) is not int or not least <= amount <= LARGEST:
        raise InvalidInputError(
            f"{what} of {amount!r} microcredits cannot be booked; give {least} to {LARGEST:,}."
        )
