"""A greedy run that has spent its credit is a finished, shorter run, and goes on after a grant."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from running import SHORT, cli, content, recipe

import sandbox
from sandbox import prices
from sandbox.errors import BudgetExhaustedError, FormatError
from sandbox.evidence import keys, log
from sandbox.ledger import Ledger
from sandbox.run.folder import Folder
from sandbox.run.run import Run
from sandbox.sources.generation import Generation
from sandbox.verification.trust import Trust

SOAK = "SANDBOX_SOAK" in os.environ


def wanted(**changes: Any) -> Any:
    given = {"episodes": 9, "shard_episodes": 3, "account": "lab", "admission": "greedy"}
    return recipe("billiards", **{**given, **changes})


EACH = sandbox.quote(wanted(episodes=1), prices="1").amount  # All of billiards cost the same.


def credits(episodes: float) -> str:
    return prices.credits(round(episodes * EACH))


def granted(episodes: float) -> Ledger:
    book = Ledger()
    book.grant("lab", round(episodes * EACH))
    return book


def verified(path: Path, **keywords: Any) -> Any:
    report = sandbox.verify(path, **keywords)
    assert report.faults == []
    return report


@pytest.mark.parametrize("workers", [1, 2] if SOAK else [2])
def test_a_run_that_spent_its_credit_is_finished_and_goes_on(tmp_path: Path, workers: int) -> None:
    keys.new()
    book, run = granted(4.5), tmp_path / "run"
    bill = sandbox.generate(wanted(), run, workers=workers)
    assert bill.episodes == 4
    assert "sandbox ledger grant lab" in bill.ended
    folder = sandbox.open_run(run)
    assert (folder.finished, folder.ended, folder.count()) == (True, "credit", 4)
    manifest = json.loads((run / "manifest.json").read_text())
    assert (manifest["ended"], manifest["episodes"]) == ("credit", 4)
    balance = book.balance("lab")
    assert (balance.posted_micro, balance.pending_micro) == (round(4.5 * EACH) - 4 * EACH, 0)
    report = verified(run)
    assert (report.episodes, report.replayed) == (4, 4)
    assert any("ended after 4 of 9 episodes" in note for note in report.notes)
    assert verified(run, sample=2).replayed == 2
    assert sandbox.audit(run).episodes == 4
    assert len(list(folder.episodes())) == 4
    before = content(run)
    again = workers if SOAK else 1
    assert sandbox.generate(wanted(), run, workers=again).episodes == 4  # Nothing more is paid.
    assert content(run) == before
    published = log.checkpoint_text(run)
    book.grant("lab", 20 * EACH)
    bill = sandbox.generate(wanted(), run)
    assert (bill.episodes, bill.already, bill.ended) == (9, 4, "")
    trust = Trust(Ledger(read_only=True), keys.trusted(), signed=True, published=published)
    verified(run, trust=trust)
    sandbox.generate(wanted(), tmp_path / "whole")
    assert content(run) == content(tmp_path / "whole")
    assert book.balance("lab").posted_micro == round(24.5 * EACH) - 9 * EACH


@pytest.mark.skipif(not SOAK, reason="long: run `make soak`")
def test_a_budget_ends_a_greedy_run_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    rich = wanted(account="local")
    for episodes, workers in ((2, 1), (5, 1), (7, 2)):
        bill = sandbox.generate(rich, run, budget=credits(episodes + 0.9), workers=workers)
        assert bill.amount <= (episodes + 0.9) * EACH
        assert bill.episodes >= episodes - (workers - 1)
        assert "larger --budget" in bill.ended
        assert sandbox.open_run(run).ended == "budget"
        verified(run)
    assert sandbox.generate(rich, run).ended == ""
    assert verified(run).episodes == 9
    with pytest.raises(BudgetExhaustedError, match=r"^one episode .*budget is .*Nothing was done"):
        sandbox.generate(rich, tmp_path / "none", budget=credits(0.5))
    assert not (tmp_path / "none").exists()
    with pytest.raises(BudgetExhaustedError, match="Nothing was done"):  # Safe: all or nothing.
        sandbox.generate(wanted(admission="safe"), tmp_path / "none", budget=credits(5))


def test_a_safe_run_that_goes_on_counts_what_it_has_cost_against_its_budget(tmp_path: Path) -> None:
    rich = wanted(account="local")
    sandbox.generate(rich, tmp_path / "run", budget=credits(6.5))
    safe = wanted(account="local", admission="safe")
    with pytest.raises(BudgetExhaustedError, match="budget"):
        sandbox.generate(safe, tmp_path / "run", budget=credits(8))
    assert sandbox.open_run(tmp_path / "run").ended == "budget"
    assert sandbox.generate(safe, tmp_path / "run", budget=credits(9)).episodes == 9


def test_a_greedy_run_without_credit_for_one_episode_is_refused(tmp_path: Path) -> None:
    granted(0.9)
    with pytest.raises(BudgetExhaustedError, match="Nothing was done"):
        sandbox.generate(wanted(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_killed_greedy_run_without_credit_is_finished_by_generating_it(tmp_path: Path) -> None:
    """The process died after its credit was spent and before it could end the run."""
    granted(4.5)
    run = Run(Generation(wanted()), tmp_path / "run")
    run._settle = lambda *_: 0  # type: ignore[method-assign, assignment]
    run.generate()
    run.close()
    assert not sandbox.open_run(tmp_path / "run").finished
    bill = sandbox.generate(wanted(), tmp_path / "run")
    assert (bill.episodes, bool(bill.ended)) == (4, True)
    verified(tmp_path / "run")


def test_the_commands_say_why_it_ended_and_recover_leaves_it_so(tmp_path: Path) -> None:
    granted(2.2)
    text = "format: 1\nenvironment: billiards\npolicies: {random: 1}\nepisodes: 5\nseed: 5\n"
    text += f"scenario: {SHORT}\n"
    (tmp_path / "paid.yaml").write_text(text)
    run = tmp_path / "run"
    command = ("generate", tmp_path / "paid.yaml", "--out", run, "--account", "lab")
    done = cli(*command, "--admission", "greedy")
    assert done.returncode == 0
    assert "The run ended here, finished" in done.stdout.replace("\n", " ")
    assert json.loads(cli(*command, "--admission", "greedy", "--json").stdout)["ended"]
    assert "VERIFIED" in cli("verify", run).stdout
    before = content(run)
    assert "ended early" in cli("settle", run).stdout.replace("\n", " ")
    assert content(run) == before
    drawn = cli(
        "render", run, "--out", tmp_path / "drawn", "--image-size", "16", "--account", "local"
    )
    assert drawn.returncode == 0, drawn.stderr
    assert verified(tmp_path / "drawn").episodes == 2


def test_pictures_of_a_run_with_gaps_are_refused(tmp_path: Path) -> None:
    granted(2.5)
    sandbox.generate(wanted(), tmp_path / "run", workers=2)
    folder = sandbox.open_run(tmp_path / "run")
    numbers = [record.episode for record in folder.records()]
    if numbers == [0, 1]:  # The second process was too late.
        return
    with pytest.raises(FormatError, match="lacks episodes in between"):
        sandbox.render(tmp_path / "run", tmp_path / "drawn", account="local")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ended": "budget"}, "checkpoint: says"),
        ({"ended": "boredom"}, "ended is 'boredom'"),
        ({"ended": ["credit"]}, "ended is"),
        ({"episodes": 3}, "says episodes 3"),
        ({"ended": None}, "ended is None"),
    ],
)
def test_a_manifest_that_was_changed_is_a_fault(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    granted(2.2)
    sandbox.generate(wanted(), tmp_path / "run")
    path = tmp_path / "run" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    faults = sandbox.verify(tmp_path / "run", sample=0).faults
    assert any(says in fault for fault in faults), faults


def test_an_episode_cut_off_an_ended_run_is_a_fault(tmp_path: Path) -> None:
    """Whoever drops the last episode must forge manifest and checkpoint, and the ledger has it."""
    granted(3.2)
    sandbox.generate(wanted(shard_episodes=2), tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "cut")
    for part in (tmp_path / "cut" / "shards").glob("shard-00001*"):
        part.unlink()
    folder = Folder(tmp_path / "cut")
    kept = folder.kept()
    manifest = folder.manifest(kept.every, kept.usages, "credit")
    from sandbox import jsonfile

    jsonfile.write(tmp_path / "cut" / "manifest.json", manifest)
    leaves = folder.leaves(kept.leaves)
    log.write_checkpoint(tmp_path / "cut", log.checkpoint(folder.run, leaves, manifest), None)
    faults = sandbox.verify(tmp_path / "cut", sample=0).faults
    assert any("charged for episode 2, which is not there" in fault for fault in faults)
    assert prices.MICRO == 1_000_000
