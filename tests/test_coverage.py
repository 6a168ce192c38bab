"""What a run covers, measured and drawn, and the data that trains badly named."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from running import SHORT, TESTS, cli, recipe

import sandbox
from sandbox.report import coverage_picture
from sandbox.report.coverage import Coverage, Part, measure
from sandbox.run.folder import Folder


def made(path: Path, name: str = "billiards", **changes: Any) -> Folder:
    sandbox.generate(recipe(name, **changes), path)
    return sandbox.open_run(path)


def only(folder: Folder) -> Part:
    """The coverage of a run of one world."""
    (part,) = measure(folder).parts
    return part


def picture(path: Path) -> Any:
    return np.asarray(Image.open(path).convert("L"))


def test_a_run_is_measured_drawn_and_told(tmp_path: Path) -> None:
    mixed = {"random": 1.0, "scripted": 1.0, "play": 1.0}
    run = made(tmp_path / "run", labels=True, episodes=6, policies=mixed, scenario=None)
    found = only(run)
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
    assert picture(run.path / "coverage.png").std() > 20
    said = json.loads(cli("coverage", run.path, "--json").stdout)
    assert said["episodes"] == 6
    assert [one["moved"] for one in said["parts"]] == [found.moved]


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
    warnings = "\n".join(only(run).warnings)
    assert "one policy only (random)" in warnings
    assert "without labels contacts are not counted" in warnings
    assert "move in less than 10 % of the episodes" in warnings
    assert "lie in the split 'light'" in warnings


def test_what_is_no_run_is_refused_in_one_line(tmp_path: Path) -> None:
    done = cli("coverage", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("name", ["cartpole_swingup", "push_t"])
def test_worlds_of_joints_are_measured_too(name: str, tmp_path: Path) -> None:
    found = only(made(tmp_path / "run", name, labels=True, policies={"play": 1.0}))
    assert max(found.moved.values()) == 1.0


PARTS: list[dict[str, Any]] = [
    {"environment": "billiards", "scenario": SHORT, "policies": {"random": 1}, "share": 2.0},
    {
        "environment": "push_t",
        "scenario": str(TESTS / "short_push_t.yaml"),
        "policies": {"random": 1, "scripted": 1},
    },
]


def test_each_part_of_a_recipe_is_measured_and_drawn_apart(tmp_path: Path) -> None:
    path = tmp_path / "run"
    sandbox.generate({"format": 1, "parts": PARTS, "episodes": 6, "labels": True}, path)
    found = measure(sandbox.open_run(path))
    names = ["billiards (short_billiards)", "push_t (short_push_t)"]
    assert [one.name for one in found.parts] == names
    assert [(one.episodes, one.rows) for one in found.parts] == [(4, 4 * 31), (2, 2 * 61)]
    for part in found.parts:
        sandbox.subset(path, tmp_path / part.environment, environment=part.environment)
        assert only(sandbox.open_run(tmp_path / part.environment)) == part
    assert "one policy only (random)" in "\n".join(found.parts[0].warnings)
    done = cli("coverage", path, "--train", path)
    assert done.returncode == 0, done.stderr
    for said in ("2 parts: 6 episodes, 246 rows", *names, "ball_0", "finger.x"):
        assert said in done.stdout
    assert "billiards: 4 episodes have the seed of a training episode" in done.stdout
    whole = picture(path / "coverage.png")
    for row in np.array_split(whole, 2):
        assert row.std() > 20
    told = json.loads(cli("coverage", path, "--json").stdout)["parts"]
    assert [one["moved"] for one in told] == [one.moved for one in found.parts]
    card = sandbox.card(path)
    assert card.pictures[0].name == "coverage.png"
    assert picture(card.pictures[0]).shape == whole.shape


def test_a_part_without_an_episode_is_named_and_not_drawn(tmp_path: Path) -> None:
    sandbox.generate({"format": 1, "parts": PARTS, "episodes": 1}, tmp_path / "run")
    found = measure(sandbox.open_run(tmp_path / "run"))
    assert [one.environment for one in found.parts] == ["push_t"]
    assert found.warnings == ["billiards (short_billiards) has no episode."]


def test_of_many_parts_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage_picture, "MOST_PARTS", 2)
    drawn = [
        Image.open(io.BytesIO(coverage_picture.picture(Coverage(parts), "png"))).size
        for parts in ([Part("billiards", episodes=1)] * 2, [Part("billiards", episodes=1)] * 3)
    ]
    assert drawn[0] == drawn[1]


def test_a_world_that_is_flat_is_seen_from_the_side(tmp_path: Path) -> None:
    found = only(made(tmp_path / "run", "ramp_occluder", episodes=2))
    assert (found.axes, len(found.bounds)) == ("xz", 4)
    assert found.occupancy["object"] > 1 / 20  # More than one row of the cells.
    assert only(made(tmp_path / "balls", episodes=2)).axes == "xy"
