"""Whether prices follow cost: credits per CPU second of our own recipes, and the share of pictures.

python -m benchmarks.pricing
"""

import os
import tempfile
import time
from pathlib import Path

from benchmarks.tables import show
from sandbox import content, prices
from sandbox.run import recipe as recipes
from sandbox.run.recipe import Recipe
from sandbox.run.run import Run
from sandbox.sources.generation import Generation

EPISODES, ROUNDS = 1, 2
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


def main() -> None:
    """Print a table for each price schedule."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SANDBOX_HOME"] = folder
        for schedule in prices.schedules():
            here = Path(folder) / schedule.version
            show(f"Credits per CPU second, prices {schedule.version}", follow(here, schedule))


if __name__ == "__main__":
    main()
