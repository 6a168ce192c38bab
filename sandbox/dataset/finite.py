"""Columns that a model reads: every number must be finite."""

from collections.abc import Iterable

import numpy as np

from sandbox.dataset.episodes import Episodes
from sandbox.errors import InvalidInputError
from sandbox.trajectory import Rows


def fault(rows: Rows) -> str:
    """Return the first column and row that are not finite, in words, or "".

    The last row of `action` is none of an episode's, and does not count.
    """
    for name, column in rows.items():
        values = column[:-1] if name == "action" else column
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            return f"column {name!r} is not finite at row {row}"
    return ""


def check_finite(episodes: Episodes, columns: Iterable[str], name: str) -> None:
    """Refuse episodes that have NaN or infinity in a column of numbers.

    Args:
        episodes: the episodes.
        columns: the columns; those that the episodes lack do not count.
        name: what errors call the episodes.

    Raises:
        InvalidInputError: they have; it names the column, the episode and the row.
    """
    there = [one for one in episodes.schema.columns if one.name in {*columns}]
    numbers = [one.name for one in there if np.dtype(one.dtype).kind == "f"]
    for number in range(len(episodes.facts)) if numbers else ():
        if found := fault(episodes.rows(number, numbers)):
            raise InvalidInputError(
                f"{name}: episode {_named(episodes, number)}: {found}, and the model reads it. "
                "Nothing was done. "
                "Leave such episodes out (`sandbox subset`); `sandbox doctor` lists them."
            )


def _named(episodes: Episodes, number: int) -> str:
    """Return which episode it is: its number in its run, and the run if there are several."""
    facts = episodes.facts
    code, place = facts.columns["run"][number], int(facts.columns["episode"][number])
    return (
        f"{place} of run {facts.names['run'][code][:8]}"
        if len(facts.texts("run")) > 1
        else str(place)
    )
