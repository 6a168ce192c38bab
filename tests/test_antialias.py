"""Several samples a pixel: how much of it is covered, what that costs, and nothing else."""

import hashlib
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest
from golden import SEED
from running import TESTS, cli, recipe
from scenes import zoo

import sandbox
from sandbox import catalogue, prices
from sandbox.dataset.dataset import Dataset
from sandbox.env import SandboxEnv
from sandbox.errors import InvalidInputError
from sandbox.goals import trials
from sandbox.observation import ANTIALIAS
from sandbox.prices import local
from sandbox.renderer import Picture
from sandbox.renderer.rasterizer import Rasterizer
from sandbox.run import recipe as recipes
from sandbox.scene import Body, Camera, Light, Pose, Scene, Shape

FRONT = Camera("main", (0.0, -1.0, 0.0), (0.0, 0.0, 0.0), fov_deg=90.0)  # 2 m wide at the origin.
FLAT = Light(ambient=1.0, diffuse=0.0, shadows=False)
WHITE = (1.0, 1.0, 1.0, 1.0)
SIZE = 16
METRES = 2.0 / SIZE  # A pixel, at the origin.
JAGGED = {  # Columns of pictures that golden.json had before recipes had several samples.
    "push_t_demo": "9df3d2548aad090073519890ff42db89036f61fd60f5302abd62b7bcda0b7b5a",
    "quadruped_trots": "48921b289b5c5d49b3ed119873c9b9ba92a609cd0d207a2166506a4b5e7efc56",
}


def drawn(scene: Scene, samples: int, poses: Any = None, size: int = SIZE) -> Picture:
    renderer, picture = Rasterizer(antialias=samples), Picture.empty(size)
    renderer.load(scene)
    if poses is None:
        poses = np.array([[*b.pose.xyz, *b.pose.quat] for b in scene.bodies]).reshape(-1, 7)
    renderer.draw(poses, scene.cameras[0], picture)
    return picture


def black(*shapes: Shape, camera: Camera = FRONT) -> Scene:
    """White shapes in front of a black sky."""
    bodies = tuple(Body(f"body {n}", (shape,), 1.0) for n, shape in enumerate(shapes))
    return Scene(bodies, (camera,), FLAT, sky=(0.0, 0.0, 0.0), zenith=(0.0, 0.0, 0.0))


def half_plane(edge: float, upright: bool) -> Scene:
    """A board whose face ends so many pixels right of, or below, the middle of the picture."""
    far, middle = 4.0, (edge * METRES - 4.0, 0.5, 0.0)
    if not upright:
        middle = (0.0, 0.5, -middle[0])
    board = Shape("box", (far, 0.5, far), WHITE, Pose(middle))
    return black(board)


# What a pixel shows --------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [4, 8])
@pytest.mark.parametrize("upright", [True, False])
def test_an_edge_covers_as_many_samples_as_lie_before_it(samples: int, upright: bool) -> None:
    for part in range(samples + 1):
        edge = 2.0 + part / samples  # Between two samples: in both directions they are even.
        pixels = drawn(half_plane(edge, upright), samples).pixels[..., 0].astype(int)
        lines = pixels if upright else pixels.T
        assert (lines[:, :10] == 255).all()
        assert (lines[:, 10] == (255 * part + samples // 2) // samples).all()
        assert (lines[:, 11:] == 0).all()


@pytest.mark.parametrize("samples", [1, 4, 8])
@pytest.mark.parametrize("seed", range(8))
def test_what_is_covered_of_a_slanted_edge_is_nearly_its_area(samples: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    angle, off = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 3)  # Its side is not seen.
    turned = (0.0, float(np.sin(angle / 2)), 0.0, float(np.cos(angle / 2)))
    inward = np.array([np.cos(angle), -np.sin(angle)])  # The board's own x axis: x, z.
    x, z = (off * METRES - 4.0) * inward
    board = Shape("box", (4.0, 0.5, 4.0), WHITE, Pose((float(x), 0.5, float(z)), turned))
    pixels = drawn(black(board), samples).pixels[..., 0] / 255.0
    fine = (np.arange(SIZE * 64) + 0.5) / 64 - SIZE / 2
    inside = fine[None, :] * inward[0] - fine[:, None] * inward[1] < off
    area = inside.reshape(SIZE, 64, SIZE, 64).mean((1, 3))
    error = np.abs(pixels - area)
    assert error.max() <= {1: 0.51, 4: 0.32, 8: 0.22}[samples]
    assert abs(pixels.mean() - area.mean()) <= {1: 0.02, 4: 0.006, 8: 0.004}[samples]


def test_spheres_and_planes_have_the_same_samples() -> None:
    ball = black(Shape("sphere", (0.6,), WHITE))
    reference = drawn(ball, 1, size=32 * SIZE).pixels[..., 0].reshape(SIZE, 32, SIZE, 32)
    area = reference.mean((1, 3)) / 255.0
    errors = [np.abs(drawn(ball, k).pixels[..., 0] / 255.0 - area).mean() for k in (1, 4, 8)]
    assert errors[0] > 2 * errors[1] > 2.2 * errors[2]
    above = Camera("main", (0.0, -1.0, 0.3), (0.0, 0.0, 0.2))
    floor = black(Shape("plane", (), WHITE), camera=above)
    rows = [len(np.unique(drawn(floor, k).pixels)) for k in (1, 4)]
    assert rows[0] == 2 < rows[1]  # The horizon.


@pytest.mark.parametrize("name", ["push_t", "panda_push", "quadruped"])
def test_pictures_are_near_those_of_eight_by_eight_samples(name: str) -> None:
    with closing(catalogue.environment(name)(observation="pixels", account=None)) as env:
        env.reset(seed=3)
        for _ in range(10):
            env.step(env.action_space.sample() * 0)
        scene, poses = env.world.scene, env.world.poses()
    large = drawn(scene, 1, poses, 8 * 64).pixels.reshape(64, 8, 64, 8, 3)
    reference, spread = large.mean((1, 3)), large.std((1, 3)).max(axis=2)
    edges = spread > 12  # Silhouettes, creases, textures and shadows alike.
    squares = [
        ((drawn(scene, k, poses, 64).pixels - reference)[edges] ** 2).mean() for k in ANTIALIAS
    ]
    assert 0.03 < edges.mean() < 0.5
    assert squares[1] < squares[0] / 3  # 5 dB.
    assert squares[2] < squares[0] / 5


def test_a_thin_body_that_moves_does_not_flicker() -> None:
    rod = Body("rod", (Shape("box", (0.15 * METRES, 0.01, 0.5), WHITE),), 1.0)
    scene = replace(black(), bodies=(rod,))
    places = [(0.137 * n * METRES, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0) for n in range(40)]
    varies = {
        samples: np.std([drawn(scene, samples, np.array([p])).pixels.mean() for p in places])
        for samples in ANTIALIAS
    }
    assert varies[4] < varies[1] / 2
    assert varies[8] < varies[1] / 4


@pytest.mark.parametrize("samples", [4, 8])
def test_depth_and_bodies_are_those_of_the_middles_of_pixels(samples: int) -> None:
    scene, poses = zoo()
    one, several = drawn(scene, 1, poses, 64), drawn(scene, samples, poses, 64)
    for name in ("depth", "segmentation", "links"):
        assert (getattr(one, name) == getattr(several, name)).all()
    assert (one.pixels != several.pixels).any()


@pytest.mark.parametrize("samples", [4, 8])
def test_a_used_renderer_draws_what_a_fresh_one_draws(samples: int) -> None:
    scene, poses = zoo()
    renderer, picture = Rasterizer(antialias=samples), Picture.empty(64, ("pixels",))
    renderer.load(scene)
    for n in range(5):
        poses[1:, :3] += (0.03 * n, 0.01, -0.02 * n)
        renderer.draw(poses, scene.cameras[0], picture)
        assert (picture.pixels == drawn(scene, samples, poses, 64).pixels).all()


def test_samples_take_the_place_of_a_cameras_own() -> None:
    scene, poses = zoo()
    finer = replace(scene, cameras=(replace(scene.cameras[0], supersampling=2),))
    assert (drawn(scene, 4, poses).pixels == drawn(finer, 4, poses).pixels).all()


# As an argument ------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 2, 3, 16, -4, True, 4.0, "4", None])
def test_other_numbers_are_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="antialias"):
        gymnasium.make("sandbox:sandbox/PushT-v0", antialias=value, account=None)


@pytest.mark.parametrize("value", [0, 2, 3, 16, -4, "4", [4]])
def test_other_numbers_are_refused_in_a_recipe(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="antialias must be 1, 4 or 8"):
        recipes.of(recipe("push_t"), antialias=value)


def test_tiny_refuses_several_samples() -> None:
    with pytest.raises(InvalidInputError, match="TinyRenderer takes one sample a pixel"):
        gymnasium.make("sandbox:sandbox/PushT-v0", antialias=4, renderer="tiny", account=None)
    with pytest.raises(InvalidInputError, match="must have antialias 1, or renderer raster"):
        recipes.of(recipe("push_t"), antialias=4, renderer="tiny")


def made(**keywords: Any) -> SandboxEnv:
    return catalogue.environment("push_t")(account=None, image_size=16, **keywords)


def test_samples_are_charged() -> None:
    for samples in ANTIALIAS:
        with closing(made(observation=["pixels", "depth"], antialias=samples)) as env:
            schedule = prices.load("3")
            load = schedule.loads["push_t"]
            work = env.work(schedule, 9)
            assert work["pixel"] == 10 * (samples + 1) * 16**2
            own = load.drawing_us(16, samples) if samples > 1 else 0
            assert work["drawing_us"] == 10 * (own + load.drawing_us(16))
            env.reset(seed=0)
            assert env.meter.quantities["pixel"] == (samples + 1) * 16**2


def test_a_frame_of_render_is_charged_by_its_samples() -> None:
    with closing(made(render_mode="rgb_array", antialias=8)) as env:
        env.reset(seed=0)
        assert env.meter.quantities["pixel"] == 0
        frame = env.render()
        assert env.meter.quantities["pixel"] == 8 * 16**2
        assert env.evidence()["antialias"] == 8
        twin = env.branch()
        assert (twin.render() == frame).all()
        twin.close()
    with closing(made(observation="pixels")) as env:
        assert (env.reset(seed=0)[0] != frame).any()
        assert "antialias" not in env.evidence()


def test_an_agent_on_goals_may_ask_for_samples() -> None:
    class Agent:
        observation, image_size, antialias = ("pixels",), 32, 4

    assert trials._observed(Agent(), "mine") == (("pixels",), 32, 4)
    Agent.antialias = "4"  # type: ignore[assignment]
    with pytest.raises(InvalidInputError, match="antialias is '4'; give a whole number"):
        trials._observed(Agent(), "mine")


# As a key of a recipe ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one recipe: `state` without pictures, `one` and `four` with so many samples."""
    folder = tmp_path_factory.mktemp("runs")
    common: dict[str, Any] = {"episodes": 2, "policies": {"scripted": 1.0}, "image_size": 16}
    common["scenario"] = str(TESTS / "short_push_t.yaml")
    seen = {"observation": ["proprio", "pixels", "depth"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(folder / "home"))
        local.use("3")
        sandbox.generate(recipe("push_t", **common), folder / "state")
        for name, samples in (("one", 1), ("four", 4)):
            wanted = recipe("push_t", antialias=samples, **seen, **common)
            quote, bill = sandbox.quote(wanted), sandbox.generate(wanted, folder / name)
            assert bill.amount <= quote.amount
            assert bill.quantities.keys() == quote.quantities.keys()
    return folder


def said(run: Path, name: str) -> dict[str, Any]:
    return json.loads((run / name).read_text())


def test_a_run_with_samples_verifies_and_says_so(runs: Path) -> None:
    assert sandbox.verify(runs / "four").faults == []
    assert said(runs / "four", "run.json")["recipe"]["antialias"] == 4
    assert said(runs / "four", "run.json")["renderer"]["antialias"] == "4"
    one, four = (said(runs / name, "manifest.json")["quantities"] for name in ("one", "four"))
    assert four["pixel"] == one["pixel"] // 2 * 5
    assert four["drawing_us"] > 2 * one["drawing_us"]
    assert four["raw_byte"] == one["raw_byte"]


def test_without_samples_a_run_says_what_it_said_before(runs: Path) -> None:
    told = said(runs / "one", "run.json")
    assert "antialias" not in told["recipe"]
    assert told["renderer"].keys() == {"name", "class"}
    assert "antialias" not in recipe("push_t", antialias=1).model_dump()


def test_colours_differ_and_depth_does_not(runs: Path) -> None:
    rows = [Dataset(runs / name).rows(0, ["pixels", "depth"]) for name in ("one", "four")]
    assert (rows[0]["depth"] == rows[1]["depth"]).all()
    assert (rows[0]["pixels"] != rows[1]["pixels"]).any()


@pytest.mark.parametrize(("start", "samples", "same"), [("state", 4, "four"), ("four", 1, "one")])
def test_an_old_run_can_be_rendered_with_other_samples(
    runs: Path, tmp_path: Path, start: str, samples: int, same: str
) -> None:
    bill = sandbox.render(
        runs / start, tmp_path / "later", ["pixels", "depth"], antialias=samples, prices="3"
    )
    later, once = (said(run, "manifest.json") for run in (tmp_path / "later", runs / same))
    assert later["shards"] == once["shards"]
    assert bill.quantities["pixel"] == once["quantities"]["pixel"]
    assert bill.quantities["drawing_us"] == once["quantities"]["drawing_us"]
    assert sandbox.verify(tmp_path / "later").faults == []


def test_the_command_line_has_it(runs: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "later")
    done = cli("render", str(runs / "state"), "--out", out, "--antialias", "3")
    assert done.returncode != 0
    assert "antialias" in done.stderr
    preview = cli("preview", str(runs / "one"), "--out", out, "--episodes", "1", "--antialias", "8")
    assert preview.returncode == 0, preview.stderr


def test_what_a_model_was_trained_on_says_how_many(runs: Path) -> None:
    material = pytest.importorskip("sandbox.training.material")
    one, four = (material.data(Dataset(runs / name)) for name in ("one", "four"))
    assert (one.antialias, four.antialias) == (1, 4)
    assert "antialias" not in one.model_dump()
    assert type(four).model_validate(four.model_dump()) == four


@pytest.mark.parametrize("name", JAGGED)
def test_with_one_sample_a_recipe_gives_the_pictures_it_gave_before(
    name: str, tmp_path: Path
) -> None:
    wanted = recipes.of(name, antialias=1, episodes=3, seed=SEED)
    sandbox.generate(wanted, tmp_path / "run")
    (shard,) = (tmp_path / "run" / "shards").glob("*.h5")
    with h5py.File(shard) as file:
        pixels: Any = file["pixels"]
        assert hashlib.sha256(pixels[()].tobytes()).hexdigest() == JAGGED[name]
