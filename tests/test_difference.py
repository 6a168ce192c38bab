"""How two runs differ is said: what they are, their columns, the first row of each episode."""

import json
import shutil
from pathlib import Path

import pytest
import ramps
from running import cli, recipe

import sandbox
from sandbox.trajectory import Column, Episode, Schema, ShardReader, ShardWriter


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, the same made again, one of another seed, one with a column more, and a subset."""
    folder = tmp_path_factory.mktemp("difference")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(folder / "home"))
        wanted = recipe("billiards", episodes=3)
        sandbox.generate(wanted, folder / "one")
        sandbox.generate(wanted, folder / "again")
        sandbox.generate(wanted, folder / "seed", seed=9)
        sandbox.generate(recipe("billiards", episodes=3, labels=True), folder / "labels")
        sandbox.subset(folder / "one", folder / "few", where=lambda record: record.episode != 1)
        sandbox.extend(shutil.copytree(folder / "one", folder / "four"), 4)
    return folder


def test_the_same_work_does_not_differ(pairs: Path) -> None:
    found = sandbox.diff(pairs / "one", pairs / "again")
    assert found.none
    assert (found.same, found.other) == (3, 0)
    assert cli("diff", pairs / "one", pairs / "again").returncode == 0


def test_another_seed_differs_in_identity_and_from_the_first_row_on(pairs: Path) -> None:
    found = sandbox.diff(pairs / "one", pairs / "seed")
    assert any("seed" in text for text in found.identity)
    assert (found.columns, found.same, found.other) == ([], 0, 3)
    assert all("row 0 differs first" in text for text in found.episodes)
    done = cli("diff", pairs / "one", pairs / "seed", "--json")
    assert (done.returncode, json.loads(done.stdout)["other"]) == (1, 3)


def test_columns_and_the_rest_of_the_record_are_named(pairs: Path) -> None:
    found = sandbox.diff(pairs / "one", pairs / "labels")
    assert "the second alone has 'contact_impulse'." in found.columns
    assert found.other == 3
    assert all("charge" in text for text in found.episodes), "a row with labels costs more"


def test_episodes_that_one_alone_has_are_counted(pairs: Path) -> None:
    found = sandbox.diff(pairs / "one", pairs / "few")
    assert (found.only_a, found.only_b, found.same, found.other) == (1, 0, 2, 0)
    assert "derived run" in found.identity[0]
    found = sandbox.diff(pairs / "one", pairs / "four")
    assert (found.only_a, found.only_b, found.same) == (0, 1, 3)
    assert any("3 + 4" in text for text in found.identity)


def test_one_byte_is_found_in_its_row_and_column(tmp_path: Path) -> None:
    a, b = ramps.write(tmp_path / "a"), ramps.write(tmp_path / "b")
    assert sandbox.diff(a, b).none
    path = b / "shards" / "shard-00001.h5"
    with ShardReader(path) as reader:
        every = [reader.read(n) for n in range(len(reader))]
    path.unlink()
    rows = {name: column.copy() for name, column in every[1].rows.items()}
    rows["pixels"][17, 2, 3, 1] ^= 1
    every[1] = Episode(rows, every[1].record)
    with ShardWriter(path, ramps.SCHEMA, {}) as writer:
        for one in every:
            writer.append(one)
    found = sandbox.diff(a, b)
    assert (found.other, found.same) == (1, 7)
    assert found.episodes[0].startswith("episode 6: row 17 differs first, in 'pixels'")


def test_a_column_of_another_type_is_named(tmp_path: Path) -> None:
    wider = Schema((*ramps.SCHEMA.columns, Column("more", "int8", (2,), "0", "1")))
    path = tmp_path / "b.h5"
    with ShardWriter(path, wider, {}) as writer:
        one = ramps.ramp(0, 4)
        more = {"more": one.rows["pixels"][:, 0, :2, 0].astype("int8")}
        writer.append(Episode({**one.rows, **more}, one.record))
    found = sandbox.diff(ramps.write(tmp_path / "a"), path)
    assert found.columns == ["the second alone has 'more'."]
    assert found.only_a == 7
