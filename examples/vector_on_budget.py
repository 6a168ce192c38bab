"""Step a vector of environments that resets itself, until the credit of all is spent.

python examples/vector_on_budget.py [--budget 200] [--environments 4]
"""

import argparse
from typing import Any

import gymnasium
import numpy as np

from sandbox.wrappers import IdlesOnBudget


def roll_out(
    budget: float, environments: int, account: str | None = "local", mode: str = "async"
) -> int:
    """Return how many steps were paid, of environments that have `budget` credits each."""
    envs: Any = gymnasium.make_vec(
        "sandbox:sandbox/CartpoleSwingup-v0",
        num_envs=environments,
        vectorization_mode=mode,
        vector_kwargs={"context": "spawn"} if mode == "async" else {},
        wrappers=[IdlesOnBudget],
        account=account,
        budget=budget,
    )
    _, infos = envs.reset(seed=0)
    envs.action_space.seed(0)
    paid, idle = 0, infos["idle"].astype(bool)
    while not np.all(idle):
        *_, infos = envs.step(envs.action_space.sample())
        idle = infos["idle"].astype(bool)
        paid += int(np.sum(~idle))
    envs.close()  # Posts what was simulated.
    return paid


def main() -> None:
    """Step with the budget of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=float, default=200.0)
    parser.add_argument("--environments", type=int, default=4)
    asked = parser.parse_args()
    paid = roll_out(asked.budget, asked.environments)
    print(f"{paid} rows were paid.")


if __name__ == "__main__":  # Each process imports this file.
    main()
