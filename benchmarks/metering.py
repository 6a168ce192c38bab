"""What metering costs."""

import statistics
import time
from pathlib import Path

from sandbox import prices
from sandbox.ledger import AccountFunds, Ledger
from sandbox.meter import Meter

CHARGES = 200_000
EPISODES = 300


def rates(folder: Path) -> list[dict[str, str]]:
    """Measure a charge in memory, and an episode's post in the book."""
    book = Ledger(folder / "bench.db")
    book.grant("lab", 10**15)
    rows: list[dict[str, str]] = []
    for account in ("local", "lab"):
        meter = Meter(prices.current(), AccountFunds(book, account))
        cost = meter.price({"physics_step": 24, "raw_byte": 300})
        rows.append(
            {
                "account": f"{account} ({book.account(account).mode})",
                "us a charge": f"{_charge(meter, cost.amount):.3f}",
                "episodes posted/s": f"{_post(meter):,.0f}",
            }
        )
    return rows


def _charge(meter: Meter, amount: int) -> float:
    cost = meter.price({"raw_byte": amount})
    seconds: list[float] = []
    meter.open(amount * CHARGES * 5, 1, b"bench".ljust(16))
    for _ in range(5):
        begun = time.perf_counter()
        for _ in range(CHARGES):
            meter.charge(cost)
        seconds.append((time.perf_counter() - begun) / CHARGES)
    meter.void()
    return statistics.median(seconds) * 1e6


def _post(meter: Meter) -> float:
    cost = meter.price({"raw_byte": 100})
    begun = time.perf_counter()
    for n in range(EPISODES):
        meter.open(1000, 100, n.to_bytes(16, "big"))
        meter.charge(cost)
        meter.settle("e" * 64)
    return EPISODES / (time.perf_counter() - begun)
