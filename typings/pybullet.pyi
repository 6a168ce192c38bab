# The part of PyBullet that sandbox.world uses; PyBullet ships no types.
from collections.abc import Sequence
from typing import Any

DIRECT: int
GEOM_BOX: int
GEOM_SPHERE: int
GEOM_CYLINDER: int
GEOM_CAPSULE: int
GEOM_PLANE: int
GEOM_MESH: int
GEOM_HEIGHTFIELD: int
JOINT_FIXED: int
JOINT_REVOLUTE: int
JOINT_PRISMATIC: int
JOINT_SPHERICAL: int
POSITION_CONTROL: int
VELOCITY_CONTROL: int
TORQUE_CONTROL: int
WORLD_FRAME: int
LINK_FRAME: int
ER_TINY_RENDERER: int
ER_SEGMENTATION_MASK_OBJECT_AND_LINKINDEX: int
URDF_USE_INERTIA_FROM_FILE: int
URDF_USE_MATERIAL_COLORS_FROM_MTL: int

_Vec = tuple[float, ...]
_JointState = tuple[float, float, _Vec, float]
_LinkState = tuple[_Vec, ...]

class error(Exception): ...

def connect(method: int, options: str = ...) -> int: ...
def disconnect(physicsClientId: int = ...) -> None: ...
def isConnected(physicsClientId: int = ...) -> int: ...
def resetSimulation(physicsClientId: int = ...) -> None: ...
def setGravity(x: float, y: float, z: float, physicsClientId: int = ...) -> None: ...
def setPhysicsEngineParameter(**parameters: float) -> None: ...
def setAdditionalSearchPath(path: str, physicsClientId: int = ...) -> None: ...
def createCollisionShape(shapeType: int, **options: Any) -> int: ...
def createCollisionShapeArray(**options: Any) -> int: ...
def createVisualShape(shapeType: int, **options: Any) -> int: ...
def createMultiBody(**options: Any) -> int: ...
def loadURDF(fileName: str, **options: Any) -> int: ...
def changeDynamics(bodyUniqueId: int, linkIndex: int, **options: Any) -> None: ...
def getDynamicsInfo(
    bodyUniqueId: int, linkIndex: int, physicsClientId: int = ...
) -> tuple[Any, ...]: ...
def getNumJoints(bodyUniqueId: int, physicsClientId: int = ...) -> int: ...
def getJointInfo(
    bodyUniqueId: int, jointIndex: int, physicsClientId: int = ...
) -> tuple[Any, ...]: ...
def getVisualShapeData(
    objectUniqueId: int, flags: int = ..., physicsClientId: int = ...
) -> tuple[tuple[Any, ...], ...]: ...
def resetJointState(
    bodyUniqueId: int,
    jointIndex: int,
    targetValue: float,
    targetVelocity: float = ...,
    physicsClientId: int = ...,
) -> None: ...
def resetBasePositionAndOrientation(
    bodyUniqueId: int, posObj: Sequence[float], ornObj: Sequence[float], physicsClientId: int = ...
) -> None: ...
def resetBaseVelocity(
    objectUniqueId: int,
    linearVelocity: Sequence[float],
    angularVelocity: Sequence[float],
    physicsClientId: int = ...,
) -> None: ...
def getBasePositionAndOrientation(
    bodyUniqueId: int, physicsClientId: int = ...
) -> tuple[_Vec, _Vec]: ...
def getBaseVelocity(bodyUniqueId: int, physicsClientId: int = ...) -> tuple[_Vec, _Vec]: ...
def getJointStates(
    bodyUniqueId: int, jointIndices: Sequence[int], physicsClientId: int = ...
) -> tuple[_JointState, ...]: ...
def getLinkStates(
    bodyUniqueId: int,
    linkIndices: Sequence[int],
    computeLinkVelocity: int = ...,
    computeForwardKinematics: int = ...,
    physicsClientId: int = ...,
) -> tuple[_LinkState, ...]: ...
def setJointMotorControlArray(
    bodyUniqueId: int, jointIndices: Sequence[int], controlMode: int, **options: Any
) -> None: ...
def setJointMotorControlMultiDof(
    bodyUniqueId: int, jointIndex: int, controlMode: int, **options: Any
) -> None: ...
def applyExternalForce(
    objectUniqueId: int,
    linkIndex: int,
    forceObj: Sequence[float],
    posObj: Sequence[float],
    flags: int,
    physicsClientId: int = ...,
) -> None: ...
def setCollisionFilterPair(
    bodyUniqueIdA: int,
    bodyUniqueIdB: int,
    linkIndexA: int,
    linkIndexB: int,
    enableCollision: int,
    physicsClientId: int = ...,
) -> None: ...
def stepSimulation(physicsClientId: int = ...) -> None: ...
def removeBody(bodyUniqueId: int, physicsClientId: int = ...) -> None: ...
def getContactPoints(
    bodyA: int = ...,
    bodyB: int = ...,
    linkIndexA: int = ...,
    linkIndexB: int = ...,
    physicsClientId: int = ...,
) -> tuple[tuple[Any, ...], ...]: ...
def getLinkState(
    bodyUniqueId: int,
    linkIndex: int,
    computeLinkVelocity: int = ...,
    computeForwardKinematics: int = ...,
    physicsClientId: int = ...,
) -> _LinkState: ...
def calculateJacobian(
    bodyUniqueId: int,
    linkIndex: int,
    localPosition: Sequence[float],
    objPositions: Sequence[float],
    objVelocities: Sequence[float],
    objAccelerations: Sequence[float],
    physicsClientId: int = ...,
) -> tuple[tuple[_Vec, ...], tuple[_Vec, ...]]: ...
def multiplyTransforms(
    positionA: Sequence[float],
    orientationA: Sequence[float],
    positionB: Sequence[float],
    orientationB: Sequence[float],
) -> tuple[_Vec, _Vec]: ...
def invertTransform(
    position: Sequence[float], orientation: Sequence[float]
) -> tuple[_Vec, _Vec]: ...
def computeViewMatrix(
    cameraEyePosition: Sequence[float],
    cameraTargetPosition: Sequence[float],
    cameraUpVector: Sequence[float],
) -> tuple[float, ...]: ...
def computeProjectionMatrixFOV(
    fov: float, aspect: float, nearVal: float, farVal: float
) -> tuple[float, ...]: ...
def getCameraImage(width: int, height: int, **options: Any) -> tuple[int, int, Any, Any, Any]: ...
