"""What a model imagines of windows, and what knows nothing says of the same pictures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sandbox.errors import SimulationError
from sandbox.evaluation.pictures import Sums, Truth, shifted
from sandbox.evaluation.windows import BATCH, Windows, tensor
from sandbox.models.protocol import WorldModel
from sandbox.training.trainer import seed

F64 = NDArray[np.float64]
Rows = Mapping[str, Tensor]
Progress = Callable[[int, int], None]
Reader = Callable[[Tensor, NDArray[np.int64]], F64]  # Of pictures and their episodes.
PIXELS = "pixels"
MODEL, SHUFFLED, ZEROS = "model", "actions shuffled", "actions zero"
COPY, VELOCITY, RIDGE, KEPT = "copy-last", "constant velocity", "ridge", "first reading kept"
REAL, SPREAD = "real frames", "other hidden factors"
ORDER = (MODEL, SHUFFLED, ZEROS, COPY, VELOCITY, RIDGE, KEPT, REAL, SPREAD)  # Of tables.


@dataclass(frozen=True)
class Asked:
    """What is imagined of each window.

    Attributes:
        context: rows that come first, and are true.
        horizons: how many rows after the last of them a prediction is for, rising.
        numbers: the columns of numbers that are predicted.
        pictures: whether pictures are.
    """

    context: int
    horizons: tuple[int, ...]
    numbers: tuple[str, ...]
    pictures: bool

    @property
    def length(self) -> int:
        """Rows of a window."""
        return self.context + self.horizons[-1]


@dataclass
class Imagined:
    """What was predicted of windows.

    Attributes:
        sums: by who predicts: how far the pictures are from true ones.
        numbers: by column and by who predicts: float64 (windows, horizons, elements).
        read: by whose pictures were read: what a network read in them, float64 as `numbers`.
    """

    sums: dict[str, Sums] = field(default_factory=dict[str, Sums])
    numbers: dict[str, dict[str, F64]] = field(default_factory=dict[str, dict[str, F64]])
    read: dict[str, F64] = field(default_factory=dict[str, F64])


def imagine(
    model: WorldModel, rows: Rows, actions: Tensor, asked: Asked
) -> Iterator[dict[str, Tensor]]:
    """Yield what a model says of the last true row, then at each horizon, open loop.

    Args:
        model: the model.
        rows: columns (B, context or more, ...), as models take them.
        actions: those after the last true row, float32 (B, longest horizon, A).
        asked: context and horizons.

    Raises:
        SimulationError: what it says is not finite.
    """
    begin, end = asked.context - min(asked.context, model.context), asked.context
    seen = {name: rows[name][:, begin:end] for name in model.needs}
    state = model.encode(seen, rows["action"][:, begin : end - 1])
    for step in range(asked.horizons[-1] + 1):
        if step:
            state = model.step(state, actions[:, step - 1])
        if step == 0 or step in asked.horizons:
            found = model.decode(state)
            for name in model.gives:
                if not torch.isfinite(found[name]).all():
                    raise SimulationError(
                        f"the model gives {name} that is not finite {step} rows ahead; evaluate "
                        "shorter horizons, or train it longer."
                    )
            yield found


def imagined(
    model: WorldModel,
    windows: Windows,
    asked: Asked,
    chance: int = 0,
    read: Reader | None = None,
    progress: Progress = lambda done, total: None,
) -> Imagined:
    """Return what a model predicts of windows, and copy-last and constant velocity of pictures.

    Args:
        model: the model.
        windows: the windows, of at least `asked.length` rows.
        asked: what is predicted.
        chance: seed of what the model draws; every rollout of a batch draws alike.
        read: reads numbers in pictures (B, 3, H, W) of the windows of these episodes; or None.
        progress: is told how many windows are done, of how many.
    """
    columns = (*model.needs, "action", *((PIXELS,) if asked.pictures else ()))
    kept = _Kept(Imagined(), len(windows), asked, read)
    others, actions = windows.others(), _actions(windows, asked)
    done = 0
    with torch.no_grad():
        for rows in windows.batches(tuple(dict.fromkeys(columns))):
            some = slice(done, done + len(rows["action"]))
            kept.begin(done, rows, windows.episode[some])
            given = {MODEL: actions[some]}
            if others is not None:
                given[SHUFFLED] = actions[tensor(others[some])]
            given[ZEROS] = torch.zeros_like(actions[some])
            for who, taken in given.items():
                seed(chance, done)
                for place, found in enumerate(imagine(model, rows, taken, asked)):
                    kept.put(who, place - 1, found)
            kept.put_known()
            done = some.stop
            progress(done, len(windows))
    return kept.found


class _Kept:
    """Keeps what is predicted, batch by batch."""

    def __init__(
        self,
        found: Imagined,
        windows: int,
        asked: Asked,
        read: Reader | None,
    ) -> None:
        self.found, self._windows, self._asked, self._read = found, windows, asked, read

    def begin(self, first: int, rows: Rows, episodes: NDArray[np.int64]) -> None:
        self._first, self._rows, self._episodes = first, rows, episodes
        if self._asked.pictures:
            pixels, end = rows[PIXELS], self._asked.context
            self._true = [
                Truth.of(pixels[:, end - 1], pixels[:, end - 1 + h]) for h in self._asked.horizons
            ]

    def put(self, who: str, place: int, found: Mapping[str, Tensor]) -> None:
        """Keep what a model says at a horizon, by its place; -1 is of the last true row."""
        if place < 0 and who != MODEL:
            return
        for column in self._asked.numbers:
            values = found[column].double().reshape(len(found[column]), -1).numpy()
            if place < 0:  # What is read there, and kept, stands at each horizon.
                for n in range(len(self._asked.horizons)):
                    self._number(column, KEPT, n, values)
            else:
                self._number(column, who, place, values)
        if self._asked.pictures and place >= 0:
            self._picture(who, place, found[PIXELS])

    def put_known(self) -> None:
        """Keep what copy-last and constant velocity say of pictures, and what is read in them."""
        if not self._asked.pictures:
            return
        for place, h in enumerate(self._asked.horizons):
            true, pixels = self._true[place], self._rows[PIXELS]
            self._picture(COPY, place, true.last)
            if self._asked.context > 1:
                before = pixels[:, self._asked.context - 2].double() / 255
                self._picture(VELOCITY, place, shifted(true.last, before, h))
            if self._read is not None:
                self._put_read(REAL, place, true.picture)

    def _picture(self, who: str, place: int, shown: Tensor) -> None:
        horizons = len(self._asked.horizons)
        sums = self.found.sums.setdefault(who, Sums(self._windows, horizons))
        sums.put(self._first, place, self._true[place].measured(shown))
        if self._read is not None and who in (MODEL, SHUFFLED, COPY):
            self._put_read(who, place, shown)

    def _put_read(self, who: str, place: int, shown: Tensor) -> None:
        assert self._read is not None
        values = self._read(shown.float().clamp(0, 1), self._episodes)
        self._array(self.found.read, who, values.shape[1])[
            self._first : self._first + len(values), place
        ] = values

    def _number(self, column: str, who: str, place: int, values: F64) -> None:
        of = self.found.numbers.setdefault(column, {})
        array = self._array(of, who, values.shape[1])
        array[self._first : self._first + len(values), place] = values

    def _array(self, of: dict[str, F64], who: str, elements: int) -> F64:
        shape = (self._windows, len(self._asked.horizons), elements)
        return of.setdefault(who, np.full(shape, np.nan))


def gathered(windows: Windows, columns: Sequence[str]) -> dict[str, F64]:
    """Return columns of numbers of all windows, each float64 (windows, length, elements)."""
    parts: dict[str, list[F64]] = {name: [] for name in columns}
    for rows in windows.batches(columns, 8 * BATCH):
        for name, one in rows.items():
            parts[name].append(one.double().reshape(*one.shape[:2], -1).numpy())
    return {name: np.concatenate(one) for name, one in parts.items()}


def _actions(windows: Windows, asked: Asked) -> Tensor:
    """Return the actions after the last true row, float32 (windows, longest horizon, A)."""
    found = [rows["action"] for rows in windows.batches(("action",), 8 * BATCH)]
    return torch.cat(found)[:, asked.context - 1 : asked.length - 1]
