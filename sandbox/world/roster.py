"""The bodies in a Bullet client, found by name."""

import itertools
from array import array
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sandbox import scene as sc
from sandbox.errors import UnknownNameError
from sandbox.world import build
from sandbox.world.bullet import pybullet

POSE = 7  # x, y, z [m], quaternion x, y, z, w.
_FORCE_UNSAID = 100.0  # [N] or [N m]: of a URDF joint whose file gives no effort.
_ORIGIN = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


class _Posed(NamedTuple):
    """A body whose poses are asked for: its number, that of its links, and its pose if fixed."""

    uid: int
    links: int
    still: tuple[float, ...] | None


class Roster:
    """Which body of the scene has which number in Bullet, and the same for joints and poses.

    Attributes:
        ids: number of each body.
        names: name of each number.
        joints: number of each link's joint, by body and link.
        motors: motor of each link's joint, by body and link.
        offsets: pose of each robot's base frame from its base's centre of mass.
        gone: bodies that were taken away.
        read: poses that were read since anything moved, by number; `poses` does not ask for these.
    """

    def __init__(self, client: int) -> None:
        self._client = client
        self.clear()

    def clear(self) -> None:
        """Forget every body."""
        self.ids: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self.joints: dict[str, dict[str, int]] = {}
        self.motors: dict[str, dict[str, sc.Motor]] = {}
        self.offsets: dict[int, tuple[sc.Vec3, sc.Quat]] = {}
        self.gone: list[str] = []
        self.read: dict[int, tuple[float, ...]] = {}
        self._frames: dict[str, int] = {}  # Where the poses of each body begin.
        self._posed: list[_Posed] = []

    def build(self, scene: sc.Scene, look: int) -> None:
        """Put the bodies of a scene into the client, in their order."""
        for alike in build.copies(scene.bodies):
            self.add(alike, look, scene.engine.rigid)
            for body in alike:
                self._note_frames(body)

    def add(self, alike: Sequence[sc.Body | sc.Robot], look: int, rigid: bool) -> None:
        """Put a robot, or bodies that are copies of each other, into the client."""
        self.read.clear()
        plain = [body for body in alike if isinstance(body, sc.Body)]
        if plain:
            ids = build.bodies(self._client, plain, look, rigid)
            for body, uid in zip(plain, ids, strict=True):
                self.ids[body.name] = uid
                self.joints[body.name] = {link.name: n for n, link in enumerate(body.links)}
                self.motors[body.name] = motors(body)
        for body in alike:
            if isinstance(body, sc.Robot):
                self._add_robot(body)
            self.names[self.ids[body.name]] = body.name

    def put(
        self, bodies: Sequence[sc.Body | sc.Robot], new: sc.Body
    ) -> tuple[sc.Body | sc.Robot, ...]:
        """Return a scene's bodies with a new one in the place of its name, or at the end.

        One that is not in the client any more has its pose at the origin.
        """
        uid = self.ids.get(new.name, -1)
        posed = _Posed(uid, len(new.links), _ORIGIN if uid < 0 else None)
        found, every = list(bodies), list(self._posed)
        names = [known.name for known in found]
        n = names.index(new.name) if new.name in names else len(names)
        found[n : n + 1], every[n : n + 1] = [new], [posed]
        self._posed = every
        places = itertools.accumulate((1 + one.links for one in every), initial=0)
        self._frames = {known.name: place for known, place in zip(found, places, strict=False)}
        return tuple(found)

    def take(self, name: str) -> int:
        """Forget a body that is taken away, and return the number that it had."""
        uid = self.ids.pop(name)
        self.offsets.pop(uid, None)
        self.read.clear()
        del self.joints[name], self.motors[name]
        self.gone.append(name)
        return uid

    def id(self, body: str) -> int:
        """Return the number of a body; UnknownNameError if it is not there."""
        if body not in self.ids:
            raise UnknownNameError("body", body, self.ids)
        return self.ids[body]

    def named(self, pairs: dict[tuple[int, int], float]) -> dict[tuple[str, str], float]:
        """Return what is known of pairs of bodies by their names in place of their numbers."""
        return {(self.names[a], self.names[b]): it for (a, b), it in pairs.items()}

    def joint(self, body: str, link: str) -> int:
        """Return the number of a link's joint; UnknownNameError if it is not there."""
        self.id(body)
        if link not in self.joints[body]:
            raise UnknownNameError("link", link, self.joints[body], f"body {body!r}")
        return self.joints[body][link]

    def frame(self, body: str, link: str = "") -> int:
        """Return the row of `poses` that holds a body's base, or a link."""
        self.id(body)
        return self._frames[body] + (1 + self.joint(body, link) if link else 0)

    def poses(self) -> NDArray[np.float64]:
        """Return the poses (n, 7) of every body's base and links, in the order of the scene."""
        client, row, read = self._client, list[float](), self.read
        for uid, count, still in self._posed:
            if still is not None:
                row += still
                continue
            if uid not in read:
                xyz, quat = pybullet.getBasePositionAndOrientation(uid, client)
                if uid in self.offsets:
                    xyz, quat = pybullet.multiplyTransforms(xyz, quat, *self.offsets[uid])
                read[uid] = (*xyz, *quat)
            row += read[uid]
            if count:
                for state in pybullet.getLinkStates(uid, range(count), 0, 1, client):
                    row += state[4] + state[5]
        return np.frombuffer(array("d", row)).reshape(-1, POSE)

    def _add_robot(self, body: sc.Robot) -> None:
        client = self._client
        uid = self.ids[body.name] = build.robot(client, body)
        count = pybullet.getNumJoints(uid, physicsClientId=client)
        infos = [pybullet.getJointInfo(uid, n, physicsClientId=client) for n in range(count)]
        self.joints[body.name] = {info[12].decode(): n for n, info in enumerate(infos)}
        movable = build.movable_joints(client, uid)
        self.motors[body.name] = {
            infos[n][12].decode(): sc.Motor(body.motor, infos[n][10] or _FORCE_UNSAID)
            for n in movable
        }
        inertial = pybullet.getDynamicsInfo(uid, -1, physicsClientId=client)
        self.offsets[uid] = pybullet.invertTransform(inertial[3], inertial[4])  # type: ignore[assignment]

    def _note_frames(self, body: sc.Body | sc.Robot) -> None:
        """Note which poses are a body's, and the pose if it never changes."""
        self._frames[body.name] = sum(1 + one.links for one in self._posed)
        uid, count, still = self.ids[body.name], len(self.joints[body.name]), None
        if isinstance(body, sc.Body) and body.mass_kg == 0.0 and not count:
            xyz, quat = pybullet.getBasePositionAndOrientation(uid, self._client)
            still = (*xyz, *quat)
        self._posed.append(_Posed(uid, count, still))


def motors(body: sc.Body) -> dict[str, sc.Motor]:
    """Return the motors of a body's links."""
    found = {link.name: link.joint.motor for link in body.links}
    return {name: motor for name, motor in found.items() if motor is not None}
