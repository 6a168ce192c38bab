"""The pictures of an environment: every camera and modality, each drawn once a row."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.errors import InvalidInputError, UnknownNameError, shown
from sandbox.observation import PICTURES, RENDERERS, checked_antialias, checked_size
from sandbox.renderer import Picture, Renderer
from sandbox.renderer.camera import extrinsics, intrinsics
from sandbox.scene import Camera, Scene
from sandbox.world import TinyRenderer, World

F64 = NDArray[np.float64]


class Pictures:
    """The pictures of a world, row by row.

    Args:
        modalities: what is observed; those that are no pictures are ignored.
        camera: a camera's name, or several: then a column is called modality.camera.
        size: pixels in width and height.
        samples: samples of colour in a pixel, 1, 4 or 8.
        renderer: `raster` or `tiny`.
        rendered: whether `frame` may be called for a picture that no column holds.
        world: gives the poses.

    Attributes:
        cameras: names of the cameras that draw.
        columns: camera and modality of each column of pictures.
        size: pixels in width and height.
        samples: samples of colour in a pixel.

    Raises:
        UnknownNameError, InvalidInputError: a value is not valid, or the renderer cannot have it.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        camera: str | Sequence[str],
        size: int,
        samples: int,
        renderer: str,
        rendered: bool,
        world: World,
    ) -> None:
        self.cameras = _cameras(camera)
        self.columns = {
            name if isinstance(camera, str) else f"{name}.{which}": (which, name)
            for name in modalities
            if name in PICTURES
            for which in self.cameras
        }
        self.size, self.samples = checked_size(size), checked_antialias(samples, renderer)
        self._world = world
        chosen = _renderer(renderer)
        self._renderer = chosen(samples) if self.columns or rendered else None
        self._wanted = tuple(name for name in PICTURES if name in modalities)
        self._drawn: dict[str, Picture] = {}
        self._poses: F64 | None = None

    @property
    def drawn_by(self) -> dict[str, str] | None:
        """Name and determinism class of the renderer, and `antialias`; None if nothing is drawn."""
        it = self._renderer
        if it is None:
            return None
        several = {} if self.samples == 1 else {"antialias": str(self.samples)}
        return {"name": it.name, "class": it.determinism, **several}

    def passes(self, names: Sequence[str]) -> list[int]:
        """Return the samples a pixel of each drawing that some modalities of one camera take.

        Colours of several samples a pixel are drawn by themselves.
        """
        wanted = [name for name in PICTURES if name in names]
        if self.samples == 1 or "pixels" not in wanted:
            return [1] if wanted else []
        return [self.samples, 1] if len(wanted) > 1 else [self.samples]

    def load(self, scene: Scene) -> None:
        """Load a scene into the renderer, before it is paid for.

        Raises:
            UnknownNameError: the scene has no camera of that name.
            InvalidInputError: a mesh, URDF or image cannot be read.
        """
        self._scene = scene
        self._from = {name: scene.camera(name) for name in self.cameras}
        self._fixed = {c.name: extrinsics(c) for c in scene.cameras if not c.body}
        if self._renderer is not None:
            self._renderer.load(scene)

    def warm_up(self) -> None:
        """Compile the renderer, which happens once on a machine, before the first picture."""
        if self._renderer is not None:
            self._renderer.warm_up()

    def begin(self) -> None:
        """Check the cameras when the scene is built.

        Raises:
            InvalidInputError: a camera's eye is inside a body.
        """
        self.arrive()
        if self._renderer is not None:
            for camera in self._from.values():
                self._renderer.check(self._posed(), camera)

    def arrive(self, drawn: Mapping[str, Picture] = MappingProxyType({})) -> None:
        """Forget the pictures of the row before, and know those of this one."""
        self._drawn, self._poses = dict(drawn), None

    def drawn(self) -> Mapping[str, Picture]:
        """Return the pictures of this row that are drawn, by camera."""
        return dict(self._drawn)

    def column(self, name: str) -> NDArray[Any]:
        """Return this row's picture of one column."""
        camera, modality = self.columns[name]
        if camera not in self._drawn:
            self._draw(camera, self._wanted)
        return getattr(self._drawn[camera], modality)

    def has_frame(self) -> bool:
        """Return whether the picture that `frame` returns is drawn already."""
        drawn = self._drawn.get(self.cameras[0])
        return drawn is not None and drawn.pixels.size > 0

    def frame(self) -> NDArray[np.uint8]:
        """Return this row's RGB picture of the first camera."""
        if not self.has_frame():
            self._draw(self.cameras[0], ("pixels",))
        return self._drawn[self.cameras[0]].pixels

    def extrinsics(self, camera: str) -> F64:
        """Return the matrix (4, 4) from the world to a camera of the scene at this row."""
        if camera in self._fixed:
            return self._fixed[camera]
        it = self._scene.camera(camera)
        return extrinsics(it, self._posed()[self._world.frame(it.body, it.link)])

    def described(self) -> dict[str, Any]:
        """Return every camera of the scene: intrinsics for this size, place, body and range.

        The extrinsics are None for a camera on a body.
        """
        return {camera.name: self._described(camera) for camera in self._scene.cameras}

    def _described(self, camera: Camera) -> dict[str, Any]:
        fixed = self._fixed.get(camera.name)
        return {
            "intrinsics": intrinsics(camera, self.size).tolist(),
            "extrinsics": None if fixed is None else fixed.tolist(),
            "body": camera.body,
            "link": camera.link,
            "mounted": camera.mounted,
            "near_m": camera.near_m,
            "far_m": camera.far_m,
        }

    def _draw(self, camera: str, names: Sequence[str]) -> None:
        assert self._renderer is not None, "pictures need a renderer"
        picture = Picture.empty(self.size, names)
        self._renderer.draw(self._posed(), self._from[camera], picture)
        self._drawn[camera] = picture

    def _posed(self) -> F64:
        if self._poses is None:
            self._poses = self._world.poses()
        return self._poses


def _cameras(camera: str | Sequence[str]) -> tuple[str, ...]:
    names = (camera,) if isinstance(camera, str) else tuple(camera)
    if not names or len(set(names)) != len(names):
        raise InvalidInputError(f"camera {shown(camera)}: name at least one, and each once.")
    return names


def _renderer(name: str) -> Callable[[int], Renderer]:
    """Return what makes a renderer of some name, given the samples of a pixel."""
    if name not in RENDERERS:
        raise UnknownNameError("renderer", name, RENDERERS)
    return _tiny if name == "tiny" else _rasterizer


def _tiny(samples: int) -> Renderer:
    checked_antialias(samples, "tiny")
    return TinyRenderer()


def _rasterizer(samples: int) -> Renderer:
    try:
        from sandbox.renderer.rasterizer import Rasterizer
    except ImportError as error:
        warnings.warn(
            f"numba cannot compile ({error}): Bullet's TinyRenderer draws instead, 10 to 200 "
            "times slower, and what it draws is marked as its own. Install numba, or let it work.",
            stacklevel=4,
        )
        return _tiny(samples)
    return Rasterizer(antialias=samples)
