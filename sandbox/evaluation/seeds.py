"""Several seeds of one model: how far their scores lie apart, and their interquartile mean."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.errors import InvalidInputError
from sandbox.estimates import crossed, iqm
from sandbox.evaluation import gains
from sandbox.evaluation.imagining import COPY, MODEL, Imagined, Progress, imagined
from sandbox.evaluation.measuring import Measured
from sandbox.models.checkpoint import Checkpoint
from sandbox.models.protocol import WorldModel, imagining

F64 = NDArray[np.float64]
_SAME = ("model", "options", "shapes", "training runs")


@dataclass(frozen=True)
class Seeds:
    """Models that differ by the seed of their training alone.

    Attributes:
        checkpoints: theirs, that of the evaluated model first.
        models: those after the first, ready to imagine.
    """

    checkpoints: Sequence[Checkpoint]
    models: Sequence[WorldModel]


def opened(paths: Sequence[str | Path], first: Checkpoint, *, trust_code: bool) -> Seeds:
    """Open other seeds of a model.

    Raises:
        FormatError: one is no checkpoint.
        InvalidInputError: one is of another kind, was trained on other data, or is there twice.
    """
    every, models = [first], list[WorldModel]()
    for path in paths:
        found = Checkpoint.read(path)
        for what, mine, theirs in zip(_SAME, _same(found), _same(first), strict=True):
            if mine != theirs:
                raise InvalidInputError(
                    f"{path}: has other {what} than the evaluated model; --also takes other "
                    "seeds of it. Evaluate another model on its own."
                )
        if found.digest in {one.digest for one in every}:
            raise InvalidInputError(f"{path}: has the weights of another one; give each once.")
        every.append(found)
        models.append(imagining(found.model(trust_code=trust_code), str(path)))
    return Seeds(every, models)


def _same(checkpoint: Checkpoint) -> list[Any]:
    """Return what seeds of a model share; the seed also chooses which episodes are held out."""
    facts = checkpoint.facts
    return [facts.model, facts.options, facts.shapes, facts.data.runs]


def _measured(
    models: Sequence[WorldModel], first: Measured, chance: int, progress: Progress
) -> list[Measured]:
    """Return what models predict of the windows of another; what is known beside is taken over."""
    found = [first]
    for model in models:
        told = imagined(model, first.windows, first.asked, chance, progress=progress)
        for column, every in told.numbers.items():
            told.numbers[column] = {**first.found.numbers[column], **every}
        found.append(replace(first, found=Imagined(told.sums, told.numbers)))
    return found


def scores(seeds: Seeds, first: Measured, chance: int, progress: Progress) -> dict[str, Any]:
    """Return the scores of each seed, and of all of them the IQM with its interval.

    Scores are of episodes, and differences from copying are above 0 where the model is better.

    Args:
        seeds: the models.
        first: what the evaluated model predicts; the others predict the same windows.
        chance: seed of what they draw.
        progress: is told how many windows are done, of how many.
    """
    every = _measured(seeds.models, first, chance, progress)
    pool, strata = gains.by_episode(every[0]), gains.strata(every[0])
    rows = list[dict[str, Any]]()
    for each in zip(*map(gains.measures, every), strict=True):
        column, measure, _ = each[0]
        ours = np.stack([of[MODEL](pool) for _, _, of in each])
        away = ours - np.stack([of[COPY](pool) for _, _, of in each])
        away = -away if measure == gains.NRMSE else away
        for over, found in ((None, ours), (COPY, away)):
            middle = [crossed(found[..., n], strata) for n in range(found.shape[2])]
            rows.append(
                {
                    "column": column,
                    "measure": measure,
                    "over": over,
                    "each": [_middles(one) for one in found],
                    "iqm": [one and vars(one) for one in middle],
                }
            )
    told = [
        {"digest": one.digest, "seed": one.facts.training.get("seed")} for one in seeds.checkpoints
    ]
    return {"models": told, "rows": rows}


def _middles(found: F64) -> list[float]:
    """Return the IQM over episodes at each horizon, of scores (episodes, horizons)."""
    return [iqm(one[np.isfinite(one)].tolist()) for one in found.T]
