"""What a step of panda-gym costs beyond its physics, in turn with ours; installs it for that.

gym-pybullet-drones is not on PyPI, so nothing here can install it.
"""

import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from benchmarks.stepping import Stepping

PANDA = ("panda-gym==3.0.7", "PandaPush-v3")
ROUNDS = 15
SERVER = """
import sys, time
import gymnasium, panda_gym

env = gymnasium.make(sys.argv[1])
physics = env.unwrapped.sim.physics_client
simulate, inside = physics.stepSimulation, [0.0]


def timed():
    begun = time.perf_counter()
    simulate()
    inside[0] += time.perf_counter() - begun


env.unwrapped.sim.physics_client = type("Timed", (), {
    "stepSimulation": staticmethod(timed),
    "__getattr__": lambda _, name: getattr(physics, name),
})()
for line in sys.stdin:
    env.reset(seed=int(line))
    env.action_space.seed(int(line))
    actions = [env.action_space.sample() for _ in range(50)]
    inside[0] = 0.0
    begun = time.perf_counter()
    for action in actions:
        env.step(action)
    whole = time.perf_counter() - begun
    print(whole / inside[0], (whole - inside[0]) / len(actions) * 1e6, flush=True)
"""


def steps(names: list[str]) -> list[dict[str, str]]:
    """Measure a step over the physics inside it: ours logged and metered, theirs as it comes."""
    package, task = PANDA
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "bin" / "python"
        venv.create(folder, with_pip=True)
        install = [python, "-m", "pip", "install", "--quiet", package]
        if subprocess.run(install, check=False).returncode:
            return [{"environment": f"{package}: cannot be installed here"}]
        found = _in_turn(names, [str(python), "-c", SERVER, task])
    rows = {**{name: found[name] for name in names}, f"{package} {task}": found[task]}
    return [
        {
            "environment": name,
            "step / physics": f"{statistics.median(ratio for ratio, _ in rounds):.3f}",
            "overhead us a step": f"{statistics.median(us for _, us in rounds):.1f}",
        }
        for name, rounds in rows.items()
    ]


def _in_turn(names: list[str], server: list[str]) -> dict[str, list[tuple[float, float]]]:
    """Return the ratio and the overhead [us] of each round, by environment."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (*names, server[-1])}
    pipe = subprocess.PIPE
    with tempfile.TemporaryDirectory() as folder:
        ours = {name: Stepping(name, Path(folder)) for name in names}
        theirs = subprocess.Popen(
            server, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, bufsize=1
        )
        assert theirs.stdin is not None
        assert theirs.stdout is not None
        for index in range(ROUNDS + 1):
            taken = {name: one.round(index) for name, one in ours.items()}
            theirs.stdin.write(f"{index}\n")
            answer = next(line for line in theirs.stdout if line[0].isdigit())  # Not a banner.
            ratio, us = map(float, answer.split())
            taken[server[-1]] = (ratio, us)
            if index:  # The first round warms up.
                for name, round_ in taken.items():
                    found[name].append(round_)
        theirs.stdin.close()
        theirs.wait()
        for one in ours.values():
            one.close()
    return found


if __name__ == "__main__":
    for row in steps(sys.argv[1:]):
        print(row)
