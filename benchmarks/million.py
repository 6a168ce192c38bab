"""A run of a million episodes without physics: `python -m benchmarks.million EPISODES`.

Every episode is one row of PushT, recorded once and written again and again. Shards, ledger, log
and signature are real. Says how long writing, booking, logging and checking take an episode, what
they need on disk and in memory, and whether all that is charged is kept.
"""

import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import sandbox
from benchmarks.tables import show
from sandbox.evidence import keys
from sandbox.ledger import Lease, Ledger
from sandbox.prices import PriceSchedule
from sandbox.run import recipe as recipes
from sandbox.run.bill import Quote
from sandbox.run.recipe import EpisodeChance, Recipe
from sandbox.run.record import Record
from sandbox.run.run import Run
from sandbox.sources.generation import Generation
from sandbox.trajectory import EpisodeBuffer

GIVEN = {"format": 1, "environment": "push_t", "policies": {"random": 1}}


class Still:
    """Gives the first row of an episode for every episode."""

    def __init__(self, real: Any, recipe: Recipe) -> None:
        self._recipe = recipe
        self._real, self.schema, self.max_rows = real, real.schema, 1
        self._buffer: EpisodeBuffer | None = None
        self._record: Record | None = None

    def pay_from(self, lease: Lease | None, schedule: PriceSchedule) -> None:
        """Pay for the episode that all others are like."""
        self._schedule = schedule
        self._real.pay_from(lease, schedule)

    def make(self, run: str, index: int, buffer: EpisodeBuffer, limit: int | None = None) -> Record:
        """Return the record of an episode of no step."""
        if self._record is None or self._buffer is None:
            self._buffer = EpisodeBuffer(self.schema, self._real.max_rows)
            made = self._real.make(run, index, self._buffer)
            begun = {"steps": 0, "charges": self._real.env.work(self._schedule, 0)}
            begun["charge_micro"] = int(self._buffer.arrays["charge"][0])
            self._record = Record.parse({**made.plain, **begun})
        seed = EpisodeChance(self._recipe, index).seed
        first = {name: rows[0] for name, rows in self._buffer.arrays.items()}
        buffer.put(0, {**first, "seed": seed, "episode_idx": index})
        return Record.parse({**self._record.plain, "episode": index, "seed": seed})

    def on_kept(self) -> None:
        """Do nothing."""


class Stills:
    """Where the episodes come from."""

    def __init__(self, recipe: Recipe) -> None:
        self._real = Generation(recipe)
        self.origin, self.makers = self._real.origin, [Still(self._real.makers[0], recipe)]

    def quote(self, done: int, schedule: PriceSchedule) -> Quote:
        """Return what whole episodes cost at most."""
        return self._real.quote(done, schedule)

    def warm_up(self) -> None:
        """Do nothing: nothing is drawn."""

    def close(self) -> None:
        """Release the simulator."""
        self._real.close()


def measured(episodes: int, folder: Path) -> list[dict[str, str]]:
    """Return what each piece of work takes."""
    path, book = folder / "run", Ledger()
    run = Run(Stills(recipes.of({**GIVEN, "episodes": episodes})), path, book, keys.new())
    rows, last = list[dict[str, str]](), [time.monotonic(), 0.0]

    def note(what: str) -> None:
        took = time.monotonic() - last[0]
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        rows.append(
            {
                "work": what,
                "time [s]": f"{took:,.1f}",
                "of an episode [us]": f"{1e6 * took / episodes:,.0f}",
                "most memory [MB]": f"{most:,.0f}",
            }
        )
        last[0] = time.monotonic()

    run.generate()
    run.close()
    note("generate: shards, ledger, log, signature")
    for workers in (2, 1):  # The most memory is of this process, and does not shrink.
        report = sandbox.verify(path, sample=0, workers=workers)
        assert report.faults == [], report.faults[:3]
        note(f"verify without replay, processes: {workers}")
    book.check()
    note("check the ledger")
    files = [one for one in path.rglob("*") if one.is_file()]
    sizes = {"shards": 0, "log": 0, "other": 0}
    for one in files:
        kind = "shards" if one.parent.name == "shards" else "log" if one.name == "log" else "other"
        sizes[kind] += one.stat().st_size
    sizes["ledger"] = book.path.stat().st_size
    for name, size in sizes.items():
        rows.append({"work": f"disk: {name}", "bytes of an episode": f"{size / episodes:,.0f}"})
    return rows


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as home:
        os.environ["SANDBOX_HOME"] = home
        show(f"A run of {count:,} episodes of one row", measured(count, Path(home)))
