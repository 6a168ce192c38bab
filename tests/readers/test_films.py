"""Films of LeRobot's format come back frame by frame, and a stranger's is refused in one line.

`make readers` runs this, in a .venv of its own.
"""

import json
import random
import resource
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from ramps import LENGTHS, coarse, ramp, write
from running import cli, recipe

import sandbox
from sandbox import jsonfile
from sandbox.errors import FormatError
from sandbox.imports.films import LOSSY
from sandbox.trajectory import ShardWriter

LONG = [rows for rows in LENGTHS if rows > 1]
MAIN = "observation.images.main"
META = Path("meta", "episodes", "chunk-000", "file-000.parquet")
DATA = Path("data", "chunk-000", "file-000.parquet")
FILM = Path("videos", MAIN, "chunk-000", "file-000.mp4")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_HOME", str(tmp_path / "home"))


@pytest.fixture
def filmed(tmp_path: Path) -> Path:
    """A ramp whose frame t is of one grey, 8 t, as a dataset of LeRobot with one film."""
    run = write(tmp_path / "run", schema=coarse())
    return sandbox.export(run, "lerobot", tmp_path / "film", video=True).path


def taken(folder: Path) -> sandbox.Dataset:
    return sandbox.Dataset(sandbox.import_run(folder, "lerobot", folder.parent / "back").path)


def grey_of(data: sandbox.Dataset) -> list[list[int]]:
    """For each episode, which t each frame is nearest to; refused if one is near to none."""
    found = list[list[int]]()
    for n in range(len(data)):
        means = data.rows(n, ["pixels"])["pixels"].mean(axis=(1, 2, 3))
        assert (np.abs(means - 8 * np.round(means / 8)) < 2).all()
        found.append(np.round(means / 8).astype(int).tolist())
    return found


RIGHT = [list(range(rows - 1)) for rows in LONG]


def wrong(ours: Any, theirs: Any) -> float:
    return float(((ours.astype(float) - theirs) ** 2).mean())


def psnr(ours: Any, theirs: Any) -> float:
    """The least of all frames [dB]."""
    every = [max(wrong(*both), 1e-9) for both in zip(ours, theirs, strict=True)]
    return float(10 * np.log10(255**2 / max(every)))


@pytest.mark.parametrize("several", [False, True])
def test_frame_t_of_an_episode_comes_back_as_frame_t(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, several: bool
) -> None:
    if several:
        monkeypatch.setattr("sandbox.exports.lerobot.FILE_BYTES", 100_000)
    run = write(tmp_path / "run", schema=coarse())
    folder = sandbox.export(run, "lerobot", tmp_path / "film", video=True).path
    assert (len([*folder.rglob("*.mp4")]) > 2) == several
    data = taken(folder)
    assert data.lengths.tolist() == [rows - 1 for rows in LONG]
    assert grey_of(data) == RIGHT
    for n, rows in enumerate(LONG):
        one = data.rows(n)
        assert one["reward"].tolist() == [*range(rows - 1)]
        wanted = np.broadcast_to(8 * np.arange(rows - 1)[:, None, None, None], one["pixels"].shape)
        assert psnr(one["pixels"], wanted) > 40


def test_films_of_several_cameras_come_back_close_to_the_pictures(tmp_path: Path) -> None:
    wanted = recipe(
        "push_t", episodes=3, observation=["proprio", "pixels"], camera=["main", "finger"]
    )
    sandbox.generate(wanted, tmp_path / "run")
    folder = sandbox.export(tmp_path / "run", "lerobot", tmp_path / "film", video=True).path
    back, there = taken(folder), sandbox.Dataset(tmp_path / "run")
    assert len(back) == len(there) == 3
    for n in range(3):
        ours, theirs = back.rows(n), there.rows(n)
        for name, here in (("pixels.main", "pixels"), ("pixels.finger", "pixels.finger")):
            assert ours[here].shape == theirs[name][:-1].shape
            assert psnr(ours[here], theirs[name][:-1]) > 25
            assert wrong(ours[here], theirs[name][:-1]) < wrong(ours[here], theirs[name][1:])
            assert wrong(ours[here], theirs[name][:-1]) < wrong(ours[here][1:], theirs[name][:-2])
        assert np.array_equal(ours["proprio"], theirs["proprio"][:-1])


def test_what_is_not_exact_is_marked(filmed: Path) -> None:
    done = cli("import", filmed, "--from", "lerobot", "--out", filmed.parent / "back")
    assert done.returncode == 0, done.stderr
    assert f"pixels: {LOSSY}" in done.stdout
    told = jsonfile.read(filmed.parent / "back" / "imported.json").data
    assert told["lossy"] == {"pixels": LOSSY}
    assert {str(FILM), str(META)} <= {*told["files"]}
    report = sandbox.verify(filmed.parent / "back")
    assert report.kinds == {"import": 1}
    assert any(LOSSY in one for one in report.notes)
    exact = sandbox.export(filmed.parent / "run", "lerobot", filmed.parent / "exact").path
    back = sandbox.import_run(exact, "lerobot", filmed.parent / "exact-back")
    assert "lossy" not in jsonfile.read(back.path / "imported.json").data


def encoded(path: Path, frames: Sequence[int], codec: str = "libx264", **options: str) -> None:
    """Write a film of greys, of frames that `codec` orders as it likes."""
    size, rate = int(options.pop("size", "64")), int(options.pop("rate", "1"))
    with av.open(str(path), "w", format="mp4") as film:
        stream = film.add_stream(codec, rate, options=options)
        stream.height = stream.width = size
        stream.pix_fmt = "yuv420p"
        for t, grey in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.full((size, size, 3), grey, np.uint8), "rgb24")
            picture.pts, picture.time_base = t, Fraction(1, rate)
            film.mux(stream.encode(picture))
        film.mux(stream.encode())


GREYS = [8 * t for one in RIGHT for t in one]


@pytest.mark.parametrize(
    ("codec", "options"),
    [("libx264", {"bf": "3", "g": "250"}), ("libsvtav1", {"crf": "30", "g": "2"})],
)
def test_other_codecs_and_frames_that_are_stored_in_another_order_are_read(
    filmed: Path, codec: str, options: dict[str, str]
) -> None:
    encoded(filmed / FILM, GREYS, codec, **options)
    assert grey_of(taken(filmed)) == RIGHT


def test_frames_that_belong_to_no_episode_are_passed_over(filmed: Path) -> None:
    encoded(filmed / FILM, [200, 200, *GREYS, 200])
    spans(filmed, lambda n, start, end: (start + 2, end + 2))
    assert grey_of(taken(filmed)) == RIGHT


def spans(folder: Path, of: Callable[[int, float, float], tuple[float, float]]) -> None:
    """Let each episode lie elsewhere in its film."""
    table = parquet.read_table(folder / META)
    names = [f"videos/{MAIN}/{end}_timestamp" for end in ("from", "to")]
    both = [table.column(name).to_pylist() for name in names]
    moved = [of(n, *one) for n, one in enumerate(zip(*both, strict=True))]
    for name, values in zip(names, zip(*moved, strict=True), strict=True):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(values, pa.float64()))
    parquet.write_table(table, folder / META)


def told(folder: Path, **changes: Any) -> None:
    info = folder / "meta" / "info.json"
    known = json.loads(info.read_text())
    known["features"][MAIN] |= changes
    info.write_text(json.dumps(known))


def column(folder: Path, file: Path, name: str, of: Callable[[list[Any]], list[Any]]) -> None:
    table = parquet.read_table(folder / file)
    place = table.schema.get_field_index(name)
    changed = pa.array(of(table.column(name).to_pylist()), table.schema.field(name).type)
    parquet.write_table(table.set_column(place, table.schema.field(name), changed), folder / file)


def later(folder: Path) -> None:
    spans(folder, lambda n, start, end: (start + (n == 2), end + (n == 2)))


def all_later(folder: Path) -> None:
    spans(folder, lambda n, start, end: (start + 1, end + 1))


def half_a_frame_later(folder: Path) -> None:
    spans(folder, lambda n, start, end: (start + 0.5, end + 0.5))


def longer(folder: Path) -> None:
    spans(folder, lambda n, start, end: (start, end + (n == 1)))


def nowhere(folder: Path) -> None:
    spans(folder, lambda n, start, end: (float("nan"), end))


def twice(folder: Path) -> None:
    spans(folder, lambda n, start, end: (start, end) if n != 1 else (0.0, end - start))


def fewer_frames(folder: Path) -> None:
    encoded(folder / FILM, GREYS[:-1])


def double_rate(folder: Path) -> None:
    encoded(folder / FILM, np.repeat(GREYS, 2).tolist(), rate="2")


def other_times(folder: Path) -> None:
    column(folder, DATA, "timestamp", lambda all: [t + (n == 30) for n, t in enumerate(all)])


def other_episodes(folder: Path) -> None:
    column(folder, META, "episode_index", lambda all: [1, 0, *all[2:]])


def other_file(folder: Path) -> None:
    column(folder, META, f"videos/{MAIN}/file_index", lambda all: [*all[:-1], 7])


def no_file(folder: Path) -> None:
    column(folder, META, f"videos/{MAIN}/file_index", lambda all: [*all[:-1], -1])


def fewer_episodes(folder: Path) -> None:
    parquet.write_table(parquet.read_table(folder / META).slice(0, 3), folder / META)


def more_episodes(folder: Path) -> None:
    table = parquet.read_table(folder / META)
    parquet.write_table(pa.concat_tables([table, table.slice(6)]), folder / META)


def no_places(folder: Path) -> None:
    (folder / META).unlink()


def other_size(folder: Path) -> None:
    encoded(folder / FILM, GREYS, size="32")


def other_shape(folder: Path) -> None:
    told(folder, shape=[32, 64, 3])


def other_codec(folder: Path) -> None:
    encoded(folder / FILM, GREYS, "mpeg4")


def text(folder: Path) -> None:
    (folder / FILM).write_text("no film")


def empty(folder: Path) -> None:
    (folder / FILM).write_bytes(b"")


def cut(folder: Path) -> None:
    (folder / FILM).write_bytes((folder / FILM).read_bytes()[:-3000])


def holed(folder: Path) -> None:
    film = (folder / FILM).read_bytes()
    place = film.index(b"mdat") + 900
    (folder / FILM).write_bytes(film[:place] + b"\xff" * 400 + film[place + 400 :])


def link(folder: Path) -> None:
    (folder / FILM).rename(folder / "mine.mp4")
    (folder / FILM).symlink_to(folder / "mine.mp4")


def folder_link(folder: Path) -> None:
    (folder / "videos").rename(folder / "mine")
    (folder / "videos").symlink_to(folder / "mine")


def bomb(folder: Path) -> None:
    """Let the film claim 50 million frames: 3.6 GB of places, of a few bytes."""
    film, many = bytearray((folder / FILM).read_bytes()), 50_000_000
    for name, place, fields in (
        (b"stsz", 8, struct.pack(">II", 1, many)),
        (b"stts", 12, struct.pack(">I", many)),
        (b"stsc", 16, struct.pack(">I", many)),
    ):
        at = film.index(name) + place
        film[at : at + len(fields)] = fields
    (folder / FILM).write_bytes(film)


HARMS = {
    later: "next frame stands at 27",
    all_later: "ends before 71",
    half_a_frame_later: "next frame stands at 1",
    longer: "episode 1 takes 3",
    nowhere: "from nan to",
    twice: "next frame stands at 5",
    fewer_frames: "ends before 70",
    double_rate: r"stands at 0\.5000 s, and one is due at 1\.0",
    other_times: "timestamps of episode 3",
    other_episodes: "has episode 1, where 0 of 7",
    other_file: "no such file",
    no_file: "is in file 0, -1",
    fewer_episodes: "has 3 episodes",
    more_episodes: "has episode 6, where 7 of 7",
    no_places: "has 0 files",
    other_size: r"has frames of \(32, 32\)",
    other_shape: r"its description says \(32, 64\)",
    other_codec: "its codec is mpeg4",
    text: "cannot be read as a film",
    empty: "cannot be read as a film",
    cut: "cannot be read as a film",
    holed: "film",
    link: "is a link",
    folder_link: "is a link",
    bomb: "film",
}


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_a_film_of_a_stranger_is_refused_in_one_line(
    harm: Callable[[Path], None], filmed: Path
) -> None:
    harm(filmed)
    with pytest.raises(FormatError, match=HARMS[harm]) as error:
        taken(filmed)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(filmed))
    assert not (filmed.parent / "back").exists()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert children.ru_maxrss >> 10 < 1500, "MiB"


def test_a_film_that_is_damaged_anywhere_ends_in_a_line_or_in_frames(filmed: Path) -> None:
    whole, chance = (filmed / FILM).read_bytes(), random.Random(1)
    for number in range(25):
        film = bytearray(whole)
        for _ in range(chance.choice((1, 30))):
            film[chance.randrange(len(film))] ^= 1 << chance.randrange(8)
        (filmed / FILM).write_bytes(film)
        done = cli("import", filmed, "--from", "lerobot", "--out", filmed.parent / f"back{number}")
        assert done.returncode == 0 or done.stderr.count("\n") == 1, done.stderr


def test_a_feature_whose_name_leads_elsewhere_is_left_out(filmed: Path) -> None:
    info = filmed / "meta" / "info.json"
    known = json.loads(info.read_text())
    known["features"]["../../secret"] = known["features"][MAIN]
    known["features"]["observation.images.depth"] = {"dtype": "video", "shape": [64, 64, 1]}
    info.write_text(json.dumps(known))
    done = sandbox.import_run(filmed, "lerobot", filmed.parent / "back")
    assert done.left_out["../../secret"] == "no folder can have its name"
    assert "are not read" in done.left_out["observation.images.depth"]


def test_an_episode_that_would_not_fit_into_memory_is_refused(
    filmed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.imports.lerobot.MOST_BYTES", 64 * 64 * 3 * 20)
    with pytest.raises(FormatError, match="episode 5 has more than 245,760 bytes"):
        taken(filmed)


MEMORY = """
import resource, sys
import sandbox
sandbox.import_run(sys.argv[1], "lerobot", sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


def test_memory_grows_with_an_episode_and_not_with_the_film(tmp_path: Path) -> None:
    """Episodes of 6 MB of frames: 30 of them are read in the memory that 3 are."""
    schema, used = coarse(size=256), list[int]()
    for count in (3, 30):
        shards = tmp_path / f"run{count}" / "shards"
        shards.mkdir(parents=True)
        writer = ShardWriter(shards / "shard-00000.h5", schema, {}, sync=False)
        for number in range(count):
            writer.append(ramp(number, 31, schema=schema))
        writer.close()
        film, back = tmp_path / f"film{count}", tmp_path / f"back{count}"
        sandbox.export(shards.parent, "lerobot", film, video=True)
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(film), str(back)],
            capture_output=True,
            text=True,
            check=True,
        )
        used.append(int(done.stdout))
    assert used[1] - used[0] < 60, used
