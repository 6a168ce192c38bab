"""Batches for PyTorch: right rows, every window once, the same for any ranks and workers."""

import gc
import json
import os
import pickle
import threading
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from ramps import LENGTHS, write
from running import python
from torch import Tensor
from torch.utils.data import DataLoader

from sandbox.dataset.batches import Batches
from sandbox.dataset.buffers import Buffers
from sandbox.dataset.dataset import Dataset
from sandbox.dataset.order import Order
from sandbox.dataset.windows import Windows
from sandbox.errors import FormatError, InvalidInputError, UnknownNameError
from sandbox.trajectory import shards

WHO = ("episode_idx", "step_idx", "reward")
Place = tuple[int, int]  # Episode and first row of a window.


@pytest.fixture(scope="module")
def ramp_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("batches") / "run")


def places(batch: dict[str, Tensor]) -> list[Place]:
    first = batch["episode_idx"][:, 0].tolist(), batch["step_idx"][:, 0].tolist()
    return list(zip(*first, strict=True))


def told(batches: object) -> list[Place]:
    """The windows of an epoch, in order."""
    assert isinstance(batches, Batches | DataLoader)
    return [place for batch in batches for place in places(batch)]


def all_windows(length: int, stride: int = 1, *, pad: bool = False) -> list[Place]:
    return [
        (number, start)
        for number, rows in enumerate(LENGTHS)
        for start in (range(0, rows - length + 1, stride) if rows >= length or not pad else [0])
    ]


def threads() -> list[str]:
    """Name the threads of loops; those of the process that share its reading wait for work."""
    names = [one.name for one in threading.enumerate()]
    return [one for one in names if one.startswith("sandbox-") and "-reading" not in one]


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("asked", [(4, 1, 7), (4, 3, 5), (1, 1, 64), (31, 1, 2)])
def test_every_row_of_a_batch_tells_its_own_time(
    tmp_path: Path, asked: tuple[int, int, int], finished: bool
) -> None:
    length, stride, batch = asked
    run = write(tmp_path / "run", finished=finished)
    columns = ("pixels", "action", "reward", "step_idx", "episode_idx", "truncated")
    seen: list[Place] = []
    for one in Batches(run, batch, length, columns, stride=stride, seed=3):
        assert list(one) == list(columns)
        n, t = len(one["reward"]), one["step_idx"]
        assert n <= batch
        assert torch.equal(t, t[:, :1] + torch.arange(length))
        assert torch.equal(one["reward"], t.double())
        assert (one["episode_idx"] == one["episode_idx"][:, :1]).all()
        last = t + 1 == torch.tensor(LENGTHS)[one["episode_idx"]]
        assert torch.equal(one["action"].isnan().all(-1), last)
        assert torch.equal(one["action"][~last][:, 0], t[~last].float())
        assert torch.equal(one["truncated"], last)
        assert one["pixels"].shape == (n, length, 3, 4, 6)
        assert one["pixels"].is_contiguous()
        for channel in range(3):
            assert torch.equal(one["pixels"][:, :, channel, 0, 0], (t + 1 + channel).byte())
        assert (one["pixels"][:, :, :, 2, 5] == 255).all()
        seen += places(one)
    assert sorted(seen) == all_windows(length, stride)


def test_batches_are_the_windows_of_the_map_style_dataset(ramp_run: Path) -> None:
    columns = ("pixels", "action", "charge", *WHO)
    windows = Windows(ramp_run, 3, columns)
    batches = Batches(ramp_run, 8, 3, columns, shuffle=False)
    for ours, theirs in zip(batches, DataLoader(windows, batch_size=8), strict=True):
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            assert tensor.dtype == theirs[name].dtype
            assert torch.equal(tensor.nan_to_num(-1), theirs[name].nan_to_num(-1))


def test_short_episodes_are_padded_and_masked_on_request(ramp_run: Path) -> None:
    columns = (*WHO, "pixels", "action")
    seen: list[Place] = []
    for one in Batches(ramp_run, 8, 6, columns, pad=True):
        rows = torch.tensor(LENGTHS)[one["episode_idx"][:, 0]] - one["step_idx"][:, 0]
        assert one["mask"].dtype == torch.bool
        assert torch.equal(one["mask"].sum(1), rows.clamp(max=6))
        assert not (one["mask"][:, 1:] & ~one["mask"][:, :-1]).any()
        for name in columns:
            assert not one[name][~one["mask"]].any(), name
        assert torch.equal(one["reward"][one["mask"]], one["step_idx"][one["mask"]].double())
        assert (one["pixels"][one["mask"]] > 0).any(dim=(1, 2, 3)).all()
        seen += places(one)
    assert sorted(seen) == all_windows(6, pad=True)


@pytest.mark.parametrize("cache", [None, "ram"])
@pytest.mark.parametrize("pad", [False, True])
def test_frameskip_gives_rows_apart_and_what_happened_in_between(
    ramp_run: Path, pad: bool, cache: str | None
) -> None:
    columns = (*WHO, "pixels", "action", "truncated")
    batches = Batches(ramp_run, 4, 3, columns, frameskip=2, pad=pad, cache=cache)
    assert batches.wait_for_cache() == (cache is not None)
    seen: list[Place] = []
    for one in batches:
        start, n = one["step_idx"][:, :1], len(one["reward"])
        rows = torch.tensor(LENGTHS)[one["episode_idx"][:, 0]] - start[:, 0]
        moment, step = start + torch.arange(3) * 2, start + torch.arange(6)
        mask = moment < (start[:, 0] + rows)[:, None]
        between = (step < (start[:, 0] + rows)[:, None]).view(n, 3, 2)
        assert torch.equal(one["step_idx"], torch.where(mask, moment, 0))
        assert torch.equal(one["pixels"][:, :, 0, 0, 0], torch.where(mask, moment + 1, 0).byte())
        assert one["action"].shape == (n, 3, 2, 2)
        assert torch.equal(one["reward"], torch.where(between, step.view(n, 3, 2), 0).double())
        acted = one["action"][..., 0].nan_to_num(-1)
        last = (step + 1 == (start + rows[:, None])).view(n, 3, 2)
        wanted = torch.where(last, -1, torch.where(between, step.view(n, 3, 2), 0))
        assert torch.equal(acted, wanted.float())
        assert torch.equal(one["truncated"], last)
        assert ("mask" in one) == pad
        if pad:
            assert torch.equal(one["mask"], mask)
        seen += places(one)
    assert sorted(seen) == all_windows(6, pad=pad)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 17, 1000, 4097])
def test_the_order_is_a_permutation_that_seed_and_epoch_change(count: int) -> None:
    orders = [
        Order(count, seed, epoch, True).windows(np.arange(count)).tolist()
        for seed, epoch in ((0, 0), (0, 1), (1, 0), (1 << 62, 0))
    ]
    assert all(sorted(order) == list(range(count)) for order in orders)
    assert count < 16 or len({tuple(order) for order in orders}) == 4
    some = np.arange(count)[:: max(1, count // 7)]
    assert Order(count, 0, 0, True).windows(some).tolist() == [orders[0][n] for n in some]


def test_the_order_is_the_same_on_every_machine_for_ever() -> None:
    assert Order(10, 7, 3, True).windows(np.arange(10)).tolist() == [0, 2, 4, 1, 8, 3, 9, 5, 6, 7]


def test_a_shuffled_order_has_no_pattern() -> None:
    """Neighbours, and where each window comes over epochs, are spread as by chance."""
    count, epochs = 1000, 200
    orders = np.array([Order(count, 5, n, True).windows(np.arange(count)) for n in range(epochs)])
    means = orders.mean(axis=0) / count  # Of 200 uniform numbers: 0.5 +- 0.0204.
    assert abs(means - 0.5).max() < 5 * 0.0204
    assert abs(means.std() - 0.0204) < 0.002
    steps = np.diff(orders, axis=1)
    assert abs((steps > 0).mean() - 0.5) < 0.01
    assert (abs(steps) == 1).mean() < 4 / count


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("batch", [1, 4, 7])
def test_ranks_share_one_order_and_together_have_every_window_once(
    ramp_run: Path, world_size: int, batch: int
) -> None:
    wanted = told(Batches(ramp_run, 1, 2, WHO, seed=9))
    ranks = [
        Batches(ramp_run, batch, 2, WHO, seed=9, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    found = [list(one) for one in ranks]
    assert [len(one) for one in ranks] == [len(one) for one in found]
    steps = [
        [place for one in found if n < len(one) for place in places(one[n])]
        for n in range(max(map(len, found)))
    ]
    assert [place for step in steps for place in step] == wanted
    assert Counter(wanted) == Counter(all_windows(2))
    sizes = [len(one[-1]["reward"]) if len(one) == len(steps) else 0 for one in found]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_drop_last_leaves_out_the_step_that_is_not_whole(ramp_run: Path, world_size: int) -> None:
    ranks = [
        Batches(ramp_run, 4, 2, WHO, drop_last=True, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    found = [list(one) for one in ranks]
    assert {len(one) for one in found} == {ranks[0].windows // (4 * world_size)} == {len(ranks[0])}
    assert all(len(batch["reward"]) == 4 for one in found for batch in one)


@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 3), (3, 2), (2, 1)])
@pytest.mark.parametrize("steps", [0, 2, 3])
def test_an_epoch_goes_on_at_the_same_window_on_any_number_of_ranks(
    ramp_run: Path, before: int, after: int, steps: int
) -> None:
    def ranks(count: int) -> list[Batches]:
        return [
            Batches(ramp_run, 3, 2, WHO, seed=4, rank=rank, world_size=count)
            for rank in range(count)
        ]

    wanted = told(Batches(ramp_run, 1, 2, WHO, seed=4))
    first, states = list[list[list[Place]]](), list[object]()
    for one in ranks(before):
        had = [places(batch) for batch in islice(one, steps)]
        assert threads() == []
        first.append(had)
        states.append(one.state_dict())
    assert all(state == states[0] for state in states)
    seen = [place for step in zip(*first, strict=True) for part in step for place in part]
    rest: list[list[list[Place]]] = []
    for one in ranks(after):
        one.load_state_dict(json.loads(json.dumps(states[0])))
        one.set_epoch(0)
        rest.append([places(batch) for batch in one])
        assert one.epoch == 1
    for n in range(max(map(len, rest))):
        seen += [place for one in rest if n < len(one) for place in one[n]]
    assert seen == wanted


def test_each_loop_is_an_epoch_in_an_order_of_its_own(ramp_run: Path) -> None:
    batches = Batches(ramp_run, 8, 4, WHO)
    first, second = told(batches), told(batches)
    assert sorted(first) == sorted(second) == all_windows(4)
    assert first != second
    assert batches.epoch == 2
    batches.set_epoch(0)
    assert told(batches) == first
    assert told(Batches(ramp_run, 8, 4, WHO)) == first
    assert told(Batches(ramp_run, 8, 4, WHO, seed=1)) != first
    left = [places(next(iter(batches))) for _ in range(3)]  # A loop that was left is an epoch too.
    assert left[0] == second[:8]
    assert len({tuple(one) for one in left}) == 3
    assert told(batches) not in (first, second)
    assert told(Batches(ramp_run, 8, 4, WHO, shuffle=False)) == all_windows(4)


def test_the_state_of_other_episodes_of_the_same_lengths_is_refused(tmp_path: Path) -> None:
    one = Batches(write(tmp_path / "one"), 5, 2, WHO)
    other = Batches(write(tmp_path / "other", first=100), 5, 2, WHO)
    assert one.windows == other.windows
    with pytest.raises(InvalidInputError, match="other episodes"):
        other.load_state_dict(one.state_dict())


def test_workers_of_a_data_loader_keep_the_order(ramp_run: Path) -> None:
    batches = Batches(ramp_run, 5, 2, WHO)
    assert told(pickle.loads(pickle.dumps(batches))) == told(Batches(ramp_run, 5, 2, WHO))
    for workers in (0, 2):
        loader = DataLoader(batches, batch_size=None, num_workers=workers)
        batches.set_epoch(4)
        assert len(loader) == len(batches)
        found = told(loader)
        batches.set_epoch(4)
        assert found == told(batches)


def test_a_batch_that_is_kept_does_not_change(ramp_run: Path) -> None:
    batches = Batches(ramp_run, 4, 4, ("pixels", *WHO), prefetch=3)
    kept = [(batch, {name: tensor.clone() for name, tensor in batch.items()}) for batch in batches]
    views = [batch["pixels"][1:, :2].numpy() for batch, _ in kept[:5]]
    copies = [view.copy() for view in views]
    for batch, copy in kept:
        for name, tensor in batch.items():
            assert torch.equal(tensor, copy[name])
    del kept, batch, copy, tensor
    gc.collect()
    assert told(batches)
    for view, copied in zip(views, copies, strict=True):
        assert np.array_equal(view, copied)


def test_memory_of_batches_that_are_dropped_is_used_again(ramp_run: Path) -> None:
    batches = Batches(ramp_run, 4, 4, ("pixels",))
    seen = {batch["pixels"].data_ptr() for _ in range(5) for batch in batches}
    assert len(seen) <= 10


def test_memory_is_lent_as_long_as_any_view_of_it_lives() -> None:
    buffers = Buffers(4)
    views = {
        "reshaped": lambda: buffers.take((4, 6), "int32").reshape(3, 8),
        "sliced": lambda: buffers.take((4, 6), "int32")[1:, ::2],
        "cast": lambda: buffers.take((4, 6), "int32").view("uint8"),
        "of a tensor": lambda: torch.from_numpy(buffers.take((4, 6), "int32"))[1:].numpy()[1:],
        "tensor": lambda: torch.from_numpy(buffers.take((4, 6), "int32")).view(3, 8).T,
    }
    for kind, make in views.items():
        view = make()
        others = [buffers.take((4, 6), "int32") for _ in range(5)]
        for other in others:
            assert not np.shares_memory(np.asarray(view), other), kind
        address = np.asarray(view).__array_interface__["data"][0]
        del view, other
        gc.collect()
        begins = buffers.take((4, 6), "int32").__array_interface__["data"][0]
        assert 0 <= address - begins < 96, kind


def test_a_process_that_is_forked_writes_to_memory_of_its_own() -> None:
    buffers = Buffers(4)
    kept, dropped = buffers.take((9,), "int64"), buffers.take((9,), "int64")
    kept[:] = 1
    del dropped
    child = os.fork()
    if not child:
        again = buffers.take((9,), "int64")
        again[:] = kept[:] = 2
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert kept.tolist() == [1] * 9
    assert 2 not in buffers.take((9,), "int64")


def test_no_thread_outlives_a_loop_however_it_ends(ramp_run: Path) -> None:
    batches = Batches(ramp_run, 1, 2, WHO, prefetch=2)
    for _ in batches:
        assert threads() == ["sandbox-prefetch"]
        break
    gc.collect()
    assert threads() == []
    with pytest.raises(ZeroDivisionError):
        [1 / 0 for _ in batches]
    gc.collect()
    assert threads() == []
    loop = iter(batches)
    next(loop)
    del loop
    gc.collect()
    assert threads() == []
    assert sorted(told(batches)) == all_windows(2)
    assert threads() == []


LEAVING = """
import sys
from sandbox.dataset.batches import Batches
loops = [iter(Batches(sys.argv[1], 2, 2, ("pixels",), cache=where)) for where in (None, "ram")]
print([next(loop)["pixels"].shape[0] for loop in loops])
"""


def test_a_process_may_end_in_the_middle_of_a_loop(ramp_run: Path) -> None:
    """HDF5 is closed at exit, and crashes if a thread still reads."""
    for _ in range(2):
        done = python("-c", LEAVING, str(ramp_run))
        assert (done.returncode, done.stdout, done.stderr) == (0, "[2, 2]\n", "")


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_error_of_reading_is_raised_in_the_loop(tmp_path: Path, prefetch: int) -> None:
    run = write(tmp_path / "run")
    batches = Batches(run, 4, 2, ("pixels", "reward"), prefetch=prefetch)
    path = shards(run)[0]
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 8 :: 64] = bytes(len(damaged[len(damaged) // 8 :: 64]))
    path.write_bytes(damaged)
    with pytest.raises(FormatError, match=r"shard-00000\.h5"):
        list(batches)
    assert threads() == []


def test_a_dataset_that_was_chosen_gives_its_episodes_alone(ramp_run: Path) -> None:
    dataset = Dataset(ramp_run)
    assert sorted(told(Batches(dataset, 4, 3, WHO))) == all_windows(3)


def test_arguments_that_make_no_sense_are_refused(ramp_run: Path) -> None:
    for wrong, said in (
        ({"batch": 0}, "batch 0: give a whole number above 0"),
        ({"batch": True}, "batch True"),
        ({"batch": "8"}, "batch '8'"),
        ({"rank": "0"}, "rank '0'"),
        ({"seed": None}, "seed None"),
        ({"prefetch": 0.5}, "prefetch 0.5"),
        ({"batch": 65, "length": 1, "drop_last": True, "world_size": 2}, "79 windows are fewer"),
        ({"frameskip": 0}, "frameskip 0"),
        ({"frameskip": 1.5}, "frameskip 1.5"),
        ({"world_size": 0}, "world_size 0"),
        ({"rank": 2, "world_size": 2}, "rank 2 of 2: give one from 0 to 1"),
        ({"rank": -1}, "rank -1"),
        ({"prefetch": -1}, "prefetch -1"),
        ({"seed": -1}, "seed -1"),
        ({"seed": 1 << 63}, "seed"),
        ({"length": 0}, "at least 1"),
        ({"length": 2.5}, "at least 1"),
        ({"stride": 0}, "at least 1"),
        ({"length": 8, "frameskip": 4}, "longest of which has 31 rows"),
        ({"columns": "pixels"}, "at least one column"),
        ({"columns": ()}, "at least one column"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            Batches(ramp_run, **wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UnknownNameError, match="Did you mean 'pixels'"):
        Batches(ramp_run, columns=("pixel",))
    if not torch.cuda.is_available():
        with pytest.raises(InvalidInputError, match="no GPU here"):
            Batches(ramp_run, pin_memory=True)


def test_a_state_of_another_order_is_refused_and_changes_nothing(ramp_run: Path) -> None:
    batches = Batches(ramp_run, 4, 4, WHO)
    next(iter(batches))
    state = batches.state_dict()
    others = (
        Batches(ramp_run, 4, 4, WHO, seed=1),
        Batches(ramp_run, 4, 4, WHO, stride=2),
        Batches(ramp_run, 4, 3, WHO),
        Batches(shards(ramp_run)[0], 4, 4, WHO),
    )
    for other in others:
        with pytest.raises(InvalidInputError, match="another order"):
            other.load_state_dict(state)
        assert other.state_dict()["consumed"] == 0
    for wrong in ({}, {**state, "epoch": "0"}, {**state, "consumed": True}, None, "state"):
        with pytest.raises(InvalidInputError, match="give what state_dict"):
            batches.load_state_dict(wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidInputError, match="give what state_dict"):
        batches.load_state_dict({**state, "consumed": -1})
    with pytest.raises(InvalidInputError, match="another order"):
        batches.load_state_dict({**state, "consumed": 10_000})
    for epoch in (-1, 1.0, 1 << 63, "1"):
        with pytest.raises(InvalidInputError, match="epoch"):
            batches.set_epoch(epoch)  # pyright: ignore[reportArgumentType]
    assert batches.state_dict() == state
