"""The shards that one process fills: several at a time where a run has parts."""

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from sandbox.run.record import Record
from sandbox.trajectory import ShardWriter
from sandbox.trajectory.episode import Episode


@dataclass
class _Growing:
    """A shard under way.

    Attributes:
        writer: writes it.
        charged: how many of its episodes are charged.
    """

    writer: ShardWriter
    charged: int


class Growth:
    """The shards under way in this process. Used as a context.

    After an error they stay growing, with what is committed.

    Args:
        resume: begins or continues the shard with a number.
        charge: charges the episodes of some records, which are kept.
    """

    def __init__(
        self, resume: Callable[[int], ShardWriter], charge: Callable[[list[Record]], None]
    ) -> None:
        self._resume, self._charge = resume, charge
        self._open: dict[int, _Growing] = {}

    def held(self, shard: int) -> int:
        """Return how many episodes a shard has; it is opened."""
        return len(self._of(shard).writer.records) + self._of(shard).writer.held

    def add(self, shard: int, episode: Episode) -> None:
        """Add an episode to a shard: it is held back with others, or they are committed."""
        self._of(shard).writer.append(episode)

    def is_committed(self) -> bool:
        """Return whether no episode is held back."""
        return not any(one.writer.held for one in self._open.values())

    def commit(self) -> None:
        """Keep the episodes that are held back; charge all that are kept and not charged yet."""
        for one in self._open.values():
            one.writer.commit()
        for one in self._open.values():
            fresh = [Record.parse(data) for data in one.writer.records[one.charged :]]
            one.charged += len(fresh)
            self._charge(fresh)

    def finish(self, shard: int) -> None:
        """Finish a shard; one without an episode is removed."""
        self.commit()
        writer = self._open.pop(shard).writer
        if writer.records:
            writer.close()
        else:
            writer.discard()

    def finish_all(self) -> None:
        """Finish the shards under way, full or not."""
        for shard in list(self._open):
            self.finish(shard)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commit what is held back, and leave what is not finished growing."""
        try:
            self.commit()
        finally:
            for one in self._open.values():
                one.writer.abandon()

    def _of(self, shard: int) -> _Growing:
        if shard not in self._open:
            writer = self._resume(shard)
            self._open[shard] = _Growing(writer, len(writer.records))
        return self._open[shard]
