"""Exports: what is where, row by row; what is refused, in one line.

That the packages themselves read them is tested in tests/readers, in an environment of its own.
"""

import io
import json
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import episodes
import h5py
import hdf5plugin  # noqa: F401 - Pictures in shards are compressed by Zstd.
import numpy as np
import pytest
import torch
from handed import LONG, NAMES
from ramps import LENGTHS, SCHEMA, write
from running import cli

import sandbox
from sandbox.errors import InvalidInputError, SandboxError
from sandbox.exports.registry import FORMATS
from sandbox.trajectory import Column, Schema

VIEWS = [name for name, one in FORMATS.items() if "view" in one.kinds]


def made(run: Any, to: str, folder: Path, kind: str, **options: Any) -> Path:
    """Export or view a run under a name that the format allows."""
    if kind == "copy":
        return sandbox.export(run, to, folder / NAMES[to], **options).path
    return sandbox.view(run, to, folder / NAMES[to], plugin=True, **options).path


def steps(rows: int) -> Any:
    """The actions of an episode of the ramp: at row t, t."""
    return np.repeat(np.arange(rows - 1.0, dtype=np.float32), 2).reshape(-1, 2)


@pytest.mark.parametrize("kind", ["copy", "view"])
def test_swm_has_our_rows_in_one_file(kind: str, ramped: Path, tmp_path: Path) -> None:
    path = made(ramped, "swm", tmp_path, kind)
    with h5py.File(path) as file:
        assert {*file} == {*SCHEMA.names, "ep_len", "ep_offset"}
        assert file.attrs["schema"] == b"stable-worldmodel-hdf5-v1"
        assert file["ep_len"][:].tolist() == [*LENGTHS]
        assert file["ep_offset"][:].tolist() == [*(np.cumsum(LENGTHS) - LENGTHS)]
        t = np.concatenate([np.arange(rows) for rows in LENGTHS])
        for name in ("reward", "step_idx"):
            assert np.array_equal(file[name][:], t)
        assert np.array_equal(file["pixels"][:, 0, 0], t[:, None] + [1, 2, 3])
        assert np.isnan(file["action"][:]).all(axis=1).nonzero()[0].tolist() == [
            *(np.cumsum(LENGTHS) - 1)
        ]
        assert file["pixels"].is_virtual == (kind == "view")


@pytest.mark.parametrize("kind", ["copy", "view"])
def test_minari_has_what_each_step_did_and_gave(kind: str, ramped: Path, tmp_path: Path) -> None:
    data = made(ramped, "minari", tmp_path, kind) / "data"
    told = json.loads((data / "metadata.json").read_text())
    assert (told["total_episodes"], told["total_steps"]) == (len(LONG), sum(LONG) - len(LONG))
    assert (told["jpeg_encoding"], told["dataset_id"]) == (False, "ramp-v0")
    box = json.loads(told["observation_space"])["subspaces"]["pixels"]
    assert (box["dtype"], box["shape"]) == ("uint8", [4, 6, 3])
    with h5py.File(data / "main_data.hdf5") as file:
        assert len(file) == len(LONG)
        for n, rows in enumerate(LONG):
            one, t = file[f"episode_{n}"], np.arange(rows)
            assert one["observations/pixels"][:, 0, 0, 0].tolist() == (t + 1).tolist()
            assert np.array_equal(one["actions"][:], steps(rows))
            assert one["rewards"][:].tolist() == t[1:].tolist()
            assert one["truncations"][:].tolist() == [*[False] * (rows - 2), True]
            assert one["terminations"].dtype == np.bool_
            assert (one.attrs["id"], one.attrs["total_steps"]) == (n, rows - 1)


@pytest.mark.parametrize("kind", ["copy", "view"])
def test_robomimic_has_steps_with_what_is_seen_after(
    kind: str, ramped: Path, tmp_path: Path
) -> None:
    with h5py.File(made(ramped, "robomimic", tmp_path, kind)) as file:
        assert file["data"].attrs["total"] == sum(LONG) - len(LONG)
        assert json.loads(file["data"].attrs["env_args"])["type"] == 2
        for n, rows in enumerate(LONG):
            one, t = file[f"data/demo_{n}"], np.arange(rows - 1)
            assert one.attrs["num_samples"] == rows - 1
            assert one["obs/pixels"][:, 0, 0, 0].tolist() == (t + 1).tolist()
            assert one["next_obs/pixels"][:, 0, 0, 0].tolist() == (t + 2).tolist()
            assert np.array_equal(one["actions"][:], steps(rows))
            assert one["rewards"][:].tolist() == (t + 1).tolist()
            assert not one["dones"][:].any()


@pytest.mark.parametrize("to", VIEWS)
def test_a_view_has_what_the_copy_has_wherever_both_are_moved(
    to: str, ramped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "a %d b" / "there"
    shutil.copytree(ramped, there / "run")
    columns = ("pixels", "action", "reward", "terminated", "truncated")
    copy = made(there / "run", to, tmp_path / "copy", "copy", columns=columns)
    view = made(there / "run", to, there / "run" / "views", "view", columns=columns)
    moved = tmp_path / "moved %s"
    shutil.move(there, moved)
    monkeypatch.chdir(tmp_path)
    values = contents(view.relative_to(there), moved)
    assert values == contents(copy.relative_to(tmp_path / "copy"), copy.parents[0])
    assert len(values) > 5
    written = [one for one in (moved / view.relative_to(there)).rglob("*") if one.is_file()]
    for one in written or [moved / view.relative_to(there)]:
        assert one.suffix == ".json" or not one.stat().st_mode & 0o222


def contents(name: Path, folder: Path) -> dict[str, bytes]:
    """The values of all arrays in an export's HDF5 file, by their place."""
    path = folder / name
    path = path if path.is_file() else path / "data" / "main_data.hdf5"
    found: dict[str, bytes] = {}

    def visit(place: str, one: Any) -> None:
        if isinstance(one, h5py.Dataset):
            found[place] = one.dtype.str.encode() + bytes(one.shape) + one[()].tobytes()

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


@pytest.mark.parametrize(
    ("to", "kind"), [*((to, "copy") for to in NAMES), *((to, "view") for to in VIEWS)]
)
def test_the_same_export_has_the_same_bytes(
    to: str, kind: str, ramped: Path, tmp_path: Path
) -> None:
    paths = [made(ramped, to, tmp_path / name, kind) for name in ("one", "two")]
    files = [[path, *sorted(path.rglob("*"))] for path in paths]
    for one, two in zip(*files, strict=True):
        assert one.is_dir() or one.read_bytes() == two.read_bytes()


def test_dreamer_has_chunks_that_follow_each_other(tmp_path: Path) -> None:
    """As its replay buffer reads them: the name has time, id, next id and length."""
    schema = Schema((Column("pixels.left", "uint8", (2, 2, 3), "", "1"), *episodes.SCHEMA.columns))
    records = [episodes.record("a" * 64, n) for n in range(3)]
    run = episodes.run(tmp_path / "run", records, lengths=(700, 900, 600), schema=schema)
    out = sandbox.export(run, "dreamer", tmp_path / "chunks").path
    chunks = {}
    for path in sorted(out.iterdir()):
        _, own, following, count = path.stem.split("-")
        chunks[own] = (following, int(count), dict(np.load(path)))
    order = ["0" * 21 + digit for digit in "123"]
    assert [*chunks] == order
    assert [chunks[one][0] for one in order] == [*order[1:], "0" * 22]
    assert [chunks[one][1] for one in order] == [1024, 1024, 152]
    for n, one in enumerate(order):
        ids = chunks[one][2]["stepid"]
        assert ids[5].tobytes() == (n + 1).to_bytes(16, "big") + (5).to_bytes(4, "big")
    rows = {
        name: np.concatenate([chunks[one][2][name] for one in order])
        for name in chunks[order[0]][2]
    }
    t = np.concatenate([np.arange(rows) for rows in (700, 900, 600)])
    ends = np.cumsum((700, 900, 600)) - 1
    assert {*rows} == {
        *("image.left", "action", "reward", "is_first", "is_last", "is_terminal", "stepid")
    }
    assert (rows["reward"].dtype, rows["reward"].tolist()) == (np.float32, t.tolist())
    taken = np.where(np.isin(np.arange(len(t)), ends), 0, t)
    assert np.array_equal(rows["action"], np.repeat(taken, 2).reshape(-1, 2))
    assert rows["is_first"].nonzero()[0].tolist() == [0, 700, 1600]
    assert rows["is_last"].nonzero()[0].tolist() == ends.tolist()
    assert not rows["is_terminal"].any()
    data = sandbox.Dataset(run)
    seen = np.concatenate([data.rows(n, ["pixels.left"])["pixels.left"] for n in range(3)])
    assert np.array_equal(rows["image.left"], seen)


def test_tdmpc2_has_what_led_to_each_row(tmp_path: Path) -> None:
    records = [
        episodes.record("a" * 64, n, environment=("push_t", "pour")[n % 2]) for n in range(3)
    ]
    run = episodes.run(tmp_path / "run", records, lengths=(5,))
    sandbox.export(run, "tdmpc2", tmp_path / "a.pt")
    read = torch.load(tmp_path / "a.pt", weights_only=False)
    assert read.batch_size == (3, 5)
    t = np.arange(1.0, 5.0)
    for n in range(3):
        one = {name: value.numpy() for name, value in read[n].items()}
        assert np.array_equal(one["action"][1:], np.repeat(t - 1, 2).reshape(-1, 2))
        assert np.array_equal(one["reward"][1:], t)
        assert np.isnan(one["action"][0]).all()
        assert np.isnan(one["reward"][0])
        assert np.array_equal(one["obs"], sandbox.Dataset(run).rows(n)["state"])
        assert one["obs"].dtype == np.float32
    assert read["task"][:, 0].tolist() == [0, 1, 0]


def test_r2dreamer_has_what_its_buffer_samples_right(tmp_path: Path, ramped: Path) -> None:
    """R2-Dreamer's buffer is torchrl's, filled row by row; it moves the actions by one."""
    from torchrl.data.replay_buffers import LazyTensorStorage, ReplayBuffer
    from torchrl.data.replay_buffers.samplers import SliceSampler

    sandbox.export(ramped, "r2dreamer", tmp_path / "a.pt")
    read = torch.load(tmp_path / "a.pt", weights_only=False)
    assert read.batch_size == (sum(LONG),)
    t = np.concatenate([np.arange(rows) for rows in LONG])
    ends = np.isin(np.arange(len(t)), np.cumsum(LONG) - 1)
    assert read["image"][:, 0, 0, 0].tolist() == (t + 1).tolist()
    assert read["action"][:, 0].tolist() == np.where(ends, 0, t).tolist()
    assert (read["is_first"][:, 0].numpy() == (t == 0)).all()
    assert (read["is_last"][:, 0].numpy() == ends).all()
    assert not read["is_terminal"].any()
    slices = SliceSampler(
        num_slices=8, end_key=None, traj_key="episode", truncated_key=None, strict_length=True
    )
    storage = LazyTensorStorage(max_size=200, ndim=2)
    buffer = ReplayBuffer(storage=storage, sampler=slices, batch_size=8 * 4)
    for n in range(len(read)):
        buffer.extend(read[n : n + 1].unsqueeze(1))
    part = buffer.sample().view(-1, 4)
    seen, action = part["image"][:, 1:, 0, 0, 0].float() - 1, part["action"][:, :-1, 0]
    assert torch.equal(part["reward"][:, 1:, 0], seen)
    assert torch.equal(action, seen - 1)  # What led to the row.
    assert (part["episode"] == part["episode"][:, :1]).all()


def test_tdmpc2_refuses_episodes_of_several_lengths(ramped: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="these have 3 to 31 rows"):
        sandbox.export(ramped, "tdmpc2", tmp_path / "a.pt")
    assert [one.name for one in tmp_path.iterdir() if one.name != "home"] == []


def test_ogbench_has_one_observation_and_ends(ramped: Path, tmp_path: Path) -> None:
    done = sandbox.export(ramped, "ogbench", tmp_path / "a.npz")
    read = np.load(done.path)
    t = np.concatenate([np.arange(rows) for rows in LONG])
    ends = np.cumsum(LONG) - 1
    assert np.array_equal(read["observations"][:, 0, 0, 0], t + 1)
    assert read["terminals"].nonzero()[0].tolist() == ends.tolist()
    assert np.array_equal(read["actions"][:, 0], np.where(read["terminals"] == 1, 0, t))
    assert done.left_out["reward"].startswith("the format has one observation")


def test_webdataset_has_a_sample_for_each_episode(ramped: Path, tmp_path: Path) -> None:
    out = sandbox.export(ramped, "webdataset", tmp_path / "a").path
    with tarfile.open(out / "episodes-000000.tar") as tar:
        names = tar.getnames()
        assert len({name.partition(".")[0] for name in names}) == len(LENGTHS)
        for n, rows in enumerate(LENGTHS):
            member = tar.extractfile(f"{n:09d}.reward.npy")
            assert np.load(io.BytesIO(member.read())).tolist() == [*range(rows)]
            assert json.loads(tar.extractfile(f"{n:09d}.json").read())["rows"] == rows


def test_tar_files_have_a_size(
    ramped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.exports.webdataset.MOST_BYTES", 3_000)
    out = sandbox.export(ramped, "webdataset", tmp_path / "a").path
    files = sorted(out.iterdir())
    assert len(files) > 2
    names: list[str] = []
    for path in files:
        with tarfile.open(path) as tar:
            names += [name for name in tar.getnames() if name.endswith(".json")]
    assert names == [f"{n:09d}.json" for n in range(len(LENGTHS))]


def test_a_package_that_is_missing_is_named(
    ramped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.exports.export.find_spec", lambda package: None)
    with pytest.raises(SandboxError, match=r'pip install "worldmodel-sandbox\[export\]"'):
        sandbox.export(ramped, "hf", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_only_what_is_asked_for_is_exported(ramped: Path, tmp_path: Path) -> None:
    records = [
        episodes.record("a" * 64, n, policy="play" if n % 2 else "random", success=n > 2)
        for n in range(6)
    ]
    run = episodes.run(tmp_path / "run", records)
    out = tmp_path / "some.h5"
    asked = sandbox.Dataset(run, policy="play", where=lambda record: record.episode > 1)
    done = sandbox.export(asked, "swm", out, columns=["state"])
    with h5py.File(out) as file:
        assert {*file} == {"state", "ep_len", "ep_offset"}
        assert file["ep_len"][:].tolist() == [3, 4]
    assert (done.episodes, done.rows, done.kind) == (2, 7, "copy")
    assert done.left_out["reward"] == "it is not asked for"
    chosen = sandbox.Dataset([run, ramped], columns="common").select(policy="random")
    assert sandbox.view(chosen, "swm", tmp_path / "chosen.h5").episodes == 3


def test_episodes_without_a_step_are_left_out_and_counted(ramped: Path, tmp_path: Path) -> None:
    done = sandbox.export(ramped, "robomimic", tmp_path / "a.hdf5")
    assert (done.episodes, done.too_short) == (len(LONG), 1)


def test_robomimic_has_the_splits_as_masks(tmp_path: Path) -> None:
    records = [episodes.record("a" * 64, n, split="train" if n else "extra.far") for n in range(3)]
    run = episodes.run(tmp_path / "run", records)
    sandbox.export(run, "robomimic", tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5") as file:
        assert file["mask/train"][:].tolist() == [b"demo_1", b"demo_2"]
        assert file["mask/extra_far"][:].tolist() == [b"demo_0"]
        told = json.loads(file["data/demo_1"].attrs["sandbox"])
        environment = json.loads(file["data"].attrs["env_args"])
    assert environment["env_name"] == "sandbox:sandbox/PushT-v0"
    assert told["factors"] == {"t_mass_kg": 0.5, "t_color": [255, 99, 71]}
    assert (told["policy"], told["episode"], told["success"]) == ("random", 1, False)


def test_the_command_says_what_is_left_out(ramped: Path, tmp_path: Path) -> None:
    done = cli("export", ramped, "--to", "minari", "--out", tmp_path / "a-v0")
    assert done.returncode == 0, done.stderr
    assert "pixels as observations/pixels" in done.stdout
    assert "Left out: step_idx: it follows from the place of the row" in done.stdout
    assert "1 episodes, which have too few rows" in done.stdout
    told = cli("view", ramped, "--as", "swm", "--out", tmp_path / "a.h5", "--json")
    facts = json.loads(told.stdout)
    assert (facts["episodes"], facts["kind"], facts["left_out"]) == (len(LENGTHS), "view", {})


REFUSED = {
    "what exists": ("minari", "run-v0", {}, "exists already"),
    "a format that there is not": ("swn", "a.h5", {}, "Did you mean 'swm'"),
    "another ending": ("swm", "a.hdf5", {}, "must end in .h5"),
    "a name that Minari forbids": ("minari", "ramp", {}, "as ramp-v0"),
    "a column that there is not": ("swm", "a.h5", {"columns": ["pixel"]}, "no column is called"),
    "a column twice": ("swm", "a.h5", {"columns": ["reward"] * 2}, "name each once"),
    "no column": ("swm", "a.h5", {"columns": []}, "at least one"),
    "without actions": ("minari", "a-v0", {"columns": ["pixels"]}, "needs the column action"),
    "without observations": (
        *("robomimic", "a.hdf5", {"columns": ["action", "reward", "terminated"]}),
        "needs an observation",
    ),
    "a packing of no such name": ("swm", "a.h5", {"compression": "zip"}, "no compression"),
    "a packing that is not read": ("minari", "a-v0", {"compression": "zstd"}, "gzip and none"),
    "no episode": ("swm", "a.h5", {"policy": "play"}, "no record says its policy"),
    "a place inside the run": ("swm", "run/a.h5", {}, "whose files are not replaced or added to"),
    "another type": ("swm", 3, {}, "export: out must be"),
}


def exported(run: Path, to: str, out: Any, policy: str | None = None, **options: Any) -> None:
    sandbox.export(sandbox.Dataset(run, policy=policy) if policy else run, to, out, **options)


@pytest.mark.parametrize("what", REFUSED)
def test_it_refuses_in_one_line_and_writes_nothing(what: str, ramped: Path, tmp_path: Path) -> None:
    to, name, options, said = REFUSED[what]
    shutil.copytree(ramped, tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "run-v0").mkdir()
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / name if isinstance(name, str) else name
    with pytest.raises(SandboxError, match=re.escape(said)) as error:
        exported(tmp_path / "run", to, out, **options)
    assert "\n" not in str(error.value)
    assert [one for one in sorted(tmp_path.rglob("*")) if "home" not in one.parts] == before


def test_a_view_is_refused_over_what_its_readers_cannot_read(ramped: Path, tmp_path: Path) -> None:
    growing = write(tmp_path / "growing", finished=False)
    for run, to, said in (
        (ramped, "minari", "column pixels is compressed by Zstd"),
        (growing, "swm", "is being written"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            sandbox.view(run, to, tmp_path / NAMES[to])
        assert not (tmp_path / NAMES[to]).exists()
    assert sandbox.export(growing, "swm", tmp_path / "copy.h5").episodes == len(LENGTHS)


def test_names_that_become_the_same_are_refused(tmp_path: Path) -> None:
    columns = [*episodes.SCHEMA.columns, Column("state.a", "float32", (), "", "1")]
    schema = Schema((*columns, Column("state_a", "float32", (), "", "1")))
    run = episodes.run(tmp_path / "run", [episodes.record("a" * 64, 0)], schema=schema)
    with pytest.raises(InvalidInputError, match=r"state\.a and state_a would both be obs/state_a"):
        sandbox.export(run, "robomimic", tmp_path / "a.hdf5")
