"""Branches that cannot be made are refused before anything is done or charged."""

import shutil
from pathlib import Path
from typing import Any

import h5py
import pytest
from running import cli, recipe

import sandbox
from sandbox.errors import FormatError, InvalidInputError, SandboxError
from sandbox.ledger import Ledger
from sandbox.run.folder import Folder
from sandbox.sources.surprises import planned as surprising
from sandbox.trajectory import Episode, Schema, ShardReader, ShardWriter


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("pushed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(home / "home"))
        sandbox.generate(recipe("push_t", episodes=1), home / "run")
    return home


@pytest.fixture
def recorded(pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a run of one episode."""
    found = shutil.copytree(pushed, tmp_path / "copied")
    monkeypatch.setenv("SANDBOX_HOME", str(found / "home"))
    return found / "run"


REFUSED = {
    "factor:t_scale=1.2": "'outline' would have another shape, joint or pose",
    "factor:t_mass_kg=99": "99.0 is not a number from 0.1 to 2.0",
    "factor:t_mass_kg=nan": "nan is not a number",
    "factor:t_mass=1": "Did you mean 't_mass_kg'",
    "factor:t_mass_kg": "give factor:NAME=VALUE",
    "impulse:nobody": "no body that is there is called 'nobody'",
    "reshape": "reshape a body that is",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_kind_that_cannot_be_is_refused_and_nothing_is_there(kind: str, recorded: Path) -> None:
    before = Ledger().balance("local")
    with pytest.raises(InvalidInputError, match=REFUSED[kind]):
        sandbox.branch(recorded, recorded.parent / "out", episode=0, step=3, kinds=["noop", kind])
    assert not (recorded.parent / "out").exists()
    assert Ledger().balance("local") == before


def narrow(run: Path, *, width: int) -> None:
    """Give a run states of fewer numbers, or none, as a stranger's shard may have."""
    path = run / "shards" / "shard-00000.h5"
    with ShardReader(path) as reader:
        kept = {c.name: c for c in reader.schema.columns}
        if width:
            state = kept["state"].to_json() | {"shape": [width], "elements": []}
            kept["state"] = type(kept["state"]).from_json(state)
        else:
            del kept["state"]
        rows = dict(reader.read(0).rows)
        header, record = reader.header, reader.records[0]
    rows = {name: rows[name] for name in kept}
    rows |= {"state": rows["state"][:, :width].copy()} if width else {}
    path.unlink()
    with ShardWriter(path, Schema(tuple(kept.values())), header) as writer:
        writer.append(Episode(rows, record))


@pytest.mark.parametrize("width", [0, 12])
def test_states_that_no_environment_logs_are_foreign(width: int, recorded: Path) -> None:
    narrow(recorded, width=width)
    with pytest.raises(FormatError, match="no column 'state' of"):
        sandbox.branch(recorded, recorded.parent / "out", episode=0, step=3, kinds=["noop"])
    with pytest.raises(FormatError, match="no column 'state' of"):
        surprising(Folder(recorded), kinds=["vanish"], wanted=1, during=None, seed=0)
    done = cli("coverage", recorded, "--out", recorded.parent / "a.png")
    assert (done.returncode, "no column 'state' of" in done.stderr) == (2, True)


def test_what_was_imported_is_refused_as_such(tmp_path: Path) -> None:
    given: dict[str, Any] = {"action": [[0.0], [0.0]], "ep_len": [2], "ep_offset": [0]}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in given.items():
            file[name] = values
    run = sandbox.import_run(tmp_path / "a.h5", "swm", tmp_path / "run").path
    with pytest.raises(SandboxError, match="was imported from swm"):
        sandbox.branch(run, tmp_path / "out", episode=7, step=99, kinds=["noop"])
