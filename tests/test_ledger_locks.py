"""A ledger's locks: one process holds a name alone, or shares it as a numbered worker."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox.errors import InvalidInputError, LedgerError, LockedError
from sandbox.ledger import Ledger

PLACES = ["file", "server"]
HOLD = """
import sys
from sandbox.ledger import Ledger

worker = int(sys.argv[2]) if sys.argv[2] else None
with Ledger(sys.argv[1]).alone("abc", worker):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(book_place: str, worker: int | None = None) -> Generator["subprocess.Popen[str]"]:
    """Let another process hold the lock `abc` of a book."""
    arguments = [sys.executable, "-c", HOLD, book_place, "" if worker is None else str(worker)]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield other
        if other.stdin is not None:
            other.stdin.close()


@pytest.mark.parametrize("worker", [None, 1])
def test_a_lock_that_another_process_holds_is_refused_until_it_ends(
    book: Ledger, book_place: str, worker: int | None
) -> None:
    with held(book_place, worker) as other:
        refused = pytest.raises(LockedError, match="another process holds this lock")
        with refused, book.alone("abc", wait_s=0.1):
            pass
        with book.alone("abd"):  # Another name is another lock.
            pass
        other.kill()
    with book.alone("abc", wait_s=10):  # A killed process holds nothing.
        pass


def test_workers_of_different_numbers_share_a_lock(book: Ledger, book_place: str) -> None:
    with held(book_place, 1):
        with book.alone("abc", 2, 0.1):
            pass
        with pytest.raises(LockedError), book.alone("abc", 1, 0.1):
            pass


def test_a_lock_is_free_again_after_a_worker_of_it_was_not(book: Ledger, book_place: str) -> None:
    with held(book_place, 1), pytest.raises(LockedError), book.alone("abc", wait_s=0.1):
        pass
    with held(book_place):  # Another process can be alone: nothing is left of the failed attempt.
        pass


@pytest.mark.parametrize("name", ["", "../abc", "a*", "A", "a" * 65])
def test_a_lock_is_named_by_hex_digits(book: Ledger, name: str) -> None:
    with pytest.raises(InvalidInputError, match="hex digits"), book.alone(name):
        pass


def test_a_ledger_that_cannot_be_locked_says_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    book = Ledger(tmp_path / "file" / "ledger.db")
    assert book.where == str(tmp_path / "file" / "ledger.db")
    with pytest.raises(LedgerError, match="cannot be made"), book.alone("abc"):
        pass
