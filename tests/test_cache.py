"""The cache of decoded rows: decoded once, checked, shared, bounded, and never of other data."""

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ramps import LENGTHS, SCHEMA, ramp, write
from running import cli
from torch.utils.data import DataLoader

from sandbox.dataset import cache_folder
from sandbox.dataset.batches import Batches
from sandbox.dataset.decoded import MARKS, ROWS
from sandbox.dataset.windows import Windows
from sandbox.errors import FormatError, InvalidInputError, SandboxError
from sandbox.trajectory import ShardReader, ShardWriter, shards

COLUMNS = ("pixels", "action", "reward", "step_idx", "episode_idx")


@pytest.fixture(scope="module")
def cached_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("cache") / "run")


def content(batches: Any) -> list[dict[str, list[Any]]]:
    """All values of an epoch; NaN, which equals nothing, as -1."""
    return [
        {name: values.double().nan_to_num(-1).tolist() for name, values in batch.items()}
        for batch in batches
    ]


def wanted(run: Path, **options: Any) -> list[dict[str, list[Any]]]:
    return content(Batches(run, 6, 3, COLUMNS, **options))


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that will have a name for each read of the shards' rows from now on."""
    reads: list[str] = []
    for name in ("fill", "read"):
        method = getattr(ShardReader, name)

        def counted(self: ShardReader, *given: Any, _did: Any = method, _name: str = name) -> Any:
            if threading.current_thread().name == "sandbox-cache" or _name == "fill":
                reads.append(f"{threading.current_thread().name} {_name}")
            return _did(self, *given)

        monkeypatch.setattr(ShardReader, name, counted)
    return reads


def folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir())


@pytest.mark.parametrize("where", ["ram", "disk", "path"])
def test_a_cache_gives_the_rows_of_the_shards_and_reads_these_no_more(
    cached_run: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = wanted(cached_run)
    place = tmp_path / "kept" if where == "path" else where
    batches = Batches(cached_run, 6, 3, COLUMNS, cache=place)
    assert batches.wait_for_cache()
    reads = decoded(monkeypatch)
    assert content(batches) == plain
    assert reads == []
    home = Path(os.environ["SANDBOX_HOME"])
    assert (home / "cache" / "decoded").exists() == (where == "disk")
    if where == "path":
        assert len(folders(tmp_path / "kept")) == 2


def test_episodes_are_decoded_once_for_all_who_want_them(
    cached_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Batches(cached_run, 6, 3, COLUMNS, cache="disk").wait_for_cache()
    reads = decoded(monkeypatch)
    again = Batches(cached_run, 4, 5, ("reward", "pixels"), cache="disk")
    windows = Windows(cached_run, 3, COLUMNS, cache="disk")
    assert again.wait_for_cache()
    assert windows.wait_for_cache()
    assert [one["reward"][0].item() for one in windows] == [
        start for rows in LENGTHS for start in range(rows - 2)
    ]
    assert list(again)
    assert reads == []
    more = Batches(cached_run, 4, 3, ("reward", "charge"), cache="disk")
    assert more.wait_for_cache()
    assert {read for read in reads if "cache" in read}
    reads.clear()
    assert list(more)
    assert reads == []


def test_training_reads_on_while_the_cache_is_made(
    cached_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    going = threading.Event()
    read = ShardReader.read

    def waits(self: ShardReader, i: int) -> Any:
        if threading.current_thread().name == "sandbox-cache" and i == 2:
            assert going.wait(60)
        return read(self, i)

    monkeypatch.setattr(ShardReader, "read", waits)
    batches = Batches(cached_run, 6, 3, COLUMNS, cache="ram")
    assert not batches.wait_for_cache(0.3)
    assert content(batches) == wanted(cached_run)
    going.set()
    assert batches.wait_for_cache()
    batches.set_epoch(0)
    assert content(batches) == wanted(cached_run)


def damage_rows(folder: Path) -> None:
    with (folder / f"reward{ROWS}").open("r+b") as file:
        file.seek(8 * 8 + 1)
        file.write(b"\x55")


def damage_marks(folder: Path) -> None:
    path = folder / f"pixels{MARKS}"
    path.write_bytes(bytes(path.stat().st_size))


def cut(folder: Path) -> None:
    os.truncate(folder / f"pixels{ROWS}", 100)


def lose(folder: Path) -> None:
    (folder / f"action{ROWS}").unlink()


def fill_with_ones(folder: Path) -> None:
    for path in folder.glob(f"*{MARKS}"):
        path.write_bytes(b"\x01\x00\x00\x00" * (path.stat().st_size // 4))


@pytest.mark.parametrize("harm", [damage_rows, damage_marks, cut, lose, fill_with_ones])
def test_a_cache_that_is_damaged_or_half_written_is_made_again(cached_run: Path, harm: Any) -> None:
    assert Batches(cached_run, 6, 3, COLUMNS, cache="disk").wait_for_cache()
    for folder in folders(cache_folder.default()):
        harm(folder)
    batches = Batches(cached_run, 6, 3, COLUMNS, cache="disk")
    assert content(batches) == wanted(cached_run)
    assert batches.wait_for_cache()
    batches.set_epoch(0)
    assert content(batches) == wanted(cached_run)


def test_a_cache_of_another_dataset_is_never_taken(tmp_path: Path) -> None:
    """Not of another run at the same path, nor if somebody moves the folders."""
    run = write(tmp_path / "run")
    assert Batches(run, 6, 3, COLUMNS, cache="disk").wait_for_cache()
    before = folders(cache_folder.default())
    shutil.rmtree(run)
    (run / "shards").mkdir(parents=True)
    for shard in range(2):
        path = run / "shards" / f"shard-{shard:05d}.h5"
        with ShardWriter(path, SCHEMA, {}, sync=False) as writer:
            for number in (range(5), range(5, len(LENGTHS)))[shard]:
                writer.append(ramp(number + 100, LENGTHS[number]))
    names = [cache_folder.of(cache_folder.default(), path) for path in shards(run)]
    for old, new in zip(before, sorted(filter(None, names)), strict=True):
        shutil.copytree(old, new)
    batches = Batches(run, 6, 3, COLUMNS, cache="disk")
    assert batches.wait_for_cache()
    assert content(batches) == wanted(run)
    assert folders(cache_folder.default()) == sorted(filter(None, names))


def faulty(run: Path) -> Path:
    """Write a run whose episode 1 has a digest that is not its own."""
    (run / "shards").mkdir(parents=True)
    path = run / "shards" / "shard-00000.h5"
    with ShardWriter(path, SCHEMA, {}, sync=False) as writer:
        for number in range(3):
            episode = ramp(number, 6)
            if number == 1:
                episode.__dict__["digest"] = "ab" * 32
            writer.append(episode)
    return run


@pytest.mark.parametrize("where", ["ram", "disk"])
def test_an_episode_that_fails_its_digest_is_named_and_never_cached(
    tmp_path: Path, where: str
) -> None:
    run = faulty(tmp_path / "run")
    batches = Batches(run, 2, 3, COLUMNS, cache=where)
    with pytest.raises(FormatError, match=r"shard-00000\.h5: episode 1 has digest .*not abab"):
        batches.wait_for_cache()
    with pytest.raises(FormatError, match="episode 1 has digest"):
        list(batches)
    windows = Windows(run, 3, COLUMNS, cache=where)
    with pytest.raises(FormatError, match="episode 1 has digest"):
        windows.wait_for_cache()
    if where == "disk":  # Then in any process.
        windows = pickle.loads(pickle.dumps(windows))
    with pytest.raises(FormatError, match="episode 1 has digest"):
        windows.__getitems__(range(len(windows)))


def test_what_is_too_large_is_refused_before_anything_is_written(
    cached_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(LENGTHS) * sum(SCHEMA[name].row_bytes for name in COLUMNS)
    for where in ("ram", tmp_path / "kept"):
        with pytest.raises(InvalidInputError, match=r"takes 0\.000 GB more .* cache_gb is 1e-06"):
            Batches(cached_run, 6, 3, COLUMNS, cache=where, cache_gb=1e-6)
    Batches(cached_run, 6, 3, COLUMNS, cache="ram", cache_gb=size / 1e9).wait_for_cache()
    for wrong in (0, -1, float("nan"), "1"):
        with pytest.raises(InvalidInputError, match="cache_gb"):
            Windows(cached_run, 3, cache="ram", cache_gb=wrong)  # pyright: ignore[reportArgumentType]
    for wrong in ("", 3, True):
        with pytest.raises(InvalidInputError, match="cache "):
            Windows(cached_run, 3, cache=wrong)  # pyright: ignore[reportArgumentType]
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size - 1))
    with pytest.raises(InvalidInputError, match=r"are free\. Nothing was written"):
        Batches(cached_run, 6, 3, COLUMNS, cache=tmp_path / "kept")
    assert os.listdir(tmp_path / "kept") == []
    (tmp_path / "file").touch()
    with pytest.raises(SandboxError, match="no folder for decoded rows"):
        Batches(cached_run, 6, 3, COLUMNS, cache=tmp_path / "file")


def test_the_bound_is_of_the_folder_with_what_others_keep_there(
    cached_run: Path, tmp_path: Path
) -> None:
    assert Batches(cached_run, 6, 3, COLUMNS, cache=tmp_path / "kept").wait_for_cache()
    held = sum(one.size for one in cache_folder.listed(tmp_path / "kept"))
    other = write(tmp_path / "other")
    with pytest.raises(InvalidInputError, match=r"beside the .* GB there.*`sandbox cache clear`"):
        Batches(other, 6, 3, COLUMNS, cache=tmp_path / "kept", cache_gb=held / 1e9)
    same = Batches(cached_run, 6, 3, COLUMNS, cache=tmp_path / "kept", cache_gb=held / 1e9)
    assert same.wait_for_cache()


FULL = """
import sys, warnings
warnings.simplefilter("always")
from sandbox.dataset.batches import Batches
batches = Batches(sys.argv[1], 64, 3, ("pixels", "step_idx", "episode_idx"), cache=sys.argv[2])
print("whole", batches.wait_for_cache(), sum(len(b["pixels"]) for b in batches))
"""


def test_a_disk_that_fills_up_meanwhile_stops_the_cache_and_not_the_training(
    cached_run: Path, tmp_path: Path
) -> None:
    """The limit of a file's size stands for a full disk."""
    (tmp_path / "kept").mkdir()
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
    ignore = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    done = subprocess.run(
        [sys.executable, "-c", ignore + limited + FULL, str(cached_run), str(tmp_path / "kept")],
        capture_output=True,
        text=True,
        check=False,
    )
    windows = sum(rows - 2 for rows in LENGTHS if rows > 2)
    assert done.stdout.split() == ["whole", "False", str(windows)], done.stderr
    assert "cannot be written there" in done.stderr
    assert "What is missing is read from the shards" in done.stderr


MAKING = """
import os, sys, time
from sandbox.dataset.batches import Batches
from sandbox.trajectory import ShardReader
read, count = ShardReader.read, [0]
def counted(self, i):
    count[0] += 1
    time.sleep(0.05)
    return read(self, i)
ShardReader.read = counted
batches = Batches(sys.argv[1], 6, 3, ("reward", "pixels"), cache=sys.argv[2])
assert batches.wait_for_cache()
print(count[0], sum(float(b["reward"].sum()) for b in batches))
"""


def test_processes_that_want_the_same_rows_decode_them_once(
    cached_run: Path, tmp_path: Path
) -> None:
    arguments = [sys.executable, "-c", MAKING, str(cached_run), str(tmp_path / "kept")]
    running = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = [process.communicate()[0].split() for process in running]
    assert sum(int(count) for count, _ in told) == len(LENGTHS)
    plain = total(Batches(cached_run, 6, 3, ("reward",)))
    assert {float(found) for _, found in told} == {plain}


def test_a_process_that_is_killed_leaves_what_another_finishes(
    cached_run: Path, tmp_path: Path
) -> None:
    slow = MAKING.replace("0.05", "0.5")
    arguments = [sys.executable, "-c", slow, str(cached_run), str(tmp_path / "kept")]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(f"kept/*/reward{MARKS}")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.7)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    batches = Batches(cached_run, 6, 3, COLUMNS, cache=tmp_path / "kept")
    assert batches.wait_for_cache()
    assert content(batches) == wanted(cached_run)


def total(loader: Any) -> float:
    return float(sum(batch["reward"].sum() for batch in loader))


@pytest.mark.parametrize("where", ["ram", "disk"])
def test_workers_that_are_forked_share_what_is_decoded(
    cached_run: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = Windows(cached_run, 3, COLUMNS, cache=where)
    plain = total(DataLoader(Windows(cached_run, 3, COLUMNS), batch_size=4))
    assert total(DataLoader(windows, batch_size=4, num_workers=2)) == plain  # Half made.
    assert windows.wait_for_cache()
    monkeypatch.setattr(ShardReader, "fill", None)
    assert total(DataLoader(windows, batch_size=4, num_workers=2)) == plain


@pytest.mark.parametrize("where", ["ram", "disk"])
def test_a_copy_in_another_process_reads_what_is_on_disk(
    cached_run: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = Batches(cached_run, 6, 3, COLUMNS, cache=where)
    assert batches.wait_for_cache()
    data = pickle.dumps(batches)
    assert len(data) < 20_000
    copy = pickle.loads(data)
    reads = decoded(monkeypatch)
    assert content(copy) == wanted(cached_run)
    monkeypatch.undo()
    assert bool(reads) or where == "disk"


def test_several_threads_read_a_cache_while_it_is_made(cached_run: Path) -> None:
    windows = Windows(cached_run, 3, COLUMNS, cache="ram")
    plain = content(DataLoader(Windows(cached_run, 3, COLUMNS), batch_size=9))
    found: list[Any] = []

    def read() -> None:
        found.append(content(DataLoader(windows, batch_size=9)))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [plain] * 4


def test_a_growing_shard_is_read_from_its_file(tmp_path: Path) -> None:
    run = write(tmp_path / "run", finished=False)
    batches = Batches(run, 6, 3, COLUMNS, cache="disk")
    assert not batches.wait_for_cache()
    assert content(batches) == wanted(run)
    assert len(folders(cache_folder.default())) == 1


def test_the_thread_ends_with_what_wanted_the_cache(cached_run: Path) -> None:
    batches = Batches(cached_run, 6, 3, COLUMNS, cache="ram")
    del batches
    left = [one.name for one in threading.enumerate() if one.name == "sandbox-cache"]
    assert left == []


def test_commands_list_and_clear_the_cache_and_nothing_else(
    cached_run: Path, tmp_path: Path
) -> None:
    assert json.loads(cli("cache", "list", "--json").stdout) == []
    assert Batches(cached_run, 6, 3, COLUMNS, cache="disk").wait_for_cache()
    rows = json.loads(cli("cache", "list", "--json").stdout)
    assert [row["shard"] for row in rows] == [str(path) for path in shards(cached_run)]
    assert all(row["size_bytes"] > 0 and row["current"] for row in rows)
    assert cli("cache", "list").stdout.count("yes") == 2
    root = cache_folder.default()
    (root / "mine").mkdir()
    (root / "mine" / "thesis.txt").touch()
    link, file, pipe = (root / (f"{n}" * 32 + "-" + "0" * 32) for n in range(3))
    link.symlink_to(root / "mine")
    file.touch()
    os.mkfifo(pipe)
    done = cli("cache", "clear")
    assert done.returncode == 0
    assert "2 shards" in done.stdout
    assert sorted(os.listdir(root)) == [link.name, file.name, pipe.name, "mine"]
    assert (root / "mine" / "thesis.txt").exists()
    assert cli("cache", "clear", str(tmp_path / "nowhere")).returncode == 2


def test_a_cache_of_a_stranger_is_listed_in_plain_lines_and_cleared_as_far_as_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n, shard in enumerate(("\x1b]0;taken\x07\x1b[2J", "x" * 10**7, "good")):
        folder = tmp_path / (f"{n}" * 32 + "-" + "0" * 32)
        folder.mkdir()
        (folder / "about.json").write_text(json.dumps({"format": 1, "shard": shard}))
    listed = cli("cache", "list", tmp_path)
    assert not {"\x1b", "\x07"} & set(listed.stdout)
    assert r"\x1b]0;taken\x07" in listed.stdout
    assert len(listed.stdout) < 10_000
    removed, remove = list[Path](), shutil.rmtree

    def held(path: Path) -> None:
        if path.name[0] == "0":
            raise PermissionError(errno.EACCES, "Permission denied")
        removed.append(path)
        remove(path)

    monkeypatch.setattr(shutil, "rmtree", held)
    done = cli("cache", "clear", tmp_path)
    assert (done.returncode, len(removed)) == (2, 2)
    assert "cannot be removed: Permission denied. 2 were removed." in done.stderr


def test_clearing_while_it_is_read_harms_nobody(cached_run: Path) -> None:
    batches = Batches(cached_run, 6, 3, COLUMNS, cache="disk")
    assert batches.wait_for_cache()
    assert cli("cache", "clear").returncode == 0
    assert content(batches) == wanted(cached_run)
    again = Batches(cached_run, 6, 3, COLUMNS, cache="disk")
    assert again.wait_for_cache()
    assert content(again) == wanted(cached_run)
