"""Worlds with goals, as Gymnasium-Robotics and hindsight replay use them."""

from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from sandbox import goals
from sandbox.errors import InvalidInputError
from tests.running import recipe


@pytest.fixture(scope="module", params=["two_room", "push_t"])
def goal_file(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    made = tmp_path_factory.mktemp("goals") / "set.json"
    source = recipe(request.param, policies={"play": 1.0}, episodes=40, scenario=None)
    goals.make(source, made, pairs=3, offset=8, account=None)
    return made


@pytest.mark.parametrize("starts", ["pairs", "fresh"])
def test_it_keeps_the_conventions(goal_file: Path, starts: str) -> None:
    env = goals.GoalEnv(goal_file, starts=starts)
    check_env(env, skip_render_check=True)
    seen, info = env.reset(seed=1)
    rewards = []
    for _ in range(16):
        seen, reward, ended, cut, info = env.step(env.action_space.sample())
        again = env.compute_reward(seen["achieved_goal"], seen["desired_goal"], info)
        assert reward == again
        assert bool(info["is_success"]) == (reward == 0.0)
        assert not ended
        rewards.append(reward)
    assert cut
    many = np.stack([seen["achieved_goal"], seen["desired_goal"]])
    found = env.compute_reward(many, np.stack([seen["desired_goal"]] * 2), [info, info])
    assert found.tolist() == [rewards[-1], 0.0]
    env.close()


def test_a_known_solution_is_rewarded(goal_file: Path) -> None:
    env = goals.GoalEnv(goal_file, level="strict")
    for pair in goals.open(goal_file):
        env.reset(options={"pair": pair.number})
        rewards = [env.step(action)[1] for action in pair.known]
        assert rewards[-1] == 0.0
        assert rewards[0] == -1.0
    with pytest.raises(InvalidInputError, match="from 0 on"):
        env.reset(options={"pair": 3})
    env.close()


def test_hindsight_replay_learns_from_it(goal_file: Path) -> None:
    from stable_baselines3 import SAC, HerReplayBuffer

    env = goals.GoalEnv(goal_file, starts="fresh")
    model = SAC(
        "MultiInputPolicy",
        env,
        replay_buffer_class=HerReplayBuffer,
        learning_starts=40,
        batch_size=16,
        seed=0,
    )
    model.learn(60)
    buffer = model.replay_buffer
    assert isinstance(buffer, HerReplayBuffer)
    rewards = buffer.sample(200).rewards
    assert (rewards == 0.0).float().mean() > 0.3  # Hindsight: most goals were reached.
    env.close()
