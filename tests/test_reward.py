"""The reward: sooner success is better, waiting costs, failing costs what waiting would."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import recipe

import sandbox
from sandbox import catalogue
from sandbox.env import Policy, SandboxEnv
from sandbox.errors import UnknownNameError


def made(name: str, **keywords: Any) -> SandboxEnv:
    return catalogue.environment(name)(account=None, **keywords)


def rolled_out(env: SandboxEnv, act: Policy) -> tuple[list[float], bool]:
    """Return what an episode under way earns, and whether it ends in success."""
    rewards, info, over = list[float](), dict[str, Any](), False
    while not over:
        _, reward, ended, cut, info = env.step(act())
        rewards.append(float(reward))
        over = ended or cut
    return rewards, info["success"]


def test_the_sparse_reward_is_minus_1_until_success_and_then_0() -> None:
    env = made("two_room", reward="sparse")
    env.reset(seed=0)
    rewards, success = rolled_out(env, env.scripted(np.random.default_rng(0)))
    assert success
    assert rewards == [-1.0] * (len(rewards) - 1) + [0.0]
    env = made("tower", reward="sparse")  # Of fixed length: it goes on after success.
    env.reset(seed=0)
    rewards, success = rolled_out(env, env.scripted(np.random.default_rng(0)))
    assert success
    assert rewards == sorted(rewards)
    assert set(rewards) == {-1.0, 0.0}


@pytest.mark.parametrize("name", ["push_t", "tower", "panda_reach", "cartpole_swingup"])
def test_the_dense_reward_is_the_gain_of_worth_less_the_shortfall(name: str) -> None:
    env = made(name)
    env.reset(seed=1)
    first, short = env.progress() + env.success(), 0.0
    act, total, over = env.scripted(np.random.default_rng(1)), 0.0, False
    while not over:
        _, reward, ended, cut, _ = env.step(act())
        short, total, over = short + env.shortfall(), total + float(reward), ended or cut
    worth = env.progress() + env.success()
    assert worth >= 1.0
    assert total == pytest.approx(env.max_episode_steps() * (worth - first) - short)


@pytest.mark.parametrize("limit_s", [None, 5.0])
def test_a_crash_costs_what_waiting_to_the_end_would(limit_s: float | None) -> None:
    scenario = {"format": 1, "environment": "quadrotor", "limit_s": limit_s}
    falls = np.full(4, -1.0, np.float32)
    for kind in ("sparse", "dense"):
        env = made("quadrotor", reward=kind, scenario=scenario)
        env.reset(seed=0)
        first = env.progress()
        rewards, success = rolled_out(env, falls.copy)
        assert not success
        assert len(rewards) < env.max_steps
        gained = (env.progress() - first) * env.max_episode_steps() if kind == "dense" else 0.0
        assert sum(rewards) == pytest.approx(gained - env.max_steps)


def test_a_restored_state_earns_the_same_again() -> None:
    env = made("push_t")
    env.reset(seed=3)
    act = env.scripted(np.random.default_rng(3))
    for _ in range(20):
        env.step(act())
    snapshot, still = env.snapshot(), np.zeros(2, np.float32)
    once = [env.step(still)[1] for _ in range(3)]
    env.restore(snapshot)
    assert [env.step(still)[1] for _ in range(3)] == pytest.approx(once, abs=1e-3)


def test_a_reward_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="no reward is called 'spars'"):
        made("push_t", reward="spars")


def test_a_run_records_its_reward_and_is_verified(tmp_path: Path) -> None:
    for kind in ("dense", "sparse"):
        wanted = recipe("two_room", policies={"scripted": 1.0}, reward=kind)
        sandbox.generate(wanted, tmp_path / kind)
        report = sandbox.verify(tmp_path / kind)
        assert report.faults == []
        assert report.replayed == 3
    dense, sparse = (sandbox.open_run(tmp_path / kind) for kind in ("dense", "sparse"))
    assert dense.identity.run != sparse.identity.run
    assert set(sparse.episode(0).rows["reward"][1:]) == {-1.0, 0.0}
