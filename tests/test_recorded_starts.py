"""Episodes start in recorded states, bit for bit, or a sentence says why they do not."""

import pickle
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import sandbox
from sandbox import catalogue, goals, jsonfile, prices
from sandbox.env import SandboxEnv
from sandbox.errors import BudgetExhaustedError, FormatError, InvalidInputError, UnknownNameError
from sandbox.goals.moments import Moments
from sandbox.ledger import AccountFunds, Ledger
from sandbox.meter import Meter
from sandbox.run.folder import Folder
from sandbox.trajectory import Episode
from tests.running import recipe

AIMED = [n for n in catalogue.environments() if not isinstance(catalogue.environment(n).aim, str)]
OFFSET = 10


def generated(name: str, path: Path, **changes: Any) -> Path:
    given = {"policies": {"play": 1.0}, "episodes": 2, "scenario": None, **changes}
    sandbox.generate(recipe(name, **given), path)
    return path


def scenario(folder: Path, **content: Any) -> str:
    """Write a scenario of two_room into a folder; return its path."""
    path = folder / "scenario.yaml"
    path.write_bytes(jsonfile.encode({"format": 1, "environment": "two_room", **content}))
    return str(path)


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two_room, with pictures; not to be changed."""
    path = tmp_path_factory.mktemp("rooms") / "run"
    return generated("two_room", path, observation=["proprio", "pixels"], image_size=16)


def row(episode: Episode, step: int, before: str = "") -> dict[str, Any]:
    """What stable-worldmodel hands over of a row."""
    named = {before + name: column[step] for name, column in episode.rows.items()}
    if before and "goal_pixels" in named:
        named["goal"] = named.pop("goal_pixels")
    return named


def wrapped(name: str, run: Path, level: str = "strict", **keywords: Any) -> Any:
    made = gymnasium.make(
        f"sandbox:{catalogue.gym_id(name)}",
        max_episode_steps=OFFSET,
        **{"account": None, **keywords},
    )
    return goals.Recorded(run, level)(made)


@pytest.fixture
def recorded_room(rooms: Path) -> Iterator[Any]:
    env = wrapped("two_room", rooms)
    yield env
    env.close()


def begun(env: Any, episode: Episode, step: int, by: str, offset: int = OFFSET) -> Any:
    """Start at a row with the goal of a later one, as a release of stable-worldmodel does it."""
    first, last = row(episode, step), row(episode, step + offset, "goal_")
    if by == "options":
        options = env.unwrapped.reset_options_from_dataset(first, last)
        return env.reset(seed=int(first["seed"]), options=options)
    told = env.reset(seed=int(first["seed"]))
    for spec in goals.CALLABLES:
        args = {name: {**first, **last}[one["value"]] for name, one in spec["args"].items()}
        getattr(env.unwrapped, spec["method"])(**args)
    return told


@pytest.mark.parametrize("by", ["options", "callables"])
@pytest.mark.parametrize("name", AIMED)
def test_recorded_actions_reach_the_goal_through_the_recorded_states(
    name: str, by: str, tmp_path: Path
) -> None:
    run = generated(name, tmp_path / "run")
    env, told = wrapped(name, run), Folder(run)
    for episode in told.episodes():
        steps = len(episode) - 1
        step = max(0, min(steps - OFFSET, 40))
        offset = min(OFFSET, steps - step)
        begun(env, episode, step, by, offset)
        task: SandboxEnv = env.unwrapped
        assert np.array(task.row).tobytes() == episode.rows["state"][step].tobytes()
        ends = []
        for t in range(step, step + offset):
            seen, _, ended, _, info = env.step(episode.rows["action"][t])
            assert info["state"].tobytes() == episode.rows["state"][t + 1].tobytes()
            assert seen.tobytes() == episode.rows["proprio"][t + 1].tobytes()
            assert info["goal_state"].tobytes() == episode.rows["state"][step + offset].tobytes()
            assert ended == bool(info["is_success"])
            ends.append(ended)
        assert ends[-1] or task.aim.held > 1  # type: ignore[union-attr]
    env.close()


@pytest.mark.parametrize("name", ["quadrotor", "two_room"])
def test_factors_disturbances_noise_and_delay_are_those_of_the_episode(
    name: str, tmp_path: Path
) -> None:
    changing = {
        "factors": {"action_noise": 0.1, "action_delay_steps": 2},
        "disturbances": [{"at_s": 0.5, "change": {"damping": {"uniform": [0.1, 0.2]}}}],
    }
    chosen = "quadrotor_windy" if name == "quadrotor" else scenario(tmp_path, **changing)
    run = generated(name, tmp_path / "run", scenario=chosen, policies={"scripted_noisy": 1.0})
    env = wrapped(name, run)
    for episode in Folder(run).episodes():
        step = len(episode) - 1 - OFFSET
        begun(env, episode, step, "options")
        task: SandboxEnv = env.unwrapped
        assert task.changes[0][1].plain() == episode.record["factors"]
        assert [one.plain() for one in task.disturbances] == episode.record["disturbances"]
        assert task.episode.due[0][0] < step
        ends = [env.step(action)[2] for action in episode.rows["action"][step : step + OFFSET]]
        assert ends[-1]
    env.close()


def test_the_goals_picture_is_the_recorded_one(rooms: Path) -> None:
    episode = sandbox.open_run(rooms).episode(0)
    recorded = episode.rows["pixels"][20 + OFFSET]
    given = {"observation": ["proprio", "pixels"], "image_size": 16}
    for keywords in (given, {"render_mode": "rgb_array", "image_size": 16}):
        env = wrapped("two_room", rooms, **keywords)
        first, last = row(episode, 20), row(episode, 20 + OFFSET, "goal_")
        options = env.unwrapped.reset_options_from_dataset(first, last)
        assert "goal" not in env.reset(options=options)[1]  # The dataset has it.
        del last["goal"]
        options = env.unwrapped.reset_options_from_dataset(first, last)
        _, info = env.reset(options=options)
        np.testing.assert_array_equal(info["goal"], recorded)
        np.testing.assert_array_equal(env.step(np.zeros(2, np.float32))[4]["goal"], recorded)
        assert "goal" not in env.reset(seed=1)[1]
        env.close()


def test_the_picture_of_a_goal_that_ends_its_episode_is_drawn(tmp_path: Path) -> None:
    run = generated("two_room", tmp_path / "run", policies={"scripted": 1.0}, episodes=1)
    episode = sandbox.open_run(run).episode(0)
    assert episode.rows["terminated"][-1]
    env = wrapped("two_room", run, observation=["pixels"], image_size=16)
    last = row(episode, episode.record["steps"], "goal_")
    options = env.unwrapped.reset_options_from_dataset(row(episode, 3), last)
    assert env.reset(options=options)[1]["goal"].shape == (16, 16, 3)
    env.close()


def test_without_a_goal_the_worlds_own_task_ends_it(recorded_room: Any) -> None:
    recorded_room.reset(seed=3)
    act, ends = recorded_room.unwrapped.scripted(np.random.default_rng(0)), []
    while len(ends) < OFFSET and not any(ends):
        _, _, ended, cut, info = recorded_room.step(act())
        assert ended == bool(info["success"])
        ends.append(ended or cut)
    assert ends[-1]


def test_the_steps_to_a_start_do_not_count_for_the_limit_and_are_charged(
    rooms: Path, book: Ledger
) -> None:
    book.grant("lab", 100_000_000)
    meter = Meter(prices.current(), AccountFunds(book, "lab"))
    env = wrapped("two_room", rooms, meter=meter)
    episode = sandbox.open_run(rooms).episode(0)
    begun(env, episode, 30, "options")
    still, cuts = np.zeros(2, np.float32), []
    while not any(cuts):
        cuts.append(env.step(still)[3])
    assert len(cuts) == OFFSET
    assert meter.quantities["physics_step"] == env.unwrapped.physics_steps * (30 + OFFSET)
    env.close()
    assert book.balance("lab").posted_micro < 100_000_000


def changed(given: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {name: value for name, value in {**given, **values}.items() if value is not None}


WRONG_ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "a foreign file": (
        {"run": None, "episode_idx": None},
        "has no (goal_)?run, (goal_)?episode_idx, and does not say",
    ),
    "no state": ({"state": None}, "has no (goal_)?state"),
    "no step": ({"step_idx": None}, "has no (goal_)?step_idx"),
    "another run": ({"run": np.zeros(32, np.uint8)}, "is not in"),
    "a short run": ({"run": np.zeros(31, np.uint8)}, "must be 32 whole numbers"),
    "another episode": ({"episode_idx": np.int64(2)}, "episode 2 of the run"),
    "half an episode": ({"episode_idx": np.float32(0.5)}, "must be 1 whole number"),
    "no number": ({"episode_idx": np.float32("nan")}, "must be 1 whole number"),
    "before the first step": ({"step_idx": np.int64(-1)}, "from 0 to"),
    "after the last step": ({"step_idx": np.int64(10_000)}, "the episode has"),
    "another step": ({"step_idx": np.int64(21)}, "the dataset has another state there"),
    "an edited state": ({"state": np.zeros(4)}, "the dataset has another state there"),
    "a state of text": ({"state": "here"}, "the dataset has another state there"),
}


@pytest.mark.parametrize("wrong", WRONG_ROWS)
def test_a_row_that_does_not_say_its_moment_is_refused(
    wrong: str, recorded_room: Any, rooms: Path
) -> None:
    episode, (values, said) = sandbox.open_run(rooms).episode(0), WRONG_ROWS[wrong]
    good, task = row(episode, 20), recorded_room.unwrapped
    recorded_room.reset(seed=1)
    before, work = list(task.row), task.meter.quantities
    wanted = {name: good[name] for name in goals.CALLABLES[0]["args"]}
    with pytest.raises(InvalidInputError, match=said):
        task._set_state(**changed(wanted, **values))
    bad = {f"goal_{name}": value for name, value in changed(wanted, **values).items()}
    with pytest.raises(InvalidInputError, match=said):
        task._set_goal_state(**bad)
    with pytest.raises(InvalidInputError, match=said):
        task.reset_options_from_dataset(good, bad)
    assert (task.row, task.meter.quantities, task.goal_state) == (before, work, None)


def test_float32_copies_of_a_state_are_taken_if_they_are_copies(
    recorded_room: Any, rooms: Path
) -> None:
    episode = sandbox.open_run(rooms).episode(0)
    given = row(episode, 20) | {"state": episode.rows["state"][20].astype(np.float32)}
    options = recorded_room.unwrapped.reset_options_from_dataset(given, row(episode, 25, "goal_"))
    assert (
        recorded_room.reset(options=options)[1]["state"].tobytes()
        == episode.rows["state"][20].tobytes()
    )
    given["state"] = np.nextafter(given["state"], np.float32(9.0))
    with pytest.raises(InvalidInputError, match="another state"):
        recorded_room.unwrapped.reset_options_from_dataset(given, row(episode, 25, "goal_"))


WRONG_OPTIONS: dict[str, tuple[Any, str]] = {
    "no mapping": (3, "what reset_options_from_dataset"),
    "nothing": ({}, "what reset_options_from_dataset"),
    "no start": ({"start": {"run": "a"}, "goal": {}}, "what reset_options_from_dataset"),
    "a number for a run": (
        {"start": {"run": 1, "episode": 0, "step": 0}, "goal": {}},
        "run must be text",
    ),
    "a step before the first": (
        {"start": {"run": "a", "episode": 0, "step": -1}, "goal": {}},
        "step must be a whole number",
    ),
}


@pytest.mark.parametrize("wrong", WRONG_OPTIONS)
def test_an_option_of_no_moment_is_refused(wrong: str, recorded_room: Any) -> None:
    given, said = WRONG_OPTIONS[wrong]
    recorded_room.reset(seed=1)
    with pytest.raises(InvalidInputError, match=said):
        recorded_room.reset(options={"recorded": given})
    assert recorded_room.unwrapped.seed == 1


def test_another_seed_or_option_beside_a_recorded_start_is_refused(
    recorded_room: Any, rooms: Path
) -> None:
    episode = sandbox.open_run(rooms).episode(0)
    rows = row(episode, 20), row(episode, 25, "goal_")
    options = recorded_room.unwrapped.reset_options_from_dataset(*rows)
    for more in ({"seed": 1}, {"options": {**options, "variation": ["all"]}}):
        with pytest.raises(InvalidInputError, match="no other options"):
            recorded_room.reset(**{"options": options, **more})


def test_a_start_at_the_end_of_an_episode_is_refused(recorded_room: Any, rooms: Path) -> None:
    episode = sandbox.open_run(rooms).episode(0)
    last = len(episode) - 1
    goal = row(episode, last, "goal_")
    options = recorded_room.unwrapped.reset_options_from_dataset(row(episode, last), goal)
    with pytest.raises(InvalidInputError, match="is over there"):
        recorded_room.reset(options=options)


def test_an_environment_of_another_scenario_is_refused(tmp_path: Path) -> None:
    shorter = scenario(tmp_path, limit_s=5.0)
    run = generated("two_room", tmp_path / "run", scenario=shorter)
    episode = sandbox.open_run(run).episode(0)
    env = wrapped("two_room", run)
    with pytest.raises(InvalidInputError, match="another time limit"):
        begun(env, episode, 10, "options")
    env.close()
    env = wrapped("two_room", run, scenario=shorter)
    begun(env, episode, 10, "options")
    env.close()


def test_other_worlds_runs_and_code_are_refused(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    episode = sandbox.open_run(rooms).episode(0)
    env = wrapped("cartpole_swingup", rooms)
    with pytest.raises(InvalidInputError, match="is of two_room, and the environment is cartpole"):
        begun(env, episode, 20, "callables")
    env.close()
    sandbox.export(rooms, "swm", tmp_path / "a.h5")
    back = sandbox.import_run(tmp_path / "a.h5", "swm", tmp_path / "back").path
    known = sandbox.open_run(back).episode(0)
    name = {"run": known.record["run"], "episode": known.record["episode"], "step": 1}
    with pytest.raises(InvalidInputError, match="was imported"):
        Moments([back], trust_code=False).moment(**name)
    monkeypatch.setattr(catalogue, "code", lambda name: "0" * 64)
    place = {"run": episode.record["run"], "episode": 0, "step": 1}
    with pytest.raises(InvalidInputError, match=r"the code of two_room has changed"):
        Moments([rooms], trust_code=False).moment(**place)
    Moments([rooms], trust_code=True).moment(**place)
    with pytest.raises(FormatError, match="does not exist"):
        goals.Recorded(tmp_path / "nowhere")
    with pytest.raises(UnknownNameError, match="moderate"):
        goals.Recorded(rooms, "strictest")


def test_a_world_without_goal_states_starts_but_seeks_nothing(tmp_path: Path) -> None:
    run = generated("tower", tmp_path / "run", episodes=1)
    episode = sandbox.open_run(run).episode(0)
    env = wrapped("tower", run)
    with pytest.raises(InvalidInputError, match="this world has no goal state"):
        begun(env, episode, 1, "callables", 1)
    assert np.array(env.unwrapped.row).tobytes() == episode.rows["state"][1].tobytes()
    env.close()


def test_a_start_that_cannot_be_paid_is_not_reached(rooms: Path) -> None:
    episode = sandbox.open_run(rooms).episode(0)
    env = wrapped("two_room", rooms, budget=0.05)
    with pytest.raises(BudgetExhaustedError):
        begun(env, episode, 60, "options")
    env.close()


def test_runs_that_keep_episodes_of_others_are_found(rooms: Path, tmp_path: Path) -> None:
    more = generated(
        "two_room", tmp_path / "more", observation=["proprio", "pixels"], image_size=16, seed=9
    )
    kept = sandbox.merge([more, rooms], tmp_path / "kept").path
    episode = sandbox.open_run(kept).episode(3)  # Number 1 of its own run.
    assert episode.rows["episode_idx"][0] == 1
    env = wrapped("two_room", kept)
    begun(env, episode, 20, "options")
    env.close()


def test_processes_of_a_vector_environment_find_the_moments(rooms: Path) -> None:
    episode = sandbox.open_run(rooms).episode(0)
    make, known = partial(gymnasium.make, "sandbox:sandbox/TwoRoom-v0", account=None), rooms
    envs = gymnasium.vector.AsyncVectorEnv([lambda: goals.Recorded(known)(make())] * 2)
    told = envs.reset(options={"recorded": at(episode, 20)})[1]["state"]
    np.testing.assert_array_equal(told, [episode.rows["state"][20]] * 2)
    envs.close()
    again = pickle.loads(pickle.dumps(goals.Recorded(rooms, "strict")))(make())
    again.reset(options={"recorded": at(episode, 20)})
    assert again.unwrapped.row == episode.rows["state"][20].tolist()
    again.close()


def at(episode: Episode, step: int) -> dict[str, Any]:
    """The option that starts at a row and seeks a later one."""
    run, number = str(episode.record["run"]), int(episode.record["episode"])
    moments = [{"run": run, "episode": number, "step": n} for n in (step, step + OFFSET)]
    return dict(zip(("start", "goal"), moments, strict=True))
