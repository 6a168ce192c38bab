"""A model's predictions of held-out windows, and all that its figures are computed from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sandbox.errors import InvalidInputError
from sandbox.evaluation import numbers
from sandbox.evaluation.folds import Folds, folds
from sandbox.evaluation.held_out import HeldOut
from sandbox.evaluation.imagining import (
    PIXELS,
    Asked,
    Imagined,
    Progress,
    gathered,
    imagine,
    imagined,
)
from sandbox.evaluation.reading import Readers
from sandbox.evaluation.windows import Windows, drawn
from sandbox.models.protocol import WorldModel
from sandbox.training.trainer import seed

F64, Bools = NDArray[np.float64], NDArray[np.bool_]
I64 = NDArray[np.int64]
REWARD, TERMINATED = "reward", "terminated"
POSES = ("proprio", "state")  # What is read in pictures: the first that there is.


@dataclass(frozen=True)
class Measured:
    """Predictions of held-out windows, and the truth.

    Attributes:
        held_out: the episodes.
        asked: what was predicted.
        windows: the windows.
        folds: what was fitted on which episodes; None if nothing could be.
        found: the predictions.
        truth: by column: true numbers, float64 (windows, horizons, elements).
        last: by column: numbers of the last row seen, float64 (windows, elements).
        deviations: by column: standard deviations of its elements; NaN where constant.
        pose: the column that was read in pictures; None if none was.
        ends: whether rows are the last of an episode that ended, and what the model said of them,
            by horizon; of windows that end there.
    """

    held_out: HeldOut
    asked: Asked
    windows: Windows
    folds: Folds | None
    found: Imagined
    truth: Mapping[str, F64]
    last: Mapping[str, F64]
    deviations: Mapping[str, F64]
    pose: str | None
    ends: Sequence[tuple[Bools, F64]]

    def vectors(self) -> dict[str, dict[str, F64]]:
        """Return what was predicted of columns of numbers of which an element varies."""
        return {
            column: every
            for column, every in self.found.numbers.items()
            if column not in (REWARD, TERMINATED) and np.isfinite(self.deviations[column]).any()
        }


def fitting(horizons: Sequence[int], context: int, lengths: I64, name: str) -> tuple[int, ...]:
    """Return the horizons that fit at least half of the episodes.

    Args:
        horizons: rows ahead.
        context: rows that the model sees.
        lengths: rows of each episode, int64 (episodes,).
        name: what errors call the episodes.

    Raises:
        InvalidInputError: none does.
    """
    found = [h for h in horizons if 2 * int((lengths >= context + h).sum()) >= len(lengths)]
    if not found:
        raise InvalidInputError(
            f"{name}: a window of {context} rows and {min(horizons)} to predict fits fewer than "
            f"half of its {len(lengths)} episodes, the longest of which has {max(lengths)} rows; "
            "ask for shorter horizons, or a shorter context."
        )
    return tuple(found)


def measured(
    model: WorldModel,
    held_out: HeldOut,
    asked: Asked,
    count: int,
    chance: int,
    reading: int,
    progress: Progress,
) -> Measured:
    """Return a model's predictions of windows.

    Args:
        model: the model.
        held_out: the episodes.
        asked: what is predicted.
        count: number of windows, at most.
        chance: seed of the windows, and of what is fitted.
        reading: updates of the networks that read poses; 0 leaves poses out.
        progress: is told how many windows are done, of how many.
    """
    episodes = held_out.episodes
    windows = drawn(episodes, asked.length, count, chance)
    parts = folds(held_out, asked.length, chance)
    there = [one for one in POSES if one in held_out.shapes]
    pose = there[0] if asked.pictures and parts is not None and reading and there else None
    columns = [*asked.numbers, *([pose] if pose is not None else [])]
    rows = gathered(windows, [*dict.fromkeys((*columns, "action"))])
    floats = [one for one in dict.fromkeys(columns) if one != TERMINATED]
    deviations = {one: numbers.deviations(episodes, one) for one in floats}
    readers = None
    if pose is not None and parts is not None:
        mean = episodes.statistics([pose])[pose].mean.reshape(-1)
        readers = Readers.trained(pose, parts, mean, deviations[pose], chance, reading)
    found = imagined(model, windows, asked, chance, readers, progress)
    for one in (name for name in asked.numbers if name not in (REWARD, TERMINATED)):
        found.numbers[one] |= numbers.known(rows[one], asked)
        if parts is not None:
            found.numbers[one] |= numbers.by_ridge(one, rows, windows, parts, asked, chance)
    last = {one: rows[one][:, asked.context - 1] for one in columns}
    truth = {one: numbers.true(rows[one], asked) for one in columns}
    ends = list[tuple[Bools, F64]]()
    if TERMINATED in asked.numbers:
        ends = [_ends(model, held_out, asked, h, count, chance) for h in asked.horizons]
    return Measured(held_out, asked, windows, parts, found, truth, last, deviations, pose, ends)


def _ends(
    model: WorldModel, held_out: HeldOut, asked: Asked, horizon: int, count: int, chance: int
) -> tuple[Bools, F64]:
    """Return of the last rows of episodes whether they ended there, and what the model says.

    Few of the other windows end where an episode does.
    """
    episodes, length = held_out.episodes, asked.context + horizon
    long = np.flatnonzero(episodes.lengths >= length)[:count]
    windows = Windows(episodes, length, long, episodes.lengths[long] - length)
    told = Asked(asked.context, (horizon,), (TERMINATED,), False)
    labels, said = list[F64](), list[F64]()
    columns = [*dict.fromkeys((*model.needs, "action", TERMINATED))]
    with torch.no_grad():
        for number, rows in enumerate(windows.batches(columns)):
            seed(chance, number)
            *_, found = imagine(model, rows, rows["action"][:, asked.context - 1 :], told)
            said.append(found[TERMINATED].double().reshape(-1).numpy())
            labels.append(rows[TERMINATED][:, -1].double().reshape(-1).numpy())
    return np.concatenate(labels) > 0.5, np.concatenate(said)


def predicted_columns(model: WorldModel, held_out: HeldOut) -> tuple[tuple[str, ...], bool]:
    """Return the columns of numbers that a model gives and the data has, and if pictures are."""
    there = [one for one in model.gives if one in held_out.shapes]
    return tuple(one for one in there if one != PIXELS), PIXELS in there
