"""Files of older formats stay readable: a stored run of each reads, verifies and replays as before.

`older/format_1` was made from `older/recipe.yaml` by the last version that wrote format 1.
"""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from running import content, recipe

import sandbox
from sandbox.dataset.windows import Windows
from sandbox.errors import FormatError, InvalidInputError
from sandbox.report import coverage, preview
from sandbox.run.folder import Folder
from sandbox.sources import columns
from sandbox.trajectory import FORMAT_VERSION, ShardReader, ShardWriter, layout
from sandbox.verification.trust import Trust

OLDER = Path(__file__).parent / "older"
DIGESTS = [
    "64e7b083d83c9f04dfd35fabf4f60ea22a9f0251032f7be666f8dbc9cc24b389",
    "a6595509e3668d7643b555da718fad4ce140ad6965544ffcfe8cf96086a46279",
    "9e4a1cd7b72cd71cfc8f8cbe69aed7ba749ff652b6abe277511aa533237a71a6",
]
NO_LEDGER = Trust(None)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of the run of format 1."""
    return shutil.copytree(OLDER / "format_1", tmp_path / "format_1")


def test_there_is_a_stored_run_of_every_older_format() -> None:
    wanted = [f"format_{n}" for n in range(1, FORMAT_VERSION)]
    assert sorted(path.name for path in OLDER.glob("format_*")) == wanted


def test_it_reads_to_the_byte(run: Path) -> None:
    with ShardReader(run / "shards" / "shard-00000.h5") as reader:
        assert reader.version == 1
        episodes = [reader.read(n) for n in range(len(reader))]
        assert [episode.digest for episode in episodes] == DIGESTS
        assert "seed" not in reader.schema.names
    assert np.isnan(episodes[0].rows["action"][-1]).all()


def test_it_verifies_and_replays_bit_for_bit(run: Path) -> None:
    report = sandbox.verify(run, trust=NO_LEDGER)
    assert (report.faults, report.diverged) == ([], [])
    assert (report.episodes, report.replayed) == (3, 3)


def test_a_changed_number_is_found_as_before(run: Path) -> None:
    shard = run / "shards" / "shard-00000.h5"
    data = bytearray(shard.read_bytes())
    data[-3000] ^= 1
    shard.write_bytes(data)
    assert sandbox.verify(run, trust=NO_LEDGER).faults


def test_it_is_loaded_drawn_branched_and_covered(run: Path, tmp_path: Path) -> None:
    assert len(Windows(run, 8)) > 0
    assert coverage.measure(Folder(run)).episodes == 3
    sandbox.render(run, tmp_path / "drawn", ["pixels"], image_size=16)
    with (
        ShardReader(run / "shards" / "shard-00000.h5") as old,
        ShardReader(tmp_path / "drawn" / "shards" / "shard-00000.h5") as new,
    ):
        assert new.version == FORMAT_VERSION
        for n in range(len(old)):
            assert np.array_equal(old.read(n).rows["pixels"], new.read(n).rows["pixels"])
    sandbox.branch(run, tmp_path / "branches", episode=1, step=4, kinds=["same", "noop"])
    for made in ("drawn", "branches"):
        assert sandbox.verify(tmp_path / made).faults == []
    preview.preview(Folder(run), tmp_path / "seen")
    assert sandbox.audit(run, trust=NO_LEDGER).report.faults == []


@pytest.mark.parametrize("name", sorted(path.name for path in OLDER.glob("format_*")))
def test_it_is_migrated_with_its_rows_records_and_proofs(name: str, tmp_path: Path) -> None:
    older = shutil.copytree(OLDER / name, tmp_path / name)
    made = sandbox.migrate(older, tmp_path / "new").path
    again = sandbox.migrate(older, tmp_path / "none", compression="none").path
    shutil.move(older, tmp_path / "gone")
    for run in (made, again):
        new, old = Folder(run), Folder(tmp_path / "gone")
        assert {shard.reader.version for shard in new.shards()} == {FORMAT_VERSION}
        for ours, theirs in zip(new.episodes(), old.episodes(), strict=True):
            assert (ours.record, ours.digest) == (theirs.record, theirs.digest)
            assert {*ours.rows} == {*theirs.rows}, "no column is invented"
            for column, values in ours.rows.items():
                assert values.tobytes() == theirs.rows[column].tobytes()
        report = sandbox.verify(run, trust=NO_LEDGER)
        assert (report.faults, report.diverged) == ([], [])
        assert report.replayed == report.episodes == len(sandbox.Dataset(run)) > 0
        assert any("are in the log of run" in text for text in report.checked)
    assert len(Windows(made, 8)) == len(Windows(tmp_path / "gone", 8)) > 0
    with pytest.raises(InvalidInputError, match="the newest"):
        sandbox.migrate(made, tmp_path / "newer")
    shard = made / "shards" / "shard-00000.h5"
    before = shard.read_bytes()
    shard.write_bytes(before[:-100])
    assert sandbox.repair(made, origins=tmp_path / "gone").shards == [shard.name]
    assert shard.read_bytes() == before


def test_a_run_is_not_finished_with_other_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, wanted = tmp_path / "run", recipe("two_room", episodes=2, shard_episodes=1)
    with monkeypatch.context() as before:
        before.setattr(columns, "schema", partial(columns.schema, version=1))
        sandbox.generate(wanted, run)
    (run / "manifest.json").unlink()
    kept = content(run / "shards")
    with pytest.raises(FormatError, match="columns are those of another version"):
        sandbox.generate(wanted, run)
    assert content(run / "shards") == kept


def test_a_growing_shard_of_format_1_is_read_and_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shard-00000.h5"
    with ShardReader(OLDER / "format_1" / "shards" / path.name) as reader:
        episodes, schema = [reader.read(n) for n in range(len(reader))], reader.schema
    with monkeypatch.context() as before:
        before.setattr(layout, "FORMAT_VERSION", 1)
        writer = ShardWriter(path, schema, {}, sync=False)
        writer.append(episodes[0])
        writer.abandon()
    with ShardReader(path.with_name(f"{path.name}.part")) as reader:
        assert (reader.version, reader.read(0).digest) == (1, DIGESTS[0])
    with ShardWriter.resume(path, schema, {}, sync=False) as writer:
        for episode in episodes[1:]:
            writer.append(episode)
    with ShardReader(path) as reader:
        assert reader.version == FORMAT_VERSION
        assert [reader.read(n).digest for n in range(3)] == DIGESTS
        assert reader.own_fault() == ""
