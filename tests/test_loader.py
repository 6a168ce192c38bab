"""Windows for PyTorch: whole, in order, and the same from every process."""

import os
import pickle
import resource
import runpy
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from ramps import LENGTHS, SCHEMA, ramp, write
from running import python
from torch.utils.data import DataLoader, default_collate

from sandbox import open_run
from sandbox.dataset.windows import Windows
from sandbox.errors import FormatError, InvalidInputError, UnknownNameError
from sandbox.trajectory import (
    Column,
    EpisodeBuffer,
    Schema,
    ShardReader,
    ShardWriter,
    shards,
)


def rewards(windows: Windows) -> list[float]:
    """The rewards of all windows in order, read in one batch."""
    found = windows.__getitems__(range(len(windows)))
    return torch.cat([one["reward"] for one in found]).tolist()


@pytest.fixture(scope="session")
def ramps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("loader") / "run")


def names(windows: Windows) -> list[tuple[int, int]]:
    """Return episode and first row of every window."""
    found = [windows[k] for k in range(len(windows))]
    return [(int(w["episode_idx"][0]), int(w["step_idx"][0])) for w in found]


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(("length", "stride"), [(1, 1), (4, 1), (4, 3), (31, 1), (5, 40)])
def test_windows_are_all_that_fit_an_episode_in_order(
    tmp_path: Path, finished: bool, length: int, stride: int
) -> None:
    windows = Windows(
        write(tmp_path / "run", finished=finished),
        length,
        ("step_idx", "episode_idx"),
        stride,
    )
    assert names(windows) == [
        (number, start)
        for number, rows in enumerate(LENGTHS)
        for start in range(0, rows - length + 1, stride)
    ]


def test_a_window_never_crosses_an_episode(ramps: Path) -> None:
    windows = Windows(ramps, 4, ("reward", "step_idx", "episode_idx", "action"))
    for k in range(len(windows)):
        window = windows[k]
        start = int(window["step_idx"][0])
        assert window["episode_idx"].unique().numel() == 1
        assert window["reward"].tolist() == list(range(start, start + 4))
        assert not window["action"][:-1].isnan().any()


def test_the_action_is_nan_exactly_on_the_last_row_of_an_episode(ramps: Path) -> None:
    windows = Windows(ramps, 2, ("action", "step_idx", "episode_idx"))
    for k in range(len(windows)):
        window = windows[k]
        last = LENGTHS[int(window["episode_idx"][1])] - 1
        expected = [int(step) == last for step in window["step_idx"]]
        assert window["action"].isnan().all(dim=1).tolist() == expected


def test_pictures_come_channels_first_as_bytes(ramps: Path) -> None:
    window = Windows(ramps, 3)[2]
    assert list(window) == ["pixels", "action", "reward"]
    assert window["pixels"].dtype == torch.uint8
    assert window["pixels"].shape == (3, 3, 4, 6)
    assert window["pixels"][:, :, 0, 0].tolist() == [[3, 4, 5], [4, 5, 6], [5, 6, 7]]
    assert (window["pixels"][:, :, 2, 5] == 255).all()
    assert window["action"].dtype == torch.float32
    assert window["reward"].dtype == torch.float64


def test_one_file_is_a_run_of_one_shard(ramps: Path) -> None:
    windows = Windows(ramps / "shards" / "shard-00001.h5", 4, ("step_idx", "episode_idx"))
    assert {episode for episode, _ in names(windows)} == {5, 6, 7}


def test_batches_have_the_windows_asked_for_in_that_order(ramps: Path) -> None:
    windows = Windows(ramps, 2, ("reward", "episode_idx"))
    wanted = [30, 2, -1, 2, 0, len(windows) - 1]
    for window, k in zip(windows.__getitems__(wanted), wanted, strict=True):
        for name, tensor in windows[k].items():
            assert torch.equal(window[name], tensor)


def test_no_indices_give_no_windows(ramps: Path) -> None:
    assert Windows(ramps, 3).__getitems__([]) == []


def test_a_data_loader_copies_a_batch_only_if_it_must(ramps: Path) -> None:
    windows = Windows(ramps, 3)
    first, second = windows.__getitems__([4, 2]), windows.__getitems__([0, 1])
    whole = default_collate(first)
    assert whole["pixels"][0].data_ptr() == first[0]["pixels"].data_ptr()
    mixed = default_collate([first[1], second[0], first[0]])
    for n, one in enumerate((first[1], second[0], first[0])):
        for name, tensor in one.items():
            assert torch.equal(mixed[name][n].nan_to_num(), tensor.nan_to_num())
    changed = windows.__getitems__([4, 2])
    changed[1]["reward"] = torch.full((3,), 7.0, dtype=torch.float64)
    del changed[0]["action"], changed[1]["action"]
    made = default_collate(changed)
    assert list(made) == ["pixels", "reward"]
    assert made["reward"].tolist() == [first[0]["reward"].tolist(), [7.0] * 3]
    assert torch.equal(made["pixels"], whole["pixels"])


def test_a_window_is_fresh_and_writable(ramps: Path) -> None:
    windows = Windows(ramps, 3)
    for tensor in windows[0].values():
        tensor.zero_()
    batch = windows.__getitems__([0, 0])
    for tensor in batch[0].values():
        tensor.zero_()
    assert batch[1]["reward"].tolist() == [0, 1, 2]
    assert windows[0]["reward"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("index", [lambda n: n, lambda n: -n - 1])
def test_an_index_out_of_range_is_refused(ramps: Path, index: object) -> None:
    windows = Windows(ramps, 4)
    assert callable(index)
    with pytest.raises(IndexError, match="no window"):
        windows[index(len(windows))]


def test_arguments_that_give_no_window_are_refused(ramps: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'pixels'"):
        Windows(ramps, columns=("pixel",))
    with pytest.raises(InvalidInputError, match="longest of which has 31 rows"):
        Windows(ramps, 32)
    for length, stride in ((0, 1), (1, 0), (-3, 1)):
        with pytest.raises(InvalidInputError, match="at least 1"):
            Windows(ramps, length, stride=stride)
    with pytest.raises(InvalidInputError, match="at least one column"):
        Windows(ramps, columns="pixels")
    with pytest.raises(FormatError, match="does not exist"):
        Windows(tmp_path / "nowhere")


def test_shards_of_different_columns_are_refused(tmp_path: Path) -> None:
    run = write(tmp_path / "run")
    other = Schema(tuple(c for c in SCHEMA.columns if c.name != "pixels"))
    with ShardWriter(run / "shards" / "shard-00002.h5", other, {}, sync=False):
        pass
    with pytest.raises(FormatError, match="other columns"):
        Windows(run, 2, ("reward",))


def test_pickled_windows_read_the_same_and_carry_no_file(ramps: Path) -> None:
    windows = Windows(ramps, 4)
    before = windows[7]
    data = pickle.dumps(windows)
    assert len(data) < 5000
    after = pickle.loads(data)[7]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_shard_finished_meanwhile_is_read_on(tmp_path: Path) -> None:
    run = write(tmp_path / "run", finished=False)
    windows = Windows(run, 4, ("reward",))
    path = run / "shards" / "shard-00001.h5"
    with ShardReader(path.with_name(f"{path.name}.part")) as reader:
        assert len(reader) == 3
    with ShardWriter.resume(path, SCHEMA, {}, sync=False):
        pass
    assert windows[-1]["reward"].tolist() == [1, 2, 3, 4]


def test_a_forked_process_opens_files_of_its_own_whatever_other_threads_do(ramps: Path) -> None:
    windows = Windows(ramps, 4, ("reward", "pixels"))
    wanted = rewards(windows)
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            rewards(windows)

    reading = threading.Thread(target=read)
    reading.start()
    try:
        for _ in range(5):
            child = os.fork()
            if not child:
                os._exit(0 if rewards(windows) == wanted else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        over.set()
        reading.join()


def test_several_threads_read_the_rows_of_one(ramps: Path) -> None:
    windows = Windows(ramps, 2, ("reward", "pixels"))
    wanted = rewards(windows)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: rewards(windows), range(40)))
    assert all(one == wanted for one in found)


def test_several_threads_read_the_episodes_of_one(ramps: Path) -> None:
    folder = open_run(ramps)
    wanted = [episode.digest for episode in folder.episodes()]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: folder.episode(n % 8).digest, range(80)))
    assert found == wanted * 10


def test_training_reads_more_shards_than_the_process_may_open_files(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    for n in range(40):
        with ShardWriter(tmp_path / f"shards/shard-{n:05d}.h5", SCHEMA, {}, sync=False) as writer:
            writer.append(ramp(n, 4))
    child = os.fork()
    if not child:
        try:
            read_with_few_files(tmp_path)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def read_with_few_files(path: Path) -> None:
    """Read 40 shards where 20 files may be opened, and then none."""
    windows, others = (Windows(path, 2, ("step_idx",)) for _ in range(2))
    limit = len(os.listdir("/proc/self/fd")) + 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    for them in (windows, others):
        for k in range(len(them)):
            assert them[k]
        assert them.__getitems__(range(len(them)))
    held = [
        os.open(os.devnull, os.O_RDONLY)
        for _ in range(limit - len(os.listdir("/proc/self/fd")) - 1)
    ]
    assert windows[0]
    assert held


READING = """
import os, resource, sys
from sandbox.errors import UnreadableError
from sandbox.trajectory import ShardReader
reader = ShardReader({path!r})
reader.close()
{first}
try:
    reader.arrays(0)
except UnreadableError as error:
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    os.write(1, str(error).encode())
"""
CONDITIONS = {  # What is done before a shard is read, and what the error says.
    "Too many open files": "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 99))",
    "Permission denied": "os.chmod({path!r}, 0); os.geteuid() or os.seteuid(65534)",
    "Cannot allocate memory": "used = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
    "resource.setrlimit(resource.RLIMIT_AS, (used + (40 << 20), -1))",
}


@pytest.mark.parametrize("named", CONDITIONS)
def test_what_the_machine_lacks_is_no_damage_of_the_file(named: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for above in list(tmp_path.parents)[:3]:
        above.chmod(0o755)
    path = str(tmp_path / "big.h5")
    columns = (Column("pixels", "uint8", (640, 640, 3), "zeros", "1"), *SCHEMA.columns[1:])
    buffer = EpisodeBuffer(Schema(columns), 80)
    buffer.arrays["step_idx"][:] = np.arange(80)
    buffer.arrays["truncated"][-1] = True
    with ShardWriter(Path(path), Schema(columns), {}, sync=False) as writer:
        writer.append(buffer.episode(79, {"charge_micro": 0}))
    done = python("-c", READING.format(path=path, first=CONDITIONS[named].format(path=path)))
    assert f"{path}: cannot be read: {named}; " in done.stdout, done.stdout + done.stderr
    assert "damaged" not in done.stdout


@pytest.mark.parametrize("written", ["run", "~/run"])
def test_a_path_means_what_it_meant_when_it_was_given(
    written: str, ramps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(ramps.parent))
    monkeypatch.chdir(ramps.parent)
    windows, folder, reader = (
        Windows(written, 4, ("reward",)),
        open_run(written),
        shards(written)[0],
    )
    monkeypatch.chdir(tmp_path)
    assert rewards(windows) == rewards(Windows(ramps, 4, ("reward",)))
    assert folder.count() == len(LENGTHS)
    assert reader == shards(ramps)[0]


def test_spawned_workers_read_what_one_process_reads(ramps: Path) -> None:
    windows = Windows(ramps, 4, ("pixels", "reward"))
    alone = list(DataLoader(windows, batch_size=16))
    torch.set_num_threads(1)
    shared = list(
        DataLoader(windows, batch_size=16, num_workers=2, multiprocessing_context="spawn")
    )
    assert len(alone) == len(shared) == -(-len(windows) // 16)
    for one, other in zip(alone, shared, strict=True):
        assert torch.equal(one["pixels"], other["pixels"])
        assert torch.equal(one["reward"], other["reward"])


def test_the_next_frame_example_learns_to_beat_the_last_frame(
    ramps: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = Path(__file__).parents[1] / "examples" / "next_frame.py"
    monkeypatch.setattr(sys, "argv", [str(example), str(ramps), "--steps", "60"])
    runpy.run_path(str(example), run_name="__main__")
    copied, before, after = (
        float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()
    )
    assert before == pytest.approx(copied, rel=1e-2)
    assert after < copied


def test_a_shard_whose_columns_are_known_has_each_looked_at_when_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "run") / "shards" / "shard-00000.h5"
    rows = sum(LENGTHS[:5])
    with h5py.File(path, "r+") as file:
        file["reward"].resize(rows - 1, axis=0)
        file.attrs.create("header", np.bytes_(b"{}x"))
    with pytest.raises(FormatError, match="not those of its seal"):
        ShardReader(path)
    with ShardReader(path, SCHEMA) as reader:
        action = np.empty((rows, 2), np.float32)
        reader.fill("action", 0, action)
        assert np.isnan(action).any(1).sum() == 5
        with pytest.raises(FormatError, match=f"'reward' has {rows - 1} of {rows - 1} rows"):
            reader.fill("reward", 0, np.empty(rows))
        with pytest.raises(FormatError, match="not those of its seal"):
            assert reader.header
        with pytest.raises(FormatError, match="not those of its seal"):
            assert reader.records
    wrong = Schema((Column("action", "float64", (2,), "t", "1"),), partial=True)
    with ShardReader(path, wrong) as reader, pytest.raises(FormatError, match="its schema says"):
        reader.fill("action", 0, np.empty((rows, 2)))
