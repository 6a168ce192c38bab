"""Compiled: draw still parts once into a layer, and moving parts over it in each picture."""

from typing import Any

import numpy as np

from sandbox.renderer.arrays import (
    F32,
    F64,
    FAR,
    FOCAL,
    I32,
    I64,
    KIND,
    MIDDLE,
    NEAR,
    PLANE,
    TILE,
    U8,
    U16,
    Canvas,
    Layer,
    Output,
    Solids,
    View,
)
from sandbox.renderer.fill import draw, product, widen
from sandbox.renderer.jit import compiled, inlined
from sandbox.renderer.shade import byte, paint, shadow

DRAWN, STALE, NOT_FINITE = range(3)
NOWHERE = -1e30  # A position in the light's view where no shadow falls.


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
    """Draw the layer of everything that does not move: sky, planes and the chosen parts."""
    set_all(canvas.nearest, 1.0 / view.lens[FAR])
    set_all(still.nearest, -np.inf)
    finer = len(still.nearest) // len(cast.nearest)
    scale(light.matrix, float(finer))
    draw(solids, chosen, poses, light, still)
    scale(light.matrix, 1.0 / finer)  # `finer` is a power of 2, so this restores the exact values.
    draw(solids, chosen, poses, view, canvas)
    for n in range(len(chosen)):
        if solids.parts[chosen[n], KIND] == PLANE:
            plane(chosen[n], solids, view, canvas)
    heavens(layer, view, canvas, sky)
    copy(canvas.nearest, layer.nearest)
    output = Output(layer.lit, layer.depth, layer.segments, layer.links)
    paint(chosen, solids, view, canvas, still, cast, layer, output, True)
    survey(layer)


@inlined
def scale(matrix: F64, by: float) -> None:
    """Scale a light's matrix so that its texels are smaller by a factor."""
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
    """Draw moving parts and their shadows over the layer, then translucent parts.

    Returns DRAWN, NOT_FINITE, or STALE if the poses of the frames `places` differ from `seen`
    (k + 1, 7). Between pictures, `canvas.nearest` equals the layer's outside the boxes of moving
    parts.
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
    """Return NOT_FINITE, STALE or DRAWN; see `frame`."""
    total = 0.0
    for n in range(len(poses)):
        for k in range(7):
            total += 0.0 * poses[n, k]
    if total != 0.0:
        return NOT_FINITE
    if seen[len(places), 0] != 0.0:  # The layer has not been drawn yet.
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
    """Reset `canvas.nearest` to the layer's where parts were drawn."""
    for n in range(len(parts)):
        box = canvas.boxes[parts[n]]
        for y in range(box[1], box[3]):
            for x in range(box[0], box[2]):
                canvas.nearest[y, x] = layer.nearest[y, x]


@inlined
def empty(parts: I32, cast: Canvas) -> None:
    """Clear a light's view where parts were drawn."""
    for n in range(len(parts)):
        box = cast.boxes[parts[n]]
        for y in range(box[1], box[3]):
            for x in range(box[0], box[2]):
                cast.nearest[y, x] = -np.inf


@inlined
def copy(source: Any, target: Any) -> None:
    """Copy an array into another; Numba's assignment would copy the source twice."""
    for n in range(source.size):
        target.flat[n] = source.flat[n]


@compiled
def plane(part: int, solids: Solids, view: View, canvas: Canvas) -> None:
    """Draw the upper side of an infinite plane n . p = d, by intersecting rays z (u, v, 1).

    1 / z = n . (u, v, 1) / d.
    """
    product(canvas.frames[part], solids.local[part], canvas.pose)
    m, focal, middle = canvas.pose, view.lens[FOCAL], view.lens[MIDDLE]
    away = m[0, 2] * m[0, 3] + m[1, 2] * m[1, 3] + m[2, 2] * m[2, 3]
    if away >= 0.0:  # The camera is below it.
        return
    number, (rows, columns) = len(solids.owners) + part, canvas.nearest.shape
    widen(canvas.boxes[part], 0, 0, columns, rows)
    for y in range(rows):
        v, shift = (canvas.samples[1, y] - middle) / focal, canvas.samples[0, y]
        for x in range(columns):
            u = (x + 0.5 + shift - middle) / focal
            value = np.float32((m[0, 2] * u + m[1, 2] * v + m[2, 2]) / away)
            if value > canvas.nearest[y, x] and value * view.lens[NEAR] <= 1.0:
                canvas.nearest[y, x] = value
                canvas.which[y, x] = number


@compiled
def heavens(layer: Layer, view: View, canvas: Canvas, sky: F64) -> None:
    """Fill the layer with sky where nothing is: from the horizon's colour to the zenith's."""
    focal, middle, m = view.lens[FOCAL], view.lens[MIDDLE], view.matrix
    for y in range(layer.depth.shape[0]):
        v, shift = (canvas.samples[1, y] - middle) / focal, canvas.samples[0, y]
        for x in range(layer.depth.shape[1]):
            layer.places[y, x, 0] = layer.places[y, x, 1] = NOWHERE
            if canvas.which[y, x] >= 0:
                continue
            layer.depth[y, x] = view.lens[FAR]
            layer.segments[y, x] = layer.links[y, x] = 0
            if not layer.lit.size > 0:
                continue
            u = (x + 0.5 + shift - middle) / focal
            up = (m[0, 2] * u + m[1, 2] * v + m[2, 2]) / np.sqrt(u * u + v * v + 1.0)
            for c in range(3):
                value = byte(sky[c] + max(0.0, up) * (sky[3 + c] - sky[c]))
                layer.lit[y, x, c] = layer.dark[y, x, c] = value


@compiled
def survey(layer: Layer) -> None:
    """Find the bounds of each tile of a layer in the light's view."""
    tiles = layer.tiles
    for row in range(tiles.shape[0]):
        for column in range(tiles.shape[1]):
            for k in range(4):
                tiles[row, column, k] = np.inf if k < 2 else -np.inf
    for y in range(layer.depth.shape[0]):
        for x in range(layer.depth.shape[1]):
            t, u, v = tiles[y // TILE, x // TILE], layer.places[y, x, 0], layer.places[y, x, 1]
            if u > NOWHERE:
                t[0], t[1] = min(t[0], u), min(t[1], v)
                t[2], t[3] = max(t[2], u), max(t[3], v)


@compiled
def dim(movers: I32, layer: Layer, cast: Canvas, pixels: U8) -> None:
    """Darken the pixels of the layer that are in the shadow of moving parts."""
    height, width = layer.depth.shape
    for row in range(layer.tiles.shape[0]):
        for column in range(layer.tiles.shape[1]):
            if not shaded(layer.tiles[row, column], movers, cast.boxes):
                continue
            for y in range(row * TILE, min(height, (row + 1) * TILE)):
                for x in range(column * TILE, min(width, (column + 1) * TILE)):
                    p = layer.places[y, x]
                    part = shadow(p[0], p[1], p[2], cast.nearest)
                    if part > 0.0:
                        for k in range(3):
                            lit, dark = float(layer.lit[y, x, k]), float(layer.dark[y, x, k])
                            pixels[y, x, k] = int(lit + part * (dark - lit) + 0.5)


@inlined
def shaded(tile: F32, movers: I32, boxes: I32) -> bool:
    """Return whether a moving part may be between a tile of the layer and the light."""
    for n in range(len(movers)):
        b = boxes[movers[n]]
        if (tile[0] <= b[2] + 1 and tile[2] >= b[0] - 1) and (
            tile[1] <= b[3] + 1 and tile[3] >= b[1] - 1
        ):
            return True
    return False


@compiled
def shrink(large: U8, small: U8) -> None:
    """Write the means of 2 x 2 pixels of `large` to `small`."""
    for y in range(len(small)):
        for x in range(len(small)):
            for k in range(3):
                total = 2 + large[2 * y, 2 * x, k] + large[2 * y, 2 * x + 1, k]
                total += large[2 * y + 1, 2 * x, k] + large[2 * y + 1, 2 * x + 1, k]
                small[y, x, k] = total // 4


@compiled
def blend(samples: U8, totals: U16, pixels: U8) -> None:
    """Write the mean of each pixel's rows of `samples` (k h, 3 w) to `pixels` (h, 3 w).

    Args:
        samples: the colours of k rows, k a power of 2, for each row of pixels.
        totals: (3 w,), where a row is added up. Its type keeps the loops vectorised.
        pixels: takes the means.
    """
    k, shift = len(samples) // len(pixels), 0
    while 1 << shift < k:
        shift += 1
    for y in range(len(pixels)):
        for n in range(len(totals)):
            totals[n] = k >> 1
        for row in range(k * y, k * y + k):
            for n in range(len(totals)):
                totals[n] += samples[row, n]
        for n in range(len(totals)):
            pixels[y, n] = totals[n] >> shift
