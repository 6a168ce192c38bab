"""What a policy is worth: episodes with seeds that no training has, beside other policies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sandbox.env.policies import POLICIES
from sandbox.estimates import bootstrap
from sandbox.goals.scores import wilson

SEEDS = 1 << 40  # The first seed of a judgement; a training begins with small ones.
BESIDE = ("random", "scripted")  # What knows nothing, and what knows all.
Act = Callable[[Any], Any]  # Returns an action for an observation.


@dataclass(frozen=True)
class Judged:
    """What a policy did in some episodes.

    Attributes:
        success: of each episode, whether the task was done in its last row.
        earned: the sum of rewards of each episode.
    """

    success: Sequence[bool]
    earned: Sequence[float]

    def numbers(self) -> dict[str, float | int | None]:
        """Return shares and means with their intervals of 95 %; None where one episode is all."""
        count, earned = len(self.success), np.array(self.earned)
        rate = wilson(float(np.mean(self.success)), count)
        (mean,) = bootstrap(np.zeros(count), lambda chosen: earned[chosen].mean(1, keepdims=True))
        return {
            "episodes": count,
            "success": rate.value,
            "success_low": rate.low,
            "success_high": rate.high,
            "return": float(earned.mean()),
            "return_low": mean and mean.low,
            "return_high": mean and mean.high,
        }


def judged(env: Any, acting: Callable[[Any, int], Act], episodes: int) -> Judged:
    """Return what a policy does in episodes with the seeds from SEEDS on.

    Args:
        env: earns the reward.
        acting: returns what acts in an episode, from the environment in its start and the seed.
        episodes: how many.
    """
    success, earned = list[bool](), list[float]()
    for seed in range(SEEDS, SEEDS + episodes):
        info, total = played(env, acting, seed, lambda _: None)
        success.append(bool(info["success"]))
        earned.append(total)
    return Judged(success, earned)


def played(
    env: Any, acting: Callable[[Any, int], Act], seed: int, seen: Callable[[Any], None]
) -> tuple[Mapping[str, Any], float]:
    """Play an episode; return the info of its last row, and the sum of its rewards.

    Args:
        env: earns the reward.
        acting: as in `judged`.
        seed: of the episode.
        seen: is told every observation.
    """
    observation, info = env.reset(seed=seed)
    act, over, total = acting(env.unwrapped, seed), False, 0.0
    seen(observation)
    while not over:
        observation, reward, terminated, truncated, info = env.step(act(observation))
        over, total = terminated or truncated, total + float(reward)
        seen(observation)
    return info, total


def beside(name: str) -> Callable[[Any, int], Act]:
    """Return how one of BESIDE acts in an episode."""

    def acting(env: Any, seed: int) -> Act:
        act = POLICIES[name](env, np.random.default_rng(seed))
        return lambda _: act()

    return acting
