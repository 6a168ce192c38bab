"""Planners by name, with options such as people write in YAML."""

from collections.abc import Mapping
from typing import Any

from sandbox.arguments import checked
from sandbox.errors import UnknownNameError
from sandbox.planning.cross_entropy import CEM, ICEM
from sandbox.planning.mppi import MPPI
from sandbox.planning.settings import Settings, hints

PLANNERS: Mapping[str, type[Settings]] = {kind.name: kind for kind in (CEM, ICEM, MPPI)}


@checked
def planner(
    name: str, options: Mapping[Any, Any] | None = None, preset: str | None = None
) -> Settings:
    """Return the settings of a planner.

    Args:
        name: one of PLANNERS.
        options: settings that differ from the preset's.
        preset: "published", which are the defaults, or "cheap".

    Raises:
        UnknownNameError: there is no such planner, preset or option.
        InvalidInputError: an option of another type, out of its range, or against another.
    """
    if name not in PLANNERS:
        raise UnknownNameError("planner", name, PLANNERS)
    kind = PLANNERS[name]
    if preset is not None and preset not in kind.presets:
        raise UnknownNameError("preset", preset, kind.presets, where=name)
    for key in options or {}:
        if key not in hints(kind):
            raise UnknownNameError("option", key, hints(kind), where=name)
    return kind(**{**kind.presets[preset or "published"], **(options or {})})
