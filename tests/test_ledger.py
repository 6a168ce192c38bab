"""The book: exact, durable, only ever added to, and shared."""

import multiprocessing
import os
import pickle
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import pytest

from sandbox.errors import BudgetExhaustedError, InvalidInputError, LedgerError, UnknownNameError
from sandbox.ledger import AccountFunds, Lease, Ledger, Usage, charge_id
from sandbox.ledger.rules import HOLD_S
from sandbox.ledger.statement import statement

EPISODE = b"e" * 16


@pytest.fixture
def book(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "book" / "ledger.db")


def post(book: Ledger, account: str, amount: int, episode: bytes = EPISODE) -> bool:
    """Post bytes, one microcredit each, and give back what the episode holds."""
    return book.post(account, [usage(episode, amount)], episode)[0].exists


def usage(episode: bytes, amount: int, evidence: str = "f" * 64) -> Usage:
    return Usage(episode, {"raw_byte": amount}, "1", evidence)


def hold(book: Ledger, account: str, episode: bytes, least: int, most: int) -> int:
    """Hold back between `least` and `most`; return how much, 0 if not even `least` is there."""
    held = book.reserve(
        account, episode, {"raw_byte": least}, {"raw_byte": 1}, most - least, price_version="1"
    )
    return 0 if held < 0 else least + held


def test_local_is_postpaid_and_a_granted_account_prepaid(book: Ledger) -> None:
    assert book.account("local").mode == "postpaid"
    book.grant("lab/alice", 10)
    assert book.account("lab/alice").mode == "prepaid"
    assert book.balance("lab/alice").available_micro == 10
    assert book.balance("local").available_micro is None


def test_an_unknown_account_is_named_with_its_near_miss(book: Ledger) -> None:
    book.grant("lab", 10)
    with pytest.raises(UnknownNameError, match="Did you mean 'lab'"):
        book.balance("labb")
    with pytest.raises(UnknownNameError):
        book.balance("@plant")


@pytest.mark.parametrize("name", ["", "@plant", "a b", "x" * 65, "-a", "a\n"])
def test_a_name_that_is_none_is_refused(book: Ledger, name: str) -> None:
    with pytest.raises(InvalidInputError, match="use 1 to 64"):
        book.grant(name, 10)


@pytest.mark.parametrize("amount", [0, -1, 2**63])
def test_a_grant_of_nothing_or_too_much_is_refused(book: Ledger, amount: int) -> None:
    with pytest.raises(InvalidInputError):
        book.grant("lab", amount)


def test_the_same_charge_twice_charges_once_and_another_body_is_refused(book: Ledger) -> None:
    assert not post(book, "local", 7)
    assert post(book, "local", 7)
    assert book.balance("local").posted_micro == -7
    with pytest.raises(LedgerError, match="amount 7 is not 8"):
        post(book, "local", 8)
    with pytest.raises(LedgerError, match="evidence"):
        book.post("local", [usage(EPISODE, 7, "0" * 64)])
    assert book.balance("local").posted_micro == -7
    assert book.check() == []


def test_the_same_grant_twice_counts_once(book: Ledger) -> None:
    for _ in range(2):
        book.grant("lab", 5, id=b"g" * 16)
    assert book.balance("lab").posted_micro == 5


def test_a_prepaid_account_is_never_overdrawn(book: Ledger) -> None:
    book.grant("lab", 10)
    assert hold(book, "lab", EPISODE, 4, 8) == 8
    assert hold(book, "lab", b"x" * 16, 3, 3) == 0
    assert hold(book, "lab", b"x" * 16, 1, 3) == 2
    assert not post(book, "lab", 6)
    balance = book.balance("lab")
    assert (balance.posted_micro, balance.pending_micro, balance.available_micro) == (4, 2, 2)
    with pytest.raises(BudgetExhaustedError, match="Nothing was charged"):
        post(book, "lab", 3, b"y" * 16)
    assert book.balance("lab") == balance
    assert book.check() == []


def test_an_expired_hold_frees_the_credit(tmp_path: Path) -> None:
    now = [1000.0]
    book = Ledger(tmp_path / "ledger.db", clock=lambda: now[0])
    book.grant("lab", 10)
    assert hold(book, "lab", EPISODE, 10, 10) == 10
    assert book.balance("lab").available_micro == 0
    now[0] += HOLD_S + 1
    assert book.balance("lab").available_micro == 10
    assert not post(book, "lab", 10)  # Late, but the credit is still there.
    assert book.balance("lab").available_micro == 0
    assert book.check() == []


def test_a_void_gives_back_what_is_held_and_twice_changes_nothing(book: Ledger) -> None:
    book.grant("lab", 10)
    hold(book, "lab", EPISODE, 1, 6)
    for _ in range(2):
        book.void("lab", EPISODE)
        assert book.balance("lab").pending_micro == 0
    assert hold(book, "lab", EPISODE, 10, 10) == 10
    assert book.check() == []


def test_a_killed_process_holds_nothing_after_its_episode_begins_again(book: Ledger) -> None:
    book.grant("lab", 10)
    child = multiprocessing.get_context("fork").Process(target=_hold_and_die, args=(book,))
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    assert book.balance("lab").pending_micro == 10
    funds = AccountFunds(book, "lab")
    assert funds.reserve(EPISODE, {"raw_byte": 10}, {}, 0, "1") == 0
    funds.settle(EPISODE, "f" * 64, {"raw_byte": 4}, "1")
    assert (book.balance("lab").posted_micro, book.balance("lab").pending_micro) == (6, 0)


def _hold_and_die(book: Ledger) -> None:
    AccountFunds(book, "lab").reserve(EPISODE, {"raw_byte": 10}, {}, 0, "1")
    os.kill(os.getpid(), signal.SIGKILL)


def test_eight_processes_spend_exactly_what_there_is(book: Ledger) -> None:
    book.grant("lab", 100_000)
    context = multiprocessing.get_context("fork")
    racers = [context.Process(target=_race, args=(book, n)) for n in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(120)
        assert racer.exitcode == 0
    balance = book.balance("lab")
    assert (balance.posted_micro, balance.pending_micro) == (0, 0)
    posts = [booked.move for booked in book.transfers(["lab"]) if booked.move.kind == "post"]
    assert sum(move.amount for move in posts) == 100_000
    assert book.check() == []


def _race(book: Ledger, racer: int) -> None:
    """Spend in odd portions until nothing is left."""
    funds = AccountFunds(book, "lab")
    for n in range(10_000):
        episode = charge_id(f"racer {racer}", n)
        held = 1 + funds.reserve(episode, {"raw_byte": 1}, {"raw_byte": 1}, 996, "1")
        if held == 0:
            return
        funds.settle(episode, "f" * 64, {"raw_byte": max(1, held - n % 3)}, "1")


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


def test_charge_ids_are_deterministic_and_unambiguous() -> None:
    assert charge_id("run", 1) == charge_id("run", 1)
    assert len({charge_id(run, n) for run in ("a", "b", "a\n1") for n in range(50)}) == 150
    assert len(charge_id("run", 1)) == 16


def test_every_opened_account_is_listed_and_a_transfer_is_found_by_its_id(book: Ledger) -> None:
    book.grant("lab", 10, id=b"g" * 16)
    post(book, "local", 7)
    assert [(a.name, a.mode) for a in book.accounts()] == [
        ("lab", "prepaid"),
        ("local", "postpaid"),
    ]
    found = book.find(EPISODE)
    assert found is not None
    assert (found.move.kind, found.move.account, found.move.amount) == ("post", "local", 7)
    assert found.move.facts["quantities"] == {"raw_byte": 7}
    assert found.move.facts["evidence"] == "f" * 64
    grant = book.find(b"g" * 16)
    assert grant is not None
    assert (grant.move.account, grant.move.kind) == ("lab", "grant")
    assert book.find(b"0" * 16) is None


def test_the_same_transfer_at_another_time_is_the_same(tmp_path: Path) -> None:
    now = [1000.0]
    book = Ledger(tmp_path / "ledger.db", clock=lambda: now[0])
    assert not post(book, "local", 7)
    now[0] += 10**6
    assert post(book, "local", 7)


@pytest.mark.parametrize("id", [b"", b"x", b"x" * 17, "x" * 16])
def test_an_id_of_other_than_16_bytes_is_refused(book: Ledger, id: bytes) -> None:
    with pytest.raises(InvalidInputError, match="give 16 bytes"):
        book.grant("lab", 5, id=id)
    with pytest.raises(InvalidInputError, match="give 16 bytes"):
        hold(book, "local", id, 1, 1)
    with pytest.raises(InvalidInputError, match="give 16 bytes"):
        post(book, "local", 1, id)


@pytest.mark.parametrize("amount", [-1, 1.5, True, 2**63])
def test_what_is_no_amount_is_never_booked(book: Ledger, amount: int) -> None:
    book.grant("lab", 10)
    with pytest.raises(InvalidInputError):
        post(book, "lab", amount)
    with pytest.raises(InvalidInputError, match="cannot be booked"):
        book.reserve("lab", EPISODE, {"raw_byte": amount}, price_version="1")
    with pytest.raises(InvalidInputError, match="cannot be booked"):
        book.grant("lab", amount)
    assert book.balance("lab").available_micro == 10


def test_an_account_too_large_for_the_file_is_an_error_and_books_nothing(book: Ledger) -> None:
    book.grant("lab", 2**62)
    with pytest.raises(LedgerError, match="Nothing was booked"):
        book.grant("lab", 2**62)
    assert book.balance("lab").posted_micro == 2**62
    assert book.check() == []


COOKED = {
    "its entries are not what it moves": ["DELETE FROM entry WHERE transfer = 2"],
    "does not give back the hold": [
        "UPDATE transfer SET amount = 9, parts = replace(parts, '6', '9') WHERE kind = 'void'"
    ],
    "not what its link says": ["UPDATE transfer SET at = at + 1 WHERE seq = 3"],
    "stands where number 3": ["DELETE FROM transfer WHERE seq = 3"],
    "accounts are not those that were opened": [
        "UPDATE account SET mode = 'prepaid' WHERE name = 'local'"
    ],
    "work costs 7 microcredits, not 6": [
        "UPDATE transfer SET amount = 6, parts = replace(parts, '7', '6') WHERE kind = 'post'"
    ],
}


@pytest.mark.parametrize(("fault", "cooking"), COOKED.items())
def test_check_finds_what_a_cook_did(book: Ledger, fault: str, cooking: list[str]) -> None:
    book.grant("lab", 10)
    hold(book, "lab", EPISODE, 6, 6)
    book.void("lab", EPISODE)
    post(book, "local", 7, b"l" * 16)
    assert book.check() == []
    book.close()
    with apsw.Connection(str(book.path)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'"):
            connection.execute(f"DROP TRIGGER {name}").fetchall()
        for statement in cooking:
            connection.execute(statement).fetchall()
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


# Overdrafts, refunds, breakage, clocks, versions.


def test_an_account_with_an_overdraft_owes_so_much_and_no_more(book: Ledger) -> None:
    book.open_account("lab", "prepaid", overdraft=5)
    book.grant("lab", 10)
    assert book.balance("lab").available_micro == 15
    assert hold(book, "lab", EPISODE, 16, 16) == 0
    assert hold(book, "lab", EPISODE, 15, 20) == 15
    assert not post(book, "lab", 15)
    assert book.balance("lab").posted_micro == -5
    assert statement(book, "lab")[-1]["overage_micro"] == 5
    assert book.check() == []


def test_an_account_is_opened_once_in_one_way(book: Ledger) -> None:
    book.open_account("lab", "prepaid", overdraft=5)
    book.open_account("lab", "prepaid", overdraft=5)
    with pytest.raises(LedgerError, match="is open as prepaid with an overdraft"):
        book.open_account("lab", "prepaid")
    with pytest.raises(InvalidInputError, match="no limit"):
        book.open_account("bob", "postpaid", overdraft=5)
    with pytest.raises(InvalidInputError, match="give prepaid or postpaid"):
        book.open_account("bob", "free")  # type: ignore[arg-type]


def test_accounts_form_a_tree(book: Ledger) -> None:
    for name in ("lab", "lab/alice", "lab/alice/run", "laboratory"):
        book.open_account(name, "postpaid")
    assert [a.name for a in book.accounts("lab")] == ["lab", "lab/alice", "lab/alice/run"]
    post(book, "lab/alice", 3, b"a" * 16)
    post(book, "laboratory", 4, b"b" * 16)
    assert [line["amount_micro"] for line in statement(book, "lab", below=True)][-1] == -3
    assert book.balance("lab").posted_micro == 0


def test_what_a_grant_leaves_when_it_expires_is_booked_as_breakage(tmp_path: Path) -> None:
    now = [1000.0]
    book = Ledger(tmp_path / "ledger.db", clock=lambda: now[0])
    book.grant("lab", 10, expires=2000)
    book.grant("lab", 3, effective=1500)
    assert book.balance("lab").available_micro == 10
    post(book, "lab", 4)
    now[0] = 2001
    balance = book.balance("lab")
    assert (balance.posted_micro, balance.available_micro) == (3, 3)
    (lost,) = [line for line in statement(book, "lab") if line["kind"] == "breakage"]
    assert lost["amount_micro"] == -6
    book.refund(EPISODE)  # Its grant is gone: it comes back without conditions.
    assert book.balance("lab").available_micro == 7
    with pytest.raises(InvalidInputError, match="give a time to come"):
        book.grant("lab", 10, expires=1500)
    assert book.check() == []


def test_grants_burn_by_priority_then_expiry_then_age(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "ledger.db", clock=lambda: 1000.0)
    book.grant("lab", 10)  # Transfer 2, after the account's own.
    book.grant("lab", 10, expires=9000)
    book.grant("lab", 10, expires=5000)
    book.grant("lab", 10, priority=1)
    book.grant("lab", 10)
    burnt: list[int] = []
    for n in range(5):
        post(book, "lab", 10, bytes([n]) * 16)
        ((_, pot),) = book.transfers(["lab"])[-1].move.parts
        burnt.append(pot)
    assert burnt == [5, 4, 3, 2, 6]


def test_a_refund_is_a_transfer_of_its_own_and_never_more_than_the_post(book: Ledger) -> None:
    book.grant("lab", 100)
    post(book, "lab", 60)
    assert book.refund(EPISODE, 20, reason="a fault").amount == 20
    assert book.refund(EPISODE, 20, reason="a fault").exists
    assert book.refunded(EPISODE) == 20
    with pytest.raises(LedgerError, match="something else"):
        book.refund(EPISODE, 20, reason="another")
    with pytest.raises(LedgerError, match=r"0\.00004 credits left to refund"):
        book.refund(EPISODE, 41)
    assert book.refund(EPISODE).amount == 40
    assert book.refund(EPISODE).exists
    assert book.balance("lab").posted_micro == 100
    with pytest.raises(LedgerError, match="no post on this book"):
        book.refund(b"0" * 16)
    assert book.check() == []


def test_a_clock_that_runs_backwards_is_refused_beyond_a_minute(tmp_path: Path) -> None:
    now = [10_000.0]
    book = Ledger(tmp_path / "ledger.db", clock=lambda: now[0])
    book.grant("lab", 10)
    now[0] -= 30
    post(book, "lab", 1)  # The book's time stands still.
    assert book.transfers()[-1].at == 10_000_000
    now[0] -= 3600
    before = book.transfers()
    with pytest.raises(LedgerError, match=r"the clock says .* Set the clock"):
        post(book, "lab", 1, b"x" * 16)
    assert book.transfers() == before


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


def test_a_lease_pays_for_many_and_gives_the_rest_back(book: Ledger) -> None:
    book.grant("lab", 100)
    lease = Lease(book, "lab", b"l" * 16, "r", episodes=4, batch=3)
    for n in range(6):
        assert lease.reserve(b"", {"raw_byte": 10}, {}, 0, "1") == 0
        lease.post(Usage(charge_id("r", n), {"raw_byte": 7}, "1", "e" * 64, "r", n))
        assert book.balance("lab").pending_micro + book.balance("lab").posted_micro >= 100 - 42
    lease.flush(close=True)
    assert (book.balance("lab").posted_micro, book.balance("lab").pending_micro) == (58, 0)
    assert book.check() == []


def test_eight_leases_never_spend_more_than_there_is_and_hold_nothing_in_the_end(
    book: Ledger,
) -> None:
    book.grant("lab", 100_000)
    context = multiprocessing.get_context("fork")
    racers = [context.Process(target=_race_by_lease, args=(book, n)) for n in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(120)
        assert racer.exitcode == 0
    balance = book.balance("lab")
    assert balance.pending_micro == 0
    assert 0 <= balance.posted_micro < 8 * 5 * 200  # What others held when one gave up.
    posts = [booked.move.amount for booked in book.transfers() if booked.move.kind == "post"]
    assert sum(posts) + balance.posted_micro == 100_000
    assert book.check() == []


def _race_by_lease(book: Ledger, racer: int) -> None:
    """Spend in chunks, of one size and then of another, until there is nothing."""
    lease = Lease(book, "lab", bytes([racer]) * 16, f"{racer}", episodes=5, batch=4)
    for n in range(100_000):
        size = 200 if lease.reserve(b"", {"raw_byte": 200}, {}, 0, "1") == 0 else 1
        if size == 1 and lease.reserve(b"", {"raw_byte": 1}, {}, 0, "1") < 0:
            break
        used = max(1, size - n % 7)
        lease.post(
            Usage(charge_id(f"{racer}", n), {"raw_byte": used}, "1", "e" * 64, f"{racer}", n)
        )
    lease.flush(close=True)
