"""PPO with TorchRL, until the credit is spent or the steps are done.

    python examples/torchrl_ppo.py [--env TwoRoom] [--steps 100000] [--budget 2000]

A batch in which the environment idles ends the loop, and is not learned from.
"""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import argparse
from typing import Any

import gymnasium
import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.data import Unbounded
from torchrl.envs import GymWrapper
from torchrl.envs import default_info_dict_reader as reader
from torchrl.modules import NormalParamExtractor, ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

from sandbox.wrappers import IdlesOnBudget, ProgressReward

ROLLOUT, EPOCHS, MINIBATCHES, LR, GAMMA = 1024, 10, 8, 3e-4, 0.99


def network(inputs: int, outputs: int) -> nn.Sequential:
    """Return a network of two hidden layers."""
    hidden = (nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
    return nn.Sequential(*hidden, nn.Linear(64, outputs))


def make(env: str, account: str | None, budget: float | None) -> Any:
    """Return an environment that says which of its rows are idle, and which ended in success."""
    plain = gymnasium.make(f"sandbox:sandbox/{env}-v0", account=account, budget=budget)
    made: Any = GymWrapper(IdlesOnBudget(ProgressReward(plain)))
    flag: Any = Unbounded(torch.Size(()), dtype=torch.bool)
    made.set_info_dict_reader(reader(["idle", "success"], spec={"idle": flag, "success": flag}))
    return made


def agent(env: Any) -> tuple[Any, Any]:
    """Return a policy of squashed normal actions, and the value of an observation."""
    observed, actions = env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1]
    mean = nn.Sequential(network(observed, 2 * actions), NormalParamExtractor())
    policy: Any = ProbabilisticActor(
        TensorDictModule(mean, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
        return_log_prob=True,
    )
    return policy, ValueOperator(network(observed, 1), in_keys=["observation"])


def train(
    env: str, steps: int, budget: float | None, account: str | None = "local", seed: int = 0
) -> tuple[Any, int, list[bool]]:
    """Return the policy, the steps that it learned from, and which episodes ended in success."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    made = make(env, account, budget)
    made.set_seed(seed)
    policy, value = agent(made)
    gains: Any = GAE(gamma=GAMMA, lmbda=0.95, value_network=value)
    loss: Any = ClipPPOLoss(policy, value, entropy_coeff=0.0)
    optimizer = torch.optim.Adam(loss.parameters(), LR)
    collector: Any = Collector(
        made,
        policy,
        frames_per_batch=ROLLOUT,
        total_frames=-(-steps // ROLLOUT) * ROLLOUT,
        auto_register_policy_transforms=False,  # It remembers nothing.
    )
    learned, done = 0, list[bool]()
    for batch in collector:
        idle = batch["next", "idle"].reshape(-1)
        if idle.any():
            break
        ended = batch["next", "done"].reshape(-1)
        done += batch["next", "success"].reshape(-1)[ended].tolist()
        learned += len(batch)
        for _ in range(EPOCHS):
            with torch.no_grad():
                gains(batch)
            for part in torch.randperm(len(batch)).chunk(MINIBATCHES):
                found = loss(batch[part])
                optimizer.zero_grad()
                (found["loss_objective"] + found["loss_critic"]).backward()
                nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
                optimizer.step()
    collector.shutdown()  # Closes the environment, which posts what was simulated.
    return policy, learned, done


def main() -> None:
    """Train with the options of the command line, and say how often it succeeded at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="TwoRoom")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--budget", type=float, default=None)
    asked = parser.parse_args()
    _, learned, done = train(asked.env, asked.steps, asked.budget)
    last = done[-50:]
    print(f"{learned} steps; {sum(last)} of the last {len(last)} episodes ended in success.")


if __name__ == "__main__":
    main()
