"""A run that may not be written is read as any other, and what would write it says so at once."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from running import content, python, recipe

import sandbox

# Root may write everywhere: it gives up the right to (CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH).
GIVEN_UP = """
import ctypes, json, os, sys
from pathlib import Path
from running import cli
import sandbox

class Head(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]

class Data(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]

libc, head, data = ctypes.CDLL(None), Head(0x20080522, 0), (Data * 2)()
assert libc.capget(ctypes.byref(head), data) == 0
data[0].effective &= ~0b110
assert libc.capset(ctypes.byref(head), data) == 0
folder = Path(sys.argv[1])
os.chdir(folder)
done = []
for words in json.loads(sys.argv[2]):
    one = cli(*words)
    done.append([one.returncode, one.stdout, one.stderr])
told = []
if len(sys.argv) > 3:
    windows = sandbox.Windows("run", length=3)
    told.append(windows[0]["action"].shape[0])
    for cache in ("ram", "out/cache", None, "run/cache"):
        try:
            batches = sandbox.Batches("run", 2, length=3, cache=cache)
            told.append(next(iter(batches))["action"].shape[1])
        except sandbox.errors.SandboxError as error:
            told.append(str(error))
json.dump([done, told], sys.stdout)
"""


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has capabilities")


@pytest.fixture(scope="module")
def guarded_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("seen")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(home / "home"))
        one = recipe("two_room", episodes=2, observation=["proprio", "pixels"], image_size=16)
        sandbox.generate(one, home / "run")
    return home


@pytest.fixture
def kept(guarded_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder with a run and a home that may not be written, and one that may."""
    found = shutil.copytree(guarded_run, tmp_path / "kept")
    monkeypatch.setenv("SANDBOX_HOME", str(found / "home"))
    (found / "out").mkdir()
    folders = [
        one for name in ("run", "home") for one in (found / name, *(found / name).rglob("*"))
    ]
    for one in folders:
        one.chmod(0o555 if one.is_dir() else 0o444)
    yield found
    for one in folders:
        one.chmod(0o755)


def run(folder: Path, *commands: tuple[str, ...], **more: bool) -> Any:
    words = [str(folder), json.dumps(commands), *more]
    done = python("-c", GIVEN_UP, *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_is_read_verified_drawn_exported_and_published(kept: Path) -> None:
    before = content(kept / "run")
    done, told = run(
        kept,
        ("inspect", "run"),
        ("verify", "run"),
        ("preview", "run", "--out", "out/seen"),
        ("coverage", "run", "--out", "out/a.png"),
        ("export", "run", "--to", "swm", "--out", "out/a.h5"),
        ("view", "run", "--as", "swm", "--out", "out/b.h5"),
        ("publish", "run", "--to", "out/c"),
        ("merge", "run", "--out", "out/d"),
        ("prove", "run", "--episode", "0", "--out", "out/e.json"),
        cache=True,
    )
    assert [(status, error) for status, _, error in done] == [(0, "")] * 9
    assert told[:4] == [3, 3, 3, 3]
    assert "run/cache" in told[4]
    assert content(kept / "run") == before


REFUSED = (
    ("preview", "run"),
    ("coverage", "run"),
    ("card", "run"),
    ("repair", "run"),
    ("settle", "run"),
    ("extend", "run", "--episodes", "3"),
    ("view", "run", "--as", "swm", "--out", "run/views/a.h5"),
    ("export", "run", "--to", "swm", "--out", "home/a.h5"),
    ("publish", "run", "--to", "home/a"),
    ("merge", "run", "--out", "home/a"),
    ("import", "out/a.h5", "--from", "swm", "--out", "home/a"),
    ("generate", "out/a.yaml", "--out", "out/new"),
)


def test_what_would_write_it_says_so_in_one_line(kept: Path) -> None:
    (kept / "out" / "a.yaml").write_text(
        "format: 1\nenvironment: two_room\npolicies: {random: 1}\nepisodes: 1\n"
    )
    sandbox.export(kept / "run", "swm", kept / "out" / "a.h5")
    names = sorted(os.listdir(kept / "run")), sorted(os.listdir(kept / "out"))
    for words, (status, _, error) in zip(REFUSED, run(kept, *REFUSED)[0], strict=True):
        assert (status, error.count("\n")) == (2, 1), (words, error)
        assert any(
            one in error for one in ("cannot be", "can be made", "read-only", "nothing may")
        ), error
    assert (sorted(os.listdir(kept / "run")), sorted(os.listdir(kept / "out"))) == names
