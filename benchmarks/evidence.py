"""What metering, hashing and booking cost: a step, a picture, a transfer, a verified step."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import sandbox
from benchmarks.replaying import generate
from benchmarks.stepping import recipe
from sandbox import prices
from sandbox.ledger import Lease, Ledger, Usage, charge_id
from sandbox.meter import Meter
from sandbox.run.filling import BATCH, CHUNK
from sandbox.run.record import Record
from sandbox.trajectory import Episode

ROUNDS, POSTS, BATCHES = 9, 16_384, (1, 100, 1000, 8192)


def steps(names: list[str], folder: Path) -> list[dict[str, str]]:
    """Measure meter + hash + ledger, per step without pictures and per 64x64 picture."""
    rows: list[dict[str, str]] = []
    for name in names:
        plain = _episode(name, folder, ["proprio"])
        seen = _episode(name, folder, ["proprio", "pixels"])
        for mode in ("postpaid", "prepaid"):
            book = _book(folder / f"{name}-{mode}.db", mode)
            both = [(_cost(book, mode, plain), _cost(book, mode, seen)) for _ in range(ROUNDS)]
            meter, hashed, booked = (
                statistics.median(one[part] for one, _ in both) for part in range(3)
            )
            pictures = [sum(b) - sum(a) for a, b in both]
            rows.append(
                {
                    "environment": name,
                    "account": mode,
                    "steps an episode": str(len(plain) - 1),
                    "meter us": f"{meter:.2f}",
                    "hash us": f"{hashed:.2f}",
                    "ledger us": f"{booked:.2f}",
                    "us a state step": f"{statistics.median(sum(a) for a, _ in both):.2f}",
                    "us a 64x64 picture": f"{statistics.median(pictures):.2f}",
                }
            )
    return rows


def transfers(folder: Path) -> list[dict[str, str]]:
    """Measure posts on disk a second, by how many share a transaction."""
    rows: list[dict[str, str]] = []
    for mode in ("postpaid", "prepaid"):
        row = {"account": mode}
        for size in BATCHES:
            book = _book(folder / f"posts-{mode}-{size}.db", mode)
            count = min(POSTS, 300 * size)
            usages = [
                _usage("bench", n, {"physics_step": 24, "raw_byte": 300}) for n in range(count)
            ]
            begun = time.perf_counter()
            for start in range(0, count, size):
                book.post(mode, usages[start : start + size])
            row[f"{size:,} at once, a second"] = f"{count / (time.perf_counter() - begun):,.0f}"
            assert book.balance(mode).posted_micro < 10**15
        rows.append(row)
    return rows


def verifying(names: list[str], folder: Path) -> list[dict[str, str]]:
    """Measure verification without replay: bytes, trees, log, signature, charges."""
    rows: list[dict[str, str]] = []
    for name in names:
        out = folder / f"verify-{name}"
        generate(recipe(name, episodes=100, seed=3), out)
        rates: list[float] = []
        for _ in range(5):
            begun = time.perf_counter()
            report = sandbox.verify(out, sample=0)
            rates.append(report.rows / (time.perf_counter() - begun))
            assert not report.faults, report.faults
        rows.append({"environment": name, "steps/s": f"{statistics.median(rates):,.0f}"})
    return rows


def _episode(name: str, folder: Path, observation: list[str]) -> Episode:
    out = folder / f"evidence-{name}-{len(observation)}"
    generate(recipe(name, episodes=1, observation=observation), out)
    return sandbox.open_run(out).episode(0)


def _book(path: Path, mode: str) -> Ledger:
    book = Ledger(path)
    if mode == "prepaid":
        book.grant(mode, 10**15)
    else:
        book.open_account(mode, "postpaid")
    return book


def _cost(book: Ledger, mode: str, episode: Episode) -> tuple[float, float, float]:
    """Return what meter, hash and ledger cost [us a row], over episodes posted in two batches."""
    count, rows = 256, len(episode)
    run = f"bench {time.perf_counter_ns()}"
    lease = Lease(book, mode, b"lease".ljust(16), run, CHUNK, BATCH)
    meter = Meter(prices.current(), lease)
    charges = episode.record["charges"]
    each = {unit: n // rows for unit, n in charges.items()}
    reset, step = meter.price(each), meter.price(each)
    usage = partial(_usage, run, quantities=each, prices_of=prices.current().version)
    metered = hashed = booked = 0.0
    for n in range(count):
        fresh = Episode(episode.rows, {**episode.record, "episode": n})
        booked += _time(lambda n=n: meter.open(reset, step, rows - 1, charge_id(run, n), rows - 1))
        metered += _time(lambda: [meter.charge(step) for _ in range(rows)])
        hashed += _time(lambda fresh=fresh: (fresh.digest, Record.parse(fresh.record).leaf))
        booked += _time(lambda n=n: (meter.settle(""), lease.post(usage(n))))
    booked += _time(lambda: lease.flush(close=True))
    whole = count * rows / 1e6
    return metered / whole, hashed / whole, booked / whole


def _usage(run: str, n: int, quantities: dict[str, int], prices_of: str = "1") -> Usage:
    return Usage(charge_id(run, n), quantities, prices_of, "e" * 64, run, n)


def _time(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
