"""Read files that may come from anybody; what does not fit the layout raises FormatError.

HDF5 can point outside a file (external links, external storage, virtual datasets), run filters of
other people, and claim sizes that no memory holds. The layout needs none of this, so it is refused.
"""

import ctypes
import errno
import math
from pathlib import Path
from typing import Any, TypeGuard, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from sandbox import files, jsonfile
from sandbox.errors import FormatError
from sandbox.remote.ranged import RangedFile
from sandbox.trajectory import layout
from sandbox.trajectory.chunks import Chunks
from sandbox.trajectory.direct import Direct
from sandbox.trajectory.schema import INDEX, READABLE, ROW, Column, Schema

READ_ATTEMPTS = 27  # HDF5 then sleeps 0.1 s in all.
EPISODE_BYTES = 1 << 28  # An episode that is larger unpacked must be in a file of some size:
MOST_PACKED = 1000  # no more bytes of rows than so many for each byte of it.
CHUNK_BYTES_LIMIT = 1 << 28  # The largest size of an unpacked chunk.
_PASSING = (
    *(errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM, errno.ENOMEM, errno.EIO),
    *(errno.EAGAIN, errno.EBUSY, errno.ESTALE),
)
PACKING = (h5py.h5z.FILTER_DEFLATE, layout.ZSTD)
SAFE_FILTERS = (*PACKING, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_SHUFFLE)


def open_file(path: Path, *, growing: bool) -> h5py.File:
    """Open an HDF5 file for reading.

    Raises:
        FormatError: it is no HDF5 file, or damaged.
        UnreadableError: it cannot be opened here and now.
    """
    with files.opened(path) as file:  # HDF5 then opens what was checked, by its descriptor.
        checked = Path(f"/dev/fd/{file.fileno()}")
        try:
            return _open_growing(checked) if growing else layout.read(checked)
        except (OSError, RuntimeError, ValueError, MemoryError) as error:
            if is_passing(error):
                raise files.unreadable(path, error) from None
            what = layout.one_line(error).replace(str(checked), path.name)
            raise FormatError(
                f"{path}: cannot be read as HDF5: {what}. It is no trajectory file, or damaged; "
                "restore it from a copy, or move it away and generate it again."
            ) from error


def open_remote(file: RangedFile) -> h5py.File:
    """Open a remote HDF5 file for reading.

    Raises:
        FormatError: it is no HDF5 file, or damaged.
        UnreadableError: it cannot be read here and now.
    """
    try:
        return h5py.File(file, "r")
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        if file.error is not None:
            raise file.error from None
        raise FormatError(
            f"{file.where}: cannot be read as HDF5: {layout.one_line(error)}. It is no trajectory "
            "file, or damaged; restore it from a copy."
        ) from error


def is_passing(error: BaseException) -> TypeGuard[OSError | MemoryError]:
    """Return whether an error says nothing about the file: another time, it may be read."""
    if isinstance(error, OSError):
        return error.errno in _PASSING
    return isinstance(error, MemoryError)


def _open_growing(path: Path) -> h5py.File:
    """Open a file that another process may be writing.

    HDF5 reads metadata with a wrong checksum again, because it may be half written: 100 times,
    sleeping twice as long each time. On a damaged file that never ends. h5py has no setting for
    fewer attempts, so HDF5 is called directly.
    """
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    library = ctypes.CDLL(h5py.h5p.__file__)  # Has the symbols of the HDF5 that h5py uses.
    library.H5Pset_metadata_read_attempts(ctypes.c_int64(access.id), ctypes.c_uint(READ_ATTEMPTS))
    mode = h5py.h5f.ACC_RDONLY | h5py.h5f.ACC_SWMR_READ
    return layout.lockless(lambda: h5py.File(h5py.h5f.open(bytes(path), mode, access)), access)


def check_room(sizes: NDArray[np.int64], row_bytes: int, file: h5py.File) -> None:
    """Refuse episodes of rows that no such file can hold, before there is memory for them.

    Args:
        sizes: number of rows of each episode.
        row_bytes: bytes of a row.
        file: the file.

    Raises:
        FormatError: an episode is large, and the file is too small for all that it declares.
    """
    largest = int(sizes.max(initial=0)) * row_bytes
    declared, stored = float(sizes.astype(float).sum()) * row_bytes, file.id.get_filesize()
    if largest > EPISODE_BYTES and declared > stored * MOST_PACKED:
        raise FormatError(
            f"it declares {declared:,.0f} bytes of rows in {stored:,} bytes; it is damaged, or "
            "made to harm."
        )


def version(file: h5py.File) -> int:
    """Return a file's format version; FormatError if it has none, or one that cannot be read."""
    if cast(Any, file).userblock_size:
        raise FormatError("it begins with something else than HDF5; it is foreign.")
    found = _number(file, "format_version")
    if found is None:
        raise FormatError("it has no format_version; this HDF5 file is no trajectory file of ours.")
    if found not in READABLE:
        known = " and ".join(map(str, READABLE))
        raise FormatError(
            f"it is of format version {found}; this program reads {known}. Use the version that "
            "wrote it, or a newer one."
        )
    return found


def texts(file: h5py.File, *, growing: bool) -> dict[str, str]:
    """Return the JSON texts of the root attributes, after checking their seal."""
    found: dict[str, str] = {}
    for name in layout.TEXTS[:2] if growing else layout.TEXTS:
        text = _text(file, name)
        if text is None:
            raise FormatError(f"it has no text {name!r} in its root attributes; it is damaged.")
        found[name] = text
    if layout.seal(found) != _text(file, layout.SEAL):
        raise FormatError("its root attributes are not those of its seal; it was damaged.")
    return found


def objects(text: str, what: str, count: int = 1) -> list[dict[str, Any]]:
    """Return the list of objects in a JSON text; FormatError, about `what`, if it is not one.

    Args:
        text: the text.
        what: what it is called in messages.
        count: how many objects it should hold.
    """
    data: Any = jsonfile.parse(text, what, count)
    if not isinstance(data, list) or any(type(i) is not dict for i in cast(list[Any], data)):
        raise FormatError(f"{what}: no list of objects; it is damaged.")
    return cast(list[dict[str, Any]], data)


def check_names(file: h5py.File, schema: Schema, *, scaled: bool) -> None:
    """Refuse a file that does not have exactly the columns of the schema and its own.

    Args:
        file: the file.
        schema: the columns of the schema.
        scaled: whether a dimension scale counts its rows.
    """
    own = (*INDEX, ROW) if scaled else INDEX
    found, names = list(file), [column.name for column in (*schema.columns, *own)]
    strange = [name for name in found if name not in names]
    if strange:
        raise FormatError(
            f"it has {strange[0]!r} at its root, which is no column of its schema; it is foreign."
        )
    missing = [name for name in names if name not in found]
    if missing:
        raise FormatError(f"it has no column {missing[0]!r}, which its schema has; it is damaged.")


def sidecar(path: Path, count: int, most: int) -> list[dict[str, Any]]:
    """Return the first `count` records of a growing shard; ignore what follows them."""
    lines = files.lines(path, count, most) if path.exists() else []
    if len(lines) < count:
        raise FormatError(
            f"{path.name} beside it has {len(lines)} of the {count} records; restore it from a "
            "copy."
        )
    return objects(f"[{','.join(line.decode() for line in lines)}]", path.name, count)


def column(
    file: h5py.File, column: Column, source: RangedFile | None = None
) -> layout.StoredColumn:
    """Open a column; refuse one that reads other files, runs foreign filters, or does not fit.

    Args:
        file: the file.
        column: the column.
        source: what HDF5 reads, if that is remote.
    """
    if file.id.links.get_info(column.name.encode()).type != h5py.h5l.TYPE_HARD:
        raise FormatError(f"{column.name!r} is a link to elsewhere; copy the data into the file.")
    dataset = file[column.name]
    if not isinstance(dataset, h5py.Dataset):
        raise FormatError(f"{column.name!r} at its root is no dataset; it is foreign.")
    expected = (np.dtype(column.dtype), len(column.shape) + 1, column.shape)
    if (dataset.dtype, dataset.ndim, dataset.shape[1:]) != expected:
        raise FormatError(
            f"column {column.name!r} is {dataset.dtype} {dataset.shape} but its schema says "
            f"{column.dtype}, rows of {column.shape}; it is damaged."
        )
    return stored(dataset, f"column {column.name!r}", source)


def stored(
    dataset: h5py.Dataset, what: str, source: RangedFile | None = None
) -> layout.StoredColumn:
    """Open a dataset that has a dimension or more.

    Args:
        dataset: the dataset.
        what: what messages call it.
        source: what HDF5 reads, if that is remote.

    Raises:
        FormatError: it reads other files, runs foreign filters, or has chunks that are too large.
    """
    plan = dataset.id.get_create_plist()
    if plan.get_layout() == h5py.h5d.VIRTUAL or plan.get_external_count():
        raise FormatError(f"{what} is kept in other files; copy it into this one.")
    filters = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
    packed = [number for number in filters if number in PACKING]
    safe = len(packed) < 2 and len(set(filters)) == len(filters)
    if not safe or any(number not in SAFE_FILTERS for number in filters):
        raise FormatError(
            f"{what} is stored with HDF5 filters {filters}; only Zstd or gzip, "
            "Shuffle and Fletcher32 are read, each once. Store it again, as with h5repack."
        )
    row_bytes = dataset.dtype.itemsize * math.prod(dataset.shape[1:])
    unpacked = dataset.dtype.itemsize * math.prod(dataset.chunks or ())
    if unpacked > max(CHUNK_BYTES_LIMIT, row_bytes):
        raise FormatError(f"{what} has chunks of {dataset.chunks}; too large.")
    look = Chunks(dataset, filters, source).check if packed else None
    here = None if source is not None else Direct.of(dataset, filters)
    return layout.StoredColumn(dataset, look, here)


def _number(file: h5py.File, name: str) -> int | None:
    """Return a root attribute that is one whole number; None if it is anything else."""
    if name not in file.attrs:
        return None
    attribute = file.attrs.get_id(name)
    if attribute.shape != () or not isinstance(attribute.get_type(), h5py.h5t.TypeIntegerID):
        return None
    return int(file.attrs[name])


def _text(file: h5py.File, name: str) -> str | None:
    """Return a root attribute that is a text of fixed length; None if it is anything else."""
    if name not in file.attrs:
        return None
    attribute = file.attrs.get_id(name)
    kind = attribute.get_type()
    if attribute.shape != () or not isinstance(kind, h5py.h5t.TypeStringID):
        return None
    return None if kind.is_variable_str() else bytes(file.attrs[name]).decode()
