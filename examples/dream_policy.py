"""Train a policy in a dream, and try it in the real world, beside random actions.

    python examples/dream_policy.py [--out dream_policy] [--episodes 60] [--updates 600]
                                    [--rounds 10] [--tries 20]

A model learns how PandaReach's numbers move and what they earn. A linear policy of fingertips and
ball, tanh(W o + b), is found by the cross-entropy method in an `ImaginationEnv` alone. The dream
ends an episode where the model says that the ball is reached.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

import sandbox
from sandbox.imagination.env import ImaginationEnv

WORLD = "sandbox:sandbox/PandaReach-v0"
STEPS, STARTS = 30, 2  # Of a dream; and how many dreams a policy is judged by.
POPULATION, ELITES, SPREAD = 40, 8, 1.0
SEEN = 9  # Numbers that the policy sees: fingertips, their velocity, and the ball.
Policy = Callable[[Any], NDArray[np.float32]]


def learned(out: Path, episodes: int, updates: int) -> tuple[Path, Path]:
    """Return a model of the world, and the run that it is trained on."""
    recipe = {"format": 1, "environment": "panda_reach", "seed": 3, "episodes": episodes}
    recipe |= {"policies": {"play": 2, "random": 1, "scripted": 1}}
    sandbox.generate(recipe, out / "run")
    told: dict[str, Any] = {"settings": {"threads": 1}, "options": {"column": "proprio"}}
    sandbox.train(
        out / "run",
        out / "model.safetensors",
        "mlp",
        "nano",
        updates=updates,
        track=["csv"],
        prices="3",
        **told,
    )
    return out / "model.safetensors", out / "run"


def linear(weights: NDArray[np.float64], run: Path) -> Policy:
    """Return the policy with these weights, (actions x (SEEN + 1)) in a row.

    It sees numbers in standard deviations of the run.
    """
    (known,) = sandbox.Dataset(run).statistics(["proprio"]).values()
    mean, std = known.mean[:SEEN], known.std[:SEEN]
    table = weights.reshape(-1, SEEN + 1)

    def act(observation: Any) -> NDArray[np.float32]:
        seen = (observation[:SEEN] - mean) / std
        return np.tanh(table @ np.append(seen, 1.0)).astype(np.float32)

    return act


def earned(env: Any, policy: Policy, seed: int) -> tuple[float, bool]:
    """Return what an episode earns, and whether it reached its end, not the time's."""
    observation, _ = env.reset(seed=seed)
    total, ended, cut = 0.0, False, False
    while not (ended or cut):
        observation, reward, ended, cut, _ = env.step(policy(observation))
        total += float(reward)
    return total, ended


def dreamt(env: Any, run: Path, rounds: int, seed: int = 0) -> NDArray[np.float64]:
    """Return the weights that earn most in dreams, by the cross-entropy method."""
    rng = np.random.default_rng(seed)
    size = env.action_space.shape[0] * (SEEN + 1)
    mean, spread = np.zeros(size), np.full(size, SPREAD)
    for number in range(rounds):
        tried = mean + spread * rng.standard_normal((POPULATION, size))
        starts = [STARTS * number + n for n in range(STARTS)]  # The same for all of a round.
        policies = [linear(one, run) for one in tried]
        scores = [np.mean([earned(env, policy, n)[0] for n in starts]) for policy in policies]
        best = tried[np.argsort(scores)[-ELITES:]]
        mean, spread = best.mean(0), 0.9 * best.std(0) + 0.1 * spread
        print(f"round {number + 1}: the best earns {max(scores):.2f} in dreams")
    return mean


def compared(policies: dict[str, Policy], tries: int) -> dict[str, tuple[float, float]]:
    """Return mean return and share of successes of policies in the real world, by name."""
    env: Any = gymnasium.make(WORLD, account=None)
    found = dict[str, tuple[float, float]]()
    for name, policy in policies.items():
        done = [earned(env, policy, 10_000 + n) for n in range(tries)]
        found[name] = float(np.mean([one for one, _ in done])), float(np.mean([x for _, x in done]))
    env.close()
    return found


def main() -> None:
    """Learn the world, dream, and print how the policy does in it."""
    parser = argparse.ArgumentParser(description="Train a policy in a dream.")
    parser.add_argument("--out", type=Path, default=Path("dream_policy"))
    parser.add_argument("--episodes", type=int, default=60)
    parser.add_argument("--updates", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--tries", type=int, default=20)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model, run = learned(asked.out, asked.episodes, asked.updates)
    env = ImaginationEnv(model, run, steps=STEPS, observation="proprio")
    rng = np.random.default_rng(1)
    policies: dict[str, Policy] = {
        "random": lambda _: rng.uniform(-1, 1, env.action_space.shape).astype(np.float32),
        "dreamt": linear(dreamt(env, run, asked.rounds), run),
    }
    for name, (total, share) in compared(policies, asked.tries).items():
        print(f"{name}: {total:.2f} a real episode, {share:.0%} of {asked.tries} reach the ball")


if __name__ == "__main__":
    main()
