"""Which columns are observations, which hold for a whole episode, and how steps lie in rows.

Row t of ours holds observation t, the action taken *at* it, and the reward, the flags and the
charge received *on arriving at* it. A step of other formats, from observation t to t + 1, so has
action[t] and reward[t + 1].
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.errors import InvalidInputError
from sandbox.exports.formats import Kind
from sandbox.observation import NUMBERS, PICTURES
from sandbox.trajectory import Schema
from sandbox.trajectory.episode import CONSTANT, VARIATION

COUNTED = ("step_idx", "episode_idx")


def is_constant(name: str) -> bool:
    """Return whether a column has one value for each episode."""
    return name in CONSTANT or name.startswith(VARIATION)


def is_observed(name: str) -> bool:
    """Return whether a column is one that an environment can observe."""
    return name.partition(".")[0] in (*PICTURES, *NUMBERS)


def needless(name: str, kind: Kind, asked: bool) -> str:
    """Return why formats of steps leave out a column that is no observation; "" if they do not.

    Args:
        name: the column.
        kind: copy or view.
        asked: whether the user named the columns.
    """
    if is_constant(name):
        return "it has one value for an episode, whose attribute `sandbox` has seed and factors"
    if name in COUNTED:
        return "it follows from the place of the row"
    return "a view has it if --columns names it" if kind == "view" and not asked else ""


def observations(schema: Schema, format: str) -> list[str]:
    """Return the columns that a format takes for observations: `state` if nothing is observed.

    Raises:
        InvalidInputError: there is none.
    """
    seen = [name for name in schema.names if is_observed(name)]
    seen = seen or [name for name in schema.names if name == "state"]
    if not seen:
        raise InvalidInputError(
            f"{format} needs an observation, and of the columns {', '.join(schema.names)} none is "
            f"one: name a picture, proprio or state."
        )
    return seen


def single(schema: Schema, format: str) -> str:
    """Return the one column that a format of one observation takes: pictures first.

    Raises:
        InvalidInputError: there is none.
    """
    seen = observations(schema, format)
    return next((name for name in ("pixels", "proprio") if name in seen), seen[0])


def acted(action: NDArray[Any]) -> NDArray[Any]:
    """Return actions with 0 where none is taken: on an episode's last row."""
    return np.nan_to_num(action, nan=0.0) if action.dtype.kind == "f" else action


def needed(schema: Schema, names: Sequence[str], format: str) -> None:
    """Refuse columns that lack one without which a format cannot be written.

    Raises:
        InvalidInputError: one is missing.
    """
    missing = [name for name in names if name not in schema.names]
    if missing:
        raise InvalidInputError(
            f"{format} needs the column {missing[0]}, which is not among "
            f"{', '.join(schema.names)}; name it, too."
        )
