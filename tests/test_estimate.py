"""Time and disk are estimated from a few episodes; what the disk cannot hold is refused."""

import json
import shutil
from pathlib import Path

import pytest
from running import cli, recipe

import sandbox
from sandbox.errors import SandboxError
from sandbox.ledger import Ledger


def size(run: Path) -> int:
    """The bytes of a run's shards."""
    return sum(path.stat().st_size for path in (run / "shards").iterdir())


@pytest.mark.parametrize("observation", [["proprio"], ["proprio", "pixels"]])
def test_disk_is_estimated_within_a_fifth(observation: list[str], tmp_path: Path) -> None:
    wanted = recipe("billiards", episodes=24, observation=observation)
    found = sandbox.estimate(wanted)
    sandbox.generate(wanted, tmp_path / "run")
    assert found.disk_bytes == pytest.approx(size(tmp_path / "run"), rel=0.2)
    assert (found.episodes, 1 <= found.measured <= 8, found.seconds > 0) == (24, True, True)


def test_more_episodes_take_more_and_nobody_pays(tmp_path: Path) -> None:
    few, many = (sandbox.estimate(recipe(episodes=n)) for n in (10, 10_000))
    assert many.disk_bytes > 500 * few.disk_bytes
    assert many.seconds > 100 * few.seconds
    assert Ledger().balance("local").posted_micro == 0


def test_every_part_of_a_recipe_and_one_of_credits_is_estimated() -> None:
    worlds = ("cartpole_swingup", "billiards")
    parts = [{"environment": name, "policies": {"random": 1}} for name in worlds]
    found = sandbox.estimate({"format": 1, "parts": parts, "episodes": 50})
    assert found.episodes == 50
    one = sandbox.quote(recipe(episodes=1)).amount / 1e6
    given = recipe().model_dump(exclude_none=True, exclude={"episodes"})
    assert sandbox.estimate({**given, "credits": 30.5 * one}).episodes == 30


def test_the_command_says_that_it_is_an_estimate(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(recipe(episodes=100).model_dump(exclude_none=True)))
    said = " ".join(cli("quote", path).stdout.split())
    assert "Estimated from 8 episodes that were made here: 100 take about 0:00:" in said
    known = json.loads(cli("quote", path, "--json").stdout)["estimate"]
    assert (known["episodes"], known["measured"]) == (100, 8)
    assert "Estimated" not in cli("quote", path, "--no-measure").stdout
    assert {one.name for one in tmp_path.iterdir()} <= {path.name, "home"}


def test_a_run_that_the_disk_cannot_hold_is_not_begun(tmp_path: Path) -> None:
    wanted = recipe("billiards", episodes=100_000_000, observation=["pixels"])
    with pytest.raises(SandboxError, match=r"100,000,000 episodes take about .* GB"):
        sandbox.generate(wanted, tmp_path / "run", workers=2)
    assert not (tmp_path / "run").exists()
    assert Ledger().balance("local").posted_micro == 0


def test_what_fits_compressed_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = recipe("billiards", episodes=24, observation=["pixels"])
    raw, free = sandbox.quote(few).quantities["raw_byte"], shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free._replace(free=raw // 4))
    assert sandbox.generate(few, tmp_path / "run").episodes == 24
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free._replace(free=raw // 40))
    with pytest.raises(SandboxError, match=r"24 episodes take about 0.00 GB"):
        sandbox.generate(few, tmp_path / "other")
