"""Measure the load of a world: the CPU time of a reset, a step and a picture on this machine."""

import json
import os
import tempfile
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sandbox import prices
from sandbox.env import SandboxEnv
from sandbox.prices import Load
from sandbox.run import recipe as recipes
from sandbox.run.run import Run
from sandbox.sources.generation import Generation

SCHEDULE = "2"  # Its rate of bytes is what they take in nanoseconds.
POLICIES = {"scripted": 1, "random": 1, "play": 1}
FEW, MANY, PICTURES = 3, 15, 30
SIZES = 64, 192  # Of pictures, in pixels.


def measure(world: type[SandboxEnv], rounds: int = 3) -> Load:
    """Return the load of a world as generating its episodes shows it; no ledger is changed.

    What a run takes for itself does not count: many episodes of one step are compared with few, and
    whole episodes with these. What their bytes and pixels cost is taken off.

    Args:
        world: the class.
        rounds: how often each part is repeated; the least time counts.
    """
    one_step = {"format": 1, "environment": world.written(), "limit_s": 1.0 / world.control_hz}
    with _home() as folder:
        brief = folder / "brief.yaml"
        brief.write_text(json.dumps(one_step))
        ways: list[dict[str, Any]] = [
            {"scenario": str(brief), "episodes": FEW},
            {"scenario": str(brief), "episodes": MANY},
            {"episodes": FEW},
        ]
        few, many, whole = (_run(world, folder / str(n), w, rounds) for n, w in enumerate(ways))
    each_us = (many[1] - few[1]) / (MANY - FEW)  # A reset and a step.
    step_us = (whole[1] - few[1]) / (whole[0] - few[0])
    found = each_us - step_us, step_us, *_picture(world, rounds)
    return Load(*(max(1, _rounded(us)) for us in found))


@contextmanager
def _home() -> Generator[Path]:
    """Yield a folder that is the ledger's home meanwhile."""
    before = os.environ.get("SANDBOX_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SANDBOX_HOME"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop("SANDBOX_HOME")
            os.environ.update({} if before is None else {"SANDBOX_HOME": before})


def _run(world: type[SandboxEnv], out: Path, way: dict[str, Any], rounds: int) -> tuple[int, float]:
    """Return the steps of a run, and its least CPU time without its bytes [us]."""
    known = {"format": 1, "environment": world.written(), "policies": POLICIES}
    schedule, found, bill = prices.load(SCHEDULE), list[float](), None
    for number in range(rounds):
        run = Run(Generation(recipes.of({**known, **way})), out / str(number), schedule=schedule)
        begun = time.process_time_ns()
        bill = run.generate()
        found.append((time.process_time_ns() - begun) / 1000)
        run.close()
    assert bill is not None
    bytes_us = bill.quantities["raw_byte"] * schedule.rates["raw_byte"] / 1000
    steps = bill.quantities["physics_step"] // (world.physics_hz // world.control_hz)
    return steps, min(found) - bytes_us


def _picture(world: type[SandboxEnv], rounds: int) -> tuple[float, float]:
    """Return the CPU time of a picture besides its pixels [us], and that of a pixel [ns]."""
    small, large = (_drawn(world, size, rounds) for size in SIZES)
    pixel_us = (large - small) / (SIZES[1] ** 2 - SIZES[0] ** 2)
    return small - pixel_us * SIZES[0] ** 2, 1000 * pixel_us


def _drawn(world: type[SandboxEnv], size: int, rounds: int) -> float:
    """Return the least mean CPU time of a picture of so many pixels in width and height [us]."""
    found: list[float] = []
    with closing(world(account=None, render_mode="rgb_array", image_size=size)) as env:
        env.pictures.warm_up()
        for _ in range(rounds):
            env.action_space.seed(1)
            drawing, over = 0, True
            for _ in range(PICTURES):  # Of other states: what moves is placed again.
                if over:
                    env.reset(seed=1)
                _, _, ended, cut, _ = env.step(env.action_space.sample())
                over = ended or cut
                begun = time.process_time_ns()
                env.render()
                drawing += time.process_time_ns() - begun
            found.append(drawing / PICTURES / 1000)
    return min(found)


def _rounded(number: float) -> int:
    """Return a number with two digits: more is noise."""
    return int(float(f"{number:.2g}"))
