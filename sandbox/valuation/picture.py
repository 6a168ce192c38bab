"""A picture of what credits are worth: figures against credits, an arm a line."""

import math
from collections.abc import Sequence

from sandbox.report import curves_picture
from sandbox.report.curves_picture import Line, Panel
from sandbox.valuation.found import Group, Worth

_TITLES = {
    "error": "open-loop error",
    "gain": "better than copying",
    "success": "share of goals reached",
}


def png(found: Worth) -> bytes:
    """Return a PNG: a row for each world, a panel for each figure, with intervals of 95 %."""
    rows = dict[str, dict[str, list[Group]]]()
    for group in found.groups():
        rows.setdefault(group.world, {}).setdefault(group.figure, []).append(group)
    copied = {one.world: one.copied for one in found.cells if not one.failed}
    return curves_picture.picture(
        "What credits of data are worth",
        [
            [
                _panel(world, figure, groups, {"error": copied.get(world), "gain": 0.0}.get(figure))
                for figure, groups in panels.items()
            ]
            for world, panels in rows.items()
        ]
        or [[Panel("no model has figures", "", "", [])]],
    )


def _panel(world: str, figure: str, groups: Sequence[Group], level: float | None) -> Panel:
    """Return the panel of a figure; `level` is that of copying the last row."""
    arms = dict.fromkeys(arm for group in groups for arm in group.values)
    lines = [_line(arm, number, groups) for number, arm in enumerate(arms)]
    if level is not None:
        ends = [min(one.credits for one in groups), max(one.credits for one in groups)]
        lines.append(Line("copying", ends, [level, level], dashed=True, colour=None))
    return Panel(world, "credits of data", _TITLES[figure], lines, log_x=True)


def _line(arm: str, number: int, groups: Sequence[Group]) -> Line:
    """Return the line of an arm, with intervals if there are several seeds."""
    mine = [one for one in groups if arm in one.values]
    x = [one.credits for one in mine]
    y = [sum(one.values[arm]) / len(one.values[arm]) for one in mine]
    half = [one.half(arm) for one in mine]
    if any(map(math.isnan, half)):
        return Line(arm, x, y, colour=number)
    low, high = ([v + sign * h for v, h in zip(y, half, strict=True)] for sign in (-1, 1))
    return Line(arm, x, y, low, high, colour=number)
