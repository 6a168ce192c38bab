"""Collect with TorchRL until the credit is spent.

    python examples/torchrl_on_budget.py [--budget 200]

The collector resets the environment as soon as it ends. `IdlesOnBudget` answers at no cost, and its
rows are marked in the tensordict, so that the loop can leave them out and stop.
"""
# pyright: reportMissingTypeStubs=false

import argparse
from typing import Any

import gymnasium
import torch
from torchrl.collectors import Collector
from torchrl.data import Unbounded
from torchrl.envs import GymWrapper
from torchrl.envs import default_info_dict_reader as reader

from sandbox.wrappers import IdlesOnBudget


def collect(budget: float, account: str | None = "local") -> list[Any]:
    """Return all rows that `budget` credits pay."""
    plain = gymnasium.make("sandbox:sandbox/CartpoleSwingup-v0", account=account, budget=budget)
    env: Any = GymWrapper(IdlesOnBudget(plain))
    spec: Any = {"idle": Unbounded(torch.Size(()), dtype=torch.bool)}
    env.set_info_dict_reader(reader(["idle"], spec=spec))
    collector: Any = Collector(env, None, frames_per_batch=64, total_frames=1_000_000)
    batches: list[Any] = []
    for batch in collector:
        idle = batch["next", "idle"].reshape(-1)
        batches.append(batch[~idle].clone())
        if idle.any():
            break
    collector.shutdown()  # Closes the environment, which posts what was simulated.
    return batches


def main() -> None:
    """Collect with the budget of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=float, default=200.0)
    batches = collect(parser.parse_args().budget)
    print(f"{sum(len(batch) for batch in batches)} steps were paid and collected.")


if __name__ == "__main__":
    main()
