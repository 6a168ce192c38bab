"""What verify proves, and that it notices."""

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from running import TESTS, cli, content, recipe

import sandbox
from sandbox.errors import InvalidInputError, RunConflictError
from sandbox.run.recipe import Recipe
from sandbox.sources.replay import first_difference
from sandbox.trajectory import Episode, shards


@pytest.fixture(scope="module")
def colourful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with pictures; tests change copies of it."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(folder / "home"))
        sandbox.generate(
            recipe(
                "push_t",
                episodes=4,
                observation=["proprio", "pixels"],
                image_size=16,
                scenario=str(TESTS / "short_push_t_varied.yaml"),
                compression="none",
            ),
            folder / "run",
        )
    return folder / "run"


@pytest.fixture
def pictured(colourful: Path, tmp_path: Path) -> Path:
    shutil.copytree(colourful.parent / "home", tmp_path / "home")
    return Path(shutil.copytree(colourful, tmp_path / "run"))


def edit(run: Path, column: str, row: int, change: float) -> None:
    """Change a value of the shard as a forger would: the file stays readable."""
    with h5py.File(shards(run)[0], "r+") as file:
        data = file[column]
        value = data[row]
        data[row] = value + np.asarray(change, dtype=data.dtype)


def test_a_run_verifies_and_nothing_is_written(pictured: Path) -> None:
    before = content(pictured)
    report = sandbox.verify(pictured)
    assert report.faults == []
    assert (report.episodes, report.replayed) == (4, 4)
    assert content(pictured) == before


def test_a_sample_replays_as_many_and_says_so(pictured: Path) -> None:
    report = sandbox.verify(pictured, sample=2)
    assert (report.episodes, report.replayed, report.faults) == (4, 2, [])
    assert any("2 of 4 episodes were not" in note for note in report.notes)


@pytest.mark.parametrize("column", ["state", "reward", "pixels", "charge", "variation.t_mass_kg"])
def test_an_edited_value_is_named_by_its_episode(pictured: Path, column: str) -> None:
    edit(pictured, column, 5, 1)
    (first, *_) = sandbox.verify(pictured).faults
    assert "episode 0" in first


def test_a_forged_digest_is_found_by_replay_at_its_step_and_column(pictured: Path) -> None:
    path = shards(pictured)[0]
    with h5py.File(path, "r") as file:
        offset = int(file["ep_offset"][2])
    edit(pictured, "state", offset + 7, 1e-12)
    reseal(path)
    report = sandbox.verify(pictured)
    assert any("episode 2" in f and "step 7 in column 'state'" in f for f in report.faults)


def reseal(path: Path) -> None:
    """Give every episode the digest of the rows it has now, as somebody who forges would."""
    from sandbox.trajectory import ShardReader
    from sandbox.trajectory.layout import write_texts

    with ShardReader(path) as reader:
        records = [
            {**record, "digest": Episode(reader.arrays(n), record).digest}
            for n, record in enumerate(reader.records)
        ]
    with h5py.File(path, "r+") as file:
        texts = {name: bytes(file.attrs[name]).decode() for name in ("schema", "header")}
        for name in ("schema", "header", "episodes", "seal", "format_version"):
            del file.attrs[name]
        write_texts(file, {**texts, "episodes": json.dumps(records)})


def test_a_missing_manifest_an_edited_one_and_a_missing_shard_are_noticed(pictured: Path) -> None:
    manifest = pictured / "manifest.json"
    said = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**said, "charge_micro": 1}))
    assert any(
        "manifest.json: says" in fault for fault in sandbox.verify(pictured, sample=1).faults
    )
    manifest.unlink()
    assert any("not finished" in fault for fault in sandbox.verify(pictured, sample=1).faults)
    shards(pictured)[0].unlink()
    assert "0 episodes where the recipe says 4." in sandbox.verify(pictured).faults


def test_a_foreign_shard_is_noticed(pictured: Path, tmp_path: Path) -> None:
    sandbox.generate(recipe("push_t", episodes=4), tmp_path / "other")
    shutil.copy(shards(tmp_path / "other")[0], shards(pictured)[0])
    assert sandbox.verify(pictured, sample=1).faults


def test_the_status_is_0_or_1(pictured: Path) -> None:
    assert cli("verify", pictured).returncode == 0
    edit(pictured, "reward", 3, 0.5)
    done = cli("verify", pictured)
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert "episode 0" in done.stdout


def test_the_first_difference_is_the_earliest_step() -> None:
    rows = {"a": np.zeros((5, 2)), "b": np.zeros(5)}
    again = {"a": rows["a"].copy(), "b": rows["b"].copy()}
    assert first_difference(rows, again) == ""
    again["a"][3, 1] = -0.0  # Equal as a number, another bit.
    again["b"][4] = 1.0
    assert "step 3 in column 'a'" in first_difference(rows, again)
    shorter = {"a": rows["a"][:4], "b": rows["b"][:4]}
    assert "5 rows recorded, 4" in first_difference(rows, shorter)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three shards."""
    folder = tmp_path_factory.mktemp("several")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(folder / "home"))
        sandbox.generate(
            recipe("cartpole_swingup", episodes=5, shard_episodes=2, compression="none"),
            folder / "run",
        )
    return folder


def test_two_workers_find_what_one_finds(sharded: Path, tmp_path: Path) -> None:
    shutil.copytree(sharded / "home", tmp_path / "home")
    run = Path(shutil.copytree(sharded / "run", tmp_path / "run"))
    assert sandbox.verify(run, workers=2) == sandbox.verify(run)
    with h5py.File(shards(run)[1], "r+") as file:
        file["reward"][150] += 1.0
    seen: list[int] = []
    report = sandbox.verify(run, progress=lambda report: seen.append(report.episodes), workers=2)
    assert list(report.failed) == [3]
    assert report == sandbox.verify(run)
    assert seen == [2, 4, 5]


def test_another_version_of_an_environment_is_another_run_and_is_said(
    pictured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = json.loads((pictured / "run.json").read_text())
    monkeypatch.setattr("sandbox.catalogue.code", lambda name: "1" * 64)
    report = sandbox.verify(pictured, sample=0)
    assert report.faults == []
    assert "another version of envs/push_t.py" in "\n".join(report.notes)
    with pytest.raises(RunConflictError, match="made with another code"):
        sandbox.generate(Recipe.model_validate(before["recipe"]), pictured)
    sandbox.generate(recipe("push_t", episodes=1), tmp_path / "new")
    after = json.loads((tmp_path / "new" / "run.json").read_text())
    assert (after["code"], after["run"] != before["run"]) == ("1" * 64, True)


@pytest.mark.parametrize("sample", [-1, 1.5, "2", True])
def test_a_sample_is_a_whole_number(pictured: Path, sample: object) -> None:
    given: Any = sample
    with pytest.raises(InvalidInputError, match=r"sample .*a whole number"):
        sandbox.verify(pictured, sample=given)
