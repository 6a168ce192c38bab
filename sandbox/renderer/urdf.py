"""Read the visual shapes of a URDF's links, in Bullet's order, without a simulator."""

import hashlib
import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from sandbox.errors import InvalidInputError
from sandbox.scene import GREY, Pose, Quat, Rgba, Robot, Shape, Vec3, asset, assets

Shapes = tuple[Shape, ...]


def visuals(robot: Robot) -> dict[str, Shapes]:
    """Return the visual shapes of a robot's base and links by name, each in its link's frame.

    The order is Bullet's: depth first, children in the order of the file's joints.

    Raises:
        InvalidInputError: the file is not a URDF, or has changed since the scene was made.
    """
    path = asset(robot.urdf)
    data = assets.read(path)
    if hashlib.sha256(data).hexdigest() != robot.sha256:
        raise InvalidInputError(f"{path}: has changed since the scene of {robot.name!r} was made.")
    return _visuals(path, data)


@lru_cache(maxsize=64)
def _visuals(path: Path, data: bytes) -> dict[str, Shapes]:
    try:
        root = assets.parsed_urdf(path, data)
        materials = {m.get("name", ""): color for m in root.iter("material") if (color := _rgba(m))}
        links = {link.attrib["name"]: link for link in root.findall("link")}
        children: dict[str, list[str]] = {name: [] for name in links}
        below: set[str] = set()
        for joint in root.findall("joint"):
            parent, child = (_one(joint, tag).attrib["link"] for tag in ("parent", "child"))
            children[parent].append(child)
            below.add(child)
        (base,) = [name for name in links if name not in below]
        return {
            name: tuple(_shape(visual, materials, path) for visual in links[name].findall("visual"))
            for name in _depth_first(base, children)
        }
    except (LookupError, ValueError) as error:
        raise InvalidInputError(f"{path}: not a URDF that can be drawn: {error!r}.") from error


def _depth_first(base: str, children: dict[str, list[str]]) -> list[str]:
    order: list[str] = []
    waiting = [base]
    while waiting:
        name = waiting.pop()
        order.append(name)
        waiting += reversed(children[name])
        if len(order) > len(children):
            raise ValueError("its joints go round in a circle")
    return order


def _shape(visual: ET.Element, materials: dict[str, Rgba], path: Path) -> Shape:
    material = visual.find("material")
    color = GREY
    if material is not None:
        color = _rgba(material) or materials.get(material.get("name", ""), GREY)
    geometry = _one(visual, "geometry")
    shape = _geometry(geometry[0], path)
    return replace(shape, color=color, pose=_origin(visual.find("origin")))


def _geometry(it: ET.Element, path: Path) -> Shape:
    match it.tag:
        case "box":
            x, y, z = _vector(it.attrib["size"])
            return Shape("box", (x / 2, y / 2, z / 2))
        case "sphere":
            return Shape("sphere", (float(it.attrib["radius"]),))
        case "cylinder" | "capsule":
            size = (float(it.attrib["radius"]), float(it.attrib["length"]))
            return Shape(it.tag, size)
        case "mesh":
            scale = _vector(it.get("scale", "1 1 1"))
            return Shape("mesh", scale, path=str(_find(it.attrib["filename"], path)))
        case _:
            raise ValueError(f"a visual of kind {it.tag!r}")


def _find(name: str, urdf: Path) -> Path:
    """Return the path of a mesh: below the URDF's folder, or below a folder above it."""
    found = assets.named(name, urdf)
    if found is None:
        raise InvalidInputError(f"{urdf}: its mesh {name!r} is not beside it, nor above it.")
    return found


def _origin(it: ET.Element | None) -> Pose:
    """Return the pose of an <origin>; rpy are rotations about the fixed axes x, y, z in turn."""
    if it is None:
        return Pose()
    roll, pitch, yaw = (angle / 2 for angle in _vector(it.get("rpy", "0 0 0")))
    (sr, cr), (sp, cp), (sy, cy) = ((math.sin(a), math.cos(a)) for a in (roll, pitch, yaw))
    quat: Quat = (
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
        cr * cp * cy + sr * sp * sy,
    )
    return Pose(_vector(it.get("xyz", "0 0 0")), quat)


def _rgba(material: ET.Element) -> Rgba | None:
    color = material.find("color")
    if color is None:
        return None
    r, g, b, a = (float(part) for part in color.attrib["rgba"].split())
    return (r, g, b, a)


def _vector(text: str) -> Vec3:
    x, y, z = (float(part) for part in text.split())
    if not all(math.isfinite(part) for part in (x, y, z)):
        raise ValueError(f"{text!r} is not finite")
    return (x, y, z)


def _one(it: ET.Element, tag: str) -> ET.Element:
    found = it.find(tag)
    if found is None:
        raise ValueError(f"a {it.tag} without {tag}")
    return found
