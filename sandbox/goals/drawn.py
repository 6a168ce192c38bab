"""Pictures of pairs: the start, the goal, and what happened between."""

from collections.abc import Sequence

import numpy as np

from sandbox import prices
from sandbox.goals.pair import F32, Pair
from sandbox.goals.sets import GoalSet
from sandbox.goals.stage import Stage
from sandbox.pages import Picture, beside
from sandbox.pages import png as png
from sandbox.pages import sheet as sheet

BETWEEN = 6  # Pictures between start and end.


class Camera:
    """Photographs pairs. Used as a context; nobody pays for it.

    Args:
        goals: the set.
        size: pixels of a side.
        trust_code: see `Stage`.
    """

    def __init__(self, goals: GoalSet, size: int = 96, *, trust_code: bool = False) -> None:
        schedule = prices.current()
        self._stage = Stage(goals, schedule, ("pixels",), size, trust_code=trust_code)

    def __enter__(self) -> "Camera":
        return self

    def __exit__(self, *_: object) -> None:
        self._stage.close()

    def frames(self, pair: Pair, actions: Sequence[F32]) -> list[Picture]:
        """Return the pictures of a pair's start and of each row after an action."""
        made = [self._stage.begin(pair)[0]]
        for action in actions:
            if self._stage.env.episode.over:
                break
            made.append(self._stage.env.step(action)[0])
        return made

    def strip(self, pair: Pair, actions: Sequence[F32] | None = None) -> Picture:
        """Return start, goal, and what happened, side by side: uint8 (H, W, 3).

        Args:
            pair: the pair.
            actions: what was done; None is the known solution.
        """
        known = self.frames(pair, pair.known)
        frames = known if actions is None else self.frames(pair, actions)
        places = np.linspace(0, len(frames) - 1, BETWEEN + 1).round().astype(int)[1:]
        return beside([known[0], known[-1], *(frames[n] for n in places)], apart=(1,))
