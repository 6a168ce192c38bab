"""LeRobot, as released, reads an export back: each frame, by the ramp. What it records is imported.

`make lerobot` runs this, in a .venv of its own, on a Python of 3.12: LeRobot has none of 3.11, and
the sandbox none of 3.12. What is read is made by another process, named by SANDBOX_PYTHON.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

LONG = (6, 3, 20, 9, 4, 31, 5)  # Rows of the ramp's episodes that have a step.
MAKE = """
import sys
from pathlib import Path
from ramps import write
import sandbox
folder = Path(sys.argv[1])
done = sandbox.export(write(folder / "run"), "lerobot", folder / "ramp")
assert done.columns["pixels"] == "observation.images.main", done.columns
"""
FILM = """
import sys
from pathlib import Path
from ramps import coarse, write
import sandbox
from sandbox.exports import lerobot
lerobot.FILE_BYTES = 300_000
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    run = write(folder / "run", schema=coarse())
    done = sandbox.export(run, "lerobot", folder / "film", video=True)
    assert "pixels are not exact" in done.notes[0], done.notes
    sandbox.export(run, "lerobot", folder / "again", video=True, workers=2)
"""
REAL = """
import sys
from pathlib import Path
import sandbox
folder = Path(sys.argv[1])
recipe = {"format": 1, "environment": "push_t", "episodes": 2, "policies": {"scripted": 1},
          "observation": ["proprio", "pixels"], "image_size": 64}
sandbox.generate(recipe, folder / "run")
sandbox.export(folder / "run", "lerobot", folder / "real")
"""
TAKE = """
import sys
from pathlib import Path
import numpy as np
import sandbox
folder = Path(sys.argv[1])
done = sandbox.import_run(folder / "recorded", "lerobot", folder / "back")
data = sandbox.Dataset(done.path)
assert data.lengths.tolist() == [12, 25, 7], data.lengths
for n, rows in enumerate(data.lengths.tolist()):
    one, t = data.rows(n), np.arange(rows)
    for name, greys in (("pixels", 7 * t + n), ("pixels.wrist", 255 - 7 * t - n)):
        means = one[name].mean(axis=(1, 2, 3))
        assert np.abs(means - greys).max() < 2, (n, name, means)
    assert one["proprio"][:, 0].tolist() == t.tolist()
"""


def made(code: str, folder: Path) -> None:
    subprocess.run(
        [os.environ["SANDBOX_PYTHON"], "-c", code, str(folder)],
        env={
            **os.environ,
            "SANDBOX_HOME": str(folder / "home"),
            "PYTHONPATH": str(Path(__file__).parent.parent),
        },
        check=True,
    )


def test_it_reads_the_ramp(tmp_path: Path) -> None:
    made(MAKE, tmp_path)
    read = LeRobotDataset("sandbox/ramp", root=tmp_path / "ramp")
    assert (read.num_episodes, read.num_frames, read.fps) == (7, sum(LONG) - 7, 1)
    frames = [(n, rows, t) for n, rows in enumerate(LONG) for t in range(rows - 1)]
    for place, (episode, rows, t) in enumerate(frames):
        frame = read[place]
        picture = np.moveaxis(frame["observation.images.main"].numpy(), 0, -1) * 255
        expected = np.full((4, 6, 3), [t + 1, t + 2, t + 3])
        expected[2, 5] = 255
        assert np.array_equal(picture.round(), expected)
        assert frame["action"].tolist() == [t, t]
        assert frame["next.reward"].item() == t + 1
        assert frame["next.done"].item() == (t == rows - 2)
        assert frame["episode_index"].item() == episode
        assert (frame["frame_index"].item(), frame["index"].item()) == (t, place)
        assert frame["timestamp"].item() == t
        assert frame["task"] == "task"


def test_frame_t_of_a_film_is_frame_t(tmp_path: Path) -> None:
    """A film is not exact: a grey of 8 t comes back to within 4, so that no other t is as near."""
    made(FILM, tmp_path)
    read = LeRobotDataset("sandbox/film", root=tmp_path / "film")
    films = sorted((tmp_path / "film" / "videos" / "observation.images.main").rglob("*.mp4"))
    assert len(films) > 2
    assert read.meta.video_keys == ["observation.images.main"]
    frames = [(n, t) for n, rows in enumerate(LONG) for t in range(rows - 1)]
    assert len(read) == len(frames)
    for place, (episode, t) in enumerate(frames):
        frame = read[place]
        grey = frame["observation.images.main"].numpy() * 255
        assert grey.shape == (3, 64, 64)
        assert np.abs(grey - 8 * t).max() < 4, (place, t, grey.mean())
        assert frame["action"].tolist() == [t, t]
        assert frame["episode_index"].item() == episode
    for path in (tmp_path / "film").rglob("*.*"):
        if path.is_file():
            other = tmp_path / "again" / path.relative_to(tmp_path / "film")
            assert path.read_bytes() == other.read_bytes(), path


def test_it_reads_a_run_its_rate_statistics_and_windows(tmp_path: Path) -> None:
    made(REAL, tmp_path)
    read = LeRobotDataset(
        "sandbox/real",
        root=tmp_path / "real",
        delta_timestamps={"observation.state": [-0.1, 0.0], "action": [0.0, 0.1]},
    )
    assert read.fps == 10
    frame = read[5]
    assert frame["task"] == "push t"
    assert frame["observation.state"].shape[0] == frame["action"].shape[0] == 2
    assert np.array_equal(frame["observation.state"][1], read[6]["observation.state"][0])
    assert frame["observation.images.main"].shape == (3, 64, 64)
    stats = read.meta.stats
    every = np.stack([one["action"] for one in read.hf_dataset.with_format("numpy")])
    np.testing.assert_allclose(stats["action"]["mean"], every.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(stats["action"]["std"], every.std(axis=0), atol=1e-6)
    assert stats["observation.images.main"]["mean"].shape == (3, 1, 1)
    assert 0 < stats["observation.images.main"]["mean"].min() < 1
    assert read.meta.features["observation.state"]["names"][0]


def test_one_episode_can_be_chosen(tmp_path: Path) -> None:
    made(MAKE, tmp_path)
    read = LeRobotDataset("sandbox/ramp", root=tmp_path / "ramp", episodes=[2])
    assert len(read) == 19
    assert [read[t]["action"][0].item() for t in range(19)] == [*range(19)]


def test_films_that_it_records_are_imported_frame_by_frame(tmp_path: Path) -> None:
    sizes = {"main": (64, 96, 3), "wrist": (64, 64, 3)}
    names = ["height", "width", "channels"]
    features = {
        f"observation.images.{name}": {"dtype": "video", "shape": size, "names": names}
        for name, size in sizes.items()
    }
    for name, elements in (("observation.state", ["t", "n"]), ("action", ["x", "y"])):
        features[name] = {"dtype": "float32", "shape": (2,), "names": elements}
    recorded = LeRobotDataset.create(
        "sandbox/recorded", fps=30, root=tmp_path / "recorded", features=features
    )
    for n, rows in enumerate((12, 25, 7)):
        for t in range(rows):
            frame = {
                f"observation.images.{name}": np.full(size, grey, np.uint8)
                for (name, size), grey in zip(
                    sizes.items(), (7 * t + n, 255 - 7 * t - n), strict=True
                )
            }
            numbers = np.array([t, n], np.float32)
            recorded.add_frame(
                frame | {"observation.state": numbers, "action": numbers, "task": "push"}
            )
        recorded.save_episode()
    recorded.finalize()
    made(TAKE, tmp_path)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
