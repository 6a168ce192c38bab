"""stable-worldmodel's World drives every environment: collect, evaluate, factors by name.

A job of its own, `make swm`, for it needs that package and all that it brings.
"""

from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest
import stable_worldmodel
from running import recipe
from stable_worldmodel.data import HDF5Dataset
from stable_worldmodel.policy import BasePolicy, RandomPolicy
from test_generate import generate

from sandbox import catalogue
from sandbox.trajectory import ShardReader, shards
from sandbox.wrappers import EndsOnSuccess

STEPS = 12


class Scripted(BasePolicy):
    """The environments' own policies; a new one whenever an episode begins."""

    def get_action(self, info_dict: Any, **_: Any) -> Any:
        actions: list[Any] = []
        for n, wrapped in enumerate(self.env.envs):
            env = wrapped.unwrapped
            if env.t == 0:
                self.acts[n] = env.scripted(np.random.default_rng(0))
            actions.append(self.acts[n]())
        return np.array(actions)

    def set_env(self, env: Any) -> None:
        super().set_env(env)
        self.acts: dict[int, Any] = {}


def world(name: str, steps: int, num_envs: int = 2, *wrappers: Any) -> stable_worldmodel.World:
    return stable_worldmodel.World(
        f"sandbox:{catalogue.gym_id(name)}",
        num_envs=num_envs,
        image_shape=(64, 64),
        max_episode_steps=steps,
        pre_wrappers=list(wrappers),
        account=None,
    )


def test_what_it_collects_is_what_the_environment_does(name: str, tmp_path: Path) -> None:
    path, varied = tmp_path / "collected.h5", list(catalogue.environment(name).factors)[:3]
    made = world(name, STEPS)
    made.set_policy(RandomPolicy(seed=1))
    options = {"variation": varied}
    made.collect(path, episodes=2, seed=7, options=options, format="hdf5", progress=False)
    made.close()
    rows = HDF5Dataset(path=path, num_steps=2)
    assert rows.lengths.tolist() == [STEPS, STEPS]
    with h5py.File(path) as file:
        columns = {key: file[key][:] for key in file}
    env = gymnasium.make(
        f"sandbox:{catalogue.gym_id(name)}", account=None, render_mode="rgb_array"
    ).unwrapped
    for n in range(2):
        mine = {key: column[n * STEPS : (n + 1) * STEPS] for key, column in columns.items()}
        env.reset(seed=7 + n, options=options)
        actions = np.roll(mine["action"], 1, axis=0)  # Row t holds the action taken at t.
        for t, action in enumerate(actions):
            observation, reward, _, _, info = env.step(action)
            assert np.array_equal(mine["observation"][t], observation)
            assert np.array_equal(mine["state"][t], info["state"])
            assert mine["reward"][t] == pytest.approx(reward, rel=1e-6)
            assert np.array_equal(mine["pixels"][t], env.render())
            for factor in varied:
                assert np.array_equal(
                    mine[f"variation.{factor}"][t], env.variation_space[factor].value
                )
    env.close()


def test_it_evaluates_a_policy(name: str) -> None:
    made = world(name, catalogue.environment(name).max_episode_steps(), 2, EndsOnSuccess)
    made.set_policy(Scripted())
    found = made.evaluate(episodes=4, seed=0)
    made.close()
    assert found["success_rate"] >= 75.0, found
    assert len(set(found["seeds"])) == 4


def test_it_varies_the_factors_that_are_named_and_no_others(name: str) -> None:
    made = world(name, STEPS, num_envs=1)
    space = made.envs.variation_space
    assert space.names() == list(catalogue.environment(name).factors)
    plain = {key: space[key].init_value for key in space.names()}
    for factor in space.names():
        moved: set[str] = set()
        for seed in range(3, 8):  # A count may be drawn as what it is by default.
            made.reset(seed=seed, options={"variation": [factor]})
            now = made.envs.variation_space.value
            moved |= {key for key in plain if not np.array_equal(now[key], plain[key])}
            assert np.array_equal(made.infos[f"variation.{factor}"][0, 0], now[factor])
        assert moved == {factor}
    made.close()


def test_it_reads_what_we_generate(name: str, tmp_path: Path) -> None:
    wanted = recipe(name, observation=["proprio", "pixels"], image_size=16, labels=True)
    generate(wanted, tmp_path / "run")
    (shard,) = shards(tmp_path / "run")
    rows = HDF5Dataset(path=shard, num_steps=4)
    with ShardReader(shard) as reader:
        episodes = [reader.read(n).rows for n in range(len(reader))]
    assert rows.lengths.tolist() == [len(episode["state"]) for episode in episodes]
    assert len(rows) == sum(max(0, len(episode["state"]) - 3) for episode in episodes)
    first = 0
    for episode in episodes:
        count = len(episode["state"]) - 3
        for t in {0, count // 2, count - 1}:
            window = rows[first + t]
            for column in ("proprio", "state", "action", "reward", "pixels"):
                values = window[column].numpy()
                if column == "pixels":
                    values = values.transpose(0, 2, 3, 1)
                assert np.array_equal(values, episode[column][t : t + 4], equal_nan=True), column
        first += count
