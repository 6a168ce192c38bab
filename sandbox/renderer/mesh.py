"""Triangle meshes: made from shapes, or read from files, decimated and cached."""

import hashlib
import io
import os
import warnings
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox import content, files
from sandbox.errors import InvalidInputError
from sandbox.scene import assets

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

SIDES = 32  # Sides of a cylinder, whose silhouette is then within 0.5 % of its radius.
CREASE_DEG = 40.0  # An edge with a smaller angle looks smooth.
LARGE = 50_000  # Meshes with more triangles are smooth everywhere; creases would cost too much.
DECIMATOR = "fast-simplification-" + version("fast-simplification")
CACHE_VERSION = 3
# Decimation tries these until at most ABOUT times the wanted triangles are left. With 300 triangles
# a link the Panda keeps 99 % of its silhouette; with 7 alone it keeps 95 %.
AGGRESSIVENESS, ABOUT = (3, 5, 7), 1.1
LARGEST_IMAGE = 4096  # Pixels in width and height.
SHADES = 12  # Colours from images are rounded to so many steps of red, green and blue.
LOOKS = (".mtl", ".png", ".jpg", ".jpeg")  # Files from which an OBJ file takes its colours.
_BOX_FACES = ((0, 1, 2), (1, 2, 0), (2, 0, 1))  # An axis, and the two axes of the face.


@dataclass(frozen=True)
class Mesh:
    """Triangles with a normal per vertex.

    Attributes:
        vertices: (v, 3) positions [m].
        normals: (v, 3) unit vectors.
        triangles: (t, 3) indices of vertices, counterclockwise seen from outside.
        color: red, green, blue, alpha from the mesh's file, or None.
        closed: whether the mesh encloses a volume; then only its outside is drawn.
    """

    vertices: F64
    normals: F64
    triangles: I64
    color: tuple[float, float, float, float] | None = None
    closed: bool = True


def box(x: float, y: float, z: float) -> Mesh:
    """Return a box with sharp edges, given its half extents [m]."""
    half = np.array([x, y, z])
    corners: list[F64] = []
    normals: list[F64] = []
    for axis, u, v in _BOX_FACES:
        for sign in (1.0, -1.0):
            normal = np.zeros(3)
            normal[axis] = sign
            for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
                corner = normal.copy()
                corner[u], corner[v] = a * sign, b
                corners.append(corner * half)
                normals.append(normal)
    quads = np.arange(24).reshape(6, 4)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return Mesh(np.array(corners), np.array(normals), triangles)


def cylinder(radius: float, length: float, caps: bool = True) -> Mesh:
    """Return a cylinder along z, centred at the origin, with or without caps."""
    angle = np.arange(SIDES) * (2 * np.pi / SIDES)
    ring = np.stack([np.cos(angle), np.sin(angle), np.zeros(SIDES)], axis=1)
    up = np.array([0.0, 0.0, length / 2])
    low, high = ring * radius - up, ring * radius + up
    n = np.arange(SIDES)
    after = (n + 1) % SIDES
    sides = [[n, after, SIDES + after], [n, SIDES + after, SIDES + n]]
    vertices, normals = [low, high], [ring, ring]
    if caps:
        for k, (rim, sign) in enumerate(((low, -1.0), (high, 1.0))):
            first = (2 + k) * SIDES
            vertices.append(rim)
            normals.append(np.tile([0.0, 0.0, sign], (SIDES, 1)))
            fan = [np.full(SIDES - 2, first), first + n[1:-1], first + n[2:]]
            sides.append(fan if sign > 0 else [fan[0], fan[2], fan[1]])
    triangles = np.concatenate([np.stack(side, axis=1) for side in sides])
    return Mesh(np.concatenate(vertices), np.concatenate(normals), triangles)


def height_field(heights: F64, cell: tuple[float, float]) -> Mesh:
    """Return a surface over a centred grid; heights (rows, columns) along y and x [m]."""
    rows, columns = heights.shape
    y, x = np.mgrid[:rows, :columns].astype(np.float64)
    x, y = (x - (columns - 1) / 2) * cell[0], (y - (rows - 1) / 2) * cell[1]
    grid = np.stack([x, y, heights], axis=-1)
    first = np.arange(rows * columns, dtype=np.int64).reshape(rows, columns)[:-1, :-1].reshape(-1)
    a, b, c, d = first, first + 1, first + columns + 1, first + columns
    triangles = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    vertices = grid.reshape(-1, 3)
    return Mesh(vertices, _round_normals(vertices, triangles), triangles, closed=False)


def load(path: Path, triangles: int | None) -> tuple[Mesh, ...]:
    """Return the meshes in a file, one for each colour, decimated to about `triangles` in all.

    Raises:
        InvalidInputError: the file cannot be read as a mesh.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise InvalidInputError(f"{path}: no mesh can be read here: {error.strerror}.") from None
    return _loaded(path, triangles, facts.st_mtime_ns, facts.st_size)


def check(path: Path) -> None:
    """Refuse a mesh that cannot be read: Bullet would crash. One below pybullet_data is good.

    Raises:
        InvalidInputError: the file cannot be read as a mesh.
    """
    if not assets.is_installed(path):
        facts = path.stat()
        _check(path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=256)
def _check(path: Path, *_: int) -> None:
    _check_kind(path)
    _read(path, assets.read(path))


def _check_kind(path: Path) -> None:
    if path.suffix.lower() not in assets.MESHES:
        raise InvalidInputError(
            f"{path}: no mesh of a kind that is read; convert it to one of "
            f"{', '.join(assets.MESHES)}."
        )


@lru_cache(maxsize=256)
def _loaded(path: Path, count: int | None, *_: int) -> tuple[Mesh, ...]:
    """Read a file, or take its meshes from the cache on disk; cached by time and size."""
    _check_kind(path)
    data = assets.read(path)
    key = hashlib.sha256(data)
    for beside in sorted(path.parent.iterdir()) if path.suffix.lower() == ".obj" else ():
        if beside.suffix.lower() in LOOKS:
            key.update(assets.read(beside))
    key.update(f"{CACHE_VERSION} {DECIMATOR} {count}".encode())
    kept = content.cache() / "meshes" / f"{key.hexdigest()}.npz"
    found = _from_cache(kept)
    if found is None:
        whole = _read(path, data)  # A decimated closed mesh counts as closed.
        found = (*_simplified(*whole, count), _is_closed(whole[1]))
        _to_cache(kept, found)
    vertices, faces, colors, closed = found
    meshes: list[Mesh] = []
    rows: list[list[float]] = colors.tolist()
    for color in dict.fromkeys((r, g, b, a) for r, g, b, a in rows):
        mine = faces[(colors == color).all(axis=1)]
        points, normals, triangles = split(vertices, mine)
        own = color if color[3] >= 0 else None
        meshes.append(Mesh(points, normals, triangles, own, closed))
    return tuple(meshes)


class _Beside:
    """Finds for trimesh the files that a mesh names: in the mesh's folder, and nowhere else."""

    def __init__(self, path: Path) -> None:
        self._folder, self.file_name = path.parent, path.name

    def get(self, name: str) -> bytes:
        """Return the bytes of a file; InvalidInputError if it is not to be read."""
        path = files.place(self._folder / name.strip())
        if not path.is_relative_to(self._folder):
            raise InvalidInputError(f"{path}: is not in the folder of the mesh that names it.")
        files.refuse_links(self._folder, path)
        return assets.read(path)

    __getitem__ = get


def _read(path: Path, data: bytes) -> tuple[F64, I64, F64]:
    """Return a file's welded vertices, faces, and face colours; alpha is -1 without colour."""
    import trimesh

    try:
        kind, beside = path.suffix.lower().removeprefix("."), _Beside(path)
        scene = trimesh.load_scene(io.BytesIO(data), kind, beside, process=False)
        parts = scene.dump()
        pieces = [
            (np.asarray(p.vertices, float), np.asarray(p.faces, np.int64), _colors(p))
            for p in parts
        ]
    except InvalidInputError:
        raise
    except Exception as error:  # Its parsers raise errors of any type.
        raise InvalidInputError(f"{path}: cannot be read as a mesh: {error}.") from error
    pieces = [piece for piece in pieces if len(piece[1])]
    sizes = {v.shape[1:] for v, _, _ in pieces} | {f.shape[1:] for _, f, _ in pieces}
    if sizes != {(3,)} or not all(np.isfinite(v).all() for v, _, _ in pieces):
        raise InvalidInputError(
            f"{path}: a mesh without triangles, or with a vertex that is not three finite numbers."
        )
    starts = np.cumsum([0, *(len(v) for v, _, _ in pieces)])
    vertices = np.concatenate([v for v, _, _ in pieces])
    faces = np.concatenate([f + s for (_, f, _), s in zip(pieces, starts, strict=False)])
    colors = np.concatenate([c for _, _, c in pieces])
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise InvalidInputError(f"{path}: a triangle names a vertex that is not there.")
    vertices, where = np.unique(vertices, axis=0, return_inverse=True)
    return vertices, where.reshape(-1)[faces], colors


def _colors(part: Any) -> F64:
    """Return each face's colour, from the material or its image at the face's middle."""
    count, look = len(part.faces), part.visual
    material = getattr(look, "material", None)
    if look.kind != "texture" or material is None or material.name in (None, "material_0"):
        return np.tile([0.0, 0.0, 0.0, -1.0], (count, 1))
    colors = np.tile(np.asarray(material.main_color, float) / 255.0, (count, 1))
    image = getattr(material, "image", None)
    if image is not None and look.uv is not None:
        if max(image.size) > LARGEST_IMAGE:
            raise InvalidInputError(
                f"{material.name}: an image of {image.size[0]} x {image.size[1]} pixels; one has "
                f"at most {LARGEST_IMAGE} in width and height."
            )
        texels = np.asarray(image.convert("RGB"))
        u, v = np.moveaxis(np.asarray(look.uv, float)[part.faces].mean(axis=1) % 1.0, -1, 0)
        rows = ((1.0 - v) * texels.shape[0]).astype(int).clip(0, texels.shape[0] - 1)
        columns = (u * texels.shape[1]).astype(int).clip(0, texels.shape[1] - 1)
        colors[:, :3] = np.round(texels[rows, columns] / 255.0 * SHADES) / SHADES
    return colors


def _simplified(vertices: F64, faces: I64, colors: F64, count: int | None) -> tuple[F64, I64, F64]:
    """Decimate to about `count` triangles; each takes the colour of the nearest old face."""
    if count is None or len(faces) <= count:
        return vertices, faces, colors
    import fast_simplification

    points, triangles = vertices, faces
    for haste in AGGRESSIVENESS:
        if len(triangles) > ABOUT * count:
            points, triangles = fast_simplification.simplify(
                points, triangles, target_count=count, agg=haste
            )
    points, triangles = np.asarray(points, np.float64), np.asarray(triangles, np.int64)
    if len(triangles) == 0:
        return vertices, faces, colors
    before = vertices[faces].mean(axis=1)
    squares = (before**2).sum(axis=1)
    nearest = [
        int(np.argmin(squares - 2 * (before @ middle))) for middle in points[triangles].mean(axis=1)
    ]
    return points, triangles, colors[nearest]


def split(vertices: F64, faces: I64) -> tuple[F64, F64, I64]:
    """Return vertices, normals and triangles with vertices split at creases, smooth elsewhere."""
    area = _areas(vertices, faces)
    keep = np.linalg.norm(area, axis=1) > 0.0
    faces, area = faces[keep], area[keep]
    if len(faces) > LARGE:
        used, where = np.unique(faces, return_inverse=True)
        triangles = where.reshape(-1, 3)
        return vertices[used], _round_normals(vertices[used], triangles), triangles
    flat = area / np.linalg.norm(area, axis=1, keepdims=True)
    corners = faces.reshape(-1)
    owner = np.repeat(np.arange(len(faces)), 3)
    order = np.argsort(corners, kind="stable")
    counts = np.bincount(corners, minlength=len(vertices))
    ends = np.cumsum(counts)
    normals = np.empty((len(corners), 3))
    limit = np.cos(np.radians(CREASE_DEG))
    for corner, (vertex, face) in enumerate(zip(corners.tolist(), owner.tolist(), strict=True)):
        around = owner[order[ends[vertex] - counts[vertex] : ends[vertex]]]
        like = around[flat[around] @ flat[face] >= limit]
        total = area[like].sum(axis=0)
        normals[corner] = total / max(np.linalg.norm(total), 1e-300)
    key = np.concatenate([corners[:, None], np.round(normals * 1e4)], axis=1)
    _, first, where = np.unique(key, axis=0, return_index=True, return_inverse=True)
    return vertices[corners[first]], normals[first], where.reshape(-1, 3)


def _areas(vertices: F64, faces: I64) -> F64:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def _round_normals(vertices: F64, triangles: I64) -> F64:
    """Return vertex normals: means over the triangles around, weighted by area."""
    normals = np.zeros_like(vertices)
    area = _areas(vertices, triangles)
    for k in range(3):
        np.add.at(normals, triangles[:, k], area)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)


def _is_closed(faces: I64) -> bool:
    """Return whether nearly every edge belongs to two triangles, in opposite directions."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    count = int(faces.max()) + 1
    there, back = edges[:, 0] * count + edges[:, 1], edges[:, 1] * count + edges[:, 0]
    return bool(np.isin(there, back).mean() > 0.98)


def _from_cache(path: Path) -> tuple[F64, I64, F64, bool] | None:
    """Return a mesh from the cache; None if it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            vertices, faces, colors = (kept[name] for name in ("vertices", "faces", "colors"))
            closed = bool(kept["closed"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    whole = len(faces) == len(colors) and (len(faces) == 0 or faces.max() < len(vertices))
    return (vertices, faces, colors, closed) if whole else None


def _to_cache(path: Path, mesh: tuple[F64, I64, F64, bool]) -> None:
    """Write a mesh to the cache, whole or not at all; warn if that fails."""
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        names = ("vertices", "faces", "colors", "closed")
        np.savez(temporary, **dict(zip(names, mesh, strict=True)))
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        warnings.warn(
            f"{path.parent}: decimated meshes cannot be kept ({error.strerror}): every process "
            "decimates them again, which takes seconds. Point SANDBOX_HOME at a folder that can be "
            "written.",
            stacklevel=2,
        )
