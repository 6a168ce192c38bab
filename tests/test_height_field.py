"""A height field is the same surface for rays, for things that fall on it, and for pictures."""

import numpy as np
import pybullet
import pytest

from sandbox.errors import InvalidInputError
from sandbox.renderer import Picture, Renderer
from sandbox.renderer.rasterizer import Rasterizer
from sandbox.scene import Body, Camera, Pose, Scene, Shape, turned
from sandbox.world import TinyRenderer, World

CELL_M = (0.1, 0.15)
HEIGHTS = np.random.default_rng(3).uniform(0.2, 0.5, (7, 9))  # Rows along y, columns along x.
BODY, IN = (0.2, -0.3, 0.5), (0.1, 0.1, -0.1)
AT = (0.3, -0.2, 0.4)  # Their sum.
SHAPE = Shape("height_field", CELL_M, pose=Pose(IN), heights=tuple(map(tuple, HEIGHTS.tolist())))


def surface(x: float, y: float) -> float:
    """The height at a place of the world: two flat triangles a cell, split at its first corner."""
    rows, columns = HEIGHTS.shape
    u = (x - AT[0]) / CELL_M[0] + (columns - 1) / 2
    v = (y - AT[1]) / CELL_M[1] + (rows - 1) / 2
    i, j = int(u), int(v)
    a, b = HEIGHTS[j, i], HEIGHTS[j, i + 1]
    c, d = HEIGHTS[j + 1, i + 1], HEIGHTS[j + 1, i]
    p, q = u - i, v - j
    return float(
        AT[2] + (a + p * (b - a) + q * (c - b) if p >= q else a + p * (c - d) + q * (d - a))
    )


@pytest.fixture
def hills() -> World:
    top = Camera("top", (AT[0], AT[1], 3.0), (AT[0], AT[1], 0.0), (0.0, 1.0, 0.0), fov_deg=14)
    world = World()
    world.build(Scene((Body("hills", (SHAPE,), pose=Pose(BODY)),), (top,)))
    return world


def test_rays_meet_it_where_its_heights_are(hills: World) -> None:
    places = np.random.default_rng(5).uniform(-0.35, 0.35, (200, 2)) + AT[:2]
    for x, y in places.tolist():
        hit = pybullet.rayTest((x, y, 3.0), (x, y, 0.0), physicsClientId=hills._client)[0]  # pyright: ignore[reportPrivateUsage]
        assert hit[3][2] == pytest.approx(surface(x, y), abs=2e-4)


@pytest.mark.parametrize("renderer", [Rasterizer(), TinyRenderer()], ids=["raster", "tiny"])
def test_pictures_show_it_where_its_heights_are(hills: World, renderer: Renderer) -> None:
    camera, picture = hills.scene.camera("top"), Picture.empty(64)
    renderer.load(hills.scene)
    renderer.draw(hills.poses(), camera, picture)
    tangent = np.tan(np.radians(camera.fov_deg / 2))
    shift = 0.5 if renderer.name == "tiny" else 0.0  # It samples a pixel's lower left corner.
    errors: list[float] = []
    for row, column in np.random.default_rng(1).integers(4, 60, (200, 2)).tolist():
        z = float(picture.depth[row, column])
        u, v = (column + 0.5 - shift - 32, row + 0.5 + shift - 32)
        x, y = (AT[0] + u / 32 * tangent * z, AT[1] - v / 32 * tangent * z)
        errors.append(abs(3.0 - z - surface(x, y)))
    assert float(np.median(errors)) < 1e-5
    assert (picture.segmentation == 1).all()


def test_balls_come_to_rest_on_it() -> None:
    bowl = [[0.02 * ((i - 3) ** 2 + (j - 4) ** 2) for i in range(7)] for j in range(9)]
    hills = Shape("height_field", (0.2, 0.2), heights=tuple(map(tuple, bowl)))
    ball = Body("ball", (Shape("sphere", (0.05,)),), 0.1, turned(0.05, -0.08, 0.6))
    world = World()
    world.build(Scene((Body("hills", (hills,)), ball)))
    world.watch(("ball",), ())
    world.step(2400)
    x, y, z = world.read()[:3]
    assert (abs(x), abs(y)) < (0.2, 0.2)
    assert 0.03 < z < 0.08


def test_heights_that_are_no_grid_are_refused() -> None:
    for heights in ((), ((0.0, 1.0),), ((0.0, 1.0), (0.0,)), ((0.0, np.nan), (0.0, 0.0))):
        with pytest.raises(InvalidInputError):
            Shape("height_field", CELL_M, heights=heights)
