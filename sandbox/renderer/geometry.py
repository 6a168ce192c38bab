"""Turn a scene into the flat arrays that the compiled loops work on."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sandbox import files
from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.renderer import mesh, urdf
from sandbox.renderer.arrays import (
    BODY,
    CHECKER,
    FRAME,
    KIND,
    MESH,
    PLAIN,
    PLANE,
    SIDES,
    SPHERE,
    TRIANGLE,
    TRIANGLES,
    Solids,
)
from sandbox.renderer.camera import extrinsics, rotation
from sandbox.renderer.mesh import Mesh
from sandbox.scene import GREY, Body, Camera, Pose, Robot, Scene, Shape, Texture, asset

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Geometry:
    """The geometry of a scene, ready to be drawn.

    Attributes:
        solids: the arrays of the scene.
        names: (body, "") and (body, link) to the frame of the body's base and links.
        still: opaque parts that do not move.
        moving: opaque parts that may move.
        glass: translucent parts, moving or not.
        places: the frames of `still`. While these and the camera stay in place, the layer of still
            parts need not be drawn again.
    """

    solids: Solids
    names: dict[tuple[str, str], int]
    still: NDArray[np.int32]
    moving: NDArray[np.int32]
    glass: NDArray[np.int32]
    places: NDArray[np.int64]


def flatten(scene: Scene, link_triangles: int | None) -> Geometry:
    """Return the geometry of a scene.

    Args:
        scene: the scene.
        link_triangles: about how many triangles to keep of each robot link; None keeps all.

    Raises:
        InvalidInputError: a mesh, URDF or image cannot be read.
    """
    parts = _Parts()
    names: dict[tuple[str, str], int] = {}
    for place, body in enumerate(scene.bodies, start=1):
        robot = isinstance(body, Robot)
        fixed = body.fixed if robot else body.mass_kg == 0.0
        for n, (link, shapes) in enumerate(_visible(body).items()):
            frame = names[body.name, link if n else ""] = len(names)
            for shape in shapes:
                parts.add(shape, frame, place, fixed and n == 0, link_triangles if robot else None)
    return parts.geometry(names)


def watched_frame(names: dict[tuple[str, str], int], camera: Camera) -> int:
    """Return the frame that a camera follows; UnknownNameError if its body has no such link."""
    if (camera.body, camera.link) not in names:
        known = [link for body, link in names if body == camera.body]
        raise UnknownNameError("link", camera.link, known, f"camera {camera.name!r}")
    return names[camera.body, camera.link]


def _visible(body: Body | Robot) -> dict[str, tuple[Shape, ...]]:
    """Return the visible shapes of a body's base ("") and links, by name."""
    if isinstance(body, Robot):
        return urdf.visuals(body)
    frames = {"": body.shapes, **{link.name: link.shapes for link in body.links}}
    return {name: tuple(s for s in shapes if s.visible) for name, shapes in frames.items()}


class _Parts:
    """Collect the parts of a scene."""

    def __init__(self) -> None:
        self.meshes: list[tuple[F64, F64, NDArray[np.int64]]] = []
        self.rows: list[tuple[int, ...]] = []
        self.bounds: list[tuple[float, ...]] = []
        self.local: list[F64] = []
        self.colors: list[tuple[float, ...]] = []
        self.still: list[bool] = []
        self.images: list[NDArray[np.uint8]] = []
        self.sizes: list[tuple[int, int, int]] = []
        self.vertices = self.triangles = 0

    def add(self, shape: Shape, frame: int, body: int, still: bool, count: int | None) -> None:
        """Add the parts of a shape; `count` is how many triangles to keep of a mesh, or None."""
        local = _matrix(shape.pose)
        if shape.kind == "plane":
            self._row(shape, PLANE, frame, body, still, local, (0.0, 0.0, 0.0, np.inf))
        elif shape.kind == "sphere":
            self._sphere(shape, frame, body, still, local, (0.0, 0.0, 0.0))
        else:
            if shape.kind == "capsule":
                for end in (-0.5, 0.5):
                    at = (0.0, 0.0, end * shape.size[1])
                    self._sphere(shape, frame, body, still, local, at)
            for piece in _meshes(shape, count):
                self._mesh(piece, shape, frame, body, still, local)

    def geometry(self, names: dict[tuple[str, str], int]) -> Geometry:
        """Return everything that was added as arrays."""
        triangles = np.zeros((self.triangles + 2, 4), np.uint32)
        owners = np.zeros(self.triangles, np.int32)
        vertices, normals = np.zeros((3, self.vertices)), np.zeros((self.vertices + 4, 3))
        meshes = iter(self.meshes)
        for part, row in enumerate(self.rows):
            if row[5] == MESH:
                points, normals[row[1] : row[2]], faces = next(meshes)
                vertices[:, row[1] : row[2]] = points.T
                triangles[row[3] : row[4]] = faces
                owners[row[3] : row[4]] = part
        last = self.vertices
        triangles[-2:, :3] = (last, last + 1, last + 2), (last, last + 2, last + 3)
        rows = np.array(self.rows, np.int32).reshape(-1, 9)
        colors = np.array(self.colors).reshape(-1, 8)
        planes = rows[:, KIND] == PLANE  # Planes are always in the still layer; they rarely move.
        still, clear = np.array(self.still, bool) | planes, (colors[:, 3] < 1.0) & ~planes
        solids = Solids(
            vertices,
            normals,
            triangles,
            owners,
            rows,
            np.array(self.bounds).reshape(-1, 4),
            np.array(self.local).reshape(-1, 3, 4),
            colors,
            np.concatenate([np.zeros(0, np.uint8), *self.images]),
            np.array(self.sizes, np.int32).reshape(-1, 3),
        )
        chosen = [np.flatnonzero(c).astype(np.int32) for c in (still & ~clear, ~still & ~clear)]
        glass = np.flatnonzero(clear).astype(np.int32)
        places = np.unique(rows[chosen[0], FRAME]).astype(np.int64)
        return Geometry(solids, names, chosen[0], chosen[1], glass, places)

    def _sphere(
        self,
        shape: Shape,
        frame: int,
        body: int,
        still: bool,
        local: F64,
        at: tuple[float, float, float],
    ) -> None:
        x, y, z = (local[:, :3] @ np.array(at) + local[:, 3]).tolist()
        self._row(shape, SPHERE, frame, body, still, local, (x, y, z, shape.size[0]))

    def _mesh(
        self, piece: Mesh, shape: Shape, frame: int, body: int, still: bool, local: F64
    ) -> None:
        if len(piece.triangles) == 0:
            return
        vertices = piece.vertices @ local[:, :3].T + local[:, 3]
        middle = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
        radius = float(np.sqrt(((vertices - middle) ** 2).sum(axis=1).max()))
        # Clockwise on a screen whose y points down, and the axis nearest to the face's normal.
        a, b, c = (piece.vertices[piece.triangles[:, k]] for k in range(3))
        axes = np.abs(np.cross(b - a, c - a)).argmax(axis=1)
        faces = np.column_stack([piece.triangles[:, [0, 2, 1]] + self.vertices, axes])
        color = piece.color or shape.color
        self._row(shape, MESH, frame, body, still, local, (*middle.tolist(), radius), piece, color)
        self.meshes.append((vertices, piece.normals @ local[:, :3].T, faces))
        self.vertices += len(vertices)
        self.triangles += len(faces)

    def _row(
        self,
        shape: Shape,
        kind: int,
        frame: int,
        body: int,
        still: bool,
        local: F64,
        bounds: tuple[float, float, float, float],
        piece: Mesh | None = None,
        color: tuple[float, float, float, float] | None = None,
    ) -> None:
        v, t = self.vertices, self.triangles
        after = (v + len(piece.vertices), t + len(piece.triangles)) if piece else (v, t)
        both = piece is not None and not piece.closed
        texture = shape.texture
        self.rows.append(
            (frame, v, after[0], t, after[1], kind, int(both), body, self._texture(texture))
        )
        self.bounds.append(bounds)
        self.local.append(local)
        other = texture.color if texture else (0.0, 0.0, 0.0)
        self.colors.append((*(color or shape.color), *other, texture.width_m if texture else 1.0))
        self.still.append(still)

    def _texture(self, texture: Texture | None) -> int:
        if texture is None:
            return PLAIN
        if texture.kind == "checker":
            return CHECKER
        pixels = _image(texture.path, texture.sha256)
        first = sum(image.size for image in self.images)
        self.images.append(pixels.reshape(-1))
        self.sizes.append((first, pixels.shape[1], pixels.shape[0]))
        return len(self.sizes) - 1


def _meshes(shape: Shape, count: int | None) -> tuple[Mesh, ...]:
    if shape.kind == "mesh":
        pieces = mesh.load(asset(shape.path), count)
        # A given colour replaces that of a file with one colour.
        own = len(pieces) > 1 or shape.color == GREY
        return tuple(_scaled(it, shape.size, own) for it in pieces)
    return (_made(shape.kind, shape.size, shape.heights),)


@lru_cache(maxsize=1024)
def _made(kind: str, size: tuple[float, ...], heights: tuple[tuple[float, ...], ...]) -> Mesh:
    match kind:
        case "box":
            return mesh.box(size[0], size[1], size[2])
        case "cylinder" | "capsule":
            return mesh.cylinder(size[0], size[1], caps=kind == "cylinder")
        case _:
            return mesh.height_field(np.array(heights), (size[0], size[1]))


def _scaled(it: Mesh, scale: tuple[float, ...], own_color: bool) -> Mesh:
    color = it.color if own_color else None
    by = np.array(scale)
    normals = it.normals / by
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    return Mesh(it.vertices * by, normals, it.triangles, color, it.closed)


def _matrix(pose: Pose) -> F64:
    quat = np.array(pose.quat)
    turn = rotation(quat / np.linalg.norm(quat))
    return np.column_stack([turn, np.array(pose.xyz)])


@lru_cache(maxsize=64)
def _image(path: str, sha256: str) -> NDArray[np.uint8]:
    """Return an image's pixels, uint8 (h, w, 3); `sha256` is only a key of the cache."""
    file = asset(path)
    try:
        with files.opened(file, InvalidInputError) as data, Image.open(data) as opened:
            if max(opened.size) > mesh.LARGEST_IMAGE:
                raise InvalidInputError(
                    f"{file}: {opened.size[0]} x {opened.size[1]} pixels; a texture has at most "
                    f"{mesh.LARGEST_IMAGE} in width and height."
                )
            return np.asarray(opened.convert("RGB"))
    except InvalidInputError:
        raise
    except UnidentifiedImageError:  # Its text names an object in memory.
        raise InvalidInputError(f"{file}: is no image; give a PNG or a JPEG.") from None
    except Exception as error:  # Its parsers raise errors of any type.
        raise InvalidInputError(f"{file}: cannot be read as an image: {error}.") from error


def view(it: Geometry, poses: F64, camera: Camera) -> F64:
    """Return a camera's extrinsics (4, 4) while the scene's frames are at `poses` (n, 7)."""
    return extrinsics(camera, poses[watched_frame(it.names, camera)] if camera.body else None)


def check_eye(scene: Scene, it: Geometry, poses: F64, camera: Camera) -> None:
    """Refuse a camera whose eye is inside a body, where it would see nothing useful.

    Raises:
        InvalidInputError: the eye is inside an opaque, closed shape, or below a plane.
    """
    eye = np.linalg.inv(view(it, poses, camera))[:3, 3]
    solids = it.solids
    for part, row in enumerate(solids.parts):
        if solids.colors[part, 3] < 1.0 or row[SIDES]:
            continue
        pose, bound = poses[row[FRAME]], solids.bounds[part]
        at = rotation(pose[3:]).T @ (eye - pose[:3])
        if np.linalg.norm(at - bound[:3]) < bound[3] and _encloses(solids, part, at):
            raise InvalidInputError(
                f"camera {camera.name!r}: its eye at {np.round(eye, 4).tolist()} is inside "
                f"{scene.bodies[int(row[BODY]) - 1].name!r}. Nothing was charged; move the camera."
            )


def _encloses(solids: Solids, part: int, at: F64) -> bool:
    """Return whether a point within a part's bounds, given in its frame, is inside the part.

    A mesh's winding number is the sum of its triangles' solid angles / 4 pi, each by A. van
    Oosterom and J. Strackee, IEEE Trans. Biomed. Eng. 30 (1983): 1 inside, 0 outside.
    """
    row, local = solids.parts[part], solids.local[part]
    if row[KIND] == SPHERE:
        return True
    if row[KIND] == PLANE:
        return float(local[:, 2] @ (at - local[:, 3])) < 0.0
    faces = solids.triangles[row[TRIANGLE] : row[TRIANGLES], :3]
    a, b, c = (solids.vertices.T[faces[:, k]] - at for k in (0, 2, 1))
    la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
    over = np.einsum("ij,ij->i", a, np.cross(b, c))
    under = la * lb * lc
    under += np.einsum("ij,ij->i", a, b) * lc
    under += np.einsum("ij,ij->i", b, c) * la + np.einsum("ij,ij->i", c, a) * lb
    return abs(float(np.arctan2(over, under).sum())) / (2 * np.pi) > 0.5
