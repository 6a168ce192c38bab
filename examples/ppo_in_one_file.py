"""PPO in one file, in the style of CleanRL, until the credit is spent or the steps are done.

    python examples/ppo_in_one_file.py [--env TwoRoom] [--steps 150000] [--budget 2000]

Everything is here: the environments, the network, the advantages, the update. Change what you like.
Each environment has an equal part of the budget and idles when it is spent, which ends the loop.
"""

import argparse
from dataclasses import dataclass
from typing import Any

import gymnasium
import torch
from torch import Tensor, nn

from sandbox.wrappers import IdlesOnBudget, ProgressReward

ENVS, ROLLOUT, EPOCHS, MINIBATCHES = 8, 128, 10, 8
LR, GAMMA, LAMBDA, CLIP, VALUE, LARGEST = 3e-4, 0.99, 0.95, 0.2, 0.5, 0.5


class Agent(nn.Module):
    """A policy of normal actions, and the value of an observation, each of two hidden layers."""

    def __init__(self, observed: int, actions: int) -> None:
        super().__init__()
        self.actor = network(observed, actions, last=0.01)
        self.critic = network(observed, 1, last=1.0)
        self.log_std = nn.Parameter(torch.zeros(actions))

    def policy(self, seen: Tensor) -> Any:
        """Return the distribution of actions (B, actions)."""
        normal = torch.distributions.Normal(self.actor(seen), self.log_std.exp())
        return torch.distributions.Independent(normal, 1)  # pyright: ignore

    def value(self, seen: Tensor) -> Tensor:
        """Return what an observation is worth, (B,)."""
        return self.critic(seen).squeeze(-1)


def network(inputs: int, outputs: int, last: float) -> nn.Sequential:
    """Return a network with orthogonal weights; those of its last layer have this gain."""
    sizes, gains = (inputs, 64, 64, outputs), (2**0.5, 2**0.5, last)
    layers = list[nn.Module]()
    for a, b, gain in zip(sizes, sizes[1:], gains, strict=False):
        layer = nn.Linear(a, b)
        nn.init.orthogonal_(layer.weight, gain)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


@dataclass
class Rollout:
    """Rows of N environments, (ROLLOUT, N, ...); `over` says whether an episode ended."""

    seen: Tensor
    action: Tensor
    log_prob: Tensor
    value: Tensor
    reward: Tensor
    over: Tensor

    @classmethod
    def empty(cls, envs: int, observed: int, actions: int) -> "Rollout":
        """Return a rollout to be filled."""
        numbers = [torch.zeros(ROLLOUT, envs) for _ in range(4)]
        row = (torch.zeros(ROLLOUT, envs, n) for n in (observed, actions))
        return cls(*row, *numbers)


def make(env: str, account: str | None, budget: float | None) -> Any:
    """Return environments that reset themselves; each scales what it observes and earns."""
    share = None if budget is None else budget / ENVS

    def one() -> Any:
        plain = gymnasium.make(f"sandbox:sandbox/{env}-v0", account=account, budget=share)
        scaled = gymnasium.wrappers.NormalizeObservation(IdlesOnBudget(ProgressReward(plain)))
        return gymnasium.wrappers.NormalizeReward(scaled, gamma=GAMMA)

    mode = gymnasium.vector.AutoresetMode.SAME_STEP
    return gymnasium.vector.SyncVectorEnv([one] * ENVS, autoreset_mode=mode)


def advantages(rollout: Rollout, after: Tensor, gamma: float) -> Tensor:
    """Return how much better each action was than expected (GAE); `after` is the next value."""
    found, carried = torch.zeros_like(rollout.reward), torch.zeros_like(after)
    for t in reversed(range(ROLLOUT)):
        goes_on = 1.0 - rollout.over[t]
        error = rollout.reward[t] + gamma * after * goes_on - rollout.value[t]
        carried = error + gamma * LAMBDA * goes_on * carried
        found[t], after = carried, rollout.value[t]
    return found


def update(agent: Agent, optimizer: torch.optim.Optimizer, rollout: Rollout, gain: Tensor) -> None:
    """Improve policy and value on a rollout."""
    rows = {name: one.flatten(0, 1) for name, one in vars(rollout).items()}
    gain, target = gain.flatten(), (gain + rollout.value).flatten()
    for _ in range(EPOCHS):
        for part in torch.randperm(len(gain)).chunk(MINIBATCHES):
            policy = agent.policy(rows["seen"][part])
            ratio: Tensor = (policy.log_prob(rows["action"][part]) - rows["log_prob"][part]).exp()
            own = (gain[part] - gain[part].mean()) / (gain[part].std() + 1e-8)
            least = torch.minimum(ratio * own, ratio.clamp(1 - CLIP, 1 + CLIP) * own)
            error = (agent.value(rows["seen"][part]) - target[part]).square().mean()
            optimizer.zero_grad()
            (VALUE * error - least.mean()).backward()  # pyright: ignore
            nn.utils.clip_grad_norm_(agent.parameters(), LARGEST)
            optimizer.step()


def collect(envs: Any, agent: Agent, seen: Any, done: list[bool]) -> tuple[Rollout, Any] | None:
    """Return a rollout and what is observed after it; None if the credit is spent on the way."""
    rollout = Rollout.empty(len(seen), seen.shape[1], envs.single_action_space.shape[0])
    for t in range(ROLLOUT):
        rollout.seen[t] = torch.as_tensor(seen)
        with torch.no_grad():
            policy = agent.policy(rollout.seen[t])
            rollout.action[t] = policy.sample()
            rollout.log_prob[t] = policy.log_prob(rollout.action[t])
            rollout.value[t] = agent.value(rollout.seen[t])
        seen, reward, ended, cut, told = envs.step(rollout.action[t].numpy())
        if "idle" in told and told["idle"].any():
            return None
        rollout.reward[t], rollout.over[t] = torch.as_tensor(reward), torch.as_tensor(ended | cut)
        if "final_info" in told:  # Of the episodes that ended in this step.
            reached = told["final_info"].get("success", ended)  # A dream knows no success.
            done += reached[told["_final_info"]].tolist()
    return rollout, seen


def learn(
    envs: Any, steps: int, seed: int = 0, gamma: float = GAMMA
) -> tuple[Agent, int, list[bool]]:
    """Return the agent, the steps that it learned from, and which episodes ended in success."""
    torch.manual_seed(seed)  # pyright: ignore
    torch.set_num_threads(1)
    learned, done = 0, list[bool]()
    seen, _ = envs.reset(seed=seed)
    agent = Agent(seen.shape[1], envs.single_action_space.shape[0])
    optimizer = torch.optim.Adam(agent.parameters(), LR, eps=1e-5)
    while learned < steps and (found := collect(envs, agent, seen, done)):
        rollout, seen = found
        with torch.no_grad():
            after = agent.value(torch.as_tensor(seen, dtype=torch.float32))
        update(agent, optimizer, rollout, advantages(rollout, after, gamma))
        learned += rollout.reward.numel()
    envs.close()  # Posts what was simulated.
    return agent, learned, done


def main() -> None:
    """Train with the options of the command line, and say how often it succeeded at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="TwoRoom")
    parser.add_argument("--steps", type=int, default=150_000)
    parser.add_argument("--budget", type=float, default=None)
    asked = parser.parse_args()
    _, learned, done = learn(make(asked.env, "local", asked.budget), asked.steps)
    last = done[-50:]
    print(f"{learned} steps; {sum(last)} of the last {len(last)} episodes ended in success.")


if __name__ == "__main__":
    main()
