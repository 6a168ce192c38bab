"""Motors and thrusts: drives that hold from one physics step to the next."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from sandbox import scene as sc
from sandbox.errors import InvalidInputError
from sandbox.world.bullet import pybullet
from sandbox.world.roster import Roster

Vector = Sequence[float]
_DRIVES: dict[sc.MotorKind, tuple[int, str | None]] = {
    "velocity": (pybullet.VELOCITY_CONTROL, "targetVelocities"),
    "position": (pybullet.POSITION_CONTROL, "targetPositions"),
    "torque": (pybullet.TORQUE_CONTROL, None),
}


class _Motors(NamedTuple):
    """Joints that are driven in one call."""

    uid: int
    joints: tuple[int, ...]
    forces: list[float]
    target: str  # What Bullet calls their targets.
    call: Callable[..., None] | None  # Sets the targets; None for torques.


class Held(NamedTuple):
    """What drives hold.

    Attributes:
        targets: by body and links, in the order in which they were set last.
        torques: by body and joints.
        thrusts: by body.
    """

    targets: dict[tuple[str, tuple[str, ...]], tuple[float, ...]]
    torques: dict[tuple[int, tuple[int, ...]], list[float]]
    thrusts: dict[str, tuple[tuple[Vector, Vector], ...]]


class Drives:
    """The motors and thrusts of one client's bodies.

    Attributes:
        torques: by body and joints, to be applied in each physics step.
    """

    def __init__(self, client: int, roster: Roster) -> None:
        self._client, self._roster = client, roster
        self.clear()

    def clear(self) -> None:
        """Forget all motors and thrusts."""
        self.torques: dict[tuple[int, tuple[int, ...]], list[float]] = {}
        self._motors: dict[tuple[str, tuple[str, ...]], _Motors] = {}
        self._thrusts: dict[str, tuple[tuple[Vector, Vector], ...]] = {}
        self._targets: dict[tuple[str, tuple[str, ...]], tuple[float, ...]] = {}

    def held(self) -> Held:
        """Return what the drives hold now."""
        return Held(dict(self._targets), dict(self.torques), dict(self._thrusts))

    def hold(self, held: Held) -> None:
        """Hold what was held before; a motor that was off is off again."""
        for body, links in [key for key in self._targets if key not in held.targets]:
            motors = self._grouped(body, links)
            off = [0.0] * len(motors.joints)
            if motors.call is not None:
                motors.call(**{motors.target: off}, forces=off)
        self._targets.clear()
        for (body, links), targets in held.targets.items():
            self.drive(body, links, targets)
        self.torques, self._thrusts = dict(held.torques), dict(held.thrusts)

    def forget_limits(self) -> None:
        """Look the motors up again when they are driven next: their limits have changed."""
        self._motors.clear()

    def forget(self, body: str, uid: int) -> None:
        """Forget the motors, torques and thrusts of a body that is taken away."""
        self._thrusts.pop(body, None)
        self._targets = {key: found for key, found in self._targets.items() if key[0] != body}
        self._motors = {key: found for key, found in self._motors.items() if key[0] != body}
        self.torques = {key: t for key, t in self.torques.items() if key[0] != uid}

    def thrusts(self) -> Iterator[tuple[int, Vector, Vector]]:
        """Yield body, force and point of every thrust."""
        for name, every in self._thrusts.items():
            for force, at in every:
                yield self._roster.ids[name], force, at

    def thrust(self, body: str, forces: Sequence[tuple[Vector, Vector]]) -> None:
        """Set the thrusts of a body."""
        self._thrusts[body] = tuple(forces)

    def drive(self, body: str, links: Sequence[str], targets: Sequence[float]) -> None:
        """Set the targets of motors; see `World.drive`."""
        key = (body, tuple(links))
        motors = self._motors.get(key)
        if motors is None:
            motors = self._motors[key] = self._grouped(*key)
        if motors.call is None:
            self.torques[motors.uid, motors.joints] = [
                torque if -limit <= torque <= limit else math.copysign(limit, torque)
                for torque, limit in zip(targets, motors.forces, strict=True)
            ]
        else:
            self._targets.pop(key, None)
            self._targets[key] = tuple(targets)
            motors.call(**{motors.target: targets})

    def _grouped(self, body: str, links: tuple[str, ...]) -> _Motors:
        """Return what driving these joints together takes."""
        roster = self._roster
        joints = tuple(roster.joint(body, link) for link in links)
        for link in links:
            if link not in roster.motors[body]:
                raise InvalidInputError(
                    f"{body!r}: the joint of {link!r} has no motor; declare Joint(motor=...)."
                )
        motors = [roster.motors[body][link] for link in links]
        kinds: list[sc.MotorKind] = list(dict.fromkeys(motor.kind for motor in motors))
        if len(kinds) != 1:
            raise InvalidInputError(f"{body!r}: {list(links)} mix motors of kinds {kinds}.")
        mode, target = _DRIVES[kinds[0]]
        forces = [motor.max_force for motor in motors]
        uid = roster.id(body)
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
