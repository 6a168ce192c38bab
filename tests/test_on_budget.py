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
from sandbox.wrappers import EndsOnSuccess, IdlesOnBudget

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
        env: Any = IdlesOnBudget(gymnasium.make(ID, account="lab", observation=observation))
        seen, info = env.reset(seed=0)
        assert env.observation_space.contains(seen)
        assert info["idle"]
        assert "An episode costs" in env.why["message"]
        *_, truncated, info = env.step(STILL)
        assert truncated
        assert info["idle"]
        env.close()
    with pytest.raises(BudgetExhaustedError):
        gymnasium.make(ID, account="lab").reset(seed=0)


def test_no_idle_row_is_a_success_whatever_the_last_row_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.monitor import Monitor

    Ledger().grant("lab", prices.micro(0.9))
    monkeypatch.setattr(type(gymnasium.make(ID, account=None).unwrapped), "success", lambda _: True)
    env: Any = IdlesOnBudget(gymnasium.make(ID, account="lab"))
    for wrapped in (EndsOnSuccess(env), env):
        if not env.idle:
            assert wrapped.reset(seed=0)[1]["is_success"]
            assert wrapped.step(STILL)[2]
            wrapped.reset(seed=0)
        for _ in range(3):
            _, told = wrapped.reset()
            _, reward, terminated, truncated, info = wrapped.step(STILL)
            assert (reward, terminated, truncated) == (0.0, False, True)
            for row in (told, info):
                assert not row["success"]
                assert not row["is_success"]
    seen = list[bool]()
    watched = Monitor(EndsOnSuccess(env), info_keywords=("is_success",))
    model = PPO("MlpPolicy", watched, device="cpu")
    evaluate_policy(
        model,
        watched,
        n_eval_episodes=2,
        callback=lambda known, _: seen.append(bool(known["info"]["is_success"])),
    )
    assert seen == [False, False]
    env.close()


@pytest.mark.parametrize("paid_rows", [False, True])
@pytest.mark.parametrize("world", ["CartpoleSwingup", "PushCubes"])
def test_an_idle_row_has_all_that_a_row_has_and_belongs_to_the_caller(
    world: str, paid_rows: bool
) -> None:
    name, seen = f"sandbox:sandbox/{world}-v0", ["proprio", "pixels"]
    whole: Any = gymnasium.make(name, account=None, observation=seen)
    usual = whole.reset(seed=0)[1]
    env: Any = IdlesOnBudget(
        gymnasium.make(name, account=None, observation=seen, budget=30.0 if paid_rows else 0.0)
    )
    row, ended = env.reset(seed=0), False
    while paid_rows and not ended:
        row = env.step(np.zeros(env.action_space.shape))
        ended = row[3]
    kept = {key: value.copy() for key, value in row[0].items()}
    state = row[-1]["state"].copy()
    for value in (*row[0].values(), row[-1]["state"]):
        value.fill(7)
    for _ in range(2):
        for observation, info in (env.reset(), env.step(env.action_space.sample())[::4]):
            assert {*info, "budget"} == {*usual, "idle", "budget"}
            for key, value in usual.items():
                assert type(info[key]) is type(value), key
                assert np.shape(info[key]) == np.shape(value)
            assert np.array_equal(info["state"], state)
            assert all(np.array_equal(observation[key], kept[key]) for key in kept)
            assert env.observation_space.contains(observation)
            for value in (*observation.values(), info["state"]):
                value.fill(9)
    whole.close()
    env.close()


def test_stable_baselines_stops_at_once_without_credit() -> None:
    from stable_baselines3 import PPO

    from sandbox.sb3 import StopOnBudget

    stop = StopOnBudget()
    env = IdlesOnBudget(gymnasium.make(ID, account=None, budget=0.0))
    assert PPO("MlpPolicy", env, device="cpu").learn(10_000, callback=stop).num_timesteps == 1
    assert stop.exhausted
    env.close()


@pytest.mark.filterwarnings("default")  # TorchRL's own, about itself.
def test_torchrl_registers_the_info_of_an_environment_without_credit() -> None:
    from torchrl.envs import GymWrapper

    env: Any = GymWrapper(IdlesOnBudget(gymnasium.make(ID, account=None, budget=0.0)))
    rolled = env.auto_register_info_dict().rollout(1)
    assert rolled["next", "idle"].all()
    assert not rolled["next", "is_success"].any()
    env.close()


def test_rendering_while_idle_shows_the_last_frame_or_black_at_no_cost(tmp_path: Path) -> None:
    from gymnasium.wrappers import RenderCollection

    keywords: dict[str, Any] = dict(account=None, render_mode="rgb_array", image_size=16)
    black: Any = IdlesOnBudget(gymnasium.make(ID, budget=0.0, **keywords))
    black.reset(seed=0)
    assert not black.render().any()
    env: Any = IdlesOnBudget(gymnasium.make(ID, budget=1.5, **keywords))
    env.reset(seed=0)
    frame = env.render()
    while not env.step(STILL)[3]:
        frame = env.render()
    meter = env.unwrapped.meter
    frame = env.render()
    env.reset()
    assert env.idle
    for _ in range(2):
        shown = env.render()
        assert np.array_equal(shown, frame)
        shown.fill(0)
    frames: Any = RenderCollection(env, pop_frames=False)
    frames.reset()
    total = meter.total
    for _ in range(3):
        frames.step(STILL)
        frames.reset()
    assert meter.total == total <= prices.micro(1.5)
    assert frame.any()
    black.close()
    frames.close()


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


@pytest.mark.filterwarnings("default")  # TorchRL's own, about itself.
@pytest.mark.parametrize(
    ("name", "envs", "resets"), [("ppo_in_one_file", 8, 1), ("torchrl_ppo", 1, 3)]
)
def test_an_agent_in_one_file_learns_from_whole_rollouts_until_the_credit_is_spent(
    name: str, envs: int, resets: int
) -> None:
    Ledger().grant("lab", prices.micro(10_000))
    step = prices.current().cost({"physics_step": PHYSICS})
    budget = (resets * envs * 400_000 + 1500 * step) / 1e6  # One rollout of 1,024 steps, and more.
    one, world = example(name), "CartpoleSwingup"
    if "learn" in one:
        policy, learned, done = one["learn"](one["make"](world, "lab", budget), 100_000)
    else:
        policy, learned, done = one["train"](world, 100_000, budget, "lab")
    steps, micro = paid()
    assert (learned, 1024 < steps <= 1500) == (1024, True)
    assert micro <= prices.micro(budget)
    assert [*policy.parameters()]
    assert len(done) == (0 if envs > 1 else 2)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_vector_that_resets_itself_ends_with_every_row_that_was_paid(mode: str) -> None:
    Ledger().grant("lab", prices.micro(10_000))
    rows = example("vector_on_budget")["roll_out"](5.0, 2, "lab", mode)
    steps, micro = paid()
    resets = round((micro - prices.current().cost({"physics_step": steps * PHYSICS})) / 400_000)
    assert steps <= rows <= steps + resets  # A reset is a row of the next step.
    assert micro <= prices.micro(10)


def test_a_wrapped_environment_is_made_again_from_its_spec() -> None:
    env: Any = IdlesOnBudget(EndsOnSuccess(gymnasium.make(ID, account=None, budget=1.0)))
    again: Any = gymnasium.make(env.spec)
    assert str(again) == str(env)
    assert again.reset(seed=1)[1]["idle"] == env.reset(seed=1)[1]["idle"]
    again.close()
    env.close()
