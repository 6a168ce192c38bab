"""Look for what makes data train badly, or proves nothing; simulates nothing.

`verify` says whether a run is true; this says whether it is fit for use. It looks at every row, and
at files that no run claims, so it reads shards one by one: a damaged one hides no other.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.arguments import checked
from sandbox.dataset import overlap, places
from sandbox.errors import FormatError, InvalidInputError
from sandbox.observation import PICTURES
from sandbox.remote.location import Location
from sandbox.run.record import Record
from sandbox.trajectory import FORMAT_VERSION, Episode, Rows, ShardReader

FAR = 1e6  # No length [m], speed [m/s] or angle [rad] of a world is as large.
FEW_ROWS = 10  # A shorter stretch is not called idle.
KINDS = {  # What is looked for, in the order of the table.
    "unreadable": "files that are no shard, damaged, or cut off",
    "version": "formats, engines or environment code that differ",
    "unfinished": "shards that are still growing",
    "misaligned": "rows, records and their order that contradict each other",
    "not finite": "NaN and infinity where no rule asks for them",
    "out of range": "actions outside [-1, 1], numbers beyond 1e6, blank pictures, constant columns",
    "idle": "stretches in which nothing moves",
    "seed": "episodes that start from the same seed",
    "twin": "frames that two splits share",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: what it is, a key of KINDS.
        where: the shard, or the run, in which it is.
        episode: number of the episode in its shard; None if it is about more than one.
        text: what is wrong, in a sentence.
    """

    kind: str
    where: str
    episode: int | None
    text: str


@dataclass
class Diagnosis:
    """What was looked at and what was found.

    Attributes:
        shards: number of shards.
        episodes: number of episodes that could be read.
        rows: number of their rows.
        findings: what is wrong; clean data has none.
    """

    shards: int = 0
    episodes: int = 0
    rows: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])


@checked
def doctor(path: str | Path | Sequence[str | Path], *, idle: float = 0.5) -> Diagnosis:
    """Look for what makes data train badly: misalignment, NaN, idle stretches, twins, versions.

    Args:
        path: a trajectory file, the folder of a run, a folder of runs, a glob, or several of these.
        idle: share of an episode's rows from which a stretch without motion is reported, above 0.

    Raises:
        FormatError: nothing is there.
        InvalidInputError: a path is named twice, or `idle` is no share.
    """
    if not 0 < idle <= 1:
        raise InvalidInputError(f"idle {idle!r}: give a share above 0, at most 1.")
    seen = _Seen(idle)
    for shard in places.shard_paths(places.given(path)):
        seen.shard(shard)
    seen.compare()
    order = list(KINDS)
    seen.found.findings.sort(key=lambda one: order.index(one.kind))
    return seen.found


class _Seen:
    """What was seen of the shards so far."""

    def __init__(self, idle: float) -> None:
        self.found, self._idle = Diagnosis(), idle
        self._where = ""
        self._starts: dict[tuple[str, int], list[str]] = defaultdict(list)
        self._frames: dict[str, list[NDArray[np.uint64]]] = defaultdict(list)
        self._classes: dict[str, str] = {}  # Of engines, to the shard where each was first seen.
        self._least: dict[str, NDArray[Any]] = {}
        self._most: dict[str, NDArray[Any]] = {}
        self._schemas: set[Any] = set()

    def shard(self, path: Location) -> None:
        """Look at a shard, episode by episode."""
        self.found.shards += 1
        self._where = str(path)
        try:
            reader = ShardReader(path)
        except FormatError as error:
            kind = "version" if "format version" in str(error) else "unreadable"
            self._say(kind, None, str(error).removeprefix(f"{path}: "))
            return
        with reader:
            self._schemas.add(reader.schema)
            if reader.version != FORMAT_VERSION:
                self._say("version", None, f"is of trajectory format {reader.version}, an old one.")
            if reader.growing:
                self._say("unfinished", None, "is still growing; `sandbox generate` finishes it.")
            for n in range(len(reader)):
                self._episode(reader, n)

    def compare(self) -> None:
        """Compare the episodes with each other, when all are seen."""
        for (environment, seed), them in self._starts.items():
            if len(them) > 1:
                self._where = them[0].partition(", episode")[0]
                listed = "; ".join(them[:3]) + (" ..." if len(them) > 3 else "")
                self._say("seed", None, f"{len(them)} of {environment} have seed {seed}: {listed}.")
        for name in self._least:
            if self.found.rows > 1 and np.array_equal(self._least[name], self._most[name]):
                self._where = "all shards"
                self._say("out of range", None, f"column {name!r} never changes.")
        self._compare_splits()

    def _compare_splits(self) -> None:
        names = sorted(self._frames)
        frames = {name: np.unique(np.concatenate(self._frames[name])) for name in names}
        for n, one in enumerate(names):
            for other in names[n + 1 :]:
                shared = len(np.intersect1d(frames[one], frames[other], assume_unique=True))
                if shared:
                    self._where = "all shards"
                    self._say("twin", None, f"{shared:,} frames are in {one} and in {other}.")

    def _say(self, kind: str, episode: int | None, text: str) -> None:
        self.found.findings.append(Finding(kind, self._where, episode, text))

    def _episode(self, reader: ShardReader, n: int) -> None:
        try:
            rows = reader.arrays(n)
            data = reader.records[n]
        except FormatError as error:
            self._say("unreadable", n, str(error).removeprefix(f"{reader.path}: "))
            return
        self.found.episodes += 1
        self.found.rows += len(rows["step_idx"])
        for text in _misaligned(rows, data):
            self._say("misaligned", n, text)
        for name, column in rows.items():
            for kind, text in _wrong(name, column):
                self._say(kind, n, text)
        self._note_range(rows)
        still, of = _still(rows), len(rows["step_idx"])
        if still >= max(FEW_ROWS, self._idle * of):
            self._say("idle", n, f"nothing moves in {still} of {of} rows on end.")
        self._note_record(rows, data, n)

    def _note_range(self, rows: Rows) -> None:
        for name in ("proprio", "state", "action"):
            if name in rows and len(rows[name]) > 1:
                least, most = rows[name][:-1].min(axis=0), rows[name][:-1].max(axis=0)
                known = self._least.get(name)
                if known is None or known.shape != least.shape:
                    self._least[name], self._most[name] = least, most
                else:
                    self._least[name] = np.minimum(known, least)
                    self._most[name] = np.maximum(self._most[name], most)

    def _note_record(self, rows: Rows, data: Any, n: int) -> None:
        """Note what other episodes are compared with."""
        try:
            record = Record.parse(data)
        except FormatError as error:
            if "environment" in data:  # Else the file was written for itself, without records.
                self._say("misaligned", n, str(error))
            return
        made = record.engine.get("class", "")
        first = self._classes.setdefault(made, self._where)
        if first == self._where and len(self._classes) > 1 and made != next(iter(self._classes)):
            self._say("version", n, f"was simulated in another determinism class, {made[:16]}.")
        if record.is_alone:
            named = f"{self._where}, episode {n}"
            if record.seed is not None:
                self._starts[record.environment, record.seed].append(named)
            split = f"{record.environment} {record.split or 'without a split'}"
            self._frames[split].append(np.array([*_frames(rows)], np.uint64))


def _misaligned(rows: Rows, data: Any) -> Iterator[str]:
    """Yield what contradicts what in an episode: rows, their order, and its record."""
    try:
        made = Episode(rows, data)
        if data.get("digest") != made.digest:
            yield f"its rows have digest {made.digest[:16]}, and its record another."
    except FormatError as error:
        yield str(error)
    count = len(rows["step_idx"])
    if data.get("steps", count - 1) != count - 1:
        yield f"its record says {data['steps']} steps, and it has {count} rows."
    total, said = float(rows["reward"].sum()), data.get("return")
    if isinstance(said, int | float) and not np.isclose(total, said, rtol=1e-6, atol=1e-6):
        yield f"its rewards add up to {total:.6g}, and its record says {said:.6g}."
    if not (rows["terminated"][-1] or rows["truncated"][-1]):
        yield "its last row is neither terminated nor truncated: it was cut off."
    if "seed" in rows and (rows["seed"] != data.get("seed", rows["seed"][0])).any():
        yield "its column 'seed' is not its record's."


def _wrong(name: str, column: NDArray[Any]) -> Iterator[tuple[str, str]]:
    """Yield the kind and the text of what is wrong with the values of a column."""
    kind = name.split(".")[0]
    values = column[:-1] if name == "action" else column
    if kind == "pixels" and column.size:
        flat = column.reshape(len(column), -1)
        blank = int((flat.min(axis=1) == flat.max(axis=1)).sum())
        if blank:
            yield "out of range", f"{blank} pictures of {name!r} have one colour alone."
    if kind in PICTURES or values.dtype.kind != "f" or not values.size:
        return
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argwhere(~finite)[0][0])
        yield (
            "not finite",
            f"column {name!r} has {int((~finite).sum())} NaN or infinite values, "
            f"the first at row {row}.",
        )
    largest = float(np.abs(values[finite]).max(initial=0.0))
    if name == "action" and largest > 1.0 + 1e-6:
        yield "out of range", f"an action is {largest:.6g}, outside [-1, 1]."
    elif name in ("state", "proprio", "reward") and largest > FAR:
        yield "out of range", f"column {name!r} has {largest:.3g}: the simulation diverged."


def _still(rows: Rows) -> int:
    """Return the rows of the longest stretch in which nothing moves, its first row included."""
    names = [name for name in ("state", "pixels") if name in rows] or ["proprio"]
    column = rows.get(names[0])
    if column is None or len(column) < 2:
        return 0
    flat = column.reshape(len(column), -1)
    same = (flat[1:] == flat[:-1]).all(axis=1)
    ends = np.flatnonzero(np.append(~same, True))
    longest = int(np.diff(np.append(-1, ends)).max())
    return longest if longest > 1 else 0


def _frames(rows: Rows) -> Iterator[int]:
    """Yield a digest of each row: of its pictures, or else of its numbers."""
    columns = tuple(name for name in rows if name.split(".")[0] in PICTURES)
    columns = columns or tuple(name for name in overlap.NUMBERS if name in rows)[:1]
    for t in range(len(rows["step_idx"]) if columns else 0):
        yield overlap.frame_digest(rows, columns, t)


def counts(found: Diagnosis) -> dict[str, int]:
    """Return how many findings there are of each kind, in the order of KINDS."""
    number = Counter(one.kind for one in found.findings)
    return {kind: number[kind] for kind in KINDS if number[kind]}
