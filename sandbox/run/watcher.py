"""Whoever watches a run being made: a progress bar, a log, nobody."""

from contextlib import AbstractContextManager, nullcontext

from sandbox.run.bill import Bill, Quote
from sandbox.run.recipe import Recipe
from sandbox.run.record import Record


class Watcher:
    """Is told what a run does, in this order. This one ignores it; override what you need."""

    def quoted(self, recipe: Recipe, quote: Quote, done: int) -> None:
        """Note what the missing episodes will cost; `done` episodes are kept already."""

    def compiling(self) -> AbstractContextManager[object]:
        """Return a context in which the renderer is compiled, once on a machine (20 s)."""
        return nullcontext()

    def kept(self, record: Record, bill: Bill) -> None:
        """Note that an episode is kept and charged; the bill counts all that are."""
