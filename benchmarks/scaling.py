"""How much faster two workers are than one: `python -m benchmarks.scaling RECIPE EPISODES ROUNDS`.

Whole commands in turn, A B A B, from an empty folder to the signed log; medians. Both cores must
be free.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.tables import show

DEFAULTS = ("push_t_demo", "120", "3")
SANDBOX = Path(sys.executable).with_name("sandbox")


def generated(recipe: str, episodes: int, workers: int, shard: int | None, folder: Path) -> float:
    """Return how long generating takes [s].

    Args:
        recipe: name of the recipe.
        episodes: number of episodes.
        workers: number of processes.
        shard: number of episodes in a shard; None is the default.
        folder: an empty folder, for recipe and run.
    """
    size = "" if shard is None else f"shard_episodes: {shard}\n"
    given = Path("datasets", f"{recipe}.yaml").read_text()
    kept = [line for line in given.splitlines() if not line.startswith("shard_episodes")]
    (folder / "r.yaml").write_text("\n".join(kept) + f"\n{size}")
    command = [SANDBOX, "generate", folder / "r.yaml", "--out", folder / "run"]
    command += ["--episodes", str(episodes), "--workers", str(workers)]
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - began


def compared(recipe: str, episodes: int, shard: int | None, rounds: int) -> dict[str, str]:
    """Return the row of one size of shards."""
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for workers, taken in times.items():
            with tempfile.TemporaryDirectory() as folder:
                taken.append(generated(recipe, episodes, workers, shard, Path(folder)))
    ratios = [one / two for one, two in zip(*times.values(), strict=True)]
    return {
        "recipe": recipe,
        "episodes": f"{episodes}",
        "of a shard": "default" if shard is None else f"{shard}",
        "1 worker [s]": f"{statistics.median(times[1]):.1f}",
        "2 workers [s]": f"{statistics.median(times[2]):.1f}",
        "times as fast": f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
    }


def table(recipe: str, episodes: int, rounds: int) -> list[dict[str, str]]:
    """Return a row for shards of ten episodes, and one for the default."""
    with tempfile.TemporaryDirectory() as folder:  # Compile before anything is timed.
        generated(recipe, 1, 1, None, Path(folder))
    return [compared(recipe, episodes, shard, rounds) for shard in (10, None)]


if __name__ == "__main__":
    words = [*sys.argv[1:], *DEFAULTS[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as home:
        os.environ["SANDBOX_HOME"] = home
        show("Two workers beside one", table(words[0], int(words[1]), int(words[2])))
