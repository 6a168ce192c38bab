"""Exports are whole or not there: after Ctrl-C, a kill, a full disk, another, damage."""

import fcntl
import json
import os
import shutil
import tarfile
from pathlib import Path

import episodes
import h5py
import hdf5plugin  # noqa: F401 - Pictures in shards are compressed by Zstd.
import numpy as np
import pytest
from handed import LONG, NAMES, SEVERAL
from ramps import LENGTHS
from running import cli, python

import sandbox
from sandbox.errors import InvalidInputError, RunConflictError, SandboxError
from sandbox.exports.registry import FORMATS


@pytest.mark.parametrize("to", NAMES)
def test_what_is_interrupted_leaves_nothing_and_can_be_done_again(
    to: str, ramped: Path, tmp_path: Path
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    out = tmp_path / "out" / NAMES[to]
    with pytest.raises(KeyboardInterrupt):
        sandbox.export(ramped, to, out, progress=stop)
    assert [one.name for one in out.parent.iterdir()] == hidden(out) * (to in SEVERAL)
    assert sandbox.export(ramped, to, out).episodes >= len(LONG)
    assert [*out.parent.iterdir()] == [out]


def hidden(out: Path) -> list[str]:
    return [f".{out.name}.exporting"]


@pytest.fixture(scope="module")
def lengthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that makes several pieces of each format of several files."""
    records = [episodes.record("a" * 64, n) for n in range(5)]
    folder = tmp_path_factory.mktemp("lengthy")
    return episodes.run(folder / "run", records, lengths=(3000, 2500), shard_episodes=2)


KILLED = """
import os, signal, sys, sandbox
from sandbox.exports import webdataset
webdataset.MOST_BYTES = 150_000
workers = int(sys.argv[4])
stop = lambda done, total: done == 3 and os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":
    sandbox.export(*sys.argv[1:4], workers=workers, progress=stop)
"""


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("to", SEVERAL)
def test_a_killed_export_of_several_files_goes_on(
    to: str, workers: str, lengthy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole pieces are kept, as they are; the bytes are those of one process that nobody kills."""
    monkeypatch.setattr("sandbox.exports.webdataset.MOST_BYTES", 150_000)
    out, whole = tmp_path / "out" / "a", sandbox.export(lengthy, to, tmp_path / "whole").path
    done = python("-c", KILLED, str(lengthy), to, str(out), workers)
    assert done.returncode == -9, done.stderr
    stage = out.parent / hidden(out)[0]
    notes = [json.loads(one.read_bytes())["files"] for one in (stage / "noted").glob("*.json")]
    names = [name for files in notes for name in files]
    kept = {name: (stage / out.name / name).stat().st_ino for name in names}
    assert 0 < len(kept) < len([*whole.iterdir()]) + (workers == "2")
    sandbox.export(lengthy, to, out, workers=int(workers))
    assert [*out.parent.iterdir()] == [out]
    assert kept.items() <= {one.name: one.stat().st_ino for one in out.iterdir()}.items()
    assert {one.name: one.read_bytes() for one in out.iterdir()} == {
        one.name: one.read_bytes() for one in whole.iterdir()
    }


def test_another_export_begins_anew(lengthy: Path, ramped: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "a"
    assert python("-c", KILLED, str(lengthy), "webdataset", str(out), "1").returncode == -9
    sandbox.export(ramped, "webdataset", out)
    with tarfile.open(out / "episodes-000000.tar") as tar:
        assert len([name for name in tar.getnames() if name.endswith(".json")]) == len(LENGTHS)
    assert [one.name for one in out.iterdir()] == ["episodes-000000.tar"]


def test_a_piece_that_was_cut_is_written_again(lengthy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "a"
    assert python("-c", KILLED, str(lengthy), "dreamer", str(out), "1").returncode == -9
    cut = next((out.parent / hidden(out)[0] / "a").iterdir())
    cut.write_bytes(cut.read_bytes()[:-9])
    sandbox.export(lengthy, "dreamer", out)
    assert np.load(out / cut.name)["reward"].shape == (1024,)


def test_one_file_has_one_writer(ramped: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="swm is one file or table"):
        sandbox.export(ramped, "swm", tmp_path / "a.h5", workers=2)


def test_ctrl_c_is_said(ramped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FORMATS["swm"], "write", stop)
    done = cli("export", ramped, "--to", "swm", "--out", tmp_path / "a.h5")
    assert (done.returncode, done.stderr) == (130, "")
    assert "Nothing is at the path" in done.stdout
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.parametrize("to", NAMES)
def test_a_killed_export_is_cleared_by_the_next(to: str, ramped: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / NAMES[to]
    code = (
        "import os, signal, sandbox\n"
        "stop = lambda done, total: done == 4 and os.kill(os.getpid(), signal.SIGKILL)\n"
        f"sandbox.export({str(ramped)!r}, {to!r}, {str(out)!r}, progress=stop)"
    )
    assert python("-c", code).returncode == -9
    assert [one.name for one in out.parent.iterdir()] == hidden(out)
    assert sandbox.export(ramped, to, out).episodes >= len(LONG)
    assert [*out.parent.iterdir()] == [out]


@pytest.mark.parametrize("to", NAMES)
def test_a_full_disk_leaves_nothing(to: str, ramped: Path, tmp_path: Path) -> None:
    """The limit of a file's size stands for it."""
    out = tmp_path / "out" / NAMES[to]
    code = (
        "import resource, sandbox, sys\n"
        "sys.dont_write_bytecode = True\n"  # Else what is compiled would be cut, too.
        f"run = sandbox.Dataset({str(ramped)!r})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "try:\n"
        f"    sandbox.export(run, {to!r}, {str(out)!r})\n"
        "except sandbox.errors.SandboxError as error:\n"
        "    sys.exit(str(error))"
    )
    done = python("-c", code)
    assert f"{out}: cannot be written: File too large. Nothing is there" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    left = hidden(out) * (to in SEVERAL)
    assert [one.name for one in out.parent.iterdir()] == left
    assert all(name in done.stderr for name in left)
    assert sandbox.export(ramped, to, out).episodes >= len(LONG)
    assert [*out.parent.iterdir()] == [out]


def test_two_exports_to_one_path_do_not_meet(ramped: Path, tmp_path: Path) -> None:
    held = tmp_path / ".a.h5.exporting"
    held.mkdir()
    fd = os.open(held, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    (held / "a.h5").write_bytes(b"theirs")
    with pytest.raises(RunConflictError, match="another process writes there"):
        sandbox.export(ramped, "swm", tmp_path / "a.h5")
    assert (held / "a.h5").read_bytes() == b"theirs"
    os.close(fd)


def test_a_link_in_the_way_is_not_followed(ramped: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kept").write_text("kept")
    (tmp_path / ".a.h5.exporting").symlink_to(tmp_path / "mine")
    (tmp_path / "b.h5").symlink_to(tmp_path / "nowhere")
    for name in ("a.h5", "b.h5"):
        with pytest.raises(SandboxError):
            sandbox.export(ramped, "swm", tmp_path / name)
    assert (tmp_path / "mine" / "kept").read_text() == "kept"
    assert not (tmp_path / "nowhere").exists()


def test_damage_in_a_shard_is_named_and_nothing_is_left(ramped: Path, tmp_path: Path) -> None:
    shutil.copytree(ramped, tmp_path / "run")
    shard = tmp_path / "run" / "shards" / "shard-00001.h5"
    with h5py.File(shard) as file:
        info = file["pixels"].id.get_chunk_info(0)
    data = bytearray(shard.read_bytes())
    data[info.byte_offset + 8] ^= 255
    shard.write_bytes(data)
    with pytest.raises(SandboxError, match=r"shard-00001\.h5: rows from 0 on of column 'pixels'"):
        sandbox.export(tmp_path / "run", "swm", tmp_path / "a.h5")
    assert sorted(one.name for one in tmp_path.iterdir() if one.name != "home") == ["run"]
