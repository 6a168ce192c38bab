"""The flat arrays that the compiled loops work on, grouped in named tuples."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
I16 = NDArray[np.int16]
U16 = NDArray[np.uint16]
U8 = NDArray[np.uint8]

MESH, SPHERE, PLANE = 0, 1, 2  # The kinds of parts, in parts[:, KIND].
FRAME, VERTEX, VERTICES, TRIANGLE, TRIANGLES, KIND, SIDES, BODY, TEXTURE = range(9)
PLAIN, CHECKER = -1, -2  # parts[:, TEXTURE] without an image.
FOCAL, MIDDLE, NEAR, FAR = range(4)  # Indices of View.lens.
AMBIENT, DIFFUSE, TONE, BIAS = 6, 7, 8, 11  # Indices of View.sun, after its two directions.
LIGHT_TEXELS = 2  # Texels of the shadow map along each side of a pixel.
TILE = 8  # Pixels along each side of a tile; see Layer.tiles.


class Solids(NamedTuple):
    """The geometry of a scene: parts, each of one colour and fixed in one frame.

    Attributes:
        vertices: (3, v) positions in the part's frame [m].
        normals: (v + 4, 3) outward normals of the vertices in the part's frame. The last four rows
            are scratch space for clipped triangles.
        triangles: (t + 2, 4) three vertices, clockwise seen from outside, and the axis (0, 1, 2)
            nearest to the normal. The last two rows are scratch space for clipped triangles.
            Unsigned, because indices that cannot be negative are faster.
        owners: (t,) the part of each triangle.
        parts: (p, 9) frame; first vertex and the one after the last; first triangle and the one
            after the last; MESH, SPHERE or PLANE; 1 if both sides of its triangles are drawn; body,
            from 1; number of its image, or PLAIN, or CHECKER.
        bounds: (p, 4) a sphere around the part in its frame: x, y, z, radius [m]; for a SPHERE,
            the sphere itself.
        local: (p, 3, 4) the pose of the shape in the part's frame; used for PLANEs and textures.
        colors: (p, 8) red, green, blue, alpha, 0..1; red, green, blue of a checker's other squares;
            width of a texture's repeat [m].
        images: (n,) the bytes of all images, row by row.
        sizes: (k, 3) first byte, width and height of each image.
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
    """The depth buffer and the working arrays of one view.

    Attributes:
        nearest: (h, w) 1 / z [1/m] of the nearest surface; in a light's view, its height towards
            the light [m].
        which: (h, w) the triangle that is visible; for a part without triangles, the number of
            triangles plus the part; or -1. (0, 0) in a light's view.
        shades: (t, 3) s of each triangle, with shade / z = s0 x + s1 y + s2, x and y in pixels.
        points: (3, v + 4) x, y [pixels] and 1 / z of each vertex; in a light's view x, y, height.
        cells: (2, v + 4) the first column and row whose centres are not before each vertex.
        listed: (t + 2,) the triangles whose bounding box has the centre of a pixel.
        spans: (n, 4) rows of triangles still to be drawn: triangle, y, first x, x after the last.
        planes: (n, 2) of each span, with nearest = planes[0] + x planes[1].
        ahead: (3, v + 4) x, y, z of each vertex in the view's frame [m].
        toward: (3,) direction to the light in the frame of the part being drawn.
        frames: (p, 3, 4) the matrix from each part's frame to the view.
        pose: (3, 4) the pose of the part being drawn, in the world.
        boxes: (p, 4) the box of pixels that each part covers: left, top, right + 1, bottom + 1.
        samples: (2, h) of each row how far right of the middles of pixels its samples are, and how
            far down the picture [pixels]. A pixel has h / w rows, a power of 2.
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
    samples: F64


class View(NamedTuple):
    """A camera or a light. Cameras have x right, y down, z ahead; pixel n is centred at n + 0.5.

    Attributes:
        matrix: (3, 4) from the world to the view; for a light, to texels, texels and the height
            towards the light [m].
        lens: focal length [pixels], 0 for a light; middle of the picture [pixels]; near, far [m].
        sun: direction to the light in the world (3) and in the view (3); ambient; diffuse; colour
            (3); bias of the shadows [m].
        shadow: (3, 4) from this view to the light's view.
    """

    matrix: F64
    lens: F64
    sun: F64
    shadow: F64


class Layer(NamedTuple):
    """The cached picture of everything that does not move.

    Attributes:
        lit: (h, w, 3) colours with the shadows of still parts; without elements if no colours are
            drawn.
        dark: (h, w, 3) colours in shadow, with ambient light only; or without elements.
        depth: (h, w) as in an Output.
        segments: (h, w) as in an Output.
        links: (h, w) as in an Output.
        nearest: (h, w) as in a Canvas.
        places: (h, w, 3) the position of each pixel's surface in the light's view: u, v, height.
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
    """The arrays that a picture is written to; an array without elements is skipped."""

    pixels: U8
    depth: F32
    segments: I16
    links: I16
