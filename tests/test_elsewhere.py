"""A run on a machine that has neither its ledger nor its key: checked, and what was not is said."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest
from running import cli, recipe

import sandbox
from sandbox import content, jsonfile
from sandbox.errors import UnknownNameError
from sandbox.evidence import keys
from sandbox.evidence.note import SigningKey
from sandbox.ledger import Ledger, Usage, charge_id
from sandbox.run.folder import BOOKING
from sandbox.trajectory import shards

COMMANDS = [("verify", "--sample", "1"), ("audit", "--fraction", "0.9")]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a run that was charged and signed on another machine, and its home."""
    folder = tmp_path_factory.mktemp("theirs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(folder / "home"))
        sandbox.generate(recipe(episodes=2), folder / "run", key=keys.new("lab"))
        yield folder


@pytest.fixture
def handed_over(theirs: Path, tmp_path: Path) -> Path:
    """A copy of the run alone; this machine's home is empty."""
    return shutil.copytree(theirs / "run", tmp_path / "run")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
def test_a_good_run_verifies_elsewhere_and_says_what_was_not_checked(
    command: tuple[str, ...], handed_over: Path
) -> None:
    done = cli(command[0], handed_over, *command[1:])
    assert (done.returncode, "VERIFIED" in done.stdout) == (0, True), done.stdout
    notes = [line for line in done.stdout.splitlines() if line.startswith("note:")]
    assert any("charges were not checked" in line and "no ledger here" in line for line in notes)
    assert any("signature of lab+" in line and "was not checked" in line for line in notes)
    assert not content.home().exists()  # And nothing was written.


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
def test_a_ledger_and_a_key_can_be_required(
    command: tuple[str, ...], handed_over: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (command[0], handed_over, *command[1:])
    done = cli(*words, "--ledger")
    assert (done.returncode, "no ledger here" in done.stdout) == (1, True), done.stdout
    theirs_key = theirs / "home" / "keys" / "lab.pub"
    assert cli(*words, "--key", theirs_key).returncode == 0
    other = handed_over.parent / "other.pub"
    other.write_text(SigningKey.new("lab").verifier.text)
    done = cli(*words, "--key", other)
    assert (done.returncode, "by no key that is required" in done.stdout) == (1, True)
    monkeypatch.setenv("SANDBOX_HOME", str(theirs / "home"))
    done = cli(*words, "--ledger", "--key", "lab")
    assert (done.returncode, "note: charges" in done.stdout) == (0, False), done.stdout


def test_python_requires_them_alike(handed_over: Path, theirs: Path) -> None:
    here = sandbox.Trust.here
    assert sandbox.verify(handed_over, sample=0).faults == []
    (fault,) = sandbox.verify(handed_over, sample=0, trust=here(ledger=True)).faults
    assert "no ledger here" in fault
    public = str(theirs / "home" / "keys" / "lab.pub")
    assert sandbox.verify(handed_over, sample=0, trust=here(key=[public])).faults == []
    stranger = [SigningKey.new("lab").verifier.text]
    (fault,) = sandbox.verify(handed_over, sample=0, trust=here(key=stranger)).faults
    assert "by no key that is required" in fault


@pytest.mark.parametrize("named", [True, False])
def test_a_ledger_that_knows_nothing_of_the_run_is_a_note(named: bool, handed_over: Path) -> None:
    Ledger().account("local")
    if not named:
        (handed_over / BOOKING).unlink()
    report = sandbox.verify(handed_over, sample=0)
    assert report.faults == []
    (note,) = [text for text in report.notes if "charges were not checked" in text]
    assert (Ledger(read_only=True).id if named else BOOKING) in note
    done = cli("verify", handed_over, "--sample", "0", "--ledger")
    assert (done.returncode, "set SANDBOX_LEDGER" in done.stdout) == (1, True)


def test_who_generated_the_same_work_has_charges_of_their_own(handed_over: Path) -> None:
    sandbox.generate(recipe(episodes=2), handed_over.parent / "mine")
    report = sandbox.verify(handed_over, sample=0)
    assert report.faults == []
    assert any("2 charges, each of an episode" in text for text in report.checked)


def test_another_charge_of_an_episode_here_is_a_fault(handed_over: Path) -> None:
    run = json.loads((handed_over / "run.json").read_text())["run"]
    Ledger().post("local", [Usage(charge_id(run, 1), {"reset": 1}, "1", "e" * 64, run, 1)])
    faults = sandbox.verify(handed_over, sample=0).faults
    assert any("the charge of episode 1: amount is" in fault for fault in faults)
    assert not any("not charged" in fault for fault in faults)  # Episode 0 was, elsewhere.


def test_the_ledger_that_is_named_must_have_every_charge(handed_over: Path) -> None:
    Ledger().account("local")
    known = json.loads((handed_over / BOOKING).read_text())
    jsonfile.write(handed_over / BOOKING, {**known, "ledger": Ledger(read_only=True).id})
    faults = sandbox.verify(handed_over, sample=0).faults
    assert "ledger: episodes 0, 1 were not charged." in faults


def test_faults_stay_faults_elsewhere(handed_over: Path, theirs: Path) -> None:
    path = handed_over / "checkpoint"
    text = path.read_text()
    place = text.rindex("=") - 9
    path.write_text(text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :])
    public = theirs / "home" / "keys" / "lab.pub"
    keys.folder().mkdir(parents=True)
    shutil.copy(public, keys.folder())  # A key that is known, and required by nobody.
    done = cli("verify", handed_over, "--sample", "0")
    assert (done.returncode, "signature of 'lab' is not of this text" in done.stdout) == (1, True)
    path.write_text(text)
    assert cli("verify", handed_over, "--sample", "0").returncode == 0
    with h5py.File(shards(handed_over)[0], "r+") as file:
        file["reward"][3] += 1.0
    done = cli("verify", handed_over, "--sample", "0")
    assert (done.returncode, "episode 0" in done.stdout) == (1, True)
    assert os.listdir(content.home()) == ["keys"]


def test_a_world_that_is_not_installed_here_is_a_note(
    handed_over: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(name: str) -> str:
        raise UnknownNameError("environment", name, ["others"])

    monkeypatch.setattr("sandbox.catalogue.code", gone)
    done = cli("verify", handed_over)
    assert (done.returncode, "no environment is called" in done.stdout) == (0, True), done.stdout
    assert "0 simulated again" in done.stdout
    done = cli("audit", handed_over)  # It would show nothing.
    assert (done.returncode, "no environment is called" in done.stderr) == (2, True)
