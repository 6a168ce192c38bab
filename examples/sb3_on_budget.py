"""Train with Stable-Baselines3 until the credit is spent, then go on with what was learned.

    python examples/sb3_on_budget.py [--budget 200] [--processes 2]

`StopOnBudget` ends `learn` as any callback does: the model, its buffers and every row that was paid
are kept.
"""

import argparse
from typing import Any

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

from sandbox.sb3 import StopOnBudget
from sandbox.wrappers import IdlesOnBudget


def train(budget: float, processes: int, account: str | None = "local") -> Any:
    """Return a model that was trained for `budget` credits in each process."""
    envs = make_vec_env(
        "sandbox:sandbox/CartpoleSwingup-v0",
        n_envs=processes,
        seed=0,
        env_kwargs={"account": account, "budget": budget},
        wrapper_class=IdlesOnBudget,
        vec_env_cls=SubprocVecEnv,
    )
    model: Any = PPO("MlpPolicy", envs, n_steps=64, batch_size=64, seed=0, device="cpu")
    stop = StopOnBudget()
    model.learn(1_000_000, callback=stop)
    envs.close()  # Posts what was simulated.
    assert stop.exhausted
    return model


def main() -> None:
    """Train with the budget of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=float, default=200.0)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    model = train(asked.budget, asked.processes)
    print(f"{model.num_timesteps} steps were paid and learned from.")


if __name__ == "__main__":  # Each process imports this file.
    main()
