"""Draw what a run covers: visited places, what moved, actions, and returns by policy."""

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sandbox import durable, files, outputs
from sandbox.errors import InvalidInputError, line
from sandbox.report.coverage import BINS, Coverage, Part

MOST_PARTS = 24  # That are drawn, a row each; a picture has 65,536 pixels along a side at most.
BODIES_ALONE, BODIES = 4, 3  # Whose places are drawn: of the only part, and of one of several.
_BARS = 20  # Bodies and joints, or policies, that are drawn.
_OTHERS = 3  # Axes beside those of the bodies.
_SLOTS = 4  # Bars that would have room, at least.
_NARROW = 4  # Places of another shape are not drawn to scale.
_DPI = 110


def ending(path: Path) -> str:
    """Return the kind of picture that a path asks for by its ending; InvalidInputError if none."""
    from matplotlib.backend_bases import FigureCanvasBase

    known = sorted(FigureCanvasBase.get_supported_filetypes())
    kind = path.suffix.removeprefix(".").lower()
    if kind not in known:
        raise InvalidInputError(
            f"{path}: a picture cannot end in {path.suffix!r}; use one of {', '.join(known)}."
        )
    return kind


def draw(found: Coverage, path: str | Path) -> None:
    """Draw a coverage, see `picture`.

    Raises:
        InvalidInputError: the path has no ending of a picture, or is no place for one.
        SandboxError: it cannot be written.
    """
    path = files.place(path)
    outputs.check(path, "coverage")
    durable.replace(path, picture(found, ending(path)))


def picture(found: Coverage, kind: str) -> bytes:
    """Return the bytes of a picture of a coverage, of a kind from `ending`.

    Each of several parts has a row; of more than MOST_PARTS the first are drawn.
    """
    figure = _alone(found.parts[0]) if len(found.parts) == 1 else _several(found)
    made = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # A name in a script of its own.
        figure.savefig(made, format=kind, dpi=_DPI)
    return made.getvalue()


def _alone(part: Part) -> Any:
    """Return the figure of the only part, in two rows."""
    bodies = min(BODIES_ALONE, len(part.places))
    columns = max(2, math.ceil((bodies + _OTHERS) / 2))
    figure = _figure(4.2 * columns, 7.2)
    figure.suptitle(_label(part.title, 120), fontsize=12)
    axes = list(figure.subplots(2, columns).flat)
    _fill(part, axes[:bodies], axes[bodies:])
    return figure


def _several(found: Coverage) -> Any:
    """Return the figure of several parts, a row for each."""
    drawn, count = found.parts[:MOST_PARTS], len(found.parts)
    left = f", of which {len(drawn)} are drawn" if len(drawn) < count else ""
    bodies = min(BODIES, max(len(one.places) for one in drawn))
    columns = bodies + _OTHERS
    figure = _figure(3.4 * columns, 3.5 * len(drawn) + 0.5)
    figure.suptitle(
        f"{count} parts{left}: {found.episodes:,} episodes, {found.rows:,} rows", fontsize=13
    )
    rows = figure.subfigures(len(drawn), 1)
    for part, row in zip(drawn, rows, strict=True):
        row.suptitle(_label(part.title, 120), fontsize=12, x=0.005, ha="left")
        axes = list(row.subplots(1, columns).flat)
        _fill(part, axes[_OTHERS:], axes[:_OTHERS])
    return figure


def _figure(width: float, height: float) -> Any:
    """Return an empty figure of a size [inches]."""
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(width, height))
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.08)
    return figure


def _fill(part: Part, places: list[Any], others: list[Any]) -> None:
    """Draw a part into axes; those that it does not need are hidden."""
    bodies = sorted(part.places, key=lambda name: -part.occupancy[name])[: len(places)]
    for name, axis in zip(bodies, places, strict=False):
        _draw_places(axis, part, name)
    _draw_moved(others[0], part)
    _draw_actions(others[1], part)
    _draw_returns(others[2], part)
    for axis in (*places[len(bodies) :], *others[_OTHERS:]):
        axis.set_visible(False)


def _draw_places(axis: Any, part: Part, body: str) -> None:
    counts = np.array(part.places[body]).T
    left, right, bottom, top = part.bounds
    narrow = not 1 / _NARROW < (top - bottom) / (right - left) < _NARROW
    how: dict[str, Any] = {"aspect": "auto" if narrow else "equal", "cmap": "viridis"}
    axis.imshow(np.log1p(counts), origin="lower", extent=part.bounds, **how)
    axis.set(title=f"{_label(body)}: {part.occupancy[body]:.0%} of the cells")
    axis.set(xlabel=f"{part.axes[0]} [m]", ylabel=f"{part.axes[1]} [m]")
    axis.ticklabel_format(useOffset=False, style="plain")


def _draw_moved(axis: Any, part: Part) -> None:
    names = list(part.moved)[:_BARS]
    told = [_label(name) for name in names]
    _draw_bars(axis, told, [part.moved[name] for name in names], "#4a7fb5")
    axis.set(title="moved, share of episodes", xlim=(0, 1))


def _draw_actions(axis: Any, part: Part) -> None:
    middles = (np.arange(BINS) + 0.5) * 2 / BINS - 1
    for n, counts in enumerate(part.actions):
        axis.plot(middles, np.array(counts) / max(1, sum(counts)), label=f"action {n}")
    axis.set(title="actions", xlabel="value", ylabel="share", ylim=(0, None))
    if 0 < len(part.actions) <= 8:
        axis.legend(fontsize=7, ncols=1 if len(part.actions) < 4 else 2, framealpha=0.5)


def _draw_returns(axis: Any, part: Part) -> None:
    known = part.policies[:_BARS]
    told = [f"{_label(str(p['policy']))}: {p['success']:.0%}" for p in known]
    _draw_bars(axis, told, [p["mean_return"] for p in known], "#c97b3d")
    axis.set(title="success of each policy, mean return")
    axis.axvline(0.0, color="black", linewidth=0.8)


def _draw_bars(axis: Any, names: Sequence[str], values: Sequence[float], color: str) -> None:
    """Draw horizontal bars, the first on top; a single one is not as high as all."""
    axis.barh(range(len(values)), values, height=0.7, color=color)
    axis.set_yticks(range(len(values)), names, fontsize=8)
    axis.set_ylim(max(len(values), _SLOTS) - 0.5, -0.5)


def _label(text: str, most: int = 40) -> str:
    """Return a text of a stranger's as a short label, in which $ begins no mathematics."""
    return line(text[:most]).replace("$", r"\$")
