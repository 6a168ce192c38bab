"""Floors and ceilings of the shipped goal sets: `python -m benchmarks.goals 30`.

Sets are made, tried by agents that do nothing, act at random, and know the solution, and planned
for by iCEM on the simulator with its cheap preset.
"""

import sys
import tempfile
import time
from pathlib import Path

from benchmarks.tables import show
from sandbox import catalogue, goals
from sandbox.errors import SandboxError

AGENTS: dict[str, tuple[dict[str, str], int]] = {  # Options, and number of seeds.
    "noop": ({}, 1),
    "random": ({}, 3),
    "recorded": ({}, 1),
    "icem": ({"preset": "cheap"}, 1),
}
WORKERS = 2


def row(recipe: str, folder: Path, pairs: int) -> dict[str, str]:
    """Return what a recipe's set is like, and what becomes of it."""
    path, begun = folder / f"{recipe}.json", time.monotonic()
    made = goals.make(recipe, path, pairs=pairs, account=None, workers=WORKERS)
    lost, made_s = made.filtered, time.monotonic() - begun
    thrown = (lost.start, lost.noop, lost.random, lost.short)
    found = {
        "set": recipe.removesuffix("_goals"),
        "tried": f"{lost.tried}",
        "start / noop / random / short": " / ".join(map(str, thrown)),
    }
    begun = time.monotonic()
    for agent, (options, seeds) in AGENTS.items():
        out = folder / f"{recipe}-{agent}.json"
        if agent == "icem":
            found["floors [s]"] = f"{made_s:.0f} + {time.monotonic() - begun:.0f}"
            begun = time.monotonic()
        done = goals.run(
            path, out, agent, options, seeds=seeds, account=None, workers=WORKERS
        ).results
        strict, moderate = (goals.rate(done, level).value for level in ("strict", "moderate"))
        found[agent] = f"{100 * strict:.0f} / {100 * moderate:.0f}"
    found["icem [s]"] = f"{time.monotonic() - begun:.0f}"
    return found


def main() -> None:
    """Print the table."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    rows = list[dict[str, str]]()
    with tempfile.TemporaryDirectory() as folder:
        for recipe in catalogue.recipes():
            if recipe.endswith("_goals"):
                try:
                    rows.append(row(recipe, Path(folder), pairs))
                except SandboxError as error:
                    sys.stderr.write(f"{recipe}: {error}\n")
                sys.stderr.write(f"{rows[-1:]}\n")
    show(f"Reached strictly / moderately of {pairs} pairs [%]", rows)


if __name__ == "__main__":
    main()
