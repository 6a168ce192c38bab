"""Shards that are lost, swapped or numbered otherwise: the file is named, nothing else blamed."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import pytest
from running import recipe

import sandbox
from sandbox import keeping
from sandbox.errors import FormatError, InvalidInputError
from sandbox.run import recipe as recipes
from sandbox.run.folder import Folder
from sandbox.run.recipe import Recipe
from sandbox.run.shard import Shard
from sandbox.trajectory import ShardReader
from sandbox.trajectory.layout import TEXTS, write_texts

WANTED = recipe("two_room", episodes=6, shard_episodes=2)
PARTS = {
    "format": 1,
    "episodes": 6,
    "shard_episodes": 2,
    "parts": [
        {"environment": name, "policies": {"random": 1.0}} for name in ("two_room", "billiards")
    ],
}
SECOND = "shard-00001"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, one that has as many episodes as credits pay, one of parts, and a derived one."""
    home = tmp_path_factory.mktemp("lost")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(home / "home"))
        sandbox.generate(WANTED, home / "one")
        sandbox.generate(recipes.of(WANTED, credits=200.0), home / "paid")
        sandbox.generate(Recipe.model_validate(PARTS), home / "parts")
        keeping.recompress(home / "one", home / "derived", "gzip")
    return home


@pytest.fixture
def shelved(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of these."""
    found = shutil.copytree(shelf, tmp_path / "shelved")
    monkeypatch.setenv("SANDBOX_HOME", str(found / "home"))
    return found


def lose(run: Path, name: str = SECOND) -> None:
    for ending in (".h5", ".episodes.jsonl"):
        (run / "shards" / f"{name}{ending}").unlink()


def swap(run: Path, one: str = SECOND, other: str = "shard-00002") -> None:
    for ending in (".h5", ".episodes.jsonl"):
        a, b = (run / "shards" / f"{name}{ending}" for name in (one, other))
        os.rename(a, run / "aside")
        os.rename(b, a)
        os.rename(run / "aside", b)


def renumber(path: Path, number: Any) -> None:
    """Let a shard's header say another number, as a stranger could."""
    with h5py.File(path, "r+") as file:
        texts = {name: bytes(file.attrs[name]).decode() for name in TEXTS}
        texts["header"] = json.dumps({**json.loads(texts["header"]), "shard": number})
        for name in (*texts, "seal", "format_version"):
            del file.attrs[name]
        write_texts(file, texts)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", ["one", "paid"])
def test_a_lost_shard_is_named_and_the_others_are_right(
    name: str, workers: int, shelved: Path
) -> None:
    lose(shelved / name)
    report = sandbox.verify(shelved / name, sample=0, workers=workers)
    assert f"shards/{SECOND}.h5: is missing, and the manifest names it." in report.faults
    assert (report.failed, "shards" in report.kinds) == ({}, False)
    who = "recipe" if name == "one" else "manifest"
    assert any(f"episodes where the {who} says" in one for one in report.faults)
    assert sandbox.repair(shelved / name).shards == [f"{SECOND}.h5"]
    assert sandbox.verify(shelved / name, sample=0).faults == []


def test_a_lost_shard_of_a_derived_run_is_named(shelved: Path) -> None:
    lose(shelved / "derived")
    report = sandbox.verify(shelved / "derived", sample=0)
    assert f"shards/{SECOND}.h5: is missing, and the manifest names it." in report.faults
    assert any("2 of its 6 episodes are missing" in one for one in report.faults)
    assert report.failed == {}
    with pytest.raises(FormatError, match="2 of its 6 episodes are missing"):
        sandbox.subset(shelved / "derived", shelved / "out", where=lambda one: one.episode > 3)
    shutil.rmtree(shelved / "derived" / "shards")
    assert sandbox.verify(shelved / "derived", sample=0).faults


@pytest.mark.parametrize("name", ["one", "parts", "derived"])
def test_an_episode_of_a_lost_shard_is_said_to_be_in_it(name: str, shelved: Path) -> None:
    folder = Folder(shelved / name)
    numbers = folder.stages.shard(1)
    lose(shelved / name)
    for number in numbers:
        with pytest.raises(FormatError, match=f"{SECOND}.h5: is missing, and has episode"):
            Folder(shelved / name).episode(number)
    with pytest.raises(InvalidInputError, match="episode 9: the run has"):
        Folder(shelved / name).episode(9)
    if name == "one":
        with pytest.raises(FormatError, match=f"{SECOND}.h5: is missing"):
            sandbox.branch(shelved / name, shelved / "out", episode=2, step=1, kinds=["noop"])


def test_two_shards_that_were_swapped_are_told_apart_and_put_back(shelved: Path) -> None:
    swap(shelved / "one")
    faults = sandbox.verify(shelved / "one", sample=0).faults
    assert f"{SECOND}.h5: is another shard: shard 2, not 1." in faults
    assert f"{SECOND}.h5: episode 2: episode 4 stands where it should be." in faults
    before = [one.record["episode"] for one in Folder(shelved / "one").episodes()]
    assert before == [0, 1, 4, 5, 2, 3]
    with pytest.raises(FormatError, match="another episode stands where 2 should be"):
        Folder(shelved / "one").episode(2)
    assert sandbox.repair(shelved / "one").shards == [f"{SECOND}.h5", "shard-00002.h5"]
    assert sandbox.verify(shelved / "one", sample=0).faults == []


@pytest.mark.parametrize("number", [1 << 40, "x", None])
def test_a_header_of_another_number_is_refused_in_one_line(number: Any, shelved: Path) -> None:
    for name in ("derived", "parts"):
        path = shelved / name / "shards" / f"{SECOND}.h5"
        renumber(path, number)
        assert any(
            "is another shard" in one for one in sandbox.verify(shelved / name, sample=0).faults
        )
        with pytest.raises(FormatError, match="is another shard: its header says"):
            Shard(path, ShardReader(path)).number  # noqa: B018
    with pytest.raises(FormatError, match="is another shard"):
        sandbox.subset(shelved / "derived", shelved / "out")
    with pytest.raises(FormatError, match="is another shard"):
        next(Folder(shelved / "parts").episodes())


def test_a_shard_that_no_run_has_is_foreign(shelved: Path) -> None:
    shutil.copy(
        shelved / "one" / "shards" / f"{SECOND}.h5", shelved / "one" / "shards/shard-00009.h5"
    )
    faults = sandbox.verify(shelved / "one", sample=0).faults
    assert "shard-00009.h5: the run has no shard of that number." in faults
