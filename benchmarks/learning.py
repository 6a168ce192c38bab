"""Learning curves: `python -m benchmarks.learning FOLDER [WORLD ...]`.

Each world is learned in a folder of its own in FOLDER, unless it is there already. Then the table
and the curves of all that are there are made: FOLDER/rl.png.
"""

import csv
import sys
from pathlib import Path
from typing import Any

from benchmarks.tables import show
from sandbox import durable
from sandbox.learning import Learned, learn
from sandbox.report.curves_picture import Line, Panel, picture

PPO: dict[str, Any] = {"n_steps": 256, "batch_size": 512, "gamma": 0.98}
WORLDS: dict[str, dict[str, Any]] = {  # How each is learned.
    "two_room": {"algorithm": "PPO", "steps": 130_000, "environments": 8, "settings": PPO},
    "cartpole_swingup": {
        "algorithm": "SAC",
        "steps": 24_000,
        "reward": "dense",
        "settings": {"train_freq": 4, "gradient_steps": 2},
    },
    "panda_reach": {
        "algorithm": "PPO",
        "steps": 80_000,
        "environments": 8,
        "settings": PPO | {"gamma": 0.95},
    },
    "pendulum_chain": {
        "algorithm": "PPO",
        "steps": 300_000,
        "environments": 8,
        "settings": PPO | {"gamma": 0.99},
    },
    "latch": {
        "algorithm": "PPO",
        "steps": 400_000,
        "environments": 8,
        "settings": {"n_steps": 512, "batch_size": 1024},
    },
    "cheetah_2d": {
        "algorithm": "PPO",
        "steps": 400_000,
        "environments": 8,
        "settings": PPO | {"gamma": 0.99},
    },
}


def row(world: str, learned: Learned) -> dict[str, str]:
    """Return what was learned in a world, beside other policies."""
    (judged,) = learned.judged.values()
    found = {"world": world, "algorithm": learned.algorithm, "steps": f"{learned.steps:,}"}
    found["CPU s"] = f"{learned.cpu_s:.0f}"
    found["credits"] = f"{learned.bill_micro['learn'] / 1e6:,.0f}"
    every = {"learned": judged} | {name: one["-"] for name, one in learned.beside.items()}
    for name, one in every.items():
        low, high = 100 * one["success_low"], 100 * one["success_high"]
        found[name] = f"{100 * one['success']:.0f} [{low:.0f}, {high:.0f}]"
    return found


def panel(folder: Path, world: str, one: Learned) -> Panel:
    """Return the panel of success over steps, with what other policies reach."""
    with open(folder / world / "metrics.csv") as file:
        rows = [*csv.DictReader(file)]
    steps = [float(line["steps"]) for line in rows]
    rate, low, high = (
        [float(line[name]) for line in rows] for name in ("success", "success_low", "success_high")
    )
    lines = [Line("learned", steps, rate, low, high)]
    for number, (name, found) in enumerate(one.beside.items(), start=1):
        share = found["-"]["success"]
        ends = [steps[0], steps[-1]]
        lines.append(Line(name, ends, [share, share], dashed=True, colour=number))
    title = f"{world}, {one.algorithm}, {one.cpu_s:.0f} CPU s"
    return Panel(title, "steps", "share of episodes that succeed", lines)


def main() -> None:
    """Learn the worlds that are asked for, then print the table and draw the curves."""
    folder, asked = Path(sys.argv[1]), sys.argv[2:]
    for world in asked:
        if not (folder / world).exists():
            learn(world, folder / world, account=None, evaluations=6, prices="3", **WORLDS[world])
    done = [one for one in WORLDS if (folder / one / "learning.json").exists()]
    learned = {world: Learned.read(folder / world) for world in done}
    if learned:
        show("Success in 20 episodes [%]", [row(*one) for one in learned.items()])
        panels = [panel(folder, *one) for one in learned.items()]
        durable.replace(folder / "rl.png", picture("Agents", [panels]))


if __name__ == "__main__":
    main()
