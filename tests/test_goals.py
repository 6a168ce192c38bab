"""Goal sets are frozen, results replay, and nothing changes them but the seed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sandbox.errors import BudgetExhaustedError, FormatError, InvalidInputError, SandboxError
from sandbox.evidence.note import SigningKey
from sandbox.goals import calls, scores
from sandbox.goals.results import Filed
from sandbox.goals.sets import GoalSet
from sandbox.ledger import Ledger
from tests.running import cli, recipe

RECIPE = recipe("two_room", policies={"play": 1.0, "scripted_noisy": 1.0}, seed=900, episodes=50)
KEY = SigningKey("tests", bytes(32))  # Whether this machine has a key must not matter.
MADE = {"pairs": 4, "offset": 10, "account": None, "key": KEY}
RUN = {"seeds": 2, "account": None}


@pytest.fixture(scope="module")
def goals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("goals") / "set.json"
    calls.make(RECIPE, path, **MADE)  # type: ignore[arg-type]
    return path


class Wanderer:
    """Somebody's agent: it draws from global generators, and remembers what it has seen."""

    observation = ("proprio", "pixels")
    image_size = 16

    def __init__(self, fault: str = "") -> None:
        self.fault, self.seen = fault, 0

    def begin(self, trial: Any) -> None:
        self.trial = trial
        assert trial.goal["pixels"].shape == (16, 16, 3)

    def act(self, observation: Any, goal: Any) -> Any:
        if self.fault == "raises":
            raise KeyError("lost")
        if self.fault == "hangs":
            time.sleep(30)
        if self.fault == "shape":
            return np.zeros(5)
        if self.fault == "nan":
            return np.full(2, np.nan)
        towards = goal["state"][[0, 2]] - observation["proprio"][:2]
        return np.clip(5 * towards + 0.1 * np.random.standard_normal(2), -1, 1)  # noqa: NPY002


@pytest.mark.parametrize("workers", [1, 3])
def test_a_set_is_the_same_whoever_makes_it(goals: Path, tmp_path: Path, workers: int) -> None:
    again = calls.make(RECIPE, tmp_path / "set.json", workers=workers, **MADE)  # type: ignore[arg-type]
    assert (tmp_path / "set.json").read_bytes() == goals.read_bytes()
    assert again.digest == GoalSet.read(goals).set.digest
    assert calls.check(goals, workers=workers) == []


@pytest.mark.parametrize("kind", ["ahead", "branched", "task"])
def test_known_solutions_reach_every_goal_and_doing_nothing_none(tmp_path: Path, kind: Any) -> None:
    made = calls.make(RECIPE, tmp_path / "set.json", kind, **MADE)  # type: ignore[arg-type]
    found = {
        agent: calls.run(made, tmp_path / f"{agent}.json", agent, seeds=1, account=None).results
        for agent in ("recorded", "noop")
    }
    assert scores.rate(found["recorded"], "strict").value == 1.0
    assert scores.rate(found["noop"], "moderate").value == 0.0
    for agent in found:
        assert calls.verify(tmp_path / f"{agent}.json", made) == []
    hits = [pair.hits.strict for pair in made.pairs]
    assert [one.hits.strict for one in found["recorded"].outcomes] == hits


@pytest.mark.parametrize("agent", ["random", "tests.test_goals:Wanderer"])
def test_results_are_the_same_for_any_number_of_workers(
    goals: Path, tmp_path: Path, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    digests = {
        calls.run(goals, tmp_path / f"{n}.json", agent, workers=n, **RUN).results.digest  # type: ignore[arg-type]
        for n in ((1, 2, 3) if agent == "random" else (1, 2))
    }
    assert len(digests) == 1
    assert calls.verify(tmp_path / "1.json", goals) == []


def test_what_comes_of_a_pair_does_not_depend_on_the_others(goals: Path, tmp_path: Path) -> None:
    whole = GoalSet.read(goals).set
    two = calls.run(whole, tmp_path / "two.json", "random", seeds=2, account=None).results
    one = calls.run(whole, tmp_path / "one.json", "random", seeds=1, account=None).results
    first = [outcome.evidence for outcome in two.outcomes[: len(one.outcomes)]]
    assert first == [outcome.evidence for outcome in one.outcomes]
    assert two.outcomes[0].actions.tobytes() != two.outcomes[4].actions.tobytes()


def test_a_killed_run_goes_on_and_is_charged_once(goals: Path, tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.open_account("goals", "postpaid")
    code = (
        "import sys; from sandbox.goals import calls\n"
        "def tell(done, total, micro):\n"
        "    print(done, flush=True)\n"
        f"calls.run({str(goals)!r}, {str(tmp_path / 'out.json')!r}, 'random', seeds=2, "
        "account='goals', progress=tell)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 3:
                process.send_signal(signal.SIGKILL)
                break
    part = tmp_path / "out.json.part"
    assert part.exists()
    with part.open("ab") as file:
        file.write(b'{"outcome": {"pair"')  # What a kill leaves of a line.
    filed = calls.run(goals, tmp_path / "out.json", "random", seeds=2, account="goals")
    other = calls.run(goals, tmp_path / "again.json", "random", seeds=2, account=None)
    assert filed.results.digest == other.results.digest
    assert not part.exists()
    assert ledger.balance("goals").posted_micro == -filed.results.charge_micro


def test_without_credit_it_ends_orderly_and_goes_on_later(goals: Path, tmp_path: Path) -> None:
    whole = calls.quote(goals, "noop", seeds=1)
    assert whole > 0
    with pytest.raises(BudgetExhaustedError, match="what is done is kept"):
        calls.run(goals, tmp_path / "o.json", "noop", seeds=1, account=None, budget=whole / 2e6)
    with pytest.raises(FormatError, match="another run is under way"):
        calls.run(goals, tmp_path / "o.json", "random", seeds=1, account=None)
    assert len((tmp_path / "o.json.part").read_bytes().splitlines()) == 3
    filed = calls.run(goals, tmp_path / "o.json", "noop", seeds=1, account=None, budget=whole / 1e6)
    assert filed.results.charge_micro == whole


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raises", "KeyError: 'lost'"),
        ("hangs", "took longer than 0.2 s"),
        ("shape", "give 2 finite numbers"),
        ("nan", "give 2 finite numbers"),
    ],
)
def test_an_agent_that_fails_is_named_with_pair_and_seed(
    goals: Path, tmp_path: Path, fault: str, said: str
) -> None:
    with pytest.raises(InvalidInputError, match="Wanderer', pair 0, seed 0") as error:
        calls.run(
            goals,
            tmp_path / "o.json",
            "tests.test_goals:Wanderer",
            {"fault": fault},
            timeout_s=0.2,
            account=None,
        )
    assert said in str(error.value)
    assert not (tmp_path / "o.json").exists()


def test_edited_sets_and_results_are_named(goals: Path, tmp_path: Path) -> None:
    data = json.loads(goals.read_text())
    data["set"]["pairs"][1]["start"]["seed"] += 1
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(data))
    with pytest.raises(FormatError, match="not those that its digest names"):
        calls.read_set(edited)
    changed = GoalSet.model_validate(data["set"])
    changed.write(tmp_path / "written.json", None)  # As whoever computes the digest again does.
    assert calls.check(tmp_path / "written.json")[0].startswith("pair 1: ")

    filed = calls.run(goals, tmp_path / "r.json", "random", seeds=1, account=None)
    data = json.loads(filed.path.read_text())
    data["results"]["outcomes"][2]["hits"]["strict"] = 1
    edited.write_text(json.dumps(data))
    with pytest.raises(FormatError, match="not those that its digest names"):
        Filed.read(edited)
    from sandbox.goals import results

    outcomes = [*filed.results.outcomes]
    hit = outcomes[2].hits.model_copy(update={"strict": 1})
    outcomes[2] = outcomes[2].model_copy(update={"hits": hit})
    forged = filed.results.model_copy(update={"outcomes": outcomes})
    results.write(edited, forged, filed.seconds, None)
    (fault,) = calls.verify(edited, goals)
    assert fault.startswith("pair 2, seed 0: hits")


def test_a_set_shares_nothing_with_a_training_run(tmp_path: Path) -> None:
    import sandbox

    sandbox.generate(RECIPE.model_copy(update={"episodes": 2}), tmp_path / "run")
    made = calls.make(
        RECIPE,
        tmp_path / "set.json",
        apart_from=[tmp_path / "run"],
        **MADE,  # type: ignore[arg-type]
    )
    assert made.filtered.shared == 2
    assert made.apart[0].episodes == 2
    assert calls.check(made, apart_from=[tmp_path / "run"]) == []
    twin = calls.make(RECIPE, tmp_path / "twin.json", **MADE)  # type: ignore[arg-type]
    assert any("training run" in one for one in calls.check(twin, apart_from=[tmp_path / "run"]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source": recipe("tower")}, "no goal states"),
        ({"offset": 400}, "an episode of two_room has 200"),
        ({"source": recipe("two_room", policies={"scripted": 1.0}), "offset": 90}, "lost: "),
        ({"kind": "else"}, "no kind of goal"),
        ({"source": "no_such_recipe"}, "no_such_recipe"),
        ({"pairs": 0}, "pairs must be"),
    ],
)
def test_a_set_that_cannot_be_made_is_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    given = {"source": RECIPE, "kind": "ahead", **MADE, **change}
    with pytest.raises(SandboxError, match=said):
        calls.make(given.pop("source"), tmp_path / "set.json", **given)
    assert not (tmp_path / "set.json").exists()


def test_the_commands_make_show_check_run_verify_and_report(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(json.dumps(RECIPE.model_dump(mode="json", exclude_none=True)))
    goals, out = tmp_path / "set.json", tmp_path / "noop.json"
    done = cli("goals", "make", str(path), "--out", str(goals), "--pairs", "3", "--offset", "10")
    assert (done.returncode, "3 pairs of two_room" in done.stdout) == (0, True)
    done = cli("goals", "show", str(goals), "--out", str(tmp_path / "show.png"))
    assert (done.returncode, (tmp_path / "show.png").read_bytes()[:4]) == (0, b"\x89PNG")
    assert cli("goals", "check", str(goals)).stdout == "VERIFIED: all pairs.\n"
    done = cli("goals", "run", str(goals), "--out", str(out), "--seeds", "1")
    assert "credits at most" in done.stdout
    assert "VERIFIED" in cli("goals", "verify", str(out), str(goals)).stdout
    page = tmp_path / "page.html"
    done = cli("goals", "report", str(out), "--goals", str(goals), "--out", str(page))
    assert (done.returncode, "0.0 % [0.0," in done.stdout) == (0, True)
    text = page.read_text()
    assert text.count("<img ") == 2
    assert "http" not in text.replace("data:image/png", "")


def test_pairs_begin_in_plain_python_and_agents_are_scored(goals: Path) -> None:
    from sandbox import goals as sets

    opened = sets.open(goals)
    assert len(opened) == 4
    for pair in opened:
        env = pair.reset()
        info: dict[str, Any] = {}
        for action in pair.known:
            info = env.step(action)[4]
        assert info["goal_distance"] == 0.0
        env.close()
    found = sets.score(goals, Wanderer(), seeds=1)
    assert found["moderate"].value > 0.0
