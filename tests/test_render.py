"""What a picture shows, against what geometry says that it must show."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scenes import F64, zoo

from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.renderer import Picture, rasterizer
from sandbox.renderer.camera import rotation
from sandbox.renderer.rasterizer import Rasterizer
from sandbox.scene import Body, Camera, Light, Pose, Scene, Shape, Texture, image, mesh, robot
from sandbox.world import TinyRenderer, World

FRONT = Camera("main", (0.0, -2.0, 0.0), (0.0, 0.0, 0.0), fov_deg=40.0)
ABOVE = Camera("main", (0.0, 0.0, 2.0), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0), fov_deg=40.0)
STILL = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
DARK = Light(shadows=False)


def shown(
    *shapes: Shape, camera: Camera = FRONT, light: Light = DARK, size: int = 128, **sky: Any
) -> Picture:
    """Draw each shape as a body of its own, where its pose says."""
    bodies = tuple(Body(f"body {n}", (shape,), 1.0) for n, shape in enumerate(shapes))
    return drawn(Scene(bodies, (camera,), light, **sky), size)


def drawn(scene: Scene, size: int = 128, poses: F64 | None = None) -> Picture:
    renderer, picture = Rasterizer(), Picture.empty(size)
    renderer.load(scene)
    if poses is None:
        poses = np.array([[*b.pose.xyz, *b.pose.quat] for b in scene.bodies]).reshape(-1, 7)
    renderer.draw(poses, scene.cameras[0], picture)
    return picture


def at(shape: Shape, *xyz: float) -> Shape:
    return replace(shape, pose=Pose((xyz[0], xyz[1], xyz[2])))


def tangent(camera: Camera) -> float:
    return math.tan(math.radians(camera.fov_deg / 2))


# Where things are ----------------------------------------------------------------------------


@pytest.mark.parametrize("aside", [0.0, 0.4])
def test_a_sphere_covers_the_area_of_its_ellipse(aside: float) -> None:
    radius, distance, size = 0.25, 2.0, 512
    picture = shown(at(Shape("sphere", (radius,)), aside, 0.0, 0.0), size=size)
    # A cone about the axis to (aside, distance) of half angle a cuts the picture's plane z = 1 in
    # an ellipse: area = pi sin^2(a) cos(a) / (cos^2(b) - sin^2(a))^1.5, b its angle to the view.
    away = math.hypot(aside, distance)
    sin_a, cos_b = radius / away, distance / away
    area = math.pi * sin_a**2 * math.sqrt(1 - sin_a**2) / (cos_b**2 - sin_a**2) ** 1.5
    pixels = area * (size / (2 * tangent(FRONT))) ** 2
    assert (picture.segmentation == 1).sum() == pytest.approx(pixels, rel=2e-3)
    assert picture.depth.min() == pytest.approx(distance - radius, abs=2e-3)


def test_a_cubes_face_is_as_far_as_it_is() -> None:
    picture = shown(Shape("box", (0.3, 0.3, 0.3)))
    seen = picture.segmentation == 1
    assert np.abs(picture.depth[seen] - 1.7).max() < 1e-6
    side = 0.6 / (1.7 * 2 * tangent(FRONT)) * 128
    assert seen.sum() == pytest.approx(side**2, rel=0.04)
    assert np.unique(picture.pixels[seen], axis=0).shape == (1, 3)


def test_a_planes_horizon_is_where_the_view_is_level() -> None:
    for pitch in (0.0, 10.0, -7.0):
        down = math.tan(math.radians(pitch))
        camera = Camera("main", (0.0, 0.0, 1.0), (0.0, 1.0, 1.0 - down), far_m=1e5)
        ground = shown(Shape("plane"), camera=camera, size=200).segmentation == 1
        row = 100 - 100 * down / tangent(camera)  # Level is `pitch` above the middle.
        assert np.abs(ground.argmax(axis=0) - row).max() <= 1
        assert ground[-1].all()


def test_what_crosses_the_camera_is_cut_at_the_near_plane() -> None:
    camera = replace(FRONT, eye=(0.0, 0.0, 0.5), target=(0.0, 1.0, 0.5), near_m=0.1)
    floor = Shape("box", (50.0, 50.0, 0.5), pose=Pose((0.0, 0.0, -0.5)))
    picture = shown(floor, camera=camera, size=64)
    plane = shown(Shape("plane"), camera=camera, size=64)
    below = np.s_[36:]  # Nearer than the far plane.
    assert (picture.segmentation[below] == 1).all()
    assert np.allclose(picture.depth[below], plane.depth[below], rtol=1e-5)


def test_nothing_behind_the_camera_nearer_than_near_or_farther_than_far_is_seen() -> None:
    ball, box = Shape("sphere", (0.2,)), Shape("box", (0.2, 0.2, 0.2))
    places = ((0.0, -4.0, 0.0), (0.0, -2.0 + 0.02, 0.0), (0.0, 30.0, 0.0))
    for x, y, z in (places[0], places[2]):
        assert not shown(at(ball, x, y, z), at(box, x, y, z)).segmentation.any()
    camera = replace(FRONT, near_m=0.5)
    assert not shown(at(ball, *places[1]), at(box, *places[1]), camera=camera).segmentation.any()


def test_an_empty_scene_is_sky_and_far() -> None:
    picture = drawn(Scene((), (FRONT,)))
    assert not picture.segmentation.any()
    assert (picture.depth == np.float32(FRONT.far_m)).all()
    assert (picture.pixels > 100).all()


@pytest.mark.parametrize("size", [1, 2, 3, 63, 1024])
def test_pictures_of_any_size_show_the_same(size: int) -> None:
    picture = shown(Shape("box", (0.9, 0.9, 0.9)), size=size)
    assert picture.segmentation[size // 2, size // 2] == 1
    assert picture.depth[size // 2, size // 2] == pytest.approx(1.1, abs=1e-6)


def test_triangles_without_an_area_are_not_seen(tmp_path: Path) -> None:
    flat = tmp_path / "flat.obj"
    flat.write_text(
        "v 0 0 0\nv 1 0 0\nv 2 0 0\nv 0 0 1\nv 0 0 0\nf 1 2 3\nf 1 1 4\nf 1 5 2\nf 2 4 1\n"
    )
    picture = shown(mesh(str(flat)), camera=replace(FRONT, target=(0.3, 0.0, 0.3)))
    assert 0.02 < (picture.segmentation == 1).mean() < 0.4


def test_a_million_triangles_are_a_surface() -> None:
    heights = np.add.outer(np.arange(709) * 1e-4, np.arange(709) * 2e-4)
    field = Shape("height_field", (0.002, 0.002), heights=tuple(map(tuple, heights.tolist())))
    picture = drawn(Scene((Body("hill", (field,)),), (ABOVE,), DARK), 64)
    middle = heights[354, 354]
    assert picture.depth[32, 32] == pytest.approx(2.0 - middle, abs=3e-3)
    assert (picture.segmentation[8:56, 8:56] == 1).all()


def test_capsules_and_cylinders_are_as_long_as_they_say() -> None:
    for kind, half in (("capsule", 0.5), ("cylinder", 0.3)):
        picture = shown(Shape(kind, (0.2, 0.6)), size=256)  # type: ignore[arg-type]
        rows = np.flatnonzero((picture.segmentation == 1).any(axis=1))
        distance = 2.0 if kind == "capsule" else 1.8
        tall = 2 * half / (distance * 2 * tangent(FRONT)) * 256
        assert len(rows) == pytest.approx(tall, rel=0.03)
        assert picture.depth.min() == pytest.approx(1.8, abs=2e-3)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(-1, 1), min_size=4, max_size=4),
    st.lists(st.floats(-5, 5), min_size=3, max_size=3),
)
def test_the_world_and_its_camera_moved_together_look_the_same(
    turn: list[float], shift: list[float]
) -> None:
    quat = np.array(turn) if np.linalg.norm(turn) > 0.1 else np.array([0.0, 0.0, 0.0, 1.0])
    quat /= np.linalg.norm(quat)
    turned, by = rotation(quat), np.array(shift)
    scene, poses = zoo()
    before = drawn(scene, 64, poses)

    def moved(v: Any, point: bool = True) -> Any:
        return tuple((turned @ np.array(v) + (by if point else 0.0)).tolist())

    camera = scene.cameras[0]
    seen = replace(
        camera, eye=moved(camera.eye), target=moved(camera.target), up=moved(camera.up, False)
    )
    light = replace(scene.light, direction=moved(scene.light.direction, False))
    there = np.array([[*moved(p[:3]), *product(quat, p[3:])] for p in poses.tolist()])
    after = drawn(replace(scene, cameras=(seen,), light=light), 64, there)
    same = before.segmentation == after.segmentation
    assert same.mean() > 0.99
    assert np.median(np.abs(before.depth - after.depth)[same]) < 1e-5
    far = np.abs(before.pixels.astype(int) - after.pixels.astype(int)).max(axis=2)
    body = same & (before.segmentation > 0)
    assert (far[body] <= 2).mean() > 0.9


def product(a: Any, b: Any) -> tuple[float, ...]:
    """Multiply two quaternions xyzw."""
    (ax, ay, az, aw), (bx, by, bz, bw) = a, b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def test_links_are_told_apart() -> None:
    arm = robot("panda", "franka_panda/panda.urdf")
    camera = Camera("main", (1.2, -1.2, 0.8), (0.1, 0.0, 0.4))
    scene, world = Scene((Body("floor", (Shape("plane"),)), arm), (camera,)), World()
    world.build(scene)
    for renderer in (Rasterizer(), TinyRenderer()):
        picture = Picture.empty(128)
        renderer.load(scene)
        renderer.draw(world.poses(), camera, picture)
        names = ["floor", "panda", *world.joints("panda")]
        assert {names[n - 1] for n in np.unique(picture.links[picture.links > 0]).tolist()} >= {
            *("floor", "panda", "panda_link3", "panda_link6", "panda_hand", "panda_leftfinger"),
        }
        assert ((picture.links > 1) == (picture.segmentation == 2)).all()
        assert ((picture.links == 1) == (picture.segmentation == 1)).all()


# How things look -----------------------------------------------------------------------------


def test_a_box_on_the_floor_has_a_shadow_that_touches_it() -> None:
    light = Light((1.0, 0.0, 1.0))
    box, floor = at(Shape("box", (0.2, 0.2, 0.2)), 0.0, 0.0, 0.2), Shape("plane")
    lit = shown(floor, box, camera=ABOVE, light=replace(light, shadows=False)).pixels
    dark = shown(floor, box, camera=ABOVE, light=light).pixels
    row, scale = 64, 64 / (2.0 * tangent(ABOVE))
    shadow = slice(int(64 - 0.55 * scale), int(64 - 0.24 * scale))  # At x from -0.55 to -0.24.
    beside = slice(int(64 + 0.3 * scale), int(64 + 0.6 * scale))
    assert (dark[row, shadow].astype(int) < lit[row, shadow] - 40).all()
    assert (dark[row, beside] == lit[row, beside]).all()


def test_a_convex_thing_does_not_shadow_itself_where_it_faces_the_light() -> None:
    for shape in (Shape("sphere", (0.3,)), Shape("box", (0.3, 0.3, 0.3))):
        light = Light((0.3, -1.0, 0.4))
        lit, dark = (shown(shape, light=replace(light, shadows=on)).pixels for on in (False, True))
        assert (np.abs(lit.astype(int) - dark).max(axis=2) > 3).mean() < 0.01


def test_the_light_colours_what_it_falls_on() -> None:
    box = Shape("box", (0.3, 0.3, 0.3), (0.8, 0.8, 0.8, 1.0))
    light = Light((0.0, -1.0, 0.0), (1.0, 0.5, 0.0), ambient=0.2, diffuse=0.5)
    middle = shown(box, light=light).pixels[64, 64]
    assert middle.tolist() == [round(255 * 0.8 * (0.2 + 0.5 * part)) for part in light.color]


def test_what_is_translucent_lets_through_and_hides_nothing() -> None:
    back = at(Shape("box", (0.3, 0.3, 0.3), (0.0, 0.0, 1.0, 1.0)), 0.0, 1.0, 0.0)
    glass = Shape("box", (0.5, 0.1, 0.5), (1.0, 0.0, 0.0, 0.5))
    alone, both = shown(back), shown(back, glass)
    assert (both.segmentation == alone.segmentation).all()
    assert (both.depth == alone.depth).all()
    assert both.pixels[64, 64, 0] > alone.pixels[64, 64, 0] + 50
    assert both.pixels[64, 64, 2] < alone.pixels[64, 64, 2] - 50


def test_a_checker_has_squares_of_its_width() -> None:
    checker = Texture("checker", color=(0.0, 0.0, 0.0), width_m=0.4)
    picture = shown(Shape("plane", texture=checker), camera=ABOVE, size=256)
    scale = 128 / (2.0 * tangent(ABOVE))
    for x, y in ((0.1, 0.1), (0.3, 0.1), (0.3, 0.3), (-0.1, 0.1), (-0.3, -0.5)):
        black = (math.floor(x / 0.2) + math.floor(y / 0.2)) % 2 == 1
        assert (picture.pixels[int(128 - y * scale), int(128 + x * scale)].max() < 40) == black


def test_an_image_lies_the_right_way_up(tmp_path: Path) -> None:
    texels = np.zeros((2, 2, 3), np.uint8)
    texels[0, 0], texels[0, 1], texels[1, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    Image.fromarray(texels).save(tmp_path / "map.png")
    white = (1.0, 1.0, 1.0, 1.0)
    floor = Shape("plane", (), white, texture=image(str(tmp_path / "map.png"), 1.0))
    pixels = shown(floor, camera=ABOVE, size=128).pixels
    assert pixels[44, 44].argmax() == 0
    assert pixels[44, 84].argmax() == 1
    assert pixels[84, 44].argmax() == 2
    assert pixels[84, 84].max() == 0


def test_supersampling_changes_edges_and_nothing_else() -> None:
    scene, poses = zoo()
    fine = replace(scene, cameras=(replace(scene.cameras[0], supersampling=2),))
    one, two = drawn(scene, 64, poses), drawn(fine, 64, poses)
    assert (one.depth == two.depth).all()
    assert (one.segmentation == two.segmentation).all()
    assert len(np.unique(two.pixels)) >= len(np.unique(one.pixels))
    assert 0.01 < (np.abs(one.pixels.astype(int) - two.pixels).max(axis=2) > 8).mean() < 0.3


# Cameras and layers --------------------------------------------------------------------------


def test_a_camera_goes_with_its_body() -> None:
    scene, poses = zoo()
    moved = poses.copy()
    moved[:, :3] += (1.0, 2.0, 0.0)
    follow = Camera("main", (0.0, -1.0, 0.5), (0.0, 0.0, 0.0), body="body 1")
    seen = replace(scene, cameras=(follow,))
    assert (drawn(seen, 64, poses).segmentation == drawn(seen, 64, moved).segmentation).all()
    poses[1, 3:] = (0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5))
    ridden = replace(scene, cameras=(replace(follow, mounted=True),))
    pictures = [drawn(s, 64, poses).segmentation for s in (seen, ridden)]
    assert (pictures[0] != pictures[1]).mean() > 0.1
    assert [p[32, 32] for p in pictures] == [2, 2]


def test_what_stands_still_is_drawn_anew_when_it_moves() -> None:
    still = Body("box", (Shape("box", (0.3, 0.3, 0.3)),))
    ball = Body("ball", (Shape("sphere", (0.1,)),), 1.0)
    scene = Scene((still, ball), (FRONT, replace(FRONT, name="follow", body="ball")))
    renderer = Rasterizer()
    renderer.load(scene)
    for n in range(4):
        poses = np.array([STILL, (0.5, -0.5, 0.1 * n, 0.0, 0.0, 0.0, 1.0)])
        poses[0, 0] = 0.2 * (n // 2)
        for camera in scene.cameras:
            picture, fresh = Picture.empty(48), Rasterizer()
            renderer.draw(poses, camera, picture)
            fresh.load(scene)
            again = Picture.empty(48)
            fresh.draw(poses, camera, again)
            assert (picture.pixels == again.pixels).all()
            assert (picture.depth == again.depth).all()
            assert (picture.segmentation == again.segmentation).all()


@pytest.mark.parametrize("names", [("pixels",), ("depth",), ("segmentation",), ("pixels", "depth")])
def test_any_subset_is_the_same_as_all_at_once(names: tuple[str, ...]) -> None:
    scene, poses = zoo()
    every = drawn(scene, 64, poses)
    renderer, some = Rasterizer(), Picture.empty(64, names)
    renderer.load(scene)
    renderer.draw(poses, scene.cameras[0], some)
    for name in names:
        assert (getattr(some, name) == getattr(every, name)).all()


# Bad input -----------------------------------------------------------------------------------


def test_poses_that_are_none_are_refused() -> None:
    scene, poses = zoo()
    bad = poses.copy()
    bad[2, 4] = math.nan
    for wrong in (poses[:-1], poses[:, :6], bad):
        with pytest.raises(InvalidInputError, match="poses"):
            drawn(scene, 16, wrong)


def test_arrays_that_do_not_fit_are_refused() -> None:
    whole = Picture.empty(16)
    locked = whole.depth.copy()
    locked.flags.writeable = False
    changes: list[dict[str, Any]] = [
        {"size": 17},
        {"pixels": whole.pixels.view(np.int8)},
        {"depth": locked},
        {"segmentation": whole.segmentation.T[::2]},
        {"depth": whole.depth.astype(np.float64)},
        {"links": whole.links.reshape(-1)},
    ]
    for change in changes:
        with pytest.raises(InvalidInputError, match=r"a picture of 1[67] pixels with"):
            replace(whole, **change)


@pytest.mark.parametrize(
    "changes",
    [
        {"near_m": 2.0, "far_m": 1.0},
        {"near_m": 0.0},
        {"far_m": math.inf},
        {"fov_deg": 180.0},
        {"eye": (0.0, 0.0, math.nan)},
        {"target": FRONT.eye},
        {"up": (0.0, 1.0, 0.0)},
        {"supersampling": 3},
    ],
)
def test_cameras_that_see_nothing_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="camera 'main'"):
        replace(FRONT, **changes)


@pytest.mark.parametrize("name", ["ball.obj", "ball.stl", "ball.ply", "ball.glb", "ball.xyz"])
def test_files_that_are_no_meshes_are_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x00\xffgarbage" * 50)
    with pytest.raises(InvalidInputError, match=name):
        shown(mesh(str(tmp_path / name)))
    with pytest.raises(InvalidInputError, match="missing"):
        mesh(str(tmp_path / "missing.obj"))


def test_files_that_are_no_images_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "map.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\x00" * 100)
    with pytest.raises(InvalidInputError, match=r"map\.png"):
        shown(Shape("plane", texture=image(str(tmp_path / "map.png"), 1.0)))
    with pytest.raises(InvalidInputError, match="missing"):
        image(str(tmp_path / "missing.png"), 1.0)


def test_a_camera_on_a_link_that_is_not_there_is_refused() -> None:
    scene = Scene(
        (Body("box", (Shape("box", (0.1, 0.1, 0.1)),)),), (replace(FRONT, body="box", link="arm"),)
    )
    with pytest.raises(UnknownNameError, match="no link is called 'arm'"):
        drawn(scene, 16)


def test_a_fixed_cameras_layer_outlives_the_moves_of_another_cameras_body(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene, poses = zoo()
    both = (scene.cameras[0], replace(scene.cameras[0], name="follow", body="body 1"))
    renderer, looks = Rasterizer(), list[str]()
    renderer.load(replace(scene, cameras=both))
    look = rasterizer._Take._look  # pyright: ignore[reportPrivateUsage]

    def counted(take: Any) -> None:
        looks.append(take.camera.name)
        look(take)

    monkeypatch.setattr(rasterizer._Take, "_look", counted)  # pyright: ignore[reportPrivateUsage]
    for n in range(3):
        poses[1, 0] += 0.1 * n
        for camera in both:
            renderer.draw(poses, camera, Picture.empty(16))
    assert (looks.count("main"), looks.count("follow")) == (2, 4)  # Once each to begin with.
