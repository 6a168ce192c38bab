"""A Ray cluster beside plain workers: `python -m benchmarks.cluster RECIPE EPISODES ROUNDS`.

Two nodes of one processor each on this machine, which has two, beside `workers=2`. The cluster is
there and warm before anything is timed; a run is timed from an empty folder to the signed log, in
turn, A B A B; medians. Nothing else may run.
"""

import os
import statistics
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import sandbox
from benchmarks.tables import show

DEFAULTS = ("push_t_demo", "80", "3")
SHARD = 10  # Episodes.


def timed(recipe: dict[str, Any], folder: Path, **how: Any) -> float:
    """Return how long it takes to generate a recipe [s]."""
    began = time.monotonic()
    sandbox.generate(recipe, folder, **how)
    return time.monotonic() - began


def main(recipe: str, episodes: int, rounds: int) -> None:
    """Compare, and print the table."""
    import yaml
    from ray.cluster_utils import Cluster

    given: dict[str, Any] = yaml.safe_load(Path("datasets", f"{recipe}.yaml").read_text())
    given |= {"episodes": episodes, "shard_episodes": SHARD}
    node = {"object_store_memory": 200 << 20, "num_cpus": 1}
    head = {"num_cpus": 0, "include_dashboard": False}
    made: Any = Cluster(initialize_head=True, head_node_args=head)  # It has no types.
    for _ in range(2):
        made.add_node(**node)
    os.environ["RAY_ADDRESS"] = made.address
    ways: dict[str, dict[str, Any]] = {"workers": {"workers": 2}, "ray": {"on": "ray"}}
    times: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        for name, how in ways.items():
            timed({**given, "episodes": 2 * SHARD}, Path(folder, f"warm-{name}"), **how)
        for number in range(rounds):
            for name, how in ways.items():
                times[name].append(timed(given, Path(folder, f"{name}-{number}"), **how))
    import_module("ray").shutdown()
    made.shutdown()
    ratios = [one / other for one, other in zip(times["ray"], times["workers"], strict=True)]
    row = {"recipe": recipe, "episodes": f"{episodes}"}
    row |= {f"{name} [s]": f"{statistics.median(every):.1f}" for name, every in times.items()}
    row["ray / workers"] = f"{statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"
    show("A Ray cluster of two nodes beside two workers", [row])


if __name__ == "__main__":
    words = [*sys.argv[1:], *DEFAULTS[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as home:
        os.environ["SANDBOX_HOME"] = home
        main(words[0], int(words[1]), int(words[2]))
