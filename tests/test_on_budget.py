"""The end of credit ends other libraries' training in their ordinary way; all that is paid stays.

What an example says was paid is what
the ledger says.
"""

import multiprocessing
import runpy
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from sandbox import catalogue, prices
from sandbox.errors import BudgetExhaustedError
from sandbox.ledger import Ledger
from sandbox.ledger.statement import statement
from sandbox.wrappers import IdlesOnBudget

ID = "sandbox:sandbox/CartpoleSwingup-v0"
EXAMPLES = Path(__file__).parent.parent / "examples"
PHYSICS = catalogue.environment("cartpole_swingup")(account=None).physics_steps
STILL = np.zeros(1, np.float32)


def example(name: str) -> Any:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def paid(account: str = "lab") -> tuple[int, int]:
    """The steps and microcredits that were posted; nothing is held, and the ledger is right."""
    book = Ledger()
    posts = [line for line in statement(book, account) if line["kind"] == "post"]
    assert book.balance(account).pending_micro == 0
    assert book.check() == []
    steps = sum(post["work"].get("physics_step", 0) for post in posts) // PHYSICS
    return steps, -sum(post["amount_micro"] for post in posts)


def test_a_spent_environment_idles_at_no_cost_and_goes_on_after_a_top_up() -> None:
    book, step = Ledger(), prices.current().cost({"physics_step": PHYSICS})
    book.grant("lab", prices.micro(0.4) + 2 * step)
    env: Any = IdlesOnBudget(gymnasium.make(ID, account="lab"))
    env.reset(seed=0)
    env.step(STILL)
    last, _, _, truncated, info = env.step(STILL)
    assert truncated
    assert (info["idle"], info["budget"]["reason"]) == (False, "exhausted")
    builds = env.unwrapped.world.builds
    for seen, told in (env.reset(), env.step(STILL)[::4], env.reset(), env.step(STILL)[::4]):
        assert np.array_equal(seen, last)
        assert (told["charged"], told["idle"]) == (0, True)
        assert told["budget"]["reason"] == "exhausted"
    assert env.step(STILL)[1:4] == (0.0, False, True)
    assert env.unwrapped.world.builds == builds
    assert paid() == (2, prices.micro(0.4) + 2 * step)
    book.grant("lab", prices.micro(5))
    seen, told = env.reset(seed=1)
    assert not told["idle"]
    assert "budget" not in told
    assert not np.array_equal(seen, last)
    assert not env.step(STILL)[3]
    env.close()
    assert paid()[0] == 3


def test_an_environment_that_never_could_be_paid_idles_inside_its_space() -> None:
    Ledger().grant("lab", 1)
    for observation in ("proprio", ["proprio", "pixels"]):
        env = IdlesOnBudget(gymnasium.make(ID, account="lab", observation=observation))
        seen, info = env.reset(seed=0)
        assert env.observation_space.contains(seen)
        assert info["idle"]
        assert "An episode costs" in info["budget"]["message"]
        assert env.step(STILL)[3]
        env.close()
    with pytest.raises(BudgetExhaustedError):
        gymnasium.make(ID, account="lab").reset(seed=0)


def test_stable_baselines_ends_learning_in_processes_of_its_own() -> None:
    Ledger().grant("lab", prices.micro(10_000))
    # Its processes start from one that has imported torch, and not each from nothing.
    multiprocessing.set_forkserver_preload(["stable_baselines3", "sandbox.env"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Its own.
        model = example("sb3_on_budget")["train"](4.0, 2, "lab")
    steps, micro = paid()
    assert 0 < steps <= model.num_timesteps
    assert model.num_timesteps - steps <= 2  # The first idle row of the other process.
    assert micro <= prices.micro(8)
    assert model.predict(STILL.repeat(model.observation_space.shape[0]))[0].shape == (1,)


@pytest.mark.parametrize("every", [False, True])
def test_off_policy_learning_keeps_its_replay_buffer(every: bool) -> None:
    from stable_baselines3 import SAC
    from stable_baselines3.common.vec_env import DummyVecEnv

    from sandbox.sb3 import StopOnBudget

    book = Ledger()
    book.grant("lab", prices.micro(12))
    envs = DummyVecEnv([lambda: IdlesOnBudget(gymnasium.make(ID, account="lab"))] * 2)
    model: Any = SAC("MlpPolicy", envs, learning_starts=10_000, seed=0, device="cpu")
    stop = StopOnBudget(every=every)
    model.learn(100_000, callback=stop)
    assert stop.exhausted
    envs.close()
    steps, micro = paid()
    assert micro <= prices.micro(12)
    assert model.replay_buffer.pos == model.num_timesteps // 2 - 1  # All rows but the last.
    assert steps <= model.num_timesteps


@pytest.mark.filterwarnings("default")  # TorchRL's own, about itself.
def test_a_torchrl_collector_ends_with_every_row_that_was_paid() -> None:
    Ledger().grant("lab", prices.micro(10_000))
    batches = example("torchrl_on_budget")["collect"](12.0, "lab")
    steps, micro = paid()
    assert sum(len(batch) for batch in batches) == steps > 0
    assert micro <= prices.micro(12)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_vector_that_resets_itself_ends_with_every_row_that_was_paid(mode: str) -> None:
    Ledger().grant("lab", prices.micro(10_000))
    rows = example("vector_on_budget")["roll_out"](5.0, 2, "lab", mode)
    steps, micro = paid()
    resets = round((micro - prices.current().cost({"physics_step": steps * PHYSICS})) / 400_000)
    assert steps <= rows <= steps + resets  # A reset is a row of the next step.
    assert micro <= prices.micro(10)
