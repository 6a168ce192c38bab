"""Episodes generated from a recipe, and what they cost."""

from typing import Any

from sandbox import prices
from sandbox.env.policies import find
from sandbox.ledger import Lease
from sandbox.meter import Meter, unpaid
from sandbox.prices import PriceSchedule
from sandbox.run.bill import Quote
from sandbox.run.recipe import EpisodeChance, Recipe
from sandbox.run.record import Record
from sandbox.scenario import Scenario
from sandbox.sources import columns, rollout
from sandbox.sources.setup import Setup
from sandbox.trajectory import EpisodeBuffer


class Generation:
    """New episodes of a recipe; episode i depends on the recipe's seed and i alone.

    Args:
        recipe: what to generate.
        scenario: the recipe's scenario as it was recorded; None reads the scenario's file.
        trust_code: whether to import the environment and the policies that the recipe names as
            MODULE:NAME. Whoever wrote the recipe may. With a recorded scenario no policy acts, and
            none is imported.

    Attributes:
        env: the environment that is simulated.
    """

    def __init__(
        self, recipe: Recipe, scenario: Scenario | None = None, trust_code: bool = True
    ) -> None:
        for name in recipe.policies if trust_code and scenario is None else ():
            find(name)
        self._recipe = recipe
        self.env = rollout.make(recipe, unpaid(), scenario, trust_code)  # Until `pay_from`.
        self.origin = rollout.origin(self.env, recipe)
        self.schema = columns.schema(self.env)
        self.max_rows = self.env.max_steps + 1

    def __reduce__(self) -> tuple[Any, ...]:
        return Generation, (self._recipe,)

    def quote(self, done: int, schedule: PriceSchedule) -> Quote:
        """Return what the episodes after the first `done` cost at most."""
        longest = self.env.work(schedule, self.env.max_steps)
        if self._recipe.credits is not None:
            return self._quote_of_credits(prices.micro(self._recipe.credits), longest, schedule)
        count = max(0, self._recipe.episodes - done)  # An extended run has more.
        quantities = {unit: count * quantity for unit, quantity in longest.items()}
        amount, exact = schedule.cost(quantities), self.env.fixed_length
        return Quote(quantities, amount, exact, longest, schedule.version)

    def _quote_of_credits(
        self, limit: int, longest: dict[str, int], schedule: PriceSchedule
    ) -> Quote:
        """Return the episodes that so many microcredits surely pay, and what all may cost."""
        count = limit // max(1, schedule.cost(longest))
        quantities = {unit: count * quantity for unit, quantity in longest.items()}
        exact = self.env.fixed_length
        amount = schedule.cost(quantities) if exact else limit
        return Quote(quantities, amount, exact, longest, schedule.version)

    def pay_from(
        self, lease: Lease | None, schedule: PriceSchedule, limit: int | None = None
    ) -> None:
        """Pay for the episodes to come from a lease, up to a limit [microcredits]; see `Source`."""
        self.env.meter = Meter(schedule, lease, limit)
        self._longest = schedule.cost(self.env.work(schedule, self.env.max_steps))

    def warm_up(self) -> None:
        """Compile the renderer, once on a machine."""
        self.env.pictures.warm_up()

    def make(self, run: str, index: int, buffer: EpisodeBuffer) -> Record:
        """Simulate an episode, paying for it on the way."""
        chance = EpisodeChance(self._recipe, index)
        policy, env = find(chance.policy), self.env
        env.whole_episodes = env.meter.left is None or env.meter.left >= self._longest
        steps, success = rollout.rollout(
            env, lambda env: policy(env, chance.policy_rng), buffer, seed=chance.seed
        )
        if env.episode.starved:  # It could not be paid to its end.
            refusal = env.meter.poor(env.costs.step)
            env.meter.void()
            raise refusal
        rollout.finish(env, buffer, steps, run, index)
        setup = Setup(chance.seed, chance.policy, {}, [])
        return rollout.record(env, self._recipe, run, index, setup, buffer, steps, success)

    def on_kept(self) -> None:
        """End the episode in the meter; the run posts it."""
        self.env.meter.settle("")

    def close(self) -> None:
        """Release the simulator; an episode that was not kept is not charged."""
        self.env.meter.void()
        self.env.close()
