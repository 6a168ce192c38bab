"""Train a policy in a dream, and try it in the real world, beside random actions.

    python examples/dream_policy.py [--out dream_policy] [--episodes 60] [--updates 1500]
                                    [--steps 40000] [--tries 20]

A model learns from recorded episodes how PandaReach's numbers move and what they earn. Then PPO, of
ppo_in_one_file.py, learns in an `ImaginationVectorEnv` alone: no step of it is simulated.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorWrapper
from numpy.typing import NDArray
from ppo_in_one_file import Agent, learn

import sandbox
from sandbox.imagination.env import ImaginationVectorEnv

WORLD = "sandbox:sandbox/PandaReach-v0"
DREAMS, LENGTH, EARNS = 16, 32, 30.0  # Side by side, steps of one, and what makes rewards about 1.
Row = NDArray[np.float32]
Policy = Callable[[Row], Row]


def learned(out: Path, episodes: int, updates: int) -> tuple[Path, Path]:
    """Return a model of the world, and the run that it is trained on."""
    recipe = {"format": 1, "environment": "panda_reach", "seed": 3, "episodes": episodes}
    recipe |= {"policies": {"play": 2, "random": 1, "scripted": 1}}
    sandbox.generate(recipe, out / "run")
    told: dict[str, Any] = {"settings": {"threads": 1}, "options": {"column": "proprio"}}
    told |= {"updates": updates, "track": ["csv"], "prices": "3"}
    sandbox.train(out / "run", out / "model.safetensors", "mlp", "tiny", **told)
    return out / "model.safetensors", out / "run"


def units(run: Path) -> Callable[[NDArray[Any]], Row]:
    """Return what scales observations by the mean and deviation of a run."""
    (known,) = sandbox.Dataset(run).statistics(["proprio"]).values()
    return lambda seen: ((seen - known.mean) / (known.std + 1e-3)).astype(np.float32)


class Scaled(VectorWrapper):
    """Environments whose observations and rewards are about 1.

    Args:
        env: the environments.
        units: what scales observations.
    """

    def __init__(self, env: Any, units: Callable[[NDArray[Any]], Row]) -> None:
        super().__init__(env)
        self._units = units

    def reset(self, **told: Any) -> tuple[Row, dict[str, Any]]:
        """Begin all episodes."""
        seen, info = self.env.reset(**told)
        return self._units(seen), info

    def step(self, actions: Any) -> tuple[Row, Any, Any, Any, dict[str, Any]]:
        """Take a step in each."""
        seen, reward, ended, cut, info = self.env.step(actions)
        return self._units(seen), reward / EARNS, ended, cut, info


def dreamt(model: Path, run: Path, steps: int) -> Agent:
    """Return an agent that has learned in dreams."""
    envs = ImaginationVectorEnv(
        DREAMS,
        model,
        run,
        steps=LENGTH,
        observation="proprio",
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    return learn(Scaled(envs, units(run)), steps, gamma=0.95)[0]


def acting(agent: Agent, run: Path) -> Policy:
    """Return the policy of an agent, without its chance."""
    scaled = units(run)

    def act(seen: Row) -> Row:
        with torch.no_grad():
            return agent.actor(torch.as_tensor(scaled(seen))).clamp(-1, 1).numpy()

    return act


def compared(policies: dict[str, Policy], tries: int) -> dict[str, tuple[float, float]]:
    """Return mean return and share of successes of policies in the real world, by name."""
    env: Any = gymnasium.make(WORLD, account=None)
    found = dict[str, tuple[float, float]]()
    for name, policy in policies.items():
        total, reached = 0.0, 0
        for seed in range(10_000, 10_000 + tries):
            seen, _ = env.reset(seed=seed)
            ended = cut = False
            while not (ended or cut):
                seen, reward, ended, cut, _ = env.step(policy(seen))
                total += float(reward)
            reached += ended
        found[name] = total / tries, reached / tries
    env.close()
    return found


def main() -> None:
    """Learn the world, dream, and print how the policy does in it."""
    parser = argparse.ArgumentParser(description="Train a policy in a dream.")
    parser.add_argument("--out", type=Path, default=Path("dream_policy"))
    parser.add_argument("--episodes", type=int, default=60)
    parser.add_argument("--updates", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--tries", type=int, default=20)
    asked = parser.parse_args()
    model, run = learned(asked.out, asked.episodes, asked.updates)
    rng = np.random.default_rng(1)
    policies: dict[str, Policy] = {
        "random": lambda _: rng.uniform(-1, 1, 3).astype(np.float32),
        "dreamt": acting(dreamt(model, run, asked.steps), run),
    }
    for name, (total, share) in compared(policies, asked.tries).items():
        print(f"{name}: {total:.1f} a real episode, {share:.0%} of {asked.tries} reach the ball")


if __name__ == "__main__":
    main()
