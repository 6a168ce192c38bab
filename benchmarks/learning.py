"""Learning curves: `python -m benchmarks.learning FOLDER [WORLD ...]`.

Each world is learned in a folder of its own in FOLDER, unless it is there already. Then the table
and the curves of all that are there are made: FOLDER/rl.png. One that was cut off has no others
beside it.
"""

import csv
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.tables import show
from sandbox import durable
from sandbox.learning import Learned, learn
from sandbox.learning.judging import BESIDE
from sandbox.learning.outcome import MANIFEST, METRICS
from sandbox.report.curves_picture import Line, Panel, picture

ENDS = ("", "_low", "_high")  # A figure, and its interval of 95 %.
WIDE = 3  # Panels side by side.
PPO: dict[str, Any] = {"n_steps": 256, "batch_size": 512, "gamma": 0.98}
WORLDS: dict[str, dict[str, Any]] = {  # How each is learned.
    "two_room": {"algorithm": "PPO", "steps": 130_000, "environments": 8, "settings": PPO},
    "cartpole_swingup": {
        "algorithm": "SAC",
        "steps": 24_000,
        "reward": "shortfall",
        "action_repeat": 4,
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
        "steps": 200_000,
        "environments": 8,
        "settings": PPO | {"gamma": 0.99},
    },
}


@dataclass(frozen=True)
class Curve:
    """A learning curve, which may have been cut off.

    Attributes:
        world: where the agent learned.
        figure: what is shown of it: success, or return if it never succeeded.
        rows: its judgements, by name of a number.
        beside: what other policies reach, by name; empty if it was cut off.
    """

    world: str
    figure: str
    rows: list[dict[str, float]]
    beside: dict[str, dict[str, float]]

    @classmethod
    def read(cls, folder: Path, world: str) -> "Curve":
        """Read what was learned in a world."""
        with open(folder / world / METRICS) as file:
            read = [*csv.DictReader(file)]
        rows = [{k: float(v) for k, v in one.items() if k != "split"} for one in read]
        figure = "success" if any(one["success"] for one in rows) else "return"
        whole = (folder / world / MANIFEST).exists()
        beside = Learned.read(folder / world).beside if whole else {}
        return cls(world, figure, rows, {name: one["-"] for name, one in beside.items()})

    def row(self) -> dict[str, str]:
        """Return its last judgement, beside other policies."""
        last, algorithm = self.rows[-1], WORLDS[self.world]["algorithm"]
        found = {"world": self.world, "algorithm": algorithm, "steps": f"{last['steps']:,.0f}"}
        found |= {"CPU s": f"{last['cpu_s']:.0f}", "credits": f"{last['credits']:,.0f}"}
        found["figure"] = f"{self.figure} [%]" if self.figure == "success" else self.figure
        for name in ("learned", *BESIDE):
            one = {"learned": last, **self.beside}.get(name)
            found[name] = "cut off" if one is None else self._told(one)
        return found

    def _told(self, one: dict[str, float]) -> str:
        mean, low, high = (one[self.figure + end] for end in ENDS)
        if self.figure == "success":
            return f"{100 * mean:.0f} [{100 * low:.0f}, {100 * high:.0f}]"
        return f"{mean:.1f} [{low:.1f}, {high:.1f}]"

    def panel(self) -> Panel:
        """Return its picture, with what other policies reach."""
        steps = [one["steps"] for one in self.rows]
        mean, low, high = ([one[self.figure + end] for one in self.rows] for end in ENDS)
        lines, ends = [Line("learned", steps, mean, low, high)], [steps[0], steps[-1]]
        for number, (name, one) in enumerate(self.beside.items(), start=1):
            reached = [one[self.figure]] * 2
            lines.append(Line(name, ends, reached, dashed=True, colour=number))
        algorithm, cpu_s = WORLDS[self.world]["algorithm"], self.rows[-1]["cpu_s"]
        share = self.figure == "success"
        y = "share of episodes that succeed" if share else self.figure
        title = f"{self.world}, {algorithm}, {cpu_s:.0f} CPU s"
        return Panel(title, "steps", y, lines, share=share)


def main() -> None:
    """Learn the worlds that are asked for, then print the table and draw the curves."""
    folder, asked = Path(sys.argv[1]), sys.argv[2:]
    for world in asked:
        if not (folder / world).exists():
            learn(world, folder / world, account=None, evaluations=6, prices="3", **WORLDS[world])
    curves = [Curve.read(folder, one) for one in WORLDS if (folder / one / METRICS).exists()]
    if curves:
        show("In 20 episodes", [one.row() for one in curves])
        panels = [one.panel() for one in curves]
        rows = [panels[n : n + WIDE] for n in range(0, len(panels), WIDE)]
        durable.replace(folder / "rl.png", picture("Agents, judged on held-out seeds", rows))


if __name__ == "__main__":
    main()
