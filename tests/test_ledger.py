"""The book: exact, durable, only ever added to, and shared."""

import multiprocessing
import os
import pickle
import signal
import stat
from pathlib import Path

import apsw
import pytest

from sandbox.errors import BudgetExhaustedError, InvalidInputError, LedgerError, UnknownNameError
from sandbox.ledger import AccountFunds, Ledger, charge_id
from sandbox.ledger.book import HOLD_S

EPISODE = b"e" * 16


@pytest.fixture
def book(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "book" / "ledger.db")


def post(book: Ledger, account: str, amount: int, episode: bytes = EPISODE) -> bool:
    receipt = book.settle(account, episode, amount, "f" * 64, {"raw_byte": amount}, "1")
    return receipt.exists


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
        book.settle("local", EPISODE, 7, "0" * 64, {"raw_byte": 7}, "1")
    assert book.balance("local").posted_micro == -7
    assert book.check() == []


def test_the_same_grant_twice_counts_once(book: Ledger) -> None:
    for _ in range(2):
        book.grant("lab", 5, id=b"g" * 16)
    assert book.balance("lab").posted_micro == 5


def test_a_prepaid_account_is_never_overdrawn(book: Ledger) -> None:
    book.grant("lab", 10)
    assert book.reserve("lab", EPISODE, 4, 8) == 8
    assert book.reserve("lab", b"x" * 16, 3, 3) == 0
    assert book.reserve("lab", b"x" * 16, 1, 3) == 2
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
    assert book.reserve("lab", EPISODE, 10, 10) == 10
    assert book.balance("lab").available_micro == 0
    now[0] += HOLD_S + 1
    assert book.balance("lab").available_micro == 10
    assert not post(book, "lab", 10)  # Late, but the credit is still there.
    assert book.balance("lab").available_micro == 0
    assert book.check() == []


def test_a_void_gives_back_what_is_held_and_twice_changes_nothing(book: Ledger) -> None:
    book.grant("lab", 10)
    book.reserve("lab", EPISODE, 1, 6)
    for _ in range(2):
        book.void("lab", EPISODE)
        assert book.balance("lab").pending_micro == 0
    assert book.reserve("lab", EPISODE, 10, 10) == 10
    assert book.check() == []


def test_a_killed_process_holds_nothing_after_its_episode_begins_again(book: Ledger) -> None:
    book.grant("lab", 10)
    child = multiprocessing.get_context("fork").Process(target=_hold_and_die, args=(book,))
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    assert book.balance("lab").pending_micro == 10
    funds = AccountFunds(book, "lab")
    assert funds.reserve(EPISODE, 10, 10) == 10
    funds.settle(EPISODE, 4, "f" * 64, {"raw_byte": 4}, "1")
    assert (book.balance("lab").posted_micro, book.balance("lab").pending_micro) == (6, 0)


def _hold_and_die(book: Ledger) -> None:
    AccountFunds(book, "lab").reserve(EPISODE, 10, 10)
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
    assert -sum(line["amount_micro"] for line in _posts(book)) == 100_000
    assert book.check() == []


def _posts(book: Ledger) -> list[dict[str, int]]:
    return [line for line in book.statement("lab") if line["kind"] == "post"]


def _race(book: Ledger, racer: int) -> None:
    """Spend in odd portions until nothing is left."""
    funds = AccountFunds(book, "lab")
    for n in range(10_000):
        episode = charge_id(f"racer {racer}", n)
        held = funds.reserve(episode, 1, 997)
        if held == 0:
            return
        funds.settle(episode, max(1, held - n % 3), "f" * 64, {}, "1")


@pytest.mark.parametrize("table", ["account", "transfer", "entry"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET rowid = rowid", "DELETE FROM {}"])
def test_nothing_is_ever_changed_or_deleted(book: Ledger, table: str, verb: str) -> None:
    post(book, "local", 7)
    statement = verb.format(table)
    if table == "entry":
        statement = statement.replace("rowid = rowid", "posted = 0")
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
    assert any("is not its amount" in fault for fault in book.check())
    assert any("do not add up" in fault for fault in book.check())


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
    with pytest.raises(LedgerError, match="no ledger of format 1"):
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
        Ledger(book.path).statement("local")


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
