"""What is in a run or a trajectory file, in numbers."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from sandbox.run.folder import Folder
from sandbox.run.record import Record

MANY = 10_000  # Different values of a factor, of which no more are counted.


@dataclass
class _Policy:
    """What the episodes of a policy add up to."""

    episodes: int = 0
    known: int = 0  # Whether they succeeded is known of so many.
    successes: int = 0
    steps: int = 0
    total_return: float = 0.0
    charge_micro: int = 0

    def add(self, record: Record) -> None:
        """Add an episode."""
        self.episodes += 1
        self.known += record.success is not None
        self.successes += bool(record.success)
        self.steps += record.steps
        self.total_return += record.total_reward
        self.charge_micro += record.charge_micro

    @property
    def plain(self) -> dict[str, Any]:
        """Number, success rate, which is None if it is not known of each, and means."""
        known = self.known == self.episodes
        return {
            "episodes": self.episodes,
            "success": self.successes / self.episodes if known else None,
            "mean_steps": self.steps / self.episodes,
            "mean_return": self.total_return / self.episodes,
            "charge_micro": self.charge_micro,
        }


@dataclass
class _Values:
    """The values of a factor."""

    numbers: bool = True
    low: Any = None
    high: Any = None
    different: set[str] = field(default_factory=set[str])

    def add(self, value: Any) -> None:
        """Add the value of an episode."""
        if len(self.different) <= MANY:
            self.different.add(str(value))
        self.numbers = self.numbers and type(value) in (int, float)
        if self.numbers:
            self.low = value if self.low is None else min(self.low, value)
            self.high = value if self.high is None else max(self.high, value)

    @property
    def words(self) -> str:
        """The range of numbers, the only value, or how many there are."""
        if self.numbers:
            low, high = self.low, self.high
            return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
        count = len(self.different)
        if count == 1:
            return next(iter(self.different))
        return f"more than {MANY:,} different ones" if count > MANY else f"{count} different ones"


class Tally:
    """What the records of many episodes add up to; it keeps none of them.

    Attributes:
        environments: names of their environments.
        splits: number of episodes of each split; "" is no split.
        charges: work done per meter unit.
        charge_micro: its price [microcredits].
    """

    def __init__(self) -> None:
        self.environments, self.splits = set[str](), Counter[str]()
        self.charges, self.charge_micro = Counter[str](), 0
        self._policies, self._factors = dict[str, _Policy](), dict[str, _Values]()

    def add(self, record: Record) -> None:
        """Add an episode."""
        self.environments.add(record.environment)
        self.splits[record.split or ""] += 1
        self.charges.update(record.charges)
        self.charge_micro += record.charge_micro
        self._policies.setdefault(record.policy, _Policy()).add(record)
        for name, value in record.factors.items():
            self._factors.setdefault(name, _Values()).add(value)

    @property
    def episodes(self) -> int:
        """The number of episodes."""
        return self.splits.total()

    @property
    def policies(self) -> list[dict[str, Any]]:
        """Number, success rate, mean length and mean return of the episodes of each policy."""
        return [{"policy": name, **one.plain} for name, one in sorted(self._policies.items())]

    @property
    def factors(self) -> dict[str, str]:
        """The values of each factor at reset, in words."""
        return {name: one.words for name, one in self._factors.items()}


def summarise(folder: Folder) -> dict[str, Any]:
    """Return what a run or a trajectory file holds, as plain JSON.

    Raises:
        FormatError: it cannot be read.
    """
    shards, tally = folder.shards(), Tally()
    readers = [shard.reader for shard in shards]
    for record in folder.records():
        tally.add(record)
    return {
        "path": str(folder.path),
        "imported": None if folder.imported is None else folder.imported.said,
        "shards": len(shards),
        "bytes": sum(shard.path.stat().st_size for shard in shards),
        "raw_bytes": sum(one.rows * one.schema.row_bytes for one in readers),
        "rows": sum(reader.rows for reader in readers),
        "columns": [asdict(column) for column in readers[-1].schema.columns],
        "episodes": tally.episodes,
        "environments": sorted(tally.environments),
        "charge_micro": tally.charge_micro,
        "policies": tally.policies,
    }
