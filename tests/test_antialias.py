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
from sandbox import catalogue, goals, prices
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
JAGGED = {  # Columns of golden.json before the recipes had several samples.
    "billiards_pixels": {
        "pixels": "cca43612944f2d3acd1528034227c6bb8d53ed0f201e6e5f079e14a375a0239b",
    },
    "cheetah_2d_gallops": {
        "pixels": "032a5ac527813529e1b5650849a6930b0a0359769638853b0191c1d94185c6fc",
    },
    "dominoes_gaps": {
        "pixels": "69cbaabf73280175582a5fb01c641f65fa7f6a711ef6ba0787bbed19456f53ea",
    },
    "latch_tries": {
        "pixels": "2c15ee736583395db869cfc38f92b754144d377101c5cb459f4b0fdb20746675",
    },
    "panda_pick_stack_pixels": {
        "pixels.hand": "30adf4928eac5d941aa5b08008e3aaeab8cb1c339cce74d69e4f59ae3d445549",
        "pixels.main": "48ef59e5e5111f6acc1d9b575757715f325793eb8d5d6ad8b228aaf8f6d62149",
    },
    "panda_push_pixels": {
        "pixels": "51de01385f043cee5f6691eba8939e027c4bed457c17598875e14fdff803fd62",
    },
    "panda_reach_pixels": {
        "pixels": "1ec6d8495361465e5ffad31db1b79d03d5fde3c1d04e6a139210c44bacc276f7",
    },
    "pour_beads": {
        "pixels": "10387fb108c14472e84efc13f8874843174d495a65745b6644ae52cbfc24264a",
    },
    "push_cubes_pixels": {
        "pixels": "795a8e7b3620767d1d4b2ea4c372334cf4536b7e1c461952186d6fd8cdaa3f63",
    },
    "push_t_demo": {
        "pixels": "7f49404464bef0f9c17b7b589063eddb2e1dabc2142015f61b29accc3467fa32",
    },
    "quadrotor_flights": {
        "pixels": "c0fd5d034c7d3984e00cf8a240397bd4033d89394e616b062063d8281b5f71d4",
    },
    "quadruped_trots": {
        "pixels": "48921b289b5c5d49b3ed119873c9b9ba92a609cd0d207a2166506a4b5e7efc56",
    },
    "ramp_occluder_releases": {
        "pixels.behind": "eeb53b5ca12679d5ad454ffe0e60cbaf350b2c55456c9daaa4d06e36a09b2e79",
        "pixels.main": "067a9d584f065c6f6bc53f02f814f3f82cb794f22f926743c25ea9b964bed150",
    },
    "tower_pokes": {
        "pixels": "0efefa04c5a417bf02bf64e8dc33b7cfe380a1a1d92ac5d30a7d0d1e1dbe30a6",
    },
    "two_room_pixels": {
        "pixels": "5dba3d2621166eef817bd66f46a385ecde0c82b7ca3053299d4497c79e9504ae",
    },
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


def test_a_pair_of_goals_begins_with_the_samples_that_are_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "set.json"
    goals.make("two_room_goals", file, pairs=1, offset=10, account=None)
    (pair,) = goals.open(file)
    seen = list[Any]()
    for samples in (1, 4):
        with closing(pair.reset(("pixels",), 32, samples)) as env:
            seen.append(env.step(env.action_space.sample() * 0)[0])
            assert env.pictures.samples == samples
    assert (seen[0] != seen[1]).any()


# As a key of a recipe ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
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


def test_a_run_with_samples_verifies_and_says_so(sampled: Path) -> None:
    assert sandbox.verify(sampled / "four").faults == []
    assert said(sampled / "four", "run.json")["recipe"]["antialias"] == 4
    assert said(sampled / "four", "run.json")["renderer"]["antialias"] == "4"
    one, four = (said(sampled / name, "manifest.json")["quantities"] for name in ("one", "four"))
    assert four["pixel"] == one["pixel"] // 2 * 5
    assert four["drawing_us"] > 2 * one["drawing_us"]
    assert four["raw_byte"] == one["raw_byte"]


def test_without_samples_a_run_says_what_it_said_before(sampled: Path) -> None:
    told = said(sampled / "one", "run.json")
    assert "antialias" not in told["recipe"]
    assert told["renderer"].keys() == {"name", "class"}
    assert "antialias" not in recipe("push_t", antialias=1).model_dump()


def test_colours_differ_and_depth_does_not(sampled: Path) -> None:
    rows = [Dataset(sampled / name).rows(0, ["pixels", "depth"]) for name in ("one", "four")]
    assert (rows[0]["depth"] == rows[1]["depth"]).all()
    assert (rows[0]["pixels"] != rows[1]["pixels"]).any()


@pytest.mark.parametrize(("start", "samples", "same"), [("state", 4, "four"), ("four", 1, "one")])
def test_an_old_run_can_be_rendered_with_other_samples(
    sampled: Path, tmp_path: Path, start: str, samples: int, same: str
) -> None:
    bill = sandbox.render(
        sampled / start, tmp_path / "later", ["pixels", "depth"], antialias=samples, prices="3"
    )
    later, once = (said(run, "manifest.json") for run in (tmp_path / "later", sampled / same))
    assert later["shards"] == once["shards"]
    assert bill.quantities["pixel"] == once["quantities"]["pixel"]
    assert bill.quantities["drawing_us"] == once["quantities"]["drawing_us"]
    assert sandbox.verify(tmp_path / "later").faults == []


def test_the_command_line_has_it(sampled: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "later")
    done = cli("render", str(sampled / "state"), "--out", out, "--antialias", "3")
    assert done.returncode != 0
    assert "antialias" in done.stderr
    preview = cli(
        "preview", str(sampled / "one"), "--out", out, "--episodes", "1", "--antialias", "8"
    )
    assert preview.returncode == 0, preview.stderr


def test_what_a_model_was_trained_on_says_how_many(sampled: Path) -> None:
    material = pytest.importorskip("sandbox.training.material")
    one, four = (material.data(Dataset(sampled / name)) for name in ("one", "four"))
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
        columns: dict[str, Any] = {column: file[column] for column in JAGGED[name]}
        found = {column: rows[()].tobytes() for column, rows in columns.items()}
    assert {one: hashlib.sha256(data).hexdigest() for one, data in found.items()} == JAGGED[name]
