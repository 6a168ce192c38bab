"""How many episodes a ledger posts a second, in a file and on a server, by several processes.

`python -m benchmarks.ledger postgresql://USER@HOST/DATABASE` measures the server's too, in
which the posts stay.
"""

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path

from benchmarks.tables import show
from sandbox.ledger import Ledger, Usage, charge_id

PROCESSES, SIZE, BATCHES, ROUNDS = 4, 1000, 10, 3
CREDIT = 10**15  # Microcredits of each account: more than is posted.


def table(places: Sequence[str]) -> list[dict[str, str]]:
    """Measure posts a second, for accounts of each process and for one that they share."""
    rows: list[dict[str, str]] = []
    for place in places:
        row = {"ledger": "PostgreSQL" if "://" in place else "SQLite"}
        for shared in (False, True):
            rates = sorted(_rate(place, shared) for _ in range(ROUNDS))
            row["one account" if shared else "an account each"] = (
                f"{rates[len(rates) // 2]:,.0f} ({rates[0]:,.0f} to {rates[-1]:,.0f})"
            )
        rows.append(row)
    return rows


def _rate(place: str, shared: bool) -> float:
    """Return posts a second, from when all processes are ready until all have posted."""
    book, run = Ledger(place), f"bench {time.time_ns()}"
    names = [f"bench/{0 if shared else n}" for n in range(PROCESSES)]
    for name in sorted({*names}):
        book.grant(name, CREDIT)
    before = sum(book.balance(name).posted_micro for name in {*names})
    book.close()
    context = multiprocessing.get_context("forkserver")
    barrier = context.Barrier(PROCESSES + 1)
    work = [
        context.Process(target=_post, args=(place, name, f"{run} {n}", barrier))
        for n, name in enumerate(names)
    ]
    for process in work:
        process.start()
    barrier.wait()
    begun = time.perf_counter()
    for process in work:
        process.join()
    seconds = time.perf_counter() - begun
    assert all(process.exitcode == 0 for process in work)
    spent = before - sum(book.balance(name).posted_micro for name in {*names})
    posts = PROCESSES * BATCHES * SIZE
    assert spent == posts * _usage("", 0).charges()["raw_byte"], spent
    book.close()
    return posts / seconds


def _usage(run: str, n: int) -> Usage:
    return Usage(charge_id(run, n), {"raw_byte": 300}, "1", "e" * 64, run, n)


def _post(place: str, account: str, run: str, barrier: Barrier) -> None:
    """Post batch after batch, once all processes are ready."""
    book = Ledger(place)
    book.balance(account)
    batches = [[_usage(run, b * SIZE + n) for n in range(SIZE)] for b in range(BATCHES)]
    barrier.wait()
    for usages in batches:
        book.post(account, usages)
    book.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "ledger.db")
        show(
            f"Posts a second: {PROCESSES} processes, {SIZE:,} at once", table([file, *sys.argv[1:]])
        )
