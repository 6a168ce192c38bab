"""Rows that are read beside HDF5 are those that HDF5 reads, and what is damaged is refused."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import zstandard
from numpy.typing import NDArray

from sandbox.trajectory import direct
from sandbox.trajectory.direct import Direct, fletcher32

ZSTD = int(hdf5plugin.ZSTD_ID)
FLETCHER32 = h5py.h5z.FILTER_FLETCHER32
PACKED = {"chunks": (5, 4, 3), "compression": ZSTD, "compression_opts": (1,)}
STORED = {  # How a column is stored, and its filters.
    "zstd with checksums": ({**PACKED, "fletcher32": True}, [ZSTD, FLETCHER32]),
    "zstd": (PACKED, [ZSTD]),
    "rows one after another": ({}, []),
}


def stored(path: Path, how: dict[str, Any], dtype: str = "u1", rows: int = 43) -> NDArray[Any]:
    """Write random rows into a file, some of which pack well; return them."""
    values = np.random.default_rng(3).integers(0, 200, (rows, 4, 3)).astype(dtype)
    values[:20] = 7
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, **how)
    return values


def read(
    path: Path, kinds: Sequence[int], starts: Sequence[int], count: int, apart: int, threads: int
) -> tuple[NDArray[Any], list[int]]:
    """Return windows of rows, and the places of those that are left to HDF5."""
    with h5py.File(path) as file:
        column = Direct.of(file["x"], kinds)
        assert column is not None
        made = np.full((len(starts), 3, count, 4), 99, file["x"].dtype)  # Channels before rows.
        views = made.transpose(0, 2, 3, 1)
        left = column.read(list(zip(starts, views, strict=True)), apart, threads)
        return views, sorted(starts.index(start) for start, _ in left)


@pytest.mark.parametrize("how", STORED)
@pytest.mark.parametrize("dtype", ["u1", "f4"])
@pytest.mark.parametrize(("count", "apart"), [(1, 1), (5, 1), (12, 1), (4, 3), (3, 8)])
def test_rows_are_those_that_were_written(
    tmp_path: Path, how: str, dtype: str, count: int, apart: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "_SHARE_BYTES", 100)  # So that several threads share the work.
    storing, kinds = STORED[how]
    values = stored(tmp_path / "x.h5", storing, dtype)
    starts = list(range(0, 43 - (count - 1) * apart, 2))
    for threads, group in ((1, 1 << 20), (3, 1 << 20), (3, 200)):
        monkeypatch.setattr(direct, "_GROUP_BYTES", group)
        found, left = read(tmp_path / "x.h5", kinds, starts, count, apart, threads)
        assert left == []
        for window, start in zip(found, starts, strict=True):
            assert np.array_equal(window, values[start:][::apart][:count])


@pytest.mark.parametrize("size", [1, 2, 3, 500, 65_537])
def test_checksums_are_those_of_hdf5(tmp_path: Path, size: int) -> None:
    for data in (b"\0" * size, b"\xff" * size, os.urandom(size)):
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file.create_dataset("x", data=np.frombuffer(data, "u1"), chunks=True, fletcher32=True)
            column = file["x"]
            count = column.id.get_num_chunks()
            for n in range(count):
                place = column.id.get_chunk_info(n).chunk_offset
                _, raw = column.id.read_direct_chunk(place)
                assert fletcher32(raw[:-4]) == int.from_bytes(raw[-4:], "little")


@pytest.mark.parametrize("how", ["zstd with checksums", "zstd"])
def test_a_damaged_chunk_is_left_to_hdf5_and_so_are_those_read_with_it(
    tmp_path: Path, how: str
) -> None:
    storing, kinds = STORED[how]
    values = stored(tmp_path / "x.h5", storing)
    with h5py.File(tmp_path / "x.h5") as file:
        info = file["x"].id.get_chunk_info(6)
    with open(tmp_path / "x.h5", "r+b") as raw:
        raw.seek(info.byte_offset)
        raw.write(b"\x28\xb5\x2f\xfd" + b"\xff" * (info.size - 4))
    _, left = read(tmp_path / "x.h5", kinds, [0, 30], 4, 1, 1)
    assert left == [0, 1]
    found, left = read(tmp_path / "x.h5", kinds, [0, 21], 4, 1, 1)
    assert left == []
    assert np.array_equal(found[1], values[21:25])


def test_a_frame_that_says_another_size_is_left_to_hdf5(tmp_path: Path) -> None:
    stored(tmp_path / "x.h5", {**PACKED, "fletcher32": False})
    for data in (zstandard.compress(b"\0" * (1 << 20)), b"no frame", b"\0" * 100_000):
        with h5py.File(tmp_path / "x.h5", "r+") as file:
            file["x"].id.write_direct_chunk((0, 0, 0), data)
        assert read(tmp_path / "x.h5", [ZSTD], [0], 4, 1, 1)[1] == [0]


def test_what_is_not_stored_or_stored_otherwise_is_left_to_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", (43, 4, 3), "u1", **PACKED)
        file.create_dataset("plain", (43, 4, 3), "u1")
        assert Direct.of(file["x"], [ZSTD, FLETCHER32, 1]) is None
        assert Direct.of(file["x"], []) is None
        column = file.create_dataset("parts", (43, 4, 3), "u1", chunks=(5, 2, 3))
        assert Direct.of(column, [ZSTD]) is None
        plain = Direct.of(file["plain"], [])
        assert plain is not None
        assert len(plain.read([(0, np.zeros((2, 4, 3), "u1"))], 1, 1)) == 1
    assert read(tmp_path / "x.h5", [ZSTD], [0, 9], 4, 1, 1)[1] == [0, 1]


def test_a_file_that_became_shorter_is_left_to_hdf5(tmp_path: Path) -> None:
    stored(tmp_path / "x.h5", {}, rows=5000)
    with h5py.File(tmp_path / "x.h5") as file:
        column = Direct.of(file["x"], [])
        assert column is not None
        os.truncate(tmp_path / "x.h5", 20_000)
        assert len(column.read([(4000, np.zeros((20, 4, 3), "u1"))], 1, 1)) == 1


def test_a_forked_process_reads_with_threads_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "_SHARE_BYTES", 1)
    stored(tmp_path / "x.h5", STORED["zstd"][0])
    read(tmp_path / "x.h5", [ZSTD], [0, 5, 10], 4, 1, 3)
    child = os.fork()
    if not child:
        left = read(tmp_path / "x.h5", [ZSTD], [0, 5, 10], 4, 1, 3)[1]
        os._exit(len(left))
    assert os.waitpid(child, 0)[1] == 0
