"""Imports: rows that others made, by our convention, marked as such, and never more than that.

LeRobot's format, which needs pyarrow, is imported in tests/readers.
"""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - Pictures are compressed by Zstd.
import numpy as np
import pytest
from ramps import LENGTHS, SCHEMA, write
from running import cli, content, python

import sandbox
from sandbox import jsonfile
from sandbox.errors import (
    FormatError,
    InvalidInputError,
    RunConflictError,
    SandboxError,
    UnreadableError,
)
from sandbox.exports.formats import rates
from sandbox.run.folder import Folder
from sandbox.run.imported import IMPORTED

LONG = [rows for rows in LENGTHS if rows > 1]
FROM = {"swm": ("ramp.h5", LENGTHS), "minari": ("ramp-v0", LONG)}
MAP = """
format: 1
columns: {pixels: seen/pictures, proprio: seen/numbers, action: act, reward: rew, terminated: done}
episodes: {lengths: sizes}
received: action
hz: 20
"""


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("imports") / "run")


@pytest.fixture(scope="module")
def exported(climbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ramp in formats that are imported, a file or folder for each."""
    folder = tmp_path_factory.mktemp("exported")
    for to, (name, _) in FROM.items():
        sandbox.export(climbed, to, folder / name)
    return folder


@pytest.fixture
def imported(exported: Path, tmp_path: Path) -> Path:
    return sandbox.import_run(exported / "ramp-v0", "minari", tmp_path / "run").path


def plain(path: Path, lengths: Any = LONG, **changes: Any) -> Path:
    """A file of columns as no format has it: rewards and ends belong to the row's action."""
    t = np.concatenate([np.arange(rows) for rows in lengths])
    ends = np.cumsum(lengths) - 1
    arrays: dict[str, Any] = {
        "seen/pictures": np.repeat(t, 72).astype(np.uint8).reshape(-1, 4, 6, 3),
        "seen/numbers": np.stack([t, t], 1).astype(np.float32),
        "act": np.stack([t, t, t], 1).astype(">f4"),
        "rew": (t + 1).astype(np.float32),  # What the action of row t gave, at t + 1.
        "done": np.isin(np.arange(len(t)), ends).astype(np.int8),
        "sizes": np.array(lengths),
        "which": np.repeat(np.arange(len(lengths)) * 7, lengths),
    }
    with h5py.File(path, "w") as file:
        for name, values in (arrays | changes).items():
            if values is not None:
                file.create_dataset(name, data=values)
    return path


def mapped(folder: Path, text: str = MAP) -> Path:
    path = folder / "map.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("source", FROM)
def test_the_ramp_comes_back_from_a_format_row_by_row(
    source: str, exported: Path, climbed: Path, tmp_path: Path
) -> None:
    name, lengths = FROM[source]
    done = sandbox.import_run(exported / name, source, tmp_path / "run")
    back, there = sandbox.Dataset(done.path), sandbox.Dataset(climbed)
    assert {*back.schema.names} == {*SCHEMA.names}
    assert back.lengths.tolist() == [*lengths]
    assert (done.episodes, done.rows) == (len(lengths), sum(lengths))
    kept = [n for n, rows in enumerate(LENGTHS) if rows in lengths]
    for n, theirs in enumerate(kept):
        ours, rows = back.rows(n), there.rows(theirs)
        for column in SCHEMA.names:
            assert ours[column].dtype == rows[column].dtype
            if column == "charge":
                assert not ours[column].any()
            elif column == "episode_idx":
                assert (ours[column] == n).all()
            else:
                np.testing.assert_array_equal(ours[column], rows[column], column)


@pytest.mark.parametrize("ends", ["lengths: sizes", "index: which", "ends: [done]"])
def test_plain_hdf5_is_what_a_mapping_says(ends: str, tmp_path: Path) -> None:
    text = MAP.replace("lengths: sizes", ends)
    path = plain(tmp_path / "a.h5")
    done = sandbox.import_run(path, "hdf5", tmp_path / "run", mapping=mapped(tmp_path, text))
    data = sandbox.Dataset(done.path)
    assert data.lengths.tolist() == LONG
    for n, rows in enumerate(LONG):
        one, t = data.rows(n), np.arange(rows)
        assert one["pixels"][:, 2, 3, 1].tolist() == one["reward"].tolist() == t.tolist()
        assert one["proprio"][:, 1].tolist() == t.tolist()
        assert np.array_equal(one["action"][:-1], np.repeat(t[:-1], 3).reshape(-1, 3))
        assert np.isnan(one["action"][-1]).all()
        assert not one["terminated"].any()
        assert one["truncated"].tolist() == [*[False] * (rows - 1), True]
    told = jsonfile.read(done.path / IMPORTED).data
    assert (told["hz"], told["mapping"]["received"]) == (20.0, "action")


def test_rows_that_have_what_was_received_on_arriving_stay(tmp_path: Path) -> None:
    t = np.concatenate([np.arange(rows) for rows in LONG])
    path = plain(tmp_path / "a.h5", rew=np.where(t == 0, np.nan, t))
    text = MAP.replace("received: action", "received: arriving")
    done = sandbox.import_run(path, "hdf5", tmp_path / "run", mapping=mapped(tmp_path, text))
    for one, rows in zip(map(sandbox.Dataset(done.path).rows, range(7)), LONG, strict=True):
        assert one["reward"].tolist() == [*range(rows)]
        assert one["terminated"].tolist() == [*[False] * (rows - 1), True]
        assert not one["truncated"].any()


def test_a_reward_before_the_first_step_shows_misalignment(tmp_path: Path) -> None:
    text = MAP.replace("received: action", "received: arriving")
    with pytest.raises(FormatError, match=r"a\.h5: episode 0: `reward\[0\]` is 1\.0"):
        sandbox.import_run(
            plain(tmp_path / "a.h5"), "hdf5", tmp_path / "run", mapping=mapped(tmp_path, text)
        )


def test_verify_never_succeeds_and_says_that_it_was_imported(imported: Path) -> None:
    done = cli("verify", imported)
    assert done.returncode == 1
    assert "IMPORTED, not verified: 7 episodes" in done.stdout
    assert "nothing shows how its rows were made" in done.stdout
    assert "the files are whole" in done.stdout
    report = sandbox.verify(imported)
    assert (len(report.faults), report.replayed, report.kinds) == (1, 0, {"import": 1})
    names = {one.name for one in imported.iterdir() if one.name[0] != "."}
    assert names == {"imported.json", "manifest.json", "shards"}  # Neither log nor signature.


def edited(path: Path, **changes: Any) -> None:
    jsonfile.write(path, {**jsonfile.read(path).data, **changes})


def test_verify_finds_what_was_changed_since(imported: Path) -> None:
    clean = shutil.copytree(imported, imported.parent / "clean")
    shard = clean / "shards" / "shard-00000.h5"
    with h5py.File(shard, "r+") as file:
        file["action"][3] = 9
    edited(clean / IMPORTED, name="another")
    (clean / "log").write_text("0" * 64 + "\n")
    faults = sandbox.verify(clean).faults
    for said in ("has digest", "names the run", "log: an imported run", "that the manifest names"):
        assert any(said in one for one in faults), (said, faults)
    (imported / "manifest.json").unlink()
    assert "not finished" in sandbox.verify(imported).faults[-1]


REFUSED = {
    "render": lambda run, out: sandbox.render(run, out, columns=["pixels"]),
    "branch": lambda run, out: sandbox.branch(run, out, episode=0, step=1, kinds=["noop"]),
    "extend": lambda run, out: sandbox.extend(run, 20),
    "audit": lambda run, out: sandbox.audit(run),
    "subset": lambda run, out: sandbox.subset(run, out),
    "the recipe": lambda run, out: Folder(run).recipe,
    "prove": lambda run, out: one_line(cli("prove", run, "--episode", "0", "--out", out)),
    "settle": lambda run, out: one_line(cli("settle", run)),
    "coverage": lambda run, out: one_line(cli("coverage", run)),
}


def one_line(done: Any) -> None:
    assert done.returncode == 2, done.stdout
    raise SandboxError(done.stderr)


@pytest.mark.parametrize("what", REFUSED)
def test_what_needs_a_simulation_refuses_it(what: str, imported: Path, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match=r"was imported from minari \(ramp-v0\)"):
        REFUSED[what](imported, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_it_is_read_like_any_other_run(imported: Path, climbed: Path, tmp_path: Path) -> None:
    windows = sandbox.Windows(imported, length=3)
    assert windows[0]["action"].shape == (3, 2)
    batch = next(iter(sandbox.Batches(imported, 4, length=3, convention="dreamer")))
    assert batch["image"].shape == (4, 3, 4, 6, 3)
    record = sandbox.Dataset(imported).record(2)
    assert (record.policy, record.environment) == ("imported", "imported/ramp-v0")
    assert (record.seed, record.success, record.charge_micro) == (None, None, 0)
    assert record.imported == {"from": "minari", "episode": 2}
    assert not [one for one in sandbox.doctor(imported).findings if one.kind == "misaligned"]
    train, val = sandbox.Dataset(imported).train_val(0.5, twins="skip")
    assert len(train) + len(val) == 7
    out = sandbox.export(imported, "robomimic", tmp_path / "again.hdf5").path
    with h5py.File(out) as file:
        told = json.loads(file["data/demo_1"].attrs["sandbox"])
    assert (told["environment"], told["policy"]) == ("imported/ramp-v0", "imported")
    assert sandbox.diff(imported, climbed).identity


def test_commands_say_that_it_was_imported(exported: Path, tmp_path: Path) -> None:
    done = cli("import", exported / "ramp-v0", "--from", "minari", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "pixels from observations/pixels" in done.stdout
    assert "cannot be verified" in done.stdout
    assert "was imported from minari (ramp-v0)" in cli("inspect", tmp_path / "run").stdout
    seen = cli("preview", tmp_path / "run", "--episodes", "2", "--out", tmp_path / "seen")
    assert seen.returncode == 0, seen.stderr
    told = cli(
        *("import", exported / "ramp.h5", "--from", "swm", "--out", tmp_path / "b", "--json")
    )
    facts = json.loads(told.stdout)
    assert (facts["imported"], facts["episodes"]) == ("swm", len(LENGTHS))
    assert facts["left_out"]["charge"] == "an import charges nothing"


def test_nothing_of_a_real_run_is_claimed(tmp_path: Path) -> None:
    """What stable-worldmodel's file of a generated run says of its origin is not taken over."""
    recipe = {"format": 1, "environment": "two_room", "policies": {"random": 1}, "episodes": 2}
    sandbox.generate(recipe, tmp_path / "run")
    sandbox.export(tmp_path / "run", "swm", tmp_path / "a.h5")
    done = sandbox.import_run(tmp_path / "a.h5", "swm", tmp_path / "back")
    data = sandbox.Dataset(done.path)
    assert "variation.door_width_m" in data.schema.names or "variation" in str(data.schema.names)
    assert {"run", "reset_options"} <= {*done.left_out}
    assert [data.record(n).seed for n in range(2)] == [
        record.seed for record in Folder(tmp_path / "run").records()
    ]
    for n in range(2):
        ours, theirs = data.rows(n), sandbox.Dataset(tmp_path / "run").rows(n)
        for name in data.schema.names:
            if name != "charge":
                np.testing.assert_array_equal(ours[name], theirs[name], name)


def test_a_killed_import_goes_on_and_has_the_same_bytes(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.imports.take.SHARD_EPISODES", 3)
    whole = sandbox.import_run(exported / "ramp.h5", "swm", tmp_path / "whole").path
    code = (
        "import os, signal, sandbox\n"
        "from sandbox.imports import take\n"
        "take.SHARD_EPISODES = 3\n"
        "stop = lambda done, total: done == 5 and os.kill(os.getpid(), signal.SIGKILL)\n"
        f"sandbox.import_run({str(exported / 'ramp.h5')!r}, 'swm', {str(tmp_path / 'run')!r}, "
        "progress=stop)"
    )
    assert python("-c", code).returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "manifest.json").exists()
    sandbox.import_run(exported / "ramp.h5", "swm", tmp_path / "run")
    assert content(tmp_path / "run") == content(whole)
    with pytest.raises(RunConflictError, match="another import"):
        sandbox.import_run(exported / "ramp-v0", "minari", tmp_path / "run")


def external(path: Path, folder: Path) -> None:
    with h5py.File(folder / "mine.h5", "w") as file:
        file["act"] = np.zeros((78, 3), np.float32)
    with h5py.File(path, "r+") as file:
        del file["act"]
        file["act"] = h5py.ExternalLink(str(folder / "mine.h5"), "act")


def virtual(path: Path, folder: Path) -> None:
    layout = h5py.VirtualLayout((78, 3), np.float32)
    layout[:] = h5py.VirtualSource(folder / "mine.h5", "act", (78, 3))
    with h5py.File(path, "r+") as file:
        del file["act"]
        file.create_virtual_dataset("act", layout)


def stored_outside(path: Path, folder: Path) -> None:
    (folder / "secret").write_bytes(b"x" * 936)
    with h5py.File(path, "r+") as file:
        del file["act"]
        file.create_dataset("act", (78, 3), np.float32, external=[(folder / "secret", 0, 936)])


def soft(path: Path, folder: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["seen/numbers"]
        file["seen/numbers"] = h5py.SoftLink("/act")


def objects(path: Path, folder: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["act"]
        file.create_dataset("act", data=["x"] * 78, dtype=h5py.string_dtype())


def hollow(path: Path, folder: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["act"]
        file.create_dataset("act", (78, 3), np.float32, chunks=(2, 3))


def lzf(path: Path, folder: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["act"]
        file.create_dataset("act", data=np.zeros((78, 3)), compression="lzf")


def long(path: Path, folder: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["sizes"][0] = 1 << 40


def scattered(path: Path, folder: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["sizes"][0] += 1


def text(path: Path, folder: Path) -> None:
    path.write_text("no HDF5")


def empty(path: Path, folder: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["seen/numbers"]
        file["seen/numbers"] = np.zeros((78, 0), np.float32)


def floats(path: Path, folder: Path) -> None:
    with h5py.File(path, "r+") as file:
        pictures = file["seen/pictures"][:] / np.float32(255)
        del file["seen/pictures"]
        file["seen/pictures"] = pictures


def turned(path: Path, folder: Path) -> None:
    with h5py.File(path, "r+") as file:
        pictures = np.moveaxis(file["seen/pictures"][:], -1, 1)
        del file["seen/pictures"]
        file["seen/pictures"] = pictures


HOSTILE = {
    external: "is a link to elsewhere",
    virtual: "is kept in other files",
    stored_outside: "is kept in other files",
    soft: "is a link to elsewhere",
    objects: "its type object is none of numbers",
    hollow: "has 0 of 78 rows",
    lzf: "is stored with HDF5 filters",
    long: "and its episodes 1",
    scattered: "has 78 rows, and its episodes 79",
    text: "cannot be read as HDF5",
    empty: r"'seen/numbers' has rows of \(0,\), which have no values",
    floats: r"rows are float32 \(4, 6, 3\)\. Store them so, or give it another name",
    turned: r"rows are uint8 \(3, 4, 6\)\. Say `channels: first` in the mapping",
}


@pytest.mark.parametrize("harm", HOSTILE, ids=lambda harm: harm.__name__)
def test_a_strangers_file_is_refused_in_one_line(harm: Any, tmp_path: Path) -> None:
    path = plain(tmp_path / "a.h5")
    harm(path, tmp_path)
    with pytest.raises(FormatError, match=HOSTILE[harm]) as error:
        sandbox.import_run(path, "hdf5", tmp_path / "run", mapping=mapped(tmp_path))
    assert str(error.value).startswith(str(path))
    assert not (tmp_path / "run").exists()


WRONG = {
    "a key": ("hz: 20", "hertz: 20", "hertz: is not a known key"),
    "two ends": ("lengths: sizes", "lengths: sizes, index: which", "give one of lengths"),
    "another convention": ("received: action", "received: after", "must be 'arriving' or"),
    "no action": ("action: act, ", "", "there is no action"),
    "a charge": ("action: act", "action: act, charge: rew", "an import charges nothing"),
    "a name": ("pixels:", "'pix els':", "no column can have its name"),
    "a place": ("act,", "acts,", "there is no 'acts' in it"),
    "a slow rate": ("hz: 20", "hz: 1e-320", "hz: must be at least 0.01, not 1e-320"),
    "a fast rate": ("hz: 20", "hz: 1e300", "hz: must be at most 10000.0, not 1e.300"),
    "channels": ("hz: 20", "channels: middle", "channels: must be 'first' or 'last'"),
    "a type": (
        "reward: rew",
        "terminated2: which, reward: seen/numbers",
        "must be one number a row",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_mapping_that_breaks_a_rule_is_refused(what: str, tmp_path: Path) -> None:
    old, new, said = WRONG[what]
    path, text = plain(tmp_path / "a.h5"), MAP.replace(old, new)
    with pytest.raises(SandboxError, match=said):
        sandbox.import_run(path, "hdf5", tmp_path / "run", mapping=mapped(tmp_path, text))
    assert not (tmp_path / "run").exists()


def test_what_lies_in_the_way_is_not_touched(exported: Path, climbed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kept").write_text("kept")
    for out, said in ((tmp_path / "mine", "holds something else"), (climbed, "something else")):
        before = content(out)
        with pytest.raises(RunConflictError, match=said):
            sandbox.import_run(exported / "ramp.h5", "swm", out)
        assert content(out) == before
    inside = sandbox.import_run(exported / "ramp.h5", "swm", tmp_path / "run").path / "more"
    with pytest.raises(InvalidInputError, match="lies inside the run"):
        sandbox.import_run(exported / "ramp.h5", "swm", inside)
    for source, mapping, said in (("swn", None, "Did you mean 'swm'"), ("hdf5", None, "--map")):
        with pytest.raises(InvalidInputError, match=said):
            sandbox.import_run(exported / "ramp.h5", source, tmp_path / "a", mapping=mapping)
    with pytest.raises(InvalidInputError, match="for hdf5 alone"):
        sandbox.import_run(exported / "ramp.h5", "swm", tmp_path / "a", mapping="map.yaml")


def test_minari_with_jpeg_or_episodes_that_differ_is_refused(
    exported: Path, tmp_path: Path
) -> None:
    for change, said in (("jpeg", "JPEG"), ("shape", "episode_3/observations/pixels is")):
        path = shutil.copytree(exported / "ramp-v0", tmp_path / change)
        if change == "jpeg":
            edited(path / "data" / "metadata.json", jpeg_encoding=True)
        else:
            with h5py.File(path / "data" / "main_data.hdf5", "r+") as file:
                kept = file["episode_3/observations/pixels"][:-1]
                del file["episode_3/observations/pixels"]
                file["episode_3/observations/pixels"] = kept
        with pytest.raises(FormatError, match=said):
            sandbox.import_run(path, "minari", tmp_path / f"{change}-run")


def test_channels_are_put_last_and_floats_are_no_pictures(exported: Path, tmp_path: Path) -> None:
    path = plain(tmp_path / "a.h5")
    turned(path, tmp_path)
    text = MAP.replace("hz: 20", "channels: first")
    done = sandbox.import_run(path, "hdf5", tmp_path / "a", mapping=mapped(tmp_path, text))
    data = sandbox.Dataset(done.path)
    assert data.schema["pixels"].shape == (4, 6, 3)
    assert data.rows(2)["pixels"][:, 1, 5, 2].tolist() == [*range(20)]
    tall = plain(tmp_path / "tall.h5", **{"seen/pictures": np.zeros((78, 7, 6, 3), np.uint8)})
    with pytest.raises(FormatError, match="Leave out `channels: first` in the mapping"):
        sandbox.import_run(tall, "hdf5", tmp_path / "tall", mapping=mapped(tmp_path, text))
    minari = shutil.copytree(exported / "ramp-v0", tmp_path / "b-v0")
    with h5py.File(minari / "data" / "main_data.hdf5", "r+") as file:
        for n, group in enumerate(file.values()):
            pictures = group["observations"].pop("pixels")[:]
            group["observations/pixels"] = np.moveaxis(pictures, -1, 1)
            group["observations/pixels.grey"] = pictures[..., :1]
            group["observations/pixels.real"] = pictures.astype(np.float32) + n
    found = sandbox.import_run(minari, "minari", tmp_path / "b")
    back, there = sandbox.Dataset(found.path), sandbox.Dataset(tmp_path / "a")
    for n in range(7):
        ours = back.rows(n)
        assert ours["pixels"].shape[1:] == (4, 6, 3)
        assert ours["pixels"][:, 0, 0].tolist() == [[t + 1, t + 2, t + 3] for t in range(LONG[n])]
        assert np.array_equal(ours["pixels.grey"], ours["pixels"][..., 0])
        assert ours["pixels_values.real"].dtype == np.float32
    assert len(there) == 7
    assert found.notes[0].endswith("has channels first; pixels has them last.")
    assert "no picture here; it is kept as pixels_values.real" in found.notes[1]
    seen = cli("preview", found.path, "--episodes", "2", "--out", tmp_path / "seen")
    assert seen.returncode == 0, seen.stderr


def test_an_import_of_before_whose_channels_are_first_is_not_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = plain(tmp_path / "a.h5")
    turned(path, tmp_path)
    monkeypatch.setattr("sandbox.imports.pictures.PICTURES", ())  # As it was.
    run = sandbox.import_run(path, "hdf5", tmp_path / "run", mapping=mapped(tmp_path)).path
    assert sandbox.Dataset(run).schema["pixels"].shape == (3, 4, 6)
    done = cli("preview", run, "--out", tmp_path / "seen")
    assert (done.returncode, "it has no pictures, and to draw" in done.stderr) == (2, True)


def test_an_import_without_pictures_has_no_preview_and_says_why(tmp_path: Path) -> None:
    text = MAP.replace("pixels:", "frames:")
    path = plain(tmp_path / "a.h5")
    run = sandbox.import_run(path, "hdf5", tmp_path / "a", mapping=mapped(tmp_path, text)).path
    for options, said in (((), "it has no pictures"), (("--columns", "depth"), "other pictures")):
        done = cli("preview", run, *options, "--out", tmp_path / "seen")
        assert done.returncode == 2
        assert said in done.stderr
        assert "imported from hdf5 (a)" in done.stderr
    assert not (tmp_path / "seen").exists()


def test_an_import_that_fails_leaves_nothing_but_what_was_whole_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.imports.take.SHARD_EPISODES", 2)
    good, bad = plain(tmp_path / "a.h5"), plain(tmp_path / "b.h5")
    with h5py.File(bad, "r+") as file:
        file["act"][-3] = np.nan
    mapping, out = mapped(tmp_path), tmp_path / "run"
    (tmp_path / "mine").mkdir()
    for place in (out, tmp_path / "mine"):
        with pytest.raises(FormatError, match=r"b\.h5: episode 6: .* Nothing was kept\."):
            sandbox.import_run(bad, "hdf5", place, mapping=mapping)
    assert not out.exists()
    assert [one.name for one in (tmp_path / "mine").iterdir() if one.name != ".lock"] == []
    sandbox.import_run(good, "hdf5", out, mapping=mapping)
    shard, before = out / "shards" / "shard-00000.h5", content(out)
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(FormatError, match="shard-00000") as error:
        sandbox.import_run(good, "hdf5", out, mapping=mapping)
    assert "Nothing was kept" not in str(error.value)
    assert {*content(out)} == {*before}


def test_a_shard_says_how_many_rows_a_second_were_imported(tmp_path: Path) -> None:
    path, runs = plain(tmp_path / "a.h5"), dict[str, Path]()
    for hz in ("20", "29.97", "0.25", "null"):
        text = MAP.replace("hz: 20", f"hz: {hz}")
        mapping = mapped(tmp_path, text)
        runs[hz] = sandbox.import_run(path, "hdf5", tmp_path / hz, mapping=mapping).path
    assert rates(sandbox.Dataset(runs["20"])) == {"imported/a": {20.0}}
    assert rates(sandbox.Dataset(runs["29.97"] / "shards" / "shard-00000.h5")) == {
        "imported/a": {29.97}
    }
    assert rates(sandbox.Dataset([runs["0.25"], runs["null"]])) == {"imported/a": {0.25, None}}


def test_an_episode_that_does_not_fit_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gzip of nothing makes a thousand bytes of one: the limit of memory stands for a machine."""
    rows = 4096
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset(
            *("pixels", (rows, 256, 256, 3), np.uint8), chunks=(64, 256, 256, 3), compression="gzip"
        )
        made[:64] = 0
        mask, chunk = made.id.read_direct_chunk((0, 0, 0, 0))
        for row in range(64, rows, 64):
            made.id.write_direct_chunk((row, 0, 0, 0), chunk, mask)
        file["action"], file["ep_len"], file["ep_offset"] = np.zeros((rows, 1)), [rows], [0]
    code = (
        "import resource, sandbox, sys\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2_000_000_000, 2_000_000_000))\n"
        "try:\n"
        f"    sandbox.import_run({str(tmp_path / 'a.h5')!r}, 'swm', {str(tmp_path / 'run')!r})\n"
        "except sandbox.errors.SandboxError as error:\n"
        "    sys.exit(str(error))"
    )
    done = python("-c", code)
    assert "an episode has 805,462,016 bytes, which do not fit the 2,000,000,000" in done.stderr
    assert not (tmp_path / "run").exists()
    run = write(tmp_path / "small")
    monkeypatch.setattr("sandbox.memory.SMALL_BYTES", 0)
    monkeypatch.setattr("sandbox.memory.most_bytes", lambda: 1000)
    reader = Folder(run).shards()[0].reader
    for read in (reader.read, reader.arrays):
        with pytest.raises(UnreadableError, match=r"episode 2 has [0-9,]+ bytes, which do not"):
            read(2)
    assert len(reader.arrays(2, ["action"])["action"]) == 20


NAMES: dict[str, Any] = {
    "seed": lambda file: file["episode_1"].attrs.__setitem__("seed", np.uint64(2**64 - 1)),
    "return": lambda file: file["episode_1/rewards"].__setitem__(slice(None), 1e308),
    "type": lambda file: file["episode_1"].__setitem__("infos/x", np.zeros(3)),
    "rewards": lambda file: file.__delitem__("episode_0/rewards"),
    "actions": lambda file: retyped(file, "episode_1/actions", np.float64),
    "other": lambda file: file.move("episode_6", "episode_007"),
    "name": lambda file: file["episode_0/infos"].create_dataset(b"a\xff", data=np.zeros(5)),
    "others": lambda file: [file.create_group(f"more_{n}") for n in range(101)],
}
SAID = {
    "seed": None,
    "return": r"episode 1: its rewards add up to inf, which is no return\. Nothing was kept",
    "type": None,
    "rewards": "episode_1 has rewards, and episode_0 has none",
    "actions": "episode_1/actions is float64",
    "other": None,
    "name": r"it has the name b'a\\xff', which is no text",
    "others": "101 of its groups are no episodes",
}


def retyped(file: Any, place: str, dtype: Any) -> None:
    values = file[place][:].astype(dtype)
    del file[place]
    file[place] = values


@pytest.mark.parametrize("what", NAMES)
def test_what_a_minari_folder_may_have_besides(what: str, exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported / "ramp-v0", tmp_path / "odd-v0")
    with h5py.File(folder / "data" / "main_data.hdf5", "r+") as file:
        file["episode_0"].require_group("infos")
        NAMES[what](file)
    if SAID[what] is not None:
        with pytest.raises(FormatError, match=SAID[what]):
            sandbox.import_run(folder, "minari", tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return
    done = sandbox.import_run(folder, "minari", tmp_path / "run")
    seeds = [one.seed for one in sandbox.Dataset(done.path).records]
    assert seeds == [None] * (6 if what == "other" else 7)
    if what == "other":
        assert done.left_out["episode_007"] == "no episode is called so"
        assert done.notes == ("metadata.json says 7 episodes, and there are 6.",)


def test_minari_is_not_read_through_links(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported / "ramp-v0", tmp_path / "odd-v0")
    (folder / "data").rename(tmp_path / "elsewhere")
    (folder / "data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FormatError, match="is a link, which is not followed"):
        sandbox.import_run(folder, "minari", tmp_path / "run")
    (folder / "data").unlink()
    with pytest.raises(FormatError, match=r"metadata\.json: there is no such file"):
        sandbox.import_run(folder, "minari", tmp_path / "run")


def test_a_name_that_is_no_text_is_no_trouble(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.h5"))
    plain(path)
    run = sandbox.import_run(path, "hdf5", tmp_path / "run", mapping=mapped(tmp_path)).path
    assert jsonfile.read(run / IMPORTED).data["name"] == "a?"
    assert sandbox.verify(run).kinds == {"import": 1}


def test_a_full_disk_keeps_what_was_kept(exported: Path, tmp_path: Path) -> None:
    """The limit of a file's size stands for it."""
    out = tmp_path / "run"
    code = (
        "import resource, sandbox, sys\n"
        "sys.dont_write_bytecode = True\n"
        "from sandbox.imports import take\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n"
        f"    sandbox.import_run({str(exported / 'ramp.h5')!r}, 'swm', {str(out)!r})\n"
        "except sandbox.errors.SandboxError as error:\n"
        "    sys.exit(str(error))"
    )
    done = python("-c", code)
    assert "cannot be written" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert not (out / "manifest.json").exists()
    sandbox.import_run(exported / "ramp.h5", "swm", out)
    assert os.listdir(out / "shards")
