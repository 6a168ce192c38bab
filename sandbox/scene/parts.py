"""Parts that many scenes are put together from: boxes, slabs, rims, and bodies that slide."""

from collections.abc import Sequence

from sandbox.scene.bodies import Body, Joint, Link, Material, Motor
from sandbox.scene.shapes import GREY, Pose, Rgba, Shape, Texture, Vec3

X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)  # Axes.
_AXES = {"x": X, "y": Y, "z": Z}


def shade(color: Rgba, red: float, green: float | None = None, blue: float | None = None) -> Rgba:
    """Return an opaque colour with each part multiplied; `red` multiplies all three if alone."""
    green, blue = red if green is None else green, red if blue is None else blue
    return (color[0] * red, color[1] * green, color[2] * blue, 1.0)


def box(
    half: Vec3, at: Vec3, color: Rgba = GREY, *, collides: bool = True, visible: bool = True
) -> Shape:
    """Return an upright box of some half extents, its middle at a place [m]."""
    return Shape("box", half, color, Pose(at), collides, visible)


def slab(
    name: str,
    half: Vec3,
    color: Rgba,
    material: Material | None = None,
    *,
    at: tuple[float, float] = (0.0, 0.0),
    texture: Texture | None = None,
) -> Body:
    """Return a body held in place: a box of some half extents whose top is at z = 0."""
    top = Shape("box", half, color, Pose((*at, -half[2])), texture=texture)
    return Body(name, (top,), material=material or Material())


def rim(
    at: tuple[float, float],
    half_m: float,
    long: tuple[float, float],
    high_m: float,
    color: Rgba = GREY,
    *,
    middle_m: float | None = None,
    signs: tuple[int, int] = (-1, 1),
    collides: bool = True,
    visible: bool = True,
) -> list[Shape]:
    """Return four boxes that stand around a rectangle.

    Args:
        at: |x| of the middle of two of them, and |y| of the middle of the other two [m].
        half_m: half their thickness.
        long: half the length of those at x, and of those at y.
        high_m: half their height.
        color: of all.
        middle_m: height of their middle; None lets them stand on z = 0.
        signs: which side of an axis comes first: the scene's digest depends on the order.
        collides: as a Shape has it.
        visible: as a Shape has it.
    """
    sides = [
        *((sign * at[0], 0.0, half_m, long[0]) for sign in signs),
        *((0.0, sign * at[1], long[1], half_m) for sign in signs),
    ]
    z = high_m if middle_m is None else middle_m
    return [
        box((w, h, high_m), (x, y, z), color, collides=collides, visible=visible)
        for x, y, w, h in sides
    ]


def railed_table(
    half_m: float,
    rail_m: float,
    high_m: float,
    color: Rgba,
    *,
    fence_m: float = 0.0,
    signs: tuple[int, int] = (-1, 1),
) -> Body:
    """Return a body `table`: a square top at z = 0 with rails of darker wood.

    Args:
        half_m: half the length of each side.
        rail_m: thickness of the rails.
        high_m: height of the rails.
        color: of the top.
        fence_m: height of the rails as other bodies feel them; 0 means as high as they look.
        signs: as `rim` has it.
    """
    wood, edge = shade(color, 0.55, 0.45, 0.35), half_m - rail_m / 2
    at, half, sides = (edge, edge), rail_m / 2, (half_m, half_m - rail_m)
    shapes = [box((half_m, half_m, 0.02), (0.0, 0.0, -0.02), color)]
    shapes += rim(at, half, sides, high_m / 2, wood, signs=signs, collides=not fence_m)
    if fence_m:
        shapes += rim(at, half, sides, fence_m / 2, wood, signs=signs, visible=False)
    return Body("table", tuple(shapes), material=Material(1.0))


def sliding(
    name: str,
    shapes: tuple[Shape, ...],
    at: Sequence[float],
    limits: Sequence[tuple[float, float]],
    force_n: float,
    masses_kg: Sequence[float] = (0.2, 0.2, 0.2),
    damping: float = 0.0,
    *,
    high_m: float = 0.0,
    friction: float = 0.5,
) -> Body:
    """Return a body that velocity motors slide along x, y and perhaps z: a round finger, say.

    Args:
        name: of the body. Its links are called `x`, `y` and `z`.
        shapes: what hangs on the last link.
        at: the first position of each joint [m]; there are as many joints.
        limits: lowest and highest position of each joint.
        force_n: greatest force of each motor.
        masses_kg: of each link.
        damping: of each joint [N s/m].
        high_m: height of the last link's middle.
        friction: Coulomb coefficient of the shapes.
    """
    links: list[Link] = []
    for n, (axis, position) in enumerate(zip(_AXES, at, strict=False)):
        motor = Motor("velocity", force_n)
        joint = Joint("prismatic", _AXES[axis], limits[n], motor, damping)
        hung = shapes if n == len(at) - 1 else ()
        parent = links[-1].name if links else ""
        links.append(Link(axis, joint, hung, masses_kg[n], parent=parent, position=position))
    base, surface = Pose((0.0, 0.0, high_m)), Material(friction)
    return Body(name, pose=base, material=surface, links=tuple(links))


def rail(half_m: float, high_m: float) -> Body:
    """Return a rail along x on two posts at its ends; nothing touches it [m]."""
    grey, high = (0.45, 0.47, 0.5, 1.0), high_m / 2
    bar = Shape("box", (half_m, 0.025, 0.025), grey, collides=False)
    posts = [
        box((0.04, 0.04, high), (side * half_m, 0.0, -high), grey, collides=False)
        for side in (-1, 1)
    ]
    return Body("rail", (bar, *posts), pose=Pose((0.0, 0.0, high_m)))
