"""How fast a run is generated and verified, and that a thousand episodes replay bit for bit."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import sandbox
from benchmarks.stepping import recipe
from sandbox.run.recipe import Recipe
from sandbox.run.run import Run
from sandbox.sources.generation import Generation

ROUNDS = 3


def speeds(names: list[str], folder: Path) -> list[dict[str, str]]:
    """Measure generating and verifying in turn, whole runs with their ledger and disk."""
    rows: list[dict[str, str]] = []
    for name in names:
        ratios: list[float] = []
        rates: list[float] = []
        for round_ in range(ROUNDS):
            wanted = recipe(name, episodes=12, seed=round_)
            out = folder / f"speed-{name}-{round_}"
            generated, steps = generate(wanted, out)
            begun = time.perf_counter()
            assert not sandbox.verify(out).faults
            ratios.append(generated / (time.perf_counter() - begun))
            rates.append(steps / generated)
        rows.append(
            {
                "environment": name,
                "generated steps/s": f"{statistics.median(rates):,.0f}",
                "verify speed / generate speed": f"{statistics.median(ratios):.2f}",
            }
        )
    return rows


def generate(wanted: Recipe, out: Path) -> tuple[float, int]:
    """Generate a run; return how long it took [s] and how many steps it has."""
    steps = [0]
    run = Run(Generation(wanted), out)
    begun = time.perf_counter()
    run.generate(lambda record, _: steps.__setitem__(0, steps[0] + record.steps))
    seconds = time.perf_counter() - begun
    run.close()
    return seconds, steps[0]


def thousand(names: list[str], folder: Path) -> list[dict[str, str]]:
    """Generate a thousand episodes over the environments; verify them in fresh processes."""
    rows: list[dict[str, str]] = []
    share = -(-1000 // len(names))
    for name in names:
        out = folder / f"thousand-{name}"
        mixed = {"random": 1.0, "ou_noise": 1.0, "scripted": 1.0, "scripted_noisy": 1.0}
        generate(recipe(name, episodes=share, policies=mixed, seed=1), out)
        code = (
            "import sys, sandbox\n"
            "report = sandbox.verify(sys.argv[1])\n"
            "print(report.replayed, report.rows, len(report.faults), *report.faults[:1])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(out)], capture_output=True, text=True, check=True
        )
        replayed, rows_read, faults, *first = done.stdout.split(maxsplit=3)
        rows.append(
            {
                "environment": name,
                "episodes replayed": replayed,
                "rows compared": rows_read,
                "faults": " ".join([faults, *first]).strip(),
            }
        )
    return rows
