"""Other people's tools take every environment as it is.

The long version (SANDBOX_SOAK=1, `make soak`) tries every world in every way; the short one tries
every world in one way, and one world in every way.
"""

import multiprocessing
import os
import warnings
from collections.abc import Iterable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from sandbox import catalogue
from sandbox.wrappers import EndsOnSuccess

SOAK = "SANDBOX_SOAK" in os.environ
LEARNED = [
    ("cartpole_swingup", 40.0),
    ("panda_reach", 4.0),
]  # Return gained by PPO.


def gym_id(name: str) -> str:
    return f"sandbox:{catalogue.gym_id(name)}"


def crossed(ways: Iterable[Any]) -> list[tuple[str, Any]]:
    """Return worlds with ways to try them: every world in the first way, push_t in every way."""
    worlds, (first, *rest) = catalogue.environments(), ways
    return [
        *((world, first) for world in worlds),
        *((world, way) for world in worlds for way in rest if SOAK or world == "push_t"),
    ]


@pytest.mark.parametrize(("world", "observation"), crossed(["proprio", "pixels"]))
def test_stable_baselines_checker_finds_nothing(world: str, observation: str) -> None:
    from stable_baselines3.common.env_checker import check_env

    env = gymnasium.make(gym_id(world), observation=observation, account=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, warn=True, skip_render_check=True)
    env.close()


@pytest.mark.filterwarnings("default")  # TorchRL's own, about itself.
@pytest.mark.parametrize(("world", "observation"), crossed(["proprio", "pixels"]))
def test_torchrl_checker_finds_nothing(world: str, observation: str) -> None:
    from torchrl.envs import GymWrapper
    from torchrl.envs.utils import check_env_specs

    env = GymWrapper(gymnasium.make(gym_id(world), observation=observation, account=None))
    check_env_specs(env, seed=0)
    env.close()


@pytest.mark.parametrize(("world", "mode"), crossed(AutoresetMode))
def test_vectors_of_every_mode_are_the_same_in_one_process_and_in_processes_of_their_own(
    world: str, mode: AutoresetMode
) -> None:
    # One mode in processes that start from nothing, the others from one that has imported all.
    context = "spawn" if mode == AutoresetMode.SAME_STEP else "forkserver"
    multiprocessing.set_forkserver_preload(["gymnasium", "sandbox.env"])
    apart = vector_rows(world, mode, "async", context=context)
    together = vector_rows(world, mode, "sync")
    assert len(together) == len(apart)
    assert all(np.array_equal(one, other) for one, other in zip(together, apart, strict=True))


def vector_rows(name: str, mode: AutoresetMode, how: str, **keywords: Any) -> list[Any]:
    """What two environments show in some steps, in which their short episodes end twice."""
    hz, steps = catalogue.environment(name).control_hz, 4
    envs = gymnasium.make_vec(
        gym_id(name),
        num_envs=2,
        vectorization_mode=how,
        vector_kwargs={"autoreset_mode": mode, **keywords},
        account=None,
        scenario={"format": 1, "environment": name, "limit_s": steps / hz},
    )
    observations, _ = envs.reset(seed=3)
    assert not np.array_equal(observations[0], observations[1])
    envs.action_space.seed(0)
    rows, ends = [observations.copy()], 0
    for _ in range(2 * steps + 2):
        observations, rewards, terminated, truncated, infos = envs.step(envs.action_space.sample())
        over = terminated | truncated
        ends += over.any()
        rows += [observations.copy(), rewards, over]
        if mode == AutoresetMode.SAME_STEP and over.any():
            rows += [*infos["final_obs"]]
        if mode == AutoresetMode.DISABLED and over.any():
            observations, _ = envs.reset(options={"reset_mask": over})
            rows.append(observations.copy())
    envs.close()
    assert ends == 2
    return rows


@pytest.mark.skipif(not SOAK, reason="it trains for 40 s: run `make soak`")
@pytest.mark.parametrize(("name", "gain"), LEARNED)
def test_a_short_run_of_ppo_learns_something(name: str, gain: float) -> None:
    import torch
    from stable_baselines3 import PPO

    torch.set_num_threads(1)
    env = gymnasium.make(gym_id(name), account=None)
    options = {"n_steps": 1024, "batch_size": 128, "gamma": 0.98, "learning_rate": 1e-3}
    model = PPO("MlpPolicy", env, seed=0, device="cpu", **options)
    before = mean_return(model, env)
    model.learn(8192)
    assert mean_return(model, env) > before + gain


def mean_return(model: Any, env: gymnasium.Env[Any, Any]) -> float:
    returns: list[float] = []
    for seed in range(1000, 1008):
        observation, _ = env.reset(seed=seed)
        returns.append(0.0)
        over = False
        while not over:
            action, _ = model.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(action)
            returns[-1] += float(reward)
            over = terminated or truncated
    return float(np.mean(returns))


def test_an_episode_ends_on_success_and_what_else_ended_it_truncates() -> None:
    ends: dict[str, tuple[bool, bool, bool]] = {}
    for name, scripted in (("tower", True), ("push_t", True), ("quadruped", False)):
        env = EndsOnSuccess(gymnasium.make(gym_id(name), account=None))
        env.reset(seed=0)
        act, rng = env.unwrapped.scripted(np.random.default_rng(0)), np.random.default_rng(0)
        over = False
        while not over:
            action = act() if scripted else np.sign(rng.uniform(-1, 1, 8)).astype(np.float32)
            _, _, terminated, truncated, info = env.step(action)
            over = terminated or truncated
        ends[name] = (terminated, truncated, env.unwrapped.terminated())
        assert terminated == info["success"]
        env.close()
    assert ends["tower"] == (True, False, False)  # Of fixed length, it never terminates itself.
    assert ends["push_t"] == (True, False, True)
    assert ends["quadruped"][:2] == (False, True)
