"""What a process holds lasts as long as the process, and hardly longer."""

import gc
import multiprocessing
import signal
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from sandbox.ledger import AccountFunds, Lease, Ledger, Usage, charge_id, heartbeat
from sandbox.ledger import book as books
from sandbox.ledger.holder import Holder

PLACES = ["file", "server"]
LASTS_S = 3
NAME = b"l" * 16
ELSEWHERE = replace(Holder.me(), host="elsewhere")  # Nobody here knows whether it lives.


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Holds end after some seconds."""
    monkeypatch.setattr(books, "HOLD_S", LASTS_S)
    monkeypatch.setattr(heartbeat, "RENEW_S", LASTS_S / 4)


def hold(book: Ledger) -> None:
    charges = {"raw_byte": 60}
    assert book.reserve("lab", NAME, charges, price_version="1", holder=ELSEWHERE) == 0


def rivals(book: Ledger) -> bool:
    """Whether another could have more than what is not held."""
    lack = book.shortfall("lab", {"raw_byte": 41})
    return lack == 0


def test_a_hold_lasts_while_its_process_lives_and_until_it_is_released(book: Ledger) -> None:
    book.grant("lab", 100)
    hold(book)
    until = time.monotonic() + 2.5 * LASTS_S
    while time.monotonic() < until:
        assert not rivals(book)
        time.sleep(0.2)
    assert book.balance("lab").pending_micro == 60
    usage = Usage(charge_id("r", 1), {"raw_byte": 10}, "1", "e" * 64)
    book.post("lab", [usage], NAME)
    time.sleep(LASTS_S / 2)
    assert (book.balance("lab").posted_micro, book.balance("lab").pending_micro) == (90, 0)
    count = len(book.transfers())
    time.sleep(LASTS_S / 2)
    assert len(book.transfers()) == count  # Nothing is renewed.
    assert book.check() == []


def test_a_hold_of_a_given_length_is_not_renewed(book: Ledger) -> None:
    book.grant("lab", 100)
    book.reserve("lab", NAME, {"raw_byte": 60}, price_version="1", timeout_s=2, holder=ELSEWHERE)
    assert not rivals(book)
    time.sleep(2.1)
    assert rivals(book)


def _hold_for_ever(book: Ledger, ready: Any) -> None:
    hold(book)
    ready.set()
    time.sleep(600)


def test_a_hold_ends_soon_after_its_process_was_killed(book: Ledger) -> None:
    book.grant("lab", 100)
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    child = context.Process(target=_hold_for_ever, args=(book, ready))
    child.start()
    assert ready.wait(30)
    time.sleep(1.5 * LASTS_S)
    assert not rivals(book)  # The child's own thread renews it.
    assert child.pid is not None
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    until = time.monotonic() + 2 * LASTS_S
    while not rivals(book) and time.monotonic() < until:
        time.sleep(0.1)
    assert rivals(book)
    assert book.check() == []


def test_a_forked_process_renews_nothing_of_its_parent(book: Ledger) -> None:
    book.grant("lab", 100)
    hold(book)
    child = multiprocessing.get_context("fork").Process(target=_nothing, args=(book,))
    child.start()
    child.join(30)
    assert child.exitcode == 0


def _nothing(book: Ledger) -> None:
    assert not any(thread.name == "heartbeat" for thread in threading.enumerate())
    funds = AccountFunds(book, "lab")
    assert funds.reserve(b"e" * 16, {"raw_byte": 1}, {}, 0, "1") == 0
    assert [*book._heartbeat._held] == [("lab", b"e" * 16)]
    funds.void(b"e" * 16)


def test_a_lease_goes_on_over_many_renewals_and_posts_exactly(book: Ledger) -> None:
    book.grant("lab", 1000)
    lease = Lease(book, "lab", NAME, "r", episodes=8, batch=3)
    for n in range(12):
        assert lease.reserve(b"", {"raw_byte": 10}, {}, 0, "1") == 0
        time.sleep(LASTS_S / 6)
        lease.post(Usage(charge_id("r", n), {"raw_byte": 7}, "1", "e" * 64, "r", n))
    lease.flush(close=True)
    assert (book.balance("lab").posted_micro, book.balance("lab").pending_micro) == (916, 0)
    assert book.check() == []


def test_the_thread_ends_with_the_ledger(book_place: str) -> None:
    book = Ledger(book_place)
    book.grant("lab", 100)
    before = {thread for thread in threading.enumerate() if thread.name == "heartbeat"}
    hold(book)
    (thread,) = {t for t in threading.enumerate() if t.name == "heartbeat"} - before
    book.void("lab", NAME)
    book.close()
    del book
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
