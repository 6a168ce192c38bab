"""Compiled: rasterise triangles and spheres; find the nearest one at each pixel."""

import numpy as np

from sandbox.renderer.arrays import (
    F64,
    FAR,
    FOCAL,
    FRAME,
    I32,
    KIND,
    MESH,
    MIDDLE,
    NEAR,
    SIDES,
    SPHERE,
    TRIANGLE,
    TRIANGLES,
    U32,
    VERTEX,
    VERTICES,
    Canvas,
    Solids,
    View,
)
from sandbox.renderer.jit import compiled, inlined

FRONT, BACK, BOTH = 1, -1, 0  # The sides of triangles to draw.


@inlined
def clear(box: I32) -> None:
    """Make a box empty."""
    box[0], box[1], box[2], box[3] = 1 << 30, 1 << 30, 0, 0


@inlined
def widen(box: I32, left: int, top: int, right: int, bottom: int) -> None:
    """Extend a box to include a rectangle."""
    box[0], box[1] = min(box[0], left), min(box[1], top)
    box[2], box[3] = max(box[2], right), max(box[3], bottom)


@inlined
def pose_matrix(pose: F64, m: F64) -> None:
    """Write a pose (x, y, z, quaternion xyzw of unit length) as a 3x4 matrix."""
    x, y, z, w = pose[3], pose[4], pose[5], pose[6]
    m[0, 0], m[0, 1], m[0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)
    m[1, 0], m[1, 1], m[1, 2] = 2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)
    m[2, 0], m[2, 1], m[2, 2] = 2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)
    m[0, 3], m[1, 3], m[2, 3] = pose[0], pose[1], pose[2]


@inlined
def product(a: F64, b: F64, out: F64) -> None:
    """Write the product a b of 3x4 matrices with an implied last row 0, 0, 0, 1."""
    for r in range(3):
        for c in range(4):
            out[r, c] = a[r, 0] * b[0, c] + a[r, 1] * b[1, c] + a[r, 2] * b[2, c]
        out[r, 3] += a[r, 3]


@compiled
def draw(solids: Solids, chosen: I32, poses: F64, view: View, canvas: Canvas) -> None:
    """Draw the chosen parts with their frames at `poses` (n, 7) into the canvas of a view.

    A light's view draws back faces: a surface is in shadow if a back face lies between it and the
    light. So rounding makes no surface shadow itself.
    """
    pose = canvas.pose
    for n in range(len(chosen)):
        part = chosen[n]
        clear(canvas.boxes[part])
        pose_matrix(poses[solids.parts[part, FRAME]], pose)
        product(view.matrix, pose, canvas.frames[part])
        kind = solids.parts[part, KIND]
        if kind == SPHERE:
            if view.lens[FOCAL] > 0.0:
                sphere(part, solids, view, canvas)
            else:
                sphere_from_light(part, solids, canvas)
        elif kind == MESH and visible(part, solids, view, canvas):
            mesh(part, pose, solids, view, canvas)


@compiled
def visible(part: int, solids: Solids, view: View, canvas: Canvas) -> bool:
    """Return whether the sphere around a part may be in the picture."""
    m, b, lens = canvas.frames[part], solids.bounds[part], view.lens
    focal, middle = lens[FOCAL], lens[MIDDLE]
    if focal == 0.0:
        return True
    x = m[0, 0] * b[0] + m[0, 1] * b[1] + m[0, 2] * b[2] + m[0, 3]
    y = m[1, 0] * b[0] + m[1, 1] * b[1] + m[1, 2] * b[2] + m[1, 3]
    z = m[2, 0] * b[0] + m[2, 1] * b[1] + m[2, 2] * b[2] + m[2, 3]
    if z + b[3] < lens[NEAR] or z - b[3] > lens[FAR]:
        return False
    tangent = middle / focal
    reach = z * tangent + b[3] * np.sqrt(1.0 + tangent * tangent)
    return abs(x) <= reach and abs(y) <= reach


@compiled
def mesh(part: int, pose: F64, solids: Solids, view: View, canvas: Canvas) -> None:
    """Draw a part made of triangles."""
    row, box, near = solids.parts[part], canvas.boxes[part], view.lens[NEAR]
    first, last = row[VERTEX], row[VERTICES]
    if view.lens[FOCAL] == 0.0:
        move(canvas.frames[part], solids.vertices, first, last, canvas.points)
        locate(first, last, canvas)
        fill(row[TRIANGLE], row[TRIANGLES], 0, BOTH if row[SIDES] else BACK, solids, box, canvas)
        return
    side, ahead, toward, sun = BOTH if row[SIDES] else FRONT, canvas.ahead, canvas.toward, view.sun
    for c in range(3):
        toward[c] = pose[0, c] * sun[0] + pose[1, c] * sun[1] + pose[2, c] * sun[2]
    move(canvas.frames[part], solids.vertices, first, last, ahead)
    crosses = False
    for v in range(first, last):
        crosses |= ahead[2, v] < near
    if not crosses:
        project(first, last, view, canvas)
        fill(row[TRIANGLE], row[TRIANGLES], 0, side, solids, box, canvas)
        return
    scratch, end = len(solids.triangles) - 2, ahead.shape[1]
    for t in range(row[TRIANGLE], row[TRIANGLES]):
        count = clip(solids.triangles[t], near, ahead, solids.normals)
        project(end - 4, end - 4 + count, view, canvas)
        fill(scratch, scratch + max(0, count - 2), t, side, solids, box, canvas)


@inlined
def move(m: F64, vertices: F64, first: int, last: int, out: F64) -> None:
    """Transform vertices by a 3x4 matrix, row by row so that the loops are vectorised."""
    xs, ys, zs = vertices[0, first:last], vertices[1, first:last], vertices[2, first:last]
    for r in range(3):
        a, b, c, d, row = m[r, 0], m[r, 1], m[r, 2], m[r, 3], out[r, first:last]
        for n in range(len(xs)):
            row[n] = a * xs[n] + b * ys[n] + c * zs[n] + d


@inlined
def project(first: int, last: int, view: View, canvas: Canvas) -> None:
    """Project vertices in front of a camera onto its picture."""
    focal, middle = view.lens[FOCAL], view.lens[MIDDLE]
    zs, inverse = canvas.ahead[2, first:last], canvas.points[2, first:last]
    for n in range(len(zs)):
        inverse[n] = 1.0 / zs[n]
    for r in range(2):
        ahead, points = canvas.ahead[r, first:last], canvas.points[r, first:last]
        times = 1.0 if r == 0 else float(rows_each(canvas))
        for n in range(len(zs)):
            points[n] = times * (middle + focal * ahead[n] * inverse[n])
    locate(first, last, canvas)


@inlined
def locate(first: int, last: int, canvas: Canvas) -> None:
    """Find the first column and row whose centres are not left of or above vertices."""
    for r in range(2):
        size = float(canvas.nearest.shape[1 - r])
        points, cells = canvas.points[r, first:last], canvas.cells[r, first:last]
        for n in range(len(points)):
            ahead = min(max(0.0, points[n]), size) - 0.5
            cell = np.int32(ahead)
            cells[n] = cell + np.int32(ahead > cell)


@inlined
def clip(triangle: U32, near: float, ahead: F64, normals: F64) -> int:
    """Clip a triangle at z = near into the last four vertices; return how many are used."""
    count, scratch = 0, ahead.shape[1] - 4
    for k in range(3):
        here, there = triangle[k], triangle[(k + 1) % 3]
        inside = ahead[2, here] >= near
        if inside:
            for c in range(3):
                ahead[c, scratch + count] = ahead[c, here]
                normals[scratch + count, c] = normals[here, c]
            count += 1
        if inside != (ahead[2, there] >= near):
            a, b = (here, there) if inside else (there, here)  # The same point from either side.
            part = (ahead[2, a] - near) / (ahead[2, a] - ahead[2, b])
            for c in range(3):
                ahead[c, scratch + count] = ahead[c, a] + part * (ahead[c, b] - ahead[c, a])
                turn = normals[b, c] - normals[a, c]
                normals[scratch + count, c] = normals[a, c] + part * turn
            ahead[2, scratch + count] = near
            count += 1
    return count


@compiled
def fill(
    first: int, last: int, name: int, side: int, solids: Solids, box: I32, canvas: Canvas
) -> None:
    """Draw the triangles from `first` to before `last` where they are nearest.

    The canvas gets a triangle's own number or, for what clipping left of one, the number `name`. A
    triangle covers the pixels whose centres are inside it; a centre on an edge belongs to the
    triangle right of or below the edge.
    """
    triangles, points, listed, spans = solids.triangles, canvas.points, canvas.listed, canvas.spans
    aside = int(rows_each(canvas) > 1)  # Samples may lie beside the middle of a column.
    name, count, used = name if first >= len(triangles) - 2 else -1, 0, 0
    for t in range(first, last):
        left, top, right, bottom = frame_of(triangles[t], canvas.cells)
        listed[count] = t
        count += (left < right + 2 * aside) & (top < bottom)
    for n in range(count):
        t = listed[n]
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        area = doubled(a, b, c, points)
        if area < 0.0 and side != FRONT:
            b, c, area = c, b, -area
        elif not area > 0.0 or side == BACK:
            continue
        if used > len(spans) - len(canvas.nearest):
            seen(used, name, side == BOTH, solids, box, canvas)
            used = 0
        used = rows(t, a, b, c, area, used, aside, solids.triangles[t], canvas)
    seen(used, name, side == BOTH, solids, box, canvas)


@inlined
def rows_each(canvas: Canvas) -> int:
    """Return how many rows each pixel of a canvas has."""
    return canvas.nearest.shape[0] // canvas.nearest.shape[1]


@inlined
def frame_of(triangle: U32, cells: I32) -> tuple[int, int, int, int]:
    """Return the box of pixel middles around a triangle: left, top, right + 1, bottom + 1."""
    a, b, c = triangle[0], triangle[1], triangle[2]
    return (
        min(cells[0, a], cells[0, b], cells[0, c]),
        min(cells[1, a], cells[1, b], cells[1, c]),
        max(cells[0, a], cells[0, b], cells[0, c]),
        max(cells[1, a], cells[1, b], cells[1, c]),
    )


@inlined
def doubled(a: int, b: int, c: int, points: F64) -> float:
    """Return twice a triangle's area on the screen, negative if it is counterclockwise."""
    x, y = points[0, a], points[1, a]
    return (points[0, b] - x) * (points[1, c] - y) - (points[0, c] - x) * (points[1, b] - y)


@inlined
def rows(
    t: int,
    a: int,
    b: int,
    c: int,
    area: float,
    used: int,
    aside: int,
    triangle: U32,
    canvas: Canvas,
) -> int:
    """Write the rows of a triangle, clockwise on the screen, as spans after the `used` ones.

    Samples lie up to `aside` columns beside the middles of pixels.

    Returns the new number of used spans. The loop has no branch that depends on where a row begins
    and ends, so that the CPU works on several rows at once.
    """
    points, spans, planes, shifts = canvas.points, canvas.spans, canvas.planes, canvas.samples[0]
    left, top, right, bottom = frame_of(triangle, canvas.cells)
    left, right = max(0, left - aside), min(canvas.nearest.shape[1], right + aside)
    ax, ay, az = points[0, a], points[1, a], points[2, a]
    ux, uy, uz = points[0, b] - ax, points[1, b] - ay, points[2, b] - az
    vx, vy, vz = points[0, c] - ax, points[1, c] - ay, points[2, c] - az
    slope, rise = (uz * vy - vz * uy) / area, (vz * ux - uz * vx) / area
    base = az + slope * (0.5 - ax) + rise * (0.5 - ay)
    x0, k0, y0, s0 = edge(points, a, b)
    x1, k1, y1, s1 = edge(points, b, c)
    x2, k2, y2, s2 = edge(points, c, a)
    for y in range(top, bottom):
        yc, low, high, shift = y + 0.5, float(left), float(right), shifts[y]
        middle = 0.5 + shift
        for x, s in (
            (x0 + k0 * (yc - y0), s0),
            (x1 + k1 * (yc - y1), s1),
            (x2 + k2 * (yc - y2), s2),
        ):
            low = max(low, x - middle if s < 0 else low)
            high = min(high, x - middle if s > 0 else high)
        lo, hi = np.int32(np.ceil(low)), np.int32(np.ceil(high))
        spans[used, 0], spans[used, 1], spans[used, 2], spans[used, 3] = t, y, lo, hi
        planes[used, 0], planes[used, 1] = base + rise * y + slope * shift, slope
        used += int(lo < hi)
    return used


@inlined
def seen(used: int, name: int, both: bool, solids: Solids, box: I32, canvas: Canvas) -> None:
    """Draw the used spans where they are nearest; see `fill` for `name`."""
    nearest, which, spans, shaded = canvas.nearest, canvas.which, canvas.spans, -1
    for n in range(used):
        t, y, touched = spans[n, 0], spans[n, 1], False
        number = t if name < 0 else name
        height, slope = canvas.planes[n, 0], canvas.planes[n, 1]
        for x in range(spans[n, 2], spans[n, 3]):
            value = np.float32(height + slope * x)
            if value > nearest[y, x]:
                nearest[y, x] = value
                if which.size > 0:
                    which[y, x] = number
                touched = True
        if touched:
            widen(box, spans[n, 2], y, spans[n, 3], y + 1)
            if which.size > 0 and t != shaded:
                shade(number, solids.triangles[t], both, solids.normals, canvas)
                shaded = t


@inlined
def shade(number: int, triangle: U32, both: bool, normals: F64, canvas: Canvas) -> None:
    """Find a triangle's shade over the screen, from Lambert's law at its corners."""
    points, s, a, b, c = canvas.points, canvas.shades[number], triangle[0], triangle[1], triangle[2]
    ux, uy = points[0, b] - points[0, a], points[1, b] - points[1, a]
    vx, vy = points[0, c] - points[0, a], points[1, c] - points[1, a]
    area, own = ux * vy - vx * uy, corner(a, both, normals, canvas)
    us, vs = corner(b, both, normals, canvas) - own, corner(c, both, normals, canvas) - own
    s[0], s[1] = (us * vy - vs * uy) / area, (vs * ux - us * vx) / area
    s[2] = own + s[0] * (0.5 - points[0, a]) + s[1] * (0.5 - points[1, a])


@inlined
def corner(v: int, both: bool, normals: F64, canvas: Canvas) -> float:
    """Return shade / z of a vertex."""
    n, light = normals[v], canvas.toward
    cosine = n[0] * light[0] + n[1] * light[1] + n[2] * light[2]
    return (abs(cosine) if both else max(0.0, cosine)) * canvas.points[2, v]


@inlined
def edge(points: F64, a: int, b: int) -> tuple[float, float, float, int]:
    """Return x, k, y and the side of an edge, the line x + k (row - y).

    The side is -1 if the edge bounds the left of the triangle, 1 the right, 0 if it is horizontal.
    An edge is computed from its upper end down, so that two triangles that share it agree on every
    pixel.
    """
    up = points[1, a] > points[1, b]
    high, low = (b, a) if up else (a, b)
    fall = points[1, low] - points[1, high]
    side = 0 if fall == 0.0 else -1 if up else 1
    return points[0, high], (points[0, low] - points[0, high]) / fall, points[1, high], side


@compiled
def sphere(part: int, solids: Solids, view: View, canvas: Canvas) -> None:
    """Draw a sphere in a camera's view, by intersecting it with the rays of pixel centres.

    The ray is z (u, v, 1). |z (u, v, 1) - centre| = r gives z (the smaller root of a quadratic).
    """
    m, b = canvas.frames[part], solids.bounds[part]
    focal, middle, near = view.lens[FOCAL], view.lens[MIDDLE], view.lens[NEAR]
    x = m[0, 0] * b[0] + m[0, 1] * b[1] + m[0, 2] * b[2] + m[0, 3]
    y = m[1, 0] * b[0] + m[1, 1] * b[1] + m[1, 2] * b[2] + m[1, 3]
    z = m[2, 0] * b[0] + m[2, 1] * b[1] + m[2, 2] * b[2] + m[2, 3]
    rest = x * x + y * y + z * z - b[3] * b[3]
    if (
        z + b[3] <= near or rest <= 0.0
    ):  # The sphere is behind the camera, or the camera is inside it.
        return
    size, k = canvas.nearest.shape[1], rows_each(canvas)
    left, right = extent(x, z, b[3], focal, middle, near, size)
    top, bottom = extent(y, z, b[3], focal, middle, near, size)
    top, bottom = k * top, k * bottom
    number = len(solids.owners) + part
    for row in range(top, bottom):
        v, shift = (canvas.samples[1, row] - middle) / focal, canvas.samples[0, row]
        nearest, which = canvas.nearest[row, left:right], canvas.which[row, left:right]
        for n in range(len(nearest)):  # Without a branch this loop is vectorised.
            u = (left + n + 0.5 + shift - middle) / focal
            square, half = u * u + v * v + 1.0, u * x + v * y + z
            root = half * half - square * rest
            value = (half + np.sqrt(root if root > 0.0 else 0.0)) / rest  # 1 / z, the nearer one.
            seen = (root > 0.0) & (value * near <= 1.0) & (np.float32(value) > nearest[n])
            nearest[n] = np.float32(value) if seen else nearest[n]
            which[n] = number if seen else which[n]
    if left < right and top < bottom:
        widen(canvas.boxes[part], left, top, right, bottom)


@compiled
def extent(
    x: float, z: float, radius: float, focal: float, middle: float, near: float, size: int
) -> tuple[int, int]:
    """Return the first pixel, and the one after the last, that a sphere may cover on one axis.

    The tangents from the eye to a circle at (x, z): their slopes solve
    (z^2 - r^2) k^2 - 2 x z k + x^2 - r^2 = 0.
    """
    across = z * z - radius * radius
    if z - radius <= near or across <= 0.0:
        return 0, size
    root = radius * np.sqrt(x * x + across)
    low, high = (x * z - root) / across, (x * z + root) / across
    first = int(np.floor(max(0.0, min(size, middle + focal * low))))
    last = int(np.ceil(max(0.0, min(size, middle + focal * high))))
    return first, last


@compiled
def sphere_from_light(part: int, solids: Solids, canvas: Canvas) -> None:
    """Draw the far half of a sphere in a light's view, by parallel projection."""
    m, b = canvas.frames[part], solids.bounds[part]
    x = m[0, 0] * b[0] + m[0, 1] * b[1] + m[0, 2] * b[2] + m[0, 3]
    y = m[1, 0] * b[0] + m[1, 1] * b[1] + m[1, 2] * b[2] + m[1, 3]
    height = m[2, 0] * b[0] + m[2, 1] * b[1] + m[2, 2] * b[2] + m[2, 3]
    scale = np.sqrt(m[0, 0] * m[0, 0] + m[0, 1] * m[0, 1] + m[0, 2] * m[0, 2])  # Pixels a metre.
    radius, size = b[3] * scale, canvas.nearest.shape[0]
    left, right = int(max(0.0, np.floor(x - radius))), int(min(size, np.ceil(x + radius)))
    top, bottom = int(max(0.0, np.floor(y - radius))), int(min(size, np.ceil(y + radius)))
    for row in range(top, bottom):
        dy, nearest = (row + 0.5 - y) / scale, canvas.nearest[row, left:right]
        for n in range(len(nearest)):
            dx = (left + n + 0.5 - x) / scale
            root = b[3] * b[3] - dx * dx - dy * dy
            value = np.float32(height - np.sqrt(root if root > 0.0 else 0.0))
            nearest[n] = value if (root > 0.0) & (value > nearest[n]) else nearest[n]
    if left < right and top < bottom:
        widen(canvas.boxes[part], left, top, right, bottom)
