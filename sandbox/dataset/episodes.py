"""What a reader of episodes needs of a dataset, so that it need not know how one is opened."""

from collections.abc import Sequence
from typing import Protocol

from sandbox.dataset.facts import Facts
from sandbox.trajectory import Rows, Schema


class Episodes(Protocol):
    """Episodes whose columns can be read: a Dataset."""

    @property
    def facts(self) -> Facts:
        """What is known of each."""
        ...

    @property
    def schema(self) -> Schema:
        """The columns of all."""
        ...

    def rows(self, number: int, columns: Sequence[str] | None = None) -> Rows:
        """Return columns of an episode, each (T+1, ...)."""
        ...
