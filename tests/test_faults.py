"""Disks that fail, fill, tear and lie: the old state or the new one, and a clear error."""

import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import pytest
from running import content, logged, opened, recipe

import sandbox
from sandbox.errors import LedgerError, SandboxError
from sandbox.ledger import Lease, Ledger, Usage, charge_id
from sandbox.ledger.statement import statement
from sandbox.run import filling
from sandbox.run import run as runs
from sandbox.run.folder import Folder
from sandbox.run.recipe import Recipe
from sandbox.run.settle import Settlement, recover
from sandbox.trajectory import ShardWriter, StorageError

SOAK = "SANDBOX_SOAK" in os.environ


class PowerCutError(apsw.IOError):
    """Nothing reaches the disk any more."""


@dataclass
class Disk:
    """A disk under SQLite that can be told to fail.

    Attributes:
        fail_at: the number of the write or sync that fails, or -1.
        error: how: `full`, `io`, or `cut` (the power goes, here and for all that follows).
        lies: whether syncs are claimed and not done.
    """

    fail_at: int = -1
    error: str = "io"
    lies: bool = False
    count: int = 0
    dead: bool = False
    unsynced: dict[str, list[tuple[int, bytes, int]]] = field(default_factory=dict)

    def touch(self) -> None:
        """Count an operation, and fail if it is its turn."""
        if self.dead:
            raise PowerCutError("no power")
        self.count += 1
        if self.count - 1 == self.fail_at:
            if self.error == "full":
                raise apsw.FullError("no space left")
            if self.error == "io":
                raise apsw.IOError("the disk fails")
            self.dead = True
            raise PowerCutError("no power")

    def restart(self, chance: random.Random) -> None:
        """Undo, of what was never synced, what the disk had not written: whole sectors."""
        for name, writes in self.unsynced.items():
            path = Path(name)
            if not path.exists():
                continue
            with path.open("r+b") as file:
                for offset, old, size in reversed(writes):
                    kept = chance.choice([0, size // 2 // 512 * 512, size])
                    file.seek(offset + kept)
                    file.write(old[kept:size].ljust(0))
                    if kept < size and len(old) < size:
                        file.truncate(max(offset + kept, offset + len(old)))
            path.with_name(f"{path.name}-shm").unlink(missing_ok=True)


class FaultyVFS(apsw.VFS):
    def __init__(self, name: str, disk: Disk) -> None:
        self.disk = disk
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> "FaultyFile":  # noqa: N802
        return FaultyFile(name, flags, self.disk)


class FaultyFile(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], disk: Disk) -> None:
        self.disk = disk
        self.path = name if isinstance(name, str) else name.filename() if name else ""
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self.disk.touch()
        size = self.xFileSize()
        old = super().xRead(min(len(data), size - offset), offset) if offset < size else b""
        self.disk.unsynced.setdefault(self.path, []).append((offset, bytes(old), len(data)))
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self.disk.touch()
        if not self.disk.lies:
            super().xSync(flags)
            self.disk.unsynced.pop(self.path, None)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self.disk.touch()
        super().xTruncate(size)
        self.disk.unsynced.pop(self.path, None)


def story(book: Ledger) -> Iterator[None]:
    """What is done to a book; each yield is a promise that what was done lasts."""
    book.grant("lab", 1000, b"g" * 16)
    yield
    book.grant("lab", 500, b"h" * 16, meters=["raw_byte"])
    yield
    for n in range(4):
        book.reserve("lab", b"l" * 16, {"raw_byte": 100}, price_version="1")
        yield
        usages = [Usage(charge_id("r", 2 * n + m), {"raw_byte": 30}, "1", "e" * 64) for m in (0, 1)]
        book.post("lab", usages, b"l" * 16)
        yield
    book.refund(charge_id("r", 3))
    yield


def told(book: Ledger) -> tuple[int, str]:
    """Tell the story until it fails; return how many promises were made, and the error."""
    done = 0
    try:
        for _ in story(book):
            done += 1
    except LedgerError as error:
        return done, str(error)
    return done, ""


def damage(book: Ledger) -> str:
    """The error that reading a book raises, or nothing."""
    try:
        state(book)
    except LedgerError as error:
        return str(error)
    return ""


def refused(wanted: Recipe, folder: Path) -> str:
    """The error that generating raises, or nothing."""
    try:
        sandbox.generate(wanted, folder)
    except SandboxError as error:
        return str(error)
    return ""


def state(book: Ledger) -> list[tuple[Any, ...]]:
    return [(b.seq, b.move.kind, b.move.amount, b.move.id) for b in book.transfers()]


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What the book says before the story and after each of its promises."""
    book = Ledger(tmp_path_factory.mktemp("plain") / "ledger.db")
    book.open_account("lab", "prepaid")
    found = [state(book)]
    for _ in story(book):
        found.append(state(book))
    return found


def begin(folder: Path, disk: Disk, name: str) -> tuple[Ledger, FaultyVFS]:
    """An open book on a disk that will fail later."""
    plain = Ledger(folder / "ledger.db")
    plain.open_account("lab", "prepaid")
    plain.close()
    vfs = FaultyVFS(name, disk)
    book = Ledger(folder / "ledger.db", vfs=name)
    book.balance("lab")
    disk.count = 0
    disk.unsynced.clear()
    return book, vfs


def operations(folder: Path) -> int:
    """How many writes and syncs the story takes."""
    disk = Disk()
    book, _ = begin(folder, disk, "counting")
    for _ in story(book):
        pass
    return disk.count


def points(folder: Path) -> list[int]:
    every = list(range(operations(folder)))
    return every if SOAK else random.Random(0).sample(every, min(len(every), 15))


@pytest.mark.parametrize("error", ["full", "io"])
def test_a_write_that_fails_books_nothing_and_works_again(
    tmp_path: Path, states: list[Any], error: str
) -> None:
    for point in points(tmp_path / "count"):
        folder = tmp_path / str(point)
        disk = Disk(point, error)
        book, _ = begin(folder, disk, f"{error}{point}")
        done, said = told(book)
        assert "the disk is full" in said or "cannot be opened or written" in said
        assert state(book) in (states[done], states[min(done + 1, len(states) - 1)])
        assert book.check() == []
        again = Ledger(folder / "ledger.db")
        for _ in story(again):  # The same ids: what was booked is not booked again.
            pass
        assert again.check() == []
        posts = [move for move in state(again) if move[1] == "post"]
        assert len(posts) == 8
        shutil.rmtree(folder)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # On closing.
@pytest.mark.parametrize("lies", [False, True])
def test_a_power_cut_leaves_what_was_promised_or_if_the_disk_lies_a_whole_beginning(
    tmp_path: Path, states: list[Any], lies: bool
) -> None:
    chance = random.Random(int(lies))
    for point in points(tmp_path / "count"):
        folder = tmp_path / str(point)
        disk = Disk(point, "cut", lies)
        book, vfs = begin(folder, disk, f"cut{lies}{point}")
        done, said = told(book)
        assert "cannot be opened or written" in said
        copy = tmp_path / f"{point}-restarted"
        shutil.copytree(folder, copy)
        disk.unsynced = {
            str(copy / Path(name).name): writes for name, writes in disk.unsynced.items()
        }
        disk.restart(chance)
        after = Ledger(copy / "ledger.db")
        if not lies:
            assert state(after) in states[done : done + 2], (point, done)
            assert after.check() == []
            continue
        said = damage(after)
        if not said:
            assert state(after) in states[: done + 2]
            assert after.check() == []
        assert not said or "damaged" in said
        del vfs


def test_a_disk_that_fails_anywhere_in_a_run_leaves_one_that_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file shim: the nth sync of a file by Python fails, as a full or broken disk does."""
    wanted = recipe("billiards", episodes=3, shard_episodes=2)
    sandbox.generate(wanted, tmp_path / "whole")
    calls = [0]
    sync = os.fsync

    def failing(fd: int) -> None:
        calls[0] += 1
        if calls[0] == fail_at:
            raise OSError(5 if fail_at % 2 else 28, "the disk fails")
        sync(fd)

    monkeypatch.setattr(os, "fsync", failing)
    failures = 0
    for fail_at in range(1, 40, 1 if SOAK else 3):
        calls[0] = 0
        folder = tmp_path / f"run{fail_at}"
        said = refused(wanted, folder)
        if not said:
            break
        failures += 1
        assert "the disk fails" in said or "cannot be written" in said
        fail_at = 0
        sandbox.generate(wanted, folder)
        assert content(folder) == content(tmp_path / "whole")
        shutil.rmtree(folder)
    assert failures > 5
    posts = [b for b in Ledger().transfers(["local"]) if b.move.kind == "post"]
    assert len(posts) == 3


def test_recovering_posts_what_is_kept_gives_back_what_is_held_and_twice_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Ledger()
    wanted = recipe("billiards", episodes=5, account="lab", shard_episodes=3, admission="greedy")
    funds = sandbox.quote(wanted).amount  # To the microcredit: what is held must pay.
    book.grant("lab", funds)

    def dies(*_: object, **__: object) -> None:
        raise SystemExit("killed")

    seen: list[Any] = []
    with monkeypatch.context() as patch, opened(wanted, tmp_path / "run") as run:
        patch.setattr(filling, "HOLD_BYTES", 0)
        patch.setattr(Lease, "flush", dies)
        patch.setattr(runs, "settle", lambda *_: Settlement())

        def stop(record: Any, _: object) -> None:
            seen.append(record)
            if len(seen) == 4:
                raise SystemExit("killed")

        with pytest.raises(SystemExit):
            run.generate(stop)
    assert book.balance("lab").pending_micro > 0
    assert book.balance("lab").posted_micro == funds
    done = recover(tmp_path / "run", book)
    assert (done.episodes, done.posted, done.finished) == (4, 4, False)
    assert done.voided_micro > 0
    assert done.charge_micro == sum(record.charge_micro for record in seen)
    assert book.balance("lab").pending_micro == 0
    before = (content(tmp_path / "run"), state(book))
    again = recover(tmp_path / "run", book)
    assert (again.posted, again.voided_micro) == (0, 0)
    assert (content(tmp_path / "run"), state(book)) == before
    sandbox.generate(wanted, tmp_path / "run")
    assert (book.balance("lab").posted_micro, book.balance("lab").pending_micro) == (0, 0)
    book.grant("lab", funds)  # Simulating the same again holds credit, and posts nothing.
    sandbox.generate(wanted, tmp_path / "whole")
    assert book.balance("lab").posted_micro == funds
    assert content(tmp_path / "run") == content(tmp_path / "whole")
    assert sandbox.verify(tmp_path / "run").faults == []
    booking = Folder(tmp_path / "run").booking()
    assert booking is not None
    assert booking.ledger == book.id


def test_what_a_full_disk_did_not_keep_is_not_charged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = ShardWriter.commit

    def full(self: ShardWriter) -> None:
        if self.held and self.records:
            self.abandon()
            raise StorageError("the disk is full")
        commit(self)

    book, wanted = Ledger(), recipe(episodes=5, account="lab")
    book.grant("lab", 10**9)
    monkeypatch.setattr(ShardWriter, "commit", full)
    with opened(wanted, tmp_path / "run") as run:
        monkeypatch.setattr(filling, "HOLD_BYTES", 2 * 101 * run.source.makers[0].schema.row_bytes)
        with pytest.raises(StorageError):
            run.generate()
    posts = [line for line in statement(book, "lab") if line["kind"] == "post"]
    assert len(posts) == len(logged(tmp_path / "run")) == 2
    assert book.balance("lab").pending_micro == 0


def test_credit_held_for_episodes_that_are_not_committed_pays_for_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "HOLD_BYTES", 1 << 30)
    wanted, book = recipe(episodes=8, account="lab", admission="greedy"), Ledger()
    each = sandbox.quote(wanted, episodes=1).amount
    book.grant("lab", 3 * each + each // 2)
    assert sandbox.generate(wanted, tmp_path / "run").ended
    assert len(logged(tmp_path / "run")) == 3
    balance = book.balance("lab")
    assert (balance.posted_micro, balance.pending_micro) == (each // 2, 0)
