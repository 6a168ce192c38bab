"""What a format is, and what an export to it needs and tells."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from sandbox import catalogue
from sandbox.dataset.dataset import Dataset
from sandbox.dataset.facts import COLOR, FACTOR, NONE, TEXTS, WHOLE
from sandbox.run.imported import ENVIRONMENT, rate
from sandbox.trajectory import Rows, Schema

Kind = Literal["copy", "view"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Plan:
    """What a format makes of columns.

    Attributes:
        held: where each column goes in the format, in words of the format.
        left_out: why a column is left out.
        notes: what else a user should know, a sentence each, such as what is not exact.
    """

    held: Mapping[str, str]
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exported:
    """What an export has written.

    Attributes:
        path: the file or folder.
        format: name of the format.
        kind: copy or view.
        episodes: number of episodes that it holds.
        rows: number of their rows here, T+1 each.
        size_bytes: its size on disk [bytes].
        columns: where each column is in the format.
        left_out: the columns that it lacks, and why.
        too_short: number of episodes that were left out, because they have too few rows.
        notes: what is not exact, a sentence each.
    """

    path: Path
    format: str
    kind: Kind
    episodes: int
    rows: int
    size_bytes: int
    columns: Mapping[str, str]
    left_out: Mapping[str, str]
    too_short: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """What a format has to write.

    Attributes:
        dataset: the episodes, each long enough for the format.
        numbers: their numbers in the dataset.
        plan: what becomes of the columns.
        path: where to write; there is nothing yet.
        final: the path that it will have.
        kind: copy or view.
        compression: zstd, gzip or none; None is the format's own.
        done: called after each episode.
    """

    dataset: Dataset
    numbers: Sequence[int]
    plan: Plan
    path: Path
    final: Path
    kind: Kind
    compression: str | None
    done: Callable[[], None]

    @property
    def lengths(self) -> list[int]:
        """The number of rows of each episode, T+1."""
        return self.dataset.lengths[list(self.numbers)].tolist()

    def episodes(self, columns: Sequence[str] | None = None) -> Iterator[tuple[int, Rows]]:
        """Yield number and rows of each episode, and count it when the next is asked for.

        Args:
            columns: the columns to read; by default those that the format holds.
        """
        for place, rows in self.some(range(len(self.numbers)), columns):
            yield self.numbers[place], rows

    def some(
        self, places: Iterable[int], columns: Sequence[str] | None = None
    ) -> Iterator[tuple[int, Rows]]:
        """Yield place and rows of the episodes at some places of the export, as `episodes` does."""
        names = [*self.plan.held] if columns is None else list(columns)
        for place in places:
            yield place, self.dataset.rows(self.numbers[place], names)
            self.done()


class Format(Protocol):
    """A format that episodes can be written in.

    Attributes:
        name: what users call it.
        reader: the package that reads it, with its version.
        kinds: copy, view, or both.
        ending: how the file's name must end; "" if it is a folder.
        shortest: number of rows that an episode must have.
        compressions: those that its readers know; empty if there is no choice.
        needs: packages that writing it imports besides those of the sandbox.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def reader(self) -> str: ...  # noqa: D102
    @property
    def kinds(self) -> tuple[Kind, ...]: ...  # noqa: D102
    @property
    def ending(self) -> str: ...  # noqa: D102
    @property
    def shortest(self) -> int: ...  # noqa: D102
    @property
    def compressions(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def needs(self) -> tuple[str, ...]: ...  # noqa: D102

    def plan(self, schema: Schema, kind: Kind, asked: bool, out: Path) -> Plan:
        """Return what the format makes of columns.

        Args:
            schema: the columns.
            kind: copy or view.
            asked: whether the user named the columns.
            out: the path that the export will have.

        Raises:
            InvalidInputError: the format forbids a name, or cannot hold these columns.
        """
        ...


class Whole(Format, Protocol):
    """A format that is written at once, by one process: most are one file."""

    def write(self, job: Job) -> None:
        """Write the episodes to `job.path`, and call `job.done` after each.

        Raises:
            OSError: the disk is full, or cannot be written.
        """
        ...


def about(dataset: Dataset, number: int) -> dict[str, Any]:
    """Return what is known of an episode, as plain JSON: run, seed, policy, success, factors."""
    facts, found = dataset.facts, dict[str, Any]()
    for name in TEXTS:
        code = int(facts.columns[name][number])
        if code != NONE:
            found[name] = facts.names[name][code]
    for name in WHOLE:
        value = int(facts.columns[name][number])
        if value != NONE:
            found[name] = bool(value) if name == "success" else value
    factors: dict[str, Any] = {}
    for name, column in facts.columns.items():
        kind, _, factor = name.partition(".")
        value = float(column[number]) if name.startswith((FACTOR, COLOR)) else float("nan")
        if value == value:  # Not NaN, which says that the episode has no such factor.
            color = f"{kind}." == COLOR
            factors[factor] = list(int(value).to_bytes(3, "big")) if color else value
    return {**found, "factors": factors} if factors else found


def rates(dataset: Dataset) -> dict[str, set[float | None]]:
    """Return the rows a second of each environment, and of what was imported; None: unknown.

    What was imported says it in its records, of which one of each shard is read.
    """
    facts, found = dataset.facts, dict[str, set[float | None]]()
    codes = facts.columns["environment"]
    kinds = np.stack([codes, dataset.index.shard], axis=1)
    for number in np.unique(kinds, axis=0, return_index=True)[1].tolist():
        code = int(codes[number])
        name = "" if code == NONE else facts.names["environment"][code]
        if name.startswith(ENVIRONMENT):
            found.setdefault(name, set()).add(rate(dataset.record(number)))
        elif name and name not in found:
            found[name] = {catalogue.control_hz(name)}
    return found
