"""Measure everything the README claims: ratios, paired in one run, medians."""

import os
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import evidence, rendering, replaying, rivals, stepping, trajectory
from sandbox import catalogue

CONSOLE = Console()


def main() -> None:
    """Print one table a subject."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SANDBOX_HOME"] = folder
        here = Path(folder)
        names = catalogue.environments()
        show("Environment step, state only, against the physics inside it", stepping.steps(names))
        show("The same in turn with a rival's", rivals.steps(names))
        show("Reset", stepping.resets(names))
        show("Meter + hash + ledger, beside simulation", evidence.steps(names, here))
        show("Posts in the book", evidence.transfers(here))
        show("Verification without replay", evidence.verifying(names, here))
        trajectory.main()
        show("Pictures against TinyRenderer's without shadows", rendering.pictures())
        show("Pictures against others', colour alone, with shadows", rivals.pictures())
        show("What a picture costs", rendering.plot(Path("runs/picture_cost.png")))
        show("Generating with pictures, and without", rendering.generating(here))
        show("Generating and verifying, state only", replaying.speeds(names, here))
        show("Replay in another process", replaying.thousand(names, here))


def show(title: str, rows: list[dict[str, str]]) -> None:
    """Print rows that share their keys."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for key in rows[0]:
        table.add_column(key)
    for row in rows:
        table.add_row(*row.values())
    CONSOLE.print(table)


if __name__ == "__main__":
    main()
