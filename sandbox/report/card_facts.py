"""What a card says of a run, gathered from its records, columns and identity."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sandbox import jsonfile
from sandbox.errors import FormatError, shown
from sandbox.report.summary import policies
from sandbox.run.derived import Derived
from sandbox.run.folder import MANIFEST, Folder
from sandbox.run.identity import Identity
from sandbox.run.record import Record
from sandbox.trajectory import Schema

SIGNER = "signer.pub"  # In a published run: the key that signed its log.


@dataclass(frozen=True)
class Factor:
    """A factor, as the episodes of a run have it.

    Attributes:
        name: its name.
        meaning: what it means, as a phrase.
        unit: its unit; 1 if it has none.
        values: its values at reset, in words: a range, a value, or how many there are.
    """

    name: str
    meaning: str
    unit: str
    values: str


@dataclass(frozen=True)
class Facts:
    """What is known of a run.

    Attributes:
        run: its id.
        identities: which work the episodes are.
        derived: what derived.json says; None for a run that is not derived.
        episodes: number of episodes.
        rows: number of rows.
        size_bytes: size of the shards.
        versions: of the trajectory format.
        schema: the columns.
        splits: split to its number of episodes; "" is no split.
        policies: see `summary.policies`.
        factors: the factors.
        charges: work per meter unit, of all episodes.
        charge_micro: its price [microcredits].
        posted_micro: what was charged for this run [microcredits]; 0 if it is derived.
        ended: why the run ended early; "" if it did not.
        signer: whether the key that signed lies in the folder.
    """

    run: str
    identities: Sequence[Identity]
    derived: Derived | None
    episodes: int
    rows: int
    size_bytes: int
    versions: Sequence[int]
    schema: Schema
    splits: dict[str, int]
    policies: Sequence[dict[str, Any]]
    factors: Sequence[Factor]
    charges: dict[str, int]
    charge_micro: int
    posted_micro: int
    ended: str
    signer: bool

    @property
    def environments(self) -> list[str]:
        """The names of the environments."""
        return list(dict.fromkeys(one.recipe.environment for one in self.identities))


def gathered(folder: Folder) -> Facts:
    """Return what a card says of a run.

    Raises:
        FormatError: the run is damaged, or has no episode.
    """
    shards = folder.shards()
    records = [record for shard in shards for record in shard.records]
    schema, charges = shards[0].reader.schema, Counter[str]()
    for record in records:
        charges.update(record.charges)
    return Facts(
        run=folder.run,
        identities=folder.identities,
        derived=folder.derived,
        episodes=len(records),
        rows=sum(shard.reader.rows for shard in shards),
        size_bytes=sum(shard.path.stat().st_size for shard in shards),
        versions=sorted({shard.reader.version for shard in shards}),
        schema=schema,
        splits=dict(sorted(Counter(record.split or "" for record in records).items())),
        policies=policies(records),
        factors=_factors(records, schema),
        charges=dict(sorted(charges.items())),
        charge_micro=sum(record.charge_micro for record in records),
        posted_micro=0 if folder.derived is not None else _posted(folder),
        ended="" if folder.derived is not None else folder.ended,
        signer=(folder.path / SIGNER).is_file(),
    )


def _posted(folder: Folder) -> int:
    """Return what a run's manifest says was charged for it; FormatError if it says nothing."""
    path = folder.path / MANIFEST
    found = jsonfile.read(path).data.get("posted_micro")
    if type(found) is not int:
        raise FormatError(f"{path}: posted_micro is {shown(found)}, which is no whole number.")
    return found


def _factors(records: Sequence[Record], schema: Schema) -> list[Factor]:
    found, columns = list[Factor](), {column.name: column for column in schema.columns}
    for name in dict.fromkeys(name for record in records for name in record.factors):
        values = [record.factors[name] for record in records if name in record.factors]
        column = columns.get(f"variation.{name}")
        meaning, unit = (column.meaning, column.unit) if column else (name, "")
        found.append(Factor(name, meaning, unit, _in_words(values)))
    return found


def _in_words(values: Sequence[Any]) -> str:
    """Return the values of a factor in words."""
    if all(type(value) in (int, float) for value in values):
        low, high = min(values), max(values)
        return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
    different = list(dict.fromkeys(map(str, values)))
    return different[0] if len(different) == 1 else f"{len(different)} different ones"
