"""A picture of lines with intervals, in panels."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_APART = 1.02  # By how much the points of a line are to the right of those of the line before.
_MARKS = "osD^vP*Xd<>p"


@dataclass(frozen=True)
class Line:
    """A line of a panel.

    Attributes:
        name: in the legend.
        points: x, y, and half the interval of y; NaN where there is none.
    """

    name: str
    points: Sequence[tuple[float, float, float]]


@dataclass(frozen=True)
class Panel:
    """A panel, whose x is logarithmic.

    Attributes:
        title, x: words.
        lines: in the order of the legend.
        level: y of copying the last row, drawn dashed; None draws nothing.
    """

    title: str
    x: str
    lines: Sequence[Line]
    level: float | None = None


def png(rows: Sequence[Sequence[Panel]]) -> bytes:
    """Return a PNG of rows of panels."""
    from matplotlib.figure import Figure

    columns = max(len(row) for row in rows)
    figure: Any = Figure(figsize=(5.2 * columns + 2.2, 4.2 * len(rows)))
    figure.set_layout_engine("constrained")
    places = figure.subplots(len(rows), columns, squeeze=False)
    for row, axes in zip(rows, places, strict=True):
        for panel, axis in zip(row, axes, strict=False):
            _draw(axis, panel)
        for axis in axes[len(row) :]:
            axis.set_visible(False)
        axes[len(row) - 1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=8)
    made = io.BytesIO()
    figure.savefig(made, format="png", dpi=110)
    return made.getvalue()


def _draw(axis: Any, panel: Panel) -> None:
    middle = (len(panel.lines) - 1) / 2
    for n, line in enumerate(panel.lines):
        shift = _APART ** (n - middle)
        x, y, half = zip(*((x * shift, y, h) for x, y, h in line.points), strict=True)
        bars = [0.0 if math.isnan(one) else one for one in half]
        how: dict[str, Any] = {"marker": _MARKS[n % len(_MARKS)], "markersize": 4, "capsize": 2}
        color = f"C{n % 10}" if n < 10 else "black"
        axis.errorbar(
            x, y, bars, label=line.name.replace("$", r"\$"), color=color, linewidth=1, **how
        )
    if panel.level is not None:
        axis.axhline(panel.level, color="grey", linestyle="--", linewidth=1, label="copying")
    axis.set_xscale("log")
    ticks = sorted({x for line in panel.lines for x, _, _ in line.points})
    axis.set_xticks(ticks, [f"{one:,.12g}" for one in ticks])
    axis.minorticks_off()
    axis.set(title=panel.title, xlabel=panel.x)
    axis.grid(alpha=0.3)
