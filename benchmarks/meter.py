"""What metering costs: a charge in memory, and an episode's post on the disk."""

import statistics
import tempfile
import time
from pathlib import Path

from sandbox import prices
from sandbox.ledger import AccountFunds, Ledger, charge_id
from sandbox.meter import Meter

CHARGES, EPISODES, REPEATS = 200_000, 300, 5


def main() -> None:
    """Print what a charge and an episode cost, for each kind of account."""
    with tempfile.TemporaryDirectory() as folder:
        book = Ledger(Path(folder) / "ledger.db")
        book.grant("lab", 10**15)
        for account in ("local", "lab"):
            meter = Meter(prices.current(), AccountFunds(book, account))
            charge_ns, posts_per_s = _charge_ns(meter), _posts_per_s(meter, account)
            mode = book.account(account).mode
            print(f"{mode}: a charge {charge_ns:.0f} ns, {posts_per_s:,.0f} episodes posted/s")


def _charge_ns(meter: Meter) -> float:
    """Return the median time of a charge [ns]."""
    cost = meter.price({"physics_step": 24, "raw_byte": 300})
    times_ns: list[float] = []
    meter.open(cost.amount * CHARGES * REPEATS, cost.amount, b"bench".ljust(16))
    for _ in range(REPEATS):
        begun = time.perf_counter_ns()
        for _ in range(CHARGES):
            meter.charge(cost)
        times_ns.append((time.perf_counter_ns() - begun) / CHARGES)
    meter.void()
    return statistics.median(times_ns)


def _posts_per_s(meter: Meter, account: str) -> float:
    """Return how many episodes are opened, charged once and posted in a second."""
    cost = meter.price({"raw_byte": 100})
    begun = time.perf_counter()
    for n in range(EPISODES):
        meter.open(1000, 100, charge_id(account, n))
        meter.charge(cost)
        meter.settle("e" * 64)
    return EPISODES / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
