"""Pictures of windows: what happened, what the model imagines, and how far they are apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sandbox import pages
from sandbox.evaluation.imagining import MODEL, PIXELS, Asked, imagine
from sandbox.evaluation.measuring import Measured
from sandbox.evaluation.windows import Windows
from sandbox.models.protocol import WorldModel
from sandbox.pages import Picture
from sandbox.training.trainer import seed

EACH = 3  # Of the best, the median and the worst windows.
_SIDE, _WIDTH = 96, 928  # Pixels: of a picture's side on a page, about; and of the page.
_FEWEST = 0.002  # Share of pixels that move in a window that is shown.
_STRENGTH = 2.0  # By how much errors are darker than they are.


@dataclass(frozen=True)
class Shown:
    """A window and its pictures, each row truth, dream and error.

    Attributes:
        kind: best, median or worst.
        episode, row: where it is.
        error: root mean square of the error on moving pixels, from 0 to 1.
        strip: the last row seen and the horizons, side by side.
        film: a picture of truth, dream and error side by side for each row.
    """

    kind: str
    episode: int
    row: int
    error: float
    strip: Picture
    film: Sequence[Picture]


def shown(model: WorldModel, measured: Measured, place: int, chance: int) -> list[Shown]:
    """Return some windows with their pictures: the best, the median and the worst.

    Args:
        model: the model.
        measured: its predictions.
        place: of the horizon by whose error they are ranked.
        chance: seed of what the model draws.
    """
    sums = measured.found.sums.get(MODEL)
    if sums is None:
        return []
    moving, error = (sums.parts[name][:, place] for name in ("moving", "moving_error"))
    pixels = float(np.prod(measured.held_out.shapes[PIXELS][1:]))
    many = np.flatnonzero(moving >= max(1.0, _FEWEST * pixels))
    if not len(many):
        return []
    each = error[many] / moving[many]
    order = many[np.argsort(each, kind="stable")]
    chosen = _chosen(len(order))
    kinds, places = zip(*((kind, int(order[n])) for kind, n in chosen), strict=True)
    numbers = np.array(places, np.int64)
    windows = measured.windows
    some = Windows(windows.dataset, windows.length, windows.episode[numbers], windows.row[numbers])
    found = list[Shown]()
    for n, (true, dream) in enumerate(_rolled(model, some, measured.asked, chance)):
        number = places[n]
        root = float(np.sqrt(error[number] / moving[number]))
        strip, film = _drawn(true, dream, measured.asked.horizons)
        at = int(windows.episode[number]), int(windows.row[number])
        found.append(Shown(kinds[n], *at, root, strip, film))
    return found


def _chosen(count: int) -> list[tuple[str, int]]:
    """Return places among ranked windows: of the best, the median and the worst; none twice."""
    middle = max(0, (count - EACH) // 2)
    wanted = [("best", n) for n in range(EACH)]
    wanted += [("median", middle + n) for n in range(EACH)]
    wanted += [("worst", count - EACH + n) for n in range(EACH)]
    known = dict[int, str]()
    for kind, place in wanted:
        if 0 <= place < count:
            known.setdefault(place, kind)
    return [(kind, place) for place, kind in sorted(known.items())]


def _rolled(
    model: WorldModel, windows: Windows, asked: Asked, chance: int
) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return true and imagined pictures of each window from the last row seen on, uint8."""
    every = Asked(asked.context, tuple(range(1, asked.horizons[-1] + 1)), (), True)
    columns = tuple(dict.fromkeys((*model.needs, "action", PIXELS)))
    found = list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]()
    with torch.no_grad():
        for number, rows in enumerate(windows.batches(columns)):
            seed(chance, number)
            actions = rows["action"][:, asked.context - 1 : -1]
            dreams = [one[PIXELS] for one in imagine(model, rows, actions, every)]
            truth = rows[PIXELS][:, asked.context - 1 :]
            dream = torch.stack(dreams, 1).clamp(0, 1) * 255
            both = _last(truth), _last(dream.round().to(torch.uint8))
            found += list(zip(*both, strict=True))
    return found


def _last(pictures: Tensor) -> NDArray[np.uint8]:
    """Return pictures with their channels last."""
    return pictures.movedim(-3, -1).contiguous().numpy()


def _drawn(
    true: NDArray[np.uint8], dream: NDArray[np.uint8], horizons: Sequence[int]
) -> tuple[Picture, list[Picture]]:
    """Return a strip and a film of a window, from pictures (rows, H, W, 3)."""
    places = [0, *horizons]
    room = (_WIDTH - pages.GAP * (len(places) + 1)) // (len(places) * true.shape[2])
    larger = max(1, min(room, -(-_SIDE // min(true.shape[1:3]))))
    apart = np.abs(true.astype(np.int16) - dream.astype(np.int16)).max(-1, keepdims=True)
    dark = 255 - np.minimum(255, _STRENGTH * apart)
    error = np.repeat(dark, 3, axis=-1).astype(np.uint8)
    film = [pages.beside([one[n] for one in (true, dream, error)]) for n in range(len(true))]
    strip = pages.sheet(
        pages.beside(
            [one[n].repeat(larger, axis=0).repeat(larger, axis=1) for n in places], apart=(0,)
        )
        for one in (true, dream, error)
    )
    return strip, film
