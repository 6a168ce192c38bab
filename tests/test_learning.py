"""An agent learns under a budget; what is kept is what was judged, and is read without pickle."""

import csv
import json
import math
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from running import cli

import sandbox
from sandbox import catalogue, goals, prices
from sandbox.errors import (
    BudgetExhaustedError,
    FormatError,
    InvalidInputError,
    TrainingError,
)
from sandbox.goals import calls
from sandbox.goals.learned import Learned as Named
from sandbox.learning import Learned
from sandbox.learning.making import Making, Plan
from sandbox.learning.worlds import Worlds
from sandbox.ledger import Ledger
from sandbox.ledger.statement import statement
from sandbox.models.policy import Policy
from sandbox.wrappers import ActionRepeat, IdlesOnBudget, ProgressReward

QUICK: dict[str, dict[str, Any]] = {
    "A2C": {"n_steps": 8},
    "DDPG": {"learning_starts": 20, "batch_size": 8, "net_arch": [16]},
    "PPO": {"n_steps": 16, "batch_size": 16, "n_epochs": 1},
    "SAC": {"learning_starts": 20, "batch_size": 8, "net_arch": [16, 16], "activation_fn": "elu"},
    "TD3": {"learning_starts": 20, "batch_size": 8, "net_arch": [16], "action_noise": 0.2},
}


def learnt(out: Path, algorithm: str = "PPO", world: str = "two_room", **more: Any) -> Learned:
    """Learn for 64 steps, judged in one episode."""
    given = {"steps": 64, "evaluations": 2, "episodes": 1, "account": None, "film": False}
    return sandbox.learn(world, out, algorithm, settings=QUICK[algorithm], **(given | more))


def worlds_of(name: str, reward: str) -> Worlds:
    return Worlds(
        name=name,
        scenario=None,
        observation="proprio",
        image_size=64,
        reward=reward,
        schedule=prices.chosen("3"),
        account=None,
        ledger=None,
        label="learn",
        trust_code=False,
    )


def curve(out: Path) -> list[dict[str, str]]:
    with open(out / "metrics.csv") as file:
        return [*csv.DictReader(file)]


@pytest.mark.parametrize("algorithm", QUICK)
def test_the_policy_that_is_kept_acts_as_the_algorithm_does(algorithm: str, tmp_path: Path) -> None:
    learned = learnt(tmp_path / "out", algorithm)
    policy = Policy.read(tmp_path / "out" / "policy.safetensors")
    assert (policy.digest, policy.facts.algorithm) == (learned.policy, algorithm)
    import stable_baselines3

    model = getattr(stable_baselines3, algorithm).load(tmp_path / "out" / "model.zip")
    (size,), plain = policy.facts.inputs[0].shape, torch.tensor([[0.0], [1.0]])
    mean, deviation = policy.weights.get("proprio:scale", plain.repeat(1, size)).numpy()
    rng = np.random.default_rng(0)
    for _ in range(20):
        seen = rng.uniform(-1, 1, size).astype(np.float32)
        scaled = np.clip((seen - mean) / deviation, -10, 10).astype(np.float32)
        expected = model.predict(scaled, deterministic=True)[0]
        assert np.allclose(policy.act(seen), expected, atol=1e-5)


def test_the_same_arguments_give_the_same_policy_and_another_seed_another(tmp_path: Path) -> None:
    one, same, other = (
        learnt(tmp_path / str(n), environments=2, seed=seed).policy
        for n, seed in enumerate((1, 1, 2))
    )
    assert one == same != other


def test_the_bill_by_label_is_what_the_ledger_was_charged(tmp_path: Path) -> None:
    Ledger().grant("lab", prices.micro(10_000))
    varied: dict[str, Any] = {"scenario": "two_room_varied", "held_out": ["extrapolation"]}
    learned = learnt(tmp_path / "out", account="lab", film=True, label="exp-1", **varied)
    posts = [line for line in statement(Ledger(), "lab") if line["kind"] == "post"]
    charged: dict[str, int] = {}
    for post in posts:
        charged[post["label"]] = charged.get(post["label"], 0) - post["amount_micro"]
    assert charged == learned.bill_micro
    assert {*charged} == {"exp-1", "exp-1 evaluate", "exp-1 film"}
    assert Ledger().balance("lab").pending_micro == 0
    assert learned == Learned.read(tmp_path / "out")
    assert (learned.ended, learned.steps, learned.split) == ("steps", 64, "train")
    assert {*learned.judged} == {"train", "extrapolation"} == {*learned.beside["random"]}
    assert learned.beside["scripted"]["train"]["success"] == 1.0
    rows = curve(tmp_path / "out")
    assert [row["steps"] for row in rows] == ["0", "0", "32", "32", "64", "64"]
    assert (tmp_path / "out" / "film.mp4").read_bytes()[4:8] == b"ftyp"
    assert float(rows[-1]["credits"]) == pytest.approx(learned.bill_micro["exp-1"] / 1e6, abs=0.01)


def test_learning_ends_with_the_credit_and_keeps_what_was_learned(tmp_path: Path) -> None:
    step = prices.current().cost({"physics_step": 24})
    Ledger().grant("lab", prices.micro(10_000))
    with pytest.raises(BudgetExhaustedError, match="up to") as refused:
        learnt(tmp_path / "out", account="lab", budget=1)
    needed = float(str(refused.value).split("up to ")[1].split(" credits")[0].replace(",", ""))
    assert not (tmp_path / "out").exists()
    assert [one for one in statement(Ledger(), "lab") if one["kind"] == "post"] == []
    budget = needed + 20 * step / 1e6
    learned = learnt(tmp_path / "out", account="lab", budget=budget, steps=10_000)
    assert (learned.ended, 0 < learned.steps < 200) == ("credits", True)
    assert sum(learned.bill_micro.values()) <= prices.micro(budget)
    assert curve(tmp_path / "out")[-1]["steps"] == str(learned.steps)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"algorithm": "DQN"}, "no algorithm is called 'DQN'"),
        ({"settings": {"learning_rat": 1}}, "Did you mean 'learning_rate'"),
        ({"settings": {"activation_fn": "swish"}}, "no activation is called 'swish'"),
        ({"settings": {"learning_rate": "fast"}}, "PPO does not take these settings"),
        ({"settings": {"gamma": lambda _: 1}}, "no plain JSON"),
        ({"reward": "high"}, "no reward is called 'high'"),
        ({"environment": "two_rooms"}, "'two_room'"),
        ({"observation": "smell"}, "smell"),
        ({"held_out": ["far"]}, "far"),
        ({"steps": 0}, "steps must be a whole number above 0, not 0"),
        ({"label": ""}, "label"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_done(
    given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"environment": "two_room", "out": tmp_path / "out", **given}
    with pytest.raises(InvalidInputError, match=said.replace("'", ".")):
        sandbox.learn(**asked)
    assert not (tmp_path / "out").exists()
    assert [one for one in statement(Ledger(), "local") if one["kind"] == "post"] == []


def test_an_action_is_repeated_while_learning_and_by_the_policy_that_is_kept(
    tmp_path: Path,
) -> None:
    Ledger().grant("lab", prices.micro(10_000))
    given: dict[str, Any] = {"action_repeat": 4, "steps": 130, "account": "lab"}
    learned = learnt(tmp_path / "out", "SAC", "cartpole_swingup", **given)
    assert (learned.steps, learned.asked["action_repeat"]) == (132, 4)
    step = prices.current().cost({"physics_step": 10})
    assert learned.bill_micro["learn"] >= 132 * step
    policy = Policy.read(tmp_path / "out" / "policy.safetensors")
    rng = np.random.default_rng(0)
    act, seen = policy.acting(), rng.uniform(-1, 1, (9, 5)).astype(np.float32)
    found, plain = [act(one) for one in seen], [policy.act(one) for one in seen]
    assert found == [plain[n // 4 * 4] for n in range(9)]
    assert len({float(one[0]) for one in plain}) == 9
    assert Policy.read(tmp_path / "out" / "policy.safetensors").digest == learned.policy
    agent = Named(tmp_path / "out" / "policy.safetensors")
    again = [agent.act(one, {}) for one in seen[:6]]
    agent.begin(None)  # type: ignore[arg-type]
    assert (again, agent.act(seen[6], {})) == (found[:6], plain[6])


def test_a_policy_that_repeats_nothing_is_the_file_that_it_was_before(tmp_path: Path) -> None:
    learnt(tmp_path / "out")
    raw = (tmp_path / "out" / "policy.safetensors").read_bytes()
    assert b"proprio:scale" in raw
    assert b"action_repeat" not in raw


def test_repeated_steps_are_summed_counted_cut_by_the_end_and_by_the_credit() -> None:
    kind = catalogue.environment("two_room")
    plain, env = kind(account=None), ActionRepeat(kind(account=None), 7)
    plain.reset(seed=1)
    env.reset(seed=1)
    rng, over, count, times = np.random.default_rng(0), False, 0, 0
    while not over:
        action = rng.uniform(-1, 1, 2)
        seen, earned, terminated, truncated, info = env.step(action)
        times, over = int(info["repeated"]), terminated or truncated
        rows = [plain.step(action) for _ in range(times)]
        assert times == 7 or over
        assert earned == pytest.approx(sum(float(r[1]) for r in rows))
        assert np.array_equal(seen, rows[-1][0])
        count += times
    assert count == kind.max_episode_steps()
    assert times == count % 7 != 0
    schedule = prices.current()
    cost = schedule.cost(plain.work(schedule, 10))
    short = ActionRepeat(IdlesOnBudget(kind(account=None, budget=cost / 1e6)), 4)
    short.reset(seed=1)
    taken = [short.step(np.zeros(2))[3:] for _ in range(4)]
    assert [int(info["repeated"]) for _, info in taken] == [4, 4, 2, 0]
    assert [cut for cut, _ in taken] == [False, False, True, True]
    with pytest.raises(InvalidInputError, match="0 times"):
        ActionRepeat(plain, 0)


@pytest.mark.parametrize(
    ("world", "crashes"),
    [("cartpole_swingup", False), ("pendulum_chain", False), ("quadrotor", True)],
)
def test_the_reward_of_shortfall_pays_neither_way_nor_arrival(world: str, crashes: bool) -> None:
    """A crash pays for the steps that it will not take."""
    with closing(worlds_of(world, "shortfall")) as worlds:
        env = worlds.env(None, "", None)
        plain, over, left, done = env.unwrapped, False, 0, set[bool]()
        env.reset(seed=0)
        act = plain.scripted(np.random.default_rng(0))
        while not over:
            action = -np.ones(plain.action_size, np.float32) if crashes else act()
            _, earned, terminated, truncated, _ = env.step(action)
            over, left = terminated or truncated, plain.max_steps - plain.t if terminated else 0
            assert float(earned) == pytest.approx(-plain.shortfall() - left)
            done.add(bool(plain.done))
        assert done == ({False} if crashes else {False, True})
        assert (left > 0) == crashes


def test_a_folder_that_is_there_is_left_alone_and_a_stopped_training_named(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(InvalidInputError, match="something already"):
        learnt(tmp_path / "out")
    (tmp_path / "out" / "metrics.csv").touch()
    with pytest.raises(InvalidInputError, match="stopped, which cannot be continued"):
        learnt(tmp_path / "out")


def test_an_algorithm_that_fails_is_named_and_its_first_judgement_kept(tmp_path: Path) -> None:
    more: dict[str, Any] = {"steps": 64, "evaluations": 1, "episodes": 1, "account": None}
    with pytest.raises(TrainingError, match="SAC failed"):
        sandbox.learn("two_room", tmp_path / "out", "SAC", settings={"train_freq": 0}, **more)
    assert len(curve(tmp_path / "out")) == 1
    assert not (tmp_path / "out" / "learning.json").exists()


def test_pictures_are_learned_from_and_filmed(tmp_path: Path) -> None:
    seen: dict[str, Any] = {"observation": ["proprio", "pixels"], "image_size": 36, "antialias": 4}
    learnt(tmp_path / "out", world="two_room", film=True, steps=16, **seen)
    policy = Policy.read(tmp_path / "out" / "policy.safetensors")
    assert policy.facts.observation == ["proprio", "pixels"]
    assert policy.facts.antialias == 4
    assert [one.shape for one in policy.facts.inputs] == [[36, 36, 3], [11]]
    assert (tmp_path / "out" / "film.mp4").exists()
    import stable_baselines3

    env = catalogue.environment("two_room")(account=None, **seen)
    observation = env.reset(seed=0)[0]
    model = stable_baselines3.PPO.load(tmp_path / "out" / "model.zip")
    mean, deviation = policy.weights["proprio:scale"].numpy()
    told = {
        "pixels": np.moveaxis(observation["pixels"], -1, 0),
        "proprio": np.clip((observation["proprio"] - mean) / deviation, -10, 10),
    }
    expected = model.predict(told, deterministic=True)[0]
    assert np.allclose(policy.act(observation), expected, atol=1e-5)
    env.close()


def test_a_policy_tries_goal_sets_of_its_task_and_no_others(tmp_path: Path) -> None:
    for kind, offset in (("task", 0), ("ahead", 10)):
        wanted = {"kind": kind, "pairs": 2, "account": None} | ({"offset": 10} if offset else {})
        goals.make("two_room_goals", tmp_path / f"{kind}.json", **wanted)
    learned = learnt(tmp_path / "out", goals=[tmp_path / "task.json"])
    assert {*learned.goals} == {"goals-1.json"}
    file = tmp_path / "out" / "goals-1.json"
    assert calls.verify(file, tmp_path / "task.json") == []
    head = calls.read_results([file])[0].results.head
    assert (head.agent, head.options) == ("policy.safetensors", {"policy": learned.policy})
    run = ["goals", "run", str(tmp_path / "ahead.json"), "--out", str(tmp_path / "a.json")]
    done = cli(*run, "--agent", str(tmp_path / "out" / "policy.safetensors"), "--no-floors")
    assert "has learned the task of two_room" in done.stderr
    with pytest.raises(InvalidInputError, match="--kind task"):
        learnt(tmp_path / "other", goals=[tmp_path / "ahead.json"])


def test_the_command_prints_what_was_learned(tmp_path: Path) -> None:
    out, quick = str(tmp_path / "out"), ["--set", "n_steps=16", "--set", "net_arch=8,8"]
    given = ["--steps", "32", "--evaluations", "1", "--episodes", "1", "--no-film", *quick]
    done = cli("learn", "two_room", "--out", out, *given, "--set", "batch_size=16", "--json")
    told = json.loads(done.stdout)
    assert told["settings"] == {"n_steps": 16, "net_arch": [8, 8], "batch_size": 16}
    assert told == json.loads((tmp_path / "out" / "learning.json").read_text())
    refused = cli("learn", "two_room", "--out", out)
    assert (refused.returncode, refused.stdout) == (2, "")


def test_a_policy_that_is_foreign_or_damaged_is_refused(tmp_path: Path) -> None:
    learnt(tmp_path / "out")
    good = Policy.read(tmp_path / "out" / "policy.safetensors")
    path = tmp_path / "bad.safetensors"

    def refused(facts: dict[str, Any], **weights: torch.Tensor) -> str:
        said = {"sandbox": json.dumps(good.facts.model_dump() | facts)}
        safetensors.torch.save_file({**good.weights, **weights}, path, said)
        with pytest.raises(FormatError) as error:
            Policy.read(path)
        return str(error.value)

    assert "no layer 'eval'" in refused({"layers": [["eval", []]]})
    assert "another model" in refused({"layers": [["linear", [60_000, 60_000]]]})
    large = [{"name": "proprio", "shape": [65536, 65536], "scaled": False, "layers": []}]
    assert "too much memory or time" in refused({"inputs": large})
    assert "too much memory" in refused({"layers": [["linear", [60_000, 60_000]]] * 5})
    scale = good.weights["proprio:scale"]
    assert "deviates by nothing" in refused({}, **{"proprio:scale": scale * 0})
    assert "not float64 of the shape" in refused({}, **{"proprio:scale": scale.sum()})
    assert "do not give 3 numbers" in refused({"action_size": 3})
    assert "not finite" in refused({}, **{"proprio:scale": good.weights["proprio:scale"] * np.nan})
    assert "layers" in refused({"layers": [["linear", [1 << 20, 1]]]})
    path.write_bytes((tmp_path / "out" / "policy.safetensors").read_bytes()[:-8])
    with pytest.raises(FormatError, match="damaged"):
        Policy.read(path)


@pytest.mark.parametrize(
    ("algorithm", "scaled"), [("A2C", True), ("PPO", True), ("SAC", False), ("TD3", False)]
)
def test_nothing_is_scaled_for_algorithms_that_learn_from_old_rows(
    algorithm: str, scaled: bool
) -> None:
    worlds = worlds_of("cartpole_swingup", "dense")
    plan = Plan(
        algorithm=algorithm,
        settings={},
        steps=64,
        environments=1,
        action_repeat=1,
        normalise=True,
        seed=0,
        splits=[None],
        evaluations=1,
        episodes=1,
        film=False,
    )
    with closing(worlds):
        making = Making(plan, worlds, None, 0, lambda *_: None)
        scales = making.model.get_vec_normalize_env()
        assert making.policy().facts.inputs[0].scaled == scaled
    assert (scales is not None and scales.norm_obs and scales.norm_reward) == scaled


@pytest.mark.parametrize("world", ["two_room", "quadrotor", "pendulum_chain"])
def test_the_reward_of_progress_pays_way_and_arrival_and_what_the_dense_one_costs(
    world: str,
) -> None:
    """With the weights of the dense reward it is that, where the potential is the progress."""
    kind = catalogue.environment(world)
    longest = kind.max_episode_steps()
    plain, env = kind(account=None), kind(account=None)
    same = ProgressReward(env, way=longest, arrival=longest, step=1.0)
    usual = ProgressReward(kind(account=None))
    for one in (plain, same, usual):
        one.reset(seed=3)
    rng = np.random.default_rng(0)
    for _ in range(60):
        action = rng.uniform(-1, 1, env.action_size)
        before = usual.unwrapped.progress()  # type: ignore[attr-defined]
        dense, over = plain.step(action)[1:3]
        assert same.step(action)[1] == pytest.approx(dense)
        earned = float(usual.step(action)[1])
        moved = usual.unwrapped.progress() - before  # type: ignore[attr-defined]
        if over:
            break
        assert earned == pytest.approx(10 * moved - 0.01 * plain.shortfall())
    with pytest.raises(InvalidInputError, match="dense"):
        ProgressReward(kind(account=None, reward="sparse"))


def test_the_way_to_the_lever_and_to_the_handle_is_paid() -> None:
    """The world's own progress is 0 until the door moves, which needs the lever and the handle."""
    plain: Any = catalogue.environment("latch")(account=None)
    env = ProgressReward(plain, step=0.0)
    env.reset(seed=0)

    def earned(place: Callable[[], Sequence[float]], over: Callable[[], bool]) -> float:
        """Go to a place; return what that earns."""
        total = 0.0
        for _ in range(90):
            total += float(env.step(plain.finger.towards(place(), 6.0))[1])
            if over():
                return total
        pytest.fail(f"the finger is at {plain.finger.tip}, not at {place()}")

    def from_above(place: Callable[[], Sequence[float]], over: Callable[[], bool]) -> float:
        """Go up, across and down to a place; return what that earns."""
        high, total = max(plain.finger.tip[2], place()[2] + plain.finger.RISE_M), 0.0
        for x, y in (plain.finger.tip[:2], place()[:2]):
            aim = (x, y, high)
            total += earned(lambda to=aim: to, lambda to=aim: near(to))
        return total + earned(place, over)

    def near(place: Sequence[float]) -> bool:
        return math.dist(plain.finger.tip, place) < 0.01

    def pad() -> list[float]:
        """Return where to press: nearer to the hinge than the lever's end, which slips away."""
        return [0.2 * a + 0.8 * b for a, b in zip(plain.lever_home, plain.lever_end, strict=True)]

    assert from_above(pad, lambda: plain.lever > 0.05) > 0.8
    assert earned(lambda: (*pad()[:2], plain.finger.tip[2] - 0.05), lambda: plain.drawn) > 1.5
    assert from_above(plain._behind, lambda: near(plain._behind())) > 0.3
    assert plain.progress() == 0.0
