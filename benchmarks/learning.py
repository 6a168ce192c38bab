"""Learning curves: `python -m benchmarks.learning FOLDER [WORLD ...]`.

Each world is learned in a folder of its own in FOLDER, unless it is there already. Then the table
and the curves of all that are there are made: FOLDER/rl.png.
"""

import csv
import sys
from pathlib import Path
from typing import Any

from benchmarks.tables import show
from sandbox import catalogue
from sandbox.learning import Learned, learn

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


def draw(folder: Path, learned: dict[str, Learned]) -> None:
    """Draw success over steps, a panel for each world, with what other policies reach."""
    from matplotlib import pyplot

    plt: Any = pyplot
    figure = plt.figure(figsize=(2.6 * len(learned), 2.5), layout="constrained")
    axes: Any = figure.subplots(1, len(learned), sharey=True, squeeze=False)[0]
    for axis, (world, one) in zip(axes, learned.items(), strict=True):
        with open(folder / world / "metrics.csv") as file:
            rows = [*csv.DictReader(file)]
        steps = [float(line["steps"]) / 1000 for line in rows]
        rate, low, high = (
            [100 * float(line[name]) for line in rows]
            for name in ("success", "success_low", "success_high")
        )
        axis.fill_between(steps, low, high, color="#3b528b", alpha=0.2, linewidth=0)
        axis.plot(steps, rate, color="#3b528b", marker="o", markersize=3, label="learned")
        for name, style in (("random", ":"), ("scripted", "--")):
            share = 100 * one.beside[name]["-"]["success"]
            axis.axhline(share, color="#666666", linestyle=style, linewidth=1, label=name)
        axis.set_title(f"{world}, {one.algorithm}", fontsize=9)
        axis.set_xlabel(f"steps [1000]; {one.cpu_s:.0f} CPU s", fontsize=8)
        axis.set_ylim(-4, 104)
        axis.tick_params(labelsize=7)
    axes[0].set_ylabel("success [%]", fontsize=8)
    axes[0].legend(fontsize=7, loc="center right")
    figure.savefig(folder / "rl.png", dpi=120)
    plt.close(figure)


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
        draw(folder, learned)


if __name__ == "__main__":
    assert "two_room" in catalogue.environments()
    main()
