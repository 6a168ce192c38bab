"""Compiled: turn visible surfaces into colours, depths, bodies and links."""

from typing import Any

import numpy as np

from sandbox.renderer.arrays import (
    AMBIENT,
    BIAS,
    BODY,
    CHECKER,
    DIFFUSE,
    F32,
    F64,
    FOCAL,
    FRAME,
    I32,
    KIND,
    LIGHT_TEXELS,
    MESH,
    MIDDLE,
    PLAIN,
    PLANE,
    SIDES,
    SPHERE,
    TEXTURE,
    TONE,
    Canvas,
    Layer,
    Output,
    Solids,
    View,
)
from sandbox.renderer.jit import compiled, inlined

SAMPLES = 4  # Samples of the still parts' shadows along each side of a pixel.


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
    """Write colour, depth, body and link of the visible surfaces in the boxes of parts.

    Clears `canvas.which` there. `static` is whether the layer is being drawn.
    """
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
    """Write a pixel's colour: ambient light plus, outside shadows, Lambert's law."""
    sun, m, focal, middle = view.sun, view.shadow, view.lens[FOCAL], view.lens[MIDDLE]
    shift, down = canvas.samples[0, y], canvas.samples[1, y]
    px, py = (x + 0.5 + shift - middle) / focal * z, (down - middle) / focal * z
    shade = facing(seen, part, y, x, px, py, z, solids, view, canvas)
    light, size = 1.0, len(cast.nearest)
    if len(still.nearest) > 1:
        u = m[0, 0] * px + m[0, 1] * py + m[0, 2] * z + m[0, 3]
        v = m[1, 0] * px + m[1, 1] * py + m[1, 2] * z + m[1, 3]
        height = m[2, 0] * px + m[2, 1] * py + m[2, 2] * z + m[2, 3]
        steep = min(4.0, np.sqrt(max(0.0, 1.0 - shade * shade)) / (shade + 1e-3))
        bias = sun[BIAS] * (0.1 + steep)  # So that surfaces do not shadow themselves.
        low = height + (bias if solids.parts[part, SIDES] else bias * size / len(still.nearest))
        height += bias
        if shade > 0.0:
            light -= standing(u, v, height, low, still.nearest, size, static)
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
    """Return the cosine between a surface's normal and the light, or 0 if it faces away."""
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
        shade = (s[2] + s[0] * (x + canvas.samples[0, y]) + s[1] * y) * z
    return min(1.0, max(0.0, shade))


@inlined
def standing(
    u: float, v: float, height: float, low: float, lights: F32, size: int, static: bool
) -> float:
    """Return how much of a point is in the shadow of still parts, 0 to 1.

    The shadow map of still parts may be finer than that of moving parts, which has `size` texels.
    Then a smaller bias suffices, the height `low`, and shadows touch what casts them. For the layer
    the mean over a pixel is used as well, which keeps thin shadows from looking dashed.
    """
    finer = len(lights) // size
    part = shadow(finer * u, finer * v, low, lights)
    if not static or finer == 1:
        return part
    total = 0.0
    for row in range(SAMPLES):
        for column in range(SAMPLES):
            du, dv = (column + 0.5) / SAMPLES - 0.5, (row + 0.5) / SAMPLES - 0.5
            x, y = finer * (u + LIGHT_TEXELS * du), finer * (v + LIGHT_TEXELS * dv)
            total += shadow(x, y, height, lights)
    return max(part, total / (SAMPLES * SAMPLES))


@inlined
def shadow(u: float, v: float, height: float, lights: F32) -> float:
    """Return how much of a point is in shadow, 0 to 1, interpolated over four texels."""
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
    """Return the unlit colour of a surface at a point in the camera's frame."""
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
    """Return the point that the 3x4 matrix m, a rotation and translation, maps to (x, y, z)."""
    x, y, z = x - m[0, 3], y - m[1, 3], z - m[2, 3]
    return (
        m[0, 0] * x + m[1, 0] * y + m[2, 0] * z,
        m[0, 1] * x + m[1, 1] * y + m[2, 1] * z,
        m[0, 2] * x + m[1, 2] * y + m[2, 2] * z,
    )


@inlined
def byte(value: float) -> int:
    """Return a colour component, 0 to 1, as a byte, 0 to 255."""
    return int(min(255.0, max(0.0, value * 255.0 + 0.5)))
