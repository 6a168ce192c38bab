"""Whether prices follow cost: credits per CPU second of our own recipes, and the share of pictures.

python -m benchmarks.pricing
python -m benchmarks.pricing --loads  # Measure what work takes, as a schedule's `loads` has it.
"""

import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.tables import show
from sandbox import catalogue, content, prices
from sandbox.run import recipe as recipes
from sandbox.run.recipe import Recipe
from sandbox.run.run import Run
from sandbox.sources.generation import Generation
from sandbox.testing.load import measure

EPISODES, ROUNDS = 8, 2
NUMBERS = ["proprio"]


def follow(folder: Path, schedule: prices.PriceSchedule) -> list[dict[str, str]]:
    """Measure every recipe of the package: its bill and its time, with pictures and without.

    A world's recipe is run as it is; if it has pictures, it is run without them in turn.
    """
    rows: list[dict[str, str]] = []
    rates: list[float] = []
    for name in content.names("datasets"):
        wanted = recipes.changed(recipes.load(name), episodes=EPISODES)
        bare = recipes.changed(wanted, observation=NUMBERS)
        whole, bill = measured(wanted, folder / name, schedule)
        plain, its = (
            measured(bare, folder / f"{name}-bare", schedule) if wanted != bare else (whole, bill)
        )
        rates.append(bill / whole)
        rows.append(
            {
                "recipe": name,
                "credits per CPU s": f"{bill / whole:,.0f}",
                "pictures, of the bill": f"{1 - its / bill:.0%}",
                "pictures, of the time": f"{max(0.0, 1 - plain / whole):.0%}",
            }
        )
    spread = max(rates) / min(rates)
    rows.append(
        {
            "recipe": "dearest / cheapest",
            "credits per CPU s": f"{spread:.1f}",
            "pictures, of the bill": "",
            "pictures, of the time": "",
        }
    )
    return rows


def measured(wanted: Recipe, out: Path, schedule: prices.PriceSchedule) -> tuple[float, float]:
    """Return the CPU time of a run [s], the least of some, and its bill [credits]."""
    seconds: list[float] = []
    cost = 0
    for number in range(ROUNDS):
        source = Generation(wanted)
        source.warm_up()
        run = Run(source, out / str(number), schedule=schedule)
        begun = time.process_time()
        cost = run.generate().amount
        seconds.append(time.process_time() - begun)
        run.close()
    return min(seconds), cost / prices.MICRO


def loads() -> None:
    """Print what the work of every environment takes on this machine, as lines of YAML."""
    for name in catalogue.environments():
        found = asdict(measure(catalogue.environment(name)))
        entries = ", ".join(f"{key}: {value}" for key, value in found.items())
        print(f"  {name}: {{{entries}}}", flush=True)


def main() -> None:
    """Print a table for each price schedule, or loads for a new one."""
    if "--loads" in sys.argv:
        loads()
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SANDBOX_HOME"] = folder
        for schedule in prices.schedules():
            here = Path(folder) / schedule.version
            show(f"Credits per CPU second, prices {schedule.version}", follow(here, schedule))


if __name__ == "__main__":
    main()
