"""The packages that formats are for read exports back: each value, and by the ramp each row.

`make readers` runs this, in a .venv of its own.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ramps import LENGTHS, SCHEMA, coarse, write
from running import recipe

import sandbox
from sandbox.exports.registry import FORMATS

pytestmark = pytest.mark.filterwarnings("default")  # What these packages say when imported.
LONG = [rows for rows in LENGTHS if rows > 1]  # Most formats have no episode without a step.


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_HOME", str(tmp_path / "home"))


@pytest.fixture(params=["copy", "view", "moved"])
def exported(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Return a function that exports a ramp run; a view is read where it was moved to, too."""
    run = write(tmp_path / "there" / "run")

    def export(to: str, name: str) -> Path:
        out = tmp_path / "there" / name
        if request.param == "copy":
            return sandbox.export(run, to, out).path
        sandbox.view(run, to, out, plugin=True)
        if request.param == "view":
            return out
        shutil.move(tmp_path / "there", tmp_path / "elsewhere")
        return tmp_path / "elsewhere" / name

    return export


def frames(first: int, count: int) -> Any:
    """The pictures of rows of a ramp."""
    made = np.empty((count, 4, 6, 3), np.uint8)
    made[:] = np.arange(first, first + count)[:, None, None, None] + np.array([1, 2, 3])
    made[:, 2, 5] = 255
    return made


def test_stable_worldmodel_reads_the_ramp(exported: Any) -> None:
    from stable_worldmodel.data import load_dataset

    read = load_dataset(str(exported("swm", "ramp.h5")))
    assert [*read.lengths] == [*LENGTHS]
    assert {*read.column_names} == {*SCHEMA.names}
    for n, rows in enumerate(LENGTHS):
        episode = {name: np.asarray(value) for name, value in read.load_episode(n).items()}
        assert np.array_equal(episode["pixels"], np.moveaxis(frames(0, rows), -1, 1))
        assert np.array_equal(episode["reward"], np.arange(rows))
        action = episode["action"]
        assert np.array_equal(action[:-1], np.repeat(np.arange(rows - 1.0), 2).reshape(-1, 2))
        assert np.isnan(action[-1]).all()
        assert np.array_equal(episode["truncated"], np.arange(rows) == rows - 1)
        assert np.array_equal(episode["episode_idx"], np.full(rows, n))


def test_anygoal_finds_the_layout_valid(exported: Any) -> None:
    """AnyGoal's data are files of stable-worldmodel's layout, whose loader reads them."""
    from anygoal.datasets.validation import validate_hdf5

    found = validate_hdf5(exported("swm", "ramp.h5"))
    assert (found.valid, [*found.issues]) == (True, [])
    assert (found.rows, found.episodes) == (sum(LENGTHS), len(LENGTHS))
    assert {*SCHEMA.names} < {*found.keys}


def test_minari_reads_the_ramp(exported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import hdf5plugin  # noqa: F401 - The view leads to pictures that are compressed by Zstd.
    import minari

    path = exported("minari", "ramp-v0")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(path.parent))
    read = minari.load_dataset("ramp-v0")
    assert (read.total_episodes, read.total_steps) == (len(LONG), sum(LONG) - len(LONG))
    for episode, rows in zip(read.iterate_episodes(), LONG, strict=True):
        t = np.arange(rows)
        assert np.array_equal(episode.observations["pixels"], frames(0, rows))
        assert np.array_equal(episode.actions, np.repeat(t[:-1], 2).reshape(-1, 2))
        assert np.array_equal(episode.rewards, t[1:])  # For the step from t: of arriving at t + 1.
        assert not episode.terminations.any()
        assert np.array_equal(episode.truncations, t[1:] == rows - 1)
        assert read.observation_space.contains(
            {name: values[0] for name, values in episode.observations.items()}
        )
    assert [one["total_steps"] for one in read.storage.get_episode_metadata(range(2))] == [5, 2]


@pytest.mark.parametrize("cache", [None, "low_dim", "all"])
def test_robomimic_reads_the_ramp(exported: Any, cache: str | None) -> None:
    import hdf5plugin  # noqa: F401
    import robomimic.utils.obs_utils as keys
    from robomimic.utils.dataset import SequenceDataset

    keys.initialize_obs_utils_with_obs_specs([{"obs": {"rgb": ["pixels"]}}])
    path = exported("robomimic", "ramp.hdf5")
    names = ("actions", "rewards", "dones")
    read = SequenceDataset(str(path), ["pixels"], names, seq_length=2, hdf5_cache_mode=cache)
    starts = [(rows, t) for rows in LONG for t in range(rows - 1)]
    assert len(read) == len(starts)
    for n, (rows, t) in enumerate(starts):
        item, last = read[n], min(t + 1, rows - 2)
        assert np.array_equal(item["actions"], [[t, t], [last, last]])
        assert np.array_equal(item["rewards"], [t + 1, last + 1])
        assert not np.asarray(item["dones"]).any()
        for group, first in (("obs", t), ("next_obs", t + 1)):
            seen = np.asarray(item[group]["pixels"])
            assert np.array_equal(seen[0], frames(first, 1)[0])
            assert np.array_equal(seen[1], frames(first + last - t, 1)[0])


def test_hugging_face_reads_the_ramp(tmp_path: Path) -> None:
    from datasets import load_dataset

    run = write(tmp_path / "run")
    out = sandbox.export(run, "hf", tmp_path / "ramp").path
    read = load_dataset(str(out), cache_dir=str(tmp_path / "cache"))["train"].with_format("numpy")
    assert len(read) == sum(LENGTHS)
    t = np.concatenate([np.arange(rows) for rows in LENGTHS])
    assert np.array_equal(read["reward"][:], t)
    assert np.array_equal(read["episode"][:], np.repeat(np.arange(len(LENGTHS)), LENGTHS))
    assert {*read.column_names} == {*SCHEMA.names, "episode"}
    for place, picture in enumerate(read["pixels"]):
        assert np.array_equal(picture, frames(int(t[place]), 1)[0])
    ends = np.cumsum(LENGTHS) - 1
    action = np.stack(list(read["action"]))
    assert np.isnan(action[ends]).all()
    kept = np.delete(np.arange(len(t)), ends)
    assert np.array_equal(action[kept], np.repeat(t[kept], 2).reshape(-1, 2))
    assert np.array_equal(read["truncated"][:].nonzero()[0], ends)


def test_hugging_face_has_splits_and_arrays_of_two_dimensions(tmp_path: Path) -> None:
    from episodes import SCHEMA as PLAIN
    from episodes import record, run

    from datasets import load_dataset
    from sandbox.trajectory import Column, Schema

    schema = Schema((*PLAIN.columns, Column("state_of", "float32", (2, 3), "", "1")))
    records = [record("a" * 64, n, split=("train", "far")[n % 2]) for n in range(4)]
    made = run(tmp_path / "run", records, schema=schema)
    out = sandbox.export(made, "hf", tmp_path / "hf").path
    read = load_dataset(str(out), cache_dir=str(tmp_path / "cache")).with_format("numpy")
    data = sandbox.Dataset(made)
    for split, numbers in (("train", (0, 2)), ("far", (1, 3))):
        rows = [data.rows(n, ("state", "state_of")) for n in numbers]
        for name in ("state", "state_of"):
            expected = np.concatenate([one[name] for one in rows])
            assert np.array_equal(np.stack(list(read[split][name])), expected)


def test_webdataset_reads_the_ramp(tmp_path: Path) -> None:
    import webdataset

    out = sandbox.export(write(tmp_path / "run"), "webdataset", tmp_path / "ramp").path
    files = [str(one) for one in sorted(out.glob("*.tar"))]
    read = [*webdataset.WebDataset(files, shardshuffle=False).decode()]
    assert [len(sample["reward.npy"]) for sample in read] == [*LENGTHS]
    for rows, sample in zip(LENGTHS, read, strict=True):
        t = np.arange(rows)
        assert np.array_equal(sample["pixels.npy"], frames(0, rows))
        assert np.array_equal(sample["reward.npy"], t)
        assert np.array_equal(sample["action.npy"][:-1], np.repeat(t[:-1], 2).reshape(-1, 2))
        assert np.isnan(sample["action.npy"][-1]).all()
        assert sample["json"]["rows"] == rows


@pytest.mark.parametrize("compact", [False, True])
def test_ogbench_reads_the_ramp(compact: bool, tmp_path: Path) -> None:
    from ogbench.utils import load_dataset

    out = sandbox.export(write(tmp_path / "run"), "ogbench", tmp_path / "ramp.npz").path
    read = load_dataset(str(out), ob_dtype=np.uint8, compact_dataset=compact)
    steps = np.concatenate([np.arange(rows - 1) for rows in LONG])
    if compact:
        kept = read["valids"] == 1
        seen, after = read["observations"][kept], np.roll(read["observations"], -1, axis=0)[kept]
    else:
        kept = np.ones(len(steps), bool)
        seen, after = read["observations"], read["next_observations"]
    assert np.array_equal(seen[:, 0, 0, 0], steps + 1)
    assert np.array_equal(after[:, 0, 0, 0], steps + 2)
    assert np.array_equal(read["actions"][kept], np.repeat(steps, 2).reshape(-1, 2))
    last = np.cumsum(np.array(LONG) - 1) - 1
    assert np.array_equal(read["terminals"][kept].nonzero()[0], last)


def test_lance_has_the_ramp_for_pylance_and_stable_worldmodel(tmp_path: Path) -> None:
    import io

    import lance
    from PIL import Image
    from stable_worldmodel.data import load_dataset

    out = sandbox.export(write(tmp_path / "run"), "lance", tmp_path / "ramp.lance").path
    table = lance.dataset(str(out)).to_table().to_pydict()
    t = np.concatenate([np.arange(rows) for rows in LENGTHS])
    assert table["reward"] == table["step_idx"] == t.tolist()
    assert table["episode_idx"] == np.repeat(np.arange(len(LENGTHS)), LENGTHS).tolist()
    for row, blob in zip(t, table["pixels"], strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(blob))), frames(int(row), 1)[0])
    read = load_dataset(str(out))
    assert [*read.lengths] == [*LENGTHS]
    for n, rows in enumerate(LENGTHS):
        episode = {name: np.asarray(value) for name, value in read.load_episode(n).items()}
        assert np.array_equal(episode["pixels"], np.moveaxis(frames(0, rows), -1, 1))
        assert np.array_equal(episode["reward"], np.arange(rows))
        steps = np.repeat(np.arange(rows - 1), 2).reshape(-1, 2)
        assert np.array_equal(episode["action"][:-1], steps)
        assert np.isnan(episode["action"][-1]).all()


FULL = """
import resource, sys, sandbox
sys.dont_write_bytecode = True  # Else what is compiled would be cut, too.
run = sandbox.Dataset(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    sandbox.export(run, sys.argv[2], sys.argv[3])
except sandbox.errors.SandboxError as error:
    sys.exit(str(error))
"""
KILLED = """
import os, signal, sys, sandbox
stop = lambda done, total: done == 4 and os.kill(os.getpid(), signal.SIGKILL)
sandbox.export(*sys.argv[1:], progress=stop)
"""


@pytest.mark.parametrize("to", ["hf", "lerobot", "lance"])
def test_a_full_disk_and_a_kill_leave_nothing_half(to: str, tmp_path: Path) -> None:
    run, out = write(tmp_path / "run"), tmp_path / "out" / f"ramp{FORMATS[to].ending}"
    for code in (FULL, KILLED):
        words = [sys.executable, "-c", code, str(run), to, str(out)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert not out.exists()
        if code == FULL:
            assert "cannot be written: " in done.stderr
            assert done.stderr.count("\n") == 1, done.stderr
            left = [f".{out.name}.exporting"] * (to != "lance")  # It is one table, made again.
            assert [one.name for one in out.parent.iterdir()] == left
    assert sandbox.export(run, to, out).episodes >= len(LONG)
    assert [*out.parent.iterdir()] == [out]


STOPPED = """
import os, signal, sys, sandbox
from sandbox.exports import hf, lerobot
hf.FILE_BYTES, lerobot.FILE_BYTES = 3_000, 3_000
stop = lambda done, total: done == 4 and os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":
    sandbox.export(*sys.argv[1:4], workers=int(sys.argv[4]), progress=stop)
"""


@pytest.mark.parametrize("to", ["hf", "lerobot"])
def test_the_same_export_has_the_same_bytes_whoever_writes_and_is_killed(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.exports.hf.FILE_BYTES", 3_000)
    monkeypatch.setattr("sandbox.exports.lerobot.FILE_BYTES", 3_000)
    run = write(tmp_path / "run")
    paths = [sandbox.export(run, to, tmp_path / f"by{n}", workers=n).path for n in (1, 2)]
    for workers in ("1", "2"):
        out = tmp_path / f"killed{workers}"
        words = [sys.executable, "-c", STOPPED, str(run), to, str(out), workers]
        assert subprocess.run(words, check=False).returncode == -9
        paths.append(sandbox.export(run, to, out).path)
    files = [[one for one in sorted(path.rglob("*")) if one.is_file()] for path in paths]
    assert len(files[0]) > 3
    for one, *others in zip(*files, strict=True):
        assert all(one.read_bytes() == other.read_bytes() for other in others)


def test_what_is_known_of_an_episode_comes_along(tmp_path: Path) -> None:
    import h5py
    from episodes import record, run

    made = run(tmp_path / "run", [record("a" * 64, n, success=n == 1) for n in range(3)])
    out = sandbox.export(made, "robomimic", tmp_path / "all.hdf5").path
    with h5py.File(out) as file:
        assert [json.loads(one.attrs["sandbox"])["success"] for one in file["data"].values()] == [
            False,
            True,
            False,
        ]
        assert file["mask/train"][:].tolist() == [b"demo_0", b"demo_1", b"demo_2"]


def test_datasets_reads_shards_by_the_card_of_their_run(tmp_path: Path) -> None:
    import hdf5plugin  # noqa: F401 - Pictures are compressed by Zstd.

    from datasets import load_dataset

    run = tmp_path / "run"
    wanted = recipe(episodes=3, shard_episodes=2, observation=["proprio", "pixels"], labels=True)
    sandbox.generate(wanted, run)
    sandbox.card(run, license="cc-by-4.0", pictures=False)
    rows, place = load_dataset(str(run), cache_dir=str(tmp_path / "cache"))["train"], 0
    for episode in sandbox.open_run(run).episodes():
        for name, values in episode.rows.items():
            read = np.asarray(rows[place : place + len(values)][name], values.dtype)
            assert np.array_equal(read, values, equal_nan=values.dtype.kind == "f"), name
        place += len(episode.rows["reward"])
    assert len(rows) == place


def test_lerobot_comes_back_but_for_the_last_step(tmp_path: Path) -> None:
    run = write(tmp_path / "run")
    sandbox.export(run, "lerobot", tmp_path / "ramp")
    done = sandbox.import_run(tmp_path / "ramp", "lerobot", tmp_path / "back")
    back = sandbox.Dataset(done.path)
    assert {*back.schema.names} == {*SCHEMA.names}
    assert back.lengths.tolist() == [rows - 1 for rows in LONG]
    for n, rows in enumerate(LONG):
        one, t = back.rows(n), np.arange(rows - 1)
        assert np.array_equal(one["pixels"], frames(0, rows - 1))
        assert one["reward"].tolist() == t.tolist()
        assert np.array_equal(one["action"][:-1], np.repeat(t[:-1], 2).reshape(-1, 2))
        assert np.isnan(one["action"][-1]).all()
        assert one["truncated"].tolist() == (t == rows - 2).tolist()
        said = {"from": "lerobot", "hz": 1.0, "episode": n, "task": "task"}
        assert back.record(n).imported == said
    assert sandbox.verify(done.path).kinds == {"import": 1}


def test_an_import_is_exported_again_at_the_rate_that_it_had(tmp_path: Path) -> None:
    run = write(tmp_path / "run", schema=coarse())
    sandbox.export(run, "lerobot", tmp_path / "ramp")
    info = tmp_path / "ramp" / "meta" / "info.json"
    for fps, wanted in ((15, 15), (29.97, 30), (0.2, None), (1e9, None), (0.001, None)):
        info.write_text(json.dumps({**json.loads(info.read_text()), "fps": fps}))
        out = tmp_path / str(fps)
        if not 0.01 <= fps <= 10_000:
            with pytest.raises(sandbox.errors.FormatError, match="fps: must be at"):
                sandbox.import_run(tmp_path / "ramp", "lerobot", out / "back")
            continue
        back = sandbox.import_run(tmp_path / "ramp", "lerobot", out / "back").path
        if wanted is None:
            with pytest.raises(sandbox.errors.InvalidInputError, match="whole frames a second"):
                sandbox.export(back, "lerobot", out / "again")
            continue
        for video in (False, True):
            again = sandbox.export(back, "lerobot", out / f"again{video}", video=video).path
            assert json.loads((again / "meta" / "info.json").read_text())["fps"] == wanted


def damaged(folder: Path, harm: str) -> None:
    """Make an export of LeRobot's format something that must be refused."""
    import pyarrow as pa
    from pyarrow import parquet

    info, data = folder / "meta" / "info.json", folder / "data" / "chunk-000" / "file-000.parquet"
    told, table = json.loads(info.read_text()), parquet.read_table(data)
    place = table.schema.get_field_index("observation.images.main")
    if harm == "size":
        told["features"]["observation.images.main"]["shape"] = [4, 5, 3]
    elif harm == "count":
        told["total_frames"] += 1
    elif harm == "old":
        told["codebase_version"] = "v2.1"
    elif harm == "cut":
        data.write_bytes(data.read_bytes()[:-20])
    elif harm in ("elsewhere", "kind"):
        cell = {"bytes": None, "path": "/etc/passwd"}
        cells = [cell if harm == "elsewhere" else {"bytes": b"x", "path": None}] * len(table)
        kind = table.schema.field(place).type
        table = table.set_column(place, table.schema.field(place), pa.array(cells, kind))
        parquet.write_table(table, data)
    elif harm == "wide":
        told["features"]["observation.wide"] = {"dtype": "float32", "shape": [1 << 30]}
    elif harm == "link":
        data.parent.rename(folder / "elsewhere")
        data.parent.symlink_to(folder / "elsewhere")
    elif harm == "order":
        parquet.write_table(table.take([1, 0, *range(2, len(table))]), data)
    info.write_text(json.dumps(told))


BOMB = """
import resource, sys
import numpy as np, pyarrow as pa
from pathlib import Path
from pyarrow import parquet
import sandbox
folder, what = Path(sys.argv[1]), sys.argv[2]
name = {"picture": "data/chunk-000/file-000.parquet", "text": "meta/tasks.parquet"}[what]
table = parquet.read_table(folder / name)
rows = len(table) if what == "picture" else 5000
big = pa.array([bytes(20 << 20)] if what == "picture" else ["x" * (20 << 20)])
packed = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), big)
if what == "picture":
    cells = pa.StructArray.from_arrays([packed, pa.nulls(rows, pa.string())], ["bytes", "path"])
    table = table.set_column(table.schema.names.index(sys.argv[3]), sys.argv[3], cells)
else:
    table = pa.table({"task_index": np.arange(rows), "task": packed})
parquet.write_table(table, folder / name, compression="zstd", store_schema=False)
assert (folder / name).stat().st_size < 200_000
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    run = sandbox.import_run(folder, "lerobot", folder / "back").path
    print(len(sandbox.Dataset(run).record(0).imported["task"]))
except sandbox.errors.FormatError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, "KB")
"""


@pytest.mark.parametrize("what", ["picture", "text"])
def test_what_is_stored_once_for_many_rows_is_not_unpacked_for_each(
    what: str, tmp_path: Path
) -> None:
    """20 MiB for each of 78 rows are 1.6 GB, and for each of 5,000 tasks 100 GB."""
    sandbox.export(write(tmp_path / "run"), "lerobot", tmp_path / "ramp")
    words = [sys.executable, "-c", BOMB, tmp_path / "ramp", what, "observation.images.main"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    said, memory = done.stdout.splitlines() or (done.stderr, "")
    assert ("a picture has 20,971,520 bytes" in said) if what == "picture" else said == "2000"
    assert int(memory.removesuffix(" KB")) < 400_000


HARMS = {
    "size": "a picture has",
    "count": "its files have",
    "old": "codebase_version",
    "cut": "cannot be read as Parquet",
    "elsewhere": "a picture is not in the file",
    "kind": "a picture is no PNG",
    "wide": "ramp: a row has",
    "link": "is a link",
    "order": "do not count from 0",
}


@pytest.mark.parametrize("harm", HARMS)
def test_lerobot_of_a_stranger_is_refused_in_one_line(harm: str, tmp_path: Path) -> None:
    sandbox.export(write(tmp_path / "run"), "lerobot", tmp_path / "ramp")
    damaged(tmp_path / "ramp", harm)
    with pytest.raises(sandbox.errors.SandboxError, match=HARMS[harm]) as error:
        sandbox.import_run(tmp_path / "ramp", "lerobot", tmp_path / "back")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "back" / "manifest.json").exists()


def test_films_are_said_to_be_inexact_and_refused_where_they_cannot_be(tmp_path: Path) -> None:
    run = write(tmp_path / "run", schema=coarse())
    done = sandbox.export(run, "lerobot", tmp_path / "film", video=True)
    assert done.notes == ("pixels as films: H.264 at CRF 18, 4:2:0: pixels are not exact.",)
    odd = write(tmp_path / "odd", schema=coarse(size=63))
    for path, to, said in ((odd, "lerobot", "an even height"), (run, "hf", "hf has no films")):
        with pytest.raises(sandbox.errors.SandboxError, match=said):
            sandbox.export(path, to, tmp_path / "none", video=True)
    assert not [*tmp_path.glob("*none*")]


NOISE = """
import resource, sys
from pathlib import Path
import numpy as np
from sandbox.exports.film import Film
sys.dont_write_bytecode = True
made = Film(Path(sys.argv[1]), 10, (64, 64))
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
try:
    made.add(np.random.default_rng(0).integers(0, 256, (200, 64, 64, 3), np.uint8))
    made.close()
except OSError as error:
    sys.exit(str(error))
"""


def test_a_full_disk_while_a_film_is_written_is_said(tmp_path: Path) -> None:
    words = [sys.executable, "-c", NOISE, str(tmp_path / "noise.mp4")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stderr.strip().endswith("[Errno 27] File too large"), done.stderr
    run, out = write(tmp_path / "run", schema=coarse()), tmp_path / "out" / "film"
    code = FULL.replace("(2000, 2000)", "(9000, 9000)").replace("[3])", "[3], video=True)")
    words = [sys.executable, "-c", code, str(run), "lerobot", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "cannot be written: " in done.stderr, done.stderr
    assert not out.exists()
    sandbox.export(run, "lerobot", out, video=True)
    assert [*out.parent.iterdir()] == [out]
