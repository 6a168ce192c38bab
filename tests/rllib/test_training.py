"""RLlib trains on an environment as it is: two iterations of PPO."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest
import ray
from ray.rllib.algorithms.ppo import PPOConfig

from sandbox.ledger import Ledger

STEPS = 400  # Of a batch.


@pytest.fixture(autouse=True)
def _cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A ledger, and a cluster of this machine, of which the test is the only user."""
    monkeypatch.setenv("SANDBOX_HOME", str(tmp_path / "home"))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")  # RLlib's own, about itself.
@pytest.mark.parametrize("runners", [0, 1])
def test_rllib_trains_two_iterations_and_pays(runners: int) -> None:
    assert gymnasium.__version__ == "1.2.2"
    config = (
        PPOConfig()
        .environment("sandbox:sandbox/PushT-v0", env_config={"label": "rllib"})
        .env_runners(num_env_runners=runners)
        .training(train_batch_size_per_learner=STEPS, minibatch_size=100, num_epochs=2)
        .debugging(seed=0)
    )
    algorithm = config.build_algo()
    results = [algorithm.train() for _ in range(2)]
    algorithm.stop()
    assert [result["training_iteration"] for result in results] == [1, 2]
    assert results[1]["num_env_steps_sampled_lifetime"] >= 2 * STEPS
    assert math.isfinite(results[1]["learners"]["default_policy"]["total_loss"])
    posts = [one for one in Ledger().transfers() if one.move.kind == "post"]
    assert posts
    assert {one.move.facts["label"] for one in posts} == {"rllib"}
    assert Ledger().check() == []
    assert os.environ["SANDBOX_HOME"]
