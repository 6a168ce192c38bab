"""Draw panels of curves with their intervals, as one picture."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.errors import line as one_line

_WIDTH, _HEIGHT, _DPI = 4.6, 3.6, 110  # Of a panel [inches], and dots an inch.
_BESIDE = 1.5  # Width of a legend beside the panels [inches].
_LEGEND = 12  # Lines that a legend has, at most, and
_INSIDE = 5  # that a legend inside a panel has, where it hides no curve.


@dataclass(frozen=True)
class Line:
    """A curve.

    Attributes:
        label: its name.
        x, y: its points.
        low, high: its interval at each point; None draws none.
        dashed: whether it is dashed.
        colour: number of its colour; None is black.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    dashed: bool = False
    colour: int | None = 0


@dataclass(frozen=True)
class Panel:
    """Axes with some curves.

    Attributes:
        title: what they show.
        x, y: what the axes are, with units.
        lines: the curves.
        log_x, log_y: whether an axis is logarithmic; x has a mark at each point then.
        share: whether y is from 0 to 1.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    log_x: bool = False
    log_y: bool = False
    share: bool = False


def picture(title: str, rows: Sequence[Sequence[Panel]], kind: str = "png") -> bytes:
    """Return the bytes of a picture of rows of panels."""
    from matplotlib.figure import Figure

    columns = max(map(len, rows))
    every = [panel for panels in rows for panel in panels]
    beside = any(_INSIDE < len(panel.lines) <= _LEGEND for panel in every)
    width = _WIDTH * columns + (_BESIDE if beside else 0.0)
    figure: Any = Figure((width, _HEIGHT * len(rows)), layout="constrained")
    figure.suptitle(_label(title), fontsize=11)
    for axes, panels in zip(figure.subplots(len(rows), columns, squeeze=False), rows, strict=True):
        for axis, panel in zip(axes, panels, strict=False):
            _draw(axis, panel)
            if not beside and 0 < len(panel.lines) <= _LEGEND:
                axis.legend(fontsize=7)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
    if beside:
        named = {
            label: handle
            for axis in figure.axes
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        figure.legend(named.values(), named.keys(), loc="outside right upper", fontsize=8)
    made = io.BytesIO()
    figure.savefig(made, format=kind, dpi=_DPI, metadata={"Software": None})
    return made.getvalue()


def _draw(axis: Any, panel: Panel) -> None:
    for one in panel.lines:
        colour = "black" if one.colour is None else f"C{one.colour % 10}"
        dash = "--" if one.dashed else "-"
        axis.plot(one.x, one.y, dash, color=colour, label=_label(one.label), marker=".")
        if one.low is not None and one.high is not None:
            axis.fill_between(one.x, one.low, one.high, color=colour, alpha=0.18, linewidth=0)
    axis.set(title=panel.title, xlabel=panel.x, ylabel=panel.y)
    if panel.log_y:
        axis.set_yscale("log")
    if panel.log_x:
        axis.set_xscale("log")
        marks = sorted({x for one in panel.lines for x in one.x})
        axis.set_xticks(marks, [f"{x:g}" for x in marks], minor=False)
        axis.minorticks_off()
    else:
        axis.locator_params(axis="x", nbins=6)
    if panel.share:
        axis.set_ylim(-0.03, 1.03)
    axis.grid(alpha=0.3)


def _label(text: str) -> str:
    """Return a text as a short label, in which $ begins no mathematics."""
    return one_line(text[:60]).replace("$", r"\$")
