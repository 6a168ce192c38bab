"""What a picture costs: against TinyRenderer, a physics step, and a run without pictures."""

import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.replaying import generate
from benchmarks.stepping import recipe
from sandbox import catalogue
from sandbox import observation as modality
from sandbox.renderer import Picture, Renderer
from sandbox.renderer.rasterizer import Rasterizer
from sandbox.scene import Body, Light, Pose, Robot, Scene, Shape, orbit, robot
from sandbox.scene.shapes import ShapeKind
from sandbox.world import World
from sandbox.world.tiny import TinyRenderer

Poses = list[NDArray[np.float64]]

ROUNDS, PICTURES = 15, 20  # A round draws so many pictures, each after another physics step.
REST_RAD = (0.0, -0.4, 0.0, -2.0, 0.0, 1.6, 0.8, 0.02, 0.02)
FLOORS = {  # How many times as fast as TinyRenderer without shadows: at least.
    ("plane + 10 primitives", 64): (35, 18),
    ("plane + 10 primitives", 128): (45, 22),
    ("panda + cube", 64): (200, 100),
    ("panda + cube", 128): (110, 55),
}
SMOOTH = ("push_t", "panda_push", "pour", "quadruped", "two_room", "cheetah_2d")
FINE, ZOOM = 8, 4  # Samples along a side of the reference's pixels; how much pictures are enlarged.
SIZES, TRIANGLES = (64, 128, 256, 512), (10, 30, 100, 300, 1000, 3000, 10_000)


def primitives(shadows: bool = True) -> Scene:
    """Return a plane and ten primitives that fall on it."""
    rng = np.random.default_rng(0)
    kinds: list[tuple[ShapeKind, tuple[float, ...]]] = [
        ("box", (0.05, 0.05, 0.05)),
        ("sphere", (0.06,)),
        ("cylinder", (0.05, 0.1)),
        ("capsule", (0.04, 0.08)),
    ]
    bodies: list[Body | Robot] = [Body("floor", (Shape("plane", color=(0.8, 0.8, 0.75, 1.0)),))]
    for n in range(10):
        kind, size = kinds[n % 4]
        red, green, blue = rng.uniform(0.2, 0.9, 3).tolist()
        shape = Shape(kind, size, (red, green, blue, 1.0))
        x, y = rng.uniform(-0.4, 0.4, 2).tolist()
        bodies.append(Body(f"body_{n}", (shape,), 0.2, Pose((x, y, 0.1))))
    return _scene(bodies, shadows)


def panda(shadows: bool = True) -> Scene:
    """Return a panda that moves all its joints, and a cube, on a plane."""
    arm = robot("panda", "franka_panda/panda.urdf", positions=REST_RAD)
    shape = Shape("box", (0.03, 0.03, 0.03), (0.9, 0.3, 0.2, 1.0))
    cube = Body("cube", (shape,), 0.1, Pose((0.5, 0.1, 0.03)))
    return _scene([primitives().bodies[0], arm, cube], shadows)


def _scene(bodies: list[Body | Robot], shadows: bool) -> Scene:
    camera = orbit("main", (0.1, 0.0, 0.2), 1.4, 35.0, -50.0)
    return Scene(tuple(bodies), (camera,), Light((0.4, -0.5, 1.0), shadows=shadows))


SCENES = {"plane + 10 primitives": primitives, "panda + cube": panda}


def moving(scene: Scene, count: int) -> tuple[Poses, float]:
    """Return the poses after each of `count` physics steps, and a step's median time [us]."""
    world, rng = World(), np.random.default_rng(1)
    world.build(scene)
    arm = next((body for body in scene.bodies if isinstance(body, Robot)), None)
    links = [f"panda_link{n}" for n in range(1, 8)]
    poses: Poses = []
    seconds: list[float] = []
    for n in range(count):
        if arm is not None:
            targets = REST_RAD[:7] + 0.3 * np.sin(0.05 * n + np.arange(7.0))
            world.drive(arm.name, links, targets.tolist())
        for body in (body for body in scene.bodies if isinstance(body, Body) and body.mass_kg):
            force = (4.0 * body.mass_kg * rng.standard_normal(3)).tolist()
            world.push(body.name, force, world.poses()[0, :3].tolist())
        begun = time.perf_counter()
        world.step(1)
        seconds.append(time.perf_counter() - begun)
        poses.append(world.poses())
    world.close()
    return poses, statistics.median(seconds) * 1e6


def draws(
    renderer: Renderer, scene: Scene, size: int, names: Sequence[str] = modality.PICTURES[:3]
) -> Callable[[Poses], float]:
    """Return what draws pictures at given poses and says how long one took [us]."""
    renderer.load(scene)
    camera, picture = scene.camera("main"), Picture.empty(size, names)

    def timed(poses: Poses) -> float:
        begun = time.perf_counter()
        for row in poses:
            renderer.draw(row, camera, picture)
        return (time.perf_counter() - begun) / len(poses) * 1e6

    return timed


def pictures() -> list[dict[str, str]]:
    """Measure pictures against TinyRenderer's without shadows, in turn, and physics steps."""
    rows: list[dict[str, str]] = []
    for (name, size), floors in FLOORS.items():
        poses, step_us = moving(SCENES[name](), (ROUNDS + 1) * PICTURES)
        tiny = draws(TinyRenderer(), SCENES[name](False), size)
        ours = [draws(Rasterizer(), SCENES[name](shadows), size) for shadows in (False, True)]
        rounds = [
            [one(poses[n : n + PICTURES]) for one in (tiny, *ours)]
            for n in range(0, len(poses), PICTURES)
        ][1:]  # The first round warms up.
        for k, floor in enumerate(floors, start=1):
            us = statistics.median(times[k] for times in rounds)
            ratio = statistics.median(times[0] / times[k] for times in rounds)
            rows.append(
                {
                    "scene": name,
                    "pixels": str(size),
                    "shadows": ("off", "on")[k - 1],
                    "us a picture": f"{us:.1f}",
                    "pictures/s": f"{1e6 / us:,.0f}",
                    "TinyRenderer us": f"{statistics.median(times[0] for times in rounds):,.0f}",
                    "times as fast": f"{ratio:.0f}",
                    "floor": f"{floor}",
                    "picture / physics step": f"{us / step_us:.2f}",
                }
            )
    return rows


def generating(folder: Path) -> list[dict[str, str]]:
    """Measure generating PushT with pictures (shadows, zstd, digests) and without, in turn."""
    rates: dict[str, list[float]] = {"proprio": [], "pixels": []}
    for round_ in range(6):
        for name, taken in rates.items():
            observation = ["proprio", "pixels"][: 1 + (name == "pixels")]
            wanted = recipe("push_t", episodes=12, seed=round_, observation=observation)
            seconds, steps = generate(wanted, folder / f"rate-{name}-{round_}")
            taken.append(steps / seconds)
    pairs = zip(rates["pixels"][1:], rates["proprio"][1:], strict=True)  # The first warms up.
    return [
        {
            "environment": "push_t, 64 pixels",
            "steps/s with pictures": f"{statistics.median(rates['pixels'][1:]):,.0f}",
            "without": f"{statistics.median(rates['proprio'][1:]):,.0f}",
            "with / without": f"{statistics.median(a / b for a, b in pairs):.2f}",
            "floor": "0.70",
        }
    ]


def smoothing(folder: Path) -> list[dict[str, str]]:
    """Measure generating worlds with 1, 4 and 8 samples a pixel, in turn, and what these show."""
    return [_smooth(name, folder) for name in SMOOTH]


def _smooth(name: str, folder: Path) -> dict[str, str]:
    seconds: dict[int, list[float]] = {samples: [] for samples in modality.ANTIALIAS}
    for round_ in range(8):
        turn = modality.ANTIALIAS[:: 1 if round_ % 2 else -1]
        for samples in turn:
            wanted = recipe(
                name,
                policies={"scripted": 1.0},
                episodes=2,
                seed=round_,
                observation=["proprio", "pixels"],
                antialias=samples,
            )
            begun = time.process_time()
            _, steps = generate(wanted, folder / f"smooth-{name}-{samples}-{round_}")
            seconds[samples].append((time.process_time() - begun) / steps)
    found = {samples: taken[1:] for samples, taken in seconds.items()}  # The first warms up.
    row = {"environment": name}
    for samples, taken in found.items():
        ratio = statistics.median(a / b for a, b in zip(taken, found[1], strict=True))
        us = f"{1e6 * statistics.median(taken):,.0f}"
        row[f"CPU us a frame, {samples}"] = us if samples == 1 else f"{us} ({ratio:.2f})"
    shown, reference = seen(name)
    edges = reference.std((1, 3)).max(axis=2) > 12
    for samples, picture in shown.items():
        squares = (picture[edges] - reference.mean((1, 3))[edges]) ** 2
        row[f"PSNR of edges [dB], {samples}"] = f"{10 * math.log10(255**2 / squares.mean()):.1f}"
    return row


def seen(name: str) -> tuple[dict[int, NDArray[np.uint8]], NDArray[np.uint8]]:
    """Return pictures of a world by the samples of a pixel, and one of 8 x 8 samples.

    Returns:
        uint8 (64, 64, 3) each, and uint8 (64, 8, 64, 8, 3): the samples of each pixel.
    """
    kind = catalogue.environment(name)
    with closing(kind(observation="pixels", account=None)) as env:
        env.reset(seed=1)
        act = env.scripted(np.random.default_rng(1))
        for _ in range(20):
            env.step(act())
        scene, poses = env.world.scene, env.world.poses()

    def drawn(samples: int, size: int) -> NDArray[np.uint8]:
        renderer, picture = Rasterizer(antialias=samples), Picture.empty(size, ("pixels",))
        renderer.load(scene)
        renderer.draw(poses, scene.camera("main"), picture)
        return picture.pixels

    shown = {samples: drawn(samples, 64) for samples in modality.ANTIALIAS}
    return shown, drawn(1, 64 * FINE).reshape(64, FINE, 64, FINE, 3)


def before_and_after(path: Path, names: Sequence[str] = ("push_t", "quadruped")) -> None:
    """Write a PNG: worlds with 1 sample a pixel, 4, 8 and 64, enlarged."""
    rows: list[NDArray[np.uint8]] = []
    for name in names:
        shown, fine = seen(name)
        reference = (fine.mean((1, 3)) + 0.5).astype(np.uint8)
        rows.append(np.concatenate([*shown.values(), reference], axis=1))
    large = np.kron(np.concatenate(rows), np.ones((ZOOM, ZOOM, 1), np.uint8))
    Image.fromarray(large).save(path)


def plot(path: Path) -> list[dict[str, str]]:
    """Measure pictures of a bumpy sheet that tilts, and plot their cost to a PNG at `path`."""
    table = {size: [_sheet_us(count, size) for count in TRIANGLES] for size in SIZES}
    path.parent.mkdir(parents=True, exist_ok=True)
    _draw_plot(table).save(path)
    return [
        {
            "us a picture": f"{size} pixels",
            **{f"{n:,} triangles": f"{us:,.0f}" for n, us in zip(TRIANGLES, row, strict=True)},
        }
        for size, row in table.items()
    ]


def _sheet_us(triangles: int, size: int) -> float:
    """Return the median time of a picture of a height field that nearly fills it [us]."""
    cells = round(math.sqrt(triangles / 2))
    y, x = np.mgrid[: cells + 1, : cells + 1] / cells * 2 * np.pi
    rows: list[list[float]] = (0.05 * np.sin(x) * np.cos(y)).tolist()
    heights = tuple(tuple(row) for row in rows)
    shape = Shape("height_field", (1.2 / cells, 1.2 / cells), heights=heights)
    floor = primitives().bodies[0]
    scene = _scene([floor, Body("sheet", (shape,), 1.0)], shadows=True)
    scene = replace(scene, cameras=(orbit("main", (0.0, 0.0, 0.3), 1.4, 60.0),))
    tilts = 0.1 * np.sin(np.arange(6 * PICTURES))
    poses = [
        np.array([[0, 0, 0, 0, 0, 0, 1], [0, 0, 0.3, math.sin(a / 2), 0, 0, math.cos(a / 2)]])
        for a in tilts.tolist()
    ]
    timed = draws(Rasterizer(), scene, size)
    return statistics.median(
        [timed(poses[n : n + PICTURES]) for n in range(0, len(poses), PICTURES)][1:]
    )


def _draw_plot(table: dict[int, list[float]]) -> Image.Image:
    """Return a plot of microseconds over triangles, both logarithmic, a line for each size."""
    low_us, high_us = 10.0, 10 ** math.ceil(math.log10(max(max(row) for row in table.values())))
    image = Image.new("RGB", (760, 520), "white")
    pen = ImageDraw.Draw(image)

    def at(triangles: float, us: float) -> tuple[float, float]:
        right = math.log(triangles / TRIANGLES[0]) / math.log(TRIANGLES[-1] / TRIANGLES[0])
        up = math.log(us / low_us) / math.log(high_us / low_us)
        return 80 + 560 * right, 450 - 400 * up

    for power in range(round(math.log10(high_us / low_us)) + 1):
        us = low_us * 10**power
        pen.line([at(TRIANGLES[0], us), at(TRIANGLES[-1], us)], "lightgray")
        pen.text(at(TRIANGLES[0], us), f"{us:,.0f} us ", "black", anchor="rm")
    for count in TRIANGLES:
        pen.line([at(count, low_us), at(count, high_us)], "lightgray")
        pen.text(at(count, low_us), f"\n{count:,}", "black", anchor="ma")
    pen.text((360, 490), "triangles, all seen, all moving, with shadows", "black", anchor="mm")
    pen.text((360, 25), "one picture: colour, depth, segmentation", "black", anchor="mm")
    colors = ("seagreen", "royalblue", "darkorange", "crimson")
    for (size, row), color in zip(table.items(), colors, strict=True):
        points = [at(count, us) for count, us in zip(TRIANGLES, row, strict=True)]
        pen.line(points, color, width=3)
        pen.text(points[-1], f"  {size} pixels", color, anchor="lm")
    return image


if __name__ == "__main__":
    for line in (*pictures(), *plot(Path(sys.argv[1]))) if sys.argv[1:] else pictures():
        print(line)
