"""Cameras that a scenario moves or adds."""

from dataclasses import replace

from pydantic import Field

from sandbox import scene as sc
from sandbox.scenario.settings import Strict, Vec


class CameraSetting(Strict):
    """Where a scenario puts a camera; the keys are those of `scene.Camera`.

    Attributes:
        eye: where the camera is [m], world frame.
        target: the point that it looks at [m], world frame.
        up: the direction that is up in the picture, world frame.
        fov_deg: its vertical field of view [deg].
    """

    eye: Vec
    target: Vec
    up: Vec = Field(default_factory=lambda: [0.0, 0.0, 1.0])
    fov_deg: float = 45.0

    def camera(self, name: str, scene: sc.Scene) -> sc.Camera:
        """Return the camera called `name`; other attributes are those of the scene's camera."""
        eye, target, up = ((v[0], v[1], v[2]) for v in (self.eye, self.target, self.up))
        known = {camera.name: camera for camera in scene.cameras}
        if name in known:
            fixed = replace(known[name], body="", link="", mounted=False)
            return replace(fixed, eye=eye, target=target, up=up, fov_deg=self.fov_deg)
        return sc.Camera(name, eye, target, up, self.fov_deg)


def with_cameras(scene: sc.Scene, settings: dict[str, CameraSetting]) -> sc.Scene:
    """Return a scene with the cameras of a scenario moved or added."""
    if not settings:
        return scene
    names = dict.fromkeys((*(camera.name for camera in scene.cameras), *settings))
    cameras = [
        settings[name].camera(name, scene) if name in settings else scene.camera(name)
        for name in names
    ]
    return replace(scene, cameras=tuple(cameras))
