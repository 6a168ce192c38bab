"""How much faster two workers are than one: `python -m benchmarks.scaling RECIPE EPISODES ROUNDS`.

Whole commands in turn, A B C A B C, from an empty folder to the signed log; medians. Both cores
must be free. The last column is what the machine allows: two runs of one worker side by side, which
do twice the work.
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


def begun(
    recipe: str, episodes: int, workers: int, shard: int | None, folder: Path
) -> "subprocess.Popen[bytes]":
    """Begin to generate.

    Args:
        recipe: name of the recipe.
        episodes: number of episodes.
        workers: number of processes.
        shard: number of episodes in a shard; None is the default.
        folder: where recipe and run shall be.
    """
    size = "" if shard is None else f"shard_episodes: {shard}\n"
    given = Path("datasets", f"{recipe}.yaml").read_text()
    kept = [line for line in given.splitlines() if not line.startswith("shard_episodes")]
    folder.mkdir()
    (folder / "r.yaml").write_text("\n".join(kept) + f"\n{size}")
    command = [SANDBOX, "generate", folder / "r.yaml", "--out", folder / "run"]
    command += ["--episodes", str(episodes), "--workers", str(workers)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def taken(recipe: str, episodes: int, workers: int, shard: int | None, runs: int = 1) -> float:
    """Return how long runs take that are generated side by side [s]; see `begun`."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        folders = [Path(folder, str(number)) for number in range(runs)]
        processes = [begun(recipe, episodes, workers, shard, one) for one in folders]
        for process in processes:
            assert process.wait() == 0, "the run fails"
        return time.monotonic() - began


def compared(recipe: str, episodes: int, shard: int | None, rounds: int) -> dict[str, str]:
    """Return the row of one size of shards."""
    ways = {"one": (1, 1), "two": (2, 1), "beside": (1, 2)}  # Workers of a run, runs.
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (workers, runs) in ways.items():
            times[name].append(taken(recipe, episodes, workers, shard, runs))
    one, two, beside = times.values()
    return {
        "recipe": recipe,
        "episodes": f"{episodes}",
        "of a shard": "default" if shard is None else f"{shard}",
        "1 worker [s]": f"{statistics.median(one):.1f}",
        "2 workers [s]": f"{statistics.median(two):.1f}",
        "times as fast": _told([a / b for a, b in zip(one, two, strict=True)]),
        "two runs": _told([2 * a / b for a, b in zip(one, beside, strict=True)]),
    }


def _told(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def table(recipe: str, episodes: int, rounds: int) -> list[dict[str, str]]:
    """Return a row for shards of ten episodes, and one for the default."""
    taken(recipe, 1, 1, None)  # Compile before anything is timed.
    return [compared(recipe, episodes, shard, rounds) for shard in (10, None)]


if __name__ == "__main__":
    words = [*sys.argv[1:], *DEFAULTS[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as home:
        os.environ["SANDBOX_HOME"] = home
        show("Two workers beside one", table(words[0], int(words[1]), int(words[2])))
