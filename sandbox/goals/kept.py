"""The tries of results as the episodes of a run: an ordinary dataset, with a bill."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any, Self

from pydantic import ValidationError

from sandbox import validation
from sandbox.env import Policy
from sandbox.env.costs import observed
from sandbox.errors import FormatError
from sandbox.goals.pair import F32, Pair
from sandbox.goals.results import Results
from sandbox.goals.sets import GoalSet
from sandbox.ledger import Lease
from sandbox.meter import Meter, unpaid
from sandbox.prices import PriceSchedule
from sandbox.run import recipe as recipes
from sandbox.run.bill import Quote
from sandbox.run.recipe import Recipe
from sandbox.run.record import Record
from sandbox.scenario import Scenario
from sandbox.sources import columns, rollout, setup
from sandbox.sources.holding import Holding
from sandbox.trajectory import EpisodeBuffer
from sandbox.world import determinism

SHARD_EPISODES = 50  # Of a run of tries: several processes share its shards.


class Tries:
    """The tries of results, each simulated again from its reset, compared, and logged.

    An episode has the past of its pair, then what the agent did, to the end of the try. What was
    simulated is paid already, so that only the rows are charged which are logged now.

    Args:
        recipe: what is observed and who pays, from `recipe_of`.
        goals: the set.
        results: results on that set.
        trust_code: whether to import a world that the set calls MODULE:CLASS.
    """

    def __init__(
        self, recipe: Recipe, goals: GoalSet, results: Results, trust_code: bool = False
    ) -> None:
        self._given = (recipe, goals, results, trust_code)
        self._recipe, self._goals, self._results = recipe, goals, results
        scenario = _scenario(goals)
        self._env = rollout.make(recipe, unpaid(), scenario, trust_code)
        self._plan = plan(goals, results)
        self.origin = replace(rollout.origin(self._env, recipe), plan=self._plan)
        if self.origin.code != results.head.code:
            raise FormatError(
                f"the code of {goals.environment} has changed since the results were had: "
                f"{self.origin.code[:12]} instead of {results.head.code[:12]}. Run the agent again."
            )
        self.schema = columns.schema(self._env, self._plan)
        self._env.log(self.schema.row_bytes)
        self.max_rows = self._env.max_steps + 1

    def __reduce__(self) -> tuple[Any, ...]:
        return Tries, self._given

    @property
    def makers(self) -> list[Self]:
        """This one: it has no parts."""
        return [self]

    def quote(self, done: int, schedule: PriceSchedule) -> Quote:
        """Return exactly what the rows of the tries after the first `done` cost."""
        lengths = [one["steps"] + 1 for one in self._plan["tries"]]
        whole = self._rows(sum(lengths[done:]), schedule)
        longest = self._rows(max(lengths), schedule)
        return Quote(whole, schedule.cost(whole), True, longest, schedule.version)

    def pay_from(self, lease: Lease | None, schedule: PriceSchedule) -> None:
        """Pay for the rows to come from a lease."""
        self._env.meter, self._schedule = Meter(schedule), schedule
        self._holding = Holding("rows", lease, schedule)

    def warm_up(self) -> None:
        """Compile the renderer, once on a machine."""
        self._env.pictures.warm_up()

    def make(self, run: str, index: int, buffer: EpisodeBuffer, limit: int | None = None) -> Record:
        """Take the actions of a try again, from its reset on, and compare the states.

        Raises:
            FormatError: the states are not those of the results. It is not charged.
            BudgetExhaustedError: its rows cannot be paid. Nothing was done.
        """
        assert limit is None, "results say how many there are"
        start, env = setup.of_try(self._plan, index), self._env
        assert start.tried is not None, "it is a try"
        most = start.tried["steps"]
        self._holding.hold(index, self._rows(most + 1, self._schedule))
        env.meter.void()
        steps, success = rollout.rollout(
            env, lambda env: self._acts(index), buffer, start.seed, start.options, most
        )
        rollout.finish(env, buffer, steps, run, index)
        made = rollout.record(env, self._recipe, run, index, start, buffer, steps, success)
        assert made.tried is not None, "its start is a try's"
        states, pair = made.tried["states"], self._pair(index)
        if (steps, states, made.scene_digest) != (most, start.tried["states"], pair.start.scene):
            raise FormatError(
                f"pair {pair.number}, seed {start.tried['seed']}: its actions lead to other states "
                f"here than in the results. {determinism.advice(self._results.head.engine)}"
            )
        return made

    def on_kept(self) -> None:
        """Note that the run posts the try made last."""
        self._holding.kept()
        self._env.meter.void()

    def close(self) -> None:
        """Release the simulator; a try that was not kept is not charged."""
        if hasattr(self, "_holding"):
            self._holding.close()
        self._env.meter.void()
        self._env.close()

    def _acts(self, index: int) -> Policy:
        """Return the policy that takes the past of a try, then what the agent did."""
        past, taken = self._pair(index).start.actions, self._results.outcomes[index].actions
        actions: Iterator[F32] = iter([*past, *taken])
        return lambda: next(actions)

    def _pair(self, index: int) -> Pair:
        return self._goals.pairs[self._results.outcomes[index].pair]

    def _rows(self, rows: int, schedule: PriceSchedule) -> dict[str, int]:
        """Return the work of logging some rows, per meter unit."""
        work = schedule.metered(observed(self._env, schedule, rows))
        return {unit: work.get(unit, 0) for unit in schedule.no_work()}


def most(goals: GoalSet, results: int, schedule: PriceSchedule, *, trust_code: bool = False) -> int:
    """Return what it costs at most to keep tries of a set [microcredits].

    Args:
        goals: the set.
        results: number of tries of each pair.
        schedule: the prices.
        trust_code: as in `Tries`.
    """
    tries = [_try(pair, 0, goals.budget, "") for pair in goals.pairs]
    given = {"goals": "", "results": "", "agent": "", "pairs": _pairs(goals), "tries": tries}
    recipe = _recipe(goals)
    with closing(rollout.make(recipe, unpaid(), _scenario(goals), trust_code)) as env:
        env.log(columns.schema(env, given).row_bytes)
        rows = results * sum(one["steps"] + 1 for one in tries)
        return schedule.cost(schedule.metered(observed(env, schedule, rows)))


def plan(goals: GoalSet, results: Results) -> dict[str, Any]:
    """Return the plan of a run of tries, plain JSON: what each begins from, and what came of it."""
    head = results.head
    return {
        "goals": head.goals,
        "results": results.digest,
        "agent": head.agent,
        "pairs": _pairs(goals),
        "tries": [
            _try(goals.pairs[one.pair], one.seed, len(one.actions), one.states)
            for one in results.outcomes
        ],
    }


def _pairs(goals: GoalSet) -> list[dict[str, Any]]:
    return [
        {
            "seed": pair.start.seed,
            "factors": pair.start.factors,
            "disturbances": pair.start.disturbances,
            "goal": None if goals.is_task else pair.goal.tolist(),
        }
        for pair in goals.pairs
    ]


def _try(pair: Pair, seed: int, actions: int, states: str) -> dict[str, Any]:
    step = pair.start.step
    ends = {"step": step, "steps": step + actions, "states": states}
    return {"pair": pair.number, "seed": seed, **ends}


def recipe_of(goals: GoalSet, results: Results, account: str, budget: float | None) -> Recipe:
    """Return the recipe of a run of tries: that of the set's episodes, with numbers alone.

    Raises:
        FormatError: the set does not say of which recipe its episodes are.
    """
    return recipes.changed(
        _recipe(goals),
        episodes=len(results.outcomes),
        account=account,
        budget=budget,
        admission="safe",
        shard_episodes=SHARD_EPISODES,
    )


def _recipe(goals: GoalSet) -> Recipe:
    try:
        known = Recipe.model_validate(goals.source.get("recipe"))
    except ValidationError as error:
        raise FormatError(f"the set's recipe: {validation.first_fault(error)}") from None
    numbers = {"environment": goals.environment, "observation": ["proprio"], "labels": False}
    return recipes.changed(known, **numbers)


def _scenario(goals: GoalSet) -> Scenario:
    try:
        return Scenario.model_validate(goals.scenario)
    except ValidationError as error:
        raise FormatError(f"the set's scenario: {validation.first_fault(error)}") from None
