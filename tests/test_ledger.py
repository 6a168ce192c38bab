"""The book: exact, durable, only ever added to, and shared."""

import multiprocessing
import os
import pickle
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import apsw
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

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


def test_every_opened_account_is_listed_and_a_transfer_is_found_by_its_id(book: Ledger) -> None:
    book.grant("lab", 10, id=b"g" * 16)
    post(book, "local", 7)
    assert [(a.name, a.mode) for a in book.accounts()] == [
        ("lab", "prepaid"),
        ("local", "postpaid"),
    ]
    found = book.find(EPISODE)
    assert found is not None
    assert (found["kind"], found["debit"], found["amount_micro"]) == ("post", "local", 7)
    assert (found["work"], found["evidence"]) == ({"raw_byte": 7}, "f" * 64)
    grant = book.find(b"g" * 16)
    assert grant is not None
    assert (grant["credit"], grant["work"]) == ("lab", {})
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
        book.reserve("local", id, 1, 1)
    with pytest.raises(InvalidInputError, match="give 16 bytes"):
        post(book, "local", 1, id)


@pytest.mark.parametrize("amount", [-1, 1.5, True, 2**63])
def test_what_is_no_amount_is_never_booked(book: Ledger, amount: int) -> None:
    book.grant("lab", 10)
    with pytest.raises(InvalidInputError, match="cannot be booked"):
        book.settle("lab", EPISODE, amount, "f" * 64, {}, "1")
    with pytest.raises(InvalidInputError):
        book.reserve("lab", EPISODE, amount, amount)
    assert book.balance("lab").available_micro == 10


def test_an_account_too_large_for_the_file_is_an_error_and_books_nothing(book: Ledger) -> None:
    book.grant("lab", 2**62)
    with pytest.raises(LedgerError, match="Nothing was booked"):
        book.grant("lab", 2**62)
    assert book.balance("lab").posted_micro == 2**62
    assert book.check() == []


COOKED = {
    "it has 0 entries": ["DELETE FROM entry WHERE transfer = 1"],
    "does not give back the hold": [
        "UPDATE transfer SET amount = 9 WHERE kind = 'void'",
        "UPDATE entry SET pending = sign(pending) * 9, "
        "pending_after = pending_after + sign(pending) * 3 WHERE transfer = 3",
    ],
    "the balance of": ["UPDATE entry SET posted_after = posted_after + 1 WHERE transfer = 1"],
    "is overdrawn": ["UPDATE account SET mode = 'prepaid' WHERE name = 'local'"],
}


@pytest.mark.parametrize(("fault", "cooking"), COOKED.items())
def test_check_finds_what_a_cook_did(book: Ledger, fault: str, cooking: list[str]) -> None:
    book.grant("lab", 10)
    book.reserve("lab", EPISODE, 6, 6)
    book.void("lab", EPISODE)
    post(book, "local", 7, b"l" * 16)
    assert book.check() == []
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
book.settle("lab", charge_id("c", 0), 1, "e" * 64, {}, "1")
(folder / "first").touch()
while os.getppid() == parent:
    time.sleep(0.01)
for n in range(1, 11):
    book.settle("lab", charge_id("c", n), 1, "e" * 64, {}, "1")
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


class BookMachine(RuleBasedStateMachine):
    """A prepaid and a postpaid account, against plain integers."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = 1000
        self.book = Ledger(Path(self.folder.name) / "ledger.db", clock=lambda: self.now)
        self.book.grant("lab", 1)
        self.book.account("local")
        self.posted = {"lab": 1, "local": 0}
        self.holds: dict[int, list[tuple[int, int]]] = {}  # Episode to amount and end.
        self.posts: dict[int, tuple[str, int]] = {}

    def teardown(self) -> None:
        self.folder.cleanup()

    def available(self) -> int:
        self.holds = {
            episode: [(amount, end) for amount, end in held if end > self.now]
            for episode, held in self.holds.items()
        }
        held = sum(amount for holds in self.holds.values() for amount, _ in holds)
        return self.posted["lab"] - held

    @rule(amount=st.integers(1, 100))
    def grant(self, amount: int) -> None:
        self.book.grant("lab", amount)
        self.posted["lab"] += amount

    @rule(episode=st.integers(0, 5), least=st.integers(0, 60), more=st.integers(0, 60))
    def reserve(self, episode: int, least: int, more: int) -> None:
        available = self.available()
        held = self.book.reserve("lab", bytes([episode]) * 16, least, least + more)
        assert held == (min(available, least + more) if available >= least else 0)
        if available >= least:
            self.holds.setdefault(episode, []).append((held, self.now + HOLD_S))

    @rule(
        account=st.sampled_from(["lab", "local"]),
        episode=st.integers(0, 5),
        amount=st.integers(0, 60),
    )
    def settle(self, account: str, episode: int, amount: int) -> None:
        free = self.available()
        free += sum(held for held, _ in self.holds.get(episode, []))
        before = self.posts.get(episode)
        if before not in (None, (account, amount)):
            with pytest.raises(LedgerError, match="something else"):
                post(self.book, account, amount, bytes([episode]) * 16)
        elif before is None and account == "lab" and amount > free:
            with pytest.raises(BudgetExhaustedError):
                post(self.book, account, amount, bytes([episode]) * 16)
        else:
            exists = post(self.book, account, amount, bytes([episode]) * 16)
            assert exists == (before is not None)
            self.posted[account] -= 0 if exists else amount
            self.posts[episode] = (account, amount)
            if account == "lab":
                self.holds.pop(episode, None)

    @rule(episode=st.integers(0, 5))
    def void(self, episode: int) -> None:
        self.book.void("lab", bytes([episode]) * 16)
        self.holds.pop(episode, None)

    @rule(seconds=st.sampled_from([1, HOLD_S // 2, HOLD_S]))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.book.balance("lab")

    @rule()
    def restart(self) -> None:
        self.book = pickle.loads(pickle.dumps(Ledger(self.book.path)))
        self.book = Ledger(self.book.path, clock=lambda: self.now)

    @invariant()
    def the_book_says_the_same(self) -> None:
        lab = self.book.balance("lab")
        assert (lab.posted_micro, lab.available_micro) == (self.posted["lab"], self.available())
        assert self.book.balance("local").posted_micro == self.posted["local"]
        assert self.book.check() == []


TestBookMachine = BookMachine.TestCase
TestBookMachine.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
