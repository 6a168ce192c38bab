"""What a task measures by stands in the state, and what it wants in the goal.

Progress and success are computed here from nothing else: a row of the state, the goal, the factors.
"""

import math
from collections.abc import Callable
from contextlib import closing
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from sandbox import catalogue
from sandbox.env import SandboxEnv
from sandbox.envs import push_t, two_room
from sandbox.errors import InvalidInputError
from sandbox.scenario.factors import Values
from sandbox.wrappers import IdlesOnBudget, LeRobotNames

STEPS = 90
State, Goal = dict[str, float], list[float]
Measure = Callable[[State, Goal, Values], tuple[float, bool]]
MEASURES: dict[str, Measure] = {}


def measure(of: Measure) -> Measure:
    """Measure a world by a function of its name."""
    MEASURES[of.__name__] = of
    return of


def xyz(s: State, name: str, axes: str = "xyz") -> list[float]:
    return [s[f"{name}.{axis}"] for axis in axes]


def clipped(value: float, low: float = 0.0) -> float:
    return max(low, min(1.0, value))


@measure
def billiards(s: State, goal: Goal, f: Values) -> tuple[float, bool]:
    return 0.0, s["object_ball_moved"] == 1.0


@measure
def cartpole_swingup(s: State, goal: Goal, f: Values) -> tuple[float, bool]:
    return 0.0, s["held_steps"] >= 50


@measure
def cheetah_2d(s: State, goal: Goal, f: Values) -> tuple[float, bool]:
    x = s["runner.x.position"]
    return clipped(x / 6.0, -1.0), x >= 6.0


@measure
def dominoes(s: State, goal: Goal, f: Values) -> tuple[float, bool]:
    return s["fallen"] / f.n_dominoes, s["last_fallen"] == 1.0


@measure
def latch(s: State, goal: Goal, f: Values) -> tuple[float, bool]:
    opened = s[f"cabinet.{'door' if f.is_door else 'drawer'}.position"]
    enough = 0.8 if f.is_door else 0.12
    return clipped(opened / enough), opened >= enough


@measure
def panda_pick_stack(s: State, goal: Goal, f: Values) -> tuple[float, bool]:
    pick, base, half = xyz(s, "cube_0"), xyz(s, "cube_1"), 0.5 * 15
    assert goal == [base[0], base[1], base[2] + f.cube_size_m]
    if abs(pick[2] - goal[2]) < 0.005 and math.dist(pick[:2], goal[:2]) < 0.45 * f.cube_size_m:
        return 0.75 + 0.25 * min(1.0, s["rested_steps"] / half), s["rested_steps"] >= half
    if s["in_hand"]:
        return 0.25 + 0.45 * (1.0 - math.tanh(5.0 * math.dist(pick, goal))), False
    return 0.25 * (1.0 - math.tanh(5.0 * math.dist(xyz(s, "tip"), pick))), False


@measure
def panda_push(s: State, goal: Goal, f: Values) -> tuple[float, bool]:
    away = math.dist(xyz(s, "cube", "xy"), goal)
    return 1.0 - min(1.0, away / 0.4), away < 0.03 and 0.0 < s["cube.z"] < 0.06


@measure
def panda_reach(s: State, goal: Goal, f: Values) -> tuple[float, bool]:
    away = math.dist(xyz(s, "tip"), goal)
    return 1.0 - min(1.0, away / 0.8), away < 0.02


@measure
def pendulum_chain(s: State, goal: Goal, f: Values) -> tuple[float, bool]:
    angles = np.cumsum([s[f"chain.link_{n + 1}.position"] for n in range(int(f.n_links))])
    return (1.0 + float(np.cos(angles).mean())) / 2, s["reached"] == 1.0


@measure
def pour(s: State, goal: Goal, f: Values) -> tuple[float, bool]:
    bowl, half = goal
    beads = [xyz(s, f"bead_{n}") for n in range(int(f.n_beads))]
    inside = sum(0.0 < z < 0.14 and abs(x - bowl) < half for x, _, z in beads)
    return inside / len(beads), inside / len(beads) >= 0.6


@measure
def push_cubes(s: State, goal: Goal, f: Values) -> tuple[float, bool]:
    marks = [goal[2 * n : 2 * n + 2] for n in range(int(f.n_cubes))]
    away = [math.dist(xyz(s, f"cube_{n}", "xy"), mark) for n, mark in enumerate(marks)]
    return sum(max(0.0, 1.0 - d / 0.6) for d in away) / len(away), max(away) < 0.03


@measure
def push_t_(s: State, goal: Goal, f: Values) -> tuple[float, bool]:
    turn = 2 * math.atan2(s["t.qz"], s["t.qw"])
    covered = push_t.overlap((s["t.x"], s["t.y"], turn), (*goal,), 0.05 * f.t_scale)  # pyright: ignore
    return covered, covered >= 0.95


@measure
def quadrotor(s: State, goal: Goal, f: Values) -> tuple[float, bool]:
    away = math.dist(xyz(s, "drone"), goal)
    return (s["markers_behind"] + 1 / (1 + (away / 0.3) ** 2)) / 3, (
        s["held_steps"] >= 48 and not s["crashed"]
    )


@measure
def quadruped(s: State, goal: Goal, f: Values) -> tuple[float, bool]:
    ahead = s["robot.x"] - s["start.x"]
    upright = 1.0 - 2.0 * (s["robot.qx"] ** 2 + s["robot.qy"] ** 2) >= 0.0
    return clipped(ahead / 2.5, -1.0), ahead >= 2.5 and upright


@measure
def ramp_occluder(s: State, goal: Goal, f: Values) -> tuple[float, bool]:
    return 0.0, s["seen_right"] == 1.0


@measure
def tower(s: State, goal: Goal, f: Values) -> tuple[float, bool]:
    height = s[f"block_{int(f.n_blocks) - 1}.z"]
    return clipped(1.0 - height / s["first_height"]), height < s["toppled_below"]


@measure
def two_room_(s: State, goal: Goal, f: Values) -> tuple[float, bool]:
    at, to = (s["agent.x.position"], s["agent.y.position"]), (goal[0], goal[1])
    way = two_room.length(at, two_room.Door.of(f, 0.0).way(at, to))
    return max(0.0, 1.0 - way / 1.6), math.dist(at, to) < 0.03


def test_every_world_is_measured() -> None:
    assert sorted(name.rstrip("_") for name in MEASURES) == catalogue.environments()


def test_progress_and_success_follow_from_state_goal_and_factors(env: SandboxEnv) -> None:
    known = {name.rstrip("_"): of for name, of in MEASURES.items()}[env.name()]
    names, worth = env.state_names(), set[float]()
    for seed, options in ((0, {}), (1, {"variation": ["all"]})):
        _, info = env.reset(seed=seed, options=options)
        act = env.scripted(np.random.default_rng(0))
        for _ in range(STEPS):
            state = dict(zip(names, info["state"].tolist(), strict=True))
            goal = info["goal"].tolist() if env.goal_names else []
            assert len(goal) == len(env.goal_names)
            progress, success = known(state, goal, env.values)
            assert progress == pytest.approx(env.progress(), abs=1e-9), f"at step {env.t}"
            assert success == bool(info["success"]), f"at step {env.t}"
            worth.add(progress)
            _, _, ended, cut, info = env.step(act())
            if ended or cut:
                break
    assert len(worth) > 1 or env.name() in ("billiards", "cartpole_swingup", "ramp_occluder")


def test_a_world_with_a_goal_says_what_it_is(env: SandboxEnv) -> None:
    _, info = env.reset(seed=0)
    assert ("goal" in info) == bool(env.goal_names)
    if env.goal_names:
        assert info["goal"].dtype == np.float64
        assert f"Goal, float64 ({len(env.goal_names)},): " in (type(env).__doc__ or "")
        assert all(name.endswith("]") for name in env.goal_names), "each has its unit"


def test_what_is_named_and_not_there_is_said_in_a_sentence() -> None:
    class Lacking(catalogue.environment("two_room")):  # type: ignore[misc]
        state_measures = ("way_m", "nowhere")

    says = "has state_measures and no attribute 'no"
    with closing(Lacking(account=None)) as env, pytest.raises(InvalidInputError, match=says):
        env.reset(seed=0)


# LeRobot's names ------------------------------------------------------------------------------


def lerobot(name: str, **keywords: Any) -> Any:
    return LeRobotNames(gymnasium.make(catalogue.gym_id(name), account=None, **keywords))


def test_lerobots_names_hold_what_ours_hold() -> None:
    cameras = ["main", "finger"]
    given: dict[str, Any] = {"observation": ["pixels", "proprio"], "image_size": 16}
    with closing(lerobot("push_t", camera=cameras, **given)) as env:
        for seen, info in (env.reset(seed=3), env.step(np.ones(2, np.float32))[::4]):
            assert env.observation_space.contains(seen)
            assert list(seen) == ["pixels", "agent_pos", "environment_state"]
            assert list(seen["pixels"]) == cameras
            assert seen["environment_state"].tobytes() == info["state"].tobytes()
            assert seen["environment_state"] is not info["state"]
        task: Any = env.unwrapped
        assert seen["agent_pos"].tobytes() == np.array(task.proprio(), np.float32).tobytes()
        assert seen["pixels"]["main"].shape == (16, 16, 3)
    with closing(lerobot("two_room", observation="pixels", image_size=16)) as env:
        assert list(env.reset(seed=0)[0]) == ["pixels", "environment_state"]


def test_lerobots_names_can_leave_out_what_is_privileged() -> None:
    made = gymnasium.make(catalogue.gym_id("two_room"), account=None)
    with closing(LeRobotNames(made, environment_state=False)) as env:
        assert list(env.observation_space) == ["agent_pos"]  # pyright: ignore
        assert list(env.reset(seed=0)[0]) == ["agent_pos"]


@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")
@pytest.mark.filterwarnings("ignore:.*A Box observation space m")  # The state has no bounds.
def test_an_environment_with_lerobots_names_is_gymnasiums() -> None:
    with closing(lerobot("panda_reach")) as env:
        again: Any = gymnasium.make(env.spec)
        assert again.observation_space == env.observation_space
        again.close()
        check_env(env, skip_render_check=True)


def test_lerobots_names_go_on_when_the_credit_is_spent() -> None:
    made = gymnasium.make(catalogue.gym_id("two_room"), budget=0.0)
    with closing(LeRobotNames(IdlesOnBudget(made))) as env:
        seen, info = env.reset(seed=0)
        assert info["idle"]
        assert env.observation_space.contains(seen)
        assert not seen["environment_state"].any()
