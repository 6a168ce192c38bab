"""Drawings of curves over horizons."""

import html
import math
from collections.abc import Mapping, Sequence

from sandbox import pages
from sandbox.evaluation.imagining import COPY, KEPT, MODEL, RIDGE, SHUFFLED, SPREAD, VELOCITY, ZEROS

COLOURS = {
    MODEL: "#1f5fa8",
    SHUFFLED: "#d1702e",
    ZEROS: "#e0a93b",
    COPY: "#333333",
    VELOCITY: "#999999",
    RIDGE: "#3c9164",
    KEPT: "#a06bb5",
    SPREAD: "#b03060",
}
WIDTH, HEIGHT = 456, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 144, 26, 24  # The longest name fits at the right.
_NEAR = 13.0  # Between names at the right.


def drawn(title: str, horizons: Sequence[int], every: Mapping[str, Sequence[float | None]]) -> str:
    """Return a drawing of curves, SVG; horizons have a logarithmic scale.

    Args:
        title: what the curves are, with their unit.
        horizons: the horizons.
        every: by who predicts: a value at each horizon; None leaves a gap.
    """
    known = [one for curve in every.values() for one in curve if one is not None]
    if not known:
        return ""
    low, high, step = _scale(min(known), max(known))
    inner = WIDTH - _LEFT - _RIGHT
    first, last = math.log2(horizons[0]), math.log2(horizons[-1])

    def x(horizon: int) -> float:
        return _LEFT + inner * (math.log2(horizon) - first) / ((last - first) or 1.0)

    def y(value: float) -> float:
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low)

    parts = [f'<text x="0" y="14" fill="#222" font-weight="600">{html.escape(title)}</text>']
    for n in range(round((high - low) / step) + 1):
        at = y(low + n * step)
        parts.append(f'<path d="M{_LEFT} {at:.1f}H{_LEFT + inner}" stroke="#e4e4e4" fill="none"/>')
        parts.append(pages.text(_LEFT - 6, round(at + 4, 1), f"{low + n * step:g}", "end"))
    parts += [pages.text(x(h), HEIGHT - 6, str(h), "middle") for h in horizons]
    ends = list[tuple[float, str]]()
    for who, curve in reversed([*every.items()]):  # The model is drawn last.
        points = zip(horizons, curve, strict=True)
        parts += _line(who, [(x(h), None if v is None else y(v)) for h, v in points])
        if curve[-1] is not None:
            ends.append((y(curve[-1]), who))
    for at, who in _spread(ends):
        said = html.escape(who)
        parts.append(pages.text(_LEFT + inner + 8, round(at + 4, 1), said, "start", _colour(who)))
    return pages.svg(WIDTH, HEIGHT, parts)


def _line(who: str, points: Sequence[tuple[float, float | None]]) -> list[str]:
    """Return the line and the marks of one curve."""
    pieces, pen = list[str](), "M"
    for at, height in points:
        if height is None:
            pen = "M"
            continue
        pieces.append(f"{pen}{at:.1f} {height:.1f}")
        pen = "L"
    colour, thick = _colour(who), 2.5 if who == MODEL else 1.5
    made = [f'<path d="{"".join(pieces)}" stroke="{colour}" stroke-width="{thick}" fill="none"/>']
    return made + [
        f'<circle cx="{at:.1f}" cy="{height:.1f}" r="{thick + 0.5}" fill="{colour}"/>'
        for at, height in points
        if height is not None
    ]


def _colour(who: str) -> str:
    return COLOURS.get(who, "#777777")


def _spread(ends: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Return names at the right, moved so that none lies on another."""
    found = sorted(ends)
    heights = [at for at, _ in found]
    for n in range(1, len(heights)):
        heights[n] = max(heights[n], heights[n - 1] + _NEAR)
    below = HEIGHT - _BOTTOM
    for n in reversed(range(len(heights))):
        heights[n] = min(heights[n], below - _NEAR * (len(heights) - 1 - n))
    return [(at, who) for at, (_, who) in zip(heights, found, strict=True)]


def _scale(least: float, most: float) -> tuple[float, float, float]:
    """Return the ends of a scale and the step of its marks: 1, 2 or 5 times a power of ten."""
    rough = max(most - least, 1e-6) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(one * power for one in (1, 2, 5, 10) if one * power >= rough * 0.999)
    return math.floor(least / step) * step, math.ceil(most / step) * step, step
