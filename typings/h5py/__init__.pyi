"""What sandbox.trajectory and sandbox.exports use of h5py 3."""

from collections.abc import Iterator
from io import RawIOBase
from os import PathLike
from types import TracebackType
from typing import Any, Self

import numpy as np

from . import h5a as h5a
from . import h5d as h5d
from . import h5f as h5f
from . import h5g as h5g
from . import h5l as h5l
from . import h5p as h5p
from . import h5s as h5s
from . import h5t as h5t
from . import h5z as h5z

class AttributeManager:
    def __contains__(self, name: str) -> bool: ...
    def __getitem__(self, name: str) -> Any: ...
    def get_id(self, name: str) -> h5a.AttrID: ...
    def create(
        self,
        name: str,
        data: object,
        shape: tuple[int, ...] | None = None,
        dtype: np.dtype[Any] | None = None,
    ) -> None: ...

class DimensionProxy:
    label: str
    def attach_scale(self, scale: Dataset) -> None: ...

class DimensionManager:
    def __getitem__(self, axis: int) -> DimensionProxy: ...

class Dataset:
    id: h5d.DatasetID
    dims: DimensionManager
    name: str
    ndim: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...] | None
    def __setitem__(self, place: object, values: object) -> None: ...
    def flush(self) -> None: ...
    def make_scale(self, name: str = "") -> None: ...

class Group:
    id: h5f.FileID
    attrs: AttributeManager
    def __init__(self, bind: h5g.GroupID | h5f.FileID) -> None: ...
    def __getitem__(self, name: str) -> Any: ...
    def __iter__(self) -> Iterator[str]: ...
    def create_dataset(
        self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], **options: Any
    ) -> Dataset: ...

class File(Group):
    swmr_mode: bool
    def __init__(
        self,
        name: str | PathLike[str] | RawIOBase | h5f.FileID,
        mode: str = "r",
        *,
        swmr: bool = False,
        locking: bool | None = None,
    ) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
