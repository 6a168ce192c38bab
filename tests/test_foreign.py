"""What other people's libraries do to an environment, and call by name."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from running import recipe

import sandbox
from sandbox import catalogue
from sandbox.env import SandboxEnv
from sandbox.errors import InvalidInputError, UnknownNameError


def made(**keywords: Any) -> SandboxEnv:
    env = catalogue.environment("two_room")(account=None, **keywords)
    env.reset(seed=0)
    return env


@pytest.mark.parametrize("action", [[-1.0203, 2.63], [1e300, -1e300], np.array([7, -9])])
def test_a_finite_action_outside_is_clipped_and_so_it_is_remembered(action: Any) -> None:
    env, twin = made(), made()
    _, _, _, _, info = env.step(action)
    _, _, _, _, wanted = twin.step(np.sign(np.array(action)).astype(np.float32))
    assert info["state"].tobytes() == wanted["state"].tobytes()
    assert env.episode.actions == twin.episode.actions


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, "left", 10**400, None, 1j])
def test_what_is_not_finite_is_refused_and_nothing_is_done(bad: Any) -> None:
    env = made()
    with pytest.raises(InvalidInputError, match="give 2 finite numbers"):
        env.step([bad, 0.0])
    assert (env.t, env.episode.actions) == (0, [])


@pytest.mark.parametrize("long", [np.zeros(99), [0.0] * 99, np.zeros((40, 40, 40)), "x" * 999])
def test_a_long_action_is_not_shown_whole(long: Any) -> None:
    with pytest.raises(InvalidInputError, match="give 2 finite numbers") as error:
        made().step(long)
    assert len(str(error.value)) < 260


def test_actions_outside_can_be_refused() -> None:
    env = made(actions="refuse")
    with pytest.raises(InvalidInputError, match="2 numbers, each from -1 to 1"):
        env.step([1.001, 0.0])
    env.step([1.0, -1.0])
    with pytest.raises(UnknownNameError, match="no way to take actions is called 'wrap'"):
        made(actions="wrap")


SHOUTING = """
import numpy as np

def shouts(env, rng):
    return lambda: np.full(env.action_size, 3.0, np.float32)
"""


def test_what_was_applied_is_logged_and_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shouting.py").write_text(SHOUTING)
    monkeypatch.syspath_prepend(tmp_path)
    wanted = recipe("two_room", policies={"shouting:shouts": 1.0}, episodes=1)
    sandbox.generate(wanted, tmp_path / "run")
    rows = sandbox.open_run(tmp_path / "run").episode(0).rows
    assert set(rows["action"][:-1].ravel()) == {1.0}
    report = sandbox.verify(tmp_path / "run")
    assert report.faults == []
    assert report.replayed == 1


def test_infos_hold_what_collectors_can_store() -> None:
    env = made()
    _, first = env.reset(seed=0)
    _, _, _, _, later = env.step(np.zeros(2, np.float32))
    for info in (first, later):
        assert all(isinstance(value, np.ndarray | np.generic) for value in info.values()), info
        assert info["is_success"] == info["success"]


def test_lerobots_names_are_there(environment: str) -> None:
    env = gymnasium.make(f"sandbox:{catalogue.gym_id(environment)}", account=None).unwrapped
    told: Any = env
    assert told.task == environment
    assert told.task_description.endswith(".")
    assert len(told.task_description) > 10
    assert told._max_episode_steps == told.max_episode_steps()
    env.close()


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("_set_state", [np.zeros(4)]),
        ("_set_goal_state", [np.zeros(4)]),
        ("reset_options_from_dataset", [{}, {}]),
    ],
)
def test_starting_at_a_recorded_state_is_refused_not_skipped(name: str, given: list[Any]) -> None:
    env = made()
    with pytest.raises(InvalidInputError, match="nobody said in which run they are"):
        getattr(env, name)(*given)
    assert env.t == 0
