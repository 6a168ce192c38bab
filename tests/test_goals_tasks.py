"""Five fixed tasks of a world, as OGBench has them."""

from pathlib import Path
from typing import Any

import pytest

from sandbox import goals
from sandbox.errors import InvalidInputError
from sandbox.goals import calls, scores
from tests.running import cli, recipe

RECIPE = recipe("two_room", policies={"play": 1.0, "scripted_noisy": 1.0}, seed=900, episodes=50)


@pytest.fixture(scope="module")
def five_tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("goals") / "tasks.json"
    goals.make(RECIPE, path, "tasks", offset=10, account=None)
    return path


def test_a_world_has_five_tasks_from_the_nearest_goal_on(five_tasks: Path, tmp_path: Path) -> None:
    found = calls.read_set(five_tasks).set
    assert found.tasks == ["task1", "task2", "task3", "task4", "task5"]
    distances = [pair.distance for pair in found.pairs]
    assert distances == sorted(distances)
    assert calls.check(five_tasks) == []
    results = calls.run(five_tasks, tmp_path / "r.json", "recorded", account=None).results
    assert scores.by_task(results, found) == dict.fromkeys(found.tasks, "100 %")
    done = cli(
        "goals", "report", tmp_path / "r.json", "--goals", five_tasks, "--out", tmp_path / "p.html"
    )
    assert done.returncode == 0
    assert "recorded, task5" in (tmp_path / "p.html").read_text()


def test_a_task_is_begun_by_its_number(five_tasks: Path) -> None:
    env = goals.GoalEnv(five_tasks)
    assert (env.num_tasks, env.task_infos[4]["task_name"]) == (5, "task5")
    for number, pair in enumerate(goals.open(five_tasks)):
        for _ in range(2):  # Start and goal are fixed.
            seen, info = env.reset(options={"task_id": number + 1})
            assert info["goal_state"].tobytes() == pair.goal.tobytes()
            other, _ = env.reset(options={"pair": number})
            assert seen["observation"].tobytes() == other["observation"].tobytes()
        rewards = [env.step(action)[1] for action in pair.known]
        assert rewards[-1] == 0.0
    wrong: list[Any] = [0, 6, "1", None, True]
    for given in wrong:
        with pytest.raises(InvalidInputError, match=r"task_id .*: the set has 5, from 1 on"):
            env.reset(options={"task_id": given})
    with pytest.raises(InvalidInputError, match="give one of them"):
        env.reset(options={"task_id": 1, "pair": 0})
    env.close()
