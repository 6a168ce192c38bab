"""What a run costs: quoted, counted, and posted episode by episode from the records it keeps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox import digest, prices
from sandbox.errors import FormatError, SandboxError
from sandbox.evidence import merkle
from sandbox.ledger import Usage, charge_id
from sandbox.observation import PICTURES
from sandbox.trajectory import Column, Episode, Schema


@dataclass(frozen=True)
class Quote:
    """What a run will cost: exact where the length of an episode is fixed, else an upper bound.

    Attributes:
        quantities: work per meter unit.
        amount: microcredits.
        exact: whether the bill will be the same to the microcredit.
        episode: work of one episode per meter unit, at most.
    """

    quantities: dict[str, int]
    amount: int
    exact: bool
    episode: dict[str, int]


@dataclass
class Bill:
    """What a run cost so far.

    Attributes:
        quantities: work per meter unit of the episodes kept.
        amount: microcredits.
        episodes: how many are kept, and
        already: how many of them were on the book before.
    """

    quantities: dict[str, int] = field(default_factory=lambda: dict.fromkeys(prices.UNITS, 0))
    amount: int = 0
    episodes: int = 0
    already: int = 0

    def add(self, quantities: Mapping[str, int], amount: int) -> None:
        """Add an episode's charges."""
        for unit, quantity in quantities.items():
            self.quantities[unit] += quantity
        self.amount += amount
        self.episodes += 1


def evidence(record: Mapping[str, Any]) -> str:
    """Return what a post carries of an episode: the RFC 6962 leaf hash of its record's CBOR."""
    return leaf(record).hex()


def leaf(value: Any) -> bytes:
    """Return the RFC 6962 leaf hash of the deterministic CBOR of some JSON, 32 bytes."""
    return merkle.leaf_hash(digest.encode_plain(value))


def usage(run: str, parent: str | None, record: Mapping[str, Any], schema: Schema) -> Usage:
    """Return what is to be posted for an episode of a run.

    Args:
        run: its id.
        parent: the run that it renders again, or None; then only its pictures are new work.
        record: of the episode, as kept.
        schema: the columns of its shard.

    Raises:
        FormatError: the record does not say it.
    """
    try:
        quantities = record["charges"] if parent is None else drawn(schema, record["steps"] + 1)
        return Usage(
            id=charge_id(run, record["episode"], parent),
            quantities={unit: quantities.get(unit, 0) for unit in prices.UNITS},
            price_version=record["price_version"],
            evidence=evidence(record),
            run=run,
            episode=record["episode"],
            parent=parent,
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise FormatError(f"an episode's record has no {error}; it cannot be charged.") from None


def drawn(schema: Schema, rows: int) -> dict[str, int]:
    """Return the work of drawing and logging the pictures of some rows, per meter unit."""
    views = [column for column in schema.columns if is_view(column)]
    pixels = sum(math.prod(c.shape[:2]) for c in views if _kind(c) in PICTURES)
    return {"pixel": rows * pixels, "raw_byte": rows * sum(column.row_bytes for column in views)}


def is_view(column: Column) -> bool:
    """Return whether a column is a picture, or says where the camera of pictures is."""
    return _kind(column) in (*PICTURES, "extrinsics")


def _kind(column: Column) -> str:
    return column.name.split(".")[0]


def total(usages: Sequence[Usage]) -> tuple[dict[str, int], int]:
    """Return the work of some episodes per meter unit, and what it costs [microcredits]."""
    quantities: dict[str, int] = dict.fromkeys(prices.UNITS, 0)
    amount = 0
    for one in usages:
        for unit, quantity in one.quantities.items():
            quantities[unit] += quantity
        amount += sum(one.charges().values())
    return quantities, amount


def fault(episode: Episode) -> str:
    """Recompute what an episode cost from its work; return what is wrong, or ""."""
    facts, said = episode.record, int(episode.rows["charge"].sum())
    try:
        cost = prices.load(str(facts.get("price_version"))).cost(facts["charges"])
    except (SandboxError, KeyError, TypeError, AttributeError) as error:
        return f"its charges cannot be priced: {error}"
    if cost != facts.get("charge_micro") or cost != said:
        return (
            f"its charges come to {cost} microcredits, its record says "
            f"{facts.get('charge_micro')}, its rows {said}."
        )
    return ""
