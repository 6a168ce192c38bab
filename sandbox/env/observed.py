"""What an environment observes: the names of its columns, and their space."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gymnasium import spaces

from sandbox import observation as modality
from sandbox.env.pictures import Pictures

if TYPE_CHECKING:
    from sandbox.env.loop import SandboxEnv


def columns(modalities: Sequence[str], pictures: Pictures) -> tuple[str, ...]:
    """Return the names of the columns of some modalities, in order: pictures by camera."""
    drawn = pictures.columns
    return tuple(
        column
        for name in modalities
        for column in (
            [name] if name in modality.NUMBERS else [c for c in drawn if drawn[c][1] == name]
        )
    )


def space(env: "SandboxEnv") -> spaces.Dict:
    """Return the space of each column that an environment observes."""
    drawn, size = env.pictures.columns, env.pictures.size
    every: dict[str, spaces.Space[Any]] = {
        column: modality.space(
            drawn[column][1] if column in drawn else column, size, env.elements_of(column)
        )
        for column in env.columns
    }
    return spaces.Dict(every)
