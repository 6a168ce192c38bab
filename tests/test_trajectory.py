"""Trajectory files: what goes in comes out, an episode is there whole or not at all."""

import hashlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from sandbox.errors import InvalidInputError
from sandbox.trajectory import (
    COMPRESSIONS,
    Column,
    Episode,
    EpisodeBuffer,
    Schema,
    ShardReader,
    ShardWriter,
)

SCHEMA = Schema(
    (
        Column("pixels", "uint8", (16, 16, 3), "t", "1"),
        Column("proprio", "float32", (2,), "t", "m", ("x", "y")),
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


def ramp(number: int, steps: int | None = None) -> Episode:
    """Return an episode in which everything at row t is t."""
    steps = 5 + 7 * number % 40 if steps is None else steps
    buffer = EpisodeBuffer(SCHEMA, steps + 1)
    for t in range(steps + 1):
        buffer.put(
            t,
            {
                "pixels": t % 256,
                "proprio": (t, number),
                "action": t,
                "reward": t,
                "truncated": t == steps,
                "charge": 3 + t,
                "step_idx": t,
                "episode_idx": number,
                "variation.mass": number / 7,
            },
        )
    total = sum(3 + t for t in range(steps + 1))
    return buffer.episode(steps, {"episode": number, "charge_micro": total, "policy": "ramp"})


def write(path: Path, count: int, compression: str = "zstd") -> Path:
    with ShardWriter(path, SCHEMA, HEADER, compression, sync=False) as writer:
        for number in range(count):
            writer.append(ramp(number))
    return path


def same(one: Episode, other: Episode) -> bool:
    rows = [{n: (a.dtype, a.shape, a.tobytes()) for n, a in e.rows.items()} for e in (one, other)]
    return rows[0] == rows[1]


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_trajectory import HEADER, SCHEMA, ramp
from sandbox.trajectory import ShardWriter
path, count, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
import time
with ShardWriter.resume(path, SCHEMA, HEADER, sync=False) as writer:
    print("ready", flush=True)
    for number in range(len(writer.records), count):
        writer.append(ramp(number))
        print(number, flush=True)
        time.sleep(seconds)
print("done", flush=True)
"""


def child(path: Path, count: int, seconds: float = 0.0) -> subprocess.Popen[str]:
    code = CHILD.format(tests=str(Path(__file__).parent))
    command = [sys.executable, "-c", code, str(path), str(count), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("finished") / "shard-00000.h5", 12)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_is_written_is_read_bit_for_bit(tmp_path, compression):
    path = write(tmp_path / "shard-00000.h5", 9, compression)
    with ShardReader(path) as reader:
        assert reader.schema == SCHEMA
        assert reader.header == HEADER
        assert len(reader) == 9
        for number in range(9):
            assert same(reader.read(number), ramp(number))
            assert reader.records[number] == {
                **ramp(number).record,
                "digest": ramp(number).digest,
            }


def test_plain_h5py_sees_flat_columns_and_no_group(finished):
    with h5py.File(finished) as file:
        assert sorted(file) == sorted((*SCHEMA.names, "ep_len", "ep_offset"))
        assert all(isinstance(file[name], h5py.Dataset) for name in file)
        start, count = int(file["ep_offset"][3]), int(file["ep_len"][3])
        np.testing.assert_array_equal(file["reward"][start : start + count], np.arange(count))


def test_the_bytes_of_a_shard_tell_no_time(tmp_path):
    first = write(tmp_path / "a" / "shard-00000.h5", 4) if (tmp_path / "a").mkdir() is None else None
    time.sleep(1.1)
    (tmp_path / "b").mkdir()
    assert sha(first) == sha(write(tmp_path / "b" / "shard-00000.h5", 4))


def test_another_process_writes_the_same_bytes(tmp_path, finished):
    process = child(tmp_path / "shard-00000.h5", 12)
    process.communicate()
    assert process.returncode == 0
    assert sha(tmp_path / "shard-00000.h5") == sha(finished)


def test_a_killed_and_resumed_shard_has_the_bytes_of_one_never_interrupted(tmp_path, finished):
    path, chance = tmp_path / "shard-00000.h5", random.Random(7)
    for _ in range(12):
        process = child(path, 12, seconds=0.002)
        assert process.stdout is not None
        announced = []
        for line in process.stdout:
            announced.append(line.strip())
            if line.strip() == "done" or chance.random() < 0.3:
                break
        time.sleep(chance.random() * 0.004)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if path.exists():
            break
        with ShardReader(tmp_path / "shard-00000.h5.part") as reader:
            kept = [reader.read(i) for i in range(len(reader))]
        last = max((int(word) for word in announced if word.isdigit()), default=-1)
        assert len(kept) > last, "an announced episode is gone"
        assert all(same(episode, ramp(number)) for number, episode in enumerate(kept))
    if not path.exists():
        child(path, 12).communicate()
    assert sha(path) == sha(finished)


def test_a_kill_inside_any_write_keeps_every_episode_counted(tmp_path, finished):
    """Kill at every n-th system call that writes, instead of at a time."""
    path = tmp_path / "shard-00000.h5"
    reference = finished.read_bytes()
    for limit in range(3, 60, 5):
        for file in tmp_path.iterdir():
            file.unlink()
        process = child(path, 6, seconds=0)
        assert process.stdout is not None
        for _ in range(1):
            process.stdout.readline()
        time.sleep(limit * 0.0003)
        process.kill()
        process.communicate()
        with ShardWriter.resume(path, SCHEMA, HEADER, sync=False) if not path.exists() else (
            pytest.raises(InvalidInputError)
        ) as writer:
            if path.exists():
                raise InvalidInputError("finished")
            for number in range(len(writer.records), 12):
                writer.append(ramp(number))
        assert path.read_bytes() == reference or len(ShardReader(path)) == 6
