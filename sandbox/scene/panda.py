"""The Franka Panda arm as a body: fast to build, its hand pointing down by closed formulas.

Frames, axes, limits, efforts, masses and centres of mass are those of franka_panda/panda.urdf in
pybullet_data (Apache-2.0), whose collision meshes, 200 to 1300 triangles each, are what is seen.
What touches are boxes, spheres and capsules: loading the URDF takes 100 ms, building this 1 ms.
Of the URDF, link8 is part of `hand`, and `tip`, between the fingertips, is its grasptarget.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from sandbox.scene.bodies import Body, Joint, Link, Material, Motor
from sandbox.scene.shapes import ORIGIN, Pose, Quat, Rgba, Shape, Vec3, mesh

PANDA_JOINTS = tuple(f"link{n}" for n in range(1, 8))
PANDA_FINGERS = ("left_finger", "right_finger")
PANDA_OPEN_M = 0.04  # Of each finger.
PANDA_LEASH_M = 0.05  # The farthest that a target is from the tip, along each axis.
PANDA_LIMITS = (  # Lowest and highest position of each joint [rad].
    (-2.9671, 2.9671),
    (-1.8326, 1.8326),
    (-2.9671, 2.9671),
    (-3.1416, 0.0),
    (-2.9671, 2.9671),
    (-0.0873, 3.8223),
    (-2.9671, 2.9671),
)
PANDA_WHITE: Rgba = (0.93, 0.94, 0.95, 1.0)
_DARK: Rgba = (0.27, 0.28, 0.3, 1.0)

_HALF = math.sqrt(0.5)
_FORTH: Quat = (_HALF, 0.0, 0.0, _HALF)  # A quarter turn about x,
_BACK: Quat = (-_HALF, 0.0, 0.0, _HALF)  # and back.
_ALONG_Y = _FORTH
_SHOULDER_M, _HAND_M, _TIP_M = 0.333, 0.107, 0.105
_ELBOW_M, _UPPER_M, _FORE_M, _WRIST_M = 0.0825, 0.316, 0.384, 0.088
_FINGER_M, _FINGER_N = 0.0584, 20.0


class _Segment(NamedTuple):
    """One link of the arm.

    Attributes:
        xyz: where its frame stands in its parent's [m].
        quat: how its frame is turned in its parent's.
        effort_nm: the greatest torque of its joint's motor.
        mass_kg: its mass.
        com: its centre of mass, in its frame [m].
        touch: the shape that collides.
    """

    xyz: Vec3
    quat: Quat
    effort_nm: float
    mass_kg: float
    com: Vec3
    touch: Shape


_ARM = (
    _Segment(
        xyz=(0.0, 0.0, _SHOULDER_M),
        quat=(0.0, 0.0, 0.0, 1.0),
        effort_nm=87.0,
        mass_kg=2.7,
        com=(0.0, -0.04, -0.05),
        touch=Shape("capsule", (0.055, 0.14), pose=Pose((0.0, -0.01, -0.07))),
    ),
    _Segment(
        xyz=(0.0, 0.0, 0.0),
        quat=_BACK,
        effort_nm=87.0,
        mass_kg=2.73,
        com=(0.0, -0.04, 0.06),
        touch=Shape("capsule", (0.055, 0.14), pose=Pose((0.0, -0.07, 0.0), _ALONG_Y)),
    ),
    _Segment(
        xyz=(0.0, -_UPPER_M, 0.0),
        quat=_FORTH,
        effort_nm=87.0,
        mass_kg=2.04,
        com=(0.01, 0.01, -0.05),
        touch=Shape("capsule", (0.06, 0.1), pose=Pose((0.04, 0.03, -0.04))),
    ),
    _Segment(
        xyz=(_ELBOW_M, 0.0, 0.0),
        quat=_FORTH,
        effort_nm=87.0,
        mass_kg=2.08,
        com=(-0.03, 0.03, 0.02),
        touch=Shape("capsule", (0.06, 0.1), pose=Pose((-0.04, 0.04, 0.03), _ALONG_Y)),
    ),
    _Segment(
        xyz=(-_ELBOW_M, _FORE_M, 0.0),
        quat=_BACK,
        effort_nm=12.0,
        mass_kg=3.0,
        com=(0.0, 0.04, -0.12),
        touch=Shape("capsule", (0.055, 0.22), pose=Pose((0.0, 0.04, -0.12))),
    ),
    _Segment(
        xyz=(0.0, 0.0, 0.0),
        quat=_FORTH,
        effort_nm=12.0,
        mass_kg=1.3,
        com=(0.04, 0.0, 0.0),
        touch=Shape("sphere", (0.07,), pose=Pose((0.04, 0.0, 0.0))),
    ),
    _Segment(
        xyz=(_WRIST_M, 0.0, 0.0),
        quat=_FORTH,
        effort_nm=12.0,
        mass_kg=0.2,
        com=(0.0, 0.0, 0.08),
        touch=Shape("sphere", (0.045,), pose=Pose((0.0, 0.0, 0.075))),
    ),
)


def panda(
    joints: Sequence[float],
    opening_m: float = 0.0,
    *,
    name: str = "panda",
    color: Rgba = PANDA_WHITE,
    friction: float = 1.0,
    payload_kg: float = 0.0,
    strength: float = 1.0,
    grip_n: tuple[float, float] = (_FINGER_N, _FINGER_N),
) -> Body:
    """Return the arm, standing at the origin and facing +x, with position motors at its joints.

    Its links: PANDA_JOINTS, `hand`, PANDA_FINGERS and `tip`; the fingers open along the hand's y.

    Args:
        joints: first positions of the seven joints [rad].
        opening_m: how far each finger is from the middle at first.
        name: of the body.
        color: of the arm and the hand.
        friction: Coulomb coefficient of all its surfaces.
        payload_kg: mass in the hand besides its own.
        strength: what part of the URDF's efforts the arm's motors have.
        grip_n: the greatest forces of the left and the right finger.
    """
    links: list[Link] = []
    for n, (link, segment) in enumerate(zip(PANDA_JOINTS, _ARM, strict=True)):
        motor = Motor("position", strength * segment.effort_nm)
        links.append(
            Link(
                link,
                joint=Joint("revolute", (0.0, 0.0, 1.0), PANDA_LIMITS[n], motor),
                shapes=(_look(link, color), _unseen(segment.touch)),
                mass_kg=segment.mass_kg,
                com=segment.com,
                pose=Pose(segment.xyz, segment.quat),
                parent=links[-1].name if links else "",
                position=joints[n],
            )
        )
    links += _hand(color, payload_kg, opening_m, grip_n)
    return Body(
        name,
        (_look("link0", color), _unseen(Shape("box", (0.1, 0.09, 0.07), pose=_BASE))),
        material=Material(friction=friction),
        links=tuple(links),
    )


def panda_joints(x: float, y: float, z: float, yaw_rad: float = 0.0) -> list[float]:
    """Return the joints with which `tip` is at (x, y, z) [m], the hand pointing down.

    The elbow is up and in the plane of the hand: joints 3 and 5 are 0. A place out of reach gives
    the nearest within it in that plane. `yaw_rad` turns the hand about z.
    """
    r = math.hypot(x, y) - _WRIST_M
    h = z + _TIP_M + _HAND_M - _SHOULDER_M
    far = math.hypot(r, h)
    upper, fore = _ARMS
    far = min(max(far, fore - upper + 1e-9), fore + upper - 1e-9)
    squares = upper * upper + far * far - fore * fore
    lean = math.atan2(r, h) - math.acos(squares / (2 * upper * far)) - math.atan2(*_BENT[0])
    squares = upper * upper + fore * fore - far * far
    bend = math.acos(squares / (2 * upper * fore)) - math.pi
    bend -= math.atan2(*_BENT[0]) + math.atan2(*_BENT[1])
    turn = math.atan2(y, x)
    wrist = math.pi / 4 + turn - yaw_rad
    found = (turn, lean, 0.0, bend, 0.0, lean - bend, wrist)
    return [
        low if q < low else high if q > high else q  # A third of what min(max()) takes.
        for q, (low, high) in zip(found, PANDA_LIMITS, strict=True)
    ]


def panda_moved(
    target: Sequence[float],
    by: Sequence[float],
    tip: Sequence[float],
    box: tuple[Vec3, Vec3],
) -> tuple[float, ...]:
    """Return a target of `tip` moved by so much [m], kept in a box and near where `tip` is.

    The hand shall not fly on when what held it back gives way.
    """
    moved: list[float] = []
    for t, b, a, low, high in zip(target, by, tip, *box, strict=False):
        goal, near, far = t + b, a - PANDA_LEASH_M, a + PANDA_LEASH_M
        goal = near if goal < near else far if goal > far else goal
        moved.append(low if goal < low else high if goal > high else goal)
    return tuple(moved)


_BASE = Pose((-0.04, 0.0, 0.07))
_ARMS = (math.hypot(_UPPER_M, _ELBOW_M), math.hypot(_FORE_M, _ELBOW_M))
_BENT = ((_ELBOW_M, _UPPER_M), (_ELBOW_M, _FORE_M))


def _hand(
    color: Rgba, payload_kg: float, opening_m: float, grip_n: tuple[float, float]
) -> list[Link]:
    """The hand, its fingers and the point between their tips."""
    turned = (0.0, 0.0, -math.sin(math.pi / 8), math.cos(math.pi / 8))
    palm = Shape("box", (0.032, 0.102, 0.046), pose=Pose((0.0, 0.0, 0.02)))
    links = [
        Link(
            "hand",
            shapes=(_look("hand", color), _unseen(palm)),
            mass_kg=0.81 + payload_kg,
            com=(0.0, 0.0, 0.04),
            pose=Pose((0.0, 0.0, _HAND_M), turned),
            parent=PANDA_JOINTS[-1],
        )
    ]
    for finger, side, force in zip(PANDA_FINGERS, (1.0, -1.0), grip_n, strict=True):
        pad = Shape("box", (0.0088, 0.0071, 0.0177), pose=Pose((0.0, side * 0.0071, 0.036)))
        look = _look("finger", _DARK)
        if side < 0:
            look = replace(look, pose=Pose(quat=(0.0, 0.0, 1.0, 0.0)))
        links.append(
            Link(
                finger,
                joint=Joint(
                    "prismatic",
                    axis=(0.0, side, 0.0),
                    limits=(0.0, PANDA_OPEN_M),
                    motor=Motor("position", force),
                ),
                shapes=(look, _unseen(pad)),
                mass_kg=0.1,
                com=(0.0, side * 0.01, 0.02),
                pose=Pose((0.0, 0.0, _FINGER_M)),
                parent="hand",
                position=opening_m,
            )
        )
    return [*links, Link("tip", pose=Pose((0.0, 0.0, _TIP_M)), parent="hand")]


def _unseen(shape: Shape) -> Shape:
    return replace(shape, visible=False)


@lru_cache(maxsize=256)
def _look(part: str, color: Rgba) -> Shape:
    """Return the mesh of a part, read once: a file's digest takes as long as building the arm."""
    path = f"franka_panda/meshes/collision/{part}.obj"
    return mesh(path, color=color, pose=ORIGIN, collides=False)
