"""A picture of what credits are worth: figures against credits, an arm a line."""

from sandbox.report import lines_picture
from sandbox.report.lines_picture import Line, Panel
from sandbox.valuation.found import Worth

_TITLES = {
    "error": "open-loop error",
    "gain": "better than copying",
    "success": "share of goals reached",
}


def png(found: Worth) -> bytes:
    """Return a PNG: a row for each world, a panel for each figure, with intervals of 95 %."""
    rows = dict[str, dict[str, dict[str, list[tuple[float, float, float]]]]]()
    for group in found.groups():
        lines = rows.setdefault(group.world, {}).setdefault(group.figure, {})
        for arm, values in group.values.items():
            point = (group.credits, sum(values) / len(values), group.half(arm))
            lines.setdefault(arm, []).append(point)
    copied = {one.world: one.copied for one in found.cells}
    return lines_picture.png(
        [
            [
                Panel(
                    f"{world}: {_TITLES[figure]}",
                    "credits of data",
                    [Line(*one) for one in lines.items()],
                    {"error": copied[world], "gain": 0.0}.get(figure),
                )
                for figure, lines in panels.items()
            ]
            for world, panels in rows.items()
        ]
    )
