"""The world that a model has learned is a Gymnasium environment."""

import runpy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import sandbox
from sandbox.errors import InvalidInputError, SandboxError
from sandbox.imagination.dreamer import Dreamer
from sandbox.imagination.env import ImaginationEnv, ImaginationVectorEnv
from tests.running import recipe

FEW = {"batch": 2, "horizon": 3, "windows": 8, "checks": 2, "warm_up": 4}


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint, and the run that it is trained on."""
    folder = tmp_path_factory.mktemp("learned")
    wanted = recipe("cartpole_swingup", episodes=6, observation=["pixels", "proprio"])
    sandbox.generate(wanted.model_copy(update={"image_size": 32}), folder / "run")
    given: dict[str, Any] = {"size": "nano", "updates": 4, "settings": FEW, "prices": "3"}
    sandbox.train(folder / "run", folder / "m.safetensors", **given)
    return folder / "m.safetensors", folder / "run"


@pytest.mark.parametrize("observation", [None, "pixels", "proprio"])
def test_gymnasium_accepts_it(learned: tuple[Path, Path], observation: str | None) -> None:
    env = ImaginationEnv(*learned, observation=observation, render_mode="rgb_array", steps=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It advises on spaces.
        check_env(env, skip_render_check=True)
    assert env.render().shape == (32, 32, 3)


@pytest.mark.parametrize("observation", ["pixels", "proprio", ["pixels", "proprio"]])
def test_it_has_the_spaces_of_the_real_world(learned: tuple[Path, Path], observation: Any) -> None:
    import gymnasium

    name = "sandbox:sandbox/CartpoleSwingup-v0"
    asked: dict[str, Any] = {"image_size": 32}
    real = gymnasium.make(name, observation=observation, **asked)
    env = ImaginationEnv(*learned, observation=observation)
    assert env.observation_space == real.observation_space
    assert env.action_space == real.action_space
    assert env.metadata["render_fps"] == real.metadata["render_fps"]
    vector = ImaginationVectorEnv(2, *learned, observation=observation)
    theirs = gymnasium.make_vec(name, 2, "sync", observation=observation, **asked)
    assert vector.observation_space == theirs.observation_space
    assert vector.action_space == theirs.action_space
    for one in (real, theirs):
        one.close()


def test_what_is_imagined_lies_in_the_space(
    learned: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Dreamer.step

    def wild(self: Dreamer, action: Any, which: Any) -> Any:
        rows = step(self, action, which)
        return {**rows, "proprio": rows["proprio"] * 1e6}

    monkeypatch.setattr(Dreamer, "step", wild)
    env = ImaginationEnv(*learned, observation="proprio")
    env.reset(seed=0)
    assert env.observation_space.contains(env.step(np.ones(1, np.float32))[0])


def test_a_world_that_is_not_here_has_no_bounds(
    learned: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacks(name: str, trust_code: bool = False) -> Any:
        raise InvalidInputError(f"{name}: is not installed.")

    monkeypatch.setattr("sandbox.catalogue.environment", lacks)
    env = ImaginationEnv(*learned, observation="proprio", steps=2)
    assert not np.isfinite(env.observation_space.low).any()  # type: ignore[attr-defined]
    with pytest.warns(UserWarning, match="infinity"):
        check_env(env, skip_render_check=True)


@pytest.mark.parametrize("observation", ["pixels", "proprio", None])
def test_torchrl_accepts_it(learned: tuple[Path, Path], observation: str | None) -> None:
    from torchrl.envs import GymWrapper
    from torchrl.envs.utils import check_env_specs

    check_env_specs(GymWrapper(ImaginationEnv(*learned, observation=observation, steps=5)))


def test_the_same_seed_and_actions_give_the_same_dream(learned: tuple[Path, Path]) -> None:
    def dreamt() -> list[bytes]:
        env = ImaginationEnv(*learned, steps=4)
        rows = [env.reset(seed=3)[0]]
        rows += [env.step(np.full(1, 0.3, np.float32))[0] for _ in range(4)]
        return [row[name].tobytes() for row in rows for name in row]

    assert dreamt() == dreamt()


def test_it_starts_at_recorded_rows(learned: tuple[Path, Path]) -> None:
    env, source = ImaginationEnv(*learned), sandbox.Dataset(learned[1])
    seen, info = env.reset(options={"episode": np.int64(2), "row": 7})
    assert np.array_equal(seen["pixels"], source.rows(2)["pixels"][9])
    assert (info["episode"], info["row"], info["imagined"]) == (2, 7, True)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_many_dream_side_by_side_as_each_would_alone(learned: tuple[Path, Path], mode: str) -> None:
    """Gymnasium's own vector environment of single ones says what they should give."""
    told: dict[str, Any] = {"steps": 3, "tier": "class"}  # In float64: a batch adds up otherwise.
    ours = ImaginationVectorEnv(3, *learned, **told, autoreset_mode=AutoresetMode(mode))
    one = [lambda: ImaginationEnv(*learned, **told)] * 3
    theirs = SyncVectorEnv(one, autoreset_mode=AutoresetMode(mode))
    assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"]
    same(ours.reset(seed=5), theirs.reset(seed=5))
    rng = np.random.default_rng(0)
    for step in range(3 if mode == "Disabled" else 9):
        actions = rng.uniform(-1, 1, (3, 1)).astype(np.float32)
        same(ours.step(actions), theirs.step(actions))
        if mode == "NextStep" and step == 1:  # From here on they are over at different steps.
            again = {"reset_mask": np.array([False, True, False])}
            seeds = [None, 9, None]
            same(ours.reset(seed=seeds, options=again), theirs.reset(seed=seeds, options=again))
    if mode == "Disabled":
        with pytest.raises(InvalidInputError, match="call reset"):
            ours.step(np.zeros((3, 1), np.float32))
        mask = {"reset_mask": np.ones(3, bool)}
        same(ours.reset(options=mask), theirs.reset(options=dict(mask)))


def same(one: Any, other: Any) -> None:
    """Compare what two environments gave."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            same(one[name], other[name])
    elif isinstance(one, tuple) or (isinstance(one, np.ndarray) and one.dtype.hasobject):
        for mine, yours in zip(one, other, strict=True):
            same(mine, yours)
    elif isinstance(one, np.ndarray):
        assert one.shape == other.shape
        assert np.allclose(one, other, atol=1e-6)
    else:
        assert one == other


def test_all_of_them_are_imagined_at_once(
    learned: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    step, sizes = Dreamer.step, list[int]()

    def counted(self: Dreamer, action: Any, which: Any = None) -> Any:
        sizes.append(len(action))
        return step(self, action, which)

    monkeypatch.setattr(Dreamer, "step", counted)
    envs = ImaginationVectorEnv(4, *learned, steps=2, render_mode="rgb_array")
    envs.reset(seed=0)
    for _ in range(2):
        envs.step(np.zeros((4, 1), np.float32))
    assert sizes == [4, 4]
    assert [one.shape for one in envs.render()] == [(32, 32, 3)] * 4


def test_what_it_cannot_do_is_said(learned: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="the model gives pixels, proprio"):
        ImaginationEnv(*learned, observation="depth")
    env = ImaginationEnv(*learned, steps=1)
    with pytest.raises(InvalidInputError, match="call reset"):
        env.step(np.zeros(1, np.float32))
    env.reset(seed=0)
    bads: list[Any] = [np.zeros(2, np.float32), np.full(1, np.nan, np.float32), "fast"]
    for bad in bads:
        with pytest.raises(InvalidInputError, match="finite numbers of shape"):
            env.step(bad)
    places: list[Any] = [{"episode": 0, "row": 10_000}, {"place": 1}, "first", {"row": 1.5}]
    for options in (
        *places,
        {"episode": -1},
        {"episode": 99},
        {"episode": np.arange(2)},
        {"episode": None},
    ):
        with pytest.raises(InvalidInputError, match="options"):
            env.reset(options=options)
    with pytest.raises(InvalidInputError, match="render_mode"):
        env.render()
    for seed in (-1, "one"):
        with pytest.raises(InvalidInputError, match="seed"):
            env.reset(seed=seed)  # type: ignore[arg-type]
    wrongs: dict[str, list[Any]] = {
        "steps": [0, "5"],
        "observation": [5],
        "render_mode": ["human"],
    }
    for name, values in wrongs.items():
        for wrong in values:
            with pytest.raises(InvalidInputError, match=name):
                ImaginationEnv(*learned, **{name: wrong})
    numbers = recipe("cartpole_swingup", episodes=1, observation=["proprio"])
    sandbox.generate(numbers, tmp_path / "numbers")
    with pytest.raises(InvalidInputError, match="takes or gives pixels, which the run lacks"):
        ImaginationEnv(learned[0], tmp_path / "numbers")
    with pytest.raises(SandboxError):
        ImaginationEnv(tmp_path / "none.safetensors", learned[1])


def test_what_many_cannot_do_is_said(learned: tuple[Path, Path]) -> None:
    with pytest.raises(InvalidInputError, match="num_envs must be"):
        ImaginationVectorEnv(0, *learned)
    envs = ImaginationVectorEnv(2, *learned)
    for bad in (np.zeros(1, np.float32), np.full((2, 1), np.nan, np.float32)):
        with pytest.raises(InvalidInputError, match="finite numbers of shape"):
            envs.step(bad)
    with pytest.raises(InvalidInputError, match="call reset"):
        envs.step(np.zeros((2, 1), np.float32))
    with pytest.raises(InvalidInputError, match="nothing has begun"):
        envs.reset(options={"reset_mask": np.array([True, False])})
    wrongs: list[Any] = [([1], None), (-1, None), (0, {"reset_mask": [True]}), (0, {"row": -1})]
    wrongs += [(0, "first"), (0, {"reset_mask": [False, False]}), (0, {"episode": True})]
    for seed, options in wrongs:
        with pytest.raises(InvalidInputError, match=r"seed|options"):
            envs.reset(seed=seed, options=options)


def test_the_example_trains_in_a_dream_and_tries_in_the_real_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few short dreams: that it runs, not how well it learns."""
    examples = Path(__file__).parent.parent / "examples"
    monkeypatch.syspath_prepend(examples)
    example = runpy.run_path(str(examples / "dream_policy.py"))
    model, run = example["learned"](tmp_path, episodes=8, updates=2)
    agents = [example["dreamt"](model, run, 1) for _ in range(2)]
    policies = [example["acting"](one, run) for one in agents]
    row = np.full(16, 0.1, np.float32)
    assert np.array_equal(policies[0](row), policies[1](row))
    total, share = example["compared"]({"dreamt": policies[0]}, tries=1)["dreamt"]
    assert np.isfinite(total)
    assert share in (0.0, 1.0)
