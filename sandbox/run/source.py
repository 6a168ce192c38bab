"""Where a run's episodes come from: what a source must offer. Knows no simulator."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sandbox.ledger import Lease
from sandbox.prices import PriceSchedule
from sandbox.run.bill import Quote
from sandbox.run.recipe import Recipe
from sandbox.run.record import Record
from sandbox.scenario import Scenario
from sandbox.trajectory import EpisodeBuffer, Schema


@dataclass(frozen=True)
class Origin:
    """What the bytes of a source's episodes depend on.

    Attributes:
        recipe: what is generated.
        scenario: what the recipe's scenario says, with what it extends.
        engine: determinism class of the simulation, and its parts.
        renderer: name and determinism class of the renderer; None if nothing is drawn.
        code: SHA-256 of the environment's source text.
        parent: id of the run that is rendered again; None for other sources.
        plan: which episodes are branched off and how, plain JSON; None for other sources.
    """

    recipe: Recipe
    scenario: Scenario
    engine: Mapping[str, str]
    renderer: Mapping[str, str] | None
    code: str
    parent: str | None = None
    plan: Mapping[str, Any] | None = None


class Source(Protocol):
    """Makes the episodes of one run, by number. Can be pickled, for worker processes."""

    @property
    def origin(self) -> Origin:
        """What the bytes of the episodes depend on."""
        ...

    @property
    def schema(self) -> Schema:
        """The columns of the episodes."""
        ...

    @property
    def max_rows(self) -> int:
        """Rows of the longest episode, T+1."""
        ...

    def quote(self, done: int, schedule: PriceSchedule) -> Quote:
        """Return what the episodes after the first `done` cost."""
        ...

    def pay_from(self, lease: Lease, schedule: PriceSchedule, limit: int | None = None) -> None:
        """Pay for the episodes to come from a lease.

        Args:
            lease: the credit that is held for the run.
            schedule: its prices.
            limit: most that these episodes may cost [microcredits]; None sets none.
        """
        ...

    def warm_up(self) -> None:
        """Do what must be done once on a machine before the first episode."""
        ...

    def make(self, run: str, index: int, buffer: EpisodeBuffer) -> Record:
        """Make episode `index` into a buffer and return its record.

        Raises:
            BudgetSpentError: it costs more than is left of the limit.
            BudgetExhaustedError: the lease cannot pay it. Nothing is charged in either case.
        """
        ...

    def on_kept(self) -> None:
        """Note that the episode made last is kept, and that the run posts its charge."""
        ...

    def close(self) -> None:
        """Release the simulator; an episode that was not kept is not charged."""
        ...
