"""Where imagined episodes begin, and how they act: by chance that belongs to each of them."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.dataset.dataset import Dataset
from sandbox.errors import InvalidInputError, UnknownNameError

POLICIES = ("random", "noise", "noop", "recorded")
_KEPT = 0.85  # Of the noise of the step before.
F32 = NDArray[np.float32]


def drawn(run: str, episode: int, role: str, step: int, count: int) -> NDArray[np.uint64]:
    """Return random bits, uint64 (count,), which nothing else draws.

    Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3": Philox4x64-10, whose key is a
    hash of run, episode and role, and whose counter begins at `step`.
    """
    key = hashlib.sha256(f"{run} {episode} {role}".encode()).digest()[:16]
    bits = np.random.Philox(counter=step << 128, key=int.from_bytes(key, "little"))
    return bits.random_raw(count)


def uniform(run: str, episode: int, role: str, step: int, count: int) -> F32:
    """Return numbers from -1 to 1 on a grid of 2^-23, float32 (count,)."""
    bits = drawn(run, episode, role, step, count) >> np.uint64(40)
    return (bits.astype(np.float64) * 2.0**-23 - 1.0).astype(np.float32)


@dataclass(frozen=True)
class Begin:
    """Where an imagined episode begins.

    Attributes:
        episode: place of the recorded episode in its dataset.
        row: the first of its rows that the model is shown.
    """

    episode: int
    row: int


class Starts:
    """Draws where imagined episodes begin: any place where enough rows are recorded.

    Args:
        source: the recorded episodes.
        context: rows that the model is shown.
        more: rows after them that the policy needs: those whose actions it takes.

    Raises:
        InvalidInputError: no episode is long enough.
    """

    def __init__(self, source: Dataset, context: int, more: int) -> None:
        free = np.maximum(0, source.lengths - (context + more) + 1)
        self._ends = np.cumsum(free)
        if not self._ends[-1]:
            raise InvalidInputError(
                f"{source.name}: no episode has {context + more} rows, which a dream of this "
                f"length begins with and needs. Its longest has {int(source.lengths.max())}."
            )

    def of(self, run: str, episode: int) -> Begin:
        """Return where an episode of a run begins."""
        place = int(drawn(run, episode, "start", 0, 1)[0]) % int(self._ends[-1])
        number = int(np.searchsorted(self._ends, place, side="right"))
        return Begin(number, place - (int(self._ends[number - 1]) if number else 0))


def actions(policy: str, run: str, episode: int, steps: int, recorded: Any, size: int) -> F32:
    """Return what an imagined episode does, float32 (steps, size).

    Args:
        policy: `random`, uniform from -1 to 1; `noise`, uniform noise that changes slowly; `noop`,
            zeros; `recorded`, what was recorded.
        run: id of the run.
        episode: number of the episode.
        steps: how many.
        recorded: what was done at the rows after those that the model is shown.
        size: numbers of an action.
    """
    if policy == "noop":
        return np.zeros((steps, size), np.float32)
    if policy == "recorded":
        return np.array(recorded, np.float32)
    if policy not in POLICIES:
        raise UnknownNameError("policy of dreams", policy, POLICIES)
    draws = np.array([uniform(run, episode, "act", n, size) for n in range(steps)], np.float32)
    if policy == "random":
        return draws
    found, here = np.empty_like(draws), np.zeros(size, np.float32)
    for step, draw in enumerate(draws):
        here = np.clip(np.float32(_KEPT) * here + np.float32(1 - _KEPT) * 3 * draw, -1, 1)
        found[step] = here = here.astype(np.float32)
    return found
