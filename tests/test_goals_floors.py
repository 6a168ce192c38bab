"""Every report has floors and a ceiling beside it, and says how far an agent is from the known."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.errors import BudgetExhaustedError, FormatError
from sandbox.goals import calls, floors, scores
from sandbox.goals.sets import GoalSet
from sandbox.ledger import Ledger
from tests.running import cli, recipe

RECIPE = recipe("two_room", policies={"play": 1.0, "scripted_noisy": 1.0}, seed=900, episodes=50)
STILL = "tests.test_goals_hostile:Odd"  # Does nothing, by an agent of somebody's.


@pytest.fixture(scope="module")
def floored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("goals") / "set.json"
    calls.make(RECIPE, path, pairs=2, offset=10, account=None)
    return path


def test_floors_are_run_once_and_serve_every_agent(floored: Path, tmp_path: Path) -> None:
    goals, ledger = calls.read_set(floored).set, Ledger()
    ledger.open_account("floors", "postpaid")
    every, spent = floors.run(goals, tmp_path / "one.json", STILL, {}, seeds=2, account="floors")
    assert [one.results.head.agent for one in every] == [STILL, "noop", "random", "recorded"]
    charged = sum(one.results.charge_micro for one in every)
    assert ledger.balance("floors").posted_micro == -charged
    again, more = floors.run(goals, tmp_path / "two.json", STILL, {}, seeds=2, account="floors")
    assert [one.path for one in again[1:]] == [one.path for one in every[1:]]
    assert ledger.balance("floors").posted_micro == -charged - again[0].results.charge_micro
    assert floors.quote(goals, tmp_path / "three.json", STILL, {}, seeds=2) == calls.quote(
        goals, STILL, seeds=2
    )
    assert (spent, more) == (charged, again[0].results.charge_micro)
    assert scores.lacking([one.results for one in every]) == ""


def test_an_agent_that_draws_nothing_has_one_seed(floored: Path, tmp_path: Path) -> None:
    one, three = (calls.quote(floored, "recorded", seeds=n) for n in (1, 3))
    assert (three, calls.quote(floored, "random", seeds=3)) == (one, 3 * one)
    found = calls.run(floored, tmp_path / "r.json", "recorded", account=None).results
    assert (found.head.seeds, found.charge_micro) == ([0], one)


def test_regret_is_of_steps_beyond_the_known_solution(floored: Path, tmp_path: Path) -> None:
    goals = calls.read_set(floored).set
    recorded, noop = (
        calls.run(goals, tmp_path / f"{name}.json", name, account=None).results
        for name in ("recorded", "noop")
    )
    assert scores.regret(recorded, goals) == scores.regret(recorded, goals, "moderate") == 0.0
    wasted = [float(goals.budget - pair.hits.strict) for pair in goals.pairs]  # type: ignore
    assert scores.regret(noop, goals) == scores.iqm(wasted) > 0.0


def test_floors_of_other_seeds_are_not_taken_for_these(floored: Path, tmp_path: Path) -> None:
    goals, out = GoalSet.read(floored).set, tmp_path / "o.json"
    path = floors.place(out, goals, "random")
    calls.run(goals, path, "random", seeds=1, account=None)
    with pytest.raises(FormatError, match="have other seeds than a run of"):
        floors.run(goals, out, STILL, {}, seeds=2, account=None)
    path.write_bytes(calls.run(goals, tmp_path / "n.json", account=None).path.read_bytes())
    with pytest.raises(FormatError, match="'noop' have other agent, seeds than"):
        floors.run(goals, out, STILL, {}, seeds=2, account=None)
    (only,), _ = floors.run(goals, out, STILL, {}, seeds=2, beside=False, account=None)
    assert only.results.head.agent == STILL


def test_the_budget_is_of_all_together(floored: Path, tmp_path: Path) -> None:
    goals, out = GoalSet.read(floored).set, tmp_path / "o.json"
    whole = floors.quote(goals, out, STILL, {}, seeds=1)
    assert whole == 4 * calls.quote(goals, "noop")
    with pytest.raises(BudgetExhaustedError, match="what is done is kept"):
        floors.run(goals, out, STILL, {}, seeds=1, account=None, budget=(whole - 1) / 1e6)
    assert not out.exists()
    rest = calls.quote(goals, STILL, seeds=1) / 1e6  # The floors are there.
    assert len(floors.run(goals, out, STILL, {}, seeds=1, account=None, budget=rest)[0]) == 4


def test_the_commands_run_floors_and_say_which_are_missing(floored: Path, tmp_path: Path) -> None:
    out, alone = tmp_path / "mine.json", tmp_path / "alone.json"
    same = ("goals", "run", floored, "--agent", STILL, "--seeds", "1")
    done = cli(*same, "--out", out, "--json")
    told = {one["agent"]: one["regret_steps"] for one in json.loads(done.stdout)}
    assert (list(told), told["recorded"]) == ([STILL, "noop", "random", "recorded"], 0.0)
    done = cli(*same, "--out", alone, "--no-floors")
    assert "Missing: floor noop, floor random, ceiling recorded." in done.stdout
    others = sorted(tmp_path.glob("r*-*.json"))
    done = cli("goals", "report", alone, *others)
    assert "Missing: floor noop. " in done.stdout
    assert "regret" in done.stdout
    page = tmp_path / "page.html"
    done = cli("goals", "report", alone, *others, "--goals", floored, "--out", page)
    assert done.returncode == 0
    assert "Missing: floor noop." in page.read_text()


def test_two_agents_at_once_share_their_floors(floored: Path, tmp_path: Path) -> None:
    begin = [sys.executable, "-m", "sandbox", "goals", "run", str(floored)]
    commands = [
        [*begin, "--agent", STILL, "--seeds", "2", "--out", str(tmp_path / f"{n}.json"), "--json"]
        for n in range(2)
    ]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    both = [
        subprocess.Popen(one, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for one in commands
    ]
    told = [one.communicate(timeout=120) for one in both]
    assert [one.returncode for one in both] == [0, 0], told
    floors_of = [
        [one["results"] for one in json.loads(out) if one["agent"] != STILL] for out, _ in told
    ]
    assert floors_of[0] == floors_of[1]
    assert len(floors_of[0]) == 3
