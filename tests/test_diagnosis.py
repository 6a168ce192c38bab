"""The doctor names what trains badly, leaves clean data alone, and simulates nothing."""

import json
import shutil
from pathlib import Path
from typing import Any

import episodes
import numpy as np
import pytest
import ramps
from running import cli, python, recipe

import sandbox
from sandbox.dataset import diagnosis
from sandbox.dataset.diagnosis import Diagnosis
from sandbox.errors import FormatError, InvalidInputError
from sandbox.trajectory import Episode, ShardReader, ShardWriter

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean run."""
    folder = tmp_path_factory.mktemp("doctor")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(folder / "home"))
        sandbox.generate(recipe("push_t", episodes=3, shard_episodes=2), folder / "run")
    return folder / "run"


@pytest.fixture
def patient(generated: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(generated, tmp_path / "patient")


def kinds(found: Diagnosis) -> list[str]:
    return list(diagnosis.counts(found))


def rewritten(run: Path, change: Any) -> None:
    """Write the first shard again with rows that somebody changed; records and digests follow."""
    path = run / "shards" / "shard-00000.h5"
    with ShardReader(path) as reader:
        every = [reader.read(n) for n in range(len(reader))]
        schema, header = reader.schema, reader.header
    shutil.rmtree(run / "shards")
    (run / "shards").mkdir()
    with ShardWriter(path, schema, header, "none") as writer:
        for one in every:
            rows, record = {n: c.copy() for n, c in one.rows.items()}, dict(one.record)
            change(rows, record)
            writer.append(Episode(rows, record))


def test_clean_data_has_no_finding(patient: Path) -> None:
    found = sandbox.doctor(patient)
    assert (found.findings, found.shards, found.episodes) == ([], 2, 3)
    done = cli("doctor", patient)
    assert (done.returncode, "CLEAN" in done.stdout) == (0, True)


def test_it_needs_no_simulator(patient: Path) -> None:
    code = (
        f"import sandbox, sys; sandbox.doctor({str(patient)!r}); print('pybullet' in sys.modules)"
    )
    assert python("-c", code).stdout.strip() == "False"


def nan(rows: Any, record: Any) -> None:
    rows["state"][3, 1] = np.nan


def far(rows: Any, record: Any) -> None:
    rows["state"][2, 0] = 1e9


def wild(rows: Any, record: Any) -> None:
    rows["action"][0] = 1.5


def idle(rows: Any, record: Any) -> None:
    rows["state"][5:] = rows["state"][5]


def shifted(rows: Any, record: Any) -> None:
    rows["reward"][1:] = rows["reward"][:-1].copy()
    rows["reward"][1] = 7.0


def cut(rows: Any, record: Any) -> None:
    rows["terminated"][-1] = rows["truncated"][-1] = False


def shorter(rows: Any, record: Any) -> None:
    record["steps"] -= 1


def seeded(rows: Any, record: Any) -> None:
    rows["seed"][:] = 1


def alike(rows: Any, record: Any) -> None:
    rows["seed"][:], record["seed"] = 5, 5


def constant(rows: Any, record: Any) -> None:
    rows["proprio"][:] = 0.5


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (nan, "not finite", "'state' has 1 NaN"),
        (far, "out of range", "diverged"),
        (wild, "out of range", "1.5, outside"),
        (constant, "out of range", "'proprio' never changes"),
        (idle, "idle", "nothing moves in"),
        (shifted, "misaligned", "rewards add up to"),
        (cut, "misaligned", "cut off"),
        (shorter, "misaligned", "steps, and it has"),
        (seeded, "misaligned", "'seed'"),
        (alike, "seed", "2 of push_t have seed 5"),
    ],
)
def test_each_fault_is_named(patient: Path, change: Any, kind: str, says: str) -> None:
    rewritten(patient, change)
    found = sandbox.doctor(patient)
    assert kind in kinds(found)
    assert any(one.kind == kind and says in one.text for one in found.findings), found.findings
    done = cli("doctor", patient, "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"]) == (1, False)
    assert any(one["kind"] == kind for one in told["findings"])
    assert says in cli("doctor", patient).stdout


def test_a_damaged_shard_hides_no_other(patient: Path) -> None:
    path = patient / "shards" / "shard-00000.h5"
    path.write_bytes(path.read_bytes()[:-2000])
    found = sandbox.doctor(patient)
    assert (kinds(found), found.shards, found.episodes) == (["unreadable"], 2, 1)


def test_a_flipped_byte_in_the_rows_is_found(tmp_path: Path) -> None:
    run = episodes.run(tmp_path / "run", [episodes.record("r", n) for n in range(3)])
    path = next((run / "shards").glob("*.h5"))
    with ShardReader(path) as reader:
        row = reader.arrays(1, ["state"])["state"][1].tobytes()
    data = path.read_bytes()
    if row in data:  # Numbers may be packed.
        path.write_bytes(data.replace(row, row[:-1] + b"\x01"))
    else:
        path.write_bytes(data[: len(data) // 2] + b"\xff" * 64 + data[len(data) // 2 + 64 :])
    assert {*kinds(sandbox.doctor(run))} & {"misaligned", "unreadable"}


def test_twins_across_splits_and_runs(tmp_path: Path) -> None:
    train = [episodes.record("a", n, split="train") for n in range(3)]
    test = [episodes.record("b", n, split="test") for n in range(3)]
    episodes.run(tmp_path / "train", train, looks=(1, 2, 3))
    episodes.run(tmp_path / "test", test, looks=(4, 5, 6))
    assert "twin" not in kinds(sandbox.doctor(tmp_path))
    shutil.rmtree(tmp_path / "test")
    episodes.run(tmp_path / "test", test, looks=(4, 3, 6))
    found = [one for one in sandbox.doctor(tmp_path).findings if one.kind == "twin"]
    assert len(found) == 1
    assert "push_t test and in push_t train" in found[0].text


def test_old_formats_growing_shards_and_other_engines_are_named(tmp_path: Path) -> None:
    older = TESTS / "older" / "format_1"
    assert "version" in kinds(sandbox.doctor(older))
    growing = ramps.write(tmp_path / "growing", finished=False)
    assert "unfinished" in kinds(sandbox.doctor(growing))
    episodes.run(tmp_path / "one", [episodes.record("a", 0)])
    episodes.run(tmp_path / "two", [episodes.record("b", 0, engine={"class": "1" * 32})])
    found = sandbox.doctor([tmp_path / "one", tmp_path / "two"])
    assert any("another determinism class" in one.text for one in found.findings)


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(patient: Path, share: float) -> None:
    with pytest.raises(InvalidInputError, match="give a share"):
        sandbox.doctor(patient, idle=share)
    with pytest.raises(FormatError):
        sandbox.doctor(patient / "nothing")
