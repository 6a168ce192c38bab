"""Compiled: what is seen where, to colours, depths and bodies."""

from typing import Any

import numpy as np

from sandbox.render.arrays import (
    AMBIENT,
    BIAS,
    BODY,
    CHECKER,
    DIFFUSE,
    F32,
    F64,
    FAR,
    FOCAL,
    FRAME,
    I32,
    I64,
    KIND,
    LIGHT_TEXELS,
    MESH,
    MIDDLE,
    NEAR,
    PLAIN,
    PLANE,
    SPHERE,
    TEXTURE,
    TILE,
    TONE,
    U8,
    Canvas,
    Layer,
    Output,
    Solids,
    View,
)
from sandbox.render.fill import draw, product, widen
from sandbox.render.jit import compiled, inlined

DRAWN, STALE, NOT_FINITE = range(3)
SAMPLES = 4  # In width and height of a pixel, of the shadows of what stands still.
NOWHERE = -1e30  # In the light's view: no shadow falls there.


@compiled
def background(
    solids: Solids,
    movers: I32,
    glass: I32,
    places: I64,
    seen: F64,
    view: View,
    light: View,
    canvas: Canvas,
    still: Canvas,
    cast: Canvas,
    layer: Layer,
    poses: F64,
    chosen: I32,
    sky: F64,
) -> None:
    """Draw the layer of what does not move: sky, planes and the chosen parts."""
    set_all(canvas.nearest, 1.0 / view.lens[FAR])
    set_all(still.nearest, -np.inf)
    finer = len(still.nearest) // len(cast.nearest)
    scale(light.matrix, float(finer))
    draw(solids, chosen, poses, light, still)
    scale(light.matrix, 1.0 / finer)  # A power of 2: what it was.
    draw(solids, chosen, poses, view, canvas)
    for n in range(len(chosen)):
        if solids.parts[chosen[n], KIND] == PLANE:
            plane(chosen[n], solids, view, canvas)
    heavens(layer, view, sky)
    copy(canvas.nearest, layer.nearest)
    output = Output(layer.lit, layer.depth, layer.segments, layer.links)
    paint(chosen, solids, view, canvas, still, cast, layer, output, True)
    survey(layer)


@inlined
def scale(matrix: F64, by: float) -> None:
    """Make texels of the light's view smaller by a factor."""
    for r in range(2):
        for c in range(4):
            matrix[r, c] *= by


@compiled
def frame(
    solids: Solids,
    movers: I32,
    glass: I32,
    places: I64,
    seen: F64,
    view: View,
    light: View,
    canvas: Canvas,
    still: Canvas,
    cast: Canvas,
    layer: Layer,
    poses: F64,
    output: Output,
) -> int:
    """Draw what moves over the layer of what does not, and its shadows; then what is translucent.

    Returns DRAWN, NOT_FINITE, or STALE where the frames `places` are not as in `seen` (k + 1, 7).
    From one picture to the next `canvas.nearest` is the layer's outside the boxes of what moves.
    """
    state = judge(poses, places, seen)
    if state != DRAWN:
        return state
    restore(movers, canvas, layer)
    restore(glass, canvas, layer)
    if output.depth.size > 0:
        copy(layer.depth, output.depth)
    if output.segments.size > 0:
        copy(layer.segments, output.segments)
    if output.links.size > 0:
        copy(layer.links, output.links)
    if output.pixels.size > 0:
        copy(layer.lit, output.pixels)
        if len(cast.nearest) > 1:
            empty(movers, cast)
            draw(solids, movers, poses, light, cast)
            dim(movers, layer, cast, output.pixels)
    draw(solids, movers, poses, view, canvas)
    paint(movers, solids, view, canvas, still, cast, layer, output, False)
    for n in range(len(glass)):
        one = glass[n : n + 1]
        draw(solids, one, poses, view, canvas)
        paint(one, solids, view, canvas, still, cast, layer, output, False)
    return DRAWN


@inlined
def judge(poses: F64, places: I64, seen: F64) -> int:
    """Return NOT_FINITE, STALE or, if neither, DRAWN."""
    total = 0.0
    for n in range(len(poses)):
        for k in range(7):
            total += 0.0 * poses[n, k]
    if total != 0.0:
        return NOT_FINITE
    if seen[len(places), 0] != 0.0:  # Nothing has been drawn yet.
        return STALE
    for n in range(len(places)):
        for k in range(7):
            if poses[places[n], k] != seen[n, k]:
                return STALE
    return DRAWN


@inlined
def set_all(target: F32, value: float) -> None:
    """Set all elements of an array."""
    for n in range(target.size):
        target.flat[n] = value


@inlined
def restore(parts: I32, canvas: Canvas, layer: Layer) -> None:
    """Make `canvas.nearest` the layer's again where parts were drawn."""
    for n in range(len(parts)):
        box = canvas.boxes[parts[n]]
        for y in range(box[1], box[3]):
            for x in range(box[0], box[2]):
                canvas.nearest[y, x] = layer.nearest[y, x]


@inlined
def empty(parts: I32, cast: Canvas) -> None:
    """Forget where parts were drawn in a light's view."""
    for n in range(len(parts)):
        box = cast.boxes[parts[n]]
        for y in range(box[1], box[3]):
            for x in range(box[0], box[2]):
                cast.nearest[y, x] = -np.inf


@compiled
def paint(
    parts: I32,
    solids: Solids,
    view: View,
    canvas: Canvas,
    still: Canvas,
    cast: Canvas,
    layer: Layer,
    output: Output,
    static: bool,
) -> None:
    """Turn what is seen in the boxes of parts into colour, depth and body; forget it."""
    which, count = canvas.which, len(solids.owners)
    for n in range(len(parts)):
        box = canvas.boxes[parts[n]]
        for y in range(box[1], box[3]):
            for x in range(box[0], box[2]):
                seen = which[y, x]
                if seen < 0:
                    continue
                which[y, x] = -1
                part: Any = solids.owners[seen] if seen < count else seen - count
                z = 1.0 / canvas.nearest[y, x]
                if solids.colors[part, 3] >= 1.0:
                    if output.depth.size > 0:
                        output.depth[y, x] = np.float32(z)
                    if output.segments.size > 0:
                        output.segments[y, x] = solids.parts[part, BODY]
                    if output.links.size > 0:
                        output.links[y, x] = solids.parts[part, FRAME] + 1
                if not output.pixels.size > 0:
                    continue
                color(seen, part, y, x, z, solids, view, canvas, still, cast, layer, output, static)


@inlined
def copy(source: Any, target: Any) -> None:
    """Copy an array into another; numba's own way takes a copy of the source first."""
    for n in range(source.size):
        target.flat[n] = source.flat[n]


@inlined
def color(
    seen: int,
    part: int,
    y: int,
    x: int,
    z: float,
    solids: Solids,
    view: View,
    canvas: Canvas,
    still: Canvas,
    cast: Canvas,
    layer: Layer,
    output: Output,
    static: bool,
) -> None:
    """Write a pixel's colour: ambient + Lambert's law, less what is in the shadow."""
    sun, m, focal, middle = view.sun, view.shadow, view.lens[FOCAL], view.lens[MIDDLE]
    px, py = (x + 0.5 - middle) / focal * z, (y + 0.5 - middle) / focal * z
    shade = facing(seen, part, y, x, px, py, z, solids, view, canvas)
    light = 1.0
    if len(still.nearest) > 1:
        u = m[0, 0] * px + m[0, 1] * py + m[0, 2] * z + m[0, 3]
        v = m[1, 0] * px + m[1, 1] * py + m[1, 2] * z + m[1, 3]
        height = m[2, 0] * px + m[2, 1] * py + m[2, 2] * z + m[2, 3]
        steep = min(4.0, np.sqrt(max(0.0, 1.0 - shade * shade)) / (shade + 1e-3))
        height += sun[BIAS] * (0.1 + steep)
        if shade > 0.0:
            light -= standing(u, v, height, still.nearest, len(cast.nearest), static)
            if not static and light > 0.0:
                light *= 1.0 - shadow(u, v, height, cast.nearest)
        if static:
            layer.places[y, x, 0], layer.places[y, x, 1] = u, v
            layer.places[y, x, 2] = height
    red, green, blue = surface(seen, part, px, py, z, solids, canvas)
    alpha = solids.colors[part, 3]
    for k, part_of_it in enumerate((red, green, blue)):
        value = part_of_it * (sun[AMBIENT] + sun[DIFFUSE] * sun[TONE + k] * shade * light)
        if alpha < 1.0:
            value = alpha * value + (1.0 - alpha) * output.pixels[y, x, k] / 255.0
        output.pixels[y, x, k] = byte(value)
        if static:
            layer.dark[y, x, k] = byte(part_of_it * sun[AMBIENT])


@inlined
def facing(
    seen: int,
    part: int,
    y: int,
    x: int,
    px: float,
    py: float,
    z: float,
    solids: Solids,
    view: View,
    canvas: Canvas,
) -> float:
    """Return the cosine between a surface's normal and the light, 0 where it is turned away."""
    m, b, sun = canvas.frames[part], solids.bounds[part], view.sun
    kind = solids.parts[part, KIND]
    if kind == SPHERE:
        cx = m[0, 0] * b[0] + m[0, 1] * b[1] + m[0, 2] * b[2] + m[0, 3]
        cy = m[1, 0] * b[0] + m[1, 1] * b[1] + m[1, 2] * b[2] + m[1, 3]
        cz = m[2, 0] * b[0] + m[2, 1] * b[1] + m[2, 2] * b[2] + m[2, 3]
        shade = ((px - cx) * sun[3] + (py - cy) * sun[4] + (z - cz) * sun[5]) / b[3]
    elif kind == PLANE:
        q = solids.local[part]
        shade = 0.0
        for r in range(3):
            up = m[r, 0] * q[0, 2] + m[r, 1] * q[1, 2] + m[r, 2] * q[2, 2]
            shade += up * sun[3 + r]
    else:
        s = canvas.shades[seen]
        shade = (s[2] + s[0] * x + s[1] * y) * z
    return min(1.0, max(0.0, shade))


@inlined
def standing(u: float, v: float, height: float, lights: F32, size: int, static: bool) -> float:
    """Return how much of a point is in the shadow of what stands still, 0 to 1.

    Its map may be finer than that of what moves, of `size` texels; a layer is drawn so seldom that
    it takes the mean over a pixel.
    """
    finer = len(lights) // size
    if not static or finer == 1:
        return shadow(finer * u, finer * v, height, lights)
    total = 0.0
    for row in range(SAMPLES):
        for column in range(SAMPLES):
            du, dv = (column + 0.5) / SAMPLES - 0.5, (row + 0.5) / SAMPLES - 0.5
            x, y = finer * (u + LIGHT_TEXELS * du), finer * (v + LIGHT_TEXELS * dv)
            total += shadow(x, y, height, lights)
    return total / (SAMPLES * SAMPLES)


@inlined
def shadow(u: float, v: float, height: float, lights: F32) -> float:
    """Return how much of a point is in shadow, 0 to 1: of four texels around it."""
    size = len(lights)
    if not (u >= 0.5 and v >= 0.5 and u < size - 0.5 and v < size - 0.5):
        return 0.0
    column, row = np.uint32(u - 0.5), np.uint32(v - 0.5)
    upper, lower = lights[row], lights[row + np.uint32(1)]
    a, b = upper[column] > height, upper[column + np.uint32(1)] > height
    c, d = lower[column] > height, lower[column + np.uint32(1)] > height
    if not (a | b | c | d):
        return 0.0
    fu, fv = u - 0.5 - column, v - 0.5 - row
    above = (1.0 - fu) * (1.0 - fv) * a + fu * (1.0 - fv) * b
    return above + (1.0 - fu) * fv * c + fu * fv * d


@inlined
def surface(
    seen: int, part: int, px: float, py: float, z: float, solids: Solids, canvas: Canvas
) -> tuple[float, float, float]:
    """Return a surface's own colour at a point in front of the camera."""
    c, texture = solids.colors[part], solids.parts[part, TEXTURE]
    if texture == PLAIN:
        return c[0], c[1], c[2]
    p = inverse(canvas.frames[part], px, py, z)
    p = inverse(solids.local[part], p[0], p[1], p[2])
    axis = 2
    if solids.parts[part, KIND] == SPHERE:
        axis = 0 if abs(p[0]) >= max(abs(p[1]), abs(p[2])) else 1 if abs(p[1]) >= abs(p[2]) else 2
    elif solids.parts[part, KIND] == MESH:
        axis = solids.triangles[seen, 3]
    u, v = (p[1] if axis == 0 else p[0]) / c[7], (p[1] if axis == 2 else p[2]) / c[7]
    if texture == CHECKER:
        if (int(np.floor(2.0 * u)) + int(np.floor(2.0 * v))) % 2 != 0:
            return c[4], c[5], c[6]
        return c[0], c[1], c[2]
    first, width, height = solids.sizes[texture]
    column = min(width - 1, int((u + 0.5 - np.floor(u + 0.5)) * width))
    row = min(height - 1, int((np.ceil(v + 0.5) - v - 0.5) * height))
    texel = first + 3 * (row * width + column)
    images = solids.images
    return (
        c[0] * images[texel] / 255.0,
        c[1] * images[texel + 1] / 255.0,
        c[2] * images[texel + 2] / 255.0,
    )


@inlined
def inverse(m: F64, x: float, y: float, z: float) -> tuple[float, float, float]:
    """Return where the 3x4 matrix m, a rotation and a translation, takes to (x, y, z) from."""
    x, y, z = x - m[0, 3], y - m[1, 3], z - m[2, 3]
    return (
        m[0, 0] * x + m[1, 0] * y + m[2, 0] * z,
        m[0, 1] * x + m[1, 1] * y + m[2, 1] * z,
        m[0, 2] * x + m[1, 2] * y + m[2, 2] * z,
    )


@inlined
def byte(value: float) -> int:
    """Return a colour's part, 0 to 1, as 0 to 255."""
    return int(min(255.0, max(0.0, value * 255.0 + 0.5)))


@compiled
def plane(part: int, solids: Solids, view: View, canvas: Canvas) -> None:
    """Draw an infinite plane: where a pixel's ray z (u, v, 1) meets n . p = d, seen from above.

    1 / z = n . (u, v, 1) / d.
    """
    product(canvas.frames[part], solids.local[part], canvas.pose)
    m, focal, middle = canvas.pose, view.lens[FOCAL], view.lens[MIDDLE]
    away = m[0, 2] * m[0, 3] + m[1, 2] * m[1, 3] + m[2, 2] * m[2, 3]
    if away >= 0.0:  # The camera is below it.
        return
    number, size = len(solids.owners) + part, len(canvas.nearest)
    widen(canvas.boxes[part], 0, 0, size, size)
    for y in range(size):
        for x in range(size):
            u, v = (x + 0.5 - middle) / focal, (y + 0.5 - middle) / focal
            value = np.float32((m[0, 2] * u + m[1, 2] * v + m[2, 2]) / away)
            if value > canvas.nearest[y, x] and value * view.lens[NEAR] <= 1.0:
                canvas.nearest[y, x] = value
                canvas.which[y, x] = number


@compiled
def heavens(layer: Layer, view: View, sky: F64) -> None:
    """Fill the layer with nothing: the sky, from its colour at the horizon to that above."""
    focal, middle, m = view.lens[FOCAL], view.lens[MIDDLE], view.matrix
    for y in range(len(layer.depth)):
        for x in range(len(layer.depth)):
            u, v = (x + 0.5 - middle) / focal, (y + 0.5 - middle) / focal
            up = (m[0, 2] * u + m[1, 2] * v + m[2, 2]) / np.sqrt(u * u + v * v + 1.0)
            for k in range(3):
                value = byte(sky[k] + max(0.0, up) * (sky[3 + k] - sky[k]))
                layer.lit[y, x, k] = layer.dark[y, x, k] = value
            layer.depth[y, x] = view.lens[FAR]
            layer.segments[y, x] = layer.links[y, x] = 0
            layer.places[y, x, 0] = layer.places[y, x, 1] = NOWHERE


@compiled
def survey(layer: Layer) -> None:
    """Note where the tiles of a layer lie in the light's view."""
    tiles = layer.tiles
    for row in range(tiles.shape[0]):
        for column in range(tiles.shape[1]):
            for k in range(4):
                tiles[row, column, k] = np.inf if k < 2 else -np.inf
    for y in range(len(layer.depth)):
        for x in range(len(layer.depth)):
            t, u, v = tiles[y // TILE, x // TILE], layer.places[y, x, 0], layer.places[y, x, 1]
            if u > NOWHERE:
                t[0], t[1] = min(t[0], u), min(t[1], v)
                t[2], t[3] = max(t[2], u), max(t[3], v)


@compiled
def dim(movers: I32, layer: Layer, cast: Canvas, pixels: U8) -> None:
    """Darken what of the layer lies in the shadow of what moves."""
    size = len(layer.depth)
    for row in range(layer.tiles.shape[0]):
        for column in range(layer.tiles.shape[1]):
            if not shaded(layer.tiles[row, column], movers, cast.boxes):
                continue
            for y in range(row * TILE, min(size, (row + 1) * TILE)):
                for x in range(column * TILE, min(size, (column + 1) * TILE)):
                    p = layer.places[y, x]
                    part = shadow(p[0], p[1], p[2], cast.nearest)
                    if part > 0.0:
                        for k in range(3):
                            lit, dark = float(layer.lit[y, x, k]), float(layer.dark[y, x, k])
                            pixels[y, x, k] = int(lit + part * (dark - lit) + 0.5)


@inlined
def shaded(tile: F32, movers: I32, boxes: I32) -> bool:
    """Return whether something that moves may lie between a tile of the layer and the light."""
    for n in range(len(movers)):
        b = boxes[movers[n]]
        if (tile[0] <= b[2] + 1 and tile[2] >= b[0] - 1) and (
            tile[1] <= b[3] + 1 and tile[3] >= b[1] - 1
        ):
            return True
    return False


@compiled
def shrink(large: U8, small: U8) -> None:
    """Write the means of 2 x 2 pixels."""
    for y in range(len(small)):
        for x in range(len(small)):
            for k in range(3):
                total = 2 + large[2 * y, 2 * x, k] + large[2 * y, 2 * x + 1, k]
                total += large[2 * y + 1, 2 * x, k] + large[2 * y + 1, 2 * x + 1, k]
                small[y, x, k] = total // 4
