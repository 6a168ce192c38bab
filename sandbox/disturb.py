"""A disturbance put into a world under way."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Protocol, cast

from sandbox import factors
from sandbox import scene as sc
from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.factors import Color, Factors, Values
from sandbox.render.camera import extrinsics
from sandbox.scenario.disturbance import Add, Disturbance, Kick, Paint, Place
from sandbox.world import World

_COLOR = Color("white")


class Disturbed(Protocol):
    """What a disturbance happens to.

    Attributes:
        world: under way.
        values: of the factors, and
        factors: what these are.
        state_bodies: whose states are logged.
    """

    world: World
    values: Values
    factors: ClassVar[Factors]
    state_bodies: ClassVar[tuple[str, ...]]

    def change(self, values: Values) -> None:
        """Go on with other values of the factors."""
        ...


def apply(it: Disturbance, env: Disturbed) -> None:
    """Let a disturbance happen now.

    Raises:
        UnknownNameError: it names a body that is not there.
        InvalidInputError: it cannot happen to this scene.
    """
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
    elif it.camera is not None:
        cameras = {name: view.camera(name, world.scene) for name, view in it.camera.items()}
        kept = [cameras.pop(camera.name, camera) for camera in world.scene.cameras]
        world.become(replace(world.scene, cameras=(*kept, *cameras.values())))


def carried_over(laid_out: sc.Scene, now: sc.Scene) -> sc.Scene:
    """Return a scene laid out anew with what is there now: no more bodies, and no fewer."""
    new = {body.name: body for body in laid_out.bodies}
    bodies = [new[b.name] if b.name in new and b != sc.Body(b.name) else b for b in now.bodies]
    return replace(laid_out, bodies=tuple(bodies), cameras=now.cameras)


def _kick(it: Kick, world: World) -> None:
    """Give a body an impulse: a force during the next physics step."""
    mass = 1.0 if it.speed_m_s is None else _mass(_body(world.scene, it.body))
    given = _numbers(it.impulse_ns or it.speed_m_s or ())
    force = [n * mass * world.scene.engine.physics_hz for n in given]
    world.push(it.body, force, world.centre(it.body))


def _mass(body: sc.Body) -> float:
    return body.mass_kg + sum(link.mass_kg for link in body.links)


def _stilled(world: World, body: str) -> sc.Scene:
    """Return the scene with the cameras that go with a body left where they are now."""
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
    red, green, blue = cast(tuple[int, int, int], factors.parse(_COLOR, it.color, "paint.color"))
    color = (red / 255, green / 255, blue / 255, 1.0)
    painted = _body(scene, it.body)
    links = [replace(link, shapes=_colored(link.shapes, color)) for link in painted.links]
    new = replace(painted, shapes=_colored(painted.shapes, color), links=tuple(links))
    bodies = [new if body.name == it.body else body for body in scene.bodies]
    return replace(scene, bodies=tuple(bodies))


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
