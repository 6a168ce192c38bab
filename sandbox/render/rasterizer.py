"""A triangle rasteriser of our own: a Scene's pictures at given poses."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sandbox.errors import InvalidInputError
from sandbox.render import Picture, geometry
from sandbox.render.arrays import TILE, Canvas, Layer, Output, Solids, View
from sandbox.render.camera import intrinsics
from sandbox.render.geometry import Geometry
from sandbox.render.shade import background, frame, shrink
from sandbox.scene import Camera, Scene

F64 = NDArray[np.float64]
LINK_TRIANGLES = 300  # Of a robot's link.
LIGHT_TEXELS = 2  # Of the shadows' map, a pixel.
LIGHT_MARGIN = 1.5  # How much wider the light's view is than the camera's, at its target.


class Rasterizer:
    """Draws a scene on the CPU: the same bytes on every machine with IEEE arithmetic.

    What does not move under a camera that does not move is drawn once; a picture starts from it.

    Args:
        link_triangles: about how many a robot's link is decimated to; None is all that it has.
    """

    name: ClassVar[str] = "raster"
    determinism: ClassVar[str] = "raster-1"  # Goes up when a picture's bytes change.

    def __init__(self, link_triangles: int | None = LINK_TRIANGLES) -> None:
        self._link_triangles = link_triangles
        self._takes: dict[tuple[Camera, int], _Take] = {}

    def load(self, scene: Scene) -> None:
        """Make ready to draw `scene`.

        Raises:
            InvalidInputError: a mesh, URDF or image that cannot be read.
        """
        self._scene = scene
        self._geometry = geometry.flatten(scene, self._link_triangles)
        self._takes = {}

    def check(self, poses: F64, camera: Camera) -> None:
        """Refuse a camera whose eye is inside something.

        Raises:
            InvalidInputError: it is.
        """
        geometry.check_eye(self._scene, self._geometry, poses, camera)

    def draw(self, poses: F64, camera: Camera, picture: Picture) -> None:
        """Draw the scene with its frames at `poses` (n, 7) into a picture's arrays.

        Raises:
            InvalidInputError: poses that are not finite, or not as many as the scene has.
        """
        poses = np.require(poses, np.float64, ["C", "W"])  # Each kind would be compiled anew.
        if poses.shape != (len(self._geometry.names), 7) or not np.isfinite(poses).all():
            raise InvalidInputError(
                f"poses of shape {poses.shape}, finite: {bool(np.isfinite(poses).all())}; this "
                f"scene has {len(self._geometry.names)} frames, each of 7 finite numbers."
            )
        pixels, depth, bodies = picture.pixels, picture.depth, picture.segmentation
        if camera.supersampling > 1 and pixels.size:
            size = picture.size * camera.supersampling
            large = np.empty((size, size, 3), np.uint8)
            self._take(camera, size).draw(poses, Output(large, depth[:0], bodies[:0]))
            shrink(large, pixels)
            pixels = pixels[:0]
        if pixels.size or depth.size or bodies.size:
            self._take(camera, picture.size).draw(poses, Output(pixels, depth, bodies))

    def _take(self, camera: Camera, size: int) -> "_Take":
        key = (camera, size)
        if key not in self._takes:
            self._takes[key] = _Take(self._scene, self._geometry, camera, size)
        return self._takes[key]


class _Take:
    """One camera's pictures of one scene, of one size."""

    def __init__(self, scene: Scene, it: Geometry, camera: Camera, size: int) -> None:
        self._light, self._geometry, self._camera, self._size = scene.light, it, camera, size
        texels = max(128, LIGHT_TEXELS * size) if scene.light.shadows else 1
        self._canvas = _canvas(it.solids, size)
        self._still, self._cast = (_canvas(it.solids, texels) for _ in range(2))
        self._layer = _layer(size)
        self._sky = np.array([*scene.sky, *scene.zenith])
        self._drawn = b""  # Where the camera and what does not move were when the layer was drawn.

    def draw(self, poses: F64, output: Output) -> None:
        """Draw one picture."""
        it = self._geometry
        where = poses[it.places].tobytes()
        if where != self._drawn:
            self._look(poses)
            background(
                it.solids,
                it.still,
                poses,
                self._view,
                self._lamp,
                self._canvas,
                self._still,
                self._layer,
                self._sky,
            )
            self._drawn = where
        frame(
            it.solids,
            it.moving,
            it.glass,
            poses,
            self._view,
            self._lamp,
            self._canvas,
            self._still,
            self._cast,
            self._layer,
            output,
        )

    def _look(self, poses: F64) -> None:
        """Find out where the camera and its light look."""
        camera, light = self._camera, self._light
        world = geometry.view(self._geometry, poses, camera)
        lens = intrinsics(camera, self._size)
        back = np.linalg.inv(world)
        direction = np.array(light.direction) / np.linalg.norm(light.direction)
        reach = float(np.linalg.norm(np.subtract(camera.target, camera.eye)))
        half = reach * float(np.tan(np.radians(camera.fov_deg) / 2)) * LIGHT_MARGIN
        texels = len(self._cast.nearest)
        lamp = _lamp(direction, back[:3, 3] + reach * back[:3, 2], half, texels)
        texel = 2 * half / texels
        sun = [*direction, *(world[:3, :3] @ direction), light.ambient, light.diffuse]
        sun = np.array([*sun, *light.color, texel])
        numbers = np.array([lens[0, 0], lens[0, 2], camera.near_m, camera.far_m])
        parallel, unused = np.zeros(4), np.zeros((3, 4))
        self._view = View(world[:3].copy(), numbers, sun, (lamp @ back)[:3].copy())
        self._lamp = View(lamp[:3].copy(), parallel, sun, unused)


def _lamp(direction: F64, middle: F64, half: float, texels: int) -> F64:
    """Return the matrix from the world to a parallel light's view: texels, texels, height [m]."""
    aside = np.eye(3)[int(np.abs(direction).argmin())]
    right = np.cross(aside, direction)
    right /= np.linalg.norm(right)
    matrix, scale = np.eye(4), texels / (2 * half)
    matrix[:3, :3] = right * scale, np.cross(-direction, right) * scale, direction
    matrix[:3, 3] = -(matrix[:3, :3] @ middle) + (texels / 2, texels / 2, 0.0)
    return matrix


def _canvas(solids: Solids, size: int) -> Canvas:
    return Canvas(
        np.full((size, size), -np.inf, np.float32),
        np.full((size, size), -1, np.int32),
        np.zeros((len(solids.owners), 3)),
        np.zeros((len(solids.vertices) + 4, 4)),
        np.zeros((len(solids.vertices) + 4, 4)),
        np.zeros((len(solids.parts), 3, 4)),
        np.zeros((3, 4)),
        np.array([1 << 30, 1 << 30, 0, 0], np.int32),
    )


def _layer(size: int) -> Layer:
    tiles = -(-size // TILE)
    return Layer(
        np.empty((size, size, 3), np.uint8),
        np.empty((size, size, 3), np.uint8),
        np.empty((size, size), np.float32),
        np.empty((size, size), np.int16),
        np.empty((size, size), np.float32),
        np.empty((size, size, 3), np.float32),
        np.empty((tiles, tiles, 4), np.float32),
    )
