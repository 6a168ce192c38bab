"""Write NumPy's .npz: arrays that are larger than memory, part by part."""

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray


class Writer:
    """A new .npz file. Used as a context.

    Args:
        path: the file.
        pack: whether to compress the arrays.
    """

    def __init__(self, path: Path, *, pack: bool) -> None:
        kind = zipfile.ZIP_DEFLATED if pack else zipfile.ZIP_STORED
        self._file = zipfile.ZipFile(path, "x", kind, allowZip64=True, compresslevel=1)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def array(
        self, name: str, dtype: str, shape: tuple[int, ...], parts: Iterable[NDArray[Any]]
    ) -> None:
        """Write an array, of which `parts` are the rows one after another."""
        head = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
            "fortran_order": False,
            "shape": shape,
        }
        with self._file.open(f"{name}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(cast(Any, file), head)
            for part in parts:
                file.write(np.ascontiguousarray(part, dtype).tobytes())
