"""Faults of scale: disks without locks, disks full for one process, shards that rot too early."""

import ctypes
import json
import os
import platform
import resource
import shutil
import struct
import subprocess
import sys
import time
from errno import ENOLCK, ENOSYS
from pathlib import Path
from typing import Any

import pytest
from postgres import Server
from running import cli, content, file_of, recipe

import sandbox
from sandbox.errors import FormatError
from sandbox.ledger import Ledger
from sandbox.run.recipe import Recipe
from sandbox.trajectory.room import STEP_BYTES

pytestmark = pytest.mark.timeout(150)
FLOCK = {"x86_64": 73, "aarch64": 32}.get(platform.machine())  # Number of the system call.
REFUSED, LIMITED = "NO_LOCKS", "MOST_BYTES"  # Variables of the processes below.
COMMAND = """
import os, resource, sys
from test_scale_faults import LIMITED, REFUSED, refuse
if REFUSED in os.environ:
    refuse(int(os.environ[REFUSED]))
if LIMITED in os.environ:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ[LIMITED]), resource.RLIM_INFINITY))
from sandbox.cli import main
main()
"""


def refuse(error: int) -> None:
    """Let the system refuse every lock of a file by flock, to this process and what it starts."""
    program = [  # Of the kernel's filter: load the call's number; return the error, or allow it.
        *((0x20, 0, 0, 0), (0x15, 0, 1, FLOCK)),
        *((0x06, 0, 0, 0x00050000 | error), (0x06, 0, 0, 0x7FFF0000)),
    ]
    text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
    given = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(text))
    libc = ctypes.CDLL(None)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # No new privileges, without which it needs some.
    assert libc.prctl(22, 2, ctypes.create_string_buffer(given), 0, 0) == 0


def begin(*words: object, **variables: object) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    given = {name: str(value) for name, value in variables.items()}
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, words)],
        env={**os.environ, "PYTHONPATH": path, **given},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the exit status of a process, and what it said on stderr."""
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def shared(**changes: Any) -> Recipe:
    """A recipe of four shards."""
    return recipe(**{"episodes": 12, "shard_episodes": 3, **changes})


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process, not to be changed."""
    folder = tmp_path_factory.mktemp("one_process")
    sandbox.generate(shared(), folder / "run")
    return folder / "run"


def charged_once(run: Path, one_process: Path) -> None:
    """Check that a run has the bytes of one process, and that each episode was charged once."""
    assert content(run) == content(one_process)
    assert -Ledger().balance("local").posted_micro == sandbox.quote(shared()).amount
    assert sandbox.verify(run).faults == []


# Locks --------------------------------------------------------------------------------------------


@pytest.mark.skipif(FLOCK is None, reason="the number of the system call is not known")
@pytest.mark.parametrize("error", [ENOLCK, ENOSYS])
def test_where_files_have_no_locks_those_of_a_server_are_enough(
    error: int,
    one_process: Path,
    postgresql: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SANDBOX_LEDGER", postgresql.url(postgresql.database()))
    out, given = tmp_path / "run", ("generate", str(file_of(shared(), tmp_path)), "--out")
    same = {REFUSED: error}
    ranks = [
        begin(*given, out, "--rank", number, "--world-size", 2, **same) for number in (0, 0, 1)
    ]
    ended = [done(one) for one in ranks]
    assert ended[2][0] == 0, ended
    assert 0 in (ended[0][0], ended[1][0]), ended
    for status, said in ended[:2]:  # They took turns, or one was refused.
        assert (status, "another process is generating" in said) in ((0, False), (2, True)), said
    assert done(begin("settle", out, **same)) == (0, "")
    charged_once(out, one_process)
    if error == ENOLCK:
        status, said = done(begin(*given, tmp_path / "two", "--workers", 2, **same))
        assert (status, said) == (0, "")
        assert content(tmp_path / "two") == content(one_process)
        assert done(begin("verify", tmp_path / "two", "--sample", 2, **same)) == (0, "")


@pytest.mark.skipif(FLOCK is None, reason="the number of the system call is not known")
def test_without_any_locks_nothing_is_done_and_the_reason_is_said(
    one_process: Path, tmp_path: Path
) -> None:
    path, refused = file_of(shared(), tmp_path), {REFUSED: ENOLCK}
    for command in (
        ("generate", path, "--out", tmp_path / "run"),
        ("subset", one_process, "--policy", "random", "--out", tmp_path / "subset"),
    ):
        status, said = done(begin(*command, **refused))
        assert status == 2
        assert said.count("\n") == 1
        assert "its file system has no locks: No locks available. Nothing was done. Mount" in said
    assert not (tmp_path / "subset" / "shards").exists()
    assert Ledger().balance("local").posted_micro == 0
    sandbox.generate(shared(), tmp_path / "run")
    charged_once(tmp_path / "run", one_process)


# Disks that are full for one alone ----------------------------------------------------------------


@pytest.fixture
def book_elsewhere(postgresql: Server, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger on another machine: a process that may write no long file could book nothing."""
    monkeypatch.setenv("SANDBOX_LEDGER", postgresql.url(postgresql.database()))
    return Ledger()


def test_a_rank_whose_disk_is_full_says_so_and_another_makes_up_for_it(
    one_process: Path, book_elsewhere: Ledger, tmp_path: Path
) -> None:
    out, path = tmp_path / "run", file_of(shared(), tmp_path)
    most = (one_process / "shards" / "shard-00000.h5").stat().st_size // 2
    given = ("generate", path, "--out", out, "--world-size", 2, "--rank")
    ranks = [begin(*given, 0, **{LIMITED: most}), begin(*given, 1)]
    (status, said), other = [done(one) for one in ranks]
    assert (status, other[0]) == (2, 0), (said, other)
    assert "cannot be written" in said
    assert "File too large" in said
    assert said.count("\n") == 1
    assert sandbox.settle(out).missing == [0, 2]
    sandbox.generate(shared(), out, rank=0, world_size=1)
    assert sandbox.settle(out).finished
    charged_once(out, one_process)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="it is Linux that limits others")
def test_one_of_two_workers_whose_disk_is_full_ends_the_run_which_goes_on(
    book_elsewhere: Ledger, tmp_path: Path
) -> None:
    pictures = {"observation": ["pixels"], "image_size": 32}  # More than is reserved at once.
    wanted = shared(environment="billiards", episodes=50, shard_episodes=25, **pictures)
    out, path = tmp_path / "run", file_of(wanted, tmp_path)
    process = begin("generate", path, "--out", out, "--workers", 2)
    until, found = time.monotonic() + 60, list[Path]()
    while not found and time.monotonic() < until:
        found = [one for one in out.glob("shards/*.part") if one.stat().st_size > STEP_BYTES]
    owner = next(
        pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _has(pid, found[0])
    )
    resource.prlimit(owner, resource.RLIMIT_FSIZE, (found[0].stat().st_size, -1))
    status, said = done(process)
    assert status == 2, said
    assert "cannot be written" in said
    assert said.count("\n") == 1
    kept = len([one for one in Ledger().transfers(["local"]) if one.move.kind == "post"])
    assert kept < 50
    assert sandbox.generate(wanted, out, workers=2).already == kept
    sandbox.generate(wanted, tmp_path / "one")
    assert content(out) == content(tmp_path / "one")
    assert -Ledger().balance("local").posted_micro == sandbox.quote(wanted).amount


def _has(pid: int, path: Path) -> bool:
    """Return whether a process has a file open."""
    try:
        return any(
            os.readlink(f"/proc/{pid}/fd/{fd}") == str(path) for fd in os.listdir(f"/proc/{pid}/fd")
        )
    except OSError:
        return False


# Shards that rot before their run is closed -------------------------------------------------------


def damage(path: Path, share: float) -> None:
    """Change bytes in the middle of a file."""
    data = bytearray(path.read_bytes())
    for place in range(int(len(data) * share), int(len(data) * share) + 64):
        data[place] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("share", [0.02, 0.4])  # What HDF5 needs to open it; rows.
@pytest.mark.parametrize("by", ["ranks", "one"])
def test_a_shard_that_rots_before_its_run_is_closed_is_made_again(
    by: str, share: float, one_process: Path, tmp_path: Path
) -> None:
    out, rotten = tmp_path / "run", tmp_path / "run" / "shards" / "shard-00001.h5"
    for number in (0, 1):
        sandbox.generate(shared(), out, rank=number, world_size=2)
    damage(rotten, share)
    path = file_of(shared(), tmp_path)
    refused = cli("settle", out) if by == "ranks" else cli("generate", path, "--out", out)
    assert refused.returncode == 2
    assert "shard-00001.h5" in refused.stderr
    assert "damaged" in refused.stderr
    assert "ove it away" in refused.stderr.replace("this shard", "it")
    assert not (out / "manifest.json").exists()
    with pytest.raises(FormatError):
        sandbox.settle(out)
    shutil.move(rotten, tmp_path)
    if by == "ranks":
        assert sandbox.settle(out).missing == [1]
        sandbox.generate(shared(), out, rank=1, world_size=2)
        assert sandbox.settle(out).finished
    else:
        sandbox.generate(shared(), out, workers=2)
    charged_once(out, one_process)


def test_a_manifest_that_lies_is_named_and_the_true_one_is_written_again(
    one_process: Path, tmp_path: Path
) -> None:
    for number in (0, 1):
        sandbox.generate(shared(), tmp_path / "run", rank=number, world_size=2)
    sandbox.settle(tmp_path / "run")
    path = tmp_path / "run" / "manifest.json"
    said = json.loads(path.read_text())
    said["shards"]["shard-00001.h5"] = "0" * 64
    path.write_text(json.dumps(said))
    assert any("manifest" in fault for fault in sandbox.verify(tmp_path / "run").faults)
    with pytest.raises(FormatError, match=r"manifest.json: is not the last entry of the log"):
        sandbox.repair(tmp_path / "run")
    assert sandbox.settle(tmp_path / "run").finished
    charged_once(tmp_path / "run", one_process)
