"""Read columns from Parquet files that anybody may have made; pictures in them are PNG or JPEG."""

import io
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from sandbox import files
from sandbox.errors import FormatError
from sandbox.trajectory import Column

if TYPE_CHECKING:
    from pyarrow import Array
    from pyarrow.parquet import ParquetFile

BATCH_ROWS = 256
MOST_GROUP_BYTES = 1 << 31  # Of a row group, unpacked.
MOST_TASKS = 100_000


def count(path: Path) -> int:
    """Return how many rows a file says that it has; FormatError if it is no Parquet file."""
    with _opened(path) as file:
        return int(file.metadata.num_rows)


def batches(path: Path, columns: Sequence[Column]) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the rows of a file, some at a time, as arrays (rows, ...).

    Args:
        path: the file.
        columns: the columns to read; pictures are uint8 (H, W, 3).

    Raises:
        FormatError: it is damaged, or a column is not as described.
    """
    with _opened(path) as file:
        missing = [one.name for one in columns if one.name not in file.schema_arrow.names]
        if missing:
            raise FormatError(f"{path}: has no column {missing[0]!r}.")
        for batch in file.iter_batches(BATCH_ROWS, columns=[one.name for one in columns]):
            yield {one.name: _array(batch.column(one.name), one) for one in columns}


def numbers(path: Path, kinds: Mapping[str, str]) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield columns of one number a row, some rows at a time.

    Args:
        path: the file.
        kinds: for each column which kinds of numbers it may have, letters of NumPy.

    Raises:
        FormatError: the file is damaged, or has no such columns.
    """
    with _opened(path) as file:
        for name in kinds:
            if name not in file.schema_arrow.names:
                raise FormatError(f"{path}: has no column {name!r}.")
        for batch in file.iter_batches(BATCH_ROWS, columns=[*kinds]):
            found = {name: batch.column(name) for name in kinds}
            for name, values in found.items():
                if not _is_flat(values) or _flat(values).dtype.kind not in kinds[name]:
                    raise FormatError(f"{path}: column {name!r} is {values.type}, or has gaps.")
            yield {name: _flat(values) for name, values in found.items()}


def texts(path: Path, name: str, number: str) -> dict[int, str]:
    """Return the texts of a column, by the whole numbers of another; FormatError if damaged."""
    with _opened(path) as file:
        if file.metadata.num_rows > MOST_TASKS or not {name, number} <= {*file.schema_arrow.names}:
            raise FormatError(f"{path}: has no columns {name} and {number}, or too many rows.")
        table = file.read(columns=[name, number])
        pairs = zip(table.column(number).to_pylist(), table.column(name).to_pylist(), strict=True)
        return {n: text for n, text in pairs if type(n) is int and isinstance(text, str)}


@contextmanager
def _opened(path: Path) -> Generator["ParquetFile"]:
    """Open a Parquet file; turn pyarrow's errors into FormatErrors."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    with files.opened(path) as raw:
        try:
            file = ParquetFile(pa.PythonFile(raw, mode="r"))
            for n in range(file.metadata.num_row_groups):
                if file.metadata.row_group(n).total_byte_size > MOST_GROUP_BYTES:
                    raise FormatError(f"{path}: has a row group that is too large to read.")
            yield file
        except (pa.ArrowException, OSError, ValueError, TypeError, MemoryError) as error:
            raise FormatError(
                f"{path}: cannot be read as Parquet: {' '.join(str(error).split()):.200}. Get it "
                "again."
            ) from None


def _array(values: "Array", column: Column) -> NDArray[Any]:
    """Return an Arrow array as rows of a column (rows, ...)."""
    import pyarrow as pa

    count, what = len(values), f"column {column.name!r}"
    if pa.types.is_struct(values.type):
        return np.stack([_picture(one, column) for one in values.to_pylist()])
    for _ in column.shape:
        if values.null_count or not pa.types.is_nested(values.type):
            break
        values = values.flatten()
    if not _is_flat(values) or len(values) != count * int(np.prod(column.shape, dtype=np.int64)):
        raise FormatError(f"{what}: is {values.type}, or has gaps; expected rows {column.shape}.")
    found = _flat(values)
    if found.dtype.name != column.dtype:
        raise FormatError(f"{what}: is {found.dtype}, where its description says {column.dtype}.")
    return found.reshape(count, *column.shape)


def _is_flat(values: "Array") -> bool:
    """Return whether values are numbers, without gaps."""
    import pyarrow as pa

    numbers = pa.types.is_primitive(values.type) and not pa.types.is_temporal(values.type)
    return values.null_count == 0 and numbers


def _flat(values: "Array") -> NDArray[Any]:
    return values.to_numpy(zero_copy_only=False)


def _mode(column: Column) -> str:
    """Return what Pillow calls pictures of 8 bits a channel: grey, or of three channels."""
    return "L" if column.shape[2:] == () else "RGB"


def _picture(one: object, column: Column) -> NDArray[np.uint8]:
    """Return a picture that is kept in a cell; a file elsewhere is not looked for."""
    from PIL import Image

    data = cast(dict[str, Any], one).get("bytes") if isinstance(one, dict) else None
    if not isinstance(data, bytes):
        raise FormatError(f"column {column.name!r}: a picture is not in the file; embed it.")
    height, width = column.shape[:2]
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.size != (width, height):
                raise FormatError(
                    f"column {column.name!r}: a picture has {image.size} pixels, not "
                    f"{(width, height)}."
                )
            if (image.format, image.mode) != ("PNG", _mode(column)):
                raise FormatError(
                    f"column {column.name!r}: a picture is a {image.format} of mode "
                    f"{image.mode}, which would not arrive exactly as {_mode(column)}. Write it "
                    "as a PNG of that mode first."
                )
            return np.asarray(image)
    except Image.UnidentifiedImageError:
        raise FormatError(f"column {column.name!r}: a picture is no PNG.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FormatError(f"column {column.name!r}: a picture is damaged: {error}") from None
