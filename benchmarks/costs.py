"""What a million frames of each world cost: `python -m benchmarks.costs [FRAMES]`.

A recipe of random and scripted episodes with pictures of 64 px, as those in datasets/, is generated
by one process until there are so many frames: with physics, pictures, rows, ledger, log and
signature, without the start of Python and the compiling.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import sandbox
from benchmarks.tables import show
from sandbox.catalogue import environments

MILLION = 1_000_000
LOOK = {"observation": ["proprio", "pixels"], "image_size": 64, "antialias": 4}


def cost(world: str, least: int, folder: Path) -> dict[str, str]:
    """Return the row of a world.

    Args:
        world: name of its environment.
        least: number of frames, at least.
        folder: an empty folder.
    """
    recipe = {"format": 1, "environment": world, "policies": {"random": 1, "scripted": 1}, **LOOK}
    sandbox.generate({**recipe, "episodes": 2}, folder / "first")
    rows = sum(record.steps + 1 for record in sandbox.open_run(folder / "first").records())
    wanted = {**recipe, "episodes": max(2, 2 * round(least / rows)), "seed": 1}
    began, waited = time.process_time(), time.monotonic()
    bill = sandbox.generate(wanted, folder / "run")
    took, waited = time.process_time() - began, time.monotonic() - waited
    frames = sum(record.steps + 1 for record in sandbox.open_run(folder / "run").records())
    size = sum(path.stat().st_size for path in (folder / "run").rglob("*") if path.is_file())
    each = MILLION / frames
    return {
        "world": world,
        "frames": f"{frames:,}",
        "frames/s": f"{frames / took:,.0f}",
        "of a million: credits": f"{bill.amount / 1e6 * each:,.1f}",
        "CPU [s]": f"{took * each:,.0f}",
        "disk [GB]": f"{size * each / 1e9:.2f}",
        "time / CPU": f"{waited / took:.2f}",
    }


def table(least: int) -> list[dict[str, str]]:
    """Return the rows of all worlds."""
    found = list[dict[str, str]]()
    for world in environments():
        with tempfile.TemporaryDirectory() as folder:
            found.append(cost(world, least, Path(folder)))
    return found


if __name__ == "__main__":
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    with tempfile.TemporaryDirectory() as home:
        os.environ["SANDBOX_HOME"] = home
        show("A million frames of each world, of one process", table(frames))
