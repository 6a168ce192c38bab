"""Makes the new episodes of one world of a recipe."""

from sandbox.env.policies import find
from sandbox.ledger import Lease
from sandbox.meter import Meter, unpaid
from sandbox.prices import PriceSchedule
from sandbox.run.recipe import EpisodeChance, Recipe
from sandbox.run.record import Record
from sandbox.scenario import Scenario
from sandbox.sources import columns, rollout
from sandbox.sources.setup import Setup
from sandbox.trajectory import EpisodeBuffer


class Generator:
    """New episodes of one world; episode i depends on the recipe's seed and i alone.

    Args:
        recipe: the recipe of the world.
        scenario: the recipe's scenario as it was recorded; None reads the scenario's file.
        trust_code: whether to import the environment and the policies that the recipe names as
            MODULE:NAME. Whoever wrote the recipe may. With a recorded scenario no policy acts, and
            none is imported.
        whole: the recipe of which this one is a part; None if it is none.

    Attributes:
        env: the environment that is simulated.
    """

    def __init__(
        self,
        recipe: Recipe,
        scenario: Scenario | None = None,
        trust_code: bool = True,
        whole: Recipe | None = None,
    ) -> None:
        for name in recipe.policies if trust_code and scenario is None else ():
            find(name)
        self._recipe, self._whole = recipe, whole or recipe
        self.env = rollout.make(recipe, unpaid(), scenario, trust_code)  # Until `pay_from`.
        self.origin = rollout.origin(self.env, recipe)
        self.schema = columns.schema(self.env)
        self.max_rows = self.env.max_steps + 1

    def longest(self, schedule: PriceSchedule) -> dict[str, int]:
        """Return the work of the longest episode, per meter unit."""
        return self.env.work(schedule, self.env.max_steps)

    def pay_from(self, lease: Lease | None, schedule: PriceSchedule) -> None:
        """Pay for the episodes to come from a lease; None only counts."""
        self.env.meter = Meter(schedule, lease)
        self._dearest = schedule.cost(self.longest(schedule))

    def warm_up(self) -> None:
        """Compile the renderer, once on a machine."""
        self.env.pictures.warm_up()

    def make(self, run: str, index: int, buffer: EpisodeBuffer, limit: int | None = None) -> Record:
        """Simulate an episode, paying for it on the way; see `Maker`."""
        chance = EpisodeChance(self._whole, index)
        policy, env = find(chance.policy), self.env
        env.meter.restrict(limit)
        env.whole_episodes = limit is None or limit >= self._dearest
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
