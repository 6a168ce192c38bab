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

ENDS = ("", "_low", "_high")  # A figure, and its interval of 95 %.
WIDE = 3  # Panels side by side.
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
        "steps": 200_000,
        "reward": "dense",
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
        "steps": 200_000,
        "environments": 8,
        "settings": PPO | {"gamma": 0.99},
    },
}


def curve(folder: Path, world: str) -> tuple[str, list[dict[str, float]]]:
    """Return a learning curve, and what to show of it: success, or return if it never succeeded."""
    with open(folder / world / "metrics.csv") as file:
        rows = [{k: float(v) for k, v in r.items() if k != "split"} for r in csv.DictReader(file)]
    return "success" if any(one["success"] for one in rows) else "return", rows


def row(folder: Path, world: str, learned: Learned) -> dict[str, str]:
    """Return what was learned in a world, beside other policies."""
    (judged,), (figure, _) = learned.judged.values(), curve(folder, world)
    found = {"world": world, "algorithm": learned.algorithm, "steps": f"{learned.steps:,}"}
    found["CPU s"] = f"{learned.cpu_s:.0f}"
    found["credits"] = f"{learned.bill_micro['learn'] / 1e6:,.0f}"
    found["figure"] = f"{figure} [%]" if figure == "success" else figure
    every = {"learned": judged} | {name: one["-"] for name, one in learned.beside.items()}
    for name, one in every.items():
        mean, low, high = (one[figure + end] for end in ENDS)
        share = f"{100 * mean:.0f} [{100 * low:.0f}, {100 * high:.0f}]"
        found[name] = share if figure == "success" else f"{mean:.1f} [{low:.1f}, {high:.1f}]"
    return found


def panel(folder: Path, world: str, learned: Learned) -> Panel:
    """Return the panel of a learning curve, with what other policies reach."""
    figure, rows = curve(folder, world)
    steps = [one["steps"] for one in rows]
    mean, low, high = ([one[figure + end] for one in rows] for end in ENDS)
    lines = [Line("learned", steps, mean, low, high)]
    for number, (name, found) in enumerate(learned.beside.items(), start=1):
        reached, ends = found["-"][figure], [steps[0], steps[-1]]
        lines.append(Line(name, ends, [reached, reached], dashed=True, colour=number))
    title = f"{world}, {learned.algorithm}, {learned.cpu_s:.0f} CPU s"
    y = "share of episodes that succeed" if figure == "success" else figure
    return Panel(title, "steps", y, lines)


def main() -> None:
    """Learn the worlds that are asked for, then print the table and draw the curves."""
    folder, asked = Path(sys.argv[1]), sys.argv[2:]
    for world in asked:
        if not (folder / world).exists():
            learn(world, folder / world, account=None, evaluations=6, prices="3", **WORLDS[world])
    done = [one for one in WORLDS if (folder / one / "learning.json").exists()]
    learned = {world: Learned.read(folder / world) for world in done}
    if learned:
        show("In 20 episodes", [row(folder, *one) for one in learned.items()])
        panels = [panel(folder, *one) for one in learned.items()]
        shown = [panels[n : n + WIDE] for n in range(0, len(panels), WIDE)]
        durable.replace(folder / "rl.png", picture("Agents, judged on held-out seeds", shown))


if __name__ == "__main__":
    main()
