"""How long a run takes on this machine, and how much disk: estimated from a few of its episodes."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sandbox.errors import SandboxError
from sandbox.prices import PriceSchedule
from sandbox.run.bill import Quote
from sandbox.run.filling import HOLD_BYTES, header
from sandbox.run.identity import Identity
from sandbox.run.source import Source
from sandbox.run.stages import Stages
from sandbox.trajectory import EpisodeBuffer, ShardWriter

if TYPE_CHECKING:
    from sandbox.run.run import Run

MEASURED, MEASURED_S = 8, 2.0  # Episodes are made until there are so many, or it took so long.


@dataclass(frozen=True)
class Estimate:
    """What some episodes take here.

    Attributes:
        episodes: number of episodes.
        measured: number of episodes from which it is estimated.
        seconds: time of one process [s].
        disk_bytes: what they need on disk [bytes].
    """

    episodes: int
    measured: int
    seconds: float
    disk_bytes: int


def estimate(source: Source, schedule: PriceSchedule, episodes: int) -> Estimate:
    """Return what the first episodes of a source take, by making a few that nobody pays for.

    Args:
        source: where the episodes come from.
        schedule: the prices; work is counted under them.
        episodes: how many there are to be.
    """
    known = Identity.of(source.origin, schedule)
    stages = Stages.of(known.recipe, (episodes,))
    source.warm_up()
    for maker in source.makers:
        maker.pay_from(None, schedule)
    with TemporaryDirectory() as folder:
        few = _Few(source, known, stages, Path(folder))
        seconds = few.make()
        size, each = few.sizes()
    took, most = seconds * episodes / few.count, size + each * (episodes - few.count)
    files = max(0, stages.shards - len(few.parts)) * max(0.0, few.first - each)
    return Estimate(episodes, few.count, took, round(most + files))


class _Few:
    """A few episodes of a run, in shards of a folder that is removed.

    Args:
        source: where the episodes come from.
        known: which work they are.
        stages: in which shards they lie.
        place: the folder.

    Attributes:
        count: how many there are.
        parts: the parts that they are of.
        first: bytes of a shard of one episode, the mean over parts.
    """

    def __init__(self, source: Source, known: Identity, stages: Stages, place: Path) -> None:
        self._source, self._known, self._stages, self._place = source, known, stages, place
        self._writers = dict[str, ShardWriter]()
        self.count, self.first, self.parts = 0, 0.0, list[int]()

    def make(self) -> float:
        """Make episodes in the order of the run; return how long it took [s]."""
        start = time.perf_counter()
        for shard, _, index in self._stages.turns(range(self._stages.shards)):
            took = time.perf_counter() - start
            if self.count >= MEASURED or (self.count > len(self.parts) and took > MEASURED_S):
                break
            self._add(shard, index)
        for writer in self._writers.values():
            writer.close()
        return time.perf_counter() - start

    def sizes(self) -> tuple[int, float]:
        """Return the bytes of all of them, and of each besides the first of a part."""
        sizes = {path.name: path.stat().st_size for path in self._place.iterdir()}
        firsts = sum(size for name, size in sizes.items() if name.startswith("first"))
        size, more = sum(sizes.values()) - firsts, self.count - len(self.parts)
        self.first = firsts / len(self.parts)
        return size, (size - firsts) / more if more else size / self.count

    def _add(self, shard: int, index: int) -> None:
        """Make an episode; the first of a part is written into a shard of its own, too."""
        part = self._stages.part(shard)
        maker = self._source.makers[part]
        buffer = EpisodeBuffer(maker.schema, maker.max_rows)
        record = maker.make(self._known.run, index, buffer)
        episode = buffer.episode(record.steps, record.plain)
        maker.on_kept()
        if part not in self.parts:
            self.parts.append(part)
            self._writer(f"first-{part}", shard).append(episode)
        self._writer(f"all-{part}", shard).append(episode)
        self.count += 1

    def _writer(self, name: str, shard: int) -> ShardWriter:
        """Return what writes a shard in the folder; it is begun when it is needed."""
        if name not in self._writers:
            schema = self._source.makers[self._stages.part(shard)].schema
            head, kind = header(self._known, self._stages, shard), self._known.recipe.compression
            path = self._place / f"{name}.h5"
            self._writers[name] = ShardWriter(path, schema, head, kind, hold_bytes=HOLD_BYTES)
        return self._writers[name]


def check_disk(run: "Run", quoted: Quote) -> None:
    """Refuse a run for which the disk has no room.

    A few episodes are made only where the rows, as they are before compression, might not fit.

    Args:
        run: the run, which may have begun.
        quoted: what its missing episodes cost.

    Raises:
        SandboxError: nothing was done.
    """
    place = next(one for one in (run.path, *run.path.parents) if one.exists())
    total, _, free = shutil.disk_usage(place)
    if not total:  # It is no disk: what is written there is refused in other words.
        return
    if quoted.quantities.get("raw_byte", 0) <= free:
        return
    missing = run.stages.episodes - run.done()
    found = estimate(run.source, run.schedule, missing)
    if found.disk_bytes <= free:
        return
    raise SandboxError(
        f"{missing:,} episodes take about {found.disk_bytes / 1e9:,.2f} GB (estimated from "
        f"{found.measured} that were made now), but {place} has {free / 1e9:,.2f} GB left. Nothing "
        "was kept or charged. Make room, give another --out, or ask for fewer --episodes."
    )
