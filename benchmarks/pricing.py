"""Whether prices follow cost: credits per CPU second of our own recipes, and the share of pictures.

python -m benchmarks.pricing
python -m benchmarks.pricing --loads  # Measure what work takes, as a schedule's `loads` has it.
python -m benchmarks.pricing --fit    # Correct the newest schedule's loads by what recipes took.
"""

import math
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

from benchmarks.tables import show
from sandbox import catalogue, content, prices
from sandbox.observation import PICTURES
from sandbox.prices import MICRO, Load
from sandbox.run import recipe as recipes
from sandbox.run.recipe import Recipe
from sandbox.run.run import Run
from sandbox.sources.generation import Generation
from sandbox.testing.load import measure

FEW, RUN_S, ROUNDS = 2, 2.0, 5  # A run has episodes enough to take so long.
NUMBERS = ["proprio"]


@dataclass
class Cost:
    """What a recipe took and cost.

    Attributes:
        name, wanted: the recipe.
        bill: meter units [credits].
        parts: the CPU time from episode to episode, of each of its runs [s].
    """

    name: str
    wanted: Recipe
    bill: dict[str, float] = field(default_factory=dict[str, float])
    parts: list[list[float]] = field(default_factory=list[list[float]])

    @property
    def pictures(self) -> bool:
        """Whether it has pictures."""
        return any(name in PICTURES for name in self.wanted.observation)

    @property
    def credits(self) -> float:
        """What it cost."""
        return sum(self.bill.values())

    @property
    def seconds(self) -> float:
        """What it takes where nothing disturbs it: the least time of each part."""
        return sum(map(min, zip(*self.parts, strict=True)))

    def run(self, out: Path, schedule: prices.PriceSchedule) -> None:
        """Run the recipe once more, and note its bill and times."""
        source = Generation(self.wanted)
        source.warm_up()
        run = Run(source, out, schedule=schedule)
        marks = [time.process_time()]
        bill = run.generate(lambda record, bill: marks.append(time.process_time()))
        marks.append(time.process_time())
        run.close()
        charges = schedule.charges(bill.quantities)
        self.bill = {unit: micro / MICRO for unit, micro in charges.items()}
        self.parts.append([after - before for before, after in pairwise(marks)])


def measured(folder: Path, schedule: prices.PriceSchedule) -> tuple[list[Cost], list[Cost]]:
    """Run every recipe of the package, with its pictures and without, round by round.

    Returns:
        The costs as the recipes are, and those without pictures.
    """
    whole = [_long_enough(name, folder, schedule) for name in content.names("datasets")]
    bare = [
        Cost(cost.name, recipes.changed(cost.wanted, observation=NUMBERS))
        if cost.pictures
        else cost
        for cost in whole
    ]
    every = [*whole, *(plain for plain, cost in zip(bare, whole, strict=True) if plain is not cost)]
    for number in range(ROUNDS):
        for n, cost in enumerate(every):
            cost.run(folder / f"{n}-{number}", schedule)
    return whole, bare


def _long_enough(name: str, folder: Path, schedule: prices.PriceSchedule) -> Cost:
    """Return a recipe with so many of its episodes that what a run takes once hardly counts."""
    wanted = recipes.load(name)
    few = Cost(name, recipes.changed(wanted, episodes=FEW))
    few.run(folder / name, schedule)
    count = min(wanted.episodes, math.ceil(FEW * RUN_S / few.seconds))
    return Cost(name, recipes.changed(wanted, episodes=count))


def table(whole: list[Cost], bare: list[Cost]) -> list[dict[str, str]]:
    """Return a row for each recipe, and the ratio of the dearest to the cheapest."""
    rates = [cost.credits / cost.seconds for cost in whole]
    rows = [
        _row(
            cost.name,
            f"{rate:,.0f}",
            f"{1 - plain.credits / cost.credits:.0%}",
            f"{max(0.0, 1 - plain.seconds / cost.seconds):.0%}",
        )
        for cost, plain, rate in zip(whole, bare, rates, strict=True)
    ]
    return [*rows, _row("dearest / cheapest", f"{max(rates) / min(rates):.2f}", "", "")]


def _row(*values: str) -> dict[str, str]:
    keys = ("recipe", "credits per CPU s", "pictures, of the bill", "pictures, of the time")
    return dict(zip(keys, values, strict=True))


def fitted(whole: list[Cost], bare: list[Cost], schedule: prices.PriceSchedule) -> dict[str, Load]:
    """Return loads under which every recipe would have cost a credit per CPU millisecond."""
    found: dict[str, Load] = {}
    for cost, plain in zip(whole, bare, strict=True):
        name = cost.wanted.environment
        load, took_ms = schedule.loads[name], 1000 * plain.seconds
        drawing_ms = max(0.0, 1000 * cost.seconds - took_ms)
        steps = (took_ms - plain.bill["raw_byte"]) / plain.bill["simulation_us"]
        bytes_ms = cost.bill["raw_byte"] - plain.bill["raw_byte"]
        drawn = cost.bill["drawing_us"]
        pictures = max(0.2, (drawing_ms - bytes_ms) / drawn) if drawn else 1.0
        found[name] = Load(
            _scaled(load.reset_us, steps),
            _scaled(load.step_us, steps),
            _scaled(load.picture_us, pictures),
            _scaled(load.pixel_ns, pictures),
        )
    return found


def _scaled(number: int, by: float) -> int:
    """Return a number times another, with two digits: more is noise."""
    return max(1, int(float(f"{number * by:.2g}")))


def tell(loads: dict[str, Load]) -> None:
    """Print loads as a schedule's file has them."""
    for name, load in sorted(loads.items()):
        entries = ", ".join(f"{key}: {value}" for key, value in asdict(load).items())
        print(f"  {name}: {{{entries}}}", flush=True)


def main() -> None:
    """Print a table for each price schedule, or loads for a new one."""
    if "--loads" in sys.argv:
        tell({name: measure(catalogue.environment(name)) for name in catalogue.environments()})
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SANDBOX_HOME"] = folder
        schedules = prices.schedules()
        for schedule in schedules[-1:] if "--fit" in sys.argv else schedules:
            found = measured(Path(folder) / schedule.version, schedule)
            show(f"Credits per CPU second, prices {schedule.version}", table(*found))
            if "--fit" in sys.argv:
                tell(fitted(*found, schedule))


if __name__ == "__main__":
    main()
