"""A picture of what credits are worth: figures against credits, an arm a line."""

from sandbox.report import lines_picture
from sandbox.report.lines_picture import Line, Panel
from sandbox.valuation.found import Worth

_TITLES = {
    "error": "open-loop error (less is better)",
    "gain": "better than the last frame kept",
    "success": "share of goals reached",
}


def png(found: Worth) -> bytes:
    """Return a PNG: a row for each world, a panel for each figure, with intervals of 95 %."""
    panels = dict[tuple[str, str], dict[str, list[tuple[float, float, float]]]]()
    for group in found.groups():
        lines = panels.setdefault((group.world, group.figure), {})
        for arm, values in group.values.items():
            point = (group.credits, sum(values) / len(values), group.half(arm))
            lines.setdefault(arm, []).append(point)
    worlds = dict.fromkeys(world for world, _ in panels)
    return lines_picture.png(
        [
            [
                Panel(
                    f"{world}: {_TITLES[figure]}",
                    "credits of data",
                    [Line(*one) for one in lines.items()],
                )
                for (where, figure), lines in panels.items()
                if where == world
            ]
            for world in worlds
        ]
    )
