"""Render-later: the same bytes as at once, checked on the way, and only pictures are charged."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import pytest
from running import TESTS, cli, recipe

import sandbox
from sandbox.errors import BudgetExhaustedError, FormatError, InvalidInputError, RunConflictError
from sandbox.ledger import Ledger
from sandbox.prices import local
from sandbox.run.bill import Bill
from sandbox.trajectory import ShardReader, shards

PICTURES = ["pixels", "depth", "segmentation"]
CAMERAS = ["main", "finger"]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same recipe without pictures in `state`, and with them in `once`."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(folder / "home"))
        local.use("1")
        common: dict[str, Any] = {
            "episodes": 5,
            "shard_episodes": 2,
            "scenario": str(TESTS / "short_push_t_varied.yaml"),
            "policies": {"random": 1.0, "scripted": 1.0},
        }
        sandbox.generate(recipe("push_t", **common), folder / "state")
        seen: dict[str, Any] = {"camera": CAMERAS, "image_size": 16}
        wanted = recipe("push_t", observation=["proprio", *PICTURES], **common, **seen)
        sandbox.generate(wanted, folder / "once")
    return folder


def render(run: Path, out: Path, columns: Any = PICTURES, **changes: Any) -> Bill:
    return sandbox.render(run, out, columns, **{"camera": CAMERAS, "image_size": 16, **changes})


def manifest(run: Path) -> dict[str, Any]:
    return json.loads((run / "manifest.json").read_text())


def rows(run: Path) -> int:
    return sum(ShardReader(path).rows for path in shards(run))


def test_rendered_later_the_shards_are_those_rendered_at_once(
    rendered: Path, tmp_path: Path
) -> None:
    render(rendered / "state", tmp_path / "later")
    later, once = manifest(tmp_path / "later"), manifest(rendered / "once")
    assert later["shards"] == once["shards"]
    assert len(later["shards"]) == 3
    assert later["parent"] == manifest(rendered / "state")["run"]
    assert once["parent"] is None
    assert sandbox.verify(tmp_path / "later").faults == []


def test_only_pictures_and_their_bytes_are_charged(rendered: Path, tmp_path: Path) -> None:
    before = Ledger().balance("local").posted_micro
    bill = render(rendered / "state", tmp_path / "later", ["pixels"], camera=None)
    pixels = rows(rendered / "state") * 16 * 16
    assert bill.quantities == {
        "physics_step": 0,
        "pixel": pixels,
        "raw_byte": 3 * pixels + 128 * rows(rendered / "state"),
        "reset": 0,
    }
    assert before is not None
    assert before - (Ledger().balance("local").posted_micro or 0) == bill.amount
    assert manifest(tmp_path / "later")["posted_micro"] == bill.amount
    assert manifest(tmp_path / "later")["charge_micro"] > bill.amount


def test_pictures_are_priced_as_on_the_day_that_they_are_drawn(
    rendered: Path, tmp_path: Path
) -> None:
    bill = render(rendered / "state", tmp_path / "later", prices="2")
    assert bill.price_version == "2"
    assert bill.quantities["simulation_us"] == 0 < bill.quantities["drawing_us"]
    assert sandbox.verify(tmp_path / "later").faults == []
    assert manifest(rendered / "state")["price_version"] == "1"


def test_again_into_the_same_folder_charges_nothing_more(rendered: Path, tmp_path: Path) -> None:
    first = render(rendered / "state", tmp_path / "later")
    after = Ledger().balance("local").posted_micro
    second = render(rendered / "state", tmp_path / "later")
    assert (second.amount, second.already) == (first.amount, 5)
    assert Ledger().balance("local").posted_micro == after


def test_pictures_of_a_run_are_replaced(rendered: Path, tmp_path: Path) -> None:
    render(rendered / "once", tmp_path / "other", ["depth"], camera=["top"], image_size=32)
    with ShardReader(shards(tmp_path / "other")[0]) as reader:
        assert reader.schema["depth"].shape == (32, 32)
        assert "pixels.main" not in reader.schema.names
    assert sandbox.verify(tmp_path / "other").faults == []


def test_a_run_that_does_not_replay_is_refused_and_not_charged(
    rendered: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(rendered / "state", tmp_path / "run"))
    path = shards(run)[0]
    with ShardReader(path) as reader:
        record = dict(reader.records[0])
    with h5py.File(path, "r+") as file:
        file["action"][3] = -file["action"][3]
    before = Ledger().balance("local")
    with pytest.raises(FormatError):
        render(run, tmp_path / "later")
    assert record["episode"] == 0
    assert Ledger().balance("local") == before


def test_a_replay_that_differs_names_step_and_column(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sandbox.trajectory import Episode

    whole = ShardReader.read

    def forged(reader: ShardReader, n: int) -> Episode:
        episode = whole(reader, n)
        state = episode.rows["state"].copy()
        state[4, 0] += 1e-15
        return Episode({**episode.rows, "state": state}, episode.record)

    monkeypatch.setattr(ShardReader, "read", forged)
    before = Ledger().balance("local")
    with pytest.raises(FormatError, match="episode 0: diverges at step 4 in column 'state'"):
        render(rendered / "state", tmp_path / "later")
    assert Ledger().balance("local") == before


def test_who_cannot_pay_is_refused_before_anything_is_drawn(rendered: Path, tmp_path: Path) -> None:
    Ledger().open_account("poor", "prepaid")
    with pytest.raises(BudgetExhaustedError, match="the account 'poor' has 0"):
        render(rendered / "state", tmp_path / "later", account="poor")
    assert not (tmp_path / "later").exists()


@pytest.mark.parametrize(
    ("columns", "changes", "said"),
    [
        (["pixles"], {}, "no column of pictures is called 'pixles'"),
        (["pixels"], {"camera": ["nowhere"]}, "no camera is called 'nowhere'"),
        (["pixels"], {"image_size": 4}, "image_size must be at least 8, not 4"),
        (["pixels"], {"renderer": "pov"}, "renderer must be .*, not 'pov'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_done(
    rendered: Path, tmp_path: Path, columns: list[str], changes: dict[str, Any], said: str
) -> None:
    before = Ledger().balance("local")
    with pytest.raises(InvalidInputError, match=said):
        render(rendered / "state", tmp_path / "later", columns, **changes)
    assert Ledger().balance("local") == before


def test_a_run_at_once_and_one_later_do_not_share_a_folder(rendered: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(rendered / "once", tmp_path / "once"))
    with pytest.raises(RunConflictError, match="parent"):
        render(rendered / "state", run)
    (run / "manifest.json").unlink()
    with pytest.raises(FormatError, match="not finished"):
        render(run, tmp_path / "later")


def test_killed_and_run_again_the_bytes_are_the_same(rendered: Path, tmp_path: Path) -> None:
    out = tmp_path / "later"
    code = (
        "from sandbox.cli import main; main()",
        *("render", str(rendered / "state"), "--out", str(out), "--columns", ",".join(PICTURES)),
        *("--camera", "main", "--camera", "finger", "--image-size", "16"),
    )
    process = subprocess.Popen([sys.executable, "-c", *code], stdout=subprocess.DEVNULL)
    part = out / "shards" / "shard-00001.h5.part"
    while not part.exists() and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert cli(*code[1:]).returncode == 0
    assert manifest(out)["shards"] == manifest(rendered / "once")["shards"]


def test_the_command_line_renders_and_says_what_it_costs(rendered: Path, tmp_path: Path) -> None:
    done = cli("render", rendered / "state", "--out", tmp_path / "later", "--image-size", "16")
    assert done.returncode == 0, done.stderr
    assert "Quote" in done.stdout
    assert "Bill: 5 episodes" in done.stdout
    bad = cli("render", rendered / "state", "--out", tmp_path / "bad", "--columns", "pixles")
    assert bad.returncode == 2
    assert "Traceback" not in bad.stderr
