"""Trajectory files: what goes in comes out, and the bytes depend on the episodes alone."""

import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from written import APPEND, HEADER, SCHEMA, bits, output, ramp, write

from sandbox.errors import FormatError, UnknownNameError
from sandbox.trajectory import (
    COMPRESSIONS,
    Column,
    Episode,
    Schema,
    ShardReader,
    ShardWriter,
    layout,
    shards,
)

# What goes in comes out.


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_is_written_is_read_bit_for_bit(tmp_path: Path, compression: str) -> None:
    with ShardReader(write(tmp_path, 9, compression)) as reader:
        assert reader.schema == SCHEMA
        assert reader.header == HEADER
        assert [bits(reader.read(n)) for n in range(len(reader))] == [
            bits(ramp(n)) for n in range(9)
        ]
        assert reader.records == [{**ramp(n).record, "digest": ramp(n).digest} for n in range(9)]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_bits_survive_the_disk(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    kinds = st.sampled_from(["float16", "float32", "float64", "int16", "uint8", "int64", "bool"])
    dtype = data.draw(kinds)
    shape = data.draw(arrays.array_shapes(max_dims=3, max_side=5))
    column = Column("wild", dtype, shape, "any bits", "1")
    schema = Schema((*SCHEMA.columns, column))
    bare, path = ramp(0), tmp_path_factory.mktemp("any") / "shard-00000.h5"
    size = len(bare) * column.row_bytes
    raw = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8)
    if dtype == "bool":
        raw = raw & 1
    wild = raw.view(dtype).reshape(len(bare), *shape)
    episode = Episode({**bare.rows, "wild": wild}, bare.record)
    with ShardWriter(path, schema, {}, data.draw(st.sampled_from(COMPRESSIONS)), sync=False) as w:
        w.append(episode)
    with ShardReader(path) as reader:
        assert bits(reader.read(0)) == bits(episode)


def test_plain_h5py_sees_flat_columns_at_the_root_and_nothing_else(twelve_ramps: Path) -> None:
    with h5py.File(twelve_ramps) as file:
        assert sorted(file) == sorted((*SCHEMA.names, "ep_len", "ep_offset", "row"))
        start, count = int(file["ep_offset"][3]), int(file["ep_len"][3])
        assert file["reward"][start : start + count].tolist() == list(range(count))
        assert len(file["reward"]) == sum(len(ramp(n)) for n in range(12))


def test_columns_of_an_episode_are_read_alone(twelve_ramps: Path) -> None:
    with ShardReader(twelve_ramps) as reader:
        rows = reader.arrays(-1, ["reward"])
        assert list(rows) == ["reward"]
        assert rows["reward"].tolist() == ramp(11).rows["reward"].tolist()
        with pytest.raises(UnknownNameError, match="Did you mean 'reward'"):
            reader.arrays(0, ["rewrad"])
        with pytest.raises(IndexError, match="no episode 12"):
            reader.read(12)


def test_a_shard_without_an_episode_is_a_shard(tmp_path: Path) -> None:
    with ShardReader(write(tmp_path, 0)) as reader:
        assert (len(reader), reader.rows, reader.records) == (0, 0, [])


def test_no_column_takes_a_name_that_is_the_files_own(tmp_path: Path) -> None:
    taken = Schema((*SCHEMA.columns, Column("row", "int64", (), "t", "1")))
    with pytest.raises(FormatError, match="that name is the file's own"):
        ShardWriter(tmp_path / "shard-00000.h5", taken, {}, sync=False)
    assert list(tmp_path.iterdir()) == []


# The bytes depend on the episodes alone.


def test_the_bytes_of_a_shard_tell_no_time(tmp_path: Path, twelve_ramps: Path) -> None:
    time.sleep(max(0.0, twelve_ramps.stat().st_mtime + 1.1 - time.time()))  # HDF5 counts seconds.
    assert write(tmp_path, 12).read_bytes() == twelve_ramps.read_bytes()


def test_the_bytes_of_a_shard_do_not_depend_on_when_python_frees_its_columns(
    tmp_path: Path, twelve_ramps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[h5py.Dataset] = []
    create = layout.create_column

    def holding(*given: Any, **more: Any) -> h5py.Dataset:
        held.append(create(*given, **more))
        return held[-1]

    monkeypatch.setattr(layout, "create_column", holding)
    assert write(tmp_path, 12).read_bytes() == twelve_ramps.read_bytes()
    assert held


def test_another_process_writes_the_same_bytes(tmp_path: Path, twelve_ramps: Path) -> None:
    path = tmp_path / "shard-00000.h5"
    output(APPEND, path, 12, 0)
    assert path.read_bytes() == twelve_ramps.read_bytes()


def test_shards_are_found_in_order_and_a_finished_one_hides_its_part(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for name in ("00010.h5.part", "00002.h5", "00009.h5", "00009.h5.part", "00010.h5.part.new"):
        (folder / f"shard-{name}").touch()
    assert [path.name for path in shards(tmp_path)] == [
        "shard-00002.h5",
        "shard-00009.h5",
        "shard-00010.h5.part",
    ]
    assert shards(folder / "shard-00002.h5") == [folder / "shard-00002.h5"]
    assert shards(folder, missing_ok=True) == []
    with pytest.raises(FormatError, match="does not exist"):
        shards(tmp_path / "nowhere")


def test_an_unknown_compression_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'zstd'"):
        ShardWriter(tmp_path / "shard-00000.h5", SCHEMA, HEADER, "zst")
