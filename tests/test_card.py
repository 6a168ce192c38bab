"""Cards: in every run, a function of the run, no part of its evidence, never over your own."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from running import cli, recipe

import sandbox
from sandbox.errors import FormatError, InvalidInputError, NoSimulatorError, SandboxError
from sandbox.report import card, card_head
from sandbox.run.folder import Folder
from sandbox.trajectory import ShardReader

WANTED = recipe(
    episodes=4, shard_episodes=2, observation=["proprio", "pixels"], image_size=16, labels=True
)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def carded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("carded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(home / "home"))
        sandbox.generate(WANTED, home / "run")
    return home


@pytest.fixture
def own(carded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a run with a card."""
    shutil.copytree(carded / "home", tmp_path / "home", dirs_exist_ok=True)
    return shutil.copytree(carded / "run", tmp_path / "run")


def text(run: Path) -> str:
    return (run / "README.md").read_text()


def head(run: Path) -> dict[str, Any]:
    return yaml.safe_load(text(run).split("---\n")[1])


def test_every_run_has_a_card_that_depends_on_the_run_alone(own: Path, tmp_path: Path) -> None:
    sandbox.generate(WANTED, tmp_path / "again")
    sandbox.generate(WANTED, tmp_path / "longer", episodes=3)
    sandbox.extend(tmp_path / "longer", 4)
    assert text(tmp_path / "again") == text(own)
    assert "4 episodes" in text(tmp_path / "longer")
    sandbox.subset(own, tmp_path / "few", where=lambda record: record.episode > 1)
    assert "2 episodes" in text(tmp_path / "few")
    assert "This run cost nothing" in text(tmp_path / "few")
    sandbox.render(own, tmp_path / "drawn", image_size=8)
    assert "were charged for this run" in text(tmp_path / "drawn")
    for place in (tmp_path, Path(__file__).parent):
        assert str(place) not in text(own) + text(tmp_path / "few")
    (own / "README.md").unlink()
    assert cli("settle", own).returncode == 0
    assert text(own) == text(tmp_path / "again")


def test_the_head_says_what_hugging_face_asks_for(own: Path) -> None:
    told = head(own)
    assert "| environment | `sandbox/" in text(own)
    assert "license" not in told
    assert "No licence was given" in text(own)
    assert told["task_categories"] == ["robotics", "reinforcement-learning"]
    assert told["size_categories"] == ["n<1K"]
    assert told["configs"][0]["data_files"] == [{"split": "train", "path": "shards/*.h5"}]
    features = {one["name"]: one for one in told["dataset_info"]["features"]}
    with ShardReader(own / "shards" / "shard-00000.h5") as reader:
        assert {*features} == {*reader.schema.names, "row"}
    assert features["reward"] == {"name": "reward", "dtype": "float64"}
    assert features["pixels"]["dtype"] == {"array3_d": {"dtype": "uint8", "shape": [16, 16, 3]}}
    assert list(features["action"]) == ["name", "list", "length"], "the order of keys counts"


@pytest.mark.parametrize(
    ("rows", "words"),
    [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**12 - 1, "100B<n<1T"), (10**12, "n>1T")],
)
def test_a_size_is_in_hugging_faces_words(rows: int, words: str) -> None:
    assert card_head.size(rows) == words


def test_a_split_is_named_only_where_all_rows_are_of_it() -> None:
    assert card_head.split({"extrapolation": 3}) == "extrapolation"
    assert [card_head.split(one) for one in ({}, {"": 3}, {"a": 1, "b": 1}, {"a b": 1})] == (
        ["train"] * 4
    )


def test_a_licence_and_a_name_stay_until_others_are_given(own: Path) -> None:
    name = 'Push "T" | <b>: #1'
    made = sandbox.card(own, license="cc-by-4.0", name=name)
    assert [one.name for one in made.pictures] == ["coverage.png", "strip.png"]
    assert made.not_drawn == []
    for one in made.pictures:
        with Image.open(one) as opened:
            assert opened.size[0] > 100
    before = text(own)
    assert (head(own)["license"], head(own)["pretty_name"]) == ("cc-by-4.0", name)
    assert "<b>" not in before.split("---\n")[2]
    card.refresh(Folder(own))
    assert text(own) == before, "the pictures stay"
    sandbox.extend(own, 5)
    assert (head(own)["license"], head(own)["pretty_name"]) == ("cc-by-4.0", name)
    assert "5 episodes" in text(own)
    assert "coverage.png" not in text(own)
    assert cli("card", own, "--license", "mit", "--no-pictures").returncode == 0
    assert head(own)["license"] == "mit"


@pytest.mark.parametrize("licence", ["", "CC BY", "cc-by-4.0\nx: 1", "-", "a" * 81, "é"])
def test_what_no_licence_can_be_is_refused(own: Path, licence: str) -> None:
    before = text(own)
    with pytest.raises(InvalidInputError, match="--license"):
        sandbox.card(own, license=licence)
    with pytest.raises(InvalidInputError, match="--name"):
        sandbox.card(own, name="two\nlines")
    assert text(own) == before


def test_a_card_that_was_edited_is_not_replaced(own: Path, tmp_path: Path) -> None:
    mine = text(own).replace("## Bill", "## What it cost")
    (own / "README.md").write_text(mine)
    with pytest.raises(InvalidInputError, match="edited by hand"):
        sandbox.card(own)
    sandbox.extend(own, 5)
    assert text(own) == mine
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (own / "README.md").unlink()
    os.symlink(outside, own / "README.md")
    sandbox.extend(own, 6)
    assert outside.read_text() == "mine"
    assert (own / "README.md").is_symlink()


def test_verify_does_not_mind_a_card_and_its_pictures(own: Path) -> None:
    sandbox.card(own)
    assert sandbox.verify(own, sample=0).faults == []
    (own / "README.md").write_text("mine")
    assert sandbox.verify(own, sample=0).faults == []
    (own / "README.md").unlink()
    shutil.rmtree(own / "card")
    assert sandbox.verify(own, sample=0).faults == []


def test_a_run_that_is_not_finished_has_no_card(own: Path) -> None:
    (own / "manifest.json").unlink()
    (own / "README.md").unlink()
    with pytest.raises(FormatError, match="not finished"):
        sandbox.card(own)
    card.refresh(Folder(own))
    assert not (own / "README.md").exists()


def test_the_blocks_of_a_card_run(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own)
    blocks = BLOCK.findall(text(own))
    ours = [block for block in blocks if "load_dataset" not in block]  # `make readers` runs that.
    assert len(ours) == len(blocks) - 1 == 2
    for block in ours:
        assert block.count("\n") <= 8
        exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("kind", [FormatError, NoSimulatorError])
def test_a_picture_that_cannot_be_drawn_is_said_and_left_out(
    kind: type[SandboxError], own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> bytes:
        raise kind("no picture today.")

    monkeypatch.setattr("sandbox.report.preview.strip", refused)
    made = sandbox.card(own)
    assert made.not_drawn == ["strip.png: no picture today."]
    assert "strip.png" not in text(own)
    assert "coverage.png" in text(own)
