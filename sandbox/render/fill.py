"""Compiled: vertices to pixels. Which triangle, or sphere, is seen where."""

import numpy as np

from sandbox.render.arrays import (
    F64,
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
    VERTEX,
    VERTICES,
    Canvas,
    Solids,
    View,
)
from sandbox.render.jit import compiled, inlined

FRONT, BACK, BOTH = 1, -1, 0  # Which sides of triangles are drawn.


@inlined
def clear(box: I32) -> None:
    """Make a box hold nothing."""
    box[0], box[1], box[2], box[3] = 1 << 30, 1 << 30, 0, 0


@inlined
def widen(box: I32, left: int, top: int, right: int, bottom: int) -> None:
    """Make a box hold a rectangle too."""
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
    """Write a b, both 3x4 matrices with an unwritten row 0, 0, 0, 1."""
    for r in range(3):
        for c in range(4):
            out[r, c] = a[r, 0] * b[0, c] + a[r, 1] * b[1, c] + a[r, 2] * b[2, c]
        out[r, 3] += a[r, 3]


@compiled
def draw(solids: Solids, chosen: I32, poses: F64, view: View, canvas: Canvas) -> None:
    """Draw the chosen parts, with their frames at `poses` (n, 7), as `view` sees them.

    A light sees the backs of things: a surface is in the shadow of what ends between it and the
    light, so nothing shadows itself by rounding.
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
    """Return whether a part may be in the picture, by the sphere around it."""
    m, b, focal, middle = canvas.frames[part], solids.bounds[part], view.lens[0], view.lens[1]
    if focal == 0.0:
        return True
    x = m[0, 0] * b[0] + m[0, 1] * b[1] + m[0, 2] * b[2] + m[0, 3]
    y = m[1, 0] * b[0] + m[1, 1] * b[1] + m[1, 2] * b[2] + m[1, 3]
    z = m[2, 0] * b[0] + m[2, 1] * b[1] + m[2, 2] * b[2] + m[2, 3]
    if z + b[3] < view.lens[NEAR] or z - b[3] > view.lens[3]:
        return False
    tangent = middle / focal
    reach = z * tangent + b[3] * np.sqrt(1.0 + tangent * tangent)
    return abs(x) <= reach and abs(y) <= reach


@compiled
def mesh(part: int, pose: F64, solids: Solids, view: View, canvas: Canvas) -> None:
    """Draw a part made of triangles."""
    row, points, ahead = solids.parts[part], canvas.points, canvas.ahead
    box = canvas.boxes[part]
    focal, middle, near = view.lens[FOCAL], view.lens[MIDDLE], view.lens[NEAR]
    crosses = place(part, pose, solids, view, canvas)
    both = row[SIDES] != 0
    if focal == 0.0:
        fill(row[TRIANGLE], row[TRIANGLES], 0, BOTH if both else BACK, solids.triangles, box, canvas)
    elif not crosses:
        for v in range(row[VERTEX], row[VERTICES]):
            project(v, focal, middle, canvas)
        fill(row[TRIANGLE], row[TRIANGLES], 0, BOTH if both else FRONT, solids.triangles, box, canvas)
    else:
        scratch = len(solids.triangles) - 2
        for t in range(row[TRIANGLE], row[TRIANGLES]):
            count = clip(solids.triangles[t], near, ahead)
            for v in range(len(ahead) - 4, len(ahead) - 4 + count):
                project(v, focal, middle, canvas)
            left = scratch + max(0, count - 2)
            side = BOTH if both else FRONT
            fill(scratch, left, t, side, solids.triangles, box, canvas)


@inlined
def place(part: int, pose: F64, solids: Solids, view: View, canvas: Canvas) -> bool:
    """Move a part's vertices before the view, and shade them; return if any is before `near`."""
    m, row, sun, near = canvas.frames[part], solids.parts[part], view.sun, view.lens[NEAR]
    vertices, normals = solids.vertices, solids.normals
    parallel, both = view.lens[FOCAL] == 0.0, row[SIDES] != 0
    out = canvas.points if parallel else canvas.ahead
    lx = pose[0, 0] * sun[0] + pose[1, 0] * sun[1] + pose[2, 0] * sun[2]
    ly = pose[0, 1] * sun[0] + pose[1, 1] * sun[1] + pose[2, 1] * sun[2]
    lz = pose[0, 2] * sun[0] + pose[1, 2] * sun[1] + pose[2, 2] * sun[2]
    crosses = False
    for v in range(row[VERTEX], row[VERTICES]):
        x, y, z = vertices[v, 0], vertices[v, 1], vertices[v, 2]
        out[v, 0] = m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]
        out[v, 1] = m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]
        out[v, 2] = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]
        if not parallel:
            shade = normals[v, 0] * lx + normals[v, 1] * ly + normals[v, 2] * lz
            out[v, 3] = abs(shade) if both else max(0.0, shade)
            crosses |= out[v, 2] < near
        else:
            locate(v, canvas)
    return crosses


@inlined
def project(v: int, focal: float, middle: float, canvas: Canvas) -> None:
    """Put a vertex before a camera onto its picture."""
    ahead, points = canvas.ahead, canvas.points
    inverse = 1.0 / ahead[v, 2]
    points[v, 0] = middle + focal * ahead[v, 0] * inverse
    points[v, 1] = middle + focal * ahead[v, 1] * inverse
    points[v, 2] = inverse
    points[v, 3] = ahead[v, 3] * inverse
    locate(v, canvas)


@inlined
def locate(v: int, canvas: Canvas) -> None:
    """Find the first column and row whose centres are not left of or above a vertex."""
    size = float(len(canvas.nearest))
    for k in range(2):
        ahead = min(max(0.0, canvas.points[v, k]), size) - 0.5
        cell = int(ahead)
        canvas.cells[v, k] = cell + (ahead > cell)


@inlined
def clip(triangle: I32, near: float, ahead: F64) -> int:
    """Write what of a triangle lies beyond z = near into the last four rows; return how many."""
    count, scratch = 0, len(ahead) - 4
    for k in range(3):
        here, there = triangle[k], triangle[(k + 1) % 3]
        inside = ahead[here, 2] >= near
        if inside:
            for c in range(4):
                ahead[scratch + count, c] = ahead[here, c]
            count += 1
        if inside != (ahead[there, 2] >= near):
            a, b = (here, there) if inside else (there, here)  # The same point from either side.
            part = (ahead[a, 2] - near) / (ahead[a, 2] - ahead[b, 2])
            for c in range(4):
                ahead[scratch + count, c] = ahead[a, c] + part * (ahead[b, c] - ahead[a, c])
            ahead[scratch + count, 2] = near
            count += 1
    return count


@compiled
def fill(
    first: int, last: int, name: int, side: int, triangles: I32, box: I32, canvas: Canvas
) -> None:
    """Draw triangles `first` to `last` where they are nearest.

    They are called by their own numbers or, where clipping left them, `name`. Pixels are those
    whose centres are inside; a centre on an edge belongs to the triangle right of or below it.
    """
    points, cells, listed = canvas.points, canvas.cells, canvas.listed
    clipped, count = first >= len(triangles) - 2, 0
    for t in range(first, last):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        wide = max(cells[a, 0], cells[b, 0], cells[c, 0]) > min(
            cells[a, 0], cells[b, 0], cells[c, 0]
        )
        high = max(cells[a, 1], cells[b, 1], cells[c, 1]) > min(
            cells[a, 1], cells[b, 1], cells[c, 1]
        )
        listed[count] = t
        count += wide & high
    for n in range(count):
        t = listed[n]
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by = points[a, 0], points[a, 1], points[b, 0], points[b, 1]
        cx, cy = points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area < 0.0 and side != FRONT:
            b, c, area = c, b, -area
        elif not area > 0.0 or side == BACK:
            continue
        rows(name if clipped else t, a, b, c, area, box, canvas)


@inlined
def rows(number: int, a: int, b: int, c: int, area: float, box: I32, canvas: Canvas) -> None:
    """Draw one triangle, clockwise on the screen, row by row."""
    points, cells, nearest, which = canvas.points, canvas.cells, canvas.nearest, canvas.which
    left, right = (
        min(cells[a, 0], cells[b, 0], cells[c, 0]),
        max(cells[a, 0], cells[b, 0], cells[c, 0]),
    )
    top, bottom = (
        min(cells[a, 1], cells[b, 1], cells[c, 1]),
        max(cells[a, 1], cells[b, 1], cells[c, 1]),
    )
    ax, ay, az = points[a, 0], points[a, 1], points[a, 2]
    ux, uy, uz = points[b, 0] - ax, points[b, 1] - ay, points[b, 2] - az
    vx, vy, vz = points[c, 0] - ax, points[c, 1] - ay, points[c, 2] - az
    slope, rise = (uz * vy - vz * uy) / area, (vz * ux - uz * vx) / area
    base = az + slope * (0.5 - ax) + rise * (0.5 - ay)
    x0, k0, y0, s0 = edge(points, a, b)
    x1, k1, y1, s1 = edge(points, b, c)
    x2, k2, y2, s2 = edge(points, c, a)
    touched, camera = False, which.size > 0
    for y in range(top, bottom):
        yc = y + 0.5
        lo, hi = float(left), float(right)
        for x, s in (
            (x0 + k0 * (yc - y0), s0),
            (x1 + k1 * (yc - y1), s1),
            (x2 + k2 * (yc - y2), s2),
        ):
            if s < 0:
                lo = max(lo, np.ceil(x - 0.5))
            elif s > 0:
                hi = min(hi, np.ceil(x - 0.5))
        height = base + rise * y
        for x in range(int(lo), int(hi)):
            value = np.float32(height + slope * x)
            if value > nearest[y, x]:
                nearest[y, x] = value
                if camera:
                    which[y, x] = number
                touched = True
    if touched:
        widen(box, left, top, right, bottom)
        if camera:
            shade, s = points[a, 3], canvas.shades[number]
            us, vs = points[b, 3] - shade, points[c, 3] - shade
            s[0], s[1] = (us * vy - vs * uy) / area, (vs * ux - us * vx) / area
            s[2] = shade + s[0] * (0.5 - ax) + s[1] * (0.5 - ay)


@inlined
def edge(points: F64, a: int, b: int) -> tuple[float, float, float, int]:
    """Return an edge as x + k (row - y) and its side: -1 bounds the left, 1 the right, 0 nothing.

    From its upper end down, so that two triangles which share it agree on every pixel.
    """
    side = 1
    if points[a, 1] > points[b, 1]:
        a, b, side = b, a, -1
    fall = points[b, 1] - points[a, 1]
    if fall == 0.0:
        return 0.0, 0.0, 0.0, 0
    return points[a, 0], (points[b, 0] - points[a, 0]) / fall, points[a, 1], side


@compiled
def sphere(part: int, solids: Solids, view: View, canvas: Canvas) -> None:
    """Draw a sphere as a camera sees it: where the ray of a pixel's centre first meets it.

    The ray is z (u, v, 1). |z (u, v, 1) - centre| = r gives z (the smaller root of a quadratic).
    """
    m, b = canvas.frames[part], solids.bounds[part]
    focal, middle, near = view.lens[FOCAL], view.lens[MIDDLE], view.lens[NEAR]
    x = m[0, 0] * b[0] + m[0, 1] * b[1] + m[0, 2] * b[2] + m[0, 3]
    y = m[1, 0] * b[0] + m[1, 1] * b[1] + m[1, 2] * b[2] + m[1, 3]
    z = m[2, 0] * b[0] + m[2, 1] * b[1] + m[2, 2] * b[2] + m[2, 3]
    rest = x * x + y * y + z * z - b[3] * b[3]
    if z + b[3] <= near or rest <= 0.0:  # Behind, or the camera is inside.
        return
    size = canvas.nearest.shape[0]
    left, right = extent(x, z, b[3], focal, middle, near, size)
    top, bottom = extent(y, z, b[3], focal, middle, near, size)
    number, touched = len(solids.owners) + part, False
    for row in range(top, bottom):
        v = (row + 0.5 - middle) / focal
        for column in range(left, right):
            u = (column + 0.5 - middle) / focal
            square, half = u * u + v * v + 1.0, u * x + v * y + z
            root = half * half - square * rest
            if root <= 0.0:
                continue
            value = (half + np.sqrt(root)) / rest  # 1 / z of the nearer point.
            if value * near > 1.0:
                continue
            if np.float32(value) > canvas.nearest[row, column]:
                canvas.nearest[row, column] = value
                canvas.which[row, column] = number
                touched = True
    if touched:
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
    """Draw a sphere's far half as the light sees it, parallel."""
    m, b = canvas.frames[part], solids.bounds[part]
    x = m[0, 0] * b[0] + m[0, 1] * b[1] + m[0, 2] * b[2] + m[0, 3]
    y = m[1, 0] * b[0] + m[1, 1] * b[1] + m[1, 2] * b[2] + m[1, 3]
    height = m[2, 0] * b[0] + m[2, 1] * b[1] + m[2, 2] * b[2] + m[2, 3]
    scale = np.sqrt(m[0, 0] * m[0, 0] + m[0, 1] * m[0, 1] + m[0, 2] * m[0, 2])  # Pixels a metre.
    radius, size = b[3] * scale, canvas.nearest.shape[0]
    left, right = int(max(0.0, np.floor(x - radius))), int(min(size, np.ceil(x + radius)))
    top, bottom = int(max(0.0, np.floor(y - radius))), int(min(size, np.ceil(y + radius)))
    for row in range(top, bottom):
        for column in range(left, right):
            dx, dy = (column + 0.5 - x) / scale, (row + 0.5 - y) / scale
            root = b[3] * b[3] - dx * dx - dy * dy
            if root > 0.0 and height - np.sqrt(root) > canvas.nearest[row, column]:
                canvas.nearest[row, column] = height - np.sqrt(root)
    if left < right and top < bottom:
        widen(canvas.boxes[part], left, top, right, bottom)
