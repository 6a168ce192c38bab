"""Branches: is the difference that a model predicts between two futures the true one?

Two futures of one past differ by their actions alone. What ignores actions, copy-last among them,
predicts no difference, and has a skill of 0. Futures that differ by a hidden factor say how far
apart simulations are of which nobody can tell, in the past, which will come.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.evaluation.imagining import PIXELS
from sandbox.evaluation.pasts import Judge, opened
from sandbox.evaluation.pictures import psnr
from sandbox.models.checkpoint import Checkpoint
from sandbox.run.folder import Folder
from sandbox.sources.kinds import ACTIONS
from sandbox.trajectory import Rows

F64 = NDArray[np.float64]
_MOST = 10  # Pairs of a group.


def contrasts(
    paths: Sequence[str | Path], checkpoint: Checkpoint, judge: Judge, horizons: Sequence[int]
) -> dict[str, Any]:
    """Return how well differences of futures are predicted, at each horizon.

    Args:
        paths: runs of `sandbox branch`.
        checkpoint: the model's.
        judge: the model.
        horizons: rows after the last of the shared past.

    Raises:
        FormatError, InvalidInputError: one is no such run, or of training data.
    """
    parts = {name: np.zeros(len(horizons)) for name in ("ours", "true", "both", "said", "apart")}
    counts = {name: np.zeros(len(horizons), np.int64) for name in ("pairs", "spread")}
    for path in paths:
        folder = opened(path, checkpoint, judge)
        for step, kinds in _groups(folder).items():
            acted = [number for kind, number in kinds if kind in ACTIONS]
            for one, other in itertools.islice(itertools.combinations(acted, 2), _MOST):
                rows = [folder.episode(number).rows for number in (one, other)]
                _add_pair(rows, step[1], judge, horizons, parts, counts["pairs"])
            same = [number for kind, number in kinds if kind == "same"][:1]
            for one, other in itertools.product(same, [n for kind, n in kinds if kind == "factor"]):
                rows = [folder.episode(number).rows for number in (one, other)]
                _add_spread(rows, step[1], judge, horizons, parts["apart"], counts["spread"])
    with np.errstate(invalid="ignore", divide="ignore"):
        found: dict[str, Any] = {
            "pairs": counts["pairs"],
            "skill": 1 - parts["ours"] / parts["true"],
            "correlation": parts["both"] / np.sqrt(parts["true"] * parts["said"]),
        }
        spread = parts["apart"] / counts["spread"]
    if counts["spread"].any():
        shown = ("psnr", psnr(spread)) if judge.column == PIXELS else ("rmse", np.sqrt(spread))
        found["hidden factors"] = {"pairs": counts["spread"], shown[0]: shown[1]}
    return {"column": judge.column, **found}


def _groups(folder: Folder) -> dict[tuple[int, int], list[tuple[str, int]]]:
    """Return kind and number of the branches of each past, by its episode and step."""
    found = dict[tuple[int, int], list[tuple[str, int]]]()
    for number, record in enumerate(folder.records()):
        branch = record.branch or {}
        past = int(branch["episode"]), int(branch["step"])
        found.setdefault(past, []).append((str(branch["kind"]).partition(":")[0], number))
    return found


def _add_pair(
    rows: Sequence[Rows],
    step: int,
    judge: Judge,
    horizons: Sequence[int],
    parts: dict[str, F64],
    count: NDArray[np.int64],
) -> None:
    """Add the true and the predicted difference of two futures."""
    end = min(len(one["step_idx"]) for one in rows)
    fitting = [n for n, h in enumerate(horizons) if step + h < end]
    if not fitting:
        return
    steps = horizons[fitting[-1]]
    said = [judge.future(one, step, one["action"][step : step + steps]) for one in rows]
    true = [judge.seen(one, step + 1, step + 1 + steps) for one in rows]
    ours, theirs = said[0] - said[1], true[0] - true[1]
    for n in fitting:
        one, other = ours[horizons[n] - 1], theirs[horizons[n] - 1]
        parts["ours"][n] += np.square(one - other).sum()
        parts["true"][n] += np.square(other).sum()
        parts["said"][n] += np.square(one).sum()
        parts["both"][n] += (one * other).sum()
        count[n] += 1


def _add_spread(
    rows: Sequence[Rows],
    step: int,
    judge: Judge,
    horizons: Sequence[int],
    apart: F64,
    count: NDArray[np.int64],
) -> None:
    """Add how far apart two true futures are."""
    end = min(len(one["step_idx"]) for one in rows)
    for n, h in enumerate(horizons):
        if step + h < end:
            one, other = (judge.seen(it, step + h, step + h + 1) for it in rows)
            apart[n] += np.square(one - other).mean()
            count[n] += 1
