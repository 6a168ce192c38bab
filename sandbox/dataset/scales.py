"""Units for the numbers of a column, in which a model computes and its errors are told."""

import re
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from sandbox.trajectory import Column

LEAST = 0.05  # Of its vector's deviation: the least unit of an element.
CONSTANT = 1e-6  # What deviates by less is constant.
# x, y and z of a place (t.x, goal_x, finger.x.position), of a velocity (t.vx) or spin (t.wx), and
# the four numbers of a quaternion (t.qx), each with its unit or without.
_AXIS = re.compile(r"(.*[._]|)([qvw]?)[xyzw]((?:\.\w+)?)(?: \[.*\])?")


def scales(column: Column, std: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit of each element, in the order of a row: 0 where nothing varies.

    It is the element's standard deviation over all rows, but at least LEAST of the root mean square
    of the deviations of the vector that it is a part of. A body that slides on a table also rises
    and tilts by some micrometres: in their own deviation these would count as much as the way.

    Args:
        column: the column.
        std: standard deviations of its elements, of the shape of a row.
    """
    own = std.reshape(-1)
    vectors = defaultdict[object, list[int]](list)
    for place, name in enumerate(column.elements):
        if part := _AXIS.fullmatch(name):
            vectors[part.groups()].append(place)
    found = own.copy()
    for places in vectors.values():
        whole = np.sqrt(np.square(own[places]).mean())
        found[places] = np.maximum(own[places], LEAST * whole)
    return np.where(found > CONSTANT, found, 0.0)
