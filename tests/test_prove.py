"""Proofs against whoever makes them up, and run folders against whoever damages them."""

import copy
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import cli, recipe

import sandbox
from sandbox import jsonfile, prices
from sandbox.errors import FormatError, SandboxError
from sandbox.evidence import keys, log
from sandbox.run.folder import Folder
from sandbox.verification import prove


@pytest.fixture(scope="module")
def proved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, one that renders it, and their ledger."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(folder / "home"))
        key = keys.new()
        sandbox.generate(recipe("billiards", episodes=3), folder / "run", key=key)
        sandbox.render(folder / "run", folder / "drawn", image_size=16, key=key)
    return folder


@pytest.fixture
def proved_run(proved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run, to damage."""
    monkeypatch.setenv("SANDBOX_HOME", str(proved / "home"))
    return Path(shutil.copytree(proved / "run", tmp_path / "run"))


@pytest.fixture
def drawn_run(proved: Path, proved_run: Path, tmp_path: Path) -> Path:
    """A copy of the run that renders it."""
    return Path(shutil.copytree(proved / "drawn", tmp_path / "drawn"))


def checked(proof: dict[str, Any]) -> prove.Proof:
    return prove.check(proof, keys.trusted(), signed=True)


# Proofs.

RUBBISH: list[Any] = [None, True, False, -1, 0, 1, 7.0, "7", "", "\ud800", 2**70, 10**300, [], {}]
RUBBISH += [float("inf"), float("nan"), [[1]], {"a": 1}]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every object or list in some JSON, with every key or index of it."""
    pairs = list(value.items() if isinstance(value, dict) else enumerate(value))
    for key, item in pairs:
        yield value, key
        if isinstance(item, dict | list):
            yield from places(item)


@pytest.mark.parametrize("what", ["run", "drawn"])
def test_no_value_in_a_proof_can_be_another(proved_run: Path, drawn_run: Path, what: str) -> None:
    proof = prove.episode(Folder(drawn_run if what == "drawn" else proved_run), 1, 7)
    assert checked(proof).faults == []
    changed = copy.deepcopy(proof)
    for inside, key in list(places(changed)):
        whole = inside[key]
        for value in RUBBISH:
            if (type(value), value) != (type(whole), whole):
                inside[key] = value
                assert checked(changed).faults, (key, value)
        inside[key] = whole
    assert changed == proof


def test_a_proof_nested_without_end_is_refused(proved_run: Path) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for name in ("run", "record", "record_path", "step"):
        assert checked({**prove.episode(Folder(proved_run), 1, 7), name: deep}).faults


@pytest.mark.parametrize("step", ["Infinity", '"7"', "7.0", "true", "1e999"])
def test_a_step_that_is_no_whole_number_is_refused_by_the_command_line(
    proved_run: Path, tmp_path: Path, step: str
) -> None:
    text = json.dumps(prove.episode(Folder(proved_run), 1, 7)).replace(
        '"step": 7', f'"step": {step}'
    )
    (tmp_path / "proof.json").write_text(text)
    done = cli("verify", tmp_path / "proof.json")
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr


def test_a_proof_of_a_rendering_says_what_was_charged_for_it(drawn_run: Path) -> None:
    due = Folder(drawn_run).kept().usages
    manifest = jsonfile.read(drawn_run / "manifest.json").data
    assert sum(sum(usage.charges().values()) for usage in due) == manifest["posted_micro"]
    for number, usage in enumerate(due):
        credits = prices.credits(sum(usage.charges().values()))
        found = checked(prove.episode(Folder(drawn_run), number))
        assert found.faults == []
        assert any(
            text.endswith(f"again and pays for its pictures alone: {credits} credits of these.")
            for text in found.shown
        ), found.shown


def test_a_rendering_that_is_not_finished_shows_no_charge_and_says_so(drawn_run: Path) -> None:
    (drawn_run / "manifest.json").unlink()
    leaves = log.read(drawn_run)[:-1]
    (drawn_run / "log").unlink()
    log.append(drawn_run, leaves)
    log.write_checkpoint(drawn_run, log.checkpoint(Folder(drawn_run).run, leaves), keys.load())
    found = checked(prove.episode(Folder(drawn_run), 1))
    assert found.faults == []
    assert any("how much is not shown" in note for note in found.notes)
    assert any("was not finished: its log had 3 of 3 episodes" in note for note in found.notes)


def test_what_is_kept_and_not_in_the_log_is_not_proved(proved_run: Path) -> None:
    leaves = log.read(proved_run)
    for known in (leaves[:2], []):
        (proved_run / "log").unlink()
        log.append(proved_run, known)
        with pytest.raises(FormatError, match="its log does not have all that it keeps"):
            prove.episode(Folder(proved_run), 0)


# Damaged folders.


def replaced(path: Path, by: str) -> None:
    """Put something else where a file was."""
    path.unlink()
    if by == "folder":
        path.mkdir()
    elif by == "bytes":
        path.write_bytes(b"\xff" * 65)


@pytest.mark.parametrize("by", ["nothing", "folder", "bytes"])
@pytest.mark.parametrize("name", ["log", "checkpoint", "run.json"])
def test_a_file_that_is_not_there_or_no_file_or_no_text_is_no_proof(
    proved_run: Path, tmp_path: Path, name: str, by: str
) -> None:
    replaced(proved_run / name, by)
    with pytest.raises(FormatError, match=re.escape(str(proved_run))):
        prove.episode(Folder(proved_run), 1)
    done = cli("prove", proved_run, "--episode", "1", "--out", tmp_path / "p.json")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "p.json").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": NaN}', "not JSON compliant"),
        ('{"a": -Infinity}', "not JSON compliant"),
        ('{"a": 1e999}', "not JSON compliant"),
        ('{"a": "\\ud800"}', "surrogates not allowed"),
        ('{"\\udfff": 1}', "surrogates not allowed"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' is there twice"),
        ('{"a": ' + "[" * 32 + "]" * 32 + "}", "more than 32 levels"),
        ("[" * 100_000 + "]" * 100_000, "cannot be read"),
        ('{"a": ' + "9" * 5000 + "}", "cannot be read"),
        ("[]", "holds no JSON object"),
        ("", "cannot be read"),
        ("\N{ZERO WIDTH NO-BREAK SPACE}{}", "cannot be read"),
        ("{}", ""),
        ('{"a": ' + "[" * 31 + "]" * 31 + "}", ""),
        ('{"a": "\\ud83d\\ude00"}', ""),
    ],
)
def test_json_that_others_wrote_is_plain_or_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    if not says:
        assert jsonfile.read(path).data == json.loads(text)
        return
    with pytest.raises(FormatError, match=f"x.json.*{says}"):
        jsonfile.read(path)


@pytest.mark.parametrize("name", ["run.json", "manifest.json"])
def test_text_that_is_not_unicode_is_a_fault_and_no_crash(proved_run: Path, name: str) -> None:
    known = json.loads((proved_run / name).read_text())
    (proved_run / name).write_bytes(jsonfile.encode({**known, "price_version": "\ud800"}))
    done = cli("verify", proved_run, "--sample", "0", "--no-ledger")
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert "surrogates not allowed" in " ".join((done.stdout + done.stderr).split())


def test_what_cannot_be_written_leaves_nothing_behind(proved_run: Path) -> None:
    (proved_run / "checkpoint").unlink()
    (proved_run / "checkpoint").mkdir()
    before, closed = sorted(proved_run.iterdir()), log.checkpoint("r", log.read(proved_run))
    with pytest.raises(SandboxError, match="checkpoint: cannot be written"):
        jsonfile.write(proved_run / "checkpoint", {})
    with pytest.raises(SandboxError, match="checkpoint: cannot be written"):
        log.write_checkpoint(proved_run, closed, keys.load())
    assert sorted(proved_run.iterdir()) == before


def test_growth_is_proved_from_a_checkpoint_of_the_same_run_alone(
    proved_run: Path, drawn_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "growth.json"
    done = cli("prove", proved_run, "--since", drawn_run / "checkpoint", "--out", out)
    assert (done.returncode, out.exists()) == (2, False)
    (line,) = done.stderr.splitlines()
    assert Folder(drawn_run).run in line
    assert "give a checkpoint of this run" in line
    done = cli("prove", proved_run, "--since", proved_run / "checkpoint", "--out", out)
    assert (done.returncode, checked(jsonfile.read(out).data).faults) == (0, [])


@pytest.mark.parametrize(
    "options",
    [
        ("--checkpoint", "RUN/checkpoint"),
        ("--sample", "0"),
        ("--whole-ledger",),
        ("--workers", "2"),
        ("--ledger",),
        ("--trust-code",),
    ],
)
def test_what_says_nothing_of_a_proof_is_refused(
    proved_run: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    out = tmp_path / "proof.json"
    jsonfile.write(out, prove.episode(Folder(proved_run), 1))
    words = [word.replace("RUN", str(proved_run)) for word in options]
    done = cli("verify", out, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"leave {options[0]} out" in done.stderr
    assert cli("verify", out).returncode == 0
