"""Files written whole or not at all: a failing disk leaves the old file or the new one."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox import durable
from sandbox.errors import SandboxError

Syncs = Callable[[int], None]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    """Return a function that makes the nth sync from now on fail."""
    sync = os.fsync

    def fail(at: int) -> None:
        calls = [0]

        def fsync(fd: int) -> None:
            calls[0] += 1
            if calls[0] == at:
                raise OSError(28, "no space left")
            sync(fd)

        monkeypatch.setattr(os, "fsync", fsync)

    return fail


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list that gets, for each sync, whether it is a folder's."""
    sync, found = os.fsync, list[bool]()

    def fsync(fd: int) -> None:
        found.append(stat.S_ISDIR(os.fstat(fd).st_mode))
        sync(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return found


def test_every_writer_syncs_the_file_and_then_its_folder(
    tmp_path: Path, synced: list[bool]
) -> None:
    durable.replace(tmp_path / "a", b"new")
    durable.create(tmp_path / "b", b"new", 0o600)
    durable.append(tmp_path / "c", 0, b"new")
    assert synced == [False, True] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"new"}
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o600


def test_a_file_that_cannot_be_synced_is_not_replaced(tmp_path: Path, failing: Syncs) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    failing(1)
    with pytest.raises(SandboxError, match=r"file: cannot be written: no space left\. Make"):
        durable.replace(path, b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"old")]


@pytest.mark.parametrize("at", [1, 2])
def test_a_new_file_that_cannot_be_synced_is_not_left(
    tmp_path: Path, failing: Syncs, at: int
) -> None:
    failing(at)
    with pytest.raises(OSError, match="no space left"):
        durable.create(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_exists_is_not_created_again(tmp_path: Path) -> None:
    durable.create(tmp_path / "file", b"old")
    with pytest.raises(FileExistsError):
        durable.create(tmp_path / "file", b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"old")]


def test_appending_cuts_off_a_torn_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"whole,to")
    durable.append(path, 6, b"next")
    assert path.read_bytes() == b"whole,next"
