"""What may change in a world under way: surfaces, bodies that come and go, states kept."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from sandbox import scene as sc
from sandbox.errors import InvalidInputError
from sandbox.world import build
from sandbox.world.bullet import pybullet

Posed = tuple[int, int, tuple[float, ...] | None]  # A body's id, its links, and its pose if fixed.


class Changing(ABC):
    """The part of a World that does so."""

    scene: sc.Scene
    filled: list[str]
    ghosts: list[str]
    painted: list[str]
    population: int
    _client: int
    _ids: dict[str, int]
    _names: dict[int, str]
    _gone: list[str]
    _joints: dict[str, dict[str, int]]
    _motors: dict[str, dict[str, sc.Motor]]
    _torques: dict[tuple[int, tuple[int, ...]], list[float]]
    _thrusts: dict[str, Sequence[tuple[Sequence[float], Sequence[float]]]]
    _bodies_read: list[int | None]
    _joints_read: list[tuple[int | None, list[int]]]
    _frames: dict[str, int]
    _posed: list[Posed]

    @abstractmethod
    def _add(self, alike: Sequence[sc.Body | sc.Robot], look: int) -> None: ...

    @abstractmethod
    def _id(self, body: str) -> int: ...

    @abstractmethod
    def _forget_drives(self) -> None: ...

    def has(self, body: str) -> bool:
        """Whether a body is there."""
        return body in self._ids

    def save(self) -> int:
        """Keep this state in memory; return its number. It does not replay exactly: for search."""
        return pybullet.saveState(self._client)

    def load(self, saved: int) -> None:
        """Go back to a state that was kept since the scene was built, bodies and joints alone."""
        pybullet.restoreState(saved, physicsClientId=self._client)

    def become(self, scene: sc.Scene) -> None:
        """Go on as another scene, alike but for surfaces, masses, damping, motors, gravity, looks.

        Raises:
            InvalidInputError: it is unlike in something that cannot change. Nothing was done.
        """
        if len(scene.bodies) != len(self.scene.bodies):
            raise InvalidInputError("bodies cannot come and go so; add or remove one.")
        pairs = list(zip(self.scene.bodies, scene.bodies, strict=True))
        for old, new in pairs:
            build.check_alike(old, new)
        if replace(self.scene.engine, gravity=scene.engine.gravity) != scene.engine:
            raise InvalidInputError("of the engine only gravity can change during an episode.")
        pybullet.setGravity(*scene.engine.gravity, physicsClientId=self._client)
        for old, new in pairs:
            if isinstance(new, sc.Body) and new != old:
                build.dynamics(self._client, self._ids[new.name], new)
                self._motors[new.name] = motors(new)
        self._forget_drives()
        self.scene = scene

    def remove(self, name: str) -> None:
        """Take a body away; its place in the scene stays, empty, and nothing moves it."""
        uid = self._id(name)
        for ghost in self.ghosts:  # Bullet keeps this by id, and gives the id to another.
            self._meet(ghost, name, solid=True)
        if name in self.ghosts:
            self.embody(name)
        self.population += 1
        self._gone.append(name)
        pybullet.removeBody(uid, self._client)
        self._bodies_read = [None if known == uid else known for known in self._bodies_read]
        self._joints_read = [(None if u == uid else u, j) for u, j in self._joints_read]
        self._thrusts.pop(name, None)
        self._torques = {key: t for key, t in self._torques.items() if key[0] != uid}
        del self._ids[name], self._joints[name], self._motors[name]
        self._put(sc.Body(name), (uid, 0, (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)))

    def add(self, body: sc.Body, watched: Sequence[str]) -> None:
        """Add a body, or fill the empty place of one that was removed.

        Args:
            body: at rest.
            watched: the bodies that `watch` was given: if it is one of them, it is read.

        Raises:
            InvalidInputError: there is one of its name.
        """
        if body.name in self._ids:
            raise InvalidInputError(f"there is a body {body.name!r} already; give another name.")
        if body.name in self._gone:
            self._gone.remove(body.name)
            self.filled.append(body.name)
        self.population += 1
        self._add([body], build.speck(self._client))
        uid = self._ids[body.name]
        self._names[uid] = body.name
        if body.name in watched:
            self._bodies_read[list(watched).index(body.name)] = uid
        self._put(body, (uid, len(body.links), None))
        for ghost in self.ghosts:
            self._meet(ghost, body.name, solid=False)

    def swap(self, body: sc.Body, watched: Sequence[str]) -> None:
        """Put another body in the place of the one of its name: there, upright, and as fast.

        Args:
            body: the new one.
            watched: as `add` has it.
        """
        uid, client = self._id(body.name), self._client
        (x, y, z), _ = pybullet.getBasePositionAndOrientation(uid, client)
        linear, angular = pybullet.getBaseVelocity(uid, client)
        ghost = body.name in self.ghosts
        self.remove(body.name)
        self.add(replace(body, pose=sc.Pose((x, y, z))), watched)
        pybullet.resetBaseVelocity(self._ids[body.name], linear, angular, client)
        if ghost:
            self.ghost(body.name)

    def place(self, body: str, xyz: Sequence[float]) -> None:
        """Put a body elsewhere [m], as it is turned and as fast as it is: no physics does that."""
        uid, client = self._id(body), self._client
        _, quat = pybullet.getBasePositionAndOrientation(uid, client)
        linear, angular = pybullet.getBaseVelocity(uid, client)
        pybullet.resetBasePositionAndOrientation(uid, xyz, quat, client)
        pybullet.resetBaseVelocity(uid, linear, angular, client)

    def ghost(self, name: str) -> None:
        """Let a body pass through all others but those that are held in place."""
        self._id(name)
        if name in self.ghosts:
            return
        self.ghosts.append(name)
        for body in self.scene.bodies:
            self._meet(name, body.name, solid=False)

    def embody(self, ghost: str) -> None:
        """Let a ghost touch others again."""
        self.ghosts.remove(ghost)
        for body in self.scene.bodies:
            self._meet(ghost, body.name, solid=True)

    def _meet(self, ghost: str, other: str, *, solid: bool) -> None:
        """Say whether a ghost and another body touch; one that is held in place always does."""
        if ghost == other or other not in self._ids:
            return
        (body,) = [body for body in self.scene.bodies if body.name == other]
        if isinstance(body, sc.Body) and body.mass_kg == 0.0 and not body.links:
            return
        one, two, client = self._ids[ghost], self._ids[other], self._client
        for a in range(-1, len(self._joints[ghost])):
            for b in range(-1, len(self._joints[other])):
                pybullet.setCollisionFilterPair(one, two, a, b, int(solid), client)

    def _put(self, body: sc.Body, posed: Posed) -> None:
        """Put a body at the place of its name in the scene, or at the end."""
        bodies, every = list(self.scene.bodies), list(self._posed)
        names = [known.name for known in bodies]
        n = names.index(body.name) if body.name in names else len(names)
        bodies[n : n + 1], every[n : n + 1] = [body], [posed]
        self._posed = every
        places = itertools.accumulate((1 + links for _, links, _ in every), initial=0)
        self._frames = {known.name: place for known, place in zip(bodies, places, strict=False)}
        self.scene = replace(self.scene, bodies=tuple(bodies))


def motors(body: sc.Body) -> dict[str, sc.Motor]:
    """Return the motors of a body's links."""
    motors = {link.name: link.joint.motor for link in body.links}
    return {name: motor for name, motor in motors.items() if motor is not None}
