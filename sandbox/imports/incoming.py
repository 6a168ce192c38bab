"""What a dataset of another format offers, and how its steps become rows.

Row t of ours holds observation t, the action taken *at* it, and the reward and the flags received
*on arriving at* it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sandbox.errors import FormatError
from sandbox.run.importing import Arrived
from sandbox.trajectory import Column, Schema
from sandbox.trajectory.schema import DTYPES, INDEX, MOST_AXES, ROW

Array = NDArray[Any]
Arrays = dict[str, Array]
MOST_SEED = 1 << 63
COUNTED = ("step_idx", "episode_idx")
_OWN = {  # Columns that every run has, and what they mean in one that was imported.
    "reward": Column("reward", "float64", (), "received on arriving at the row", "1"),
    "terminated": Column("terminated", "bool", (), "whether the task ended at the row", "1"),
    "truncated": Column("truncated", "bool", (), "whether the episode was cut at the row", "1"),
    "charge": Column("charge", "int64", (), "0: an import charges nothing", "microcredit"),
    "step_idx": Column("step_idx", "int32", (), "place of the row in its episode", "1"),
    "episode_idx": Column("episode_idx", "int64", (), "number of the episode", "1"),
}
EXACT: Mapping[str, str] = MappingProxyType({})  # No column is lossy.
_CLAIMS = {
    "charge": "an import charges nothing",
    "run": "it would name a run that did not make these rows",
    "reset_options": "nothing can simulate these rows again",
    **dict.fromkeys(COUNTED, "it follows from the place of the row"),
    **{column.name: "that name is the file's own" for column in (*INDEX, ROW)},
}


class Incoming(Protocol):
    """A dataset of another format, opened for reading.

    Attributes:
        name: what it is called.
        files: the files that are read, by their path in the dataset.
        schema: the columns that it gives.
        columns: for each column where it is there; those that it lacks are not named.
        left_out: what is there and cannot be imported, and why.
        lossy: columns that are not exactly what was recorded, and why.
        notes: what a user should know of the columns, sentences.
        mapping: what a user said of it, plain JSON; None if nobody needs to.
        hz: rows a second; None if nothing says so.
        count: number of episodes.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def files(self) -> Mapping[str, Path]: ...  # noqa: D102
    @property
    def schema(self) -> Schema: ...  # noqa: D102
    @property
    def columns(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def left_out(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def lossy(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def notes(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def mapping(self) -> Mapping[str, Any] | None: ...  # noqa: D102
    @property
    def hz(self) -> float | None: ...  # noqa: D102
    @property
    def count(self) -> int: ...  # noqa: D102

    def episodes(self) -> Iterator[Arrived]:
        """Yield the episodes in order; FormatError if one is damaged."""
        ...

    def close(self) -> None:
        """Close the files."""
        ...


def refused(name: str, dtype: str, row: tuple[int, ...] = ()) -> str:
    """Return why a column with such a name, type and row cannot be imported, or ""."""
    if name in _CLAIMS:
        return _CLAIMS[name]
    if dtype not in DTYPES:
        return f"its type {dtype} is none of numbers"
    if 0 in row:
        return f"its rows of {row} have no values"
    if len(row) > MOST_AXES:
        return f"its rows have {len(row)} axes, of which {MOST_AXES} are possible"
    try:
        Column(name, "bool", (), "", "1")
    except FormatError:
        return "no column can have its name"
    return ""


def seed(value: int | None) -> int | None:
    """Return a seed that somebody names; None if it is none that an environment takes."""
    return value if value is not None and 0 <= value < MOST_SEED else None


def schema(source: str, found: Sequence[tuple[str, str, tuple[int, ...], str]]) -> Schema:
    """Return the schema of columns that were found, with those that every run has.

    Args:
        source: the name of the format.
        found: name, type, shape of a row and place of each.

    Raises:
        FormatError: there is no action, or a column is not as it must be.
    """
    made = {
        name: Column(name, dtype, shape, f"{place} of {source}", "unknown")
        for name, dtype, shape, place in found
    }
    for name in _OWN:
        if name in made and made[name].shape:
            raise FormatError(
                f"{source}: {name} has rows of {made[name].shape}; it must be one number a row."
            )
    if "action" not in made:
        raise FormatError(f"{source}: there are no actions, and every run has them.")
    return Schema(tuple((made | _OWN).values()))


def steps(seen: Arrays, action: Array, received: Arrays) -> Arrays:
    """Return the rows of T+1 observations and T steps.

    Args:
        seen: observations, each (T+1, ...).
        action: the actions (T, ...).
        received: what each step gave, each (T, ...).
    """
    return _finished({**seen, "action": _without_last(action, more=1), **_shifted(received, 0)})


def frames(seen: Arrays, action: Array, received: Arrays) -> Arrays:
    """Return the rows of T frames, each with an action and what this gave.

    The observation after the last action is not there, so that this action, and what it gave, is
    left out: the episode is cut at the last frame.

    Args:
        seen: observations, each (T, ...).
        action: the actions (T, ...).
        received: what the action of each frame gave, each (T, ...).
    """
    given = _shifted(received, 1)
    given["truncated"] = np.zeros(len(action), np.bool_)
    given["truncated"][-1] = not given.get("terminated", given["truncated"])[-1]
    return _finished({**seen, "action": _without_last(action, more=0), **given})


def rows(every: Arrays) -> Arrays:
    """Return rows that lie as ours do: the first has no reward, and the last no action.

    Raises:
        FormatError: the first row has a reward.
    """
    found = {**every, "action": _without_last(every["action"], more=0)}
    if "reward" in found:
        found["reward"] = found["reward"].astype(np.float64)
        if np.isnan(found["reward"][:1]).any():
            found["reward"][0] = 0
    return _finished(found)


def _finished(found: Arrays) -> Arrays:
    """Return rows with the columns that every run has, in their types."""
    count = len(found["action"])
    made = {name: np.zeros(count, column.dtype) for name, column in _OWN.items()}
    made["step_idx"] = np.arange(count, dtype=np.int32)
    made |= found
    made["reward"] = made["reward"].astype(np.float64)
    for name in ("terminated", "truncated"):
        made[name] = flags(name, made[name])
    if "truncated" not in found:  # Nothing says how it ended, but that it ended.
        made["truncated"][-1] = not made["terminated"][-1]
    del made["episode_idx"]
    return made


def flags(name: str, values: Array) -> Array:
    """Return flags as truth values; FormatError if they are no zeros and ones."""
    if values.dtype.kind == "b":
        return values
    if not np.isin(values, (0, 1)).all():
        raise FormatError(f"{name}: has other values than 0 and 1; it is no flag.")
    return values.astype(np.bool_)


def _without_last(action: Array, more: int) -> Array:
    """Return actions with an empty one at the end, after them or in place of the last."""
    empty = np.nan if action.dtype.kind == "f" else 0
    made = np.full((len(action) + more, *action.shape[1:]), empty, action.dtype)
    kept = len(made) - 1
    made[:kept] = action[:kept]
    return made


def _shifted(received: Arrays, fewer: int) -> Arrays:
    """Return what steps gave as what was received on arriving: a row later, nothing at first."""
    made: Arrays = {}
    for name, values in received.items():
        kept = values[: len(values) - fewer]
        made[name] = np.concatenate([np.zeros_like(values[:1]), kept]) if len(values) else values
    return made
