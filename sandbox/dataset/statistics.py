"""Statistics of columns, to normalise by; kept in a file, and found again by the data's digest."""

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox import content, digest, jsonfile
from sandbox.dataset.episodes import Episodes
from sandbox.errors import InvalidInputError, SandboxError, shown
from sandbox.trajectory import Column

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_FORMAT = 1
_MOST = 1_000_000  # Values of an element of which quantiles are exact.
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """Statistics of one column over all rows of a dataset, in float64.

    An array has the shape of a row; for pictures, that of their channels. An `action` counts
    without each episode's last row, where none is taken.

    Attributes:
        count: number of values of each element: rows, for pictures times their pixels.
        mean: their mean.
        std: their standard deviation, divided by `count`; 0 where an element is constant.
        min: the least.
        max: the greatest.
        quantiles: share to the value below which that share lies, for QUANTILES: exact up to a
            million values, of more by a sample of about a million.
    """

    count: int
    mean: F64
    std: F64
    min: F64
    max: F64
    quantiles: dict[float, F64]


def statistics(episodes: Episodes, columns: Sequence[str]) -> dict[str, Statistics]:
    """Return the statistics of columns; they are computed once for the same episodes.

    Raises:
        FormatError: an episode cannot be read.
        InvalidInputError: no column is named, or a value is not finite.
        UnknownNameError: there is no such column.
    """
    if isinstance(columns, str) or not columns:
        raise InvalidInputError(f"columns {shown(columns)}: give a list of at least one column.")
    wanted = [episodes.schema[name] for name in columns]
    files = {one.name: _file(episodes, one) for one in wanted}
    kept = {one.name: _load(files[one.name], one) for one in wanted}
    missing = [one for one in wanted if kept[one.name] is None]
    for name, made in (_computed(episodes, missing) if missing else {}).items():
        kept[name] = made
        _save(files[name], made)
    return {name: found for name, found in kept.items() if found is not None}


class _Sums:
    """Adds up one column, episode by episode, in one pass."""

    def __init__(self, column: Column, expected: int) -> None:
        self._column = column
        self._shape = column.shape[2:] if column.is_picture else column.shape
        self._part = min(1.0, _MOST / max(1, expected))
        self._rng = np.random.default_rng(0)
        size = math.prod(self._shape)
        self.count, self._mean, self._squares = 0, np.zeros(size), np.zeros(size)
        self._low, self._high = np.full(size, np.inf), np.full(size, -np.inf)
        self._sample: list[NDArray[Any]] = []

    def add(self, rows: NDArray[Any], where: str) -> None:
        """Add the rows of an episode."""
        if self._column.name == "action":
            rows = rows[:-1]
        values = rows.reshape(-1, math.prod(self._shape))
        if not len(values):
            return
        if not np.isfinite(values).all():
            raise InvalidInputError(
                f"{where}: column {self._column.name!r} has values that are not finite; there is "
                "nothing to normalise by. Leave it out, or such episodes."
            )
        mean = values.mean(axis=0, dtype=np.float64)
        squares = np.square(values - mean).sum(axis=0)
        total = self.count + len(values)
        apart = mean - self._mean  # Chan's way to join two means and sums of squares.
        self._mean += apart * len(values) / total
        self._squares += squares + apart**2 * self.count * len(values) / total
        self.count = total
        self._low = np.minimum(self._low, values.min(axis=0))
        self._high = np.maximum(self._high, values.max(axis=0))
        some = values if self._part == 1 else values[self._rng.random(len(values)) < self._part]
        self._sample.append(some.copy())

    def told(self) -> Statistics:
        """Return what the rows added up to."""
        if not self.count:
            raise InvalidInputError(
                f"column {self._column.name!r}: no episode has a value; leave it out."
            )
        sample = np.concatenate(self._sample)
        found = np.quantile(sample.astype(np.float64), QUANTILES, axis=0)
        fixed = self._low == self._high  # Rounding must not make a constant vary.
        deviation = np.where(fixed, 0.0, np.sqrt(self._squares / self.count))
        middle = np.where(fixed, self._low, self._mean)
        arrays = [middle, deviation, self._low, self._high, *found]
        mean, std, low, high, *rest = [one.reshape(self._shape) for one in arrays]
        quantiles = dict(zip(QUANTILES, rest, strict=True))
        return Statistics(self.count, mean, std, low, high, quantiles)


def _computed(episodes: Episodes, columns: list[Column]) -> dict[str, Statistics]:
    """Return the statistics of columns, from all episodes."""
    rows = int(episodes.facts.columns["rows"].sum())
    sums = {
        one.name: _Sums(one, rows * (math.prod(one.shape[:2]) if one.is_picture else 1))
        for one in columns
    }
    for number in range(len(episodes.facts)):
        for name, found in episodes.rows(number, [*sums]).items():
            sums[name].add(found, f"episode {number}")
    return {name: one.told() for name, one in sums.items()}


def _file(episodes: Episodes, column: Column) -> Path | None:
    """Return the file of a column's statistics; None if a digest of an episode is unknown."""
    digests = episodes.facts.columns["digest"]
    if not digests.any(axis=1).all():
        return None
    named = [_FORMAT, column.to_json(), episodes.facts.digest]
    return content.cache() / "index" / f"statistics-{digest.sha256(named)}.json"


def _load(path: Path | None, column: Column) -> Statistics | None:
    """Return statistics that are kept; None if there are none, or they are damaged."""
    if path is None:
        return None
    shape = column.shape[2:] if column.is_picture else column.shape
    try:
        kept = jsonfile.read(path).data
        if kept["digest"] != digest.sha256(kept["statistics"]):
            return None
        count, *lists = kept["statistics"]
        mean, std, low, high, *rest = [np.array(one, np.float64).reshape(shape) for one in lists]
        quantiles = dict(zip(QUANTILES, rest, strict=True))
        return Statistics(int(count), mean, std, low, high, quantiles)
    except (SandboxError, LookupError, ValueError, TypeError):
        return None


def _save(path: Path | None, found: Statistics) -> None:
    """Keep statistics; without a folder that can be written they are computed again."""
    if path is None:
        return
    arrays = (found.mean, found.std, found.min, found.max, *found.quantiles.values())
    kept = json.loads(json.dumps([found.count, *(one.ravel().tolist() for one in arrays)]))
    with suppress(SandboxError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        jsonfile.write(path, {"digest": digest.sha256(kept), "statistics": kept})
