"""Shards that grow: killed anywhere, read meanwhile, on a full disk; no episode is half there.

The long version (SANDBOX_SOAK=1, `make soak`) kills at more lines.
"""

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from written import (
    APPEND,
    HEADER,
    SCHEMA,
    bits,
    child,
    finish,
    interrupted,
    output,
    part,
    ramp,
    sidecar,
    write,
)

from sandbox.errors import FormatError, InvalidInputError
from sandbox.trajectory import EpisodeBuffer, Schema, ShardReader, ShardWriter, StorageError

SOAK = "SANDBOX_SOAK" in os.environ


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
