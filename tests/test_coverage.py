"""What a run covers, measured and drawn, and the data that trains badly named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from running import cli, recipe

import sandbox
from sandbox.report.coverage import measure
from sandbox.run.folder import Folder


def made(path: Path, name: str = "billiards", **changes: Any) -> Folder:
    sandbox.generate(recipe(name, **changes), path)
    return sandbox.open_run(path)


def test_a_run_is_measured_drawn_and_told(tmp_path: Path) -> None:
    mixed = {"random": 1.0, "scripted": 1.0, "play": 1.0}
    run = made(tmp_path / "run", labels=True, episodes=6, policies=mixed, scenario=None)
    found = measure(run)
    assert (found.episodes, found.rows) == (6, 6 * 151)
    assert found.moved["ball_0"] == 1.0
    assert 0 < found.occupancy["ball_0"] <= 1
    assert sum(found.actions[0]) == 6 * 150
    assert found.contact_rate == found.events["contact"] > 0
    assert found.events["goal_reached"] > 0
    assert {p["policy"] for p in found.policies} == set(mixed)
    done = cli("coverage", run.path)
    assert done.returncode == 0, done.stderr
    assert "What moves" in done.stdout
    picture = np.asarray(Image.open(run.path / "coverage.png").convert("L"))
    assert picture.std() > 20
    said = json.loads(cli("coverage", run.path, "--json").stdout)
    assert said["moved"] == found.moved


def test_data_that_trains_badly_is_warned_of(tmp_path: Path) -> None:
    still = {
        "format": 1,
        "environment": "billiards",
        "limit_s": 0.2,
        "factors": {"ball_mass_kg": {"uniform": [0.1, 0.3]}},
        "splits": {"train": {}, "light": {"ball_mass_kg": {"uniform": [0.1, 0.29]}}},
    }
    path = tmp_path / "still.yaml"
    path.write_text(json.dumps(still))
    run = made(tmp_path / "run", "billiards", scenario=str(path))
    warnings = "\n".join(measure(run).warnings)
    assert "one policy only (random)" in warnings
    assert "without labels contacts are not counted" in warnings
    assert "move in less than 10 % of the episodes" in warnings
    assert "lie in the split 'light'" in warnings


def test_what_is_no_run_is_refused_in_one_line(tmp_path: Path) -> None:
    done = cli("coverage", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("name", ["cartpole_swingup", "push_t"])
def test_worlds_of_joints_are_measured_too(name: str, tmp_path: Path) -> None:
    found = measure(made(tmp_path / "run", name, labels=True, policies={"play": 1.0}))
    assert max(found.moved.values()) == 1.0
