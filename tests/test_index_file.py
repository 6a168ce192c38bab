"""The index of a dataset is kept in a file, and never believed against the shards."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import fuzzing
import numpy as np
import pytest
from episodes import record, run

from sandbox import Dataset, Windows, content
from sandbox.errors import FormatError
from sandbox.trajectory import Schema, ShardReader, reader

COUNT = 10


def records(name: str = "a", **changes: Any) -> list[dict[str, Any]]:
    """Records of a run whose policies come in turn."""
    policies = ("random", "play", "scripted")
    return [record(name * 64, n, policy=policies[n % 3], **changes) for n in range(COUNT)]


def index_files() -> list[Path]:
    """The index files that there are."""
    return sorted((content.cache() / "index").glob("*"))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each shard is read from now on, by its run and name."""
    count: Counter[str] = Counter()
    init = ShardReader.__init__

    def counted(self: ShardReader, path: str | Path, schema: Schema | None = None) -> None:
        count[f"{Path(path).parent.parent.name}/{Path(path).name}"] += 1
        init(self, path, schema)

    monkeypatch.setattr(reader.ShardReader, "__init__", counted)
    return count


def known(dataset: Dataset) -> list[tuple[Any, ...]]:
    """All that is known of each episode without its shard."""
    facts, index = dataset.facts, dataset.index
    columns = [index.shard, index.first, index.lengths]
    for name, column in sorted(facts.columns.items()):
        texts = np.array([*facts.names.get(name, ()), None])
        columns.append(texts[column] if name in facts.names else column)
    return [tuple(map(str, row)) for row in zip(*(c.tolist() for c in columns), strict=True)]


def test_a_dataset_that_was_opened_before_is_opened_and_chosen_from_without_a_shard(
    tmp_path: Path, read: Counter[str]
) -> None:
    run(tmp_path / "runs" / "a", records("a"))
    run(tmp_path / "runs" / "b", records("b"))
    first = Dataset(tmp_path / "runs")
    assert sum(read.values()) == 6
    read.clear()
    again = Dataset(tmp_path / "runs")
    assert known(again) == known(first)
    assert again.schema == first.schema
    chosen = again.select(policy="play", factors={"t_mass_kg": 0.5}, success=False)
    train, val = chosen.train_val(0.5, twins="skip")
    assert len(train) + len(val) == len(chosen) == 6
    assert len(Windows(chosen, 2, ("reward",))) > 0
    assert len(Dataset(tmp_path / "runs" / "b")) == COUNT  # Its own index was made on the way.
    assert not read
    again.record(9)
    assert read == {"a/shard-00002.h5": 1}


def test_another_run_in_a_folder_costs_no_reading_of_those_before(
    tmp_path: Path, read: Counter[str]
) -> None:
    run(tmp_path / "a", records("a"))
    Dataset(tmp_path)
    run(tmp_path / "b", records("b"), shard_episodes=20)
    read.clear()
    assert len(Dataset(tmp_path)) == 2 * COUNT
    assert read == {"b/shard-00000.h5": 1}


def test_a_growing_shard_is_read_each_time_and_a_finished_one_once(
    tmp_path: Path, read: Counter[str]
) -> None:
    made = records()
    run(tmp_path / "a", made[:6], finished=False)
    for _ in range(2):
        read.clear()
        assert len(Dataset(tmp_path / "a")) == 6
        assert read["a/shard-00001.h5.part"] == 1
    assert read == {"a/shard-00001.h5.part": 1}
    whole = run(tmp_path / "whole", made)
    for name in ("shard-00001.h5", "shard-00002.h5"):
        shutil.move(whole / "shards" / name, tmp_path / "a" / "shards" / name)
    (tmp_path / "a/shards/shard-00001.h5.part").unlink()
    read.clear()
    assert [one.episode for one in Dataset(tmp_path / "a").records] == list(range(COUNT))
    read.clear()
    assert len(Dataset(tmp_path / "a")) == COUNT
    assert not read


def test_one_shard_of_many_is_indexed_beside_the_others(tmp_path: Path, read: Counter[str]) -> None:
    shards = run(tmp_path / "a", records()) / "shards"
    assert len(Dataset(shards / "shard-00001.h5")) == 4
    assert len(Dataset(shards / "shard-00002.h5")) == 2
    read.clear()
    assert len(Dataset(shards / "shard-00001.h5")) == 4
    assert len(Dataset([shards / "shard-00001.h5", shards / "shard-00002.h5"])) == 6
    assert not read
    assert len(Dataset(tmp_path / "a")) == COUNT
    assert sum(read.values()) == 1
    assert len(index_files()) == 1


CHANGES = {
    "other bytes": lambda old, new: old.write_bytes(new.read_bytes()),
    "another file of the same times": lambda old, new: _replaced(old, new),
    "only its times": lambda old, new: os.utime(old, ns=(5, 5)),
}


def _replaced(old: Path, new: Path) -> None:
    times = old.stat()
    os.replace(new, old)
    os.utime(old, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("change", CHANGES)
def test_a_shard_that_changed_is_read_again(
    change: str, tmp_path: Path, read: Counter[str]
) -> None:
    path = run(tmp_path / "a", records()) / "shards/shard-00001.h5"
    other = run(tmp_path / "b", records(success=True)) / "shards/shard-00001.h5"
    Dataset(tmp_path / "a")
    time.sleep(0.02)  # The clock of the file system ticks.
    CHANGES[change](path, other)
    read.clear()
    found = Dataset(tmp_path / "a")
    assert read == {"a/shard-00001.h5": 1}
    assert [one.success for one in found.records] == (found.facts.columns["success"] == 1).tolist()
    assert sum(one.success for one in found.records) == (0 if "only" in change else 4)


def test_a_damaged_index_is_made_again_whatever_byte_it_is(
    tmp_path: Path, read: Counter[str]
) -> None:
    path = run(tmp_path / "a", records())
    right = known(Dataset(path))
    (file,) = index_files()
    data = file.read_bytes()
    step = 1 if "SANDBOX_SOAK" in os.environ else 61
    for n in (*range(0, len(data), step), *range(len(data) - 400, len(data), -(-step // 8))):
        for bit in (0x01, 0x10):
            file.write_bytes(data[:n] + bytes([data[n] ^ bit]) + data[n + 1 :])
            assert known(Dataset(path)) == right, n
    damaged = sum(read.values())
    assert damaged > 30
    for part in (b"", b"x", data[: len(data) // 2], data[:-1], data + data):
        file.write_bytes(part)
        assert known(Dataset(path)) == right
    assert known(Dataset(path)) == right


def _edited(file: Path, name: str, change: Any) -> None:
    """Write an index file that is whole, and says something else in one part."""
    with np.load(file) as kept:
        parts = {part: kept[part] for part in kept}
    columns = json.loads(parts["head"].tobytes())["columns"]
    part = str(columns.index(name)) if name in columns else name
    parts[part] = change(parts[part])
    whole = io.BytesIO()
    np.savez(whole, **parts)
    file.write_bytes(whole.getvalue())


def _other(old: bytes, new: bytes) -> Any:
    def change(head: Any) -> Any:
        assert old in head.tobytes()
        return np.frombuffer(head.tobytes().replace(old, new), np.uint8)

    return change


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("head", lambda head: np.frombuffer(b"[]", np.uint8)),
        ("head", lambda head: head[:-1]),
        ("head", _other(b'"format": 1', b'"format": 2')),
        ("head", _other(b'"seed", ', b"")),
        ("head", _other(b'"split": ["int32", 0]', b'"split": ["int32", 1]')),
        ("rows", lambda column: column[:-1]),
        ("seed", lambda column: column[:-1]),
        ("policy", lambda column: column + 7),
        ("digest", lambda column: column[:3]),
    ],
)
def test_an_index_of_another_form_is_made_again(part: str, change: Any, tmp_path: Path) -> None:
    path = run(tmp_path / "a", records())
    right = known(Dataset(path))
    _edited(index_files()[0], part, change)
    assert known(Dataset(path)) == right


@pytest.mark.parametrize("many", [False, True])
def test_an_index_that_lies_is_found_at_the_first_read_and_made_again(
    many: bool, tmp_path: Path
) -> None:
    path = run(tmp_path / "a", records(), lengths=(3, 5))
    if many:
        run(tmp_path / "b", records("b"))
        path = tmp_path
    right = known(Dataset(path))
    whole = max(index_files(), key=lambda file: file.stat().st_size)

    def swapped(rows: Any) -> Any:
        rows[[4, 5]] = rows[[5, 4]]
        return rows

    for read in (
        lambda found: found.episode(4),
        lambda found: found.record(6),
        lambda found: Windows(found, 3, ("reward",)).__getitems__(range(9)),
    ):
        _edited(whole, "rows", swapped)
        lying = Dataset(path)
        assert known(lying) != right
        with pytest.raises(FormatError, match=r"not those of its index.*open the dataset again"):
            read(lying)
        assert known(Dataset(path)) == right


def test_an_index_with_other_digests_is_found_when_the_episode_is_read(tmp_path: Path) -> None:
    path = run(tmp_path / "a", records())
    right = known(Dataset(path))
    _edited(index_files()[0], "digest", lambda column: column[::-1])
    with pytest.raises(FormatError, match="not those of its index"):
        Dataset(path).record(0)
    assert known(Dataset(path)) == right


def test_a_dataset_opens_without_a_folder_that_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run(tmp_path / "a", records())
    (tmp_path / "file").write_text("")
    for home in (tmp_path / "file", Path("/proc/nowhere"), Path("/dev/null")):
        monkeypatch.setenv("SANDBOX_HOME", str(home))
        for _ in range(2):
            assert len(Dataset(path).select(policy="play")) == 3


def test_a_full_disk_leaves_no_index_and_opens_the_dataset(tmp_path: Path) -> None:
    path = run(tmp_path / "a", records())
    code = (
        "import resource, signal, sandbox\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"print(len(sandbox.Dataset({str(path)!r})))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "10\n"
    assert index_files() == []


def test_processes_that_open_a_dataset_at_once_find_the_same(tmp_path: Path) -> None:
    path = run(tmp_path / "a", records(), shard_episodes=1)
    code = f"import sandbox; print([one.seed for one in sandbox.Dataset({str(path)!r}).records])"
    command = [sys.executable, "-c", code]
    opening = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = {one.communicate()[0] for one in opening}
    assert told == {f"{[one['seed'] for one in records()]}\n"}


def test_an_index_file_that_unpacks_to_more_than_it_has_is_made_again(tmp_path: Path) -> None:
    path = run(tmp_path / "a", records())
    assert len(Dataset(path)) == COUNT
    (file,) = index_files()
    with zipfile.ZipFile(file) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name, part in parts.items():
            bomb.writestr(name, part + bytes(1 << 29) * (name == "head.npy"))
    with fuzzing.room_for(1 << 28):
        assert len(Dataset(path).select(policy="play")) == 3
    with zipfile.ZipFile(file) as new:
        assert {one.compress_type for one in new.infolist()} == {zipfile.ZIP_STORED}
