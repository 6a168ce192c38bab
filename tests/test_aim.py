"""What a goal state is, in every world: distances that follow from rows of the state alone."""

import math
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from sandbox import catalogue
from sandbox.env import SandboxEnv
from sandbox.env.aim import Aim
from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.meter import unpaid

NO_GOALS = ["dominoes", "pour", "ramp_occluder", "tower"]
WITH = [name for name in catalogue.environments() if name not in NO_GOALS]
NAMES = ("a.x", "a.y", "a.z", "a.qx", "a.qy", "a.qz", "a.qw", "hinge")


def made(name: str) -> SandboxEnv:
    return catalogue.environment(name)(meter=unpaid())


def state(x: float = 0.0, yaw: float = 0.0, hinge: float = 0.0) -> list[float]:
    return [x, 0.0, 0.0, 0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2), hinge]


@pytest.mark.parametrize("name", NO_GOALS)
def test_worlds_in_which_nobody_steers_have_no_goal_states(name: str) -> None:
    with closing(made(name)) as env:
        assert isinstance(env.aim, str)
        with pytest.raises(InvalidInputError, match="no goal state"):
            env.reset(seed=1, options={"goal": np.zeros(len(env.state_names()))})


@pytest.mark.parametrize("name", WITH)
def test_a_state_is_its_own_goal_and_others_are_away(name: str) -> None:
    with closing(made(name)) as env:
        assert isinstance(env.aim, Aim)
        _, info = env.reset(seed=3)
        act = env.play(np.random.default_rng(0))
        rows = [info["state"]]
        for _ in range(40):
            _, _, over, cut, info = env.step(act())
            rows.append(info["state"])
            if over or cut:
                break
        names = env.state_names()
        away = env.aim.distance(names, rows, rows[-1])
        strict = env.aim.distance(names, rows, rows[-1], "strict")
    assert away[-1] == strict[-1] == 0.0
    assert (strict >= away).all()
    assert away.max() > 0.0


@pytest.mark.parametrize("name", WITH)
def test_an_episode_with_a_goal_goes_on_past_the_worlds_success(name: str) -> None:
    with closing(made(name)) as env:
        _, info = env.reset(seed=3)
        assert "goal_state" not in info
        goal = info["state"]
        _, info = env.reset(seed=3, options={"goal": goal})
        assert np.array_equal(info["goal_state"], goal)
        assert info["goal_distance"] == 0.0
        act, steps = env.scripted(np.random.default_rng(0)), 0
        while not env.episode.over:
            _, _, over, _, info = env.step(act())
            steps += 1
            assert not over
        assert steps == env.max_steps
        assert env.evidence()["goal"] == goal.tolist()


def test_places_angles_and_headings_have_tolerances_of_their_own() -> None:
    aim = Aim().near("a.x a.y", 0.1, 0.05).near("hinge", 0.2, 0.1, "rad", turns=True)
    aim = aim.facing("a", 20, 10)
    errors = aim.errors(NAMES, [state(0.05), state(yaw=math.radians(10))], state())
    assert errors == pytest.approx(np.array([[0.5, 0.0, 0.0], [0.0, 0.0, 0.5]]))
    turned = aim.distance(NAMES, [state(hinge=2 * math.pi + 0.1)], state())
    assert turned == pytest.approx([0.5])
    across = aim.distance(NAMES, [state(yaw=math.pi - 0.1)], state(yaw=0.1 - math.pi))
    assert across == pytest.approx([math.degrees(0.2) / 20])


def test_a_square_looks_the_same_four_times_a_turn() -> None:
    aim = Aim().facing("a", 20, 10, folds=4)
    rows = [state(yaw=math.radians(angle)) for angle in (90, 180, 95, 45)]
    assert aim.distance(NAMES, rows, state()) == pytest.approx([0, 0, 5 / 20, 45 / 20], abs=1e-9)


def test_a_goal_may_have_to_be_held() -> None:
    aim = Aim(Aim().near("a.x", 0.1, 0.05).parts, held=3)
    rows = [state(x) for x in (0, 0, 1, 0, 0.09, 0, 0, 0)]
    assert aim.reached(NAMES, rows, state(), "moderate").tolist() == [False] * 5 + [True] * 3
    assert aim.reached(NAMES, rows, state(), "strict").tolist() == [False] * 7 + [True]


@pytest.mark.parametrize("goal", [[0.0], "x", [math.nan] * 2, {"a": 1}, [[0.0] * 8]])
def test_what_is_no_state_is_no_goal(goal: Any) -> None:
    with closing(made("two_room")) as env:
        with pytest.raises(InvalidInputError, match="give a state"):
            env.reset(seed=1, options={"goal": goal})
        assert env.t < 0
    with pytest.raises(InvalidInputError, match="8 numbers"):
        Aim().near("a.x", 1, 1).distance(NAMES, [0.0], [0.0])
    with pytest.raises(UnknownNameError):
        Aim().near("a.x", 1, 1).distance(NAMES, [state()], state(), "easy")


@pytest.mark.parametrize(
    ("aim", "why"),
    [
        (Aim(), "no part"),
        (Aim().near("b.x", 1, 0.5), "b.x"),
        (Aim().near("a.x", 0.5, 1), "strict"),
        (Aim().near("a.x", 0.5, 0.0), "strict"),
    ],
)
def test_an_aim_that_cannot_be_is_refused(aim: Aim, why: str) -> None:
    assert why in aim.fault(NAMES)
