"""Disturbances: applying them to an environment under way."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Protocol, cast

from sandbox import scene as sc
from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.renderer.camera import extrinsics
from sandbox.scenario import factors
from sandbox.scenario.disturbance import Add, Disturbance, Form, Kick, Paint, Place, Reshape
from sandbox.scenario.factors import Color, Factors, Values
from sandbox.world import World

_ANY = Color("white")


class Disturbed(Protocol):
    """An environment, as far as a disturbance needs it.

    Attributes:
        world: the simulation.
        values: of the factors.
        factors: what a scenario may vary.
        state_bodies: bodies whose states are logged.
    """

    world: World
    values: Values
    factors: ClassVar[Factors]
    state_bodies: ClassVar[tuple[str, ...]]

    def change(self, values: Values) -> None:
        """Continue with other values of the factors."""
        ...


def apply(it: Disturbance, env: Disturbed) -> None:
    """Apply a disturbance. Ignore one whose body is not in the scene, or was removed.

    Raises:
        InvalidInputError: it is not possible in this scene.
    """
    if it.body is None or env.world.has(it.body):
        _happen(it, env)


def check(them: Sequence[Disturbance], scene: sc.Scene, state_bodies: Sequence[str]) -> None:
    """Refuse a disturbance of a body that neither a scene holds nor a disturbance adds.

    Raises:
        UnknownNameError: a body is unknown.
    """
    added = [one.add.body for one in them if one.add is not None]
    known = dict.fromkeys([body.name for body in scene.bodies] + [*state_bodies, *added])
    for one in them:
        if one.body is not None and one.body not in known:
            raise UnknownNameError("body", one.body, known, "disturbances")


def seen_after(scene: sc.Scene, it: Disturbance) -> sc.Scene:
    """Return a scene as it looks after a body is painted or reshaped."""
    names = [body.name for body in scene.bodies if isinstance(body, sc.Body)]
    if it.paint is not None and it.paint.body in names:
        return _painted(scene, it.paint)
    if it.reshape is not None and it.reshape.body in names:
        new = _reshaped(scene, it.reshape)
        bodies = [new if body.name == new.name else body for body in scene.bodies]
        return replace(scene, bodies=tuple(bodies))
    return scene


def _happen(it: Disturbance, env: Disturbed) -> None:
    world = env.world
    if it.kick is not None:
        _kick(it.kick, world)
    elif it.change is not None:
        new = {n: factors.parse(env.factors[n], v, f"change.{n}") for n, v in it.change.items()}
        env.change(Values({**env.values, **new}))
    elif it.place is not None:
        _place(it.place, world)
    elif it.remove is not None:
        world.become(_stilled(world, it.remove))
        world.remove(it.remove)
    elif it.ghost is not None:
        world.ghost(it.ghost)
    elif it.add is not None:
        _add(it.add, env)
    elif it.paint is not None:
        world.become(_painted(world.scene, it.paint))
        world.painted.append(it.paint.body)
    elif it.reshape is not None:
        world.swap(_reshaped(world.scene, it.reshape), env.state_bodies)
    elif it.camera is not None:
        cameras = {name: view.camera(name, world.scene) for name, view in it.camera.items()}
        kept = [cameras.pop(camera.name, camera) for camera in world.scene.cameras]
        world.become(replace(world.scene, cameras=(*kept, *cameras.values())))


def carried_over(laid_out: sc.Scene, world: World) -> sc.Scene:
    """Return a new layout of a scene with the bodies that are in the world now."""
    new = {body.name: body for body in laid_out.bodies}
    bodies = [
        _following(new[now.name], now, world) if now.name in new else now
        for now in world.scene.bodies
    ]
    return replace(laid_out, bodies=tuple(bodies), cameras=world.scene.cameras)


def _following(
    new: sc.Body | sc.Robot, now: sc.Body | sc.Robot, world: World
) -> sc.Body | sc.Robot:
    """Return a body of the new layout; one that replaced another keeps its own shape."""
    if isinstance(new, sc.Robot) or isinstance(now, sc.Robot) or now == sc.Body(now.name):
        return now
    if now.name in world.painted:
        new = _in_color(new, _color(now))
    if now.name not in world.filled:
        return new
    return replace(
        now,
        mass_kg=new.mass_kg,
        material=new.material,
        shapes=_colored(now.shapes, _color(new)),
        linear_damping=new.linear_damping,
        angular_damping=new.angular_damping,
    )


def _kick(it: Kick, world: World) -> None:
    """Give a body an impulse, as a force during the next physics step."""
    mass = 1.0 if it.speed_m_s is None else _mass(_body(world.scene, it.body))
    given = _numbers(it.impulse_ns or it.speed_m_s or ())
    force = [n * mass * world.scene.engine.physics_hz for n in given]
    world.push(it.body, force, world.centre(it.body))


def _mass(body: sc.Body) -> float:
    return body.mass_kg + sum(link.mass_kg for link in body.links)


def _stilled(world: World, body: str) -> sc.Scene:
    """Return the scene with the cameras on a body fixed where they are now."""
    cameras: list[sc.Camera] = []
    for camera in world.scene.cameras:
        if camera.body == body:
            view = extrinsics(camera, world.poses()[world.frame(body, camera.link)])
            turn, eye = view[:3, :3].T, -view[:3, :3].T @ view[:3, 3]
            still = {"eye": eye, "target": eye + turn[:, 2], "up": -turn[:, 1]}
            places = {key: tuple(value.tolist()) for key, value in still.items()}
            camera = replace(camera, body="", link="", mounted=False, **places)
        cameras.append(camera)
    return replace(world.scene, cameras=tuple(cameras))


def _place(it: Place, world: World) -> None:
    world.place(it.body, _numbers(it.at))


def _add(it: Add, env: Disturbed) -> None:
    like = _body(env.world.scene, it.like)
    x, y, z = _numbers(it.at)
    env.world.add(
        replace(like, name=it.body, pose=sc.Pose((x, y, z), like.pose.quat)), env.state_bodies
    )


def _painted(scene: sc.Scene, it: Paint) -> sc.Scene:
    red, green, blue = cast(tuple[int, int, int], factors.parse(_ANY, it.color, "paint.color"))
    new = _in_color(_body(scene, it.body), (red / 255, green / 255, blue / 255, 1.0))
    bodies = [new if body.name == it.body else body for body in scene.bodies]
    return replace(scene, bodies=tuple(bodies))


def _reshaped(scene: sc.Scene, it: Reshape) -> sc.Body:
    old = _body(scene, it.body)
    volume = reshapable(old)
    if not volume:
        raise InvalidInputError(
            f"{it.body!r} is not one box, ball, cylinder or capsule; reshape a body that is."
        )
    kept = replace(old.shapes[0], kind=it.shape, size=_size(it.shape, volume), pose=sc.Pose())
    return replace(old, shapes=(kept,))


def reshapable(body: sc.Body | sc.Robot) -> float:
    """Return the volume of a body that can change its shape [m^3], or 0 if it cannot."""
    if isinstance(body, sc.Robot) or len(body.shapes) != 1 or body.links:
        return 0.0
    return _volume(body.shapes[0])


def _volume(shape: sc.Shape) -> float:
    """Return the volume of a simple shape [m^3], or 0 for any other."""
    match shape.kind:
        case "box":
            return 8.0 * math.prod(shape.size)
        case "sphere":
            return 4.0 / 3.0 * math.pi * shape.size[0] ** 3
        case "cylinder" | "capsule":
            radius, length = shape.size
            ends = 4.0 / 3.0 * radius if shape.kind == "capsule" else 0.0
            return math.pi * radius**2 * (length + ends)
        case _:
            return 0.0


def _size(form: Form, volume: float) -> tuple[float, ...]:
    """Return the size of a cube, a ball, or a cylinder as long as wide, of a volume [m^3]."""
    if form == "box":
        return (math.cbrt(volume) / 2,) * 3
    if form == "sphere":
        return (math.cbrt(volume * 3.0 / (4.0 * math.pi)),)
    radius = math.cbrt(volume / (2.0 * math.pi))
    return (radius, 2.0 * radius)


def _in_color(body: sc.Body, color: sc.Rgba) -> sc.Body:
    links = [replace(link, shapes=_colored(link.shapes, color)) for link in body.links]
    return replace(body, shapes=_colored(body.shapes, color), links=tuple(links))


def _color(body: sc.Body) -> sc.Rgba:
    every = [*body.shapes, *(shape for link in body.links for shape in link.shapes)]
    return every[0].color if every else sc.GREY


def _colored(shapes: Sequence[sc.Shape], color: sc.Rgba) -> tuple[sc.Shape, ...]:
    return tuple(replace(shape, color=color, texture=None) for shape in shapes)


def _body(scene: sc.Scene, name: str) -> sc.Body:
    known = {body.name: body for body in scene.bodies}
    if name not in known:
        raise UnknownNameError("body", name, known)
    found = known[name]
    if not isinstance(found, sc.Body):
        raise InvalidInputError(f"{name!r} is a robot; name a body.")
    return found


def _numbers(given: Sequence[object]) -> list[float]:
    return [float(cast(float, number)) for number in given]
