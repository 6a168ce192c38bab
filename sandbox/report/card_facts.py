"""What a card says of a run, gathered from its records, columns and identity."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sandbox import jsonfile
from sandbox.errors import FormatError, shown
from sandbox.report.summary import Tally
from sandbox.run.derived import Derived
from sandbox.run.folder import MANIFEST, Folder
from sandbox.run.identity import Identity
from sandbox.run.shard import Shard
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
class Layout:
    """The shards of a run that have the same columns; the parts of a recipe may differ.

    Attributes:
        name: "default" if all have them; else the environment, with a number if it is not alone.
        schema: the columns.
        files: names of the shards.
        splits: split to its number of episodes; "" is no split.
    """

    name: str
    schema: Schema
    files: Sequence[str]
    splits: dict[str, int]


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
        layouts: the columns, of which shards.
        splits: split to its number of episodes; "" is no split.
        policies: see `Tally.policies`.
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
    layouts: Sequence[Layout]
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
    shards, tally = folder.shards(), Tally()
    layouts = _layouts(shards, tally)
    return Facts(
        run=folder.run,
        identities=folder.identities,
        derived=folder.derived,
        episodes=tally.episodes,
        rows=sum(shard.reader.rows for shard in shards),
        size_bytes=sum(shard.path.stat().st_size for shard in shards),
        versions=sorted({shard.reader.version for shard in shards}),
        layouts=layouts,
        splits=dict(sorted(tally.splits.items())),
        policies=tally.policies,
        factors=_factors(tally, [one.schema for one in layouts]),
        charges=dict(sorted(tally.charges.items())),
        charge_micro=tally.charge_micro,
        posted_micro=0 if folder.derived is not None else _posted(folder),
        ended="" if folder.derived is not None else folder.ended,
        signer=(folder.path / SIGNER).is_file(),
    )


def _layouts(shards: Sequence[Shard], tally: Tally) -> list[Layout]:
    """Return the shards by their columns; adds their episodes to a tally."""
    groups = list[tuple[list[Shard], Counter[str]]]()  # With their splits.
    for shard in shards:
        alike = (one for one in groups if one[0][0].reader.schema == shard.reader.schema)
        mine = next(alike, None)
        if mine is None:
            groups.append(mine := ([], Counter()))
        mine[0].append(shard)
        for record in shard.records:
            tally.add(record)
            mine[1][record.split or ""] += 1
        shard.forget()
    names, found = Counter[str](), list[Layout]()
    for group, counts in groups:
        world = str(group[0].reader.header.get("environment") or "part")
        names[world] += 1
        name = f"{world}-{names[world]}" if names[world] > 1 else world
        files = [shard.path.name for shard in group]
        name = name if len(groups) > 1 else "default"
        found.append(Layout(name, group[0].reader.schema, files, dict(sorted(counts.items()))))
    return found


def _posted(folder: Folder) -> int:
    """Return what a run's manifest says was charged for it; FormatError if it says nothing."""
    path = folder.path / MANIFEST
    found = jsonfile.read(path).data.get("posted_micro")
    if type(found) is not int:
        raise FormatError(f"{path}: posted_micro is {shown(found)}, which is no whole number.")
    return found


def _factors(tally: Tally, schemas: Sequence[Schema]) -> list[Factor]:
    found = list[Factor]()
    columns = {column.name: column for schema in schemas for column in schema.columns}
    for name, values in tally.factors.items():
        column = columns.get(f"variation.{name}")
        meaning, unit = (column.meaning, column.unit) if column else (name, "")
        found.append(Factor(name, meaning, unit, values))
    return found
