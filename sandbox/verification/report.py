"""What verifying a run found."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
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
        undecided: number of an episode to how its replay differs, where that proves nothing: in
            another determinism class than the run's.
        tier: of a run of dreams, how exactly its episodes were imagined again; "" of other runs.
        excuses: why a difference proves nothing against whoever made the run; they are notes, too.
        unseen: columns that a replay does not compare.
        notes: what was not checked, and why.
        kinds: what the faults are about, with how many there are of each.
    """

    episodes: int = 0
    replayed: int = 0
    rows: int = 0
    charge_micro: int = 0
    checked: list[str] = field(default_factory=list[str])
    faults: list[str] = field(default_factory=list[str])
    failed: dict[int, str] = field(default_factory=dict[int, str])
    diverged: list[int] = field(default_factory=list[int])
    undecided: dict[int, str] = field(default_factory=dict[int, str])
    tier: str = ""
    excuses: list[str] = field(default_factory=list[str])
    unseen: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    kinds: dict[str, int] = field(default_factory=dict[str, int])

    @contextmanager
    def about(self, kind: str) -> Generator[None]:
        """Count the faults that are added meanwhile as faults of a kind."""
        before, known = len(self.faults), sum(self.kinds.values())
        yield
        added = len(self.faults) - before - (sum(self.kinds.values()) - known)
        if added:
            self.kinds[kind] = self.kinds.get(kind, 0) + added

    def fail(self, episode: int, fault: str, where: str) -> None:
        """Add what is wrong with an episode; `where` names its file."""
        kind = "episodes replayed" if episode in self.diverged else "episodes recorded"
        with self.about(kind):
            self.faults.append(f"{where}: episode {episode}: {fault}")
        self.failed[episode] = fault

    def excuse(self, text: str) -> None:
        """Note why a difference proves nothing against whoever made the run."""
        for told in (self.excuses, self.notes):
            if text not in told:
                told.append(text)

    def counted(self) -> str:
        """Return how many faults there are, and of what kind, such as "2 faults (1 of the log)"."""
        count = len(self.faults)
        of = ", ".join(f"{number} of the {kind}" for kind, number in self.kinds.items())
        return f"{count} fault{'' if count == 1 else 's'}{f' ({of})' if of else ''}"

    def add(self, other: "Report") -> None:
        """Add what was found in the shards after these."""
        self.episodes += other.episodes
        self.replayed += other.replayed
        self.rows += other.rows
        self.charge_micro += other.charge_micro
        self.faults += other.faults
        self.failed |= other.failed
        self.diverged += other.diverged
        self.undecided |= other.undecided
        self.excuses += [text for text in other.excuses if text not in self.excuses]
        self.unseen += [name for name in other.unseen if name not in self.unseen]
        for kind, number in other.kinds.items():
            self.kinds[kind] = self.kinds.get(kind, 0) + number
        self.notes += [note for note in other.notes if note not in self.notes]


Progress = Callable[[Report], None]
