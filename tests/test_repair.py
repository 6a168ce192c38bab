"""Repairs: lost and damaged shards are made again to the byte, or nothing is changed."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from running import cli, content, recipe

import sandbox
from sandbox.errors import FormatError, InvalidInputError, RunConflictError
from sandbox.evidence import keys
from sandbox.ledger import Ledger
from sandbox.run.locks import lock
from sandbox.sources import columns

WANTED = recipe(episodes=5, shard_episodes=2, policies={"random": 1.0, "ou_noise": 1.0})


@pytest.fixture(scope="module")
def whole_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a signed run that grew, one that draws it, one that branches off, and a part."""
    home = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(home / "home"))
        keys.new()
        sandbox.generate(WANTED, home / "run", episodes=3)
        sandbox.extend(home / "run", 5)
        sandbox.render(home / "run", home / "drawn", image_size=8)
        sandbox.branch(home / "run", home / "branched", episode=1, step=3, kinds=["noop", "same"])
        sandbox.subset(home / "run", home / "few", where=lambda record: record.episode != 1)
    return home


@pytest.fixture
def shop(whole_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of these."""
    found = shutil.copytree(whole_runs, tmp_path / "shop")
    monkeypatch.setenv("SANDBOX_HOME", str(found / "home"))
    return found


def shard(run: Path, number: int) -> Path:
    return run / "shards" / f"shard-{number:05d}.h5"


def lost(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def linked(path: Path) -> None:
    path.rename(path.parent.parent / "moved")
    os.symlink(path.parent.parent / "moved", path)


@pytest.mark.parametrize("harm", [lost, cut, flipped, linked])
def test_a_shard_is_made_again_to_the_byte_and_nothing_is_charged(
    shop: Path, harm: Callable[[Path], None]
) -> None:
    run, balance = shop / "run", Ledger().balance("local")
    before = content(run)
    for number in (1, 2):  # The last of the first stage, the first of the second.
        harm(shard(run, number))
    harmed = None if harm is lost else os.readlink if harm is linked else Path.read_bytes
    kept = harmed and harmed(shard(run, 1))
    made = sandbox.repair(run)
    after = content(run)
    assert {name: after[name] for name in before} == before
    assert made.shards == ["shard-00001.h5", "shard-00002.h5"]
    assert {name for name in after if name.startswith("shards")} <= {*before}
    if harmed is not None:
        assert made.aside == run / ".damaged"
        assert harmed(run / ".damaged" / "shard-00001.h5") == kept
    assert sandbox.verify(run).faults == []
    assert Ledger().balance("local") == balance
    assert sandbox.repair(run).shards == []


@pytest.mark.parametrize("name", ["drawn", "branched", "few"])
def test_what_comes_from_another_run_is_made_again_from_that(shop: Path, name: str) -> None:
    run, balance = shop / name, Ledger().balance("local")
    before = content(run)
    shutil.rmtree(run / "shards")
    with pytest.raises(InvalidInputError, match="with --from"):
        sandbox.repair(run)
    with pytest.raises(InvalidInputError, match="with --from"):
        sandbox.repair(run, origins=run if name != "few" else shop / "branched")
    assert not (run / "shards").exists() or not list((run / "shards").iterdir())
    done = cli("repair", run, "--from", shop / "run", "--json")
    assert done.returncode == 0, done.stderr
    assert "shard-00000.h5" in json.loads(done.stdout)["shards"]
    assert content(run) == before
    assert sandbox.verify(run).faults == []
    assert Ledger().balance("local") == balance


def test_a_run_that_its_credits_ended_is_made_again(tmp_path: Path) -> None:
    one = recipe("billiards", episodes=1, shard_episodes=2)
    sandbox.generate(one, tmp_path / "run", credits=3.5 * sandbox.quote(one).amount / 1e6)
    before = content(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "shards")
    assert sandbox.repair(tmp_path / "run").shards == ["shard-00000.h5", "shard-00001.h5"]
    assert content(tmp_path / "run") == before


def test_records_are_written_again_from_their_shard(shop: Path) -> None:
    before, path = content(shop / "run"), shop / "run" / "shards" / "shard-00000.episodes.jsonl"
    path.write_text("{}\n")
    (shop / "run" / "shards" / "shard-00001.episodes.jsonl").unlink()
    made = sandbox.repair(shop / "run")
    assert (made.shards, len(made.records)) == ([], 2)
    after = content(shop / "run")
    assert {name: after[name] for name in before} == before
    assert (shop / "run" / ".damaged" / path.name).read_text() == "{}\n"
    assert "every shard is as its log says" in cli("repair", shop / "run").stdout


@pytest.mark.parametrize("name", ["log", "checkpoint", "manifest.json", "run.json"])
def test_evidence_that_is_damaged_is_named_and_nothing_is_changed(shop: Path, name: str) -> None:
    run = shop / "run"
    text = (run / name).read_text()
    (run / name).write_text(text.replace("a", "b", 1))
    cut(shard(run, 0))
    before = content(run)
    with pytest.raises(FormatError):
        sandbox.repair(run)
    assert content(run) == before
    (run / "manifest.json").unlink()
    with pytest.raises(FormatError, match="not finished"):
        sandbox.repair(run)


def test_a_shard_that_cannot_be_made_again_as_it_was_stays_as_it_is(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shop / "run"
    cut(shard(run, 0))
    cut(shard(run, 1))
    before = content(run)
    with monkeypatch.context() as patch:
        patch.setattr("sandbox.catalogue.code", lambda name: "0" * 64)
        with pytest.raises(FormatError, match="another code"):
            sandbox.repair(run)
    with monkeypatch.context() as patch:
        older = columns.schema
        patch.setattr(columns, "schema", lambda env, plan=None: older(env, plan, 1))
        with pytest.raises(FormatError, match="episode 0 is not the one in the log"):
            sandbox.repair(run)
    with lock(run), pytest.raises(RunConflictError):
        sandbox.repair(run)
    assert content(run) == before
    assert not (run / ".damaged").exists()
    assert not (run / ".repairing").exists()
