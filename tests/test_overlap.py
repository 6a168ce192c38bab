"""What a test set shares with a training set is counted, and warned of."""

from pathlib import Path
from typing import Any

import pytest
from running import cli, recipe

import sandbox


def made(path: Path, **changes: Any) -> Path:
    given = {"scenario": "two_room_varied", "split": "train", "episodes": 4, **changes}
    sandbox.generate(recipe("two_room", policies={"play": 1.0}, **given), path)
    return path


@pytest.mark.parametrize("observation", [["proprio"], ["proprio", "pixels"]])
def test_a_held_out_split_of_the_same_seed_shares_nothing(
    tmp_path: Path, observation: list[str]
) -> None:
    given = {"observation": observation, "image_size": 16}
    train = made(tmp_path / "train", **given)
    for split in ("interpolation", "extrapolation", "combination"):
        test = made(tmp_path / split, split=split, **given)
        found = sandbox.overlap(test, train)
        assert (found.episodes, found.frames) == (0, 0)
        assert found.of > 100
        assert found.warnings() == []


def test_a_run_shares_everything_with_itself_and_half_with_its_half(tmp_path: Path) -> None:
    train, half = made(tmp_path / "train"), made(tmp_path / "half", episodes=2)
    found = sandbox.overlap(str(train), half)
    assert found.columns == ("state",)
    assert found.episodes == 2
    assert found.twins == (0, 1)
    assert 0 < found.frames < found.of
    assert sandbox.overlap(half, train).frames == sandbox.overlap(half, train).of
    seeds, frames = found.warnings()
    assert seeds.startswith("2 episodes have the seed of a training episode")
    assert "the same bytes of state" in frames


def test_coverage_and_the_example_warn_of_it(tmp_path: Path) -> None:
    given = {"observation": ["proprio", "pixels"], "image_size": 16}
    train, test = made(tmp_path / "a", **given), made(tmp_path / "b", episodes=2, **given)
    done = cli("coverage", test, "--train", train)
    assert done.returncode == 0, done.stderr
    assert "2 episodes have the seed of a training episode" in done.stdout
    assert "the same bytes of pixels" in done.stdout
    assert "training episode" not in cli("coverage", test).stdout
