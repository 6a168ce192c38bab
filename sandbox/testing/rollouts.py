"""Episodes of a world's policies, rolled out once for all promises about them."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, repeat
from typing import Any

import numpy as np

from sandbox.env import Policy, SandboxEnv
from sandbox.env.policies import POLICIES

FEW = 3  # Episodes in which policies are compared with each other.


@dataclass
class Rollout:
    """An episode of one policy.

    Attributes:
        actions, rewards, successes: what was done, earned and said in each step.
    """

    actions: list[Any] = field(default_factory=list[Any])
    rewards: list[float] = field(default_factory=list[float])
    successes: list[bool] = field(default_factory=list[bool])

    def earned(self, discount: float) -> float:
        """Return the sum of the rewards, each discounted once more than the one before."""
        return float(np.dot(self.rewards, discount ** np.arange(len(self.rewards))))


@lru_cache(maxsize=1)
def rollouts(world: type[SandboxEnv], seeds: int) -> dict[str, list[Rollout]]:
    """Roll out `scripted` for so many seeds, and `random` and `play` for a few of them."""
    found: dict[str, list[Rollout]] = {}
    with closing(world(account=None)) as env:
        for name, count in (("scripted", seeds), ("random", FEW), ("play", FEW)):
            make = POLICIES[name]
            found[name] = [rolled_out(env, seed, make) for seed in range(count)]
    return found


def rolled_out(
    env: SandboxEnv, seed: int, make: Callable[[SandboxEnv, np.random.Generator], Policy]
) -> Rollout:
    """Roll out one episode of a policy that is made in the episode's first state."""
    env.reset(seed=seed)
    act, it, over = make(env, np.random.default_rng(seed)), Rollout(), False
    while not over:
        it.actions.append(np.array(act()))
        _, reward, ended, cut, info = env.step(it.actions[-1])
        it.rewards.append(reward)  # pyright: ignore[reportArgumentType]
        it.successes.append(info["success"])
        over = ended or cut
    return it


def then_still(
    actions: list[Any], size: int
) -> Callable[[SandboxEnv, np.random.Generator], Policy]:
    """Return a policy that repeats actions, and then does nothing."""
    every = chain(actions, repeat(np.zeros(size, np.float32)))
    return lambda env, rng: every.__next__
