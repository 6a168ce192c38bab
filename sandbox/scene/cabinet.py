"""A cabinet with a drawer or a door, whose front can be bolted from inside."""

from sandbox.scene.bodies import Body, Joint, Link, Material, Motor
from sandbox.scene.parts import Y, Z, box, shade
from sandbox.scene.shapes import Pose, Rgba, Shape, Vec3

CABINET_BAR = 1  # Which of the front's shapes is the handle's bar.
CABINET_LEVER_M = 0.08  # Length of the latch's lever.
CABINET_BOLT_M = 0.06  # How far the latch's bolt goes up.
_LEVER_Z_M = 0.30  # Height of the lever's hinge.
_KEEPER = (0.13, 0.05, 0.125)  # Where the keeper is, with the front shut.
_HALF_WIDTH_M, _DEPTH_M, _HEIGHT_M = 0.22, 0.30, 0.36  # The front is at y = 0.
_PANEL_X_M, _PANEL_Z_M, _THICK_M = 0.16, (0.05, 0.20), 0.015  # Half width; lowest and highest.
_STEEL: Rgba = (0.25, 0.27, 0.3, 1.0)


def cabinet(
    name: str,
    handle: tuple[float, float, float],
    *,
    door: bool,
    mass_kg: float,
    damping: float,
    color: Rgba,
    panel_color: Rgba,
) -> Body:
    """Return a carcass open in front, and in it a drawer, or a door with its hinge at the left.

    Its one link is called `drawer` or `door`.

    Args:
        name: of the body.
        handle: x of the handle from the front's middle, its bar's gap to the front, and its z [m].
        door: whether it has a door.
        mass_kg: of the drawer or the door.
        damping: of the drawer's slide [N s/m]; the door's hinge has a tenth of that.
        color: of the carcass.
        panel_color: of the front.
    """
    bar = (handle[0], -_THICK_M - handle[1], handle[2])
    if door:
        hinge = Joint("revolute", (0.0, 0.0, -1.0), (0.0, 1.7), damping=damping / 10)
        shapes, com, at = _panel(panel_color, _PANEL_X_M, bar), (_PANEL_X_M, 0.0, 0.12), -_PANEL_X_M
        link = Link("door", hinge, shapes, mass_kg, com, Pose((at, 0.0, 0.0)))
    else:
        slide = Joint("prismatic", (0.0, -1.0, 0.0), (0.0, 0.22), damping=damping)
        shapes = (*_panel(panel_color, 0.0, bar), *_tray(shade(panel_color, 0.8)))
        link = Link("drawer", slide, shapes, mass_kg, (0.0, 0.1, 0.1))
    return Body(name, _carcass(color), links=(link,))


def cabinet_latch(
    name: str, x: float, angle_rad: float, *, shut: bool, friction_n_m: float, color: Rgba
) -> Body:
    """Return the lever on the front, and the bolt inside: in the way of the keeper, or up.

    The links are called `lever` and `bolt`; what the lever does to the bolt is up to the task.

    Args:
        name: of the body.
        x: of the lever's hinge [m].
        angle_rad: how far the lever is down.
        shut: whether the bolt is in the keeper's way.
        friction_n_m: of the lever.
        color: of the lever.
    """
    half, grey = CABINET_LEVER_M / 2, (0.5, 0.5, 0.55, 1.0)
    lever = box((half, 0.008, 0.01), (half, 0.0, 0.0), color)
    knob = Shape("sphere", (0.015,), color, collides=False)
    hinge = Joint("revolute", Y, (0.0, 1.3), Motor("velocity", friction_n_m), 0.02)
    bolt = box((0.012, 0.01, 0.015), (0.0, 0.0, 0.0), grey)
    slide = Joint("prismatic", Z, (0.0, CABINET_BOLT_M), Motor("position", 60.0))
    at, place = (x, -0.013, _LEVER_Z_M), (_KEEPER[0], _KEEPER[1] - 0.022, _KEEPER[2])
    up, com = 0.0 if shut else CABINET_BOLT_M, (half, 0.0, 0.0)
    links = (
        Link("lever", hinge, (lever, knob), 0.1, com, Pose(at), position=angle_rad),
        Link("bolt", slide, (bolt,), 0.2, pose=Pose(place), position=up),
    )
    return Body(name, material=Material(0.2), links=links)


def _panel(color: Rgba, x: float, bar: Vec3) -> tuple[Shape, ...]:
    """Return the front, its middle at `x` from its link's origin, its handle, and the keeper.

    The keeper is the block behind the front that a shut bolt holds. The x of bar and keeper are
    from the front's middle.
    """
    (low, high), half, keeper = _PANEL_Z_M, _THICK_M / 2, _KEEPER
    size = (_PANEL_X_M - 0.003, half, (high - low) / 2 - 0.003)
    hx, hy, hz = x + bar[0], bar[1], bar[2]
    long, (kx, ky, kz) = (-_THICK_M - hy) / 2, (x + keeper[0], keeper[1], keeper[2])
    return (
        box(size, (x, -half, (low + high) / 2), color),
        box((0.055, 0.007, 0.009), (hx, hy, hz), _STEEL),
        *(box((0.008, long, 0.008), (hx + s * 0.047, hy + long, hz), _STEEL) for s in (-1, 1)),
        box((0.012, 0.01, 0.015), (kx, ky, kz), _STEEL),
        box((0.004, ky / 2, 0.01), (kx + 0.009, ky / 2, kz), _STEEL, collides=False),
    )


def _carcass(color: Rgba) -> tuple[Shape, ...]:
    """Return bottom, lid, sides and back around the hole of the front."""
    (low, high), wall, deep = _PANEL_Z_M, (_HALF_WIDTH_M - _PANEL_X_M) / 2, _DEPTH_M / 2
    side, tall, middle = _PANEL_X_M + wall, (high - low) / 2, (low + high) / 2
    lid, back = (_HEIGHT_M - high) / 2, (0.0, _DEPTH_M - 0.005, middle)
    return (
        box((_HALF_WIDTH_M, deep, low / 2), (0.0, deep, low / 2), color),
        box((_HALF_WIDTH_M, deep, lid), (0.0, deep, _HEIGHT_M - lid), color),
        *(box((wall, deep, tall), (s * side, deep, middle), color) for s in (-1, 1)),
        box((_PANEL_X_M, 0.005, tall), back, (0.16, 0.13, 0.11, 1.0), collides=False),
    )


def _tray(color: Rgba) -> list[Shape]:
    """Return what a drawer is besides its front; only pictures see it."""
    wide, low = _PANEL_X_M - 0.012, _PANEL_Z_M[0]
    sides = [((0.005, 0.12, 0.045), (s * wide, 0.12, low + 0.055)) for s in (-1, 1)]
    bottom = ((wide, 0.12, 0.005), (0.0, 0.12, low + 0.01))
    return [box(half, at, color, collides=False) for half, at in (*sides, bottom)]
