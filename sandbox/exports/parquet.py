"""Columns as Parquet files and Hugging Face's metadata have them."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.trajectory import Column

IMAGES = "observation.images"  # What LeRobot calls pictures, by camera.


def is_image(column: Column) -> bool:
    """Return whether a column is of pictures that PNG holds without loss."""
    named = column.is_picture or column.name.startswith(f"{IMAGES}.")
    seen = len(column.shape) > 1 and column.shape[2:] in ((), (3,))
    return column.dtype == "uint8" and named and seen


def feature(column: Column) -> dict[str, Any]:
    """Return the type of a column as the metadata of Hugging Face's datasets has it."""
    if is_image(column):
        return {"_type": "Image"}
    found: dict[str, Any] = {"dtype": column.dtype, "_type": "Value"}
    for size in reversed(column.shape):
        found = {"feature": found, "length": size, "_type": "List"}
    return found


def kind(column: Column) -> Any:
    """Return the Arrow type of a column's rows: pictures are PNG, arrays are nested lists."""
    import pyarrow as pa

    if is_image(column):
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    found = pa.from_numpy_dtype(np.dtype(column.dtype))
    for size in reversed(column.shape):
        found = pa.list_(found, size)
    return found


def array(column: Column, values: NDArray[Any]) -> Any:
    """Return rows of a column as an Arrow array."""
    import pyarrow as pa

    if is_image(column):
        return pa.array([{"bytes": png(row), "path": None} for row in values], kind(column))
    found = pa.array(np.ascontiguousarray(values).reshape(-1))
    for size in reversed(column.shape):
        found = pa.FixedSizeListArray.from_arrays(found, size)
    return found.cast(kind(column))


def png(picture: NDArray[Any]) -> bytes:
    """Return a picture as PNG, which loses nothing."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()
