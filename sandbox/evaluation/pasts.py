"""Futures of a shared past: what a model says of each, from episodes that branch off."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sandbox.dataset.finite import fault
from sandbox.errors import InvalidInputError
from sandbox.evaluation.held_out import HeldOut
from sandbox.evaluation.imagining import PIXELS, Asked, imagine
from sandbox.evaluation.measuring import REWARD, TERMINATED
from sandbox.evaluation.numbers import deviations
from sandbox.evaluation.windows import tensor
from sandbox.models.checkpoint import Checkpoint
from sandbox.models.protocol import Shapes, WorldModel
from sandbox.run.folder import Folder
from sandbox.training.material import ready
from sandbox.training.trainer import seed
from sandbox.trajectory import Rows

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Judge:
    """A model that looks at futures.

    Attributes:
        model: the model.
        column: what it is judged by: pictures if it gives them, else its first column of numbers.
        context: rows that it sees.
        shapes: of the columns that it knows, pictures with channels first.
        deviation: by which numbers are divided, (elements,), NaN where constant; None of pictures.
        chance: seed of what it draws.
    """

    model: WorldModel
    column: str
    context: int
    shapes: Shapes
    deviation: F64 | None
    chance: int

    @classmethod
    def of(
        cls, model: WorldModel, held_out: HeldOut, shapes: Shapes, context: int, chance: int
    ) -> Self:
        """Return the judge that a model is.

        Args:
            model: the model.
            held_out: episodes, over which numbers vary.
            shapes: of the columns that it knows.
            context: rows that it sees.
            chance: seed of what it draws.

        Raises:
            InvalidInputError: it gives neither pictures nor numbers that these episodes have.
        """
        there = [one for one in model.gives if one in held_out.shapes]
        vectors = [one for one in there if one not in (REWARD, TERMINATED)]
        if not vectors:
            raise InvalidInputError(
                f"the model gives {', '.join(model.gives)}, by which no futures can be told apart."
            )
        column = PIXELS if PIXELS in vectors else vectors[0]
        drawn = column == PIXELS
        deviation = None if drawn else deviations(held_out.episodes, column)
        return cls(model, column, context, shapes, deviation, chance)

    def future(self, rows: Rows, last: int, actions: F64) -> F64:
        """Return what the model says of the rows after one, float64 (steps, elements).

        Args:
            rows: columns of the episode that has the past.
            last: the last row that the model sees.
            actions: those taken from that row on, (steps, A).

        Raises:
            InvalidInputError: one of these numbers is not finite.
        """
        begin = max(0, last + 1 - self.context)
        shown = {
            name: rows[name][begin : last + 1]
            for name in dict.fromkeys((*self.model.needs, "action"))
        }
        if found := fault({**shown, "actions": actions}):
            raise InvalidInputError(f"branches: {found} of what the model is shown.")
        given = {n: tensor(_channels_first(n, one.copy()))[None] for n, one in shown.items()}
        steps = len(actions)
        asked = Asked(last + 1 - begin, tuple(range(1, steps + 1)), (), False)
        taken = tensor(actions.astype(np.float32))[None]
        seed(self.chance, last)
        with torch.no_grad():
            _, *found = imagine(self.model, ready(given), taken, asked)
        said = torch.cat([one[self.column] for one in found])
        return self._numbers(said)

    def seen(self, rows: Rows, first: int, last: int) -> F64:
        """Return true rows from one up to before another, float64 (rows, elements)."""
        return self._numbers(tensor(_channels_first(self.column, rows[self.column][first:last])))

    def _numbers(self, rows: Tensor) -> F64:
        numbers = rows.double()
        if self.deviation is not None:
            found = numbers.reshape(len(rows), -1).numpy() / self.deviation
            return found[:, np.isfinite(self.deviation)]
        numbers = numbers / 255 if rows.dtype == torch.uint8 else numbers.clamp(0, 1)
        return numbers.reshape(len(rows), -1).numpy()


def opened(path: str | Path, checkpoint: Checkpoint, judge: Judge) -> Folder:
    """Open a run of branches that a model can judge.

    Raises:
        FormatError: it cannot be read.
        InvalidInputError: it holds no branches, they or their pasts are training data, or they do
            not fit the model.
    """
    folder, trained = Folder(path), checkpoint.facts.data.runs
    for record in folder.records():
        if record.branch is None:
            raise InvalidInputError(
                f"{folder.path}: episode {record.episode} is no branch; give what `sandbox branch` "
                "or `sandbox surprises` made."
            )
        if record.run in trained or record.branch.get("run") in trained:
            raise InvalidInputError(
                f"{folder.path}: branches off a run that the model was trained on."
            )
    if not folder.count():
        raise InvalidInputError(f"{folder.path}: holds no episode yet.")
    rows = folder.episode(0).rows
    for name in dict.fromkeys((*judge.model.needs, "action", judge.column)):
        got = _first(name, rows[name].shape[1:]) if name in rows else None
        if got != tuple(judge.shapes[name]):
            raise InvalidInputError(
                f"{folder.path}: {name} has rows of shape {got}, and the model was trained on "
                f"{tuple(judge.shapes[name])}."
            )
    return folder


def _first(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    return (shape[2], shape[0], shape[1]) if name == PIXELS and len(shape) == 3 else tuple(shape)


def _channels_first(name: str, rows: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.ascontiguousarray(np.moveaxis(rows, -1, 1)) if name == PIXELS else rows
