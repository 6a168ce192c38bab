"""A finished run is extended: what was kept, charged and logged stays; a kill loses nothing."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import cli, content, recipe

import sandbox
from sandbox import durable, jsonfile
from sandbox.errors import BudgetExhaustedError, FormatError, InvalidInputError, RunConflictError
from sandbox.evidence import keys, log
from sandbox.ledger import Ledger
from sandbox.run.filling import Filling
from sandbox.run.settle import recover
from sandbox.run.stages import EXTENDED, Stages
from sandbox.trajectory import ShardWriter
from sandbox.verification import prove
from sandbox.verification.trust import Trust

SOAK = "SANDBOX_SOAK" in os.environ
WANTED = recipe("billiards", episodes=5, shard_episodes=2)
LOGGED = ("log", "checkpoint", "manifest.json")  # What grows, or is written again.


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a signed run of 5 episodes, and one that was extended to 8 and to 9."""
    home = tmp_path_factory.mktemp("extend")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(home))
        keys.new()
        sandbox.generate(WANTED, home / "five")
        shutil.copytree(home, home.with_name("before"), dirs_exist_ok=True)
        shutil.copytree(home / "five", home / "nine")
        sandbox.extend(home / "nine", 8)
        sandbox.extend(home / "nine", 9)
    return home


@pytest.fixture
def five(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run of 5 episodes, in a home in which nothing was extended."""
    home = shutil.copytree(made.with_name("before"), tmp_path / "home")
    monkeypatch.setenv("SANDBOX_HOME", str(home))
    return home / "five"


@pytest.fixture
def nine(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run that was extended twice."""
    home = shutil.copytree(made, tmp_path / "home")
    monkeypatch.setenv("SANDBOX_HOME", str(home))
    return home / "nine"


def charged(run: Path) -> list[int]:
    posts = Ledger(read_only=True).of_run(sandbox.open_run(run).run)
    assert {one.move.kind for one in posts} == {"post"}
    return sorted(one.move.facts["episode"] for one in posts)


@pytest.mark.parametrize("number", range(8))
def test_each_stage_has_shards_of_its_own(number: int) -> None:
    stages = Stages((5, 8, 9), 2)
    spans = [(0, 2), (2, 4), (4, 5), (5, 7), (7, 8), (8, 9), (9, 9), (11, 11)]
    assert stages.shard(number) == range(*spans[number])
    assert (stages.shards, stages.shards_until(1), stages.shards_until(2)) == (6, 3, 5)
    assert [stages.entry(n) for n in (0, 4, 5, 7, 8)] == [1, 5, 7, 9, 11]


def test_what_was_kept_and_logged_stays_and_new_episodes_alone_are_charged(
    five: Path, made: Path
) -> None:
    before, balance = content(five), Ledger().balance("local").posted_micro
    proof = prove.episode(sandbox.open_run(five), 2, 3)
    bill = sandbox.extend(five, 8)
    assert (bill.episodes, bill.already) == (8, 5)
    paid = balance - Ledger().balance("local").posted_micro
    assert paid == sum(one.charge_micro for one in sandbox.open_run(five).records()) * 3 // 8
    assert charged(five) == list(range(8))
    after = content(five)
    for name, old in before.items():
        assert after[name] == old or (
            name in LOGGED and (name != "log" or old == after[name][: len(old)])
        )
    assert sandbox.open_run(five).run == json.loads(before["run.json"])["run"]
    trust = Trust(Ledger(read_only=True), keys.trusted(), signed=True, charged=True)
    published = Trust(None, keys.trusted(), signed=True, published=before["checkpoint"].decode())
    for one in (trust, published):
        report = sandbox.verify(five, trust=one)
        assert (report.faults, report.episodes, report.replayed) == ([], 8, 8)
        assert any("grew from the 7 entries of stage 0" in text for text in report.checked)
    known = keys.trusted()
    assert prove.check(proof, known, signed=True).faults == []
    growth = prove.growth(sandbox.open_run(five), before["checkpoint"].decode())
    assert prove.check(growth, known, signed=True).faults == []
    sandbox.extend(five, 9, workers=2)
    assert content(five) == content(made / "nine")


def test_the_episodes_are_those_of_a_run_that_was_generated_with_more(nine: Path) -> None:
    whole = nine.with_name("whole")
    sandbox.generate(WANTED, whole, episodes=9)
    run, other = sandbox.open_run(nine), sandbox.open_run(whole)
    for mine, theirs in zip(run.episodes(), other.episodes(), strict=True):
        for name, column in theirs.rows.items():
            assert name == "run" or mine.rows[name].tobytes() == column.tobytes()
    assert len(sandbox.Dataset(nine)) == 9
    assert run.episode(8).record["episode"] == 8
    report = sandbox.verify(nine, workers=2)
    assert (report.faults, report.replayed) == ([], 9)
    assert sandbox.audit(nine).episodes == 9


@pytest.mark.parametrize("number", [4, 5, 7, 8])
def test_an_episode_of_any_stage_is_proved_and_no_value_in_the_proof_can_be_another(
    nine: Path, number: int
) -> None:
    proof = json.loads(json.dumps(prove.episode(sandbox.open_run(nine), number, 2)))
    assert prove.check(proof, keys.trusted(), signed=True).faults == []
    if number < 5:
        return
    for change in (
        {"before": {**proof["before"], "episodes": proof["before"]["episodes"] - 1}},
        {"before": {**proof["before"], "extended": [5, 6]}},
        {"before_path": proof["before_path"][1:]},
        {"before": proof["record"]},
        {"format": 1},
    ):
        assert prove.check({**proof, **change}, keys.trusted(), signed=True).faults, change
    del proof["before"]
    assert prove.check(proof, keys.trusted(), signed=True).faults


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda it: it["before"][0]["manifest"].update(charge_micro=1), "stage 0: says charge_mic"),
        (lambda it: it["before"][1].update(checkpoint=it["before"][0]["checkpoint"]), "stage 1"),
        (lambda it: it.update(episodes=10), "extended to 10"),
        (lambda it: it["before"].pop(), "log"),
    ],
)
def test_what_says_how_a_run_was_extended_cannot_say_otherwise(
    nine: Path, change: Callable[[Any], None], says: str
) -> None:
    said = jsonfile.read(nine / EXTENDED).data
    change(said)
    jsonfile.write(nine / EXTENDED, said)
    report = sandbox.verify(nine, sample=0, trust=Trust(None, keys.trusted()))
    assert any(says in fault for fault in report.faults), report.faults


@pytest.mark.parametrize(
    "change",
    [
        {"episodes": 8},
        {"run": "0" * 64},
        {"before": []},
        {"format": 2},
        {"before": [{"manifest": {"episodes": "5"}, "checkpoint": ""}]},
        {"more": 1},
    ],
)
def test_a_damaged_file_is_one_line(nine: Path, change: dict[str, Any]) -> None:
    jsonfile.write(nine / EXTENDED, {**jsonfile.read(nine / EXTENDED).data, **change})
    with pytest.raises(FormatError, match=r"extended\.json: .*Restore it from a copy"):
        sandbox.verify(nine)


def test_the_command_line_extends_and_generate_leaves_an_extended_run_as_it_is(five: Path) -> None:
    done = cli("extend", five, "--episodes", "6", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["episodes"] == 6
    before = content(five)
    bill = sandbox.generate(WANTED, five)
    assert (bill.episodes, bill.already) == (6, 6)
    assert sandbox.extend(five, 6).already == 6
    assert content(five) == before
    for run, episodes in ((five, "5"), (five, "0"), (five.parent, "7")):
        done = cli("extend", run, "--episodes", episodes)
        assert done.returncode == 2
        assert content(five) == before


def test_a_run_that_is_not_whole_or_not_generated_is_not_extended(five: Path) -> None:
    sandbox.render(five, five.with_name("drawn"), image_size=16)
    with pytest.raises(RunConflictError, match="renders another run"):
        sandbox.extend(five.with_name("drawn"), 9)
    with pytest.raises(InvalidInputError, match="episodes"):
        sandbox.extend(five, 10**9)
    part = five.with_name("part")
    each = sandbox.quote(WANTED, episodes=1).amount
    sandbox.generate(WANTED, part, budget=3.5 * each / 1e6, admission="greedy", seed=6)
    with pytest.raises(RunConflictError, match=r"has 3 of 5 episodes.*generate"):
        sandbox.extend(part, 9)


def test_a_budget_or_account_that_cannot_pay_refuses_and_greedy_ends_early(five: Path) -> None:
    before, each = content(five), sandbox.quote(WANTED, episodes=1).amount
    with pytest.raises(BudgetExhaustedError, match="Nothing was done"):
        sandbox.extend(five, 8, budget=7 * each / 1e6)
    with pytest.raises(BudgetExhaustedError, match="Nothing was done"):
        sandbox.extend(five, 8, budget=5 * each / 1e6, admission="greedy")
    assert content(five) == before
    bill = sandbox.extend(five, 8, budget=6 * each / 1e6, admission="greedy")
    assert (bill.episodes, sandbox.open_run(five).ended) == (6, "budget")
    report = sandbox.verify(five)
    assert report.faults == []
    assert any("sandbox extend" in note and "6 of 8" in note for note in report.notes)
    assert prove.check(prove.episode(sandbox.open_run(five), 5), keys.trusted(), signed=True)
    with pytest.raises(RunConflictError, match="is being extended to 8"):
        sandbox.generate(WANTED, five)
    with pytest.raises(RunConflictError, match=r"has 6 of 8.*sandbox extend"):
        sandbox.extend(five, 9)
    sandbox.extend(five, 8)
    sandbox.extend(five, 9)
    assert sandbox.verify(five, sample=0).faults == []


def killed_at(call: int, run: Path) -> bool:
    """Extend a run in a child that kills itself at its n-th write; return whether it did."""
    child = os.fork()
    if child == 0:
        try:
            left = [call]

            def dying(real: Callable[..., Any]) -> Callable[..., Any]:
                def write(*args: Any, **keywords: Any) -> Any:
                    left[0] -= 1
                    if left[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return real(*args, **keywords)

                return write

            for place, name in (
                *((durable, "replace"), (durable, "append"), (durable, "sync_folder")),
                *((Path, "unlink"), (os, "replace"), (Ledger, "post")),
                *((ShardWriter, "commit"), (ShardWriter, "close")),
            ):
                setattr(place, name, dying(getattr(place, name)))
            sandbox.extend(run, 8)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_a_kill_at_any_write_loses_nothing_and_leads_to_the_same_bytes(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = shutil.copytree(made.with_name("before"), tmp_path / "whole")
    monkeypatch.setenv("SANDBOX_HOME", str(whole))
    sandbox.extend(whole / "five", 8)
    expected, call, step = content(whole / "five"), 1, 1 if SOAK else 4
    while True:
        home = shutil.copytree(made.with_name("before"), tmp_path / f"home-{call}")
        monkeypatch.setenv("SANDBOX_HOME", str(home))
        if not killed_at(call, home / "five"):
            break
        if call % 2:
            recover(home / "five", Ledger(), keys.default())
        report = sandbox.verify(home / "five", sample=0)
        assert all("not finished" in one or "episodes where" in one for one in report.faults) or (
            call % 2 == 0
        ), report.faults
        sandbox.extend(home / "five", 8)
        assert content(home / "five") == expected, f"killed at write {call}"
        assert charged(home / "five") == list(range(8))
        assert Ledger().balance("local").pending_micro == 0
        call += step
    assert call > 20, "it writes more often than that"


def interrupted(*args: Any) -> None:
    raise KeyboardInterrupt


def test_an_extension_under_way_is_no_finished_run(five: Path) -> None:
    before = log.read(five)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Filling, "_made", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sandbox.extend(five, 8)
    folder = sandbox.open_run(five)
    assert not folder.finished
    with pytest.raises(FormatError, match=r"sandbox extend .* --episodes 8"):
        folder.check_finished()
    assert log.read(five) == before
    assert len(sandbox.Dataset(five)) >= 5
    sandbox.extend(five, 8)
    assert sandbox.verify(five, sample=0).faults == []


def test_a_copy_from_before_the_extension_says_what_it_may_be(five: Path) -> None:
    copy = shutil.copytree(five, five.with_name("copy"))
    sandbox.extend(five, 6)
    report = sandbox.verify(copy, sample=0)
    assert report.faults == ["ledger: charged for episode 5, which is not there."]
    assert any("charged for 1 episodes after these 5" in note for note in report.notes)
    assert sandbox.verify(copy, sample=0, trust=Trust(None, keys.trusted())).faults == []
    with pytest.raises(RunConflictError, match="are fewer"):
        sandbox.extend(five, 5)


def test_an_extended_run_is_rendered_as_one_of_all_its_episodes(nine: Path) -> None:
    drawn = nine.with_name("drawn")
    sandbox.render(nine, drawn, image_size=16)
    report = sandbox.verify(drawn, sample=2)
    assert (report.faults, report.episodes) == ([], 9)
