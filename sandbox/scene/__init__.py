"""Scenes as frozen data, from which physics, pictures and documentation are built.

Lengths are in metres, masses in kilograms and angles in radians, unless a name says otherwise. The
world frame has z up. Quaternions are (x, y, z, w). Colours are red, green, blue and alpha in 0..1,
as displayed.
"""

from sandbox.scene.assets import asset
from sandbox.scene.bodies import (
    Body,
    Joint,
    JointKind,
    Link,
    Material,
    Motor,
    MotorKind,
    Robot,
    robot,
)
from sandbox.scene.panda import (
    PANDA_CAMERA,
    PANDA_FINGERS,
    PANDA_JOINTS,
    PANDA_LIMITS,
    PANDA_OPEN_M,
    panda,
    panda_joints,
    panda_moved,
    panda_room,
)
from sandbox.scene.parts import X, Y, Z, box, rim, shade, slab, sliding
from sandbox.scene.quadrotor import Airframe, quadrotor
from sandbox.scene.scene import Engine, Scene, movable
from sandbox.scene.shapes import (
    GREY,
    LYING,
    Pose,
    Quat,
    Rgba,
    Shape,
    ShapeKind,
    Texture,
    Vec3,
    euler,
    image,
    mesh,
    tilted,
    turned,
)
from sandbox.scene.view import Camera, Light, orbit, sun

__all__ = [
    "GREY",
    "LYING",
    "PANDA_CAMERA",
    "PANDA_FINGERS",
    "PANDA_JOINTS",
    "PANDA_LIMITS",
    "PANDA_OPEN_M",
    "Airframe",
    "Body",
    "Camera",
    "Engine",
    "Joint",
    "JointKind",
    "Light",
    "Link",
    "Material",
    "Motor",
    "MotorKind",
    "Pose",
    "Quat",
    "Rgba",
    "Robot",
    "Scene",
    "Shape",
    "ShapeKind",
    "Texture",
    "Vec3",
    "X",
    "Y",
    "Z",
    "asset",
    "box",
    "euler",
    "image",
    "mesh",
    "movable",
    "orbit",
    "panda",
    "panda_joints",
    "panda_moved",
    "panda_room",
    "quadrotor",
    "rim",
    "robot",
    "shade",
    "slab",
    "sliding",
    "sun",
    "tilted",
    "turned",
]
