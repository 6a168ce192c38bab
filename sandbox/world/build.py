"""A Scene put into a Bullet client: same scene, same calls, same order."""

import itertools
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sandbox import scene as sc
from sandbox.errors import InvalidInputError
from sandbox.renderer import mesh
from sandbox.scene import assets
from sandbox.world.bullet import pybullet, quiet

_GEOMETRY = {
    "box": pybullet.GEOM_BOX,
    "sphere": pybullet.GEOM_SPHERE,
    "cylinder": pybullet.GEOM_CYLINDER,
    "capsule": pybullet.GEOM_CAPSULE,
    "plane": pybullet.GEOM_PLANE,
    "mesh": pybullet.GEOM_MESH,
    "height_field": pybullet.GEOM_MESH,
}
_JOINT = {
    "fixed": pybullet.JOINT_FIXED,
    "revolute": pybullet.JOINT_REVOLUTE,
    "prismatic": pybullet.JOINT_PRISMATIC,
    "spherical": pybullet.JOINT_SPHERICAL,
}
PLANE_M = (30.0, 30.0, 0.5)  # Half the size of the box that a plane is drawn as.
MOST_SHAPES = 16  # Bullet's MAX_COMPOUND_COLLISION_SHAPES.
_NO_FRICTION_ANCHOR = 0
near_m = [float("nan")]  # The contact threshold that was set last, by whichever client.


def reset(client: int, engine: sc.Engine) -> int:
    """Empty the client, set every engine parameter, and return the id of a tiny visual shape.

    `resetSimulation` keeps some parameters and loses others (deterministicOverlappingPairs among
    them), so all are set again.
    """
    pybullet.resetSimulation(physicsClientId=client)
    pybullet.setGravity(*engine.gravity, physicsClientId=client)
    pybullet.setPhysicsEngineParameter(
        fixedTimeStep=1.0 / engine.physics_hz,
        numSolverIterations=engine.solver_iterations,
        numSubSteps=0,
        useSplitImpulse=int(engine.split_impulse),
        splitImpulsePenetrationThreshold=-0.02,
        collisionFilterMode=1,
        contactBreakingThreshold=engine.contact_breaking_threshold_m,
        enableFileCaching=0,
        restitutionVelocityThreshold=engine.restitution_velocity_threshold,
        erp=engine.erp,
        contactERP=engine.contact_erp,
        frictionERP=engine.friction_erp,
        enableConeFriction=int(engine.cone_friction),
        deterministicOverlappingPairs=1,
        allowedCcdPenetration=0.04,
        jointFeedbackMode=0,
        solverResidualThreshold=engine.solver_residual,
        contactSlop=engine.contact_slop,
        enableSAT=0,
        globalCFM=0.0,
        minimumSolverIslandSize=engine.island_size,
        warmStartingFactor=engine.warm_starting,
        physicsClientId=client,
    )
    near_m[0] = engine.contact_breaking_threshold_m
    return speck(client)


def keep_near(client: int, threshold_m: float) -> None:
    """Set the contact threshold again [m]: all clients of a process share what was set last."""
    pybullet.setPhysicsEngineParameter(contactBreakingThreshold=threshold_m, physicsClientId=client)
    near_m[0] = threshold_m


def speck(client: int) -> int:
    """Return the id of a tiny visual shape, which every body looks like to Bullet.

    Without one Bullet tessellates the collision shape: a sphere costs 0.3 ms more.
    """
    return pybullet.createVisualShape(
        pybullet.GEOM_BOX, halfExtents=(0.001, 0.001, 0.001), physicsClientId=client
    )


def copies(bodies: Sequence[sc.Body | sc.Robot]) -> Iterator[Sequence[sc.Body | sc.Robot]]:
    """Cut bodies into groups of neighbours that differ only in name, place and looks."""
    for _, alike in itertools.groupby(bodies, _substance):
        yield list(alike)


def _substance(it: sc.Body | sc.Robot) -> Hashable:
    """Return what copies have in common, or the name of a body that cannot be copied."""
    if isinstance(it, sc.Robot) or it.links:
        return it.name
    forms = tuple((s.kind, s.size, s.pose, s.path, s.heights) for s in it.shapes if s.collides)
    return forms, it.pose.quat, it.mass_kg, it.material, it.linear_damping, it.angular_damping


def bodies(client: int, them: Sequence[sc.Body], look: int, rigid: bool) -> list[int]:
    """Put copies of a body into the client, with visual shape `look`; return their ids.

    `rigid` is the engine's.

    Bullet makes copies without links in one call, eight times as fast (60 spheres: 0.6 instead of
    5 ms) and with the same bits.
    """
    if len(them) == 1:
        return [body(client, them[0], look, rigid)]
    first = them[0]
    ids: Sequence[int] = pybullet.createMultiBody(  # pyright: ignore[reportAssignmentType]
        baseMass=first.mass_kg,
        baseCollisionShapeIndex=_collision(client, first.shapes),
        baseVisualShapeIndex=look,
        baseOrientation=first.pose.quat,
        batchPositions=[one.pose.xyz for one in them],
        useMaximalCoordinates=int(rigid),
        physicsClientId=client,
    )
    for uid in ids:
        _dynamics(client, uid, -1, first)
        if rigid:
            _awake(client, uid)
    return list(ids)


def body(client: int, it: sc.Body, look: int, rigid: bool) -> int:
    """Put a body into the client, with visual shape `look`, and return its id.

    `rigid` is the engine's.
    """
    links, rigid = it.links, rigid and not it.links
    index = {"": 0} | {link.name: n + 1 for n, link in enumerate(links)}
    uid = pybullet.createMultiBody(
        baseMass=it.mass_kg,
        baseCollisionShapeIndex=_collision(client, it.shapes),
        baseVisualShapeIndex=look,
        basePosition=it.pose.xyz,
        baseOrientation=it.pose.quat,
        linkMasses=[link.mass_kg for link in links],
        linkCollisionShapeIndices=[_collision(client, link.shapes) for link in links],
        linkVisualShapeIndices=[look for _ in links],
        linkPositions=[link.pose.xyz for link in links],
        linkOrientations=[link.pose.quat for link in links],
        linkInertialFramePositions=[link.com for link in links],
        linkInertialFrameOrientations=[(0.0, 0.0, 0.0, 1.0) for _ in links],
        linkParentIndices=[index[link.parent] for link in links],
        linkJointTypes=[_JOINT[link.joint.kind] for link in links],
        linkJointAxis=[link.joint.axis for link in links],
        useMaximalCoordinates=int(rigid),
        physicsClientId=client,
    )
    if rigid:
        _awake(client, uid)
    for n in range(-1, len(links)):
        _dynamics(client, uid, n, it)
    for n, link in enumerate(links):
        _joint(client, uid, n, link)
    return uid


def dynamics(client: int, uid: int, it: sc.Body) -> None:
    """Set what may change of a body during an episode: surface, masses, damping."""
    for n in range(-1, len(it.links)):
        _dynamics(client, uid, n, it)
    if it.mass_kg > 0.0:
        pybullet.changeDynamics(uid, -1, mass=it.mass_kg, physicsClientId=client)
    for n, link in enumerate(it.links):
        options = {"mass": link.mass_kg, "jointDamping": link.joint.damping}
        pybullet.changeDynamics(uid, n, physicsClientId=client, **options)


def check_follows(old: sc.Scene, new: sc.Scene) -> None:
    """Refuse a scene that a simulation of another one cannot become.

    Raises:
        InvalidInputError: it differs in something that cannot change during an episode.
    """
    if len(new.bodies) != len(old.bodies):
        raise InvalidInputError("bodies cannot come and go so; add or remove one.")
    for one, other in zip(old.bodies, new.bodies, strict=True):
        check_alike(one, other)
    if replace(old.engine, gravity=new.engine.gravity) != new.engine:
        raise InvalidInputError("of the engine only gravity can change during an episode.")


def check_alike(old: sc.Body | sc.Robot, new: sc.Body | sc.Robot) -> None:
    """Refuse a change of a body that cannot be made during an episode.

    Raises:
        InvalidInputError: another shape, joint or pose, or another choice of being held in place.
    """
    if isinstance(old, sc.Robot) or isinstance(new, sc.Robot):
        alike = old == new
    else:
        alike = _unchanging(old) == _unchanging(new)
    if not alike:
        raise InvalidInputError(
            f"{new.name!r} would have another shape, joint or pose; that cannot change during an "
            "episode."
        )


def _unchanging(body: sc.Body) -> sc.Body:
    """Return a body without what may change during an episode."""
    links = [
        replace(
            link,
            mass_kg=1.0,
            shapes=_colourless(link.shapes),
            joint=replace(link.joint, damping=0.0, motor=None),
        )
        for link in body.links
    ]
    return replace(
        body,
        mass_kg=float(body.mass_kg > 0.0),
        material=sc.Material(),
        shapes=_colourless(body.shapes),
        links=tuple(links),
        linear_damping=0.0,
        angular_damping=0.0,
    )


def _colourless(shapes: tuple[sc.Shape, ...]) -> tuple[sc.Shape, ...]:
    return tuple(replace(shape, color=sc.GREY, texture=None) for shape in shapes)


def robot(client: int, it: sc.Robot) -> int:
    """Load a robot's URDF into the client and return its id; its motors start off."""
    path = sc.asset(it.urdf)
    for node in assets.parsed_urdf(path, assets.read(path)).iter("mesh"):
        if found := assets.named(node.get("filename", ""), path):
            mesh.check(found)
    try:
        with quiet():
            uid = pybullet.loadURDF(
                str(path),
                basePosition=it.pose.xyz,
                baseOrientation=it.pose.quat,
                useFixedBase=int(it.fixed),
                physicsClientId=client,
            )
    except pybullet.error as error:
        raise InvalidInputError(f"{path}: Bullet cannot load this URDF: {error}.") from error
    joints = movable_joints(client, uid)
    if len(it.positions) not in (0, len(joints)):
        raise InvalidInputError(
            f"robot {it.name!r}: {len(it.positions)} positions for {len(joints)} movable joints."
        )
    for joint, position in zip(joints, it.positions, strict=False):
        pybullet.resetJointState(uid, joint, position, 0.0, physicsClientId=client)
    _free(client, uid, joints)
    return uid


def movable_joints(client: int, uid: int) -> list[int]:
    """Return the indices of a body's revolute and prismatic joints."""
    kinds = (pybullet.JOINT_REVOLUTE, pybullet.JOINT_PRISMATIC)
    count = pybullet.getNumJoints(uid, physicsClientId=client)
    infos = [pybullet.getJointInfo(uid, n, physicsClientId=client) for n in range(count)]
    return [n for n, info in enumerate(infos) if info[2] in kinds]


def visual(client: int, shape: sc.Shape) -> int:
    """Make a visual shape and return its id; a plane is drawn as a large thin box about it."""
    kind, options = _GEOMETRY[shape.kind], _options(shape)
    if shape.kind == "plane":
        kind, options = pybullet.GEOM_BOX, {"halfExtents": PLANE_M}
    if "height" in options:
        options["length"] = options.pop("height")
    return pybullet.createVisualShape(
        kind, rgbaColor=shape.color, specularColor=(0, 0, 0), physicsClientId=client, **options
    )


def _options(shape: sc.Shape) -> dict[str, Any]:
    match shape.kind:
        case "box":
            return {"halfExtents": shape.size}
        case "sphere":
            return {"radius": shape.size[0]}
        case "cylinder" | "capsule":
            return {"radius": shape.size[0], "height": shape.size[1]}
        case "plane":
            return {}
        case "mesh":
            mesh.check(path := sc.asset(shape.path))
            return {"fileName": str(path), "meshScale": shape.size}
        case "height_field":
            surface = mesh.height_field(np.array(shape.heights), (shape.size[0], shape.size[1]))
            return {
                "vertices": surface.vertices.tolist(),
                "indices": surface.triangles.reshape(-1).tolist(),
            }


def _collision(client: int, shapes: Sequence[sc.Shape]) -> int:
    """Return the id of the collision shape made of `shapes`, -1 for none."""
    solid = [shape for shape in shapes if shape.collides]
    if not solid:
        return -1
    if len(solid) > MOST_SHAPES:
        raise InvalidInputError(
            f"{len(solid)} shapes that collide in one body or link: Bullet drops all after the "
            f"{MOST_SHAPES}th silently; put some into a link on a fixed joint."
        )
    try:
        with quiet():  # Bullet says what it cannot make.
            return _made(client, solid)
    except pybullet.error as error:
        names = ", ".join(shape.path or shape.kind for shape in solid)
        raise InvalidInputError(f"{names}: Bullet makes no shape of it: {error}") from None


def _made(client: int, solid: Sequence[sc.Shape]) -> int:
    """Return the id of the collision shape made of one or several shapes."""
    if len(solid) == 1:
        return pybullet.createCollisionShape(
            _GEOMETRY[solid[0].kind],
            collisionFramePosition=solid[0].pose.xyz,
            collisionFrameOrientation=solid[0].pose.quat,
            physicsClientId=client,
            **_options(solid[0]),
        )
    if any(shape.kind == "height_field" for shape in solid):
        raise InvalidInputError("a height field stands alone in its body or link (Bullet's rule).")
    options = [_options(shape) for shape in solid]
    return pybullet.createCollisionShapeArray(
        shapeTypes=[_GEOMETRY[shape.kind] for shape in solid],
        radii=[o.get("radius", 0.0) for o in options],
        lengths=[o.get("height", 0.0) for o in options],
        halfExtents=[o.get("halfExtents", (0.0, 0.0, 0.0)) for o in options],
        fileNames=[o.get("fileName", "") for o in options],
        meshScales=[o.get("meshScale", (1.0, 1.0, 1.0)) for o in options],
        collisionFramePositions=[shape.pose.xyz for shape in solid],
        collisionFrameOrientations=[shape.pose.quat for shape in solid],
        physicsClientId=client,
    )


def _dynamics(client: int, uid: int, link: int, it: sc.Body) -> None:
    pybullet.changeDynamics(
        uid,
        link,
        lateralFriction=it.material.friction,
        rollingFriction=it.material.rolling_friction,
        spinningFriction=it.material.spinning_friction,
        restitution=it.material.restitution,
        linearDamping=it.linear_damping,
        angularDamping=it.angular_damping,
        frictionAnchor=_NO_FRICTION_ANCHOR,
        physicsClientId=client,
    )


def _awake(client: int, uid: int) -> None:
    """Never let a rigid body sleep: one that is slower than 0.22 m/s would stop after 2 s."""
    state = pybullet.ACTIVATION_STATE_DISABLE_SLEEPING
    pybullet.changeDynamics(uid, -1, activationState=state, physicsClientId=client)


def _joint(client: int, uid: int, n: int, link: sc.Link) -> None:
    """Set a joint's damping, limits and first position, and silence Bullet's default motor."""
    joint = link.joint
    if joint.kind == "fixed":
        return
    options: dict[str, float] = {"jointDamping": joint.damping}
    if joint.limits is not None:
        options |= {"jointLowerLimit": joint.limits[0], "jointUpperLimit": joint.limits[1]}
    pybullet.changeDynamics(uid, n, physicsClientId=client, **options)
    if joint.kind == "spherical":
        pybullet.setJointMotorControlMultiDof(
            uid,
            n,
            pybullet.POSITION_CONTROL,
            targetPosition=(0, 0, 0, 1),
            positionGain=0,
            velocityGain=0,
            force=(0, 0, 0),
            physicsClientId=client,
        )
        return
    pybullet.resetJointState(uid, n, link.position, 0.0, physicsClientId=client)
    _free(client, uid, [n])


def _free(client: int, uid: int, joints: Sequence[int]) -> None:
    if joints:
        pybullet.setJointMotorControlArray(
            uid,
            joints,
            pybullet.VELOCITY_CONTROL,
            forces=[0.0] * len(joints),
            physicsClientId=client,
        )
