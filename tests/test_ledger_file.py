"""The book's file: durable, only ever added to, shared, and when it is damaged, said to be."""

import errno
import gc
import json
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import apsw
import pytest

from sandbox.errors import LedgerError, NoLedgerError, SandboxError, UnknownNameError
from sandbox.ledger import Balance, Ledger, Usage, charge_id
from sandbox.ledger.export import cloudevents_ndjson, focus_csv
from sandbox.ledger.pages import Pages
from sandbox.ledger.statement import exported, statement
from sandbox.ledger.transfer import Move

EPISODE = b"e" * 16


def usage(id: bytes, amount: int) -> Usage:
    return Usage(id, {"raw_byte": amount}, "1", "f" * 64)


def post(book: Ledger, account: str, amount: int, id: bytes = EPISODE) -> None:
    """Post bytes, one microcredit each."""
    book.post(account, [usage(id, amount)])


def cook(book: Ledger, statement: str, *values: Any) -> None:
    """Change a book as nobody should: without the triggers and rules that keep it."""
    book.close()
    connection = apsw.Connection(str(book.path))
    connection.execute("PRAGMA ignore_check_constraints = ON").fetchall()
    triggers = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
    for (name,) in triggers.fetchall():
        connection.execute(f"DROP TRIGGER {name}").fetchall()
    connection.execute(statement, values).fetchall()
    connection.close()


@pytest.mark.parametrize("table", ["ledger", "account", "transfer", "entry"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET rowid = rowid", "DELETE FROM {}"])
def test_nothing_is_ever_changed_or_deleted(book: Ledger, table: str, verb: str) -> None:
    post(book, "local", 7)
    statement = verb.format(table)
    if table == "entry":
        statement = statement.replace("rowid = rowid", "posted = 0")
    elif table == "ledger":
        statement = statement.replace("rowid = rowid", "id = ''")
    elif table == "account":
        statement = statement.replace("rowid = rowid", "mode = 'prepaid'")
    else:
        statement = statement.replace("rowid = rowid", "amount = 0")
    connection = apsw.Connection(str(book.path))
    with pytest.raises(apsw.ConstraintError, match="only ever added to"):
        connection.execute(statement).fetchall()


def test_check_finds_a_book_that_was_cooked(book: Ledger) -> None:
    post(book, "local", 7)
    connection = apsw.Connection(str(book.path))
    connection.execute("DROP TRIGGER entry_UPDATE").fetchall()
    connection.execute(
        "UPDATE entry SET posted = -3, posted_after = -3 WHERE account = 'local'"
    ).fetchall()
    assert any("its entries are not what it moves" in fault for fault in book.check())


@pytest.mark.parametrize("content", [b"I am a letter", b"SQLite format 3\x00" + b"\x07" * 5000])
def test_a_file_that_is_no_ledger_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(content)
    with pytest.raises(LedgerError, match="ledger"):
        Ledger(path).balance("local")
    assert path.read_bytes() == content


def test_an_empty_file_which_a_full_disk_leaves_is_a_new_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.touch()
    with pytest.raises(NoLedgerError, match="there is no ledger here"):
        Ledger(path, read_only=True).balance("local")
    assert path.read_bytes() == b""
    book = Ledger(path)
    book.grant("lab", 5)
    assert Ledger(path, read_only=True).balance("lab").posted_micro == 5
    assert book.check() == []


def test_somebody_elses_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    apsw.Connection(str(path)).execute("CREATE TABLE recipes (cake TEXT)").fetchall()
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="no ledger of format 2"):
        Ledger(path).grant("lab", 5)
    assert path.read_bytes() == before


def test_a_damaged_ledger_is_an_error_and_no_traceback(book: Ledger) -> None:
    for n in range(60):
        post(book, "local", n, n.to_bytes(16, "big"))
    data = bytearray(book.path.read_bytes())
    data[4096:12288] = os.urandom(8192)
    book.path.write_bytes(data)
    for suffix in ("-wal", "-shm"):
        book.path.with_name(book.path.name + suffix).unlink(missing_ok=True)
    with pytest.raises(LedgerError):
        statement(Ledger(book.path), "local")


def test_a_home_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="Set SANDBOX_HOME"):
        Ledger(tmp_path / "file" / "ledger.db").balance("local")


def test_a_read_only_home_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IROTH | stat.S_IXOTH)
    child = multiprocessing.get_context("fork").Process(target=_refused, args=(tmp_path,))
    child.start()
    child.join(30)
    assert child.exitcode == 0


def _refused(folder: Path) -> None:
    if os.geteuid() == 0:
        os.setuid(65534)  # Root writes everywhere.
    with pytest.raises(LedgerError, match="Set SANDBOX_HOME"):
        Ledger(folder / "ledger.db").balance("local")


def test_a_ledger_can_be_pickled_and_goes_on_after_a_fork(book: Ledger) -> None:
    post(book, "local", 1)
    other: Ledger = pickle.loads(pickle.dumps(book))
    assert other.balance("local").posted_micro == -1
    child = multiprocessing.get_context("fork").Process(
        target=post, args=(book, "local", 2, b"c" * 16)
    )
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert book.balance("local").posted_micro == -3


COOKED = {
    "its entries are not what it moves": ["DELETE FROM entry WHERE transfer = 2"],
    "does not give back the hold": [
        "UPDATE transfer SET amount = 9, parts = replace(parts, '6', '9') WHERE kind = 'void'"
    ],
    "not what its link says": ["UPDATE transfer SET at = at + 1 WHERE seq = 4"],
    "stands where number 4": ["DELETE FROM transfer WHERE seq = 4"],
    "accounts are not those that were opened": [
        "UPDATE account SET mode = 'prepaid' WHERE name = 'local'"
    ],
    "work costs 7 microcredits, not 6": [
        "UPDATE transfer SET amount = 6, parts = replace(parts, '7', '6') WHERE kind = 'post'"
    ],
    "transfer 7: it is not what its link says": [
        "UPDATE transfer SET facts = replace(facts, ',', ', ') WHERE kind = 'post'"
    ],
    "transfer 4: it is not what its link says": ["UPDATE transfer SET parts = parts || ' '"],
    "the grant 3 does not pay raw_byte": [
        "UPDATE transfer SET parts = replace(parts, ',2,', ',3,') WHERE kind = 'reserve'"
    ],
    "17 is no grant of its account": [
        "UPDATE transfer SET parts = replace(parts, ',2,', ',17,') WHERE kind = 'reserve'"
    ],
    "the ledger has 2 ids": ["INSERT INTO ledger VALUES ('zz')"],
    "the ledger has 0 ids": ["DELETE FROM ledger"],
    "the trigger transfer_UPDATE is missing": [""],
    "there is a table cake, which no ledger has": ["CREATE TABLE cake (recipe)"],
    "there is a trigger cake, which no ledger has": [
        "CREATE TRIGGER cake BEFORE INSERT ON entry BEGIN SELECT 1; END"
    ],
    "there is a index cake, which no ledger has": ["CREATE INDEX cake ON entry (posted)"],
    "the index transfer_run is not as this version makes it": [
        "DROP INDEX transfer_run",
        "CREATE INDEX transfer_run ON transfer (run)",
    ],
}


@pytest.mark.parametrize(("fault", "cooking"), COOKED.items())
def test_check_finds_what_a_cook_did(book: Ledger, fault: str, cooking: list[str]) -> None:
    book.grant("lab", 10)
    book.grant("lab", 10, meters=["pixel"])
    book.reserve("lab", EPISODE, {"raw_byte": 6}, price_version="1")
    book.void("lab", EPISODE)
    post(book, "local", 7, b"l" * 16)
    assert book.check() == []
    for change in cooking:
        cook(book, change)
    assert any(fault in found for found in book.check()), book.check()


def test_threads_take_turns(book: Ledger) -> None:
    book.grant("lab", 1000)

    def spend(thread: int) -> None:
        for n in range(20):
            post(book, "lab", 1, charge_id(str(thread), n))

    threads = [threading.Thread(target=spend, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert book.balance("lab").posted_micro == 1000 - 80


ORPHAN = """
import os, sys, time
from pathlib import Path
from sandbox.ledger import Ledger, charge_id
folder = Path(sys.argv[1]); book = Ledger(folder / "ledger.db"); book.grant("lab", 1000)
parent = os.getpid()
if os.fork():
    while not (folder / "first").exists():
        time.sleep(0.01)
    del book  # Closes the file, as leaving does.
    os._exit(0)
from sandbox.ledger import Usage
def spend(n):
    book.post("lab", [Usage(charge_id("c", n), {"raw_byte": 1}, "1", "e" * 64)])
spend(0)
(folder / "first").touch()
while os.getppid() == parent:
    time.sleep(0.01)
for n in range(1, 11):
    spend(n)
(folder / "last").touch()
while not (folder / "seen").exists() and (folder / "first").exists():
    time.sleep(0.01)
os._exit(0)
"""


def test_what_a_forked_child_books_survives_the_parents_end(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", ORPHAN, str(tmp_path)], check=True, timeout=60)
    wait = threading.Event()
    for _ in range(1000):
        if (tmp_path / "last").exists():
            break
        wait.wait(0.02)
    try:
        assert Ledger(tmp_path / "ledger.db").balance("lab").posted_micro == 1000 - 11
    finally:
        (tmp_path / "seen").touch()


def test_a_ledger_of_a_newer_version_is_refused_and_kept(book: Ledger) -> None:
    book.grant("lab", 10)
    book.close()
    with apsw.Connection(str(book.path)) as connection:
        connection.execute("PRAGMA user_version = 3").fetchall()
    connection.close()
    before = book.path.read_bytes()
    with pytest.raises(LedgerError, match="Use the version that wrote it"):
        Ledger(book.path).balance("lab")
    assert book.path.read_bytes() == before


def test_who_only_reads_neither_makes_nor_changes_a_ledger(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger here"):
        Ledger(tmp_path / "ledger.db", read_only=True).check()
    assert not (tmp_path / "ledger.db").exists()
    Ledger(tmp_path / "ledger.db").grant("lab", 10)
    reader = Ledger(tmp_path / "ledger.db", read_only=True)
    assert reader.check() == []
    with pytest.raises(LedgerError, match="read-only"):
        reader.grant("lab", 10)


DAMAGED = {
    "facts": [
        *("", "{", "[]", "5", "null", '"x"', '{"x":NaN}', '{"x":1e400}', "{}", "[" * 10**5),
        *('{"evidence":"\\ud800"}', '{"a":' + "1" * 5000 + "}"),
    ],
    "parts": [
        *("5", "null", "{}", "[[1,2,3]]", '[["*",5,"a"]]', '[["*",5]]', '[["*",1.5,2]]', "[5]"),
        *('[["*",5,1e400]]', "[[[],5,3]]", '[["*","x",3]]', '[["*",5,null]]', '[["*",-1,3]]'),
        *('[["*",1,true]]', '[["*",5,3],["*",5,4]]', f'[["*",5,{2**70}]]'),
    ],
    "at": [2**62, -5, 2**63 - 1],
    "amount": [2**63 - 1],
    "expires": [-5, 2**62],
}
WRONG = {  # Of facts, in their places.
    "quantities": ([], 5, None, {"raw_byte": "x"}, {"raw_byte": -1}, {"raw_byte": 1.5}, {"x": []}),
    "price_version": ([], 5, None, {}),
    "episode": ("x", {}, -1, True),
    "parent": (5, [], {}),
    "evidence": (5, None),
    "meters": (5, [[]], None, [5]),
    "effective": ("x", -1),
    "expires": ("x", [], 2**64),
    "priority": (None, "x", 1.5),
    "mode": (None, [], 5),
    "overdraft": (None, "x"),
    "reason": (5,),
}


def damaged() -> Iterator[tuple[str, str, Any]]:
    """Yield which transfers' columns are changed, and to what."""
    for column, values in DAMAGED.items():
        yield from (("seq > 0", column, value) for value in values)
    for name, values in WRONG.items():
        for value in values:
            found = f"json_set(facts, '$.{name}', json('{json.dumps(value)}'))"
            yield f"json_type(facts, '$.{name}') IS NOT NULL", "facts", found
    for column in ("facts", "parts", "account", "run", "kind"):
        yield "seq = 2", column, "CAST(x'ff' AS TEXT)"


@pytest.mark.parametrize(("rows", "column", "value"), list(damaged()))
def test_what_cannot_be_a_transfer_is_an_error_and_a_fault_and_no_traceback(
    book: Ledger, rows: str, column: str, value: Any
) -> None:
    book.grant("lab", 10, id=b"g" * 16)
    book.reserve("lab", b"l" * 16, {"raw_byte": 1}, price_version="1")
    book.post("lab", [usage(EPISODE, 7)])
    book.refund(EPISODE, 1)
    places = (value, ()) if isinstance(value, str) and "(" in value else ("?", (value,))
    cook(book, f"UPDATE transfer SET {column} = {places[0]} WHERE {rows}", *places[1])
    reader = Ledger(book.path, read_only=True)
    assert reader.check() != []
    tries(reader)
    tries(book)


def tries(book: Ledger) -> set[str]:
    """Do everything to a book; return what it refused, each by a LedgerError."""
    writes = not book._store.read_only
    refused: set[str] = set()
    for name, work in {
        "statement": lambda: statement(book, "lab", below=True),
        "export": lambda: list(focus_csv(exported(book))),
        "events": lambda: list(cloudevents_ndjson(exported(book, "lab"))),
        "balance": lambda: book.balance("lab"),
        "find": lambda: book.find(EPISODE),
        "refunded": lambda: book.refunded(EPISODE),
        "id": lambda: book.id,
        "of_run": lambda: book.of_run("r"),
        "post": lambda: writes and book.post("lab", [usage(EPISODE, 7)], b"l" * 16),
        "refund": lambda: writes and book.refund(EPISODE, 2),
        "void": lambda: writes and book.void_all(b"l" * 16),
        "grant": lambda: writes and book.grant("lab", 10, id=b"g" * 16),
    }.items():
        try:
            work()
        except SandboxError:
            refused.add(name)
    return refused


def test_a_bit_that_flips_anywhere_is_no_traceback(book: Ledger, tmp_path: Path) -> None:
    book.grant("lab", 10, id=b"g" * 16)
    book.reserve("lab", b"l" * 16, {"raw_byte": 1}, price_version="1")
    for n in range(5):
        book.post("lab", [usage(bytes([n]) * 16, 1)])
    book.refund(bytes(16))
    book.close()
    whole, chance = book.path.read_bytes(), random.Random(0)
    used = [place for place, byte in enumerate(whole) if byte]
    for n in range(3000 if "SANDBOX_SOAK" in os.environ else 150):
        data, place = bytearray(whole), chance.choice(used)
        data[place] ^= 1 << chance.randrange(8)
        path = tmp_path / f"{n}.db"
        path.write_bytes(data)
        reader = Ledger(path, read_only=True)
        with suppress(LedgerError):
            reader.check()
        tries(reader)
        reader.close()


@pytest.mark.parametrize("clock", [0.0, 10_000.0, 4e9])
def test_who_reads_books_nothing_whatever_the_clock_says(tmp_path: Path, clock: float) -> None:
    """A clock that is ahead destroys no credit, and one that is behind can read."""
    now = [2000.0]
    path = tmp_path / "ledger.db"
    book = Ledger(path, clock=lambda: now[0])
    book.grant("lab", 10, expires=9000)
    book.grant("lab", 5)
    book.reserve("lab", EPISODE, {"raw_byte": 3}, price_version="1", timeout_s=5000)
    before = book.transfers()
    for reader in (Ledger(path, lambda: clock, read_only=True), Ledger(path, lambda: clock)):
        balance = reader.balance("lab")
        late = clock > 9000
        assert balance.pending_micro == (0 if late else 3)
        assert balance.available_micro == (5 if late else 12)
        assert reader.shortfall("lab", {"pixel": 20}) == (15 if late else 8)
        assert reader.account("lab").mode == "prepaid"
        assert statement(reader, "lab")[-1]["balance_micro"] == 15
    assert book.transfers() == before
    assert book.balance("lab").available_micro == 12
    now[0] = 7500
    book.grant("lab", 1)
    assert book.balance("lab").pending_micro == 0
    book.post("lab", [])  # Who writes books what has expired.
    assert "expire" in [booked.move.kind for booked in book.transfers()]
    assert book.check() == []


def test_an_account_that_nobody_opened_reads_as_local_does_or_is_unknown(book: Ledger) -> None:
    with pytest.raises(UnknownNameError):
        book.balance("lab")
    assert book.balance("local") == Balance(0, 0, None)
    reader = Ledger(book.path, read_only=True)
    assert reader.balance("local") == Balance(0, 0, None)
    assert reader.account("local").mode == "postpaid"
    assert statement(reader, "local") == list(exported(reader, "local")) == []
    assert reader.accounts() == []
    with pytest.raises(UnknownNameError):
        statement(reader, "lab")


def test_a_book_on_a_read_only_disk_is_read_but_not_without_what_lies_beside_it(
    book: Ledger,
) -> None:
    book.grant("lab", 10)
    book.close()
    with tempfile.TemporaryDirectory() as folder:  # Pytest's own are closed to other users.
        assert _alone(Path(folder), book, _reads)
    book.post("lab", [usage(EPISODE, 7)])
    with tempfile.TemporaryDirectory() as folder:  # As a process that was killed leaves it.
        shutil.copy(f"{book.path}-wal", folder)
        assert _alone(Path(folder), book, _refuses_to_read)


def _alone(folder: Path, book: Ledger, work: Callable[[Path], None]) -> bool:
    """Copy a book and do something as a user who may only read."""
    path = Path(shutil.copy(book.path, folder))
    for readable in folder.iterdir():
        readable.chmod(0o444)
    folder.chmod(0o555)
    child = multiprocessing.get_context("fork").Process(target=_as_nobody, args=(work, path))
    child.start()
    child.join(30)
    folder.chmod(0o755)
    return child.exitcode == 0


def _as_nobody(work: Callable[[Path], None], path: Path) -> None:
    if os.geteuid() == 0:
        os.setuid(65534)  # Root writes everywhere.
    work(path)


def _reads(path: Path) -> None:
    for _ in range(2):
        assert Ledger(path, read_only=True).balance("lab").available_micro == 10
    assert Ledger(path, read_only=True).check() == []


def _refuses_to_read(path: Path) -> None:
    with pytest.raises(LedgerError, match=r"ledger\.db-wal beside it has transfers"):
        Ledger(path, read_only=True).balance("lab")


@pytest.mark.parametrize("time", [float("nan"), float("inf"), -float("inf"), -1.0, 1e300])
def test_a_clock_that_says_no_time_is_an_error(tmp_path: Path, time: float) -> None:
    book = Ledger(tmp_path / "ledger.db", clock=lambda: time)
    with pytest.raises(LedgerError, match=r"the clock says .* Set the clock"):
        book.balance("local")
    with pytest.raises(LedgerError, match=r"the clock says .* Set the clock"):
        post(book, "local", 1)
    assert book.transfers() == []


def test_a_full_disk_is_said_to_be_full_whatever_sqlite_calls_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite calls it an I/O error when there is no room for its shared memory."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(LedgerError, match="is a folder, no ledger"):
        Ledger(tmp_path / "folder").balance("local")
    (tmp_path / "ledger.db-wal").mkdir()  # So that SQLite cannot open its log.
    with pytest.raises(LedgerError, match="cannot be opened or written"):
        Ledger(tmp_path / "ledger.db").balance("local")
    disk = os.statvfs(tmp_path)
    full = os.statvfs_result((*disk[:4], 0, *disk[5:]))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    with pytest.raises(LedgerError, match="the disk is full"):
        Ledger(tmp_path / "ledger.db").balance("local")

    def no_room(path: Path, **options: bool) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", no_room)
    with pytest.raises(LedgerError, match="the disk is full"):
        Ledger(tmp_path / "home" / "ledger.db").balance("local")


@pytest.mark.parametrize("adds", range(1, 6))
def test_a_process_that_is_killed_amid_a_transaction_books_nothing(book: Ledger, adds: int) -> None:
    book.grant("lab", 100)
    book.reserve("lab", b"l" * 16, {"raw_byte": 50}, price_version="1")
    before, balance = book.transfers(), book.balance("lab")
    child = multiprocessing.get_context("fork").Process(target=_post_and_die, args=(book, adds))
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    assert (book.transfers(), book.balance("lab")) == (before, balance)
    assert book.check() == []
    usages = [usage(bytes([n]) * 16, 10) for n in range(3)]
    assert [receipt.exists for receipt in book.post("lab", usages, b"l" * 16)] == [False] * 3


def _post_and_die(book: Ledger, adds: int) -> None:
    """Release a hold, post thrice, hold on: five transfers; die after so many."""
    add, left = Pages.add, [adds]

    def dying(pages: Pages, move: Move, at: int) -> None:
        add(pages, move, at)
        pages.flush()
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    Pages.add = dying
    book.post("lab", [usage(bytes([n]) * 16, 10) for n in range(3)], b"l" * 16, keep=True)


@pytest.mark.parametrize("free", [0, 1, 2])
def test_too_many_open_files_are_no_fault_of_the_folder(free: int, tmp_path: Path) -> None:
    book = Ledger(tmp_path / "ledger.db")
    book.open_account("lab", "prepaid")
    book.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        gc.collect()  # A file that is closed during the test would be one more that is free.
        highest = max(map(int, os.listdir("/proc/self/fd")))
        fds = [held.enter_context(open(os.devnull))]
        while fds[-1].fileno() <= highest:  # Fill the gaps below.
            fds.append(held.enter_context(open(os.devnull)))
        fds += [held.enter_context(open(os.devnull)) for _ in range(free)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (fds[-1].fileno() + 1, hard))
        for fd in fds[len(fds) - free :]:
            fd.close()
        with pytest.raises(LedgerError, match=r"Too many open files.*ulimit -n"):
            book.open_account("other", "prepaid")
    book.open_account("other", "prepaid")
    assert book.check() == []
