"""One Bullet simulation of one Scene; it knows no task."""

import math
import weakref
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sandbox import scene as sc
from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.world import build, bullet
from sandbox.world.bullet import pybullet
from sandbox.world.changing import Changing, motors

F64 = NDArray[np.float64]
POSE = 7  # x, y, z [m], quaternion x, y, z, w.
BODY_STATE = 13  # Pose, linear velocity [m/s], angular velocity [rad/s]; all in the world frame.
JOINT_STATE = 2  # Position [m] or [rad], velocity [m/s] or [rad/s].
_FORCE_UNSAID = 100.0  # [N] or [N m]: of a URDF joint whose file gives no effort.
_ABSENT = (0.0,) * BODY_STATE  # No quaternion is all 0.
_ABSENT_JOINT = (0.0,) * JOINT_STATE
_DRIVES: dict[sc.MotorKind, tuple[int, str | None]] = {
    "velocity": (pybullet.VELOCITY_CONTROL, "targetVelocities"),
    "position": (pybullet.POSITION_CONTROL, "targetPositions"),
    "torque": (pybullet.TORQUE_CONTROL, None),
}


@dataclass(frozen=True, slots=True)
class Contact:
    """Two bodies that touch: by name; `normal_force_n` sums their contact points."""

    a: str
    b: str
    normal_force_n: float


class _Motors(NamedTuple):
    """Joints that are driven in one call."""

    uid: int
    joints: tuple[int, ...]
    forces: list[float]
    target: str  # What Bullet calls their targets.
    call: Callable[..., None] | None  # Sets the targets; None for torques.


class World(Changing):
    """Owns one Bullet client and rebuilds scenes in it.

    Replay is exact only from a rebuilt world: the same scene, the same commands from step 0
    (measured: saved states are not). So there is `build` and `step`, and no way back.

    Attributes:
        scene: what was built last.
        physics_steps: how many physics steps this world has simulated, ever.
        builds: how many scenes it has built, ever.
        filled: bodies that stand where one of their name was taken away.
        ghosts: bodies that pass through others.
        painted: bodies whose colour is not the scene's.
        population: another whenever a scene is built, or a body comes or goes.
        feels: whether `step` adds up what bodies that touch do to each other, and
        impulses: names of two bodies, in the order of the scene, to the normal impulse between them
            in the last `step` [N s].
    """

    scene: sc.Scene

    def __init__(self) -> None:
        self._client = bullet.connect()
        self._close = weakref.finalize(self, bullet.disconnect, self._client)
        self._ids: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._gone: list[str] = []  # Bodies that were taken away.
        self._joints: dict[str, dict[str, int]] = {}
        self._motors: dict[str, dict[str, sc.Motor]] = {}
        self._torques: dict[tuple[int, tuple[int, ...]], list[float]] = {}
        self._drives: dict[tuple[str, tuple[str, ...]], _Motors] = {}
        self._bodies_read: list[int | None] = []
        self._joints_read: list[tuple[int | None, list[int]]] = []  # None: joints that are not.
        self._thrusts: dict[str, Sequence[tuple[Sequence[float], Sequence[float]]]] = {}
        self._offsets: dict[int, tuple[sc.Vec3, sc.Quat]] = {}
        self._movable: dict[int, list[int]] = {}  # Of bodies whose Jacobian was asked for.
        self._frames: dict[str, int] = {}  # Of each body's base, and
        self._posed: list[tuple[int, int, tuple[float, ...] | None]] = []  # id, links, pose.
        self.filled: list[str] = []
        self.ghosts: list[str] = []
        self.painted: list[str] = []
        self.population = 0
        self.physics_steps = 0
        self.builds = 0
        self.feels = False
        self.impulses: dict[tuple[str, str], float] = {}

    def build(self, scene: sc.Scene) -> None:
        """Throw away what was there and build `scene`."""
        look = build.reset(self._client, scene.engine)
        self.scene = scene
        self._ids, self._joints, self._offsets = {}, {}, {}
        self._motors, self._torques, self._drives, self._thrusts = {}, {}, {}, {}
        self._frames, self._posed, self._movable, self._gone = {}, [], {}, []
        self.filled, self.ghosts, self.painted = [], [], []
        self.population += 1
        for alike in build.copies(scene.bodies):
            self._add(alike, look)
            for body in alike:
                self._note_frames(body)
        self._bodies_read, self._joints_read = [], []
        self._names = {uid: name for name, uid in self._ids.items()}
        self.impulses.clear()
        self.builds += 1

    def step(self, count: int) -> None:
        """Simulate `count` physics steps."""
        simulate, client, held = pybullet.stepSimulation, self._client, list(self._torques.items())
        thrusts = [
            (self._ids[name], f, at) for name, all_ in self._thrusts.items() for f, at in all_
        ]
        self.impulses.clear()
        for _ in range(count):
            for uid, force, at in thrusts:
                pybullet.applyExternalForce(uid, -1, force, at, pybullet.LINK_FRAME, client)
            for (uid, joints), torques in held:
                pybullet.setJointMotorControlArray(
                    uid, joints, pybullet.TORQUE_CONTROL, forces=torques, physicsClientId=client
                )
            simulate(client)
            if self.feels:
                self._feel()
        self.physics_steps += count

    def watch(self, bodies: Sequence[str], joints: Sequence[tuple[str, str]]) -> int:
        """Choose what `read` reads, once after each build; return how many numbers that is.

        Bodies that the scene has not are read as zeros, their quaternion too, and so are links that
        a body has not, so that scenes of several sizes share a layout.
        """
        self._bodies_read = [self._ids.get(name) for name in bodies]
        self._joints_read = []
        for name, link in joints:
            uid, joint = self._ids.get(name), self._joints.get(name, {}).get(link, -1)
            uid = None if joint < 0 else uid
            if self._joints_read and self._joints_read[-1][0] == uid:
                self._joints_read[-1][1].append(joint)
            else:
                self._joints_read.append((uid, [joint]))
        return len(bodies) * BODY_STATE + len(joints) * JOINT_STATE

    def read(self) -> list[float]:
        """Return the state chosen by `watch`: 13 numbers a body, then 2 a joint."""
        client, row, offsets = self._client, list[float](), self._offsets
        pose, velocity = pybullet.getBasePositionAndOrientation, pybullet.getBaseVelocity
        for uid in self._bodies_read:
            if uid is None:
                row += _ABSENT
                continue
            xyz, quat = pose(uid, client)
            if uid in offsets:
                xyz, quat = pybullet.multiplyTransforms(xyz, quat, *offsets[uid])
            linear, angular = velocity(uid, client)
            row += xyz
            row += quat
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

        Targets hold until the next call; a torque is applied in each physics step.

        Raises:
            InvalidInputError: a joint has no motor, or the joints' motors are of different kinds.
        """
        if body in self._gone:
            return
        key = (body, tuple(links))
        motors = self._drives.get(key)
        if motors is None:
            motors = self._drives[key] = self._grouped(*key)
        if motors.call is None:
            self._torques[motors.uid, motors.joints] = [
                torque if -limit <= torque <= limit else math.copysign(limit, torque)
                for torque, limit in zip(targets, motors.forces, strict=True)
            ]
        else:
            motors.call(**{motors.target: targets})

    def push(self, body: str, force_n: Sequence[float], at: Sequence[float]) -> None:
        """Apply a force [N] at a point [m], world frame, during the next physics step.

        Nothing happens to a body that was taken away.
        """
        if body in self._gone:
            return
        pybullet.applyExternalForce(
            self._id(body), -1, force_n, at, pybullet.WORLD_FRAME, self._client
        )

    def thrust(self, body: str, forces: Sequence[tuple[Sequence[float], Sequence[float]]]) -> None:
        """Apply forces [N] at points [m], both in the body's frame, in every physics step.

        They turn with the body, and hold until the next call; () ends them. A torque is two forces.
        """
        if body not in self._gone:
            self._id(body)
            self._thrusts[body] = tuple(forces)

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
        """Return with what normal force two bodies, or links of theirs, touch [N]; 0 is none."""
        if a in self._gone or b in self._gone:
            return 0.0
        links = {"linkIndexA": self._joint(a, link_a)} if link_a else {}
        links |= {"linkIndexB": self._joint(b, link_b)} if link_b else {}
        points = pybullet.getContactPoints(
            self._id(a), self._id(b), physicsClientId=self._client, **links
        )
        return float(sum(point[9] for point in points if point[8] <= 0))

    def centre(self, body: str) -> list[float]:
        """Return where a body's base has its centre of mass [m]."""
        xyz, _ = pybullet.getBasePositionAndOrientation(self._id(body), self._client)
        return list(xyz)

    def poses(self) -> NDArray[np.float64]:
        """Return the poses (n, 7) of every body's base and links, in the order of the scene.

        World frame of the base or link itself, not of its centre of mass; kinematics are current.
        """
        client, row = self._client, list[float]()
        for uid, count, still in self._posed:
            if still is not None:
                row += still
                continue
            xyz, quat = pybullet.getBasePositionAndOrientation(uid, client)
            if uid in self._offsets:
                xyz, quat = pybullet.multiplyTransforms(xyz, quat, *self._offsets[uid])
            row += (*xyz, *quat)
            if count:
                for state in pybullet.getLinkStates(uid, range(count), 0, 1, client):
                    row += state[4] + state[5]
        return np.frombuffer(array("d", row)).reshape(-1, POSE)

    def frame(self, body: str, link: str = "") -> int:
        """Return which of the poses is that of a body's base, or of a link."""
        self._id(body)
        return self._frames[body] + (1 + self._joint(body, link) if link else 0)

    def _feel(self) -> None:
        """Add the last physics step's impulses."""
        names, lasted = self._names, 1.0 / self.scene.engine.physics_hz
        for point in pybullet.getContactPoints(physicsClientId=self._client):
            if point[9] > 0.0:
                a, b = sorted((point[1], point[2]))  # Bullet numbers bodies as they are added.
                pair = (names[a], names[b])
                self.impulses[pair] = self.impulses.get(pair, 0.0) + point[9] * lasted

    def contacts(self) -> list[Contact]:
        """Return the pairs of bodies that touch, in the order of the scene."""
        names = self._names
        order = list(self._ids)
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
        return list(self._joints[body])

    def close(self) -> None:
        """Give the client back."""
        self._close()

    def _add(self, alike: Sequence[sc.Body | sc.Robot], look: int) -> None:
        """Put a robot, or bodies that are copies of each other, into the client."""
        plain = [body for body in alike if isinstance(body, sc.Body)]
        if plain:
            for body, uid in zip(plain, build.bodies(self._client, plain, look), strict=True):
                self._ids[body.name] = uid
                self._joints[body.name] = {link.name: n for n, link in enumerate(body.links)}
                self._motors[body.name] = motors(body)
        for body in alike:
            if isinstance(body, sc.Robot):
                self._add_robot(body)

    def _add_robot(self, body: sc.Robot) -> None:
        client = self._client
        uid = self._ids[body.name] = build.robot(client, body)
        count = pybullet.getNumJoints(uid, physicsClientId=client)
        infos = [pybullet.getJointInfo(uid, n, physicsClientId=client) for n in range(count)]
        self._joints[body.name] = {info[12].decode(): n for n, info in enumerate(infos)}
        movable = build.movable_joints(client, uid)
        self._motors[body.name] = {
            infos[n][12].decode(): sc.Motor(body.motor, infos[n][10] or _FORCE_UNSAID)
            for n in movable
        }
        inertial = pybullet.getDynamicsInfo(uid, -1, physicsClientId=client)
        self._offsets[uid] = pybullet.invertTransform(inertial[3], inertial[4])  # type: ignore[assignment]

    def _note_frames(self, body: sc.Body | sc.Robot) -> None:
        """Note where a body's poses stand, and those that never change."""
        self._frames[body.name] = sum(1 + count for _, count, _ in self._posed)
        uid, count, still = self._ids[body.name], len(self._joints[body.name]), None
        if isinstance(body, sc.Body) and body.mass_kg == 0.0 and not count:
            xyz, quat = pybullet.getBasePositionAndOrientation(uid, self._client)
            still = (*xyz, *quat)
        self._posed.append((uid, count, still))

    def _forget_drives(self) -> None:
        self._drives.clear()

    def _id(self, body: str) -> int:
        if body not in self._ids:
            raise UnknownNameError("body", body, self._ids)
        return self._ids[body]

    def _joint(self, body: str, link: str) -> int:
        self._id(body)
        if link not in self._joints[body]:
            raise UnknownNameError("link", link, self._joints[body], f"body {body!r}")
        return self._joints[body][link]

    def _grouped(self, body: str, links: tuple[str, ...]) -> "_Motors":
        """Look up what driving these joints together takes."""
        joints = tuple(self._joint(body, link) for link in links)
        for link in links:
            if link not in self._motors[body]:
                raise InvalidInputError(
                    f"{body!r}: the joint of {link!r} has no motor; declare Joint(motor=...)."
                )
        motors = [self._motors[body][link] for link in links]
        kinds: list[sc.MotorKind] = list(dict.fromkeys(motor.kind for motor in motors))
        if len(kinds) != 1:
            raise InvalidInputError(f"{body!r}: {list(links)} mix motors of kinds {kinds}.")
        mode, target = _DRIVES[kinds[0]]
        forces = [motor.max_force for motor in motors]
        uid = self._id(body)
        if target is None:
            return _Motors(uid, joints, forces, "", None)
        call = partial(
            pybullet.setJointMotorControlArray,
            uid,
            joints,
            mode,
            forces=forces,
            physicsClientId=self._client,
        )
        return _Motors(uid, joints, forces, target, call)
