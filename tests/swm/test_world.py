"""The released stable-worldmodel drives every environment, and reads what is generated here.

`make swm` runs this, in a .venv of its own; without the package it fails, and `make test` leaves
it out. What 0.1.1 does in its own way, and these tests take as given:

* `collect` leaves out the reset's frame. Rows are those after step 1, 2, ..., with the action taken
  *at* each; where none was taken, on the last row, it puts the episode's first.
* `evaluate` takes `terminated` for success; `EndsOnSuccess` makes it so. Of several environments it
  counts the episodes that finish first.
* `World` draws `pixels` itself and refuses an observation that has them, unless `add_pixels=False`.
* A World goes on recording the factors of an earlier `options["variation"]`.
* Its Lance format, the default, keeps pictures as JPEG and numbers as float32.
"""

import warnings
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from running import recipe

from sandbox import catalogue
from sandbox.env import Policy, SandboxEnv
from sandbox.run.run import Run
from sandbox.scenario.factors import default
from sandbox.trajectory import ShardReader, shards
from sandbox.wrappers import EndsOnSuccess

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # It tells which games are not installed.
    import stable_worldmodel as swm

STEPS = 6  # Of a collected episode.


@pytest.fixture(params=catalogue.environments())
def name(request: pytest.FixtureRequest) -> str:
    """Every environment in turn."""
    return request.param


class Scripted(swm.policy.BasePolicy):
    """Each environment's own scripted policy, anew in every episode."""

    def __init__(self) -> None:
        super().__init__()
        self.acting: dict[int, Policy] = {}

    def get_action(self, obs: Any, **kwargs: Any) -> NDArray[np.float32]:
        return np.stack([self._act(n, env.unwrapped) for n, env in enumerate(self.env.envs)])

    def _act(self, n: int, env: SandboxEnv) -> NDArray[np.float32]:
        if env.t == 0:
            self.acting[n] = env.scripted(np.random.default_rng(0))
        return self.acting[n]()


def world(name: str, envs: int = 2, **keywords: Any) -> closing[Any]:
    given = {"image_shape": (64, 64), "observation": ["proprio"], "account": None}
    return closing(swm.World(f"sandbox:{catalogue.gym_id(name)}", envs, **{**given, **keywords}))


def by_hand(name: str, **keywords: Any) -> SandboxEnv:
    given = {"observation": ["proprio"], "account": None, "render_mode": "rgb_array"}
    return catalogue.environment(name)(**{**given, **keywords})


def same(mine: Any, theirs: Any, what: str) -> None:
    np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs), err_msg=what)


def test_the_release_is_the_pinned_one() -> None:
    assert version("stable-worldmodel") == "0.1.1"


def test_what_collect_writes_are_our_rows_exactly_and_in_their_places(
    name: str, tmp_path: Path
) -> None:
    path, options = tmp_path / "collected.h5", {"variation": ["all"]}
    with world(name, max_episode_steps=STEPS) as made:
        made.set_policy(swm.policy.RandomPolicy(seed=3))
        made.collect(path, 5, seed=11, options=options, format="hdf5", progress=False)
    read = swm.data.load_dataset(str(path))
    assert list(read.lengths) == [STEPS] * 5
    env = by_hand(name)
    variations = {f"variation.{factor}" for factor in env.factors}
    assert variations == {c for c in read.column_names if c.startswith("variation.")}
    for n in range(5):
        rows = {key: value.numpy() for key, value in read.load_episode(n).items()}
        assert rows["pixels"].shape == (STEPS, 3, 64, 64)
        env.reset(seed=11 + n, options=options)
        taken = np.roll(rows["action"], 1, axis=0)  # The first stands on the last row.
        for t, action in enumerate(taken):
            observation, reward, terminated, _, info = env.step(action)
            expected = {
                **{key: info[key] for key in ("state", "success", "charged")},
                **{f"variation.{f}": leaf for f, leaf in env.variation_space.value.items()},
                "proprio": observation["proprio"],
                "pixels": np.moveaxis(np.asarray(env.render()), -1, 0),
                "reward": reward,
                "terminated": terminated,
                "truncated": t == STEPS - 1,
                "step_idx": t + 1,
            }
            for key, value in expected.items():
                same(value, rows[key][t], f"{key} of episode {n}, step {t + 1}")
    env.close()


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # Its JPEG, read by torch.
def test_its_default_format_holds_our_rows(tmp_path: Path) -> None:
    path = tmp_path / "collected.lance"
    with world("push_t", max_episode_steps=STEPS) as made:
        made.set_policy(swm.policy.RandomPolicy(seed=3))
        made.collect(path, 3, seed=11, progress=False)
    read = swm.data.load_dataset(str(path))
    assert list(read.lengths) == [STEPS] * 3
    env = by_hand("push_t")
    for n in range(3):
        rows = {key: np.asarray(value) for key, value in read.load_episode(n).items()}
        env.reset(seed=11 + n)
        for t, action in enumerate(np.roll(rows["action"], 1, axis=0)):
            observation, reward, _, _, info = env.step(action)
            same(observation["proprio"], rows["proprio"][t], "proprio")
            same(info["state"].astype(np.float32), rows["state"][t], "state")
            same(np.float32(reward), rows["reward"][t].item(), "reward")
            drawn = np.moveaxis(np.asarray(env.render(), np.float64), -1, 0)
            assert np.abs(drawn - rows["pixels"][t]).mean() < 4.0
    env.close()


def test_pixels_of_our_own_are_collected_as_they_are(tmp_path: Path) -> None:
    path, seen = tmp_path / "collected.h5", ["proprio", "pixels"]
    with world("push_t", max_episode_steps=STEPS, add_pixels=False, observation=seen) as made:
        made.set_policy(swm.policy.RandomPolicy(seed=3))
        made.collect(path, 2, seed=11, format="hdf5", progress=False)
    rows = swm.data.load_dataset(str(path)).load_episode(0)
    env = by_hand("push_t", observation=seen)
    env.reset(seed=11)
    for t, action in enumerate(np.roll(rows["action"].numpy(), 1, axis=0)):
        observation = env.step(action)[0]
        same(np.moveaxis(observation["pixels"], -1, 0), rows["pixels"][t], "pixels")
    env.close()


def lived(env: SandboxEnv, seed: int) -> bool:
    """Whether the scripted policy succeeds before the episode is over."""
    env.reset(seed=seed)
    act = env.scripted(np.random.default_rng(0))
    while True:
        _, _, terminated, truncated, info = env.step(act())
        if info["success"] or terminated or truncated:
            return bool(info["success"])


def test_evaluate_gives_the_rate_of_success(name: str) -> None:
    keywords = {"add_pixels": False, "max_episode_steps": None, "pre_wrappers": [EndsOnSuccess]}
    with world(name, **keywords) as made:
        made.set_policy(Scripted())
        told = made.evaluate(4, seed=20)
    assert len(set(told["seeds"])) == 4
    env = by_hand(name)
    expected = [lived(env, int(seed)) for seed in told["seeds"]]
    env.close()
    same(expected, told["episode_successes"].astype(bool), "successes")
    assert told["success_rate"] == 100.0 * np.mean(expected) > 0.0


@pytest.mark.parametrize(("wrappers", "rate"), [([], 100.0), ([EndsOnSuccess], 0.0)])
def test_a_crash_is_no_success_if_the_end_is_success(
    wrappers: list[Callable[[Any], Any]], rate: float
) -> None:
    keywords = {"add_pixels": False, "max_episode_steps": None, "pre_wrappers": wrappers}
    with world("quadrotor", **keywords) as made:
        made.set_policy(swm.policy.RandomPolicy(seed=3))
        assert made.evaluate(4, seed=20)["success_rate"] == rate


def test_factors_by_name_vary_and_no_others(name: str) -> None:
    plain = {factor: default(it) for factor, it in catalogue.environment(name).factors.items()}
    for factor in plain:
        with world(name, 8, add_pixels=False) as made:
            made.reset(seed=0, options={"variation": [factor]})
            tasks = [env.unwrapped for env in made.envs.envs]
            recorded = {key for key in made.infos if key.startswith("variation.")}
            assert recorded == {f"variation.{factor}"}
            leaves = [env.variation_space.value[factor] for env in tasks]
            same(np.stack(leaves)[:, None], made.infos[f"variation.{factor}"], factor)
        others = [{**env.values, factor: plain[factor]} for env in tasks]
        assert others == [plain] * 8
        assert any(env.values[factor] != plain[factor] for env in tasks), factor


def test_a_factor_is_given_a_value_by_name() -> None:
    with world("push_t", add_pixels=False) as made:
        made.reset(
            seed=0, options={"variation": ["t_mass_kg"], "variation_values": {"t_scale": 1.1}}
        )
        names = made.envs.variation_space.names()
        assert names == list(catalogue.environment("push_t").factors)
        assert [env.unwrapped.values["t_scale"] for env in made.envs.envs] == [1.1, 1.1]


@pytest.mark.parametrize("frameskip", [1, 2])
def test_its_reader_reads_our_shards_window_by_window(
    name: str, frameskip: int, tmp_path: Path
) -> None:
    wanted = recipe(name, observation=["proprio", "pixels"], image_size=16, labels=True)
    run = Run(wanted, tmp_path)
    run.generate()
    run.close()
    (path,) = shards(tmp_path)
    read = swm.data.load_dataset(str(path), num_steps=4, frameskip=frameskip)
    with ShardReader(path) as reader:
        episodes = [reader.read(n).rows for n in range(len(reader))]
    span = 4 * frameskip
    starts = [(n, t) for n, e in enumerate(episodes) for t in range(len(e["reward"]) - span + 1)]
    assert len(read) == len(starts) > 0
    chosen = np.random.default_rng(0).choice(len(starts), min(40, len(starts)), replace=False)
    for index in (0, len(starts) - 1, *chosen):
        n, t = starts[index]
        window = read[int(index)]
        assert set(window) == set(episodes[n])
        for key, rows in episodes[n].items():
            part = rows[t : t + span : frameskip]
            if key == "action":
                part = rows[t : t + span].reshape(4, -1)
            elif key == "pixels":
                part = np.moveaxis(part, -1, 1)
            same(part, window[key], f"{key} of episode {n} from row {t}")
