"""Trajectory files: what goes in comes out, an episode is there whole or not at all.

The long version (SANDBOX_SOAK=1, `make soak`) kills at more lines, and flips more bytes.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzzing
import h5py
import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sandbox.errors import FormatError, InvalidInputError, UnknownNameError
from sandbox.evidence import merkle
from sandbox.trajectory import (
    COMPRESSIONS,
    Column,
    Episode,
    EpisodeBuffer,
    Schema,
    ShardReader,
    ShardWriter,
    StorageError,
    layout,
    shards,
)

SOAK = "SANDBOX_SOAK" in os.environ
SCHEMA = Schema(
    (
        Column("pixels", "uint8", (16, 16, 3), "t", "1"),
        Column("proprio", "float32", (2,), "t, episode", "m", ("x", "y")),
        Column("action", "float32", (1,), "t", "1"),
        Column("reward", "float64", (), "t", "1"),
        Column("terminated", "bool", (), "false", "1"),
        Column("truncated", "bool", (), "on the last row", "1"),
        Column("charge", "int64", (), "3 + t", "microcredit"),
        Column("step_idx", "int32", (), "t", "1"),
        Column("episode_idx", "int64", (), "episode", "1"),
        Column("variation.mass", "float64", (), "episode / 7", "kg"),
    )
)
HEADER = {"run": "ramp", "shard": 0}


GOLDEN = "d3f3f6931b27d81bb832005be1d3854ee40acbe2070c4fe2da54da2c8b4844ef"


def ramp(number: int, steps: int | None = None) -> Episode:
    """Return an episode in which everything at row t is t."""
    steps = 5 + 7 * number % 40 if steps is None else steps
    buffer = EpisodeBuffer(SCHEMA, steps + 1)
    for t in range(steps + 1):
        values = {
            "pixels": t % 256,
            "proprio": (t, number),
            "action": t,
            "reward": t,
            "truncated": t == steps,
            "charge": 3 + t,
            "step_idx": t,
            "episode_idx": number,
            "variation.mass": number / 7,
        }
        buffer.put(t, values)
    total = sum(3 + t for t in range(steps + 1))
    return buffer.episode(steps, {"episode": number, "charge_micro": total, "policy": "ramp"})


def write(folder: Path, count: int, compression: str = "zstd") -> Path:
    """Write a finished shard of `count` ramps."""
    path = folder / "shard-00000.h5"
    with ShardWriter(path, SCHEMA, HEADER, compression, sync=False) as writer:
        for number in range(count):
            writer.append(ramp(number))
    return path


def interrupted(folder: Path, count: int) -> Path:
    """Leave a growing shard of `count` ramps; return the path that it would be finished at."""
    path = folder / "shard-00000.h5"
    writer = ShardWriter(path, SCHEMA, HEADER, sync=False)
    for number in range(count):
        writer.append(ramp(number))
    writer.abandon()
    return path


def finish(path: Path, count: int) -> Path:
    """Resume a shard and append the ramps that it lacks."""
    with ShardWriter.resume(path, SCHEMA, HEADER, sync=False) as writer:
        for number in range(len(writer.records), count):
            writer.append(ramp(number))
    return path


def part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def sidecar(path: Path) -> Path:
    return path.with_name("shard-00000.episodes.jsonl")


def bits(episode: Episode) -> dict[str, Any]:
    return {name: (a.dtype, a.shape, a.tobytes()) for name, a in episode.rows.items()}


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run code beside this module in another process."""
    head = "import sys; sys.path.insert(0, sys.argv[1]); from test_trajectory import *\n"
    words = [str(Path(__file__).parent), *map(str, arguments)]
    command = [sys.executable, "-c", head + code, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def output(code: str, *arguments: object) -> str:
    """Return what the code prints in another process that ends well."""
    process = child(code, *arguments)
    text = process.communicate()[0]
    assert process.returncode == 0
    return text


APPEND = """
path, count, pause = Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
with ShardWriter.resume(path, SCHEMA, HEADER, sync=False) as writer:
    for number in range(len(writer.records), count):
        writer.append(ramp(number))
        print(number, flush=True)
        time.sleep(pause)
"""


@pytest.fixture(scope="session")
def twelve_ramps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished shard of 12 ramps, not to be changed."""
    return write(tmp_path_factory.mktemp("finished"), 12)


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


@pytest.mark.skipif(not SOAK, reason="long: run `make soak`")
def test_a_run_killed_at_random_keeps_what_it_said_and_ends_in_the_same_bytes(
    tmp_path: Path, twelve_ramps: Path
) -> None:
    path, chance = tmp_path / "shard-00000.h5", random.Random(7)
    for count in range(1, 13):
        process = child(APPEND, path, count, 0.001)
        assert process.stdout is not None
        said = int(process.stdout.readline() or -1)
        time.sleep(chance.random() * 0.006)
        process.kill()
        said = max([said, *(int(line) for line in process.communicate()[0].split())])
        if path.exists():  # It was quick: begin again.
            path.unlink()
            continue
        with ShardReader(part(path)) as reader:
            assert len(reader) > said
            for n in range(len(reader)):
                assert bits(reader.read(n)) == bits(ramp(n))
    assert finish(path, 12).read_bytes() == twelve_ramps.read_bytes()


KILL_AT_EVERY_LINE = """
import os, signal
folder, goal, offset = Path(sys.argv[2]), Path(sys.argv[3]).read_bytes(), int(sys.argv[4])
step = int(sys.argv[5])
ours = tuple(f"trajectory/{name}.py" for name in ("writer", "growing", "layout", "shard"))

def killing(line):
    left = line
    def trace(frame, event, argument):
        nonlocal left
        if not frame.f_code.co_filename.endswith(ours):
            return None
        left -= event == "line"
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace
    return trace

def forked(work):
    process = os.fork()
    if not process:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(process, 0)[1]

kills, line = 0, offset
while True:
    for file in folder.iterdir():
        file.unlink()
    path = folder / "shard-00000.h5"
    def doomed(line=line):
        sys.settrace(killing(line))
        finish(path, 2)
        finish(path, 3) if not path.exists() else None
    killed = forked(doomed)
    if killed == 0:
        break
    assert killed == signal.SIGKILL, killed
    kills += 1
    def again():
        finish(path, 2) if not path.exists() else None
        assert path.read_bytes() == goal
        assert [p.name for p in shards(path)] == ["shard-00000.h5"]
        assert len(sidecar(path).read_text().splitlines()) == 2
    assert forked(again) == 0, f"after a kill at line {line}"
    line += step
print(kills)
"""


def test_a_kill_at_any_line_of_the_writer_ends_in_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "goal").mkdir()
    (tmp_path / "run").mkdir()
    step = 37 if SOAK else 83
    kills = output(KILL_AT_EVERY_LINE, tmp_path / "run", write(tmp_path / "goal", 2), 4, step)
    assert int(kills) > 20


def test_a_kill_while_resuming_loses_nothing(tmp_path: Path, twelve_ramps: Path) -> None:
    path = interrupted(tmp_path, 5)
    for name in ("shard-00000.h5.part.new", "shard-00000.episodes.jsonl.new"):
        (tmp_path / name).write_bytes(b"half a file")
    assert finish(path, 12).read_bytes() == twelve_ramps.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "shard-00000.episodes.jsonl",
        "shard-00000.h5",
    ]


def test_a_torn_line_and_a_line_not_counted_are_no_episodes(
    tmp_path: Path, twelve_ramps: Path
) -> None:
    path = interrupted(tmp_path, 5)
    with sidecar(path).open("a") as lines:
        lines.write(json.dumps({"episode": 5, "digest": "0" * 64}) + '\n{"episode": 6, "di')
    with ShardReader(part(path)) as reader:
        assert len(reader) == 5
    assert finish(path, 12).read_bytes() == twelve_ramps.read_bytes()


def test_a_header_that_is_not_whole_is_no_episode(tmp_path: Path, twelve_ramps: Path) -> None:
    path = tmp_path / "shard-00000.h5"
    part(path).write_bytes(twelve_ramps.read_bytes()[:40])
    assert finish(path, 12).read_bytes() == twelve_ramps.read_bytes()


def test_a_damaged_episode_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    path = interrupted(tmp_path, 5)
    data = part(path).read_bytes()
    wanted = ramp(2).rows["reward"].tobytes()
    place = data.index(wanted) + len(wanted) - 1
    part(path).write_bytes(data[:place] + b"\x55" + data[place + 1 :])
    before = part(path).read_bytes()
    with pytest.raises(FormatError, match=r"shard-00000\.h5\.part: .*episode"):
        finish(path, 12)
    assert part(path).read_bytes() == before


def test_committed_episodes_without_their_records_are_refused(tmp_path: Path) -> None:
    path = interrupted(tmp_path, 5)
    lines = sidecar(path).read_text().splitlines(keepends=True)
    sidecar(path).write_text("".join(lines[:4]))
    with pytest.raises(FormatError, match="4 of the 5 records"):
        finish(path, 12)


def test_another_header_or_schema_is_not_gone_on_with(tmp_path: Path) -> None:
    path = interrupted(tmp_path, 2)
    with pytest.raises(InvalidInputError, match="another header"):
        ShardWriter.resume(path, SCHEMA, {"run": "other"})
    with pytest.raises(InvalidInputError, match="another schema"):
        ShardWriter.resume(path, Schema(SCHEMA.columns[1:]), HEADER)
    with pytest.raises(InvalidInputError, match="growing here"):
        ShardWriter(path, SCHEMA, HEADER)


def test_a_finished_shard_is_not_written_again(twelve_ramps: Path) -> None:
    for begin in (ShardWriter, ShardWriter.resume):
        with pytest.raises(InvalidInputError, match="is finished"):
            begin(twelve_ramps, SCHEMA, HEADER)


# While it grows.


def test_readers_made_at_different_times_read_a_shard_that_another_process_writes(
    tmp_path: Path,
) -> None:
    path = tmp_path / "shard-00000.h5"
    process = child(APPEND, path, 400, 0.002)
    assert process.stdout is not None
    readers: list[ShardReader] = []
    for line in process.stdout:
        if int(line) % 8 == 0:
            readers.append(ShardReader(part(path)))
            assert len(readers[-1]) > int(line)
        for reader in readers[-3:]:
            last = len(reader) - 1
            assert bits(reader.read(last)) == bits(ramp(last))
        if len(readers) == 10:
            break
    process.kill()
    process.communicate()
    assert len({len(reader) for reader in readers}) > 2


def test_this_process_reads_a_shard_that_it_writes(tmp_path: Path) -> None:
    path = tmp_path / "shard-00000.h5"
    with ShardWriter(path, SCHEMA, HEADER, sync=False) as writer:
        writer.append(ramp(0))
        with ShardReader(part(path)) as reader:
            assert bits(reader.read(0)) == bits(ramp(0))
        writer.append(ramp(1))
    with ShardReader(part(path)) as reader:  # Finished meanwhile: read by its final name.
        assert (reader.path, len(reader)) == (path, 2)


def test_episodes_held_back_are_committed_together_and_give_the_same_bytes(
    tmp_path: Path, twelve_ramps: Path
) -> None:
    path = tmp_path / "shard-00000.h5"
    buffer, seen, kept = EpisodeBuffer(SCHEMA, 60), list[int](), list[dict[str, Any]]()
    with ShardWriter(path, SCHEMA, HEADER, sync=False, hold_bytes=36_000) as writer:
        for number in range(12):
            episode = ramp(number)
            for name, rows in episode.rows.items():  # One buffer for all: what is held is copied.
                buffer.arrays[name][: len(episode)] = rows
            kept.append(writer.append(buffer.episode(len(episode) - 1, episode.record)))
            seen.append(len(ShardReader(part(path))))
            assert seen[-1] == len(writer.records) == number + 1 - writer.held
        assert (writer.records, writer.held) == (kept[: seen[-1]], 12 - seen[-1])
        assert writer.held > 0
    assert 3 < len(set(seen)) < 8
    assert writer.records == kept
    assert path.read_bytes() == twelve_ramps.read_bytes()


def test_what_is_held_back_when_a_writer_is_left_is_lost_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "shard-00000.h5"
    writer = ShardWriter(path, SCHEMA, HEADER, sync=False, hold_bytes=1 << 30)
    writer.append(ramp(0))
    writer.commit()
    writer.append(ramp(1))
    writer.abandon()
    writer.commit()
    assert (len(writer.records), writer.held, len(ShardReader(part(path)))) == (1, 0, 1)


def test_left_by_an_exception_a_shard_keeps_growing(tmp_path: Path) -> None:
    path = tmp_path / "shard-00000.h5"
    writer = ShardWriter(path, SCHEMA, HEADER, sync=False)

    def fail() -> None:
        with writer:
            writer.append(ramp(0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not path.exists()
    with ShardReader(part(path)) as reader:
        assert len(reader) == 1
    with pytest.raises(StorageError, match="closed"):
        writer.append(ramp(1))


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


# The disk refuses.

FULL = """
import os, resource
for word in sys.argv[2:]:
    path, limit, hold = word.split("|")
    if os.fork():
        assert os.wait()[1] == 0
        continue
    sys.dont_write_bytecode = True  # It would be cut.
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    writer = None
    try:
        writer = ShardWriter(Path(path), SCHEMA, HEADER, "gzip", sync=False, hold_bytes=int(hold))
        with writer:
            for number in range(40):
                writer.append(ramp(number))
    except StorageError as error:
        assert path in str(error), error
    print(len(writer.records) if writer else 0, flush=True)
    os._exit(0)
"""
ROOM = {  # The most bytes of a file, and how many are held back.
    "none": (0, 0),
    "a header": (3000, 0),
    "most": (2_200_000, 100_000),
    "more": (2_300_000, 0),
    "more, held back": (2_300_000, 100_000),
    "nearly all": (2_400_000, 0),
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, int]]:
    """Shards of 40 ramps for which there was no room, and how many each says that it keeps."""
    paths = {room: tmp_path_factory.mktemp("room") / "shard-00000.h5" for room in ROOM}
    words = [f"{path}|{ROOM[room][0]}|{ROOM[room][1]}" for room, path in paths.items()]
    counts = map(int, output(FULL, *words).split())
    return dict(zip(ROOM, zip(paths.values(), counts, strict=True), strict=True))


@pytest.mark.parametrize("room", ROOM)
def test_a_full_disk_keeps_what_was_committed(
    tmp_path: Path, filled: dict[str, tuple[Path, int]], room: str
) -> None:
    path, done = filled[room]
    assert done < 40 or not path.exists()
    if done:
        with ShardReader(part(path)) as reader:
            assert [bits(reader.read(n)) for n in range(len(reader))] == [
                bits(ramp(n)) for n in range(done)
            ]
    assert finish(path, 12 + done).read_bytes() == write(tmp_path, 12 + done).read_bytes()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        ShardWriter(tmp_path / "nowhere" / "shard-00000.h5", SCHEMA, HEADER)


# Episodes that do not fit, or contradict themselves.


def test_an_episode_of_another_schema_is_refused_and_nothing_is_done(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "shard-00000.h5", SCHEMA, HEADER, sync=False) as writer:
        good = ramp(0)
        small = {**good.rows, "proprio": good.rows["proprio"].astype("float64")}
        for rows, why in (
            ({**good.rows, "extra": good.rows["reward"]}, "has columns"),
            ({name: a for name, a in good.rows.items() if name != "pixels"}, "has columns"),
            (small, "proprio.* is float64"),
        ):
            with pytest.raises(FormatError, match=why):
                writer.append(Episode(rows, good.record))
        with pytest.raises(FormatError, match="not plain JSON"):
            writer.append(Episode(good.rows, {**good.record, "return": float("nan")}))
        assert writer.records == []
        writer.append(good)
    with ShardReader(tmp_path / "shard-00000.h5") as reader:
        assert len(reader) == 1


def test_an_unknown_compression_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'zstd'"):
        ShardWriter(tmp_path / "shard-00000.h5", SCHEMA, HEADER, "zst")


@pytest.mark.parametrize(
    ("name", "row", "value", "why"),
    [
        ("reward", 0, 1.0, "reward\\[0\\]"),
        ("action", 2, np.nan, "rows 2, 5 of 6"),
        ("action", 5, 0.5, "rows none of 6"),
        ("terminated", 3, True, "`terminated` is true at row 3"),
        ("truncated", 3, True, "`truncated` is true at row 3"),
        ("step_idx", 4, 7, "count from 0"),
        ("charge", 1, -4, "-4 microcredits at row 1"),
        ("charge", 1, 5, "adds up to"),
    ],
)
def test_an_episode_that_contradicts_itself_is_refused(
    name: str, row: int, value: float, why: str
) -> None:
    rows = {**ramp(0).rows}
    rows[name][row] = value
    with pytest.raises(FormatError, match=why):
        Episode(rows, ramp(0).record)


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(FormatError, match="'proprio' has 5 rows"):
        Episode({**ramp(0).rows, "proprio": ramp(0).rows["proprio"][:-1]}, ramp(0).record)
    rows = {name: a for name, a in ramp(0).rows.items() if name != "charge"}
    with pytest.raises(FormatError, match="no column charge"):
        Episode(rows, ramp(0).record)


def test_an_episode_is_the_part_of_its_buffer_that_was_filled() -> None:
    buffer = EpisodeBuffer(SCHEMA, 6)
    for name, array in ramp(0).rows.items():
        buffer.arrays[name][:] = array
    episode = buffer.episode(5, ramp(0).record)
    assert bits(episode) == bits(ramp(0))
    assert all(np.shares_memory(episode.rows[name], a) for name, a in buffer.arrays.items())
    with pytest.raises(FormatError, match="max_rows=7"):
        buffer.episode(6, {})


STARTS = ("seed", "run", "reset_options")  # The same in every row of an episode.


@pytest.mark.parametrize("more", [(), (*STARTS, "seed_of_another", "runs")])
def test_the_digest_is_what_its_documentation_says(more: tuple[str, ...]) -> None:
    bare, leaves = ramp(0), list[bytes]()
    rows = {n: np.full((len(bare), 3), place, np.uint8) for place, n in enumerate(more)}
    episode = Episode({**bare.rows, **rows}, bare.record)
    whose = json.dumps([episode.record.get("run"), episode.record.get("episode")])
    head = hashlib.sha256(f"{whose}\n".encode())
    named = ("episode_idx", *STARTS)
    constant = [n for n in sorted(episode.rows) if n in named or n.startswith("variation.")]
    for name in constant:
        head.update(episode.rows[name].tobytes("C"))
    for t in range(len(episode)):
        leaf = b"\x01" + head.digest() + t.to_bytes(4, "little")
        for name in (n for n in sorted(episode.rows) if n not in constant):
            row = episode.rows[name][t].tobytes("C")
            leaf += row if len(row) <= 2048 else blake3(row).digest()
        assert episode.leaf(t) == leaf
        leaves.append(merkle.leaf_hash(leaf))
    assert episode.leaves() == leaves
    assert episode.digest == merkle.root(leaves).hex()
    assert (episode.digest == GOLDEN) == (not more)


def test_another_run_or_place_has_another_digest() -> None:
    episode = ramp(0)
    for change in ({"run": "another"}, {"episode": 7}):
        assert Episode(episode.rows, {**episode.record, **change}).digest != episode.digest


def test_the_digest_is_of_values_not_of_memory() -> None:
    rows = {
        name: array.astype(array.dtype.newbyteorder(">")) for name, array in ramp(3).rows.items()
    }
    rows["pixels"] = np.asfortranarray(rows["pixels"])
    assert Episode(rows, ramp(3).record).digest == ramp(3).digest


@pytest.mark.parametrize("name", SCHEMA.names)
def test_the_digest_depends_on_every_column(name: str) -> None:
    episode = ramp(1)
    rows = {**episode.rows, name: episode.rows[name].copy()}
    rows[name].view(np.uint8).reshape(-1)[-1] ^= 1
    changed = object.__new__(Episode)  # Unchecked: the last bit may contradict the rest.
    object.__setattr__(changed, "rows", rows)
    object.__setattr__(changed, "record", episode.record)
    assert changed.digest != episode.digest


# Schemas.


def test_a_schema_survives_json() -> None:
    assert Schema.from_json(json.loads(json.dumps(SCHEMA.to_json()))) == SCHEMA
    assert SCHEMA.row_bytes == 768 + 8 + 4 + 8 + 1 + 1 + 8 + 4 + 8 + 8


def _column(**changes: object) -> dict[str, Any]:
    return {"columns": [*SCHEMA.to_json()["columns"][1:], {**_PIXELS, **changes}]}


_PIXELS = SCHEMA.to_json()["columns"][0]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (None, "no list of `columns`"),
        ({"columns": 3}, "no list of `columns`"),
        ({"columns": [7]}, "expected an object"),
        ({"columns": []}, "has no column action"),
        (_column(name="a/b"), "letters"),
        (_column(name=".."), "letters"),
        (_column(name="reward"), "twice"),
        (_column(name="ep_len"), "the file's own"),
        (_column(dtype="object"), "'object'"),
        (_column(dtype=3), "must be text"),
        (_column(shape=[-1]), "at least 1"),
        (_column(shape=[True]), "list of int"),
        (_column(shape=[1 << 20, 1 << 20]), "bytes"),
        (_column(shape="16"), "list of int"),
        (_column(elements=["x"]), "names 1 elements"),
        (_column(elements=None), "list of str"),
    ],
)
def test_a_schema_that_is_none_is_refused(data: object, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        Schema.from_json(data)


# Files that nobody should believe.


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
