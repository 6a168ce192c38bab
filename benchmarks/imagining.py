"""How many pictures a second an exact model imagines, in turn with PushT simulated and drawn."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sandbox
from benchmarks.tables import show
from sandbox import catalogue
from sandbox.imagination.dreamer import TIERS, Dreamer
from sandbox.models import Checkpoint

SIZE, ROUNDS, STEPS = 64, 9, 100
_FEW = {"batch": 2, "horizon": 2, "windows": 2, "checks": 1, "threads": 1}


def made(folder: Path) -> tuple[Path, Path]:
    """Return an exact model `conv` of the size tiny, after an update, and its run.

    What a step takes does not depend on what was learned.
    """
    recipe = {"format": 1, "environment": "push_t", "policies": {"play": 1}, "episodes": 12}
    recipe |= {"scenario": "push_t_varied", "split": "train"}
    recipe |= {"observation": ["pixels", "proprio"], "image_size": SIZE}
    sandbox.generate(recipe, folder / "run")
    path = folder / "model.safetensors"
    told: dict[str, Any] = {"options": {"exact": True}, "settings": _FEW, "track": ["csv"]}
    sandbox.train(folder / "run", path, updates=1, prices="3", **told)
    return path, folder / "run"


def speed(step: Callable[[Any], Any], actions: Any) -> float:
    """Return how many steps a second are made."""
    begun = time.perf_counter()
    for action in actions:
        step(action)
    return len(actions) / (time.perf_counter() - begun)


def table(folder: Path) -> list[dict[str, str]]:
    """Return rows a second of each tier and of the simulator: medians, and of their ratios."""
    torch.set_num_threads(1)
    path, run = made(folder)
    seen = sandbox.Dataset(run).rows(0)
    env = catalogue.environment("push_t")(observation="pixels", image_size=SIZE, account=None)
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, 2)).astype(np.float32)
    dreamers = {tier: Dreamer(Checkpoint.read(path), tier) for tier in TIERS}
    found: dict[str, list[float]] = {name: [] for name in (*TIERS, "simulated")}
    for _ in range(ROUNDS):
        for tier, dreamer in dreamers.items():
            dreamer.begin({"pixels": seen["pixels"][:3]}, seen["action"][:2])
            found[tier].append(speed(dreamer.step, actions))
        env.reset(seed=0)
        found["simulated"].append(speed(env.step, actions))
    env.close()
    return [
        {
            "rows of 64 x 64 pixels": name if name == "simulated" else f"imagined, {name}",
            "a second": f"{statistics.median(taken):,.0f}",
            "of simulated": f"{statistics.median(map(_ratio, taken, found['simulated'])):.2f}",
        }
        for name, taken in found.items()
    ]


def _ratio(one: float, other: float) -> float:
    return one / other


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SANDBOX_HOME"] = folder
        show("Rows imagined by `conv` tiny, and simulated with a picture", table(Path(folder)))


if __name__ == "__main__":
    main()
