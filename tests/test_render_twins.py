"""The rasteriser against two renderers that are not ours: Bullet's OpenGL and its TinyRenderer."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pybullet
import pytest
from numpy.typing import NDArray

from sandbox import catalogue
from sandbox.renderer import Picture, Renderer, geometry, urdf
from sandbox.renderer.arrays import FRAME
from sandbox.renderer.rasterizer import Rasterizer
from sandbox.scene import Body, Pose, Scene, Shape, orbit, robot
from sandbox.world import TinyRenderer, World, tiny

SIZE = 256
SOAK = "SANDBOX_SOAK" in os.environ
# OpenGL keeps depth in 24 bits of 1 / z: a near plane that is too near blurs what is far.
NEAR_M = 0.2
Posed = tuple[Scene, NDArray[np.float64]]


class Patched:
    """PyBullet, but for one function of it."""

    def __init__(self, **changes: Any) -> None:
        self.__dict__.update(changes)

    def __getattr__(self, name: str) -> Any:
        return getattr(pybullet, name)


def with_pixel_centres(*arguments: Any) -> list[float]:
    """Return Bullet's projection, half a pixel aside: Tiny samples a pixel's lower left corner."""
    matrix = list(pybullet.computeProjectionMatrixFOV(*arguments))
    matrix[8] += 1.0 / SIZE
    matrix[9] += 1.0 / SIZE
    return matrix


def by_opengl(*arguments: Any, **keywords: Any) -> Any:
    keywords["renderer"] = pybullet.ER_BULLET_HARDWARE_OPENGL
    return pybullet.getCameraImage(*arguments, **keywords)


@cache
def opengl() -> Renderer | None:
    """Return Bullet's OpenGL renderer, where the system has EGL; one a process, or it hangs."""
    found = importlib.util.find_spec("eglRenderer")
    if found is None or found.origin is None or sys.platform != "linux":
        return None
    renderer = TinyRenderer()
    client: int = renderer._client  # pyright: ignore[reportPrivateUsage]
    plugin = pybullet.loadPlugin(found.origin, "_eglRendererPlugin", physicsClientId=client)
    return renderer if plugin >= 0 else None


@pytest.fixture(params=["tiny", "opengl"])
def other(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Renderer]:
    if request.param == "tiny":
        changed = Patched(computeProjectionMatrixFOV=with_pixel_centres)
        monkeypatch.setattr(tiny, "pybullet", changed)
        yield TinyRenderer()
        return
    renderer = opengl()
    if renderer is None:
        pytest.skip("this system has no EGL; TinyRenderer is the second opinion here")
    monkeypatch.setattr(tiny, "pybullet", Patched(getCameraImage=by_opengl))
    yield renderer


def has_height_field(scene: Scene) -> bool:
    return any(
        shape.kind == "height_field"
        for body in scene.bodies
        if isinstance(body, Body)
        for shape in body.shapes
    )


def without_glass(scene: Scene) -> Scene:
    """The scene without what one sees through: the others draw it like anything else."""
    bodies = [
        replace(body, shapes=tuple(shape for shape in body.shapes if shape.color[3] == 1.0))
        if isinstance(body, Body)
        else body
        for body in scene.bodies
    ]
    return replace(scene, bodies=tuple(bodies))


@cache
def environment(name: str) -> Posed:
    env = catalogue.environment(name)(account=None)
    env.reset(seed=3)
    env.action_space.seed(3)
    for _ in range(10):
        env.step(env.action_space.sample())
    return env.world.scene, env.world.poses()


@cache
def arm(moved: int) -> Posed:
    """A Franka arm on its way, every triangle of it, over a plane and beside a cube."""
    positions = (0.0, -0.4, 0.0, -2.0, 0.0, 1.6, 0.8, 0.02, 0.02)
    panda = robot("panda", "franka_panda/panda.urdf", positions=positions)
    cube = Body("cube", (Shape("box", (0.03, 0.03, 0.03)),), 0.1, Pose((0.5, 0.1, 0.03)))
    floor = Body("floor", (Shape("plane"),))
    scene = Scene((floor, panda, cube), (orbit("main", (0.2, 0.0, 0.3), 1.6, 35, -50),))
    world = World()
    world.build(scene)
    target = (0.5 * moved, -0.4, 0.3 * moved, -2.0 + 0.3 * moved, 0.0, 1.6, 0.8)
    world.drive("panda", world.joints("panda")[:7], target)
    world.step(120)
    return scene, world.poses()


SCENES = [
    *(pytest.param(environment, name, id=name) for name in catalogue.environments()),
    *(pytest.param(arm, moved, id=f"arm {moved}") for moved in (range(3) if SOAK else (1,))),
]


@pytest.mark.parametrize(("make", "argument"), SCENES)
def test_bodies_and_depths_are_those_that_the_other_renderer_sees(
    make: Any, argument: Any, other: Renderer
) -> None:
    scene, poses = make(argument)
    scene = without_glass(scene)
    if other is opengl() and has_height_field(scene):
        pytest.skip("Bullet's OpenGL crashes on a mesh that is no file; TinyRenderer draws it")
    ours = Rasterizer(link_triangles=None)
    for renderer in (ours, other):
        renderer.load(scene)
    for camera in scene.cameras:
        seen = replace(camera, near_m=NEAR_M)
        a, b = Picture.empty(SIZE), Picture.empty(SIZE)
        ours.draw(poses, seen, a)
        other.draw(poses, seen, b)
        same = a.segmentation == b.segmentation
        assert same.mean() >= 0.99, camera.name  # The others' spheres have corners.
        apart = np.abs(a.depth - b.depth)[same & (a.segmentation > 0)]
        assert float(np.median(apart)) <= 1e-3, camera.name
        assert np.unique(a.segmentation).size > (2 if camera.name == "main" else 1), camera.name


def test_a_decimated_arm_covers_what_the_whole_one_does() -> None:
    scene, poses = arm(1)
    covered: list[NDArray[np.bool_]] = []
    for count in (None, 300):
        renderer, picture = Rasterizer(link_triangles=count), Picture.empty(128)
        renderer.load(scene)
        renderer.draw(poses, scene.cameras[0], picture)
        covered.append(picture.segmentation == 2)
    whole, decimated = covered
    assert (whole & decimated).sum() / (whole | decimated).sum() > 0.98


@pytest.mark.parametrize("path", ["franka_panda/panda.urdf", "kuka_iiwa/model.urdf", "r2d2.urdf"])
def test_a_urdfs_links_are_in_bullets_order_and_few_triangles_each(path: str) -> None:
    it = robot("it", path)
    world = World()
    world.build(Scene((it,)))
    base, *links = urdf.visuals(it)
    assert links == world.joints("it")
    assert base not in links
    flat = geometry.flatten(Scene((it,)), 300)
    frames = flat.solids.parts[flat.solids.owners, FRAME]
    assert np.bincount(frames).max() <= 1.1 * 300 * 3  # A link may have three files.
    assert len(flat.names) == len(world.poses())
