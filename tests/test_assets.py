"""Meshes, images and URDFs of strangers: regular files of limited size, or refused in one line."""

import io
import os
import random
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import fuzzing
import numpy as np
import pybullet_data
import pytest
import trimesh
from PIL import Image
from running import python

from sandbox import scene as sc
from sandbox.errors import InvalidInputError
from sandbox.renderer import mesh as meshes
from sandbox.renderer.rasterizer import Rasterizer
from sandbox.scene import assets
from sandbox.world import World

SOAK = bool(os.environ.get("SANDBOX_SOAK"))
COUNT = 700 if SOAK else 30
TRIANGLE = "mtllib it.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
ROBOT = """<robot name="it"><link name="base"><inertial><mass value="1"/>
<inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial><{part}><geometry>
<mesh filename="it.obj"/></geometry></{part}></link></robot>"""
LOADS = """
import sys
from sandbox import scene as sc
from sandbox.errors import InvalidInputError
from sandbox.renderer.rasterizer import Rasterizer
from sandbox.scene import assets
from sandbox.world import World
for word in sys.argv[1:]:
    what, _, path = word.partition("=")
    try:
        if what == "texture":
            bodies = (sc.Body("it", (sc.Shape("plane", texture=sc.image(path)),)),)
        elif what.startswith("mesh"):
            bodies = (sc.Body("it", (sc.mesh(path),)),)
        else:
            bodies = (sc.robot("it", path),)
        scene = sc.Scene(bodies, (sc.Camera("main", (0.4, -1.6, 1.1), (0.0, 0.0, 0.1)),))
        World().build(scene) if what.startswith("simulated") else Rasterizer().load(scene)
        print(what, "is loaded")
    except InvalidInputError as error:
        print(what, error)
"""
STRANGE = {  # What is loaded, by which file, and which file of it is strange.
    "texture": ("map.png", "map.png"),
    "mesh": ("it.obj", "it.obj"),
    "mesh with a look": ("it.obj", "it.mtl"),
    "drawn robot": ("it.urdf", "it.obj"),
    "simulated robot": ("it.urdf", "it.obj"),
    "robot": ("it.urdf", "it.urdf"),
}


def written(folder: Path, part: str) -> Path:
    """A folder with an asset of each kind; the robot has its mesh in one part."""
    folder.mkdir()
    texts = {"it.obj": TRIANGLE, "it.mtl": "newmtl a\n", "it.urdf": ROBOT.format(part=part)}
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "map.png").write_bytes(png())
    return folder


def test_an_asset_that_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    words: dict[str, str] = {}
    for form in (*fuzzing.FORMS, "file"):
        (tmp_path / form).mkdir()
        for what, (name, strange) in STRANGE.items():
            part = "collision" if what.startswith("simulated") else "visual"
            folder = written(tmp_path / form / what, part)
            if form != "file":
                fuzzing.become(folder / strange, form)
            says = "is loaded" if form == "file" else str(folder / strange)
            words[f"{what}={folder / name}"] = says
    done = python("-c", LOADS, *words)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    for line, (word, says) in zip(done.stdout.splitlines(), words.items(), strict=True):
        assert line.startswith(f"{word.partition('=')[0]} "), line
        assert says in line


def test_a_mesh_names_no_file_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "it.mtl").write_text("newmtl a\nKd 0.9 0.1 0.2\n")
    (tmp_path / "in" / "it.mtl").write_text("newmtl a\nKd 0.9 0.1 0.2\n")
    for place, coloured in (("../it.mtl", False), ("it.mtl", True)):
        path = tmp_path / "in" / "it.obj"
        path.write_text(TRIANGLE.replace("it.mtl", place).replace("f 1", "usemtl a\nf 1"))
        (found,) = meshes.load(path, None)
        assert (found.color is not None) == coloured, place


@pytest.mark.parametrize("vertex", ["0 0", "0", "nan 0 0", "inf 0 0", ""])
def test_a_mesh_whose_vertices_are_not_three_finite_numbers_is_refused(
    tmp_path: Path, vertex: str
) -> None:
    path = tmp_path / "it.obj"
    path.write_text(f"v {vertex}\n" * 3 + "f 1 2 3\n")
    said = fuzzing.refusal(partial(load, tmp_path, path.name))
    assert "three finite numbers" in said or "cannot be read as a mesh" in said


MESH = (
    "mtllib it.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nvt 0 0\nusemtl a\nf 1/1 2/1 3/1\nf 1 2 4\n"
)
LOOK = "newmtl a\nKd 0.1 0.2 0.3\nmap_Kd it.png\n"
URDF = """<robot name="it"><link name="base"><visual><origin xyz="0 0 1" rpy="0 0.1 0"/><geometry>
<mesh filename="it.obj" scale="1 1 1"/></geometry><material name="m"><color rgba="1 0 0 1"/>
</material></visual></link>
<link name="arm"><visual><geometry><box size="1 2 3"/></geometry></visual></link>
<joint name="j" type="fixed"><parent link="base"/><child link="arm"/></joint></robot>"""


def stl() -> bytes:
    """A triangle as a binary STL file."""
    corners = np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    return bytes(80) + (1).to_bytes(4, "little") + corners.tobytes() + bytes(2)


def png() -> bytes:
    made = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(made, "PNG")
    return made.getvalue()


ASSETS: dict[str, tuple[str, bytes]] = {
    "mesh": ("it.obj", MESH.encode()),
    "its look": ("it.mtl", LOOK.encode()),
    "its image": ("it.png", png()),
    "solid": ("it.stl", stl()),
    "points": ("it.ply", trimesh.creation.box().export(file_type="ply")),
    "texture": ("map.png", png()),
    "robot": ("it.urdf", URDF.encode()),
}


@pytest.mark.parametrize("kind", ASSETS)
def test_an_asset_changed_anywhere_is_drawn_or_refused_in_one_line(
    kind: str, tmp_path: Path
) -> None:
    for name, data in ASSETS.values():
        (tmp_path / name).write_bytes(data)
    (name, data), refused = ASSETS[kind], 0
    for seed in range(COUNT):
        (tmp_path / name).write_bytes(fuzzing.torn(data, random.Random(seed)))
        wanted = "it.obj" if kind.startswith("its") else name
        said = fuzzing.refusal(partial(load, tmp_path, wanted))
        assert not said or str(tmp_path) in said, (seed, said)
        refused += bool(said)
    assert refused or kind.startswith("its")


def test_an_asset_changed_anywhere_is_simulated_or_refused_and_never_a_crash(
    tmp_path: Path,
) -> None:
    """Bullet's own parsers end the process where a file is too short, so the test has its own."""
    kinds = ("mesh", "solid", "robot")
    done = python("-c", CRASHES, str(tmp_path), str(COUNT), *kinds)
    assert (done.returncode, done.stdout.split()) == (0, [*kinds, "done"]), done.stderr


CRASHES = """
import random, sys
from functools import partial
from pathlib import Path
import fuzzing, test_assets
folder, count = Path(sys.argv[1]), int(sys.argv[2])
for kind in sys.argv[3:]:
    print(kind, flush=True)
    for name, data in test_assets.ASSETS.values():
        (folder / name).write_bytes(data)
    name, data = test_assets.ASSETS[kind]
    for seed in range(count):
        changed = fuzzing.torn(data.replace(b"visual", b"collision"), random.Random(seed))
        (folder / name).write_bytes(changed)
        fuzzing.refusal(partial(test_assets.load, folder, name, simulated=True))
print("done")
"""


def load(folder: Path, name: str, *, simulated: bool = False) -> None:
    """Load a scene with an asset, to draw it or to simulate it."""
    path = str(folder / name)
    robots: tuple[sc.Robot, ...] = ()
    floor = sc.Shape("plane")
    if name.endswith(".png"):
        floor = replace(floor, texture=sc.image(path))
    elif name.endswith(".urdf"):
        robots = (sc.robot("it", path),)
    else:
        floor = sc.mesh(path)
    camera = sc.Camera("main", (0.4, -1.6, 1.1), (0.0, 0.0, 0.1))
    scene = sc.Scene((sc.Body("floor", (floor,)), *robots), (camera,))
    if not simulated:
        return Rasterizer().load(scene)
    with closing(World()) as world:
        world.build(scene)
        world.step(1)


CORNERS = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n"
BOMBS = {  # Of 3 to 14 MB.
    "faces.obj": CORNERS + "f 1 2 3\nf 1 2 4\n" * 700_000,
    "corners.obj": CORNERS + "f" + " 1 2 3" * 2_000_000 + "\n",
    "materials.obj": CORNERS + "usemtl a\nf 1 2 3\nusemtl b\nf 1 2 3\n" * 90_000,
    "faces.off": "OFF\n4 800000 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n" + "3 0 1 2\n3 0 1 3\n" * 400_000,
    "points.ply": "ply\nformat ascii 1.0\nelement vertex 2000000000\nproperty float x\n"
    "property float y\nproperty float z\nelement face 2000000000\n"
    "property list uchar int vertex_indices\nend_header\n" + "0 0 0\n" * 1000,
    "robot.urdf": "<robot><link name='a'/>" + "<material name='m'/>" * 230_000 + "</robot>",
    "laughs.urdf": "<!DOCTYPE r [<!ENTITY a 'aaaaaaaaaa'>"
    + "".join(f"<!ENTITY {b} '{f'&{a};' * 10}'>" for a, b in pairwise("abcdefghij"))
    + "]><robot name='&j;'/>",
}


@pytest.mark.parametrize("name", BOMBS)
def test_an_asset_takes_no_more_time_and_memory_than_it_has_a_right_to(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(BOMBS[name])
    assert str(tmp_path / name) in fuzzing.refusal(partial(load, tmp_path, name))


def test_the_meshes_that_come_with_bullet_are_small_enough() -> None:
    every = Path(pybullet_data.getDataPath()).rglob("*")
    meshes = [path for path in every if path.suffix.lower() in assets.MESHES]
    assert meshes
    for path in meshes:
        assert assets.read(path)


def test_a_texture_that_is_no_image_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "map.png").write_bytes(b"no image")
    with pytest.raises(InvalidInputError, match=r"map\.png: is no image; give a PNG or a JPEG\.$"):
        load(tmp_path, "map.png")
