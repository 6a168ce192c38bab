"""Small geometry on the numbers of a state, fast enough for every step."""

import heapq
import math
from collections.abc import Callable, Sequence

import numpy as np

Two = tuple[float, float]
Three = tuple[float, float, float]
Rectangle = tuple[float, float, float, float]  # Centre x, y, and half extents x, y.


def yaw(body: Sequence[float]) -> float:
    """Return the rotation about z of a body's quaternion [rad]."""
    x, y, z, w = body[3:7]
    return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def axes(body: Sequence[float]) -> tuple[Three, Three, Three]:
    """Return the x, y and z axes of a body's frame, in the world's frame."""
    x, y, z, w = body[3:7]
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)),
        (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)),
        (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)),
    )


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the scalar product of two vectors of three numbers."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def clip(value: float, low: float, high: float) -> float:
    """Return a number, or the bound that it is beyond."""
    return low if value < low else high if value > high else value


def distance(point: Two, a: Two, b: Two) -> float:
    """Return how near the line from `a` to `b` comes to a point."""
    (x, y), (dx, dy) = (point[0] - a[0], point[1] - a[1]), (b[0] - a[0], b[1] - a[1])
    part = (x * dx + y * dy) / max(dx * dx + dy * dy, 1e-12)
    part = max(0.0, min(1.0, part))
    return math.hypot(x - part * dx, y - part * dy)


def inside(point: Two, frame: Three, unit_m: float = 1.0) -> Two:
    """Turn world coordinates [m] into those of a frame in the plane.

    Args:
        point: in the world.
        frame: its origin x, y [m], and its yaw [rad].
        unit_m: unit of length inside it.
    """
    x, y, turn = frame
    dx, dy, cos, sin = point[0] - x, point[1] - y, math.cos(turn), math.sin(turn)
    return (dx * cos + dy * sin) / unit_m, (dy * cos - dx * sin) / unit_m


def outside(point: Two, frame: Three, unit_m: float = 1.0) -> Two:
    """Turn coordinates of a frame in the plane into those of the world [m]; see `inside`."""
    x, y, turn = frame
    px, py, cos, sin = *(c * unit_m for c in point), math.cos(turn), math.sin(turn)
    return x + px * cos - py * sin, y + px * sin + py * cos


def clear_of(rectangles: Sequence[Rectangle], a: Two, b: Two, margin: float) -> bool:
    """Return whether 20 points on the line from `a` to `b` are that far from upright rectangles."""
    for part in range(1, 21):
        x, y = a[0] + (b[0] - a[0]) * part / 20, a[1] + (b[1] - a[1]) * part / 20
        for cx, cy, w, h in rectangles:
            if math.hypot(max(abs(x - cx) - w, 0.0), max(abs(y - cy) - h, 0.0)) < margin:
                return False
    return True


def round_about(a: Two, b: Two, middle: Two, radius: float, step_rad: float = 0.35) -> Two:
    """Return the next place on a ring around `middle` on the way from `a` to `b`.

    It is `b` itself if `a` is in the same direction from the middle, by 0.05 rad.
    """
    here = math.atan2(a[1] - middle[1], a[0] - middle[0])
    there = math.atan2(b[1] - middle[1], b[0] - middle[0])
    turn = math.remainder(there - here, math.tau)
    if abs(turn) < 0.05:
        return b
    angle = here + math.copysign(min(abs(turn), step_rad), turn)
    return (middle[0] + radius * math.cos(angle), middle[1] + radius * math.sin(angle))


def area_inside(corners: Sequence[Two], rectangle: Rectangle) -> float:
    """Return the area of a polygon, counterclockwise, inside an upright rectangle.

    Green's theorem with both coordinates clamped to the rectangle: -sum over edges of the integral
    of y dx. It runs in every step: written for speed.

    Args:
        corners: of the polygon.
        rectangle: centre x, y, and half extents x, y.
    """
    x, y, w, h = rectangle
    left, right, low, high, total = x - w, x + w, y - h, y + h, 0.0
    ax, ay = corners[-1]
    a = left if ax < left else right if ax > right else ax
    for bx, by in corners:
        b = left if bx < left else right if bx > right else bx
        if a != b:
            slope = (by - ay) / (bx - ax)
            p, q = ay + slope * (a - ax), ay + slope * (b - ax)  # Heights where it enters, leaves.
            if p > q:
                p, q = q, p
            if q <= low:
                mean = low
            elif p >= high:
                mean = high
            else:
                mean = 0.5 * (p + q)
                if p < low:
                    mean += 0.5 * (low - p) ** 2 / (q - p)
                if q > high:
                    mean -= 0.5 * (q - high) ** 2 / (q - p)
            total += (a - b) * mean
        ax, ay, a = bx, by, b
    return total


def shortest_way(places: Sequence[Two], passes: Callable[[Two, Two], bool]) -> list[Two]:
    """Return the shortest way from the first of some places to the second, by Dijkstra's method.

    Args:
        places: the first and the second, and others that the way may go through.
        passes: whether the straight line from one place to another is free.

    Returns:
        The places on the way without the first; [] if there is no way.
    """
    costs, before = {0: 0.0}, dict[int, int]()
    queue = [(0.0, 0)]
    while queue:
        cost, a = heapq.heappop(queue)
        if a == 1:
            break
        for b in range(1, len(places)):
            far = cost + math.dist(places[a], places[b])
            if far < costs.get(b, math.inf) and passes(places[a], places[b]):
                costs[b], before[b] = far, a
                heapq.heappush(queue, (far, b))
    way, b = list[Two](), 1
    while b in before:
        way.insert(0, places[b])
        b = before[b]
    return way


def scattered(rng: np.random.Generator, half: Two, apart_m: float, count: int) -> list[Two]:
    """Draw places in a rectangle around the origin, no two nearer to each other than `apart_m`.

    Args:
        rng: draws each place, again if it is too near to another.
        half: half extents of the rectangle [m].
        apart_m: shortest distance.
        count: number of places; the rectangle must have room for them.
    """
    places: list[Two] = []
    while len(places) < count:
        x, y = rng.uniform((-half[0], -half[1]), half).tolist()
        if all(math.dist((x, y), other) > apart_m for other in places):
            places.append((x, y))
    return places
