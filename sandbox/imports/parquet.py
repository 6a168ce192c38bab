"""Read columns from Parquet files that anybody may have made; pictures in them are PNG or JPEG."""

import io
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sandbox import files
from sandbox.errors import FormatError
from sandbox.trajectory import Column
from sandbox.trajectory.untrusted import EPISODE_BYTES, MOST_PACKED

if TYPE_CHECKING:
    from pyarrow import Array
    from pyarrow.parquet import ColumnChunk, Metadata, ParquetFile

BATCH_ROWS = 256
BATCH_BYTES = 16 << 20  # Of the rows that are unpacked at once, if they are several.
PACKED_BYTES = 128 << 20  # Of pictures that are unpacked at once, if they are several.
ROW_VALUES = 1 << 24  # Of an array: for each, Parquet has levels that take 4 bytes.
MOST_GROUP_BYTES = 1 << 31  # Of a row group, unpacked.
CELL_SPARE_BYTES = 1 << 20  # By how much more a picture may take as a PNG than as it is.
MOST_TASKS = 100_000
MOST_CHARACTERS = 2000  # Of a text, which stands in the record of each of its episodes.


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
        names = [one.name for one in columns]
        missing = [name for name in names if name not in file.schema_arrow.names]
        if missing:
            raise FormatError(f"{path}: has no column {missing[0]!r}.")
        most = _batch_rows(file.metadata, columns)
        for batch in file.iter_batches(most, columns=names, use_threads=False):
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
    """Return the texts of a column, cut, by the numbers of another; FormatError if damaged."""
    import pyarrow as pa

    with _opened(path, [name]) as file:
        if file.metadata.num_rows > MOST_TASKS or not {name, number} <= {*file.schema_arrow.names}:
            raise FormatError(f"{path}: has no columns {name} and {number}, or too many rows.")
        table = file.read(columns=[name, number], use_threads=False)
        texts = list[str | None]()
        for part in table.column(name).chunks:
            if not pa.types.is_dictionary(part.type):
                return {}  # It has no texts.
            known = [_cut(part.dictionary[n].as_py()) for n in range(len(part.dictionary))]
            texts += [None if n is None else known[n] for n in part.indices.to_pylist()]
        pairs = zip(table.column(number).to_pylist(), texts, strict=True)
        return {n: text for n, text in pairs if type(n) is int and text is not None}


def _cut(text: object) -> str | None:
    return text[:MOST_CHARACTERS] if isinstance(text, str) else None


def _batch_rows(said: "Metadata", columns: Sequence[Column]) -> int:
    """Return how many rows to unpack at once.

    A picture may be stored once for many rows, and is unpacked for each of them: as large as all
    that its part of the file unpacks to.
    """
    rows = BATCH_BYTES // max(1, sum(one.row_bytes for one in columns))
    packed = [
        one.total_uncompressed_size
        for one in _chunks(said)
        if one.physical_type == "BYTE_ARRAY" and one.has_dictionary_page
    ]
    return max(1, min(BATCH_ROWS, rows, PACKED_BYTES // max(1, *packed, 0)))


def _chunks(said: "Metadata") -> "Iterator[ColumnChunk]":
    """Yield the stored columns of each row group."""
    for n in range(said.num_row_groups):
        group = said.row_group(n)
        yield from (group.column(k) for k in range(group.num_columns))


@contextmanager
def _opened(path: Path, texts: Sequence[str] = ()) -> Generator["ParquetFile"]:
    """Open a Parquet file; turn pyarrow's errors into FormatErrors.

    Args:
        path: the file.
        texts: columns of texts, each of which is unpacked once for all rows that have it.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    with files.opened(path) as raw:
        try:
            source = pa.PythonFile(raw, mode="r")
            said = ParquetFile(source).metadata
            _refuse_groups(said)
            there = {said.schema.column(n).path for n in range(said.num_columns)}
            packed = [name for name in texts if name in there]
            yield ParquetFile(source, metadata=said, read_dictionary=packed)
        except FormatError as error:
            text = str(error)
            named = text if text.startswith(str(path)) else f"{path}: {text}"
            raise FormatError(named) from None
        except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, MemoryError) as error:
            raise FormatError(
                f"{path}: cannot be read as Parquet: {' '.join(str(error).split()):.200}. Get it "
                "again."
            ) from None


def _refuse_groups(said: "Metadata") -> None:
    """Refuse row groups that unpack to more than a file of their size should hold."""
    for n in range(said.num_row_groups):
        group = said.row_group(n)
        columns = [group.column(k) for k in range(group.num_columns)]
        size = max(group.total_byte_size, sum(one.total_uncompressed_size for one in columns))
        if size > MOST_GROUP_BYTES:
            raise FormatError("has a row group that is too large to read.")
    for one in _chunks(said):
        refuse_packed(one.total_uncompressed_size, one.total_compressed_size)


def refuse_packed(unpacked: int, stored: int) -> None:
    """Refuse rows that so few bytes should not hold (FormatError)."""
    if unpacked > EPISODE_BYTES and unpacked > stored * MOST_PACKED:
        raise FormatError(
            f"it declares {unpacked:,} bytes of rows in {stored:,} bytes; it is damaged, or made "
            "to harm."
        )


def _array(values: "Array", column: Column) -> NDArray[Any]:
    """Return an Arrow array as rows of a column (rows, ...)."""
    import pyarrow as pa

    count, what = len(values), f"column {column.name!r}"
    if pa.types.is_struct(values.type):
        return np.stack([_picture(_cell(values, n), column) for n in range(count)])
    if math.prod(column.shape) > ROW_VALUES:
        raise FormatError(f"{what}: has rows of {column.shape}, which are too large to read.")
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


def _cell(values: "Array", row: int) -> object:
    """Return the bytes of a picture; None if they are not there."""
    one = values[row]
    return one["bytes"].as_py() if values.type.get_field_index("bytes") >= 0 else None


def _picture(data: object, column: Column) -> NDArray[np.uint8]:
    """Return a picture that is kept in a cell; a file elsewhere is not looked for."""
    from PIL import Image

    if not isinstance(data, bytes):
        raise FormatError(f"column {column.name!r}: a picture is not in the file; embed it.")
    if len(data) > 2 * column.row_bytes + CELL_SPARE_BYTES:
        raise FormatError(f"column {column.name!r}: a picture has {len(data):,} bytes; too many.")
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
