"""What a recipe will probably cost, from the usual lengths of its policies' episodes."""

from contextlib import closing
from dataclasses import replace

import numpy as np

from sandbox import prices
from sandbox.env import SandboxEnv
from sandbox.env.policies import find
from sandbox.meter import Meter
from sandbox.observation import PICTURES
from sandbox.prices import PriceSchedule
from sandbox.run import recipe as recipes
from sandbox.run.bill import Quote
from sandbox.run.recipe import EpisodeChance, Recipe
from sandbox.sources import rollout
from sandbox.sources.generation import Generation

SOME = 1000  # Episodes by whose price one of the usual length is priced.
TRIED = 6  # Episodes of each policy.


def expected(quoted: Quote, source: Generation, recipe: Recipe, schedule: PriceSchedule) -> Quote:
    """Return a quote with what the episodes will probably cost, or how many credits will pay.

    Each policy is tried for some episodes without pictures, which nobody pays for.
    """
    usual = [_usual_steps(world, schedule) for world in recipe.worlds]
    whole = {part: _count(recipe, part, SOME) for part in range(len(usual))}

    def price(episodes: int) -> int:
        counts = {part: episodes * count / SOME for part, count in whole.items()}
        return sum(
            schedule.cost(
                maker.env.work(schedule, round(counts[part] * usual[part]), round(counts[part]))
            )
            for part, maker in enumerate(source.makers)
        )

    if recipe.credits is None:
        return replace(quoted, expected=price(recipe.episodes))
    episodes = prices.micro(recipe.credits) * SOME // max(1, price(SOME))
    return replace(quoted, expected_episodes=episodes)


def _count(recipe: Recipe, part: int, until: int) -> int:
    """Return how many of the first episodes a part has."""
    return until if recipe.order is None else recipe.order.count(part, until)


def _usual_steps(recipe: Recipe, schedule: PriceSchedule) -> float:
    """Return the mean length of an episode [steps], over the mixture of policies."""
    shown = [name for name in recipe.observation if name not in PICTURES]
    tried = recipes.changed(recipe, observation=shown or ["proprio"], labels=False)
    total = sum(recipe.policies.values())
    with closing(rollout.make(tried, Meter(schedule), trust_code=True)) as env:
        return sum(
            weight / total * float(np.mean([_steps(env, name, n, recipe) for n in range(TRIED)]))
            for name, weight in recipe.policies.items()
            if weight
        )


def _steps(env: SandboxEnv, policy: str, number: int, recipe: Recipe) -> int:
    """Return how many steps an episode of a policy takes."""
    chance = EpisodeChance(recipe, number)
    env.reset(seed=chance.seed)
    act, over = find(policy)(env, chance.policy_rng), False
    while not over:
        _, _, ended, cut, _ = env.step(act())
        over = ended or cut
    return env.t
