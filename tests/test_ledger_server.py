"""A book on a server that crashes, refuses, is full or far away: nothing double, nothing free."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from faulty import interrupted
from postgres import PASSWORD, Proxy, Server

from sandbox import interrupts
from sandbox.errors import InvalidInputError, LedgerError, LockedError, NoLedgerError, SandboxError
from sandbox.ledger import Ledger, Usage, charge_id, checked
from sandbox.ledger.connection import Connection
from sandbox.ledger.server import WAIT

LEASE = b"l" * 16
PLACES = ["server"]


def usage(name: str, n: int, amount: int = 1) -> Usage:
    return Usage(charge_id(name, n), {"raw_byte": amount}, "1", "e" * 64, name, n)


@pytest.fixture
def database(book_place: str) -> str:
    """The name of the book's database."""
    return book_place.rpartition("/")[2]


@pytest.fixture
def frail() -> Iterator[Server]:
    """A server that a test may kill."""
    made = Server()
    yield made
    made.close()


@pytest.fixture
def proxy(postgresql: Server) -> Iterator[Proxy]:
    made = Proxy(postgresql)
    yield made
    made.close()


def sessions(server: Server, name: str, what: str = "pid") -> list[object]:
    others = f"datname = '{name}' AND pid <> pg_backend_pid()"
    return [row[0] for row in server.admin(f"SELECT {what} FROM pg_stat_activity WHERE {others}")]


def cut_off(server: Server, name: str) -> None:
    """End all connections to a database."""
    sessions(server, name, "pg_terminate_backend(pid)")


# The connection is lost ---------------------------------------------------------------------------


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_commit_whose_answer_is_lost_is_booked_once(
    postgresql: Server, database: str, proxy: Proxy, cut: str
) -> None:
    book = Ledger(postgresql.url(database, port=proxy.port))
    book.grant("lab", 100)
    proxy.cut, proxy.left = cut, 3
    assert [receipt.exists for receipt in book.post("lab", [usage("a", 1, 7)])] == [False]
    assert proxy.left == (0 if cut == "before" else 2)  # What was committed is not sent again.
    proxy.left = 3
    assert book.reserve("lab", LEASE, {"raw_byte": 10}, price_version="1") == 0
    proxy.left = 3
    assert not book.grant("lab", 50).exists
    proxy.left = 3
    assert book.refund(usage("a", 1).id, 2).exists is False
    proxy.left = 3
    book.void("lab", LEASE)
    assert (book.balance("lab").posted_micro, book.balance("lab").pending_micro) == (145, 0)
    kinds = [booked.move.kind for booked in book.transfers()]
    assert kinds == ["open", "grant", "post", "reserve", "grant", "refund", "void"]
    assert book.check() == []
    book.close()


def test_a_server_that_does_not_answer_is_left_and_asked_again(
    postgresql: Server, database: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "patience_s", 1.0)
    book = Ledger(postgresql.url(database, port=proxy.port))
    book.grant("lab", 100)
    proxy.cut, proxy.left = "silence", 2
    begun = time.monotonic()
    assert not book.post("lab", [usage("a", 1, 7)])[0].exists
    assert 2 < time.monotonic() - begun < 30
    assert book.balance("lab").posted_micro == 93
    assert book.check() == []
    book.close()


def _spend(book: Ledger, name: str, racer: int) -> None:
    """Hold, post and release in odd portions, until nothing is left."""
    for n in range(100_000):
        lease = charge_id(f"lease {name} {racer}", n)
        held = book.reserve(name, lease, {"raw_byte": 1}, {"raw_byte": 1}, 12, price_version="1")
        if held < 0:
            return
        book.post(name, [usage(f"racer {name} {racer}", n, held + 1)], lease)


def _spent(place: str, name: str, count: int, granted: int) -> Iterator[None]:
    """Let processes spend a grant; yield while they do, and check what they spent."""
    book = Ledger(place)
    book.grant(name, granted)
    context = multiprocessing.get_context("spawn")
    racers = [context.Process(target=_spend, args=(book, name, n)) for n in range(count)]
    for racer in racers:
        racer.start()
    while any(racer.is_alive() for racer in racers):
        yield
    assert [racer.exitcode for racer in racers] == [0] * count
    posts = [one.move for one in book.transfers([name]) if one.move.kind == "post"]
    assert sum(move.amount for move in posts) == granted
    assert (book.balance(name).posted_micro, book.balance(name).pending_micro) == (0, 0)
    assert book.check() == []
    book.close()


@pytest.mark.timeout(150)
def test_accounts_spend_side_by_side_and_their_transfers_have_one_order(
    postgresql: Server, database: str
) -> None:
    place = postgresql.url(database)
    others = [_spent(place, f"lab/{n}", 2, 400) for n in range(3)]
    book = Ledger(place)
    while others:
        others = [one for one in others if next(one, 0) is None]
        book.void_all(LEASE)  # Of all accounts.
    numbers = [booked.seq for booked in book.transfers()]
    assert numbers == [*range(1, len(numbers) + 1)]
    assert book.check() == []
    book.close()


def test_a_server_is_reached_by_its_socket_and_whatever_its_defaults_are(
    postgresql: Server, database: str
) -> None:
    """Its defaults could let a transaction see an older book, or commit to memory alone."""
    for default in (
        "default_transaction_isolation = 'serializable'",
        "synchronous_commit = off",
        "statement_timeout = '1ms'",
        "search_path = public",
    ):
        postgresql.admin(f"ALTER DATABASE {database} SET {default}")
    place = f"postgresql://owner@/{database}?host={postgresql.folder}&port={postgresql.port}"
    for _ in _spent(place, "lab", 2, 300):
        time.sleep(0.05)
    book = Ledger(place)
    book.balance("lab")
    (connection,) = book._store._open  # type: ignore
    assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
    book.close()


@pytest.mark.timeout(150)
def test_what_processes_spend_is_exact_while_their_connections_are_cut(
    postgresql: Server, database: str
) -> None:
    chance, cuts = random.Random(1), 0
    for _ in _spent(postgresql.url(database), "lab", 4, 600):
        time.sleep(chance.uniform(0.02, 0.2))
        with suppress(psycopg.Error):
            cut_off(postgresql, database)
        cuts += 1
    assert cuts > 3


@pytest.mark.timeout(150)
@pytest.mark.parametrize("how", ["restart", "kill"])
def test_what_processes_spend_is_exact_while_the_server_crashes(frail: Server, how: str) -> None:
    crashes = 0
    for _ in _spent(frail.url(frail.database()), "lab", 3, 600):
        time.sleep(1.0)
        if crashes < 2:
            if how == "restart":
                frail.restart("immediate")
            else:
                frail.kill()
                frail.revive()
            crashes += 1
    assert crashes


def test_a_server_that_stays_away_ends_the_wait_and_nothing_is_booked(
    frail: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Ledger(frail.url(frail.database()))
    book.grant("lab", 100)
    frail.stop()
    monkeypatch.setenv(WAIT, "1.5")
    begun = time.monotonic()
    with pytest.raises(LedgerError, match=r"Start the server"):
        book.post("lab", [usage("a", 1)])
    assert 1 < time.monotonic() - begun < 20
    frail.start()
    assert not book.post("lab", [usage("a", 1)])[0].exists
    assert book.balance("lab").posted_micro == 99
    book.close()
    monkeypatch.setenv(WAIT, "soon")
    frail.stop()
    with pytest.raises(InvalidInputError, match=f"{WAIT}='soon'"):
        book.balance("lab")


def test_ctrl_c_ends_the_wait_for_a_server_after_some_seconds(
    frail: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where it must wait for what is half done; and what ends then waits no more."""
    book = Ledger(frail.url(frail.database()))
    book.grant("lab", 100)
    frail.stop()
    monkeypatch.setattr(interrupts, "PATIENCE_S", 0.5)
    threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    begun = time.monotonic()

    def work() -> None:
        with interrupts.Uninterrupted():
            try:
                book.post("lab", [usage("a", 1)])
            finally:
                with pytest.raises(LedgerError):
                    book.post("lab", [usage("a", 2)])

    with pytest.raises(KeyboardInterrupt):
        work()
    assert time.monotonic() - begun < 10
    frail.start()
    assert not book.post("lab", [usage("a", 1)])[0].exists
    book.close()


@pytest.mark.parametrize("every", [7])
def test_an_interrupt_at_any_line_books_whole_transfers_and_leaves_a_ledger_that_works(
    book: Ledger, every: int
) -> None:
    book.grant("lab", 10_000)
    after, cut, n = 0, True, 0
    while cut:
        n += 1
        lease = n.to_bytes(16, "big")
        with suppress(KeyboardInterrupt), interrupted(after, KeyboardInterrupt) as where:
            book.reserve("lab", lease, {"raw_byte": 9}, price_version="1")
            book.post("lab", [usage("a", n, 7)], lease)
        cut, after = bool(where), after + every
        book.void("lab", lease)
        book.post("lab", [usage("a", n, 7)])  # Once, whatever was booked before.
        assert book.balance("lab").posted_micro == 10_000 - 7 * n, where
        assert book.balance("lab").pending_micro == 0, where
    assert n > 20
    assert book.check() == []


def test_threads_share_a_ledger(book: Ledger) -> None:
    book.grant("lab", 1000)

    def spend(thread: int) -> None:
        for n in range(25):
            lease = charge_id(f"lease {thread}", n)
            book.reserve("lab", lease, {"raw_byte": 10}, price_version="1")
            book.post("lab", [usage(f"thread {thread}", n, 10)], lease)

    threads = [threading.Thread(target=spend, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert book.balance("lab").posted_micro == 0
    assert book.check() == []


def test_what_was_never_reached_is_not_waited_for(postgresql: Server) -> None:
    begun = time.monotonic()
    with pytest.raises(LedgerError, match=r"127\.0\.0\.1:1/book: cannot be reached"):
        Ledger(postgresql.url("book", port=1)).balance("lab")
    assert time.monotonic() - begun < 10


# It refuses ---------------------------------------------------------------------------------------


def test_a_wrong_password_is_refused_at_once_and_never_shown(
    postgresql: Server, database: str
) -> None:
    right = postgresql.url(database)
    wrong = right.replace("%70", "%71", 1)
    assert wrong != right
    with pytest.raises(LedgerError, match="refuses the connection") as caught:
        Ledger(wrong).balance("lab")
    shown = f"{caught.value} {caught.value.__cause__} {caught.value.__context__}"
    for secret in (PASSWORD, PASSWORD[1:], wrong.split(":")[2].split("@")[0]):
        assert secret not in shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@word@host/book",
        "postgresql://me:se#cret@host/book",
        "postgresql://me:secret@host/book?nothing=1",
        "postgresql://me:%zzsecret@host/book",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read") as caught:
        Ledger(url)
    assert "cret" not in f"{caught.value} {caught.value.__cause__}"


def test_another_kind_of_server_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="mysql://"):
        Ledger("mysql://me:secret@host/book")


def test_a_ledger_of_a_newer_version_is_refused_and_kept(
    postgresql: Server, database: str, book: Ledger
) -> None:
    book.grant("lab", 100)
    book.close()
    postgresql.admin("DROP TRIGGER ledger_kept ON ledger", database)
    postgresql.admin("UPDATE ledger SET format = 2", database)
    with pytest.raises(LedgerError, match="of format 2, not those of a ledger of format 1"):
        book.balance("lab")
    assert postgresql.admin("SELECT count(*) FROM transfer", database) == [(2,)]


def test_somebody_elses_tables_are_refused_and_kept(postgresql: Server, database: str) -> None:
    postgresql.admin("CREATE TABLE account (mine INTEGER)", database)
    with pytest.raises(LedgerError, match="its tables are no ledger"):
        Ledger(postgresql.url(database)).balance("lab")
    assert (
        len(postgresql.admin("SELECT relname FROM pg_class WHERE relname = 'transfer'", database))
        == 0
    )


def test_who_only_reads_makes_no_ledger_and_books_nothing(
    postgresql: Server, database: str, book: Ledger
) -> None:
    reader = Ledger(postgresql.url(database), read_only=True)
    assert not reader.exists()
    with pytest.raises(NoLedgerError, match="there is no ledger here"):
        reader.balance("lab")
    book.grant("lab", 100)
    assert reader.exists()
    assert reader.balance("lab").posted_micro == 100
    with pytest.raises(LedgerError, match="to be read only"):
        reader.grant("lab", 1)
    reader.close()


def test_a_user_without_rights_reads_what_it_may_and_books_nothing(
    postgresql: Server, database: str, book: Ledger
) -> None:
    book.grant("lab", 100)
    user = f"user_{database}"
    secret = PASSWORD.replace("'", "''")
    postgresql.admin(f"CREATE ROLE {user} LOGIN PASSWORD '{secret}'", database)
    other = Ledger(postgresql.url(database, user))
    with pytest.raises(LedgerError, match="lacks a right"):
        other.balance("lab")
    postgresql.admin(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}", database)
    assert other.balance("lab").posted_micro == 100
    with pytest.raises(LedgerError, match=r"lacks a right.*Nothing was booked"):
        other.grant("lab", 1)
    postgresql.admin(f"GRANT INSERT ON ALL TABLES IN SCHEMA public TO {user}", database)
    assert not other.grant("lab", 1).exists  # More it needs not.
    other.close()
    empty = postgresql.database()
    with pytest.raises(LedgerError, match="lacks a right"):
        Ledger(postgresql.url(empty, user)).balance("lab")


def test_a_full_disk_is_said_to_be_full_and_nothing_is_booked(
    postgresql: Server, database: str, book: Ledger
) -> None:
    """What the server then says is raised by a trigger: a disk cannot be filled everywhere."""
    book.grant("lab", 100)
    postgresql.admin(
        "CREATE FUNCTION full_() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
        "RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END$$",
        database,
    )
    postgresql.admin(
        "CREATE TRIGGER full_ BEFORE INSERT ON entry EXECUTE FUNCTION full_()", database
    )
    with pytest.raises(LedgerError, match=r"disk is full. Make room.*Nothing was booked"):
        book.post("lab", [usage("a", 1)])
    assert [one.move.kind for one in book.transfers()] == ["open", "grant"]
    postgresql.admin("DROP TRIGGER full_ ON entry", database)
    assert not book.post("lab", [usage("a", 1)])[0].exists
    assert book.check() == []


@pytest.mark.parametrize("table", ["ledger", "account", "transfer", "entry"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}"])
def test_nothing_is_ever_changed_or_deleted(
    postgresql: Server, database: str, book: Ledger, table: str, verb: str
) -> None:
    book.grant("lab", 100)
    column = {"ledger": "id", "account": "mode"}.get(table, "account")
    with pytest.raises(psycopg.errors.RaiseException, match="only ever added to"):
        postgresql.admin(verb.format(table, column, column), database)


@pytest.mark.parametrize(
    ("cooking", "says"),
    [
        ("UPDATE transfer SET amount = 1 WHERE seq = 3", "not what its link says"),
        ("UPDATE entry SET posted_after = 7 WHERE transfer = 2", "entries are not what it moves"),
        ("DELETE FROM transfer WHERE seq = 2", "stands where number 2 should be"),
        ("DELETE FROM entry WHERE transfer = 3", "entries are not what it moves"),
        ("DELETE FROM account", "accounts are not those"),
        ("DROP INDEX transfer_resolves", "the index transfer_resolves is missing"),
        ("ALTER TABLE entry ALTER pending DROP NOT NULL", "the column entry.pending is not as"),
        ("ALTER TABLE transfer DISABLE TRIGGER USER", "trigger transfer_kept is not as"),
        ("DROP TABLE entry CASCADE", "damaged|no ledger|missing"),
    ],
)
def test_check_finds_a_book_that_was_cooked(
    postgresql: Server, database: str, book: Ledger, cooking: str, says: str
) -> None:
    book.grant("lab", 100)
    book.post("lab", [usage("a", 1, 3)])
    assert checked.check(book) == ([], 0)
    assert checked.check(book) == ([], 3)
    for table in ("account", "transfer", "entry"):
        postgresql.admin(f"ALTER TABLE {table} DISABLE TRIGGER USER", database)
    postgresql.admin(cooking, database)
    with suppress(psycopg.Error):
        for table in ("account", "transfer", "entry"):
            if "DISABLE" not in cooking:
                postgresql.admin(f"ALTER TABLE {table} ENABLE TRIGGER USER", database)
    found = book.check()
    assert any(part in text for part in says.split("|") for text in found), found


def test_another_ledger_in_its_place_is_refused(
    postgresql: Server, database: str, book: Ledger
) -> None:
    book.grant("lab", 100)
    cut_off(postgresql, database)
    for sql in ("DROP SCHEMA public CASCADE", "CREATE SCHEMA public"):
        postgresql.admin(sql, database)
    other = Ledger(postgresql.url(database))
    other.grant("lab", 100)
    with pytest.raises(LedgerError, match="was replaced by another while it was in use"):
        book.post("lab", [usage("a", 1)])
    assert other.balance("lab").posted_micro == 100
    other.close()


# Whose clock, whose lock --------------------------------------------------------------------------


def test_the_time_is_that_of_the_server(
    book: Ledger, postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 12345.0)
    book.grant("lab", 100)
    now = float(postgresql.admin("SELECT extract(epoch FROM now())")[0][0])
    assert abs(book.transfers()[-1].at / 1000 - now) < 30


def test_a_lock_whose_connection_is_lost_is_taken_again_or_missed(
    postgresql: Server, database: str, book: Ledger
) -> None:
    other = Ledger(postgresql.url(database))
    with book.alone("abc"):
        cut_off(postgresql, database)
        book.confirm()  # Nobody took it meanwhile.
        with pytest.raises(LockedError), other.alone("abc"):
            pass
        cut_off(postgresql, database)
        with other.alone("abc", wait_s=0.0):
            monkey = pytest.MonkeyPatch()
            monkey.setattr("sandbox.ledger.sessions.ORPHAN_S", 0.2)
            with pytest.raises(LockedError, match="another process holds this lock"):
                book.confirm()
            with pytest.raises(LockedError):
                book.grant("lab", 1)
            monkey.undo()
        book.grant("lab", 1)
    with other.alone("abc"):
        pass
    other.close()


def test_a_forked_process_leaves_the_connection_and_the_lock_to_its_parent(
    postgresql: Server, database: str, book: Ledger
) -> None:
    other = Ledger(postgresql.url(database))
    with book.alone("abc"):
        before = sessions(postgresql, database)
        child = multiprocessing.get_context("fork").Process(target=book.balance, args=("local",))
        child.start()
        child.join(30)
        assert child.exitcode == 0
        assert {*before} <= {*sessions(postgresql, database)}
        with pytest.raises(LockedError), other.alone("abc"):
            pass
        book.confirm()
    other.close()


def test_an_interrupt_amid_a_transaction_books_nothing_and_leaves_a_ledger_that_works(
    postgresql: Server, database: str, book: Ledger
) -> None:
    book.grant("lab", 100)
    with psycopg.connect(postgresql.url(database)) as blocking:
        blocking.execute("LOCK TABLE transfer IN EXCLUSIVE MODE")
        threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            book.post("lab", [usage("a", 1)])
    assert [one.move.kind for one in book.transfers()] == ["open", "grant"]
    assert not book.post("lab", [usage("a", 1)])[0].exists
    assert book.check() == []


# Without it ---------------------------------------------------------------------------------------


def test_psycopg_is_imported_by_who_needs_it_alone(tmp_path: Path) -> None:
    (tmp_path / "psycopg.py").write_text("raise ImportError('not here')")
    code = (
        "import sys, sandbox\nfrom sandbox.ledger import Ledger\n"
        "Ledger().grant('lab', 1)\nassert 'psycopg' not in sys.modules\n"
        "Ledger('postgresql://host/book')"
    )
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert "worldmodel-sandbox[postgres]" in done.stderr, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("sandbox.errors.SandboxError")


def test_the_environment_names_the_ledger(
    postgresql: Server, database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SANDBOX_LEDGER", postgresql.url(database))
    book = Ledger()
    book.grant("lab", 100)
    assert PASSWORD not in book.where
    assert book.where.startswith("postgresql://owner@127.0.0.1:")
    with pytest.raises(SandboxError, match="has no file"):
        book.path  # noqa: B018
    book.close()
    monkeypatch.setenv("SANDBOX_LEDGER", str(tmp_path / "here.db"))
    Ledger().grant("lab", 7)
    assert (tmp_path / "here.db").is_file()


def test_processes_that_find_no_tables_at_once_make_them_once(postgresql: Server) -> None:
    for _ in range(3):
        url, start, said = postgresql.url(postgresql.database()), threading.Barrier(6), list[str]()

        def use(url: str = url, start: threading.Barrier = start, said: list[str] = said) -> None:
            book = Ledger(url)
            start.wait(30)
            try:
                book.grant("lab", 1)
                said.append(book.id)
            except LedgerError as error:
                said.append(str(error))
            book.close()

        threads = [threading.Thread(target=use) for _ in range(6)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert len({*said}) == 1, said
        book = Ledger(url)
        assert book.balance("lab").posted_micro == 6
        book.close()
