"""The tries of results can be kept as a run, which is read and verified like any other."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import sandbox
from sandbox import goals, keeping, prices
from sandbox.errors import BudgetExhaustedError, FormatError, RunConflictError
from sandbox.goals import calls, kept
from sandbox.goals.moments import NAMES
from sandbox.goals.results import Filed
from sandbox.ledger import Ledger
from tests.running import cli, content, recipe

RECIPE = recipe("two_room", policies={"play": 1.0, "scripted_noisy": 1.0}, seed=900, episodes=50)


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A set, and what random actions did on it."""
    folder = tmp_path_factory.mktemp("kept")
    calls.make(RECIPE, folder / "set.json", pairs=3, offset=10, account=None)
    calls.run(folder / "set.json", folder / "r.json", "random", seeds=2, account=None)
    calls.run(folder / "set.json", folder / "many.json", "random", seeds=20, account=None)
    return folder / "set.json", folder / "r.json"


def test_a_kept_run_is_a_dataset_like_any_other(tried: tuple[Path, Path], tmp_path: Path) -> None:
    goals, results = calls.read_set(tried[0]).set, Filed.read(tried[1]).results
    keeping.keep_tries(tried[1], tried[0], tmp_path / "run")
    folder = sandbox.open_run(tmp_path / "run")
    for episode, outcome in zip(folder.episodes(), results.outcomes, strict=True):
        start, said = goals.pairs[outcome.pair].start, episode.record["tried"]
        taken = np.concatenate([start.actions, outcome.actions])
        assert episode.rows["action"][:-1].tobytes() == taken.tobytes()
        assert (said["pair"], said["seed"]) == (outcome.pair, outcome.seed)
        assert (said["strict"], said["moderate"]) == (outcome.hits.strict, outcome.hits.moderate)
        assert episode.record["policy"] == "agent:random"
        assert episode.rows["truncated"].tolist() == [False] * len(taken) + [True]
    for command in ("verify", "inspect", "preview"):
        done = cli(command, tmp_path / "run")
        assert done.returncode == 0, done.stderr
    dataset = sandbox.Dataset(
        tmp_path / "run", where=lambda one: one.tried is not None and one.tried["pair"] == 2
    )
    assert len(dataset) == 2


def test_the_row_says_with_which_goal_its_episode_begins(
    tried: tuple[Path, Path], tmp_path: Path
) -> None:
    keeping.keep_tries(tried[1], tried[0], tmp_path / "run")
    episode = sandbox.open_run(tmp_path / "run").episode(1)
    options = json.loads(episode.rows["reset_options"][0].tobytes())
    factors = {n.removeprefix("variation."): v[0] for n, v in episode.rows.items() if "." in n}
    env = gymnasium.make("sandbox/TwoRoom-v0", scenario=RECIPE.scenario)
    _, info = env.reset(
        seed=int(episode.rows["seed"][0]), options={**options, "variation_values": factors}
    )
    assert info["state"].tobytes() == episode.rows["state"][0].tobytes()
    assert info["goal_state"].tolist() == episode.record["tried"]["goal"]
    env.close()


def test_only_the_rows_are_charged_for_once(tried: tuple[Path, Path], tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.open_account("kept", "postpaid")
    bill = keeping.keep_tries(tried[1], tried[0], tmp_path / "run", account="kept")
    assert {unit for unit, n in bill.quantities.items() if n} == {"raw_byte"}
    folder = sandbox.open_run(tmp_path / "run")
    stored = sum(
        sum(column.nbytes for column in episode.rows.values()) for episode in folder.episodes()
    )
    assert bill.quantities["raw_byte"] == stored
    for _ in range(2):
        assert ledger.balance("kept").posted_micro == -bill.amount
        keeping.keep_tries(tried[1], tried[0], tmp_path / "run", account="kept")
    filed, goals = Filed.read(tried[1]).results, calls.read_set(tried[0]).set
    source = kept.Tries(kept.recipe_of(goals, filed, "kept", None), goals, filed)
    assert source.quote(0, folder.identity.schedule).amount == bill.amount
    source.close()
    with pytest.raises(BudgetExhaustedError, match="Nothing was"):
        keeping.keep_tries(tried[1], tried[0], tmp_path / "other", budget=bill.amount / 2e6)


def test_the_bytes_are_the_same_for_any_number_of_workers_and_after_a_kill(
    tried: tuple[Path, Path], tmp_path: Path
) -> None:
    many = tried[1].with_name("many.json")
    for workers in (1, 2):
        keeping.keep_tries(many, tried[0], tmp_path / f"{workers}", workers=workers)
    code = (
        "import sys\n"
        "from sandbox import keeping\n"
        "from sandbox.run.watcher import Watcher\n"
        "class Telling(Watcher):\n"
        "    def kept(self, record, bill):\n"
        "        print(record.episode, flush=True)\n"
        f"keeping.keep_tries({str(many)!r}, {str(tried[0])!r}, {str(tmp_path / 'killed')!r}, "
        "watcher=Telling())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert (tmp_path / "killed" / "run.json").exists()
    assert not (tmp_path / "killed" / "manifest.json").exists()
    keeping.keep_tries(many, tried[0], tmp_path / "killed")
    whole = content(tmp_path / "1")
    assert content(tmp_path / "2") == content(tmp_path / "killed") == whole
    assert len([name for name in whole if name.endswith(".h5")]) == 2


def test_tries_that_were_edited_are_named(tried: tuple[Path, Path], tmp_path: Path) -> None:
    from sandbox.goals import results

    filed = Filed.read(tried[1])
    first = filed.results.outcomes[0]
    other = first.model_copy(update={"actions": -first.actions})
    forged = filed.results.model_copy(update={"outcomes": [other, *filed.results.outcomes[1:]]})
    results.write(tmp_path / "forged.json", forged, filed.seconds, None)
    with pytest.raises(FormatError, match="pair 0, seed 0: its actions lead to other states"):
        keeping.keep_tries(tmp_path / "forged.json", tried[0], tmp_path / "run")
    calls.make(RECIPE, tmp_path / "set.json", pairs=2, offset=12, account=None)
    with pytest.raises(FormatError, match="its results are of the set"):
        keeping.keep_tries(tried[1], tmp_path / "set.json", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_pictures_of_a_kept_run_are_drawn_later(tried: tuple[Path, Path], tmp_path: Path) -> None:
    keeping.keep_tries(tried[1], tried[0], tmp_path / "run")
    sandbox.render(tmp_path / "run", tmp_path / "seen", ["pixels"], image_size=16)
    plain, seen = (sandbox.open_run(tmp_path / name).episode(4) for name in ("run", "seen"))
    assert seen.record["tried"] == plain.record["tried"]
    assert sandbox.verify(tmp_path / "seen").faults == []


@pytest.mark.parametrize("kind", ["branched", "task"])
def test_sets_of_other_kinds_are_kept(tmp_path: Path, kind: str) -> None:
    made = tmp_path / "set.json"
    calls.make(RECIPE, made, kind, pairs=2, offset=10, account=None)
    calls.run(made, tmp_path / "r.json", "recorded", account=None)
    keeping.keep_tries(tmp_path / "r.json", made, tmp_path / "run")
    assert sandbox.verify(tmp_path / "run").faults == []
    for episode in sandbox.open_run(tmp_path / "run").episodes():
        assert episode.record["success"] or kind == "branched"


@pytest.mark.parametrize(
    "change", [{"step": "x"}, {"steps": 3}, {"states": "0" * 64}, {"pair": 9}, {"seed": 7}]
)
def test_a_damaged_plan_of_tries_is_a_fault(
    tried: tuple[Path, Path], tmp_path: Path, change: dict[str, object]
) -> None:
    keeping.keep_tries(tried[1], tried[0], tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    data = json.loads(path.read_text())
    data["plan"]["tries"][1].update(change)
    path.write_text(json.dumps(data))
    assert cli("verify", tmp_path / "run").returncode == 1


def test_the_command_keeps_tries_and_goes_on_with_keeping(
    tried: tuple[Path, Path], tmp_path: Path
) -> None:
    goals = calls.read_set(tried[0]).set
    same = ("goals", "run", tried[0], "--out", tmp_path / "r.json", "--keep", tmp_path / "run")
    ledger = Ledger()
    ledger.grant("poor", calls.quote(goals, "noop"))  # For the tries, and not for their rows.
    done = cli(*same, "--account", "poor")
    assert (done.returncode, "`sandbox ledger grant poor" in done.stderr) == (2, True)
    assert "credits at most, and " in done.stdout
    filed = Filed.read(tmp_path / "r.json")
    assert kept.most(goals, 1, prices.current()) > 0
    ledger.grant("poor", 10**9)
    before = ledger.balance("poor").posted_micro
    done = cli(*same, "--account", "poor")
    assert done.returncode == 0, done.stderr
    bill = json.loads((tmp_path / "run" / "manifest.json").read_text())["posted_micro"]
    assert before - ledger.balance("poor").posted_micro == bill
    assert bill <= kept.most(goals, 1, prices.current())
    assert "Bill: 3 episodes" in done.stdout
    assert Filed.read(tmp_path / "r.json").results.digest == filed.results.digest
    done = cli(*same, "--agent", "recorded", "--account", "poor")
    assert "other agent" in done.stderr


def test_a_place_that_is_no_folder_is_refused_before_there_is_a_try(
    tried: tuple[Path, Path], tmp_path: Path
) -> None:
    goals, _ = tried
    out = tmp_path / "out.json"
    done = cli("goals", "run", str(goals), "--out", str(out), "--keep", str(goals))
    assert (done.returncode, out.exists()) == (2, False)
    assert "is no folder" in done.stderr


@pytest.fixture(scope="module")
def succeeded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A run of tries, and the number of one that goes on past the world's own success."""
    path = tmp_path_factory.mktemp("succeeded")
    source = recipe("two_room", policies={"scripted": 1.0}, seed=7001, episodes=100)
    calls.make(source, path / "set.json", pairs=16, offset=45, account=None)
    calls.run(path / "set.json", path / "r.json", "recorded", account=None)
    keeping.keep_tries(path / "r.json", path / "set.json", path / "run")
    folder = sandbox.open_run(path / "run")
    number = next(n for n in range(folder.count()) if folder.episode(n).record["success"])
    return path / "run", number


def test_a_branch_of_a_try_goes_on_past_the_worlds_own_success(
    succeeded: tuple[Path, int], tmp_path: Path
) -> None:
    run, number = succeeded
    past = sandbox.open_run(run).episode(number)
    step = past.record["steps"] - 1
    branched = tmp_path / "branched"
    for of, name, episode in ((run, "branched", number), (branched, "again", 0)):
        given = {"episode": episode, "step": step, "kinds": ["same", "noop"]}
        sandbox.branch(of, tmp_path / name, **given)
        branch = sandbox.open_run(tmp_path / name).episode(0)
        assert (branch.rows["state"][: step + 1] == past.rows["state"][: step + 1]).all()
        assert branch.record["branch"]["goal"] == past.record["tried"]["goal"]
        assert cli("verify", tmp_path / name).returncode == 0


def test_a_start_past_the_worlds_own_success_is_one(succeeded: tuple[Path, int]) -> None:
    run, number = succeeded
    episode = sandbox.open_run(run).episode(number)
    env = goals.Recorded(run)(gymnasium.make("sandbox/TwoRoom-v0", scenario=RECIPE.scenario))
    env.reset()
    step = episode.record["steps"] - 2
    env.unwrapped._set_state(**{name: episode.rows[name][step] for name in NAMES})
    info = env.step(episode.rows["action"][step])[4]
    assert info["state"].tobytes() == episode.rows["state"][step + 1].tobytes()
    env.close()


def test_a_run_of_tries_is_not_extended_and_says_why(
    tried: tuple[Path, Path], tmp_path: Path
) -> None:
    keeping.keep_tries(tried[1], tried[0], tmp_path / "run")
    with pytest.raises(RunConflictError, match="has the tries of an agent"):
        keeping.extend(tmp_path / "run", 50)
