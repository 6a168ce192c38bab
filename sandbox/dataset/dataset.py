"""Episodes of one or many runs, to choose from: by split, policy, factors, record."""

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, overload

import numpy as np

from sandbox import files
from sandbox.dataset import halves, index_file, places
from sandbox.dataset.facts import NONE, Facts
from sandbox.dataset.filters import Choice, Wanted
from sandbox.dataset.index import I64, Index
from sandbox.dataset.overlap import overlap
from sandbox.dataset.statistics import Statistics, statistics
from sandbox.errors import FormatError, InvalidInputError, UnknownNameError, shown
from sandbox.remote.location import Location, is_url
from sandbox.run.record import Record
from sandbox.trajectory import Episode, Rows, Schema, ShardReader
from sandbox.trajectory.episode import VARIATION
from sandbox.trajectory.shard import PART

Columns = Literal["same", "common"]
Twins = Literal["refuse", "name", "skip"]
_OPEN = 16  # Shards that a dataset keeps open, with their records.
_NAMED = 5  # Episodes that a message names.


class Dataset:
    """Episodes of one or many runs, in the order of the shards' paths, then as they were written.

    Nothing but an index is read until episodes are asked for. It is kept below `$SANDBOX_HOME`, so
    that a large dataset opens at once the second time, and made again when a shard changes. A
    growing run has the episodes that it has now; `refresh` sees more. Datasets can be pickled.

    Args:
        path: a trajectory file, the folder of a run, a folder of runs, a glob, or several of these;
            or URLs of these, such as "s3://bucket/run", of what fsspec or a web server has.
        split: keep episodes of this split, or of these.
        policy: keep episodes of this policy, or of these.
        scenario: keep episodes of this scenario, or of these.
        environment: keep episodes of this environment, or of these.
        success: keep episodes that succeed (True), or fail (False).
        factors: keep episodes by their factors at reset: name to a value, a range (from, to) that
            includes both ends, or a list of these; a colour is a name, "#rrggbb" or three bytes.
        where: keep episodes for whose Record this function returns true; reads every record.
        columns: "same" refuses runs of different columns; "common" takes what all have.

    Attributes:
        name: what errors call it: the path that was given.

    Raises:
        FormatError: nothing is there, a shard cannot be read, or has other columns than the others.
        InvalidInputError: no episode is left, a run is named twice, or an argument is none.
        UnknownNameError: no episode has such a split, policy, scenario, environment or factor.
    """

    def __init__(
        self,
        path: str | Path | Sequence[str | Path],
        *,
        split: str | Sequence[str] | None = None,
        policy: str | Sequence[str] | None = None,
        scenario: str | Sequence[str] | None = None,
        environment: str | Sequence[str] | None = None,
        success: bool | None = None,
        factors: Mapping[str, Wanted] | None = None,
        where: Callable[[Record], bool] | None = None,
        columns: Columns = "same",
    ) -> None:
        if columns not in ("same", "common"):
            raise UnknownNameError("choice of columns", columns, ("same", "common"))
        named = places.given(path)
        self._paths: tuple[str | Path, ...] = tuple(
            one if is_url(one) else files.place(one) for one in named
        )
        self.name = str(named[0]) if len(named) == 1 else f"{len(named)} paths from {named[0]} on"
        self._every = index_file.holdings(places.shard_paths(named))
        self._columns: Columns = columns
        self._readers: dict[Location, ShardReader] = {}
        if not len(self._every.facts):
            raise InvalidInputError(f"{self.name}: holds no episode yet; generate some.")
        _refuse_copies(self._every)
        asked = Choice(split, policy, scenario, environment, success, factors, where)
        self._asked: tuple[Choice, ...] | None = ()
        self._choose(np.arange(len(self._every.facts)), asked)

    def select(
        self,
        *,
        split: str | Sequence[str] | None = None,
        policy: str | Sequence[str] | None = None,
        scenario: str | Sequence[str] | None = None,
        environment: str | Sequence[str] | None = None,
        success: bool | None = None,
        factors: Mapping[str, Wanted] | None = None,
        where: Callable[[Record], bool] | None = None,
    ) -> Self:
        """Return a dataset of those episodes that have all that is asked for, as `Dataset` does."""
        asked = Choice(split, policy, scenario, environment, success, factors, where)
        made = self._part(self._chosen)
        made._choose(self._chosen, asked)
        return made

    def refresh(self) -> Self:
        """Return the dataset as its runs are now: what a growing run got since is there.

        Episodes that were there come first, in the order that they had; new ones that have all that
        was asked for follow, in the order of paths. Only shards that changed are read.

        Raises:
            FormatError: a shard cannot be read, or an episode that was there is gone.
            InvalidInputError: it is a part made by `train_val`, or was chosen by a function, and
                pickled.
        """
        if self._asked is None:
            raise InvalidInputError(
                f"{self.name}: is a part made by train_val, or chosen by a function and pickled, "
                "so that new episodes cannot be chosen. Refresh the whole, and choose again."
            )
        made = copy.copy(self)
        made._every, made._readers = index_file.holdings(places.shard_paths(self._paths)), {}
        _refuse_copies(made._every)
        made._asked, chosen = (), np.arange(len(made._every.facts))
        for asked in self._asked:
            made._choose(chosen, asked)
            chosen = made._chosen
        before = made._numbers(self._every, self._chosen, self.name)
        made._keep(np.append(before, chosen[~np.isin(chosen, before)]), self._columns)
        return made

    def train_val(
        self,
        fraction: float = 0.9,
        seed: int = 0,
        by: str = "episode",
        twins: Twins = "refuse",
    ) -> tuple[Self, Self]:
        """Return two datasets, to train on and to validate by: whole episodes, never rows.

        Episodes of one environment and seed stay on one side, and so do an episode and its
        branches. The fraction is exact where they allow it.

        Args:
            fraction: share of the episodes to train on.
            seed: seed of the choice.
            by: "episode", or the name of a factor: then a range of its values, whole values if
                they repeat, is kept for validation.
            twins: what to do if a frame is on both sides, byte for byte: "refuse", or "name" the
                episodes in a warning; both read every frame. "skip" does not look. By a factor,
                "refuse" keeps episodes of one seed on one side; the others name or ignore them.

        Raises:
            InvalidInputError: an argument is wrong, one side would be empty, or there are twins.
            UnknownNameError: no episode has such a factor.
        """
        if twins not in ("refuse", "name", "skip"):
            raise UnknownNameError("way to treat twins", twins, ("refuse", "name", "skip"))
        strict = twins == "refuse"
        train = halves.training(self.facts, fraction, seed, by, strict, self.name)
        ours, theirs = self._part(self._chosen[train]), self._part(self._chosen[~train])
        ours._asked = theirs._asked = None
        said = "" if twins == "skip" else _shared(ours, theirs)
        if said and strict:
            raise InvalidInputError(
                f"{self.name}: {said} Part it otherwise, or name them by twins='name'."
            )
        if said:
            warnings.warn(f"{self.name}: {said}", stacklevel=2)
        return ours, theirs

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self._chosen)

    @property
    def index(self) -> Index:
        """Where the rows of the episodes lie."""
        return self._index

    @property
    def schema(self) -> Schema:
        """The columns that all episodes have."""
        return self._index.schema

    @property
    def lengths(self) -> I64:
        """The number of rows of each episode, T+1, int64 (episodes,)."""
        return self._index.lengths

    @property
    def facts(self) -> Facts:
        """What the index knows of the episodes: what they are chosen by."""
        if self._facts is None:
            self._facts = self._every.facts.take(self._chosen)
        return self._facts

    @property
    def records(self) -> "Records":
        """The records of the episodes, a sequence; each is parsed when it is asked for."""
        return Records(self)

    def record(self, number: int) -> Record:
        """Return the record of an episode; negative numbers count from the end.

        Raises:
            FormatError: it is damaged.
            IndexError: there is no such episode.
        """
        reader, place = self._recorded(number)
        try:
            return Record.parse(reader.records[place])
        except FormatError as error:
            raise FormatError(f"{reader.path}: episode {place}: {error}") from None

    def episode(self, number: int) -> Episode:
        """Return an episode, checked against its digest; raises as `record`."""
        reader, place = self._recorded(number)
        return reader.read(place)

    def rows(self, number: int, columns: Sequence[str] | None = None) -> Rows:
        """Return columns of an episode, by default those of `schema`, each (T+1, ...).

        Raises:
            FormatError: they are damaged.
            IndexError: there is no such episode.
            UnknownNameError: the dataset has no such column.
        """
        names = self.schema.names if columns is None else [self.schema[c].name for c in columns]
        reader, place = self._find(number)
        return reader.arrays(place, names)

    def statistics(self, columns: Sequence[str]) -> dict[str, Statistics]:
        """Return mean, deviation, extremes and quantiles of columns, to normalise by.

        They are computed once for the same episodes, wherever these lie, and kept beside the index.

        Raises:
            FormatError: an episode cannot be read.
            InvalidInputError: no column is named, or a value is not finite.
            UnknownNameError: there is no such column.
        """
        return statistics(self, columns)

    def close(self) -> None:
        """Close the files; the next read opens them again."""
        for path in list(self._readers):
            self._readers.pop(path).close()

    def __repr__(self) -> str:
        parts = [f"{len(self):,} episodes, {int(self.lengths.sum()):,} rows"]
        for name in ("environment", "scenario", "split", "policy"):
            found = [f"{text} {count:,}" for text, count in self.facts.texts(name).items()]
            parts += [f"{name}: {', '.join(found)}"] if found else []
        parts.append(f"succeeded: {int((self.facts.columns['success'] == 1).sum()):,}")
        names = [name for name in self.schema.names if not name.startswith(VARIATION)]
        varied = len(self.schema.names) - len(names)
        parts.append(f"columns: {', '.join(names)}{f', {VARIATION}* {varied}' if varied else ''}")
        return f"<Dataset {self.name}: {'; '.join(parts)}>"

    def __getstate__(self) -> dict[str, Any]:
        asked = self._asked  # Most functions cannot be pickled.
        named = asked if asked is None or all(one.where is None for one in asked) else None
        return {**self.__dict__, "_readers": {}, "_asked": named}

    def _choose(self, chosen: I64, asked: Choice) -> None:
        """Keep the episodes of `chosen` that have all that is asked for, and note it."""
        if self._asked is not None:
            self._asked = (*self._asked, asked)
        if asked.asks:
            chosen = chosen[asked.matching(self._every.facts.take(chosen), self.name)]
        where = asked.where
        self._keep(chosen, self._columns if where is None else "common")
        if where is not None:
            if not callable(where):
                raise InvalidInputError(f"where {shown(where)}: give a function of a Record.")
            kept = np.array([bool(where(record)) for record in self.records], np.bool_)
            if not kept.any():
                raise InvalidInputError(
                    f"{self.name}: `where` is true for none of {len(kept)} episodes; ask for "
                    "less, or generate it."
                )
            self._keep(chosen[kept], self._columns)

    def _numbers(self, every: index_file.Holdings, chosen: I64, named: str) -> I64:
        """Return the numbers that episodes of other holdings have now, by their shards and rows."""
        known = _places(self._every)
        try:
            numbers = [known[place] for place in _places(every, chosen)]
        except KeyError:
            numbers = list[int]()
        before, now = (one.facts.columns["digest"] for one in (every, self._every))
        if not np.array_equal(now[numbers], before[chosen]):
            raise FormatError(
                f"{named}: episodes that were there are gone, or changed; open the dataset again."
            )
        return np.array(numbers, np.int64)

    def _part(self, chosen: I64) -> Self:
        """Return a dataset of some of the episodes."""
        made = copy.copy(self)
        made._keep(chosen, self._columns)
        return made

    def _keep(self, chosen: I64, columns: Columns) -> None:
        """Keep some of all episodes, by their numbers, and the shards in which they are."""
        self._chosen = chosen
        self._facts: Facts | None = None
        shard, first = self._every.places
        used, renumbered = np.unique(shard[chosen], return_inverse=True)
        shards = [self._every.shards[int(n)] for n in used]
        whole = len(chosen) == len(shard)  # Then shards without episodes are looked at, too.
        schema = _schema(self._every.shards if whole else shards, columns)
        rows = self._every.facts.columns["rows"][chosen]
        self._index = Index(
            tuple(one.path for one in shards), schema, renumbered, first[chosen], rows
        )

    def _find(self, number: int) -> tuple[ShardReader, int]:
        """Return the reader of an episode's shard, and its place there."""
        if not -len(self) <= number < len(self):
            raise IndexError(f"{self.name}: no episode {shown(number)}; it has {len(self)}.")
        shard, first = int(self._index.shard[number]), int(self._index.first[number])
        reader = self._reader(shard)
        return reader, int(np.searchsorted(reader.offsets, first))

    def _recorded(self, number: int) -> tuple[ShardReader, int]:
        """Return what `_find` does, if the episode's record is that which the index knows."""
        reader, place = self._find(number)
        known = self._every.facts.columns["digest"][self._chosen[number]].tobytes()
        if any(known) and known.hex() != reader.records[place].get("digest"):
            self.close()
            raise index_file.stale(self._index.paths[int(self._index.shard[number])])
        return reader, place

    def _reader(self, shard: int) -> ShardReader:
        """Return the reader of a shard, of which a few are kept open."""
        path = self._index.paths[shard]
        found = self._readers.get(path)
        if found is None:
            found = self._readers[path] = self._index.reader(shard)
            for oldest in list(self._readers)[:-_OPEN]:
                if (reader := self._readers.pop(oldest, None)) is not None:
                    reader.close()
        return found


class Records(Sequence[Record]):
    """The records of a dataset's episodes, each parsed when it is asked for."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self._dataset)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        """Return the record of an episode, or those of a slice."""
        if isinstance(index, slice):
            return [self._dataset.record(n) for n in range(*index.indices(len(self)))]
        return self._dataset.record(index)

    def __iter__(self) -> Iterator[Record]:
        for number in range(len(self)):
            yield self._dataset.record(number)


def _places(every: index_file.Holdings, chosen: I64 | None = None) -> dict[tuple[str, int], int]:
    """Return the number of each episode, or of some, by its finished shard and first row there."""
    shard, first = every.places
    names = [str(one.path).removesuffix(PART) for one in every.shards]
    numbers = range(len(shard)) if chosen is None else chosen.tolist()
    return {(names[shard[n]], int(first[n])): n for n in numbers}


def _schema(shards: Sequence[index_file.Held], columns: Columns) -> Schema:
    """Return the columns that shards share; FormatError if they differ and must not."""
    schemas = list(dict.fromkeys(one.schema for one in shards))
    first, others = schemas[0], schemas[1:]
    if not others:
        return first
    common = tuple(one for one in first.columns if all(one in other.columns for other in others))
    if columns == "common":
        return Schema(common, partial=True)
    other = next(one for one in shards if one.schema != first)
    unlike = [
        one.name
        for one in (*first.columns, *other.schema.columns)
        if one not in first.columns or one not in other.schema.columns
    ]
    raise FormatError(
        f"{other.path}: has other columns than {shards[0].path}: they differ in "
        f"{', '.join(dict.fromkeys(unlike)):.300}. Give runs that were "
        "recorded alike; in Python, choose some, such as by environment=, or take columns='common'."
    )


def _refuse_copies(every: index_file.Holdings) -> None:
    """Refuse an episode that is there twice: a run and its copy, or parts of it that overlap."""
    columns = every.facts.columns
    known = np.flatnonzero((columns["run"] != NONE) & (columns["episode"] != NONE))
    key = columns["run"][known].astype(np.int64) << 32 | columns["episode"][known]
    order = np.argsort(key, kind="stable")
    again = np.flatnonzero(np.diff(key[order]) == 0)
    if not len(again):
        return
    one, other = known[order[again[0] : again[0] + 2]].tolist()
    paths = [every.shards[int(every.places[0][n])].path for n in (one, other)]
    run = every.facts.names["run"][columns["run"][one]]
    raise InvalidInputError(
        f"{paths[1]}: has episode {columns['episode'][one]} of run {run[:8]}, and so has "
        f"{paths[0]}; name each run once."
    )


def _shared(train: Dataset, val: Dataset) -> str:
    """Return what two parts share and which episodes do, in a sentence; "" if nothing."""
    found = overlap(val, train)
    if not found.twins:
        return ""
    named = [
        f"{record.environment} seed {record.seed} (episode {record.episode} of {record.run[:8]})"
        for record in (val.record(number) for number in found.twins[:_NAMED])
    ]
    more = f" and {len(found.twins) - _NAMED} more" if len(found.twins) > _NAMED else ""
    return (
        f"{len(found.twins)} episodes to validate by share the seed, or {found.frames:,} of "
        f"{found.of:,} frames, with episodes to train on: {', '.join(named)}{more}."
    )
