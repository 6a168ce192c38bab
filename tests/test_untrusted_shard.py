"""Shards that nobody should believe: cut, flipped, contrived.

The long version (SANDBOX_SOAK=1, `make soak`) flips more bytes.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzzing
import h5py
import numpy as np
import pytest
from written import HEADER, SCHEMA, bits, interrupted, part, ramp, sidecar, write

from sandbox.errors import FormatError
from sandbox.trajectory import COMPRESSIONS, ShardReader

SOAK = "SANDBOX_SOAK" in os.environ


def test_a_file_cut_anywhere_is_refused_whole(tmp_path: Path, twelve_ramps: Path) -> None:
    data, path = twelve_ramps.read_bytes(), tmp_path / "cut.h5"
    for length in (0, 1, 8, 47, 48, 100, 511, *range(1000, len(data), 900), len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(FormatError, match=r"cut\.h5"):
            ShardReader(path)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_flipped_bytes_are_refused_or_change_nothing(tmp_path: Path, compression: str) -> None:
    data, path = write(tmp_path, 3, compression).read_bytes(), tmp_path / "flipped.h5"
    chance, refused = random.Random(3), 0
    expected = [bits(ramp(n)) for n in range(3)]
    for _ in range(150 if SOAK else 50):
        flipped = bytearray(data)
        flipped[chance.randrange(len(data))] ^= chance.randrange(1, 256)
        path.write_bytes(flipped)
        try:
            with ShardReader(path) as reader:
                assert [bits(reader.read(n)) for n in range(len(reader))] == expected
                assert (reader.schema, reader.header) == (SCHEMA, HEADER)
        except FormatError:
            refused += 1
    assert refused > 10


def test_flipped_bytes_of_a_growing_shard_are_refused_in_time(tmp_path: Path) -> None:
    path = interrupted(tmp_path, 3)
    data, chance, refused = part(path).read_bytes(), random.Random(4), 0
    for _ in range(25 if SOAK else 15):
        flipped = bytearray(data)
        flipped[chance.randrange(4000)] ^= chance.randrange(1, 256)
        part(path).write_bytes(flipped)
        try:
            with ShardReader(part(path)) as reader:
                for n in range(len(reader)):
                    assert bits(reader.read(n)) == bits(ramp(n))
        except FormatError:
            refused += 1
    assert refused > 10


def _group(file: h5py.File) -> None:
    file.create_group("extra")


def _version(file: h5py.File) -> None:
    file.attrs["format_version"] = 3


def _no_version(file: h5py.File) -> None:
    del file.attrs["format_version"]


def _header(file: h5py.File) -> None:
    file.attrs["header"] = np.bytes_(b'{"run": "stolen"}')


def _no_records(file: h5py.File) -> None:
    del file.attrs["episodes"]


def _missing(file: h5py.File) -> None:
    del file["charge"]


def _replaced(name: str, **options: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        old = file[name][()]
        del file[name]
        file.create_dataset(name, **{"data": old, **options})

    return change


def _soft(file: h5py.File) -> None:
    del file["reward"]
    file["reward"] = h5py.SoftLink("/variation.mass")


def _external(file: h5py.File) -> None:
    del file["reward"]
    file["reward"] = h5py.ExternalLink("/etc/passwd", "/reward")


def _outside(file: h5py.File) -> None:
    count = len(file["reward"])
    del file["reward"]
    file.create_dataset("reward", (count,), "f8", external=[("/etc/passwd", 0, 8 * count)])


def _virtual(file: h5py.File) -> None:
    count = len(file["reward"])
    del file["reward"]
    layout = h5py.VirtualLayout((count,), "f8")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "reward", (count,))
    file.create_virtual_dataset("reward", layout)


def _claims(file: h5py.File) -> None:
    count = len(file["reward"])
    del file["pixels"]
    file.create_dataset("pixels", (count, 16, 16, 3), "u1", chunks=(1, 16, 16, 3))


def _index(name: str, at: int, value: int) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name][at] = value

    return change


def _more_rows(file: h5py.File) -> None:
    file["reward"].resize(len(file["reward"]) + 1, 0)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_group, "'extra' at its root"),
        (_version, "format version"),
        (_no_version, "no format_version"),
        (_header, "seal"),
        (_no_records, "no text 'episodes'"),
        (_missing, "no column 'charge'"),
        (_replaced("reward", dtype="float32"), "float32"),
        (_replaced("reward", dtype=">f8"), ">f8"),
        (_replaced("reward", data=["text"], dtype=h5py.string_dtype()), "object"),
        (_replaced("reward", data=3.0), "its schema says"),
        (_replaced("reward", chunks=(4,), compression="lzf"), "filters"),
        (_soft, "link to elsewhere"),
        (_external, "link to elsewhere"),
        (_outside, "in other files"),
        (_virtual, "in other files"),
        (_claims, "has 0 of 294 rows"),
        (_index("ep_len", 2, 0), "running sum"),
        (_index("ep_len", 2, -1), "running sum"),
        (_index("ep_offset", 2, 1), "running sum"),
        (_index("ep_len", 11, 1 << 30), "rows but `ep_len`"),
        (_more_rows, "rows but `ep_len`"),
    ],
)
def test_a_contrived_file_is_refused(
    tmp_path: Path, twelve_ramps: Path, change: Callable[[h5py.File], None], why: str
) -> None:
    path = tmp_path / "contrived.h5"
    path.write_bytes(twelve_ramps.read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(FormatError, match=why) as caught:
        ShardReader(path)
    assert str(path) in str(caught.value)


def test_what_is_no_shard_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.h5"
    text.write_text("step,reward\n0,0\n" * 100)
    with pytest.raises(FormatError, match="cannot be read as HDF5"):
        ShardReader(text)
    with pytest.raises(FormatError, match="no such file"):
        ShardReader(tmp_path / "absent.h5")
    with pytest.raises(FormatError, match="is a folder, where a file is wanted"):
        ShardReader(tmp_path)
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file.create_group("data/demo_0")
    with pytest.raises(FormatError, match="no trajectory file of ours"):
        ShardReader(tmp_path / "foreign.h5")


def test_what_follows_the_records_of_a_growing_shard_is_not_read(tmp_path: Path) -> None:
    path = interrupted(tmp_path, 3)
    with sidecar(path).open("ab") as file:
        file.write(b"\n" * (100 << 20))

    def read() -> list[Any]:
        with ShardReader(part(path)) as reader:
            return [record["episode"] for record in reader.records]

    with fuzzing.room_for(50 << 20):
        assert read() == [0, 1, 2]
    kept = sidecar(path).read_bytes().split(b"\n")[:2]
    sidecar(path).write_bytes(b"\n".join(kept) + b"\n{")
    with pytest.raises(FormatError, match="has 2 of the 3 records"):
        read()
