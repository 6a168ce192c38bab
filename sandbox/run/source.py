"""Where a run's episodes come from: what a source must offer. Knows no simulator."""

from collections.abc import Mapping, Sequence
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
        scenario: what the recipe's scenario says, with what it extends; of the first part.
        engine: determinism class of the simulation, and its parts.
        renderer: name and determinism class of the renderer; None if nothing is drawn.
        code: SHA-256 of the environment's source text; of the first part.
        parent: id of the run that is rendered again; None for other sources.
        plan: which episodes are branched off and how, plain JSON; None for other sources.
        parts: origin of each part of the recipe; none if it has none.
    """

    recipe: Recipe
    scenario: Scenario
    engine: Mapping[str, str]
    renderer: Mapping[str, str] | None
    code: str
    parent: str | None = None
    plan: Mapping[str, Any] | None = None
    parts: tuple["Origin", ...] = ()


class Maker(Protocol):
    """Makes the episodes of one world."""

    @property
    def schema(self) -> Schema:
        """The columns of the episodes."""
        ...

    @property
    def max_rows(self) -> int:
        """Rows of the longest episode, T+1."""
        ...

    def pay_from(self, lease: Lease | None, schedule: PriceSchedule) -> None:
        """Pay for the episodes to come from a lease; None counts work and charges nobody."""
        ...

    def make(self, run: str, index: int, buffer: EpisodeBuffer, limit: int | None = None) -> Record:
        """Make episode `index` into a buffer and return its record.

        Args:
            run: id of the run.
            index: number of the episode.
            buffer: takes the rows.
            limit: most that it may cost [microcredits]; None sets none.

        Raises:
            BudgetSpentError: it costs more than the limit.
            BudgetExhaustedError: the lease cannot pay it. Nothing is charged in either case.
        """
        ...

    def on_kept(self) -> None:
        """Note that the episode made last is kept, and that the run posts its charge."""
        ...


class Source(Protocol):
    """Where the episodes of one run come from. Can be pickled, for worker processes."""

    @property
    def origin(self) -> Origin:
        """What the bytes of the episodes depend on."""
        ...

    @property
    def makers(self) -> Sequence[Maker]:
        """Who makes the episodes of each part of the recipe; one if it has no parts."""
        ...

    def quote(self, done: int, schedule: PriceSchedule) -> Quote:
        """Return what the episodes after the first `done` cost."""
        ...

    def warm_up(self) -> None:
        """Do what must be done once on a machine before the first episode."""
        ...

    def close(self) -> None:
        """Release the simulator; an episode that was not kept is not charged."""
        ...
