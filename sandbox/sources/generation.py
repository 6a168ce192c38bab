"""Episodes generated from a recipe, and what they cost."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sandbox import prices
from sandbox.prices import PriceSchedule, plus
from sandbox.run.bill import Quote
from sandbox.run.recipe import Recipe
from sandbox.scenario import Scenario
from sandbox.sources.generator import Generator


class Generation:
    """New episodes of a recipe, each made by the world whose turn it is.

    Args:
        recipe: what to generate.
        scenarios: the scenario of each world as it was recorded; None reads the scenarios' files.
        trust_code: see `Generator`.

    Attributes:
        makers: the generator of each world.
        origin: what the bytes of the episodes depend on.
    """

    def __init__(
        self,
        recipe: Recipe,
        scenarios: Sequence[Scenario] | None = None,
        trust_code: bool = True,
    ) -> None:
        self._recipe, worlds = recipe, recipe.worlds
        recorded = [None] * len(worlds) if scenarios is None else scenarios
        self.makers = [
            Generator(world, scenario, trust_code, recipe)
            for world, scenario in zip(worlds, recorded, strict=True)
        ]
        parts = tuple(maker.origin for maker in self.makers) if recipe.parts else ()
        self.origin = replace(self.makers[0].origin, recipe=recipe, parts=parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return Generation, (self._recipe,)

    def quote(self, done: int, schedule: PriceSchedule) -> Quote:
        """Return what the episodes after the first `done` cost at most."""
        works = [maker.longest(schedule) for maker in self.makers]
        longest = max(works, key=schedule.cost)
        exact = all(maker.env.fixed_length for maker in self.makers)
        if self._recipe.credits is not None:
            limit = prices.micro(self._recipe.credits)
            sure = plus({}, longest, limit // max(1, schedule.cost(longest)))
            exact = exact and len(works) == 1
            amount = schedule.cost(sure) if exact else limit
            return Quote(sure, amount, exact, longest, schedule.version)
        quantities: dict[str, int] = schedule.no_work()
        for part, work in enumerate(works):
            quantities = plus(quantities, work, self._count(part) - self._count(part, done))
        return Quote(quantities, schedule.cost(quantities), exact, longest, schedule.version)

    def _count(self, part: int, until: int | None = None) -> int:
        """Return how many of the first episodes a part has; of all of them by default."""
        total = self._recipe.episodes
        until = total if until is None else min(until, total)  # An extended run has more.
        order = self._recipe.order
        return until if order is None else order.count(part, until)

    def warm_up(self) -> None:
        """Compile the renderer, once on a machine."""
        self.makers[0].warm_up()

    def close(self) -> None:
        """Release the simulators; an episode that was not kept is not charged."""
        for maker in self.makers:
            maker.close()
