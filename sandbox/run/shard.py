"""A shard of a run, and the episodes that all of them keep."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from sandbox.errors import FormatError, shown
from sandbox.ledger import Usage
from sandbox.run.record import Record, shared
from sandbox.trajectory import ShardReader
from sandbox.trajectory.shard import number_of

_HEADER_BYTES = 4096  # A growing shard of this size has no header yet.


@dataclass(frozen=True, slots=True)
class Entry:
    """What of an episode's record is kept in memory, of which a run may have millions.

    Attributes:
        episode: number of the episode.
        leaf: the record's leaf in the run's log, 32 bytes.
        charges: work done per meter unit.
        charge_micro: price of that work [microcredits].
    """

    episode: int
    leaf: bytes
    charges: Mapping[str, int]
    charge_micro: int

    @classmethod
    def of(cls, record: Record) -> Self:
        """Return what is kept of a record."""
        return cls(record.episode, record.leaf, shared(record.charges), record.charge_micro)


@dataclass
class Shard:
    """One shard of a run.

    Attributes:
        path: the file.
        reader: reads its episodes.
    """

    path: Path
    reader: ShardReader

    @property
    def growing(self) -> bool:
        """Return whether the shard is not finished."""
        return self.reader.growing

    @property
    def number(self) -> int:
        """Its number in the run; FormatError if its name and its header do not agree."""
        named, said = number_of(self.path), self.reader.header.get("shard")
        if said != named:
            raise FormatError(
                f"{self.path}: is another shard: its header says {shown(said)}. `sandbox verify` "
                "says more."
            )
        return named

    @cached_property
    def records(self) -> list[Record]:
        """The records of its episodes, in order.

        Raises:
            FormatError: a record is damaged.
        """
        return [self.record(n) for n in range(len(self.reader))]

    @cached_property
    def charged(self) -> list[int]:
        """The sum of each episode's column `charge` [microcredits]; reads that column alone."""
        if not len(self.reader):
            return []
        charges = np.empty(self.reader.rows, self.reader.schema["charge"].dtype)
        self.reader.fill("charge", 0, charges)
        return np.add.reduceat(charges, self.reader.offsets).tolist()

    def forget(self) -> None:
        """Free what was read; the next who asks reads it again."""
        for name in ("records", "charged"):
            self.__dict__.pop(name, None)
        self.reader.forget_records()

    def record(self, n: int) -> Record:
        """Return the record of the shard's `n`-th episode; FormatError if it is damaged."""
        try:
            return Record.parse(self.reader.records[n])
        except FormatError as error:
            raise FormatError(f"{self.path}: episode {n}: {error}") from None


@dataclass
class Kept:
    """The episodes that a run keeps.

    Attributes:
        records: the episodes, in order, up to the first that is missing.
        every: all episodes, those after a gap included.
        usages: what each of them costs the run, in order.
        growing: whether a shard is not finished.
    """

    records: list[Entry] = field(default_factory=list[Entry])
    every: list[Entry] = field(default_factory=list[Entry])
    usages: list[Usage] = field(default_factory=list[Usage])
    growing: bool = False

    @property
    def leaves(self) -> list[bytes]:
        """The leaves of the records in the run's log."""
        return [record.leaf for record in self.records]


def is_headless(path: Path) -> bool:
    """Return whether the writer of a growing shard was killed before it wrote the header."""
    try:
        return path.name.endswith(".part") and path.stat().st_size <= _HEADER_BYTES
    except FileNotFoundError:  # Finished meanwhile: its reader finds it by its final name.
        return False
