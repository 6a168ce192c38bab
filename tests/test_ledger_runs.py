"""Runs that are charged in a ledger on a server, whatever becomes of it meanwhile."""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from postgres import Server
from running import cli, file_of, recipe

import sandbox
from sandbox import prices
from sandbox.errors import LedgerError, LockedError, RunConflictError
from sandbox.ledger import Ledger, checked, locks, sessions
from sandbox.ledger.server import WAIT
from sandbox.run.folder import Folder
from sandbox.run.watcher import Watcher

PLACES = ["server"]
GIVEN = {"account": "lab", "episodes": 24, "shard_episodes": 4}


class Acting(Watcher):
    """Does something, once, in the middle of a run; it takes as long as it takes."""

    def __init__(self, act: object, after: int = 6) -> None:
        self.act, self.left = act, after

    def kept(self, record: object, bill: object) -> None:
        self.left -= 1
        if self.left == 0:
            self.act()  # type: ignore


def granted(book: Ledger, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Let commands and runs charge an account of a book, whose credit is limited."""
    monkeypatch.setenv("SANDBOX_LEDGER", place)
    book.grant("lab", prices.micro(10_000))


def check(book: Ledger, run: Path, episodes: int) -> None:
    """Check that each episode was charged once, that nothing is held, and that the run is true."""
    posts = [one.move for one in book.transfers() if one.move.kind == "post"]
    assert sorted(move.facts["episode"] for move in posts) == [*range(episodes)]
    held = book.balance("lab")
    assert held.pending_micro == 0
    assert held.posted_micro == prices.micro(10_000) - sum(move.amount for move in posts)
    assert book.check() == []
    report = sandbox.verify(run, sample=2)
    assert (report.episodes, report.faults) == (episodes, [])


def bytes_of(run: Path) -> dict[str, bytes]:
    """The files of a run that every ledger gives alike."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.suffix in (".h5", ".json") and path.name[0] != "."
    }


@pytest.mark.timeout(150)
def test_the_commands_generate_verify_check_and_list_by_a_server(
    book: Ledger, book_place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    granted(book, monkeypatch, book_place)
    wanted = recipe(**GIVEN)
    path, run = file_of(wanted, tmp_path), tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", "generate", path, "--out", run, "--workers", "2"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    check(book, run, 24)
    assert cli("verify", run, "--sample", "1").returncode == 0
    assert json.loads(cli("ledger", "check", "--json").stdout)["ok"]
    lines = json.loads(cli("ledger", "statement", "lab", "--json").stdout)
    assert [line["kind"] for line in lines].count("post") == 24
    rows = cli("ledger", "export", "lab").stdout.splitlines()[1:]
    assert len(rows) > 0 == len(rows) % 24  # One for each meter unit of an episode.
    assert cli("ledger", "balance", "lab").returncode == 0
    assert checked.check(book)[1] > 0  # `verify` has left a point.
    monkeypatch.delenv("SANDBOX_LEDGER")
    alone = tmp_path / "alone"
    Ledger().grant("lab", prices.micro(10_000))
    sandbox.generate(wanted, alone)
    assert bytes_of(run) == bytes_of(alone)  # Wherever it is charged.
    with pytest.raises(LedgerError, match="Set SANDBOX_LEDGER to that ledger"):
        sandbox.generate(wanted, run)


@pytest.mark.timeout(150)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_goes_on_while_its_server_restarts(
    workers: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    frail = Server()
    try:
        place = frail.url(frail.database())
        book = Ledger(place)
        granted(book, monkeypatch, place)
        crash = Acting(frail.restart)
        sandbox.generate(recipe(**GIVEN), tmp_path / "run", workers=workers, watcher=crash)
        assert crash.left <= 0
        check(book, tmp_path / "run", 24)
        book.close()
    finally:
        frail.close()


@pytest.mark.timeout(150)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_whose_server_stays_away_ends_and_goes_on_later(
    workers: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    frail = Server()
    try:
        place = frail.url(frail.database())
        book = Ledger(place)
        granted(book, monkeypatch, place)
        monkeypatch.setenv(WAIT, "2")
        wanted, run = recipe(**GIVEN), tmp_path / "run"
        with pytest.raises(sandbox.errors.SandboxError, match=r"nothing is charged twice|reached"):
            sandbox.generate(wanted, run, workers=workers, watcher=Acting(frail.stop))
        frail.start()
        before = [one.move for one in book.transfers() if one.move.kind == "post"]
        assert len(before) < 24
        assert sandbox.generate(wanted, run, workers=workers).episodes == 24
        check(book, run, 24)
        book.close()
    finally:
        frail.close()


def test_a_run_that_another_process_took_over_stops_before_its_next_shard(
    book: Ledger,
    book_place: str,
    postgresql: Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    granted(book, monkeypatch, book_place)
    monkeypatch.setattr("sandbox.ledger.sessions.ORPHAN_S", 0.2)
    run, other = tmp_path / "run", Ledger(book_place)
    database = book_place.rpartition("/")[2]

    def take() -> None:
        """Lose the run's connection, and hold its lock before it comes back."""
        lease = sandbox.open_run(run).booking().lease.hex()
        end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        until = time.monotonic() + 30
        while time.monotonic() < until:
            postgresql.admin(f"{end} AND pid <> pg_backend_pid()")
            try:
                held.enter_context(other.alone(lease, wait_s=0.0))
            except LedgerError:
                continue
            return

    with ExitStack() as held:
        with pytest.raises((RunConflictError, LedgerError), match=r"another process"):
            sandbox.generate(recipe(**GIVEN), run, watcher=Acting(take))
        shards = len([*(run / "shards").glob("*.h5")])
        assert shards < 6
    assert sandbox.generate(recipe(**GIVEN), run).episodes == 24
    check(book, run, 24)
    other.close()


def test_two_coordinators_on_two_machines_exclude_each_other(
    book: Ledger, book_place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A copy of the folder has a lock of its own, as on another machine."""
    granted(book, monkeypatch, book_place)
    run, copy = tmp_path / "run", tmp_path / "copy"
    refused: list[str] = []

    def again() -> None:
        shutil.copytree(run, copy)
        call = f"sandbox.generate(recipe(**{GIVEN}), {str(copy)!r})"
        code = f"import sandbox; from running import recipe; {call}"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
        )
        refused.append(done.stderr)

    sandbox.generate(recipe(**GIVEN), run, watcher=Acting(again))
    assert "another process is generating this run in another folder" in refused[0], refused
    check(book, run, 24)


@pytest.mark.timeout(150)
def test_ranks_share_a_run_whose_locks_lie_in_the_server(
    book: Ledger, book_place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(locks, "ORPHAN_S", 0.5)
    monkeypatch.setattr(sessions, "ORPHAN_S", 0.5)
    monkeypatch.setattr(sessions, "JOIN_S", 0.2)
    granted(book, monkeypatch, book_place)
    wanted, run = recipe(**GIVEN), tmp_path / "run"
    path = str(file_of(wanted, tmp_path))
    command = [sys.executable, "-m", "sandbox", "generate", path, "--out", str(run)]
    ranks = [
        subprocess.Popen([*command, "--rank", str(n), "--world-size", "2"], stdout=subprocess.PIPE)
        for n in range(2)
    ]
    assert [(one.communicate(), one.returncode)[1] for one in ranks] == [0, 0]
    other = Ledger(book_place)  # Another machine's connection.
    booking = Folder(run).booking()
    assert booking is not None
    name = booking.lease.hex()
    with other.alone(name, 3, joins=True):  # It makes a shard of a copy of the run.
        with pytest.raises(LockedError), book.alone(name, 3, joins=True):
            pass
        with pytest.raises(LockedError), book.alone(name, None, 0.1):
            pass
        with book.alone(name, 4, joins=True):
            pass
        with pytest.raises(RunConflictError):
            sandbox.settle(run, ledger=book)
    with other.alone(name), pytest.raises(LockedError), book.alone(name, 4, joins=True):
        pass
    assert sandbox.settle(run, ledger=book).finished
    check(book, run, 24)
