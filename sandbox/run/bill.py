"""What a run costs: quoted, counted, and posted episode by episode from the records it keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from sandbox import prices
from sandbox.errors import SandboxError
from sandbox.ledger import Usage, charge_id
from sandbox.observation import PICTURES
from sandbox.prices import PriceSchedule
from sandbox.run.record import Record, shared
from sandbox.trajectory import Column, Episode, Schema

SIMULATING = ("physics_step", "reset", "simulation_us")  # Meter units of the simulation itself.
DRAWING = ("pixel", "drawing_us")  # And of pictures.


@dataclass(frozen=True)
class Quote:
    """What a run will cost: exact where the length of an episode is fixed, else an upper bound.

    Attributes:
        quantities: work per meter unit.
        amount: price of that work [microcredits].
        exact: whether the bill will be the same to the microcredit.
        episode: work of one episode per meter unit, at most.
        price_version: version of the price schedule.
        expected: price to be expected [microcredits], where it is known; None otherwise.
        expected_episodes: number of episodes to be expected, where credits decide it; else None.
        price_version: version of the price schedule.
    """

    quantities: dict[str, int]
    amount: int
    exact: bool
    episode: dict[str, int]
    price_version: str
    expected: int | None = None
    expected_episodes: int | None = None


@dataclass
class Bill:
    """What a run has cost so far.

    Attributes:
        quantities: work per meter unit of the episodes kept.
        amount: price of that work [microcredits].
        episodes: number of episodes kept.
        already: number of those that were charged before this call.
        price_version: version of the price schedule.
        repeated: number of episodes that were made again, at most, because a machine was lost that
            had made them; nobody pays for them twice.
        ended: why the run ended before it had all its episodes, in words; "" if it did not.
    """

    quantities: dict[str, int] = field(default_factory=dict[str, int])
    amount: int = 0
    episodes: int = 0
    already: int = 0
    price_version: str = ""
    repeated: int = 0
    ended: str = ""

    def add(self, usage: Usage) -> None:
        """Add what one episode cost."""
        for unit, quantity in usage.quantities.items():
            self.quantities[unit] = self.quantities.get(unit, 0) + quantity
        self.amount += sum(usage.charges().values())
        self.episodes += 1


def usage(
    run: str,
    parent: str | None,
    record: Record,
    schema: Schema,
    schedule: PriceSchedule | None = None,
) -> Usage:
    """Return what is to be posted for an episode of a run.

    Of an episode that is rendered again the pictures are new work, of a try the logged rows: what
    else it took was paid before.

    Args:
        run: id of the run.
        parent: id of the run that it renders again, or None. Then only pictures are new work.
        record: record of the episode.
        schema: columns of its shard.
        schedule: the prices that the run carries; None if they are known by their version.
    """
    if parent is not None:
        work = drawn_again(record, schema)
    else:
        work = record.charges if record.tried is None else logged(record)
    carried = schedule if schedule and schedule.version == record.price_version else None
    priced = carried or prices.load(record.price_version)
    units = priced.no_work() if record.imagined is None else priced.metered(work)
    return Usage(
        id=charge_id(run, record.episode, parent),
        quantities=shared(work if [*work] == [*units] else {u: work.get(u, 0) for u in units}),
        price_version=record.price_version,
        evidence=record.leaf.hex(),
        run=run,
        episode=record.episode,
        parent=parent,
        about=_about(record.environment, record.scenario),
        schedule=carried,
    )


@cache
def _about(environment: str, scenario: str | None) -> Mapping[str, str | None]:
    """Return what statements say of an episode: one object, for millions of them."""
    return {"environment": environment, "scenario": scenario}


def logged(record: Record) -> dict[str, int]:
    """Return the part of an episode's work that is not simulating: drawing and logging its rows."""
    return {unit: n for unit, n in record.charges.items() if unit not in SIMULATING}


def drawn_again(record: Record, schema: Schema) -> dict[str, int]:
    """Return the part of an episode's work that is new where a run is rendered again."""
    drawing = {unit: n for unit, n in record.charges.items() if unit in DRAWING}
    return {"raw_byte": (record.steps + 1) * view_bytes(schema), **drawing}


def view_bytes(schema: Schema) -> int:
    """Return the bytes of the pictures of a row, and of where their cameras are."""
    return sum(column.row_bytes for column in schema.columns if is_view(column))


def is_view(column: Column) -> bool:
    """Return whether a column is a picture, or says where the camera of pictures is."""
    return _kind(column) in (*PICTURES, "extrinsics")


def _kind(column: Column) -> str:
    return column.name.split(".")[0]


def total(usages: Sequence[Usage]) -> tuple[dict[str, int], int]:
    """Return the work of some episodes per meter unit, and its price [microcredits]."""
    found = Bill()
    for one in usages:
        found.add(one)
    return found.quantities, found.amount


def fault(episode: Episode, record: Record, schedule: PriceSchedule | None = None) -> str:
    """Recompute what an episode cost from its work; return what is wrong, or "".

    Args:
        episode: its rows.
        record: its record.
        schedule: the prices that the run carries; None if they are known by their version.
    """
    return difference(int(episode.rows["charge"].sum()), len(episode), record, schedule)


def difference(
    charged: int, rows: int, record: Record, schedule: PriceSchedule | None = None
) -> str:
    """Return how the charge of an episode differs between its rows, record and work, or "".

    Args:
        charged: the sum of its rows' charges [microcredits].
        rows: the number of its rows, T+1.
        record: its record.
        schedule: the prices that the run carries; None if they are known by their version.
    """
    if record.steps != rows - 1:
        return f"its record says {record.steps} steps, and it has {rows} rows."
    try:
        cost = (schedule or prices.load(record.price_version)).cost(record.charges)
    except SandboxError as error:
        return f"its charges cannot be priced: {error}"
    if cost != record.charge_micro or cost != charged:
        return (
            f"its charges come to {cost} microcredits, its record says {record.charge_micro}, its "
            f"rows {charged}."
        )
    return ""


def in_words(quantities: Mapping[str, int]) -> str:
    """Return work in words, such as "1,200 physics steps, 4,096 pixels"."""
    names = {"physics_step": "physics steps", "pixel": "pixels", "raw_byte": "raw bytes"}
    return ", ".join(f"{quantities[u]:,} {n}" for u, n in names.items() if quantities.get(u))
