"""Statistics of columns, added up episode by episode: moments, extremes and quantiles."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_KEPT = 1_000_000  # Rows of numbers that are looked at; of more, evenly spread ones.
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
_LEVELS = np.arange(256) / 255


class Moments:
    """Adds up rows. Pictures are counted by channel, as numbers from 0 to 1.

    Args:
        total: number of rows that will be added.
    """

    def __init__(self, total: int) -> None:
        self._every = -(-total // MOST_KEPT) or 1
        self._seen = 0
        self._counts: dict[str, NDArray[np.int64]] = {}
        self._rows: dict[str, list[NDArray[Any]]] = {}

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Add the rows of an episode."""
        count = len(next(iter(rows.values()))) if rows else 0
        first = -self._seen % self._every
        for name, values in rows.items():
            if values.ndim == 4:
                channels = values.reshape(-1, values.shape[-1]).T
                counts = np.stack([np.bincount(one, minlength=256) for one in channels])
                self._counts[name] = self._counts.get(name, np.zeros_like(counts)) + counts
            else:
                self._rows.setdefault(name, []).append(values[first :: self._every])
        self._seen += count

    def levels(self) -> dict[str, list[list[int]]]:
        """Return how often each level occurs in each channel of pictures, plain JSON."""
        return {name: counts.tolist() for name, counts in self._counts.items()}

    def add_levels(self, levels: Mapping[str, list[list[int]]]) -> None:
        """Add what `levels` returned of other rows, whose numbers were added."""
        for name, counts in levels.items():
            more = np.array(counts, np.int64)
            self._counts[name] = self._counts.get(name, np.zeros_like(more)) + more

    def told(self) -> dict[str, dict[str, Any]]:
        """Return the statistics of each column, as LeRobot's `stats.json` has them."""
        found = {name: self._of_rows(parts) for name, parts in self._rows.items()}
        return found | {name: self._of_levels(counts) for name, counts in self._counts.items()}

    def _of_rows(self, parts: list[NDArray[Any]]) -> dict[str, Any]:
        values = np.concatenate(parts).astype(np.float64)
        values = values.reshape(len(values), -1)
        quantiles = np.quantile(values, [*_QUANTILES.values()], axis=0)
        return {
            "min": values.min(axis=0).tolist(),
            "max": values.max(axis=0).tolist(),
            "mean": values.mean(axis=0).tolist(),
            "std": values.std(axis=0).tolist(),
            "count": [self._seen],
            **dict(zip(_QUANTILES, quantiles.tolist(), strict=True)),
        }

    def _of_levels(self, counts: NDArray[np.int64]) -> dict[str, Any]:
        """Return the statistics of pictures, of each channel (C, 1, 1)."""
        total = counts.sum(axis=1)
        mean = counts @ _LEVELS / total
        spread = np.sqrt(np.maximum(0, counts @ _LEVELS**2 / total - mean**2))
        some, running = counts > 0, np.cumsum(counts, axis=1)
        found = {
            "min": _LEVELS[some.argmax(axis=1)],
            "max": _LEVELS[255 - some[:, ::-1].argmax(axis=1)],
            "mean": mean,
            "std": spread,
        }
        for name, share in _QUANTILES.items():
            found[name] = _LEVELS[(running >= share * total[:, None]).argmax(axis=1)]
        shaped = {name: values.reshape(-1, 1, 1).tolist() for name, values in found.items()}
        return {**shaped, "count": [self._seen]}
