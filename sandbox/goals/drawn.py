"""Pictures of pairs: the start, the goal, and what happened between."""

import base64
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sandbox import prices
from sandbox.goals.pair import F32, Pair
from sandbox.goals.sets import GoalSet
from sandbox.goals.stage import Stage

Picture = NDArray[np.uint8]
BETWEEN = 6  # Pictures between start and end.
_GAP, _WHITE = 4, 255


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
        return _beside([known[0], known[-1], *(frames[n] for n in places)])


def sheet(strips: Iterable[Picture]) -> Picture:
    """Return strips below each other."""
    made = list[Picture]()
    for strip in strips:
        made += [strip, np.full((_GAP, *strip.shape[1:]), _WHITE, np.uint8)]
    return np.concatenate(made[:-1])


def png(picture: Picture) -> bytes:
    """Return a picture as a PNG file."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", optimize=True)
    return out.getvalue()


def embedded(picture: Picture) -> str:
    """Return a picture as the address that a page has it by, in the page itself."""
    return f"data:image/png;base64,{base64.b64encode(png(picture)).decode()}"


def _beside(pictures: Sequence[Any]) -> Picture:
    gap = np.full((pictures[0].shape[0], _GAP, 3), _WHITE, np.uint8)
    made = list[Any]()
    for n, picture in enumerate(pictures):
        made += [picture, gap, *([gap, gap] if n == 1 else [])]  # The goal stands apart.
    return np.concatenate(made[:-1], axis=1)
