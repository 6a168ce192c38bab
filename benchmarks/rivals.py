"""Others' steps and pictures, in turn with ours; installs the others for that."""

import os
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from benchmarks.rendering import PICTURES, draws, moving, panda, primitives
from benchmarks.stepping import Stepping
from sandbox.renderer.camera import extrinsics
from sandbox.renderer.rasterizer import Rasterizer
from sandbox.scene import Body, Scene

PANDA = "panda-gym==3.0.7"
DRONES = "gym-pybullet-drones @ git+https://github.com/utiasDSL/gym-pybullet-drones"  # Not on PyPI.
STEPPING = (
    (PANDA, "panda_gym", ("PandaReach-v3", "PandaPush-v3", "PandaPickAndPlace-v3")),
    (DRONES, "gym_pybullet_drones", ("hover-aviary-v0",)),
)
ROUNDS = 9
SERVER = """
import importlib, sys, time
import gymnasium, pybullet

simulate, inside = pybullet.stepSimulation, [0.0]


def timed(*arguments, **keywords):
    begun = time.perf_counter()
    simulate(*arguments, **keywords)
    inside[0] += time.perf_counter() - begun


pybullet.stepSimulation = timed
importlib.import_module(sys.argv[1])
env = gymnasium.make(sys.argv[2])
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

PANDA_PICTURES = """
import sys, time
import gymnasium, panda_gym

env = gymnasium.make(
    "PandaPush-v3", render_mode="rgb_array", renderer="Tiny", render_width=64, render_height=64
)
env.reset(seed=0)
print("ready", flush=True)
for line in sys.stdin:
    seconds = 0.0
    for n in range(int(line)):
        env.step(env.action_space.sample())
        begun = time.perf_counter()
        assert env.render().shape == (64, 64, 3)
        seconds += time.perf_counter() - begun
    print(seconds / int(line) * 1e6, flush=True)
"""
MUJOCO = "mujoco==4.0.0"
MUJOCO_PICTURES = """
import sys, time
import mujoco

model = mujoco.MjModel.from_xml_string(sys.argv[1])
data, renderer = mujoco.MjData(model), mujoco.Renderer(model, 64, 64)
print("ready", flush=True)
for line in sys.stdin:
    seconds = 0.0
    for n in range(int(line)):
        mujoco.mj_step(model, data)
        begun = time.perf_counter()
        renderer.update_scene(data, "main")
        assert renderer.render().shape == (64, 64, 3)
        seconds += time.perf_counter() - begun
    print(seconds / int(line) * 1e6, flush=True)
"""


def steps(names: list[str]) -> list[dict[str, str]]:
    """Measure a step over the physics inside it: ours logged and metered, theirs as it comes."""
    servers: dict[str, list[str]] = {}
    absent: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for package, module, tasks in STEPPING:
            python, title = Path(folder) / module / "bin" / "python", package.partition(" @")[0]
            venv.create(Path(folder) / module, with_pip=True)
            install = [python, "-m", "pip", "install", "--quiet", package]
            if subprocess.run(install, check=False).returncode:
                absent.append(f"{title}: cannot be installed here")
                continue
            for task in tasks:
                servers[f"{title} {task}"] = [str(python), "-c", SERVER, module, task]
        found = _in_turn(names, servers)
    rows = [
        {
            "environment": name,
            "step / physics": f"{statistics.median(ratio for ratio, _ in rounds):.3f}",
            "overhead us a step": f"{statistics.median(us for _, us in rounds):.1f}",
        }
        for name, rounds in found.items()
    ]
    blank = {"step / physics": "", "overhead us a step": ""}
    return rows + [{"environment": name, **blank} for name in absent]


def _in_turn(
    names: list[str], servers: dict[str, list[str]]
) -> dict[str, list[tuple[float, float]]]:
    """Return the ratio and the overhead [us] of each round, by environment."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (*names, *servers)}
    pipe = subprocess.PIPE
    with tempfile.TemporaryDirectory() as folder:
        ours = {name: Stepping(name, Path(folder)) for name in names}
        theirs = {
            name: subprocess.Popen(
                server, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, bufsize=1
            )
            for name, server in servers.items()
        }
        for index in range(ROUNDS + 1):
            taken = {name: one.round() for name, one in ours.items()}
            taken |= {name: _asked(one, index) for name, one in theirs.items()}
            if index:  # The first round warms up.
                for name, round_ in taken.items():
                    found[name].append(round_)
        for one in theirs.values():
            one.communicate()
        for one in ours.values():
            one.close()
    return found


def _asked(server: subprocess.Popen[str], index: int) -> tuple[float, float]:
    """Return what a rival's round came to."""
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(f"{index}\n")
    answer = next(line for line in server.stdout if line[0].isdigit())  # Not a banner.
    ratio, us = map(float, answer.split())
    return ratio, us


def pictures() -> list[dict[str, str]]:
    """Measure colour pictures of 64 pixels with shadows: ours, and others' of scenes like ours."""
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "bin" / "python"
        venv.create(folder, with_pip=True)
        rows: list[dict[str, str]] = []
        for package, title, scene, gl, code, *arguments in (
            (PANDA, "PandaPush-v3, TinyRenderer", panda(), "", PANDA_PICTURES),
            *(
                (MUJOCO, f"Renderer, {gl}", primitives(), gl, MUJOCO_PICTURES, _mjcf(primitives()))
                for gl in ("egl", "osmesa")
            ),
        ):
            row = {"rival": f"{package} {title}", "theirs us": "cannot be installed here"}
            row |= {"ours us": "", "times as fast": ""}
            install = [python, "-m", "pip", "install", "--quiet", package]
            if not subprocess.run(install, check=False).returncode:
                row |= _against(scene, [str(python), "-c", code, *arguments], gl)
            rows.append(row)
    return rows


def _against(scene: Scene, server: list[str], gl: str) -> dict[str, str]:
    """Return what pictures cost, theirs and ours in turn."""
    poses, _ = moving(scene, PICTURES * (ROUNDS + 1))
    ours = draws(Rasterizer(), scene, 64, ["pixels"])
    pipe, environ = subprocess.PIPE, {**os.environ, "MUJOCO_GL": gl}
    theirs = subprocess.Popen(
        server, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environ
    )
    assert theirs.stdin is not None
    assert theirs.stdout is not None
    if "ready\n" not in iter(theirs.stdout.readline, ""):
        return {"theirs us": "cannot be started here"}
    rounds: list[tuple[float, float]] = []
    for n in range(0, len(poses), PICTURES):
        print(PICTURES, file=theirs.stdin, flush=True)
        rounds.append((float(theirs.stdout.readline()), ours(poses[n : n + PICTURES])))
    theirs.stdin.close()
    theirs.wait()
    rounds = rounds[1:]  # The first warms up.
    return {
        "theirs us": f"{statistics.median(a for a, _ in rounds):,.0f}",
        "ours us": f"{statistics.median(b for _, b in rounds):,.1f}",
        "times as fast": f"{statistics.median(a / b for a, b in rounds):,.0f}",
    }


def _mjcf(scene: Scene) -> str:
    """Return a scene of primitives in MuJoCo's language."""
    camera, light = scene.camera("main"), scene.light
    turn = extrinsics(camera)[:3, :3]
    axes = " ".join(map(str, [*turn[0], *-turn[1]]))
    eye, sun = " ".join(map(str, camera.eye)), " ".join(str(-part) for part in light.direction)
    bodies: list[str] = []
    for body in scene.bodies:
        assert isinstance(body, Body)
        (shape,) = body.shapes
        long = shape.kind in ("cylinder", "capsule")
        size = (shape.size[0], shape.size[1] / 2) if long else shape.size or (5.0, 5.0, 0.1)
        rgba, sizes, at = (" ".join(map(str, v)) for v in (shape.color, size, body.pose.xyz))
        free = "<freejoint/>" if body.mass_kg else ""
        geom = f'<geom type="{shape.kind}" size="{sizes}" rgba="{rgba}"/>'
        bodies.append(f'<body pos="{at}">{free}{geom}</body>')
    return (
        f'<mujoco><worldbody><light directional="true" dir="{sun}" pos="0 0 3"/>'
        f'<camera name="main" pos="{eye}" xyaxes="{axes}" fovy="{camera.fov_deg}"/>'
        f"{''.join(bodies)}</worldbody></mujoco>"
    )


if __name__ == "__main__":
    for row in steps(sys.argv[1:]):
        print(row)
