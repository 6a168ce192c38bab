"""The Franka Panda arm as a body, with closed-form inverse kinematics for a hand pointing down.

Frames, axes, limits, efforts, masses and centres of mass are those of franka_panda/panda.urdf in
pybullet_data (Apache-2.0). Pictures show that file's collision meshes, 200 to 1300 triangles each.
Boxes, spheres and capsules collide, so that building the arm takes 1 ms; loading the URDF takes
100 ms. The URDF's link8 is part of `hand`; `tip`, between the fingertips, is its grasptarget.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from sandbox.errors import InvalidInputError
from sandbox.scene.bodies import Body, Joint, Link, Material, Motor
from sandbox.scene.parts import box, shade
from sandbox.scene.shapes import ORIGIN, Pose, Quat, Rgba, Shape, Vec3, mesh
from sandbox.scene.view import Camera

PANDA_JOINTS = tuple(f"link{n}" for n in range(1, 8))
PANDA_FINGERS = ("left_finger", "right_finger")
PANDA_LEVELLED = ("link3", "link5")  # Their joints stay at 0 where the hand points down.
PANDA_OPEN_M = 0.04  # How far each finger opens.
PANDA_LEASH_M = 0.05  # The largest distance from tip to target along each axis.
PANDA_LIMITS = (  # Lowest and highest position of each joint [rad].
    (-2.9671, 2.9671),
    (-1.8326, 1.8326),
    (-2.9671, 2.9671),
    (-3.1416, 0.0),
    (-2.9671, 2.9671),
    (-0.0873, 3.8223),
    (-2.9671, 2.9671),
)
PANDA_TABLE_M = 0.45  # The table's top above the floor.
PANDA_CAMERA = Camera(  # On the hand, looking past the fingertips.
    "hand",
    eye=(0.1, 0.0, 0.0),
    target=(0.03, 0.0, 0.2),
    up=(1.0, 0.0, 0.0),
    fov_deg=75.0,
    near_m=0.01,
    body="panda",
    link="hand",
    mounted=True,
)
PANDA_WHITE: Rgba = (0.93, 0.94, 0.95, 1.0)
_DARK: Rgba = (0.27, 0.28, 0.3, 1.0)

_HALF = math.sqrt(0.5)
_FORTH: Quat = (_HALF, 0.0, 0.0, _HALF)  # A quarter turn about x.
_BACK: Quat = (-_HALF, 0.0, 0.0, _HALF)  # The opposite quarter turn.
_ALONG_Y = _FORTH
_SHOULDER_M, _HAND_M, _TIP_M = 0.333, 0.107, 0.105
_ELBOW_M, _UPPER_M, _FORE_M, _WRIST_M = 0.0825, 0.316, 0.384, 0.088
_FINGER_M, _FINGER_N = 0.0584, 20.0


class _Segment(NamedTuple):
    """One link of the arm.

    Attributes:
        xyz: the origin of the link's frame in its parent's frame [m].
        quat: the orientation of the link's frame in its parent's frame.
        effort_nm: the largest torque of the joint's motor.
        mass_kg: the link's mass.
        com: the centre of mass in the link's frame [m].
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
    locked: Sequence[str] = (),
) -> Body:
    """Return the arm at the origin, facing +x, with position motors at its joints.

    The links are PANDA_JOINTS, `hand`, PANDA_FINGERS and `tip`. The fingers open along the hand's
    y axis.

    Args:
        joints: initial positions of the seven joints [rad].
        opening_m: initial distance of each finger from the middle.
        name: the name of the body.
        color: the colour of arm and hand.
        friction: Coulomb coefficient of all surfaces.
        payload_kg: mass added to the hand.
        strength: the arm's largest torques, as a fraction of the URDF's efforts.
        grip_n: the largest force of the left and of the right finger.
        locked: links of PANDA_LEVELLED whose joints are fixed at 0, and have no motor. The axes of
            joints 1 and 3 are nearly parallel: while both have motors, the solver takes four times
            as many iterations.

    Raises:
        InvalidInputError: a locked joint would not be at 0.
    """
    links = _arm(joints, color, strength, locked)
    links += _hand(color, payload_kg, opening_m, grip_n)
    return Body(
        name,
        (_look("link0", color), _unseen(Shape("box", (0.1, 0.09, 0.07), pose=_BASE))),
        material=Material(friction=friction),
        links=tuple(links),
    )


def panda_joints(x: float, y: float, z: float, yaw_rad: float = 0.0) -> list[float]:
    """Return joint positions [rad] that put `tip` at (x, y, z) [m] with the hand pointing down.

    The elbow is up and in the hand's vertical plane: joints 3 and 5 are 0. If the point is out of
    reach, the tip goes to the nearest reachable point in that plane. `yaw_rad` turns the hand
    about z.
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
        low if q < low else high if q > high else q  # A third of the time of min(max()).
        for q, (low, high) in zip(found, PANDA_LIMITS, strict=True)
    ]


def panda_moved(
    target: Sequence[float],
    by: Sequence[float],
    tip: Sequence[float],
    box: tuple[Vec3, Vec3],
) -> tuple[float, ...]:
    """Return a target of `tip` moved by `by` [m], within a box and near the tip.

    A target far from a blocked hand would make the hand shoot forward once it is free.

    Args:
        target: the target so far, world frame [m].
        by: the displacement [m].
        tip: where the tip is, world frame [m].
        box: the lowest and the highest corner of the allowed region [m].
    """
    moved: list[float] = []
    for t, b, a, low, high in zip(target, by, tip, *box, strict=False):
        goal, near, far = t + b, a - PANDA_LEASH_M, a + PANDA_LEASH_M
        goal = near if goal < near else far if goal > far else goal
        moved.append(low if goal < low else high if goal > high else goal)
    return tuple(moved)


def panda_room(color: Rgba, friction: float) -> tuple[Body, Body]:
    """Return a floor, and a table on which the arm stands and whose top is at z = 0."""
    top = box((0.5, 0.48, 0.02), (0.3, 0.0, -0.02), color)
    foot = box((0.4, 0.38, (PANDA_TABLE_M - 0.04) / 2), (0.3, 0.0, -0.245), shade(color, 0.6))
    floor = Shape("plane", color=(0.62, 0.65, 0.66, 1.0))
    return (
        Body("floor", (floor,), pose=Pose((0.0, 0.0, -PANDA_TABLE_M))),
        Body("table", (top, foot), material=Material(friction=friction)),
    )


_BASE = Pose((-0.04, 0.0, 0.07))
_ARMS = (math.hypot(_UPPER_M, _ELBOW_M), math.hypot(_FORE_M, _ELBOW_M))
_BENT = ((_ELBOW_M, _UPPER_M), (_ELBOW_M, _FORE_M))


def _hand(
    color: Rgba, payload_kg: float, opening_m: float, grip_n: tuple[float, float]
) -> list[Link]:
    """Return the hand, its fingers and the tip between them, as links."""
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


def _arm(
    joints: Sequence[float], color: Rgba, strength: float, locked: Sequence[str]
) -> list[Link]:
    """Return the links of the arm without its hand."""
    links: list[Link] = []
    for n, (link, segment) in enumerate(zip(PANDA_JOINTS, _ARM, strict=True)):
        motor = Motor("position", strength * segment.effort_nm)
        turning = Joint("revolute", (0.0, 0.0, 1.0), PANDA_LIMITS[n], motor)
        links.append(
            Link(
                link,
                joint=_locked(link, joints[n]) if link in locked else turning,
                shapes=(_look(link, color), _unseen(segment.touch)),
                mass_kg=segment.mass_kg,
                com=segment.com,
                pose=Pose(segment.xyz, segment.quat),
                parent=links[-1].name if links else "",
                position=joints[n],
            )
        )
    return links


def _locked(link: str, position: float) -> Joint:
    """Return the joint of a link that cannot move; InvalidInputError if it is not at 0."""
    if position != 0.0:
        raise InvalidInputError(f"the joint of {link!r} is locked at 0, not at {position!r} rad.")
    return Joint()


def _unseen(shape: Shape) -> Shape:
    """Return a shape that collides and is not drawn."""
    return replace(shape, visible=False)


@lru_cache(maxsize=256)
def _look(part: str, color: Rgba) -> Shape:
    """Return the mesh of a part; cached, as its digest takes as long as building the arm."""
    path = f"franka_panda/meshes/collision/{part}.obj"
    return mesh(path, color=color, pose=ORIGIN, collides=False)
