"""Hidden factors: how well they are read from a model's state, and from the rows that it has seen.

Ridge regression reads them, fitted on other episodes. A factor that the last rows tell as well is
no evidence that the model has inferred it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sandbox.dataset import halves
from sandbox.dataset.facts import FACTOR
from sandbox.estimates import bootstrap
from sandbox.evaluation.events import auc
from sandbox.evaluation.measuring import Measured
from sandbox.evaluation.windows import tensor
from sandbox.models.protocol import WorldModel
from sandbox.training.trainer import seed

F64, I64 = NDArray[np.float64], NDArray[np.int64]
LATENTS, ROWS = "the model's state", "the rows that it has seen"
FOLDS, FEWEST = 5, 8  # Groups of episodes; and how many there are at least.
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # Of the penalty, for each case.


def factors(model: WorldModel, measured: Measured, chance: int) -> list[dict[str, Any]] | None:
    """Return how well each factor that varies is read: skill over its mean, 1 is perfect.

    Args:
        model: the model.
        measured: whose windows are looked at, each with the rows of its context.
        chance: seed of the folds, and of what the model draws.

    Returns:
        None if there are too few episodes, or no factor varies.
    """
    facts, windows = measured.held_out.episodes.facts, measured.windows
    groups = halves.related(facts)[windows.episode]
    if len(np.unique(groups)) < FEWEST:
        return None
    columns = {
        name: facts.columns[f"{FACTOR}{name}"][windows.episode]
        for name in facts.factors
        if f"{FACTOR}{name}" in facts.columns
    }
    varying = {n: one for n, one in columns.items() if np.isfinite(one).all() and np.ptp(one) > 0}
    if not varying:
        return None
    values = np.stack([*varying.values()], 1)
    found: list[dict[str, Any]] = [
        {"name": name, "values": len(np.unique(one))} for name, one in varying.items()
    ]
    for who, features in _features(model, measured, chance).items():
        said, mean = predicted(kernel(features), values, groups, chance)
        for n, row in enumerate(found):
            row[who] = _scores(said[:, n], mean[:, n], values[:, n], windows.episode)
    return found


def _features(model: WorldModel, measured: Measured, chance: int) -> dict[str, F64]:
    """Return the model's state, and the rows that it has seen, each (windows, features)."""
    end = measured.asked.context
    begin = end - min(end, model.context)
    latents, rows = list[F64](), list[F64]()
    with torch.no_grad():
        for number, batch in enumerate(measured.windows.batches((*model.needs, "action"))):
            seed(chance, number)
            seen = {name: batch[name][:, begin:end] for name in model.needs}
            latents.append(_flat(model.encode(seen, batch["action"][:, begin : end - 1])))
            rows.append(_flat({**seen, "action": batch["action"][:, begin : end - 1]}))
    return {LATENTS: np.concatenate(latents), ROWS: np.concatenate(rows)}


def _flat(tensors: Mapping[str, Tensor]) -> F64:
    """Return tensors (B, ...) as numbers (B, features)."""
    return torch.cat([one.double().reshape(len(one), -1) for one in tensors.values()], 1).numpy()


def kernel(features: F64) -> F64:
    """Return products of features (cases, cases), in deviations; what is constant is none."""
    centred = features - features.mean(0)
    spread = centred.std(0)
    scaled = tensor(centred[:, spread > 1e-9] / spread[spread > 1e-9])
    return (scaled @ scaled.T / max(1, scaled.shape[1])).numpy()


def predicted(products: F64, values: F64, groups: I64, chance: int) -> tuple[F64, F64]:
    """Return what ridge regression says of values, fitted on other groups, and their mean there.

    The strength of the penalty is that which is best on groups among those that it is fitted on.

    Args:
        products: of the features, (cases, cases).
        values: the values, (cases, factors).
        groups: the group of each case, int64 (cases,).
        chance: seed of the folds.
    """
    said, mean, fold = np.empty(values.shape), np.empty(values.shape), _folds(groups, chance)
    every = list(range(values.shape[1]))
    for n in range(fold.max() + 1):
        fit, test = np.flatnonzero(fold != n), np.flatnonzero(fold == n)
        inner, errors = _folds(groups[fit], chance + 1), 0.0
        for k in range(inner.max() + 1):
            one, other = fit[inner != k], fit[inner == k]
            errors += np.square(ridge(products, values, one, other) - values[other]).sum(1)
        best = np.argmin(errors, axis=0)
        said[test] = ridge(products, values, fit, test)[best, :, every].T
        mean[test] = values[fit].mean(0)
    return said, mean


def _folds(groups: I64, chance: int) -> I64:
    """Return the fold of each case, int64 (cases,): whole groups, in turn."""
    names, place = np.unique(groups, return_inverse=True)
    return (np.random.default_rng(chance).permutation(len(names)) % FOLDS)[place]


def ridge(products: F64, values: F64, fit: I64, test: I64) -> F64:
    """Return what ridge regression in its dual form says of some cases, fitted on others.

    Returns:
        For each of STRENGTHS: (strengths, cases, factors).
    """
    mean, centre = values[fit].mean(0), products[np.ix_(fit, fit)].mean(0)
    inner, outer = products[np.ix_(fit, fit)], products[np.ix_(test, fit)]
    outer = outer - outer.mean(1, keepdims=True) - centre + centre.mean()
    inner = inner - centre - centre[:, None] + centre.mean()
    found: Any = torch.linalg.eigh(tensor(inner))  # pyright: ignore
    sizes, vectors = cast(tuple[Tensor, Tensor], (found[0], found[1]))
    turned, seen = vectors.T @ tensor(values[fit] - mean), tensor(outer) @ vectors
    each: list[Tensor] = [seen @ (turned / (sizes + one * len(fit))[:, None]) for one in STRENGTHS]
    return mean + torch.stack(each).numpy()


def _scores(said: F64, mean: F64, values: F64, episodes: Sequence[int] | I64) -> dict[str, Any]:
    """Return the skill over the mean, with its interval over episodes; of two values the AUC."""
    names, place = np.unique(episodes, return_inverse=True)
    parts = np.zeros((2, len(names)))
    for part, one in zip(parts, (said, mean), strict=True):
        np.add.at(part, place, np.square(one - values))

    def skill(chosen: I64) -> F64:
        ours, theirs = (part[chosen].sum(1, keepdims=True) for part in parts)
        return 1 - ours / theirs

    (interval,) = bootstrap(np.zeros(len(names)), skill)
    found: dict[str, Any] = {"skill": interval and vars(interval)}
    if len(np.unique(values)) == 2:
        found["auc"] = auc(said, values == values.max())
    return found
