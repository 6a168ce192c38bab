"""Measure everything the README claims: ratios, paired in one run, medians."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import (
    costs,
    evidence,
    growth,
    imagining,
    ledger,
    memory,
    opening,
    pricing,
    readers,
    reading,
    remote,
    rendering,
    replaying,
    rivals,
    scaling,
    stepping,
    trajectory,
)
from benchmarks.tables import show
from sandbox import catalogue, prices

MINUTES = 10.0  # `python -m benchmarks.memory 60` reads for an hour.
EPISODES = "20000"  # `python -m benchmarks.million` takes a million.


def main() -> None:
    """Print one table a subject."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SANDBOX_HOME"] = folder
        server = os.environ.pop("SANDBOX_LEDGER", None)  # One table alone is booked there.
        here = Path(folder)
        Path("runs").mkdir(exist_ok=True)
        names = catalogue.environments()
        show("Environment step, state only, against the physics inside it", stepping.steps(names))
        show("The same in turn with a rival's", rivals.steps(names))
        show("Reset", stepping.resets(names))
        show("Meter + hash + ledger, beside simulation", evidence.steps(names, here))
        for schedule in prices.schedules():
            title = f"Credits per CPU second, price schedule {schedule.version}"
            show(title, pricing.table(*pricing.measured(here / schedule.version, schedule)))
        show("Two workers beside one", scaling.table("push_t_demo", 120, 3))
        show("A million frames of each world, of one process", costs.table(2000))
        many = [sys.executable, "-m", "benchmarks.million", EPISODES]  # Its memory is its own.
        subprocess.run(many, check=True)
        show("Posts in the book", evidence.transfers(here))
        places = [str(here / "posts.db"), *([server] if server else [])]
        show("Posts in the book, by four processes", ledger.table(places))
        show("Verification without replay", evidence.verifying(names, here))
        trajectory.main()
        show("Numbers in a shard, by how they are stored", trajectory.numbers(here))
        show("Opening a dataset", opening.table(here / "opening"))
        show("Windows read a second", reading.table(here))
        if readers.installed():
            show("Windows read a second, by reader", readers.table(here / "readers"))
        else:
            print("`make rivals` installs others' readers, and measures them in turn with ours.")
        plot = Path("runs") / growth.PLOT
        show("Reading, by the number of episodes", growth.measured(here / "growth", plot))
        show("A dataset on a web server", remote.table(here / "remote"))
        show("Memory while windows are read at random", memory.table(here / "memory", MINUTES))
        show("Pictures against TinyRenderer's without shadows", rendering.pictures())
        show("Pictures against others', colour alone, with shadows", rivals.pictures())
        show("What a picture costs", rendering.plot(Path("runs/picture_cost.png")))
        show("Generating with pictures, and without", rendering.generating(here))
        show("Generating with 1, 4 and 8 samples a pixel", rendering.smoothing(here))
        show("Generating and verifying, state only", replaying.speeds(names, here))
        show("Rows imagined and simulated", imagining.table(here / "imagining"))
        show("Replay in another process", replaying.thousand(names, here))


if __name__ == "__main__":
    main()
