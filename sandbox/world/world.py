"""One Bullet simulation of one Scene; it knows no task."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sandbox import scene as sc
from sandbox.errors import InvalidInputError
from sandbox.world import build, bullet
from sandbox.world.bullet import pybullet
from sandbox.world.drives import Drives, Held
from sandbox.world.roster import Roster, motors
from sandbox.world.saved import Kept, Saved

F64 = NDArray[np.float64]
BODY_STATE = 13  # Pose, linear velocity [m/s], angular velocity [rad/s]; all in the world frame.
JOINT_STATE = 2  # Position [m] or [rad], velocity [m/s] or [rad/s].
_ABSENT = (0.0,) * BODY_STATE  # No quaternion is all 0.
_ABSENT_JOINT = (0.0,) * JOINT_STATE


@dataclass(frozen=True, slots=True)
class Contact:
    """Two bodies that touch, by name; `normal_force_n` sums their contact points."""

    a: str
    b: str
    normal_force_n: float


class World:
    """Owns one Bullet client and rebuilds scenes in it.

    Replay is exact only from a rebuilt world: the same scene, the same commands from step 0
    (measured: saved states are not). `save` and `load` are for search alone.

    Attributes:
        scene: the scene that was built last, as it is now.
        physics_steps: number of physics steps simulated since the world was made.
        builds: number of scenes built since the world was made.
        filled: bodies that stand where one of their name was taken away.
        ghosts: bodies that pass through others.
        painted: bodies whose colour is not the scene's.
        population: changes whenever a scene is built, or a body comes or goes.
        feels: whether `step` adds up `impulses`.
        impulses: normal impulse between two bodies in the last `step` [N s], by their names in the
            order of the scene.
    """

    scene: sc.Scene

    def __init__(self, feels: bool = False) -> None:
        self._client = bullet.connect()
        self._saved = Saved(self._client)
        self._close = weakref.finalize(self, _end, self._client, self._saved)
        self._built = object()
        self._roster = Roster(self._client)
        self._drives = Drives(self._client, self._roster)
        self._bodies_read: list[int | None] = []  # None is absent, as a body of joints.
        self._joints_read: list[tuple[int | None, list[int]]] = []
        self._movable: dict[int, list[int]] = {}  # Of bodies whose Jacobian was asked for.
        self.filled: list[str] = []
        self.ghosts: list[str] = []
        self.painted: list[str] = []
        self.population = self.physics_steps = self.builds = 0
        self.feels = feels
        self.impulses: dict[tuple[str, str], float] = {}

    def build(self, scene: sc.Scene) -> None:
        """Remove every body and build `scene`."""
        self._saved.free()  # What was kept of another scene cannot be gone back to.
        self._built = object()
        look = build.reset(self._client, scene.engine)
        self.scene = scene
        self._roster.clear()
        self._drives.clear()
        self._bodies_read, self._joints_read, self._movable = [], [], {}
        self.filled, self.ghosts, self.painted = [], [], []
        self.population += 1
        self._roster.build(scene, look)
        self.impulses.clear()
        self.builds += 1

    def step(self, count: int) -> None:
        """Simulate `count` physics steps."""
        simulate, client = pybullet.stepSimulation, self._client
        held, thrusts = list(self._drives.torques.items()), list(self._drives.thrusts())
        self._roster.read.clear()
        near_m = self.scene.engine.contact_breaking_threshold_m
        felt: dict[tuple[int, int], float] = {}
        for _ in range(count):
            for uid, force, at in thrusts:
                pybullet.applyExternalForce(uid, -1, force, at, pybullet.LINK_FRAME, client)
            for (uid, joints), torques in held:
                pybullet.setJointMotorControlArray(
                    uid, joints, pybullet.TORQUE_CONTROL, forces=torques, physicsClientId=client
                )
            while build.near_m[0] != near_m:  # Another world of this process, or thread, set it.
                build.keep_near(client, near_m)
            simulate(client)
            if self.feels:
                self._feel(felt)
        self.impulses = self._roster.named(felt)
        self.physics_steps += count

    def watch(self, bodies: Sequence[str], joints: Sequence[tuple[str, str]]) -> int:
        """Choose what `read` reads, once after each build; return how many numbers that is.

        A body that is absent is read as zeros, its quaternion too, and so is an absent link: scenes
        of several sizes share a layout.
        """
        ids, links = self._roster.ids, self._roster.joints
        self._bodies_read = [ids.get(name) for name in bodies]
        self._joints_read = []
        for name, link in joints:
            uid, joint = ids.get(name), links.get(name, {}).get(link, -1)
            uid = None if joint < 0 else uid
            if self._joints_read and self._joints_read[-1][0] == uid:
                self._joints_read[-1][1].append(joint)
            else:
                self._joints_read.append((uid, [joint]))
        return len(bodies) * BODY_STATE + len(joints) * JOINT_STATE

    def read(self) -> list[float]:
        """Return the state chosen by `watch`: 13 numbers a body, then 2 a joint."""
        client, row = self._client, list[float]()
        offsets, read = self._roster.offsets, self._roster.read
        pose, velocity = pybullet.getBasePositionAndOrientation, pybullet.getBaseVelocity
        for uid in self._bodies_read:
            if uid is None:
                row += _ABSENT
                continue
            xyz, quat = pose(uid, client)
            if uid in offsets:
                xyz, quat = pybullet.multiplyTransforms(xyz, quat, *offsets[uid])
            linear, angular = velocity(uid, client)
            read[uid] = place = xyz + quat
            row += place
            row += linear
            row += angular
        for uid, joints in self._joints_read:
            if uid is None:
                row += _ABSENT_JOINT * len(joints)
                continue
            for position, velocity, _, _ in pybullet.getJointStates(uid, joints, client):
                row += (position, velocity)
        return row

    def drive(self, body: str, links: Sequence[str], targets: Sequence[float]) -> None:
        """Set the targets of a body's motors: velocity, position or torque, as the scene says.

        Targets hold until the next call; a torque is applied in each physics step. A body that was
        taken away is ignored.

        Raises:
            InvalidInputError: a joint has no motor, or the joints' motors are of different kinds.
        """
        if body not in self._roster.gone:
            self._drives.drive(body, links, targets)

    def push(self, body: str, force_n: Sequence[float], at: Sequence[float]) -> None:
        """Apply a force [N] at a point [m], world frame, during the next physics step.

        A body that was taken away is ignored.
        """
        if body in self._roster.gone:
            return
        pybullet.applyExternalForce(
            self._id(body), -1, force_n, at, pybullet.WORLD_FRAME, self._client
        )

    def thrust(self, body: str, forces: Sequence[tuple[Sequence[float], Sequence[float]]]) -> None:
        """Apply forces [N] at points [m], both in the body's frame, in every physics step.

        They turn with the body, and hold until the next call; () ends them. A torque is two forces.
        """
        if body not in self._roster.gone:
            self._roster.id(body)
            self._drives.thrust(body, forces)

    def link(self, body: str, link: str) -> list[float]:
        """Return a link's 13 numbers, world frame: the pose of its frame, and the velocity.

        The velocity is that of its centre of mass.
        """
        state = pybullet.getLinkState(
            self._id(body), self._joint(body, link), 1, 1, physicsClientId=self._client
        )
        return [*state[4], *state[5], *state[6], *state[7]]

    def jacobian(self, body: str, link: str) -> F64:
        """Return how a link's frame moves with the joints, (6, n): linear over angular.

        World frame, metres and radians; n movable joints in their order. The base is fixed.
        """
        uid, joint, client = self._id(body), self._joint(body, link), self._client
        if uid not in self._movable:
            self._movable[uid] = build.movable_joints(client, uid)
        states = pybullet.getJointStates(uid, self._movable[uid], client)
        still = [0.0] * len(states)
        linear, angular = pybullet.calculateJacobian(
            uid, joint, (0.0, 0.0, 0.0), [s[0] for s in states], still, still, client
        )
        return np.array([*linear, *angular])

    def touch(self, a: str, b: str, link_a: str = "", link_b: str = "") -> float:
        """Return the normal force between two bodies, or two of their links [N]; 0 if apart."""
        if a in self._roster.gone or b in self._roster.gone:
            return 0.0
        links = {"linkIndexA": self._joint(a, link_a)} if link_a else {}
        links |= {"linkIndexB": self._joint(b, link_b)} if link_b else {}
        points = pybullet.getContactPoints(
            self._id(a), self._id(b), physicsClientId=self._client, **links
        )
        return float(sum(point[9] for point in points if point[8] <= 0))

    def centre(self, body: str) -> list[float]:
        """Return the place of the centre of mass of a body's base [m]."""
        xyz, _ = pybullet.getBasePositionAndOrientation(self._id(body), self._client)
        return list(xyz)

    def poses(self) -> NDArray[np.float64]:
        """Return the poses (n, 7) of every body's base and links, in the order of the scene.

        World frame of the base or link itself, not of its centre of mass; kinematics are current.
        """
        return self._roster.poses()

    def frame(self, body: str, link: str = "") -> int:
        """Return the row of `poses` that holds a body's base, or a link."""
        return self._roster.frame(body, link)

    def _feel(self, felt: dict[tuple[int, int], float]) -> None:
        """Add the last physics step's impulses, by the numbers of two bodies in their order."""
        lasted = 1.0 / self.scene.engine.physics_hz
        for point in pybullet.getContactPoints(physicsClientId=self._client):
            a, b, force = point[1], point[2], point[9]  # Bodies are numbered as they were added.
            if force > 0.0:
                pair = (a, b) if a < b else (b, a)
                felt[pair] = felt.get(pair, 0.0) + force * lasted

    def contacts(self) -> list[Contact]:
        """Return the pairs of bodies that touch, in the order of the scene."""
        names = self._roster.names
        order = list(self._roster.ids)
        forces: dict[tuple[int, int], float] = {}
        for point in pybullet.getContactPoints(physicsClientId=self._client):
            if point[8] <= 0:
                a, b = order.index(names[point[1]]), order.index(names[point[2]])
                pair = (min(a, b), max(a, b))
                forces[pair] = forces.get(pair, 0.0) + float(point[9])
        return [Contact(order[a], order[b], forces[a, b]) for a, b in sorted(forces)]

    def joints(self, body: str) -> list[str]:
        """Return the names of a body's links, each hanging on the joint of the same index."""
        self._id(body)
        return list(self._roster.joints[body])

    def close(self) -> None:
        """Close the client."""
        self._close()

    def has(self, body: str) -> bool:
        """Return whether a body is there."""
        return body in self._roster.ids

    def save(self) -> Kept:
        """Keep this state in memory, for search, until the object is freed or gone.

        In contact it does not replay exactly: Bullet forgets what its solver knew.
        """
        kept = Kept(
            number=self._saved.save(),
            built=self._built,
            population=self.population,
            scene=self.scene,
            ghosts=tuple(self.ghosts),
            painted=tuple(self.painted),
            impulses=dict(self.impulses),
            held=self.drives_held(),
        )
        self._saved.watch(kept)
        return kept

    def drives_held(self) -> Held:
        """Return the targets of motors, the torques and the thrusts."""
        return self._drives.held()

    def free(self, kept: Kept) -> None:
        """Free a state that was kept; nothing if it is free already."""
        if self._saved.has(kept):
            self._saved.free([kept.number])

    def load(self, kept: Kept) -> None:
        """Go back to a state that was kept since the scene was built.

        Raises:
            InvalidInputError: it is of another world, or was kept before the scene was built, or
                is free, or a body has come, gone or changed its shape since. Nothing was done.
        """
        if kept.built is not self._built:
            raise InvalidInputError(
                "restore() goes back to a snapshot that this environment took since it built its "
                "scene, in the last reset() or restore(exact=True). Nothing was done. Use "
                "exact=True, in the same episode."
            )
        if not self._saved.has(kept):
            raise InvalidInputError(
                "restore() to a snapshot that was released. Nothing was done. Take another."
            )
        if self.population != kept.population:
            raise InvalidInputError(
                "restore() goes back within an episode while no body comes, goes or changes its "
                "shape. Nothing was done. Use exact=True, or branch()."
            )
        pybullet.restoreState(kept.number, physicsClientId=self._client)
        self._roster.read.clear()
        for ghost in [name for name in self.ghosts if name not in kept.ghosts]:
            self.embody(ghost)
        self.painted, self.impulses = list(kept.painted), dict(kept.impulses)
        if self.scene is not kept.scene:
            self.become(kept.scene)
        self._drives.hold(kept.held)

    def become(self, scene: sc.Scene) -> None:
        """Continue as a scene with other surfaces, masses, damping, motors, gravity or looks.

        Raises:
            InvalidInputError: it differs in something that cannot change. Nothing was done.
        """
        build.check_follows(self.scene, scene)
        pairs = list(zip(self.scene.bodies, scene.bodies, strict=True))
        pybullet.setGravity(*scene.engine.gravity, physicsClientId=self._client)
        for old, new in pairs:
            if isinstance(new, sc.Body) and new != old:
                build.dynamics(self._client, self._id(new.name), new)
                self._roster.motors[new.name] = motors(new)
        self._drives.forget_limits()
        self.scene = scene

    def remove(self, name: str) -> None:
        """Take a body away; its place in the scene stays, empty, and nothing moves it."""
        uid = self._id(name)
        for ghost in self.ghosts:  # Bullet keeps this by number, and reuses the number.
            self._meet(ghost, name, solid=True)
        if name in self.ghosts:
            self.embody(name)
        self.population += 1
        pybullet.removeBody(uid, self._client)
        self._bodies_read = [None if known == uid else known for known in self._bodies_read]
        self._joints_read = [(None if u == uid else u, j) for u, j in self._joints_read]
        self._drives.forget(name, uid)
        self._roster.take(name)
        self._put(sc.Body(name))

    def add(self, body: sc.Body, watched: Sequence[str]) -> None:
        """Add a body, or fill the empty place of one that was removed.

        Args:
            body: at rest.
            watched: the bodies that `watch` was given: if it is one of them, it is read.

        Raises:
            InvalidInputError: a body has its name already.
        """
        if self.has(body.name):
            raise InvalidInputError(f"there is a body {body.name!r} already; give another name.")
        if body.name in self._roster.gone:
            self._roster.gone.remove(body.name)
            self.filled.append(body.name)
        self.population += 1
        self._roster.add([body], build.speck(self._client), self.scene.engine.rigid)
        if body.name in watched:
            self._bodies_read[list(watched).index(body.name)] = self._id(body.name)
        self._put(body)
        for ghost in self.ghosts:
            self._meet(ghost, body.name, solid=False)

    def swap(self, body: sc.Body, watched: Sequence[str]) -> None:
        """Replace the body of the same name by another one, upright, in its place and as fast.

        Args:
            body: the new one.
            watched: as for `add`.
        """
        uid, client = self._id(body.name), self._client
        (x, y, z), _ = pybullet.getBasePositionAndOrientation(uid, client)
        linear, angular = pybullet.getBaseVelocity(uid, client)
        ghost = body.name in self.ghosts
        self.remove(body.name)
        self.add(replace(body, pose=sc.Pose((x, y, z))), watched)
        pybullet.resetBaseVelocity(self._id(body.name), linear, angular, client)
        if ghost:
            self.ghost(body.name)

    def place(self, body: str, xyz: Sequence[float]) -> None:
        """Move a body to a place [m] at once; its rotation and its velocities stay."""
        uid, client = self._id(body), self._client
        _, quat = pybullet.getBasePositionAndOrientation(uid, client)
        linear, angular = pybullet.getBaseVelocity(uid, client)
        self._roster.read.clear()
        pybullet.resetBasePositionAndOrientation(uid, xyz, quat, client)
        pybullet.resetBaseVelocity(uid, linear, angular, client)

    def ghost(self, name: str) -> None:
        """Let a body pass through all others, except those that are held in place."""
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
        """Set whether a ghost and another body collide; one that is held in place always does."""
        if ghost == other or not self.has(other):
            return
        (body,) = [body for body in self.scene.bodies if body.name == other]
        if isinstance(body, sc.Body) and body.mass_kg == 0.0 and not body.links:
            return
        one, two, client = self._id(ghost), self._id(other), self._client
        for a in range(-1, len(self._roster.joints[ghost])):
            for b in range(-1, len(self._roster.joints[other])):
                pybullet.setCollisionFilterPair(one, two, a, b, int(solid), client)

    def _put(self, body: sc.Body) -> None:
        """Put a body at the place of its name in the scene, or at the end."""
        self.scene = replace(self.scene, bodies=self._roster.put(self.scene.bodies, body))

    def _id(self, body: str) -> int:
        return self._roster.id(body)

    def _joint(self, body: str, link: str) -> int:
        return self._roster.joint(body, link)


def _end(client: int, saved: Saved) -> None:
    """Free what a client keeps, and close it."""
    saved.free()
    bullet.disconnect(client)
