"""Surprises: does a model's error rise where something impossible happens?

Both futures of a pair have one past and the same actions, so that one prediction is compared with
both. A model that has learned physics is nearer to the possible one. What is seen by comparing
each picture with the last, such as a body that vanishes, copy-last tells as well: no score of
a model means anything without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.evaluation.events import auc
from sandbox.evaluation.imagining import COPY, MODEL
from sandbox.evaluation.pasts import Judge, opened
from sandbox.models.checkpoint import Checkpoint
from sandbox.sources.surprises import AFTER, Pair, pairs

F64 = NDArray[np.float64]
SPANS = (1, AFTER)  # Rows after it shows whose error counts.
KINDS = ("ghost", "reshape", "teleport", "vanish", "recolor")  # Those that need physics first.


@dataclass(frozen=True)
class Seen:
    """The errors of a pair.

    Attributes:
        kind: what happens.
        possible, impossible: by who predicts: mean squared error of the row at which it shows, and
            of those after it.
    """

    kind: str
    possible: dict[str, F64]
    impossible: dict[str, F64]


def surprises(path: str | Path, checkpoint: Checkpoint, judge: Judge) -> list[dict[str, Any]]:
    """Return how often the impossible future of a pair has the larger error, by kind.

    Args:
        path: a run of `sandbox surprises`.
        checkpoint: the model's.
        judge: the model.

    Raises:
        FormatError, InvalidInputError: it is no such run, or of training data.
    """
    folder = opened(path, checkpoint, judge)
    every = pairs(folder)
    seen = [
        _seen(pair, judge, folder.episode(pair.possible).rows, folder.episode(pair.impossible).rows)
        for pair in every
        if pair.parts_at
    ]
    found = list[dict[str, Any]]()
    for kind in KINDS:
        asked = sum(pair.kind.partition(":")[0] == kind for pair in every)
        mine = [one for one in seen if one.kind == kind]
        if asked:
            found.append({"kind": kind, "pairs": len(mine), "unseen": asked - len(mine)})
            found[-1]["rows"] = {
                str(span): {who: _scores(mine, who, span) for who in (MODEL, COPY)}
                for span in SPANS
            }
    return found


def _seen(pair: Pair, judge: Judge, possible: Any, impossible: Any) -> Seen:
    """Return the errors of one prediction beside both futures."""
    assert pair.parts_at is not None
    first = pair.parts_at
    end = min(first + AFTER, len(possible["step_idx"]), len(impossible["step_idx"]))
    said = {
        MODEL: judge.future(possible, first - 1, possible["action"][first - 1 : end - 1]),
        COPY: judge.seen(possible, first - 1, first),
    }
    true = [judge.seen(rows, first, end) for rows in (possible, impossible)]
    errors = [{who: np.square(one - rows).mean(1) for who, one in said.items()} for rows in true]
    return Seen(pair.kind.partition(":")[0], *errors)


def _scores(seen: Sequence[Seen], who: str, span: int) -> dict[str, float]:
    """Return how often the impossible one has the larger error in some rows."""
    one = np.array([it.possible[who][:span].mean() for it in seen])
    other = np.array([it.impossible[who][:span].mean() for it in seen])
    labels = np.arange(2 * len(seen)) >= len(seen)
    right = (other > one) + 0.5 * (other == one)
    return {
        "accuracy": float(right.mean()) if len(seen) else float("nan"),
        "auc": auc(np.concatenate([one, other]), labels),
    }
