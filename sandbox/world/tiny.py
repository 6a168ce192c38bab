"""Bullet's own software renderer behind the Renderer seam."""

import weakref
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sandbox import scene as sc
from sandbox.renderer import Picture, geometry
from sandbox.world import build, bullet
from sandbox.world.bullet import pybullet
from sandbox.world.determinism import drawing

_SHADOW_DISTANCE_M = 3.0
_SPECULAR = 0.05
_TRIANGLES = 300  # Of a link, when where its cameras are is asked.
_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # Its cameras have y up and look along -z.


class TinyRenderer:
    """Draws a scene with Bullet's TinyRenderer, in a client of its own.

    Visual shapes never enter the client that simulates, so physics is the same with and without
    pictures. Every visible shape is a body of mass 0 here, put where the pose of its frame says.
    """

    name: ClassVar[str] = "tiny"

    def __init__(self) -> None:
        self._client = bullet.connect()
        self._close = weakref.finalize(self, bullet.disconnect, self._client)
        self._scene: sc.Scene | None = None
        self._shapes: list[tuple[int, int, sc.Pose]] = []  # Id, frame, pose in the frame.
        self._link_of: NDArray[np.int16] = np.zeros(1, np.int16)
        self._body_of: NDArray[np.int16] = np.zeros(1, np.int16)
        self._drawn: NDArray[np.float64] = np.empty((0, 7))

    @property
    def determinism(self) -> str:
        """The name of its class, which is the simulator's, and what only drawing uses."""
        return drawing()

    def load(self, scene: sc.Scene) -> None:
        """Make ready to draw `scene`."""
        pybullet.resetSimulation(physicsClientId=self._client)
        self._scene, self._shapes = scene, []
        self._geometry = geometry.flatten(scene, _TRIANGLES)
        owners: list[tuple[int, int]] = []
        frame = 0
        for place, body in enumerate(scene.bodies, start=1):
            frames = self._robot_shapes(body) if isinstance(body, sc.Robot) else _shapes(body)
            for shapes in frames:
                for shape in shapes:
                    uid = self._add(shape)
                    self._shapes.append((uid, frame, _pose(shape)))
                    owners.append((uid, place))
                frame += 1
        self._drawn = np.full((frame, 7), np.nan)
        self._body_of = np.zeros(2 + max((uid for uid, _ in owners), default=0), np.int16)
        for uid, place in owners:
            self._body_of[uid + 1] = place
        self._link_of = np.zeros_like(self._body_of)
        for uid, frame, _ in self._shapes:
            self._link_of[uid + 1] = frame + 1

    def warm_up(self) -> None:
        """Nothing has to be done."""

    def check(self, poses: NDArray[np.float64], camera: sc.Camera) -> None:
        """Refuse a camera whose eye is inside something.

        Raises:
            InvalidInputError: it is.
        """
        assert self._scene is not None, "load() comes first"
        geometry.check_eye(self._scene, self._geometry, poses, camera)

    def draw(self, poses: NDArray[np.float64], camera: sc.Camera, picture: Picture) -> None:
        """Draw the scene with its frames at `poses` (n, 7) into a picture's arrays.

        Textures and supersampling are not drawn, and the sky is of one colour.
        """
        assert self._scene is not None, "load() comes first"
        self._place(poses)
        size, light = picture.size, self._scene.light
        view = _OPENGL @ geometry.view(self._geometry, poses, camera)
        _, _, rgba, depth, mask = pybullet.getCameraImage(
            size,
            size,
            viewMatrix=view.T.reshape(-1).tolist(),
            projectionMatrix=pybullet.computeProjectionMatrixFOV(
                camera.fov_deg, 1.0, camera.near_m, camera.far_m
            ),
            lightDirection=light.direction,
            lightColor=light.color,
            lightDistance=_SHADOW_DISTANCE_M,
            lightAmbientCoeff=light.ambient,
            lightDiffuseCoeff=light.diffuse,
            lightSpecularCoeff=_SPECULAR,
            shadow=int(light.shadows),
            renderer=pybullet.ER_TINY_RENDERER,
            physicsClientId=self._client,
        )
        shapes = np.reshape(mask, (size, size)) + 1
        bodies = self._body_of[shapes]
        if picture.pixels.size:
            picture.pixels[:] = np.reshape(rgba, (size, size, 4))[:, :, :3]
            picture.pixels[bodies == 0] = [round(255 * part) for part in self._scene.sky]
        if picture.depth.size:
            picture.depth[:] = _metric(np.reshape(depth, (size, size)), camera)
        if picture.segmentation.size:
            picture.segmentation[:] = bodies
        if picture.links.size:
            picture.links[:] = self._link_of[shapes]

    def _place(self, poses: NDArray[np.float64]) -> None:
        """Move the shapes whose frames have moved since the last picture."""
        moved = (poses != self._drawn).any(axis=1)
        for uid, frame, local in self._shapes:
            if moved[frame]:
                row: list[float] = poses[frame].tolist()
                xyz, quat = pybullet.multiplyTransforms(row[:3], row[3:], local.xyz, local.quat)
                pybullet.resetBasePositionAndOrientation(uid, xyz, quat, self._client)
        self._drawn = poses.copy()

    def _add(self, shape: sc.Shape) -> int:
        return pybullet.createMultiBody(
            baseMass=0,
            baseVisualShapeIndex=build.visual(self._client, shape),
            physicsClientId=self._client,
        )

    def _robot_shapes(self, robot: sc.Robot) -> list[list[sc.Shape]]:
        """Read what a URDF shows, frame by frame, and leave the client as it was."""
        uid = build.robot(self._client, robot)
        count = 1 + pybullet.getNumJoints(uid, self._client)
        frames: list[list[sc.Shape]] = [list[sc.Shape]() for _ in range(count)]
        for data in pybullet.getVisualShapeData(uid, physicsClientId=self._client):
            shape = _read_visual(data)
            if shape is not None:
                frames[int(data[1]) + 1].append(shape)
        pybullet.removeBody(uid, self._client)
        return frames


def _pose(shape: sc.Shape) -> sc.Pose:
    """Return where a shape is drawn in its frame: a plane is the top of a box."""
    if shape.kind != "plane":
        return shape.pose
    down = ((0.0, 0.0, -build.PLANE_M[2]), (0.0, 0.0, 0.0, 1.0))
    (x, y, z), _ = pybullet.multiplyTransforms(shape.pose.xyz, shape.pose.quat, *down)
    return sc.Pose((x, y, z), shape.pose.quat)


def _shapes(body: sc.Body) -> list[list[sc.Shape]]:
    frames = [body.shapes, *(link.shapes for link in body.links)]
    return [[shape for shape in shapes if shape.visible] for shapes in frames]


def _read_visual(data: tuple[object, ...]) -> sc.Shape | None:
    """Turn a row of getVisualShapeData into a Shape; poses are in the link's frame."""
    kind, size, path, xyz, quat, color = data[2:8]
    pose = sc.Pose(tuple(xyz), tuple(quat))  # type: ignore[arg-type]
    x, y, z = (float(s) for s in size)  # type: ignore[union-attr]
    rgba: sc.Rgba = tuple(color)  # type: ignore[assignment]
    if kind == pybullet.GEOM_BOX:
        return sc.Shape("box", (x / 2, y / 2, z / 2), rgba, pose)
    if kind == pybullet.GEOM_SPHERE:
        return sc.Shape("sphere", (x,), rgba, pose)
    if kind == pybullet.GEOM_CYLINDER:
        return sc.Shape("cylinder", (y, x), rgba, pose)
    if kind == pybullet.GEOM_CAPSULE:
        return sc.Shape("capsule", (y, x), rgba, pose)
    if kind == pybullet.GEOM_MESH:
        return sc.Shape("mesh", (x, y, z), rgba, pose, path=path.decode())  # type: ignore[union-attr]
    return None


def _metric(buffer: NDArray[np.float32], camera: sc.Camera) -> NDArray[np.float32]:
    """Turn OpenGL's depth buffer (0..1) into metres along the view axis."""
    near, far = camera.near_m, camera.far_m
    return (far * near / (far - (far - near) * buffer)).astype(np.float32)
