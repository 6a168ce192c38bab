"""What the compiled loops work on: flat arrays, gathered under names."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
I16 = NDArray[np.int16]
U8 = NDArray[np.uint8]

MESH, SPHERE, PLANE = 0, 1, 2  # What a part is, parts[:, KIND].
FRAME, VERTEX, VERTICES, TRIANGLE, TRIANGLES, KIND, SIDES, BODY, TEXTURE = range(9)
PLAIN, CHECKER = -1, -2  # parts[:, TEXTURE] if it is not the number of an image.
FOCAL, MIDDLE, NEAR, FAR = range(4)  # Places in View.lens.
AMBIENT, DIFFUSE, TONE, BIAS = 6, 7, 8, 11  # Places in View.sun, after its two directions.
LIGHT_TEXELS = 2  # Of the map of shadows, in width and height of a pixel.
TILE = 8  # Pixels: static pictures know where tiles of them lie in the light's view.


class Solids(NamedTuple):
    """A scene's geometry: parts, each of one colour, fixed in one frame.

    Attributes:
        vertices: (3, v), in the part's frame [m].
        normals: (v + 4, 3) of the vertices, in its frame, out; four for what clipping leaves.
        triangles: (t + 2, 4): vertices, clockwise seen from outside, and the axis (0, 1, 2) that
            the normal is nearest to; two rows for what clipping leaves. Indices that may not be
            negative are found faster.
        owners: (t,) the part of each triangle.
        parts: (p, 9): frame; first and after the last vertex; first and after the last triangle;
            MESH, SPHERE or PLANE; 1 if both sides of its triangles are seen; body, from 1; the
            number of its image, or PLAIN, or CHECKER.
        bounds: (p, 4) a sphere around it: x, y, z, radius, in its frame; a SPHERE's own.
        local: (p, 3, 4) of a PLANE or what has a texture: where its shape stands in its frame.
        colors: (p, 8): red, green, blue, alpha, 0..1; a checker's other red, green, blue; the width
            of a texture or of two squares of a checker [m].
        images: (n,) bytes of all images, row by row.
        sizes: (k, 3) of each image: first byte, width, height.
    """

    vertices: F64
    normals: F64
    triangles: U32
    owners: I32
    parts: I32
    bounds: F64
    local: F64
    colors: F64
    images: U8
    sizes: I32


class Canvas(NamedTuple):
    """What is being drawn, seen from one place.

    Attributes:
        nearest: (h, w) 1 / z [1/m] of what is seen; in a light's view the height towards it [m].
        which: (h, w) the triangle seen, or the number of triangles + a part that has none, or -1;
            (0, 0) in a light's view.
        shades: (t, 3) of each triangle, shade / z = s0 x + s1 y + s2 in pixels.
        points: (3, v + 4) of each vertex: x, y [pixels], 1 / z; in a light's view the height.
        cells: (2, v + 4) of each vertex: the first column and row whose centres are not before it.
        listed: (t + 2,) triangles that have a pixel's centre in the box around them.
        spans: (n, 4) rows of triangles that wait to be drawn: the triangle, y, the first x, and
            that after the last.
        planes: (n, 2) of each span: nearest = planes[0] + x planes[1].
        ahead: (3, v + 4) of each vertex: x, y, z [m] before it is projected.
        toward: (3,) from the part being drawn to the light, in its frame.
        frames: (p, 3, 4) from each part to what sees it.
        pose: (3, 4) where the part being drawn is in the world.
        boxes: (p, 4) what each part was drawn in: left, top, and after its right and bottom.
    """

    nearest: F32
    which: I32
    shades: F64
    points: F64
    cells: I32
    listed: U32
    spans: I32
    planes: F64
    ahead: F64
    toward: F64
    frames: F64
    pose: F64
    boxes: I32


class View(NamedTuple):
    """Where one looks from. A camera has x right, y down, z ahead; pixel n's centre is n + 0.5.

    Attributes:
        matrix: (3, 4) from the world; a light's gives pixels, pixels and the height towards it.
        lens: focal length [pixels], 0 for a light; the picture's middle [pixels]; near, far [m].
        sun: towards the light, in the world (3) and the view (3); ambient; diffuse; colour (3);
            the shadows' bias [m].
        shadow: (3, 4) from this view to the light's.
    """

    matrix: F64
    lens: F64
    sun: F64
    shadow: F64


class Layer(NamedTuple):
    """A picture of what does not move.

    Attributes:
        lit, dark: (h, w, 3) colours in the light and in the shadow of something.
        depth, segments, links, nearest: as in a picture and its canvas.
        places: (h, w, 3) where each pixel lies in the light's view.
        tiles: (rows, columns, 4) lowest u, lowest v, highest u, highest v of TILE x TILE pixels.
    """

    lit: U8
    dark: U8
    depth: F32
    segments: I16
    links: I16
    nearest: F32
    places: F32
    tiles: F32


class Output(NamedTuple):
    """Where a picture goes; an array without elements is not wanted."""

    pixels: U8
    depth: F32
    segments: I16
    links: I16
