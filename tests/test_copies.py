"""Copies of environments: fresh ones are made again, used ones refused, forked ones told apart."""

import copy
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
import pytest

from sandbox import catalogue
from sandbox.env import SandboxEnv
from sandbox.errors import InvalidInputError
from sandbox.ledger import Ledger

WAYS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda it: pickle.loads(pickle.dumps(it)),
    "cloudpickle": lambda it: pickle.loads(cloudpickle.dumps(it)),
}


def made(**keywords: Any) -> SandboxEnv:
    return catalogue.environment("push_t")(**keywords)


@pytest.mark.parametrize("way", WAYS)
def test_a_fresh_environment_is_copied_with_a_simulation_of_its_own(way: str) -> None:
    env = made(observation=["proprio"], labels=True, budget=50.0, reward="sparse")
    other = WAYS[way](env)
    still = np.zeros(2, np.float32)
    first, second = env.reset(seed=1)[1], other.reset(seed=1)[1]
    assert first["state"].tobytes() == second["state"].tobytes()
    for _ in range(3):
        other.step(still)
    assert (env.t, other.t, env.world.feels, other.world.feels) == (0, 3, True, True)
    assert env.world.read() == env.row
    assert env.meter.spent < other.meter.spent
    for one in (env, other):
        one.close()
    posts = [one for one in Ledger().transfers() if one.move.kind == "post"]
    assert len({post.move.id for post in posts}) == 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_used_environment_is_not_copied(way: str, wrapped: bool) -> None:
    env: Any = gymnasium.make("sandbox:sandbox/PushT-v0") if wrapped else made()
    env.reset(seed=1)
    before = env.unwrapped.meter.spent
    if way == "copy" and wrapped:  # A second wrapper around the same environment.
        env.close()
        return
    with pytest.raises(InvalidInputError, match=r"Use branch\(\)"):
        WAYS[way](env)
    env.step(np.zeros(2, np.float32))
    assert env.unwrapped.meter.spent > before
    env.close()
    with pytest.raises(InvalidInputError, match="not copied"):
        WAYS[way](env.unwrapped)


def _told(write: int, env: SandboxEnv) -> None:
    """What a child does with its parent's environment; each call must be refused."""
    still = np.zeros(2, np.float32)
    calls: list[Callable[[], Any]] = [lambda: env.step(still), lambda: env.reset(seed=2)]
    calls += [env.snapshot, env.render]
    refused = 0
    for call in calls:
        try:
            call()
        except InvalidInputError as error:
            refused += "forked after the first reset" in str(error)
    env.settle()
    env.close()
    os.write(write, str(refused).encode())
    os._exit(0)


def test_a_forked_process_leaves_the_episode_to_the_one_that_began_it() -> None:
    env = made(render_mode="rgb_array")
    env.reset(seed=1)
    env.step(np.zeros(2, np.float32))
    read, write = os.pipe()
    child = os.fork()
    if not child:
        _told(write, env)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(read, 10) == b"4"
    env.step(np.zeros(2, np.float32))
    spent = env.meter.spent
    env.close()
    (post,) = [one for one in Ledger().transfers() if one.move.kind == "post"]
    assert post.move.amount == spent


def test_an_environment_that_was_not_used_is_used_in_a_forked_process() -> None:
    env = made()
    child = os.fork()
    if not child:
        env.reset(seed=1)
        env.step(np.zeros(2, np.float32))
        env.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    env.reset(seed=1)
    env.close()
    assert len([one for one in Ledger().transfers() if one.move.kind == "post"]) == 2


def test_vectors_of_spawned_and_forked_processes_take_fresh_environments() -> None:
    for context in ("spawn", "fork"):
        vector = gymnasium.make_vec(
            "sandbox:sandbox/PushT-v0",
            num_envs=2,
            vectorization_mode="async",
            vector_kwargs={"context": context},
            account=None,
        )
        observation, _ = vector.reset(seed=3)
        vector.step(vector.action_space.sample())
        assert observation.shape[0] == 2
        vector.close()


SCENARIO = "format: 1\nenvironment: push_t\nlimit_s: {}\nfactors: {{t_mass_kg: 0.7}}\n"


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_is_of_what_the_environment_was_made_of(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "one"
    monkeypatch.setenv("SANDBOX_HOME", str(home))
    monkeypatch.setenv("SANDBOX_PRICES", "1")
    monkeypatch.chdir(tmp_path)
    Path("short.yaml").write_text(SCENARIO.format(1))
    env = made(scenario="short.yaml", budget=1.0, label="sweep")
    env.meter.top_up(3_000_000)
    Path("short.yaml").write_text(SCENARIO.format(2))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("SANDBOX_PRICES", "2")
    monkeypatch.setenv("SANDBOX_HOME", str(tmp_path / "two"))
    other = WAYS[way](env)
    again = WAYS[way](other)
    for one in (env, other, again):
        assert (one.max_steps, one.meter.balance) == (env.max_steps, 4_000_000)
        assert one.scenario.digest == env.scenario.digest
        assert (one.meter.schedule, one.costs.step.charges) == (
            env.meter.schedule,
            env.costs.step.charges,
        )
        one.reset(seed=0)
        one.step(np.zeros(2, np.float32))
        branch = one.branch()
        assert branch.meter.spent == one.meter.spent
        branch.close()
        one.close()
    posts = [one for one in Ledger(home / "ledger.db").transfers() if one.move.kind == "post"]
    assert len(posts) == 3
    assert len({post.move.amount for post in posts}) == 1
    assert not (tmp_path / "two" / "ledger.db").exists()
