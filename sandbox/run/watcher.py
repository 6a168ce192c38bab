"""Whoever watches a run being made: a progress bar, a log, nobody."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from sandbox.run.bill import Bill, Quote
from sandbox.run.recipe import Recipe
from sandbox.run.record import Record

WAITS, ENDED = "waits", "has ended"  # What a worker does that has nothing to do.


class Watcher:
    """Is told what a run does, in this order. This one ignores it; override what you need."""

    def quoted(self, recipe: Recipe, quote: Quote, done: int) -> None:
        """Note what the missing episodes will cost; `done` episodes are kept already."""

    def begins(self, folder: Path) -> None:
        """Note in which folder the run will be, which need not exist yet."""

    def compiling(self) -> AbstractContextManager[object]:
        """Return a context in which the renderer is compiled, once on a machine (20 s)."""
        return nullcontext()

    def sharing(self, states: Callable[[], Sequence[str]]) -> None:
        """Note that several processes make the run; `states` says what each of them does now."""

    def kept(self, record: Record, bill: Bill) -> None:
        """Note that an episode is kept and charged; the bill counts all that are."""
