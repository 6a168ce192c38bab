"""What verifying a run found."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Report:
    """What was checked and what is wrong.

    Attributes:
        episodes: number of episodes read and re-hashed.
        replayed: number of those that were simulated again.
        rows: rows of the episodes read.
        charge_micro: what they cost [microcredits].
        checked: what is right, one sentence each.
        faults: what is wrong, one sentence each; a run that verifies has none.
        failed: number of an episode to what is wrong with it.
        diverged: numbers of the failed episodes whose bytes are whole, but whose work was not done
            as recorded.
        unseen: columns that a replay does not compare.
        notes: what was not checked, and why.
    """

    episodes: int = 0
    replayed: int = 0
    rows: int = 0
    charge_micro: int = 0
    checked: list[str] = field(default_factory=list[str])
    faults: list[str] = field(default_factory=list[str])
    failed: dict[int, str] = field(default_factory=dict[int, str])
    diverged: list[int] = field(default_factory=list[int])
    unseen: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])

    def add(self, other: "Report") -> None:
        """Add what was found in the shards after these."""
        self.episodes += other.episodes
        self.replayed += other.replayed
        self.rows += other.rows
        self.charge_micro += other.charge_micro
        self.faults += other.faults
        self.failed |= other.failed
        self.diverged += other.diverged
        self.unseen += [name for name in other.unseen if name not in self.unseen]
        self.notes += [note for note in other.notes if note not in self.notes]


Progress = Callable[[Report], None]
