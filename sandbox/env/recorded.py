"""Who knows recorded episodes, so that an environment can start in a state of one."""

from collections.abc import Mapping
from typing import Any, Protocol

Row = Mapping[str, Any]


class Recordings(Protocol):
    """Finds the episodes of rows, and begins in them; `sandbox.goals.Recorded` gives one.

    A row has the values of a dataset's columns; the names of a goal's columns begin with `goal_`.
    """

    def start(self, row: Row) -> None:
        """Put the environment at a recorded row."""
        ...

    def seek(self, row: Row) -> None:
        """Make the state of a recorded row the goal of the episode under way."""
        ...

    def options(self, init_row: Row, goal_row: Row) -> dict[str, Any]:
        """Return the options of the reset that begins at one row and seeks another."""
        ...
