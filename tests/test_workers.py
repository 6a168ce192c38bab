"""What a DataLoader's workers send is right, not copied, and stays while somebody has it."""

import os
import signal
from collections.abc import Sequence
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pytest
import torch
from ramps import write
from torch import Tensor
from torch.utils import data
from torch.utils.data import DataLoader

from sandbox.dataset import shared
from sandbox.dataset.batches import Batches
from sandbox.dataset.windows import Windows
from sandbox.errors import SandboxError

COLUMNS = ("pixels", "action", "episode_idx", "step_idx")


@pytest.fixture(scope="module")
def rows_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("workers") / "run")


@pytest.fixture(autouse=True)
def _no_files() -> None:
    shared._known.clear()  # pyright: ignore[reportPrivateUsage]


def known() -> int:
    return len(shared._known)  # pyright: ignore[reportPrivateUsage]


def right(batch: dict[str, Tensor]) -> bool:
    """Whether every row of a batch tells its own time."""
    t = batch["step_idx"].to(torch.float64)
    shown = batch["pixels"][:, :, 0, 0, 0].to(torch.float64)
    return bool((shown == t + 1).all() and (batch["action"][..., :-1, 0] == t[..., :-1]).all())


def loader(windows: data.Dataset[Any], **keywords: Any) -> DataLoader[Any]:
    """By fork, as ever on Linux before Python 3.14: TorchRL, once imported, chooses spawn."""
    asked = {"multiprocessing_context": "fork", **keywords}
    return DataLoader(windows, batch_size=4, num_workers=2, **asked)


@pytest.mark.parametrize("cache", [None, "ram"])
def test_batches_that_are_kept_stay_as_they_are(rows_run: Path, cache: str | None) -> None:
    windows = Windows(rows_run, 3, COLUMNS, cache=cache)
    plain = list(DataLoader(windows, batch_size=4))
    kept = list(loader(windows))
    assert known() > 0, "they came in memory files"
    assert all(map(right, kept))
    for one, other in zip(plain, kept, strict=True):
        assert all(torch.equal(one[name].nan_to_num(), other[name].nan_to_num()) for name in one)


def test_more_batches_than_files_are_sent_as_pytorch_does(
    rows_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "_MOST", 5)  # In workers too: they are forked.
    kept = list(loader(Windows(rows_run, 3, COLUMNS)))
    assert 0 < known() <= 2 * 5 < len(COLUMNS) * len(kept)
    assert all(map(right, kept))


def test_a_part_of_a_batch_keeps_its_memory(rows_run: Path) -> None:
    windows = Windows(rows_run, 3, COLUMNS)
    parts = [(batch["step_idx"][0, 1], batch["pixels"][0, 1]) for batch in loader(windows)]
    assert all(int(t) + 1 == int(picture[0, 0, 0]) for t, picture in parts)


def test_memory_that_was_dropped_is_used_again(rows_run: Path) -> None:
    windows = Windows(rows_run, 3, COLUMNS)
    many = loader(windows, persistent_workers=True, prefetch_factor=2)
    for _ in range(6):
        for batch in many:
            assert right(batch)
            batch["pixels"] += 1  # It is the caller's alone.
    assert known() <= 2 * len(COLUMNS) * 8


def test_files_of_workers_that_ended_are_forgotten(rows_run: Path) -> None:
    windows = Windows(rows_run, 3, COLUMNS)
    counts: list[int] = []
    for _ in range(4):
        assert all(right(batch) for batch in loader(windows))
        counts.append(known())
    assert max(counts[1:]) <= counts[0] + 2 * len(COLUMNS)


@pytest.mark.parametrize("convention", ["dreamer", "tdmpc2", "video"])
def test_batches_through_a_loader_are_the_same_in_every_convention(
    rows_run: Path, convention: str
) -> None:
    made = [
        list(
            DataLoader(
                Batches(rows_run, 4, 3, ("pixels",), convention=convention),
                batch_size=None,
                num_workers=workers,
            )
        )
        for workers in (0, 2)
    ]
    for one, other in zip(*made, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name].nan_to_num(), other[name].nan_to_num()) for name in one)


class Changed(data.Dataset[Any]):
    """Somebody's own dataset around ours, which changes items in a worker."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        item = self.windows[index]
        return item["step_idx"].flip(0), {"last": item["pixels"][-1], "number": index}


def test_somebodys_own_items_and_collate_function_work(rows_run: Path) -> None:
    windows = Windows(rows_run, 3, COLUMNS)
    numbers: list[int] = []
    for flipped, rest in loader(Changed(windows)):
        assert (flipped[:, 0] + 1 == rest["last"][:, 0, 0, 0]).all()
        numbers += rest["number"].tolist()
    assert numbers == list(range(len(windows)))

    items = list(loader(windows, collate_fn=_listed))
    assert [len(one) for one in items[:-1]] == [4] * (len(items) - 1)
    assert all(right(item) for batch in items for item in batch)


def _listed(items: Sequence[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    return [{name: tensor[None] for name, tensor in item.items()} for item in items]


def test_a_spawned_worker_sends_the_same(rows_run: Path) -> None:
    windows = Windows(rows_run, 3, COLUMNS)
    sent = list(loader(windows, multiprocessing_context="spawn"))
    assert known() > 0
    assert all(map(right, sent))
    assert len(torch.cat([batch["step_idx"] for batch in sent])) == len(windows)


def test_a_batch_of_a_worker_that_has_ended_is_refused() -> None:
    child = os.fork()
    if not child:
        signal.pause()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with pytest.raises(SandboxError, match="the worker has ended"):
        shared.received((child, 3, 1, 16, 0), torch.uint8, (16,), (1,), 0)


def test_more_tensors_than_a_file_has_marks_are_sent_as_pytorch_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = dict(ForkingPickler._extra_reducers)  # pyright: ignore
    monkeypatch.setattr(ForkingPickler, "_extra_reducers", ours)  # A worker adds to it.
    worker = shared._Worker()  # pyright: ignore[reportPrivateUsage]
    tensor = torch.from_numpy(worker.take((8,), "float32"))  # pyright: ignore[reportUnknownMemberType]
    tensor[:] = torch.arange(8)
    reduced = worker._reduced  # pyright: ignore[reportPrivateUsage]
    sent = [reduced(tensor[2:6]) for _ in range(4097)]  # A page of marks, and one more.
    assert {call for call, _ in sent[:4096]} == {shared.received}
    assert sent[4096][0] is not shared.received
    call, arguments = sent[0]
    there = call(*arguments)
    assert there.tolist() == [2.0, 3.0, 4.0, 5.0]
    there += 1  # In the same memory.
    assert tensor.tolist() == [0, 1, 3, 4, 5, 6, 6, 7]
