"""Which episodes what is fitted here is fitted on: never those that it is tried on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sandbox.dataset import halves
from sandbox.dataset.dataset import Dataset
from sandbox.evaluation.held_out import HeldOut
from sandbox.evaluation.windows import Windows, drawn

I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Folds:
    """Episodes to fit on, for each part of the evaluated ones.

    Attributes:
        named: what they are, for readers.
        dataset: the episodes to fit on.
        among: of each fold, the numbers of the episodes to fit on, int64 (episodes,).
        of_episode: the fold of each evaluated episode, int64 (evaluated episodes,).
    """

    named: str
    dataset: Dataset
    among: tuple[I64, ...]
    of_episode: I64

    def windows(self, fold: int, length: int, count: int, seed: int) -> Windows:
        """Return windows to fit on; raises as `drawn`."""
        return drawn(self.dataset, length, count, seed, self.among[fold])


def folds(held_out: HeldOut, length: int, seed: int) -> Folds | None:
    """Return the training episodes, or the halves of the evaluated ones, each for the other.

    Args:
        held_out: the evaluated episodes.
        length: rows that an episode has at least.
        seed: seed of the halves.

    Returns:
        None if there are no training episodes, and the evaluated ones cannot be halved.
    """
    episodes, train = held_out.episodes, held_out.train
    if train is not None and (train.lengths >= length).any():
        nothing = np.zeros(len(episodes), np.int64)
        return Folds("the training data", train, (np.arange(len(train)),), nothing)
    groups = halves.related(episodes.facts)
    usable = episodes.lengths >= length
    names = np.unique(groups[usable])
    if len(names) < 2:
        return None
    drawn = np.random.default_rng(seed).permutation(len(names))
    half = np.zeros(int(groups.max()) + 1, np.int64)
    half[names[drawn[: len(names) // 2]]] = 1
    of_episode = half[groups]
    among = tuple(np.flatnonzero(usable & (of_episode != fold)) for fold in range(2))
    return Folds("the other half of the evaluated episodes", episodes, among, of_episode)
