"""A triangle rasteriser on the CPU."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sandbox.errors import InvalidInputError
from sandbox.renderer import Picture, geometry
from sandbox.renderer.arrays import LIGHT_TEXELS, TILE, Canvas, Layer, Output, Solids, View
from sandbox.renderer.camera import intrinsics
from sandbox.renderer.geometry import Geometry
from sandbox.renderer.jit import Call
from sandbox.renderer.layers import NOT_FINITE, STALE, background, blend, frame, shrink
from sandbox.renderer.mesh import DECIMATOR
from sandbox.scene import Camera, Scene, Vec3

F64 = NDArray[np.float64]
LINK_TRIANGLES = 300  # Triangles of a robot's link after decimation.
FINER = 4  # How much finer the still parts' shadow map is, under a fixed camera.
SPANS = 1024  # How many rows of triangles are found before they are drawn.
LIGHT_MARGIN = 1.5  # How much wider the light's view is than the camera's, at its target.
# Where each of a pixel's rows has its sample, right of its middle [1/16 pixel]: as of Direct3D.
SHIFTS = {1: (0,), 4: (-2, 6, -6, 2), 8: (7, -3, 1, -7, 5, -1, -5, 3)}
SHARPER = 2  # How much finer the shadow maps of several samples are, under a fixed camera.
KINDS = ((np.uint8, 3), (np.float32,), (np.int16,), (np.int16,))  # Of the arrays of an Output.
COLORS = (True, False, False, False)  # Of an Output, what pictures without anything else have.
KERNELS = (frame, background, shrink, blend)
_ANY = Camera("any", (0.0, -1.0, 0.0), (0.0, 0.0, 0.0))

if not all(kernel.is_kept for kernel in KERNELS):
    import_module("sandbox.renderer.compiling")  # Where that fails, TinyRenderer draws.


class Rasterizer:
    """Draw a scene on the CPU, with the same bytes in every process.

    Under a camera that does not move, still parts are drawn once into a layer, from which each
    picture starts. The tests say on which machines the bytes are the same.

    Args:
        link_triangles: about how many triangles to keep of each robot link; None keeps all.
        antialias: how many samples of colour a pixel has, 1, 4 or 8; then a camera's own
            supersampling does not count.
    """

    name: ClassVar[str] = "raster"
    determinism: str = f"raster-1 {DECIMATOR}"  # The number rises when pictures' bytes change.

    def __init__(self, link_triangles: int | None = LINK_TRIANGLES, antialias: int = 1) -> None:
        self._link_triangles, self._samples = link_triangles, antialias
        self._takes: dict[tuple[Camera, int, int], _Take] = {}
        self._latest: _Take | None = None  # Found by identity: hashing a camera is slow.

    def load(self, scene: Scene) -> None:
        """Prepare to draw `scene`.

        Raises:
            InvalidInputError: a mesh, URDF or image cannot be read.
        """
        self._scene = scene
        self._geometry = geometry.flatten(scene, self._link_triangles)
        self._takes, self._latest = {}, None

    def warm_up(self) -> None:
        """Compile the drawing code, unless it was compiled on this machine."""
        if not self.is_compiled():
            self.load_code()

    @staticmethod
    def is_compiled() -> bool:
        """Return whether the drawing code was compiled on this machine."""
        return all(kernel.is_kept for kernel in KERNELS)

    @staticmethod
    def load_code() -> None:
        """Load the drawing code from the cache, or compile it."""
        scene = Scene((), (_ANY,))
        other, small = Rasterizer(), Picture.empty(8)
        other.load(scene)
        other.draw(np.empty((0, 7)), _ANY, small)
        shrink(np.zeros((2, 2, 3), np.uint8), np.zeros((1, 1, 3), np.uint8))
        blend(np.zeros((2, 3), np.uint8), np.zeros(3, np.uint16), np.zeros((1, 3), np.uint8))

    def check(self, poses: F64, camera: Camera) -> None:
        """Refuse a camera whose eye is inside something while the frames are at `poses` (n, 7).

        Raises:
            InvalidInputError: the eye is inside an opaque, closed shape, or below a plane.
        """
        geometry.check_eye(self._scene, self._geometry, poses, camera)

    def draw(self, poses: F64, camera: Camera, picture: Picture) -> None:
        """Draw the scene with its frames at `poses` (n, 7) into a picture's arrays.

        Raises:
            InvalidInputError: the poses are not finite, or not one for each frame of the scene.
        """
        poses = np.ascontiguousarray(poses, np.float64)
        frames = len(self._geometry.names)
        if poses.shape != (frames, 7):
            raise InvalidInputError(
                f"poses of shape {poses.shape}: this scene has {frames} frames, each of 7 numbers."
            )
        output = Output(picture.pixels, picture.depth, picture.segmentation, picture.links)
        if output.pixels.size and (self._samples > 1 or camera.supersampling > 1):
            output.pixels[:] = self._drawn_finely(poses, camera, picture.size)
            output = output._replace(pixels=output.pixels[:0, :0])
            if not any(array.size for array in output):
                return
        take = self._take(camera, picture.size, min(1, output.pixels.size))
        pixels, depth, segments, links = output
        wanted = (pixels.size > 0, depth.size > 0, segments.size > 0, links.size > 0)
        drawn = take.drawn(poses, wanted)
        for array, values in zip(output, drawn, strict=True):
            if array.size:
                array[:] = values

    def _drawn_finely(self, poses: F64, camera: Camera, size: int) -> NDArray[np.uint8]:
        """Return the colours of pixels that have several samples."""
        samples = self._samples
        many = camera.supersampling * size if samples == 1 else size
        take = self._take(camera, many, samples)
        take.drawn(poses, COLORS)
        take.shrink()
        return take.small

    def _take(self, camera: Camera, size: int, samples: int) -> "_Take":
        """Return the working arrays of a camera and a picture size; keep them for the scene."""
        take, wanted = self._latest, (size, samples)
        if take is None or take.camera is not camera or (take.size, take.samples) != wanted:
            take = self._takes.get((camera, *wanted))
            if take is None:
                take = _Take(self._scene, self._geometry, camera, *wanted)
                self._takes[camera, size, samples] = take
            self._latest = take
        return take


class _Take:
    """The working arrays for pictures of one scene by one camera in one size.

    They have so many samples of colour in a pixel; with 0, no colours and no shadows.
    """

    def __init__(self, scene: Scene, it: Geometry, camera: Camera, size: int, samples: int) -> None:
        self.camera, self.size, self.samples = camera, size, samples
        self._light, self._geometry = scene.light, it
        sharper = 1 if samples == 1 or camera.body else SHARPER
        shadows = scene.light.shadows and samples > 0
        texels = max(128, sharper * LIGHT_TEXELS * size) if shadows else 1
        self._canvas = _canvas(it.solids, size, True, SHIFTS[max(1, samples)])
        finer = 1 if camera.body or texels == 1 else FINER
        self._still = _canvas(it.solids, finer * texels, False)
        self._cast = _canvas(it.solids, texels, False)
        self._layer = _layer(size, samples)
        self._sky = np.array([*scene.sky, *scene.zenith])
        self._lens = intrinsics(camera, size)
        self._lamp = _lamp(scene.light.direction, camera, len(self._cast.nearest))
        # Poses of the frames `places` when the layer was drawn; the last row is 0 once it is drawn.
        watched = [geometry.watched_frame(it.names, camera)] if camera.body else []
        self._places = np.unique([*it.places.tolist(), *watched]).astype(np.int64)
        self._seen = np.full((len(self._places) + 1, 7), np.nan)
        self._poses = np.zeros((len(it.names), 7))
        self._views = _view(), _view()  # The camera's, the light's.
        self._look()
        before = (it.solids, it.moving, it.glass, self._places, self._seen, *self._views)
        after = (self._canvas, self._still, self._cast, self._layer, self._poses)
        self._arrays = (*before, *after)
        self._background = Call(background, *self._arrays, it.still, self._sky)
        self._frames: dict[tuple[bool, ...], tuple[Output, Call[int]]] = {}

    def drawn(self, poses: F64, wanted: tuple[bool, ...]) -> Output:
        """Return a picture; draw the layer again if a still part or the camera has moved.

        Args:
            poses: of the frames.
            wanted: which arrays of an Output are wanted; the others are empty. They are valid until
                the next picture.
        """
        self._poses[:] = poses
        output, frame = self._frames.get(wanted) or self._frame(wanted)
        state = frame()
        if state == STALE:
            self._look()
            self._background()
            self._seen[:-1], self._seen[-1] = poses[self._places], 0.0
            state = frame()
        if state == NOT_FINITE:
            raise InvalidInputError("poses that are not finite: a pose is 7 finite numbers.")
        return output

    def _frame(self, wanted: tuple[bool, ...]) -> tuple[Output, Call[int]]:
        """Return arrays for a picture, and what draws it into them."""
        rows, size, made = self.size * max(1, self.samples), self.size, list[NDArray[Any]]()
        for one, (kind, *channels) in zip(wanted, KINDS, strict=True):
            made.append(np.empty((rows, size, *channels) if one else (0, 0, *channels), kind))
        output = Output(*made)
        self._frames[wanted] = output, Call(frame, *self._arrays, output)
        return self._frames[wanted]

    @cached_property
    def small(self) -> NDArray[np.uint8]:
        """The colours of a picture of which every pixel has several samples."""
        size = self.size // 2 if self.samples == 1 else self.size
        return np.empty((size, size, 3), np.uint8)

    @cached_property
    def shrink(self) -> Call[None]:
        """Writes to `small` the means of the samples that were drawn."""
        large, _ = self._frames[COLORS]
        if self.samples == 1:
            return Call(shrink, large.pixels, self.small)
        samples = large.pixels.reshape(self.samples * self.size, -1)
        totals = np.empty(3 * self.size, np.uint16)
        return Call(blend, samples, totals, self.small.reshape(self.size, -1))

    def _look(self) -> None:
        """Set up the views of camera and light while the frames are at their poses."""
        camera, light, lens = self.camera, self._light, self._lens
        world = geometry.view(self._geometry, self._poses, camera)
        back = np.linalg.inv(world).astype(np.float64, copy=False)
        direction, texel = self._lamp.direction, self._lamp.texel
        lamp = self._lamp.matrix(back)
        sun = [*direction, *(world[:3, :3] @ direction), light.ambient, light.diffuse]
        sun = [*sun, *light.color, texel]
        numbers = (lens[0, 0], lens[0, 2], camera.near_m, camera.far_m)
        eye, above = self._views
        eye.matrix[:], eye.lens[:], eye.sun[:] = world[:3], numbers, sun
        eye.shadow[:] = (lamp @ back)[:3]
        above.matrix[:], above.sun[:] = lamp[:3], sun


@dataclass(frozen=True)
class _Lamp:
    """A light's view, as far as it does not depend on where the camera is.

    Attributes:
        direction: towards the light, unit vector, world frame.
        turn: (3, 3) from metres in the world to texels, texels, height [m].
        centre: (3,) where the middle of the light's view is.
        reach: how far from the camera that is [m].
        texel: size of a texel [m].
    """

    direction: F64
    turn: F64
    centre: F64
    reach: float
    texel: float

    def matrix(self, back: F64) -> F64:
        """Return the matrix (4, 4) from the world to the light's view.

        Args:
            back: (4, 4) from the camera's frame to the world's.
        """
        matrix = np.eye(4)
        matrix[:3, :3] = self.turn
        middle = back[:3, 3] + self.reach * back[:3, 2]
        matrix[:3, 3] = -(matrix[:3, :3] @ middle) + self.centre
        return matrix


def _lamp(towards: Vec3, camera: Camera, texels: int) -> _Lamp:
    """Return a light's view of what a camera sees, in a map of so many texels squared."""
    direction = np.array(towards) / np.linalg.norm(towards)
    reach = float(np.linalg.norm(np.subtract(camera.target, camera.eye)))
    half = reach * float(np.tan(np.radians(camera.fov_deg) / 2)) * LIGHT_MARGIN
    aside = np.eye(3)[int(np.abs(direction).argmin())]
    right = np.cross(aside, direction)
    right /= np.linalg.norm(right)
    scale, turn = texels / (2 * half), np.eye(3)
    turn[:] = right * scale, np.cross(-direction, right) * scale, direction
    centre = np.array((texels / 2, texels / 2, 0.0))
    return _Lamp(direction, turn, centre, reach, 2 * half / texels)


def _view() -> View:
    return View(np.zeros((3, 4)), np.zeros(4), np.zeros(12), np.zeros((3, 4)))


def _canvas(solids: Solids, size: int, seen: bool, shifts: Sequence[int] = SHIFTS[1]) -> Canvas:
    vertices, rows = len(solids.normals), size * len(shifts)
    return Canvas(
        np.full((rows, size), -np.inf, np.float32),
        np.full((rows, size) if seen else (0, 0), -1, np.int32),
        np.zeros((len(solids.owners), 3)),
        np.zeros((3, vertices)),
        np.zeros((2, vertices), np.int32),
        np.zeros(len(solids.triangles), np.uint32),
        np.zeros((SPANS + rows, 4), np.int32),
        np.zeros((SPANS + rows, 2)),
        np.zeros((3, vertices)),
        np.zeros(3),
        np.zeros((len(solids.parts), 3, 4)),
        np.zeros((3, 4)),
        np.zeros((len(solids.parts), 4), np.int32),
        np.array([np.tile(shifts, size) / 16.0, (np.arange(rows) + 0.5) / len(shifts)]),
    )


def _layer(size: int, samples: int) -> Layer:
    rows, colored = size * max(1, samples), size if samples else 0
    return Layer(
        np.empty((colored * samples, colored, 3), np.uint8),
        np.empty((colored * samples, colored, 3), np.uint8),
        np.empty((rows, size), np.float32),
        np.empty((rows, size), np.int16),
        np.empty((rows, size), np.int16),
        np.empty((rows, size), np.float32),
        np.empty((rows, size, 3), np.float32),
        np.empty((-(-rows // TILE), -(-size // TILE), 4), np.float32),
    )
