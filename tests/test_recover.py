"""Processes killed anywhere: every episode that is kept is charged once, and nothing is held."""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from running import KILLED, cli, content, file_of, opened, recipe

import sandbox
from sandbox import prices
from sandbox.errors import FormatError, LedgerError, RunConflictError
from sandbox.evidence import keys
from sandbox.ledger import Ledger, charge_id, locks
from sandbox.run.folder import BOOKING, Folder
from sandbox.run.locks import lock, lock_lease
from sandbox.run.recipe import changed
from sandbox.run.settle import Settlement, recover
from sandbox.trajectory import ShardReader, shards
from sandbox.verification.trust import Trust

SOAK = "SANDBOX_SOAK" in os.environ
KILLS = 100 if SOAK else 4  # One in every way.
FUNDS = prices.micro(5000)

# The command line, posting and holding in small batches, in the workers that it spawns too. Told
# to, it kills itself and all of these between keeping its nth episode and posting it.
MAIN = """
import os, signal
from sandbox.run import filling
from sandbox.trajectory import ShardWriter

filling.BATCH, filling.CHUNK, filling.HOLD_BYTES = 5, 3, 20_000
commit, last = ShardWriter.commit, [int(os.environ.get("DIES_AFTER", "0"))]

def dying(self):
    before = len(self.records)
    commit(self)
    kept = len(self.records) - before
    if 0 < last[0] <= kept:
        os.killpg(0, signal.SIGKILL)
    last[0] -= kept

ShardWriter.commit = dying
if __name__ == "__main__":
    from sandbox.cli import main
    main()
"""


STARTED: list[subprocess.Popen[bytes]] = []


@pytest.fixture(autouse=True)
def _nothing_runs_on() -> Iterator[None]:
    """End what a test that failed has left running."""
    yield
    while STARTED:
        with STARTED.pop() as process:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@dataclass
class Victim:
    """A run that is started again and again, and killed in between.

    Attributes:
        folder: of the run.
        account: who pays.
        options: of the command.
        kept: how many episodes it has.
    """

    folder: Path
    account: str
    options: tuple[str, ...]
    kept: int = 0

    def start(self, dies_after: int = 0) -> subprocess.Popen[bytes]:
        """Start it as the leader of a group of its own."""
        script = self.folder.with_name("main.py")
        script.write_text(MAIN)
        process = subprocess.Popen(
            [sys.executable, str(script), *self.command()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "DIES_AFTER": str(dies_after)},
            start_new_session=True,
        )
        STARTED.append(process)
        return process

    def command(self) -> list[str]:
        """The words of the command line that makes the run."""
        path, out = file_of(KILLED, self.folder.parent), str(self.folder)
        return ["generate", str(path), "--out", out, "--account", self.account, *self.options]

    def finish(self) -> None:
        """Run it to its end, by this process alone."""
        done = cli(*self.command(), "--workers", "1")
        assert done.returncode == 0, done.stderr

    def lines(self) -> int:
        """How many episodes are kept, roughly."""
        files = self.folder.glob("shards/*.jsonl")
        return sum(path.read_bytes().count(b"\n") for path in files)

    def check(self, *, settled: bool) -> None:
        """Check that all that is kept can be read, and what of it was charged."""
        records = committed(self.folder)
        assert len(records) >= self.kept
        self.kept = len(records)
        due = {charge_id(record["run"], record["episode"]) for record in records}
        book = Ledger()
        posts = posts_of(book, self.account)
        pending = book.balance(self.account).pending_micro
        book.close()
        assert set(posts) == due if settled else set(posts) <= due
        assert len(posts) == len(set(posts))
        assert not settled or pending == 0


def committed(folder: Path) -> list[Any]:
    """Read every episode that a killed process had committed."""
    found: list[Any] = []
    for path in shards(folder, missing_ok=True):
        if path.name.endswith(".part") and path.stat().st_size < 4096:
            continue  # Killed before the file was made.
        with ShardReader(path) as reader:
            for n in range(len(reader)):
                assert reader.read(n).digest == reader.records[n]["digest"]
                found.append(reader.records[n])
    return found


def posts_of(book: Ledger, account: str) -> list[bytes]:
    return [it.move.id for it in book.transfers([account]) if it.move.kind == "post"]


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes that generate for another; [] if there are none, or no /proc.

    They are forked from a process that this one has started.
    """
    return [pid for server in children(process.pid) for pid in children(server)]


def children(pid: int) -> list[int]:
    """The processes that a process forks workers from, or these workers."""
    found: list[int] = []
    with suppress(OSError):  # One ended meanwhile.
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if b"forkserver" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


def kill(victim: Victim, how: str, chance: random.Random) -> str:
    """Start a run and kill it at some moment; return how it died, "" if it came to its end."""
    process = victim.start(chance.randint(1, 3) if how == "unposted" else 0)
    before, begun = victim.lines(), time.monotonic()
    early = chance.uniform(0.2, 2.0) if how != "worker" and chance.random() < 0.3 else 60.0
    while how != "unposted" and process.poll() is None and time.monotonic() - begun < early:
        if victim.lines() > before:
            time.sleep(chance.uniform(0, 0.05))
            break
        time.sleep(0.005)
    crew = workers_of(process) if how == "worker" else []
    how = "group" if how == "worker" and not crew else how
    if crew:
        with suppress(ProcessLookupError):
            os.kill(chance.choice(crew), signal.SIGKILL)
    elif how != "unposted" and process.poll() is None:
        (os.killpg if how == "group" else os.kill)(process.pid, signal.SIGKILL)
    _, error = process.communicate(timeout=120)  # Waits for those that it leaves behind, too.
    said = b" ".join(error.split())
    assert process.returncode in (0, 2 if crew else -signal.SIGKILL), said
    assert (b"died with exit status" in said) == (process.returncode == 2), said
    assert b"Traceback" not in said, said
    return how if process.returncode else ""


@pytest.mark.timeout(0 if SOAK else 900)
def test_kills_lose_nothing_charge_nothing_twice_nothing_free_and_leave_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = [tmp_path / "plain", tmp_path / "killed"]
    monkeypatch.setenv("SANDBOX_HOME", str(homes[0]))
    key = keys.new()
    shutil.copytree(homes[0] / "keys", homes[1] / "keys")
    chance = random.Random(0)
    hows = itertools.cycle(["unposted", "group", "worker", "coordinator", "group"])
    kills: Counter[str] = Counter()
    posted = voided = seed = 0
    while dead(kills) < KILLS:
        seed += 1
        # A run of its own, so that each charge is made for the first time; and every other one
        # has credit to the microcredit, so that nothing may be charged twice or stay held.
        account, whole = f"lab/{seed}", tmp_path / f"whole{seed}"
        monkeypatch.setenv("SANDBOX_HOME", str(homes[0]))
        Ledger().grant(account, FUNDS)
        cost = sandbox.generate(changed(KILLED, seed=seed, account=account), whole, key=key)
        monkeypatch.setenv("SANDBOX_HOME", str(homes[1]))
        Ledger().grant(account, FUNDS if seed % 2 else cost.amount)
        paid = ("--seed", str(seed), "--admission", "greedy")
        victim = Victim(tmp_path / f"run{seed}", account, paid)
        while dead(kills) < KILLS and not (victim.folder / "manifest.json").exists():
            how = next(hows)
            crew = how in ("worker", "coordinator") or (SOAK and seed % 3 < 2)
            how = kill(replace(victim, options=(*paid, "--workers", str(1 + crew))), how, chance)
            kills[how] += 1
            if not (victim.folder / "run.json").exists():
                continue
            victim.check(settled=how in ("", "worker"))  # Who loses a worker has charged all.
            if how == "unposted" or chance.random() < 0.4:
                done = recover(victim.folder, Ledger(), key)
                posted, voided = posted + done.posted, voided + (done.voided_micro > 0)
                victim.check(settled=True)
        victim.finish()
        check_finished(victim, whole, cost.amount)
    assert posted > 0
    assert voided > 0
    print(f"kills {dict(kills)}, {posted} episodes recovered, {voided} times credit given back")


def dead(kills: Counter[str]) -> int:
    return kills.total() - kills[""]


def check_finished(victim: Victim, whole: Path, cost: int) -> None:
    """Check that a run that was killed has all, is charged once for it, and is as another."""
    assert content(victim.folder) == content(whole)
    run, count = Folder(victim.folder).run, KILLED.episodes
    book = Ledger()
    assert sorted(posts_of(book, victim.account)) == sorted(charge_id(run, n) for n in range(count))
    balance = book.balance(victim.account)
    grants = [it.move for it in book.transfers([victim.account]) if it.move.kind == "grant"]
    spent = sum(move.amount for move in grants) - balance.posted_micro
    assert (spent, balance.pending_micro) == (cost, 0)
    assert book.check() == []
    trust = Trust(Ledger(read_only=True), keys.trusted(), signed=True)
    assert sandbox.verify(victim.folder, sample=1, trust=trust).faults == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_was_kept_and_not_posted_when_all_died_is_posted_once_and_the_rest_given_back(
    tmp_path: Path, workers: str
) -> None:
    Ledger().grant("lab", FUNDS)
    paid = ("--admission", "greedy", "--workers", workers)
    victim = Victim(tmp_path / "run", "lab", paid)
    process = victim.start(dies_after=7)  # It has posted 5.
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    before = Ledger().balance("lab")
    assert before.pending_micro > 0
    victim.check(settled=False)
    posts = len(posts_of(Ledger(), "lab"))
    assert 5 <= posts < victim.kept
    done = recover(victim.folder, Ledger())
    assert (done.posted, done.episodes) == (victim.kept - posts, victim.kept)
    assert done.charge_micro == before.posted_micro - Ledger().balance("lab").posted_micro > 0
    assert 0 < done.voided_micro <= before.pending_micro - done.charge_micro
    victim.check(settled=True)
    assert recover(victim.folder, Ledger()) == Settlement(victim.kept, missing=done.missing)
    victim.finish()
    assert len(posts_of(Ledger(), "lab")) == KILLED.episodes


def test_a_record_that_asks_for_another_charge_than_its_rows_is_not_posted(tmp_path: Path) -> None:
    Ledger().grant("lab", FUNDS)
    victim = Victim(tmp_path / "run", "lab", ("--admission", "greedy"))
    victim.start(dies_after=7).communicate(timeout=120)
    (lines,) = victim.folder.glob("shards/*.jsonl")
    whole, posts = lines.read_text(), posts_of(Ledger(), "lab")
    first, *others = whole.splitlines(keepends=True)
    *others, last = others
    record = json.loads(last)
    many = {unit: 100 * count for unit, count in record["charges"].items()}
    more = record["charge_micro"] * 100
    for change in (
        {"charge_micro": more},
        {"charges": many, "charge_micro": more},
        {"charges": many},
        {"steps": record["steps"] + 1},
        {"episode": record["episode"] + 10},
        {"run": "0" * 64},
    ):
        lines.write_text("".join([first, *others, json.dumps(record | change) + "\n"]))
        with pytest.raises(FormatError, match=rf"episode {len(others) + 1} in it: .*Nothing was"):
            recover(victim.folder, Ledger())
        done = cli(*victim.command())
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert posts_of(Ledger(), "lab") == posts
    lines.write_text(whole)
    assert recover(victim.folder, Ledger()).posted == len(others) + 2 - len(posts) > 0


def test_what_a_killed_process_held_pays_for_the_same_command_again(tmp_path: Path) -> None:
    Ledger().grant("lab", sandbox.quote(KILLED).amount)
    victim = Victim(tmp_path / "run", "lab", ("--admission", "greedy"))
    process = victim.start(dies_after=22)
    process.communicate(timeout=120)
    assert Ledger().balance("lab").available_micro == 0
    victim.finish()
    balance = Ledger().balance("lab")
    assert (balance.posted_micro, balance.pending_micro) == (0, 0)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no list of children")
def test_a_worker_that_dies_stops_the_run_which_says_so_and_goes_on(tmp_path: Path) -> None:
    victim = Victim(tmp_path / "run", "local", ("--workers", "2", "--episodes", "4000"))
    process = victim.start()
    while victim.lines() < 20:
        time.sleep(0.01)
        assert process.poll() is None
    os.kill(workers_of(process)[0], signal.SIGKILL)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"worker 0 died with exit status -9. What was kept is kept" in b" ".join(error.split())
    victim.check(settled=True)


# Copies of a run folder.


def test_a_copy_of_a_run_that_is_being_generated_is_left_alone_until_that_ends(
    tmp_path: Path,
) -> None:
    Ledger().grant("lab", 10 * FUNDS)  # Enough for longer than this takes on a busy machine.
    long = ("--admission", "greedy", "--episodes", "4000")
    victim, copy = Victim(tmp_path / "run", "lab", long), tmp_path / "copy"
    process = victim.start()
    while victim.lines() < 10:
        time.sleep(0.01)
        assert process.poll() is None
    shutil.copytree(victim.folder, copy)
    before = content(copy)
    with pytest.raises(RunConflictError, match="generating this run in another folder"):
        recover(copy, Ledger())
    done = cli(*Victim(copy, "lab", long).command())
    assert done.returncode == 2
    assert "generating this run in another folder" in " ".join(done.stderr.split())
    assert content(copy) == before
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    recover(copy, Ledger())  # A lock that a kill left is not in the way.
    assert Ledger().balance("lab").pending_micro == 0
    recover(victim.folder, Ledger())
    victim.check(settled=True)


def test_workers_that_outlive_their_run_are_waited_for_in_every_copy_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.generate(recipe("billiards", episodes=1), tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    monkeypatch.setattr(locks, "ORPHAN_S", 0.1)
    folder = Folder(tmp_path / "run")
    for at_work in (lock(folder.path, worker=1), lock_lease(folder, Ledger(), 1)):
        with at_work, pytest.raises(RunConflictError, match="another process is generating"):
            recover(tmp_path / "run", Ledger())
    with (
        lock_lease(folder, Ledger(), 1),
        pytest.raises(RunConflictError, match="in another folder"),
    ):
        recover(tmp_path / "copy", Ledger())
    assert recover(tmp_path / "copy", Ledger()) == Settlement(1, finished=True)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("home", ["home", "elsewhere"])
def test_a_copy_without_the_name_of_its_ledger_is_charged_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: bool, home: str
) -> None:
    wanted = recipe("billiards", episodes=2)
    with opened(wanted, tmp_path / "run") as run, suppress(KeyboardInterrupt):
        run.generate(lambda record, bill: None if finished else signal.raise_signal(signal.SIGINT))
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "run", copy, ignore=shutil.ignore_patterns(".*"))
    before = content(copy)
    assert ("manifest.json" in before) == finished
    monkeypatch.setenv("SANDBOX_HOME", str(tmp_path / home))
    posts = posts_of(Ledger(), "local")
    with pytest.raises(LedgerError, match=r"\.ledger\.json: missing.*Restore it from a copy"):
        recover(copy, Ledger())
    with pytest.raises(LedgerError, match=r"Nothing was done.*verify --no-ledger"):
        sandbox.generate(wanted, copy)
    assert (content(copy), posts_of(Ledger(), "local")) == (before, posts)
    assert not (copy / BOOKING).exists()
    shutil.copy(tmp_path / "run" / BOOKING, copy)
    monkeypatch.setenv("SANDBOX_HOME", str(tmp_path / "home"))
    sandbox.generate(wanted, copy)
    assert len(posts_of(Ledger(), "local")) == 2


def test_a_run_that_has_no_episode_yet_may_be_charged_in_any_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = recipe("billiards", episodes=1)
    with opened(wanted, tmp_path / "run") as run:
        run.generate(share=lambda run, progress: None)
    (tmp_path / "run" / BOOKING).unlink()
    assert recover(tmp_path / "run", Ledger()) == Settlement(missing=[0])
    sandbox.generate(wanted, tmp_path / "run")
    assert len(posts_of(Ledger(), "local")) == 1
