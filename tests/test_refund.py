"""What was charged and not done is refunded once, by transfers that name a verdict."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import sandbox
from sandbox import jsonfile
from sandbox.errors import FormatError, InvalidInputError, LedgerError
from sandbox.evidence import keys
from sandbox.ledger import Ledger
from sandbox.ledger.statement import statement
from sandbox.run.folder import BOOKING
from sandbox.trajectory import shards
from sandbox.verification.refunds import check
from tests.liars import edited_reward, lie, skipped_physics
from tests.running import cli, recipe


@pytest.fixture
def lying(tmp_path: Path) -> Path:
    """A signed and charged run of six episodes, of which 1 and 4 are not as simulated."""
    lie(tmp_path / "lying", edited_reward)
    return tmp_path / "lying"


def test_what_does_not_verify_is_refunded_once_and_names_its_verdict(lying: Path) -> None:
    before = Ledger().balance("local").posted_micro
    found = sandbox.refund(lying)
    posts = {one["episode"]: one for one in statement(Ledger(), "local") if one["kind"] == "post"}
    due = -posts[1]["amount_micro"] - posts[4]["amount_micro"]
    assert (found.episodes, found.refunded_micro, found.left) == ([1, 4], due, {})
    assert Ledger().balance("local").posted_micro == before + due
    verdict = found.verdict
    assert verdict is not None
    assert hashlib.sha256(verdict.read_bytes()).hexdigest() == found.digest
    moves = [one.move for one in Ledger().transfers() if one.move.kind == "refund"]
    assert [(one.run, one.facts["episode"], one.facts["verdict"]) for one in moves] == [
        (found.run, 1, found.digest),
        (found.run, 4, found.digest),
    ]
    again = sandbox.refund(lying)
    assert (again.episodes, again.before, again.refunded_micro) == ([], [1, 4], 0)
    assert again.digest == found.digest
    assert len(Ledger().transfers()) == len(posts) + len(moves) + 1  # The account was opened.
    assert Ledger().check() == []


def test_afterwards_everything_that_matches_charges_with_evidence_agrees(lying: Path) -> None:
    found = sandbox.refund(lying)
    report = sandbox.verify(lying)
    assert {*report.kinds} == {"episodes replayed"}
    assert any(f"by the verdict {found.digest}: episode 1, 4." in one for one in report.notes)
    assert cli("ledger", "check").returncode == 0
    assert cli("prove", lying, "--episode", "1", "--out", lying.parent / "p.json").returncode == 0
    assert cli("verify", lying.parent / "p.json").returncode == 0
    assert cli("ledger", "statement", "local", "--by", "run").returncode == 0
    assert "2 refunds" in cli("verify", lying).stdout
    for line in statement(Ledger(), "local"):
        assert line["kind"] != "refund" or line["episode"] in (1, 4)


def test_the_command_says_what_it_did_and_its_verdict_verifies(lying: Path) -> None:
    done = cli("refund", lying)
    assert done.returncode == 0, done.stderr
    assert "Refunded: episode 1, 4." in done.stdout
    (verdict,) = (Ledger().path.parent / "verdicts").iterdir()
    shown = cli("verify", verdict)
    assert shown.returncode == 0, shown.stdout
    for said in ("signed by", "episode 1 was charged to local", "step 30 in column", "refunded by"):
        assert said in shown.stdout
    again = json.loads(cli("refund", lying, "--json").stdout)
    assert (again["refunded_micro"], again["before"]) == (0, [1, 4])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data["episodes"][0].update(account="lab"), "no such charge of episode 1"),
        (lambda data: data["episodes"][0].update(charge_micro=5), "no such charge of episode 1"),
        (lambda data: data["episodes"][0].update(post="00" * 16), "not that of episode 1"),
        (lambda data: data["episodes"][0].pop("fault"), "damaged"),
        (lambda data: data["episodes"].clear(), "damaged"),
        (lambda data: data["shared"].update(run_path=[]), "not in the log"),
        (
            lambda data: data["episodes"][0]["proof"]["record"].update({"return": 7.0}),
            "record of episode 1 is not in the log",
        ),
    ],
)
def test_an_edited_verdict_is_found(lying: Path, change: Any, said: str) -> None:
    made = sandbox.refund(lying).verdict
    assert made is not None
    data = jsonfile.read(made).data
    change(data)
    found = check(data, keys.trusted(), signed=True, ledger=Ledger())
    assert any(said in one for one in found.faults), found.faults


def test_a_verdict_that_no_refund_names_says_so(lying: Path) -> None:
    made = sandbox.refund(lying).verdict
    assert made is not None
    data = jsonfile.read(made).data
    data["episodes"][1]["fault"] = "I say so."
    found = check(data, keys.trusted(), signed=True, ledger=Ledger())
    assert "no refund of episode 1 names this verdict." in found.notes


def test_a_refund_without_a_reason_is_refused_and_books_nothing(
    lying: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie(tmp_path / "honest", None)
    with pytest.raises(InvalidInputError, match="no episode of 6 is wrong"):
        sandbox.refund(tmp_path / "honest")
    with h5py.File(shards(tmp_path / "honest")[0], "r+") as file:
        file["reward"][60] += 1.0
    with pytest.raises(InvalidInputError, match="anybody can damage a copy"):
        sandbox.refund(tmp_path / "honest")
    with monkeypatch.context() as patch:
        patch.setattr("sandbox.catalogue.code", lambda name: "another")
        with pytest.raises(InvalidInputError, match="another version of"):
            sandbox.refund(lying)
    known = jsonfile.read(lying / BOOKING).data
    jsonfile.write(lying / BOOKING, {**known, "ledger": "0" * 32})
    with pytest.raises(LedgerError, match="charged in the ledger 0000"):
        sandbox.refund(lying)
    with pytest.raises(FormatError, match="no run"):
        sandbox.refund(tmp_path)
    sandbox.subset(lying, tmp_path / "few", policy="random")
    with pytest.raises(InvalidInputError, match="derived or imported"):
        sandbox.refund(tmp_path / "few")
    assert not any(one.move.kind == "refund" for one in Ledger().transfers())


def test_a_refund_goes_back_to_the_grant_that_paid(tmp_path: Path) -> None:
    Ledger().grant("local", 10**9)
    lie(tmp_path / "run", skipped_physics)
    before = Ledger().balance("local").posted_micro
    given = sandbox.refund(tmp_path / "run").refunded_micro
    assert Ledger().balance("local").posted_micro == before + given
    (first, _) = (one.move for one in Ledger().transfers() if one.move.kind == "refund")
    assert [pot for _, pot in first.parts] != [0]
    copy = shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert sandbox.refund(copy).before == [1, 4]  # A copy is the same run.


def test_imagined_work_that_was_not_done_is_refunded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sandbox.imagination.dreamer import Dreamer

    monkeypatch.setenv("SANDBOX_PRICES", "3")
    wanted = recipe("cartpole_swingup", episodes=3, observation=["proprio"])
    sandbox.generate(wanted, tmp_path / "run")
    few = {"batch": 2, "horizon": 3, "windows": 8, "checks": 1}
    path = tmp_path / "m.safetensors"
    sandbox.train(tmp_path / "run", path, "mlp", "nano", updates=1, settings=few, track=["csv"])
    begin, step, begun = Dreamer.begin, Dreamer.step, [0]

    def counted(self: Dreamer, *seen: Any) -> Any:
        begun[0] += 1
        return begin(self, *seen)

    def cheaper(self: Dreamer, action: Any) -> Any:
        rows = step(self, action)
        return {**rows, "reward": rows["reward"] + np.float64(1)} if begun[0] == 2 else rows

    with monkeypatch.context() as patch:
        patch.setattr(Dreamer, "begin", counted)
        patch.setattr(Dreamer, "step", cheaper)
        sandbox.dream(path, tmp_path / "run", tmp_path / "dreams", episodes=3, steps=5)
    found = sandbox.refund(tmp_path / "dreams")
    assert found.episodes == [1]
    assert found.verdict is not None
    assert "its reward at step 3" in found.verdict.read_text()
    assert sandbox.refund(tmp_path / "dreams").episodes == []
    done = cli("verify", found.verdict)
    assert done.returncode == 0, done.stdout
