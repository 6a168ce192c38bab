"""Runs that are being written: new episodes are seen on request."""

import pickle
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from episodes import record, run
from ramps import LENGTHS, write

from sandbox import Batches, Dataset
from sandbox.errors import FormatError, InvalidInputError

WHO = ("episode_idx", "step_idx", "reward", "action")
WRITER = """
import sys
from pathlib import Path
from ramps import SCHEMA, ramp
from sandbox.trajectory import ShardWriter
shards = Path(sys.argv[1]) / "shards"
shards.mkdir(parents=True)
number = 0
for shard in range(2):
    writer = ShardWriter(shards / f"shard-{shard:05d}.h5", SCHEMA, {}, sync=False)
    for _ in range(3):
        writer.append(ramp(number, 5 + number))
        number += 1
        print(number, flush=True)
        sys.stdin.readline()
    writer.close()
print("done", flush=True)
"""


def seen(batches: Batches) -> list[tuple[int, int]]:
    """Episode and first row of each window of an epoch, in order."""
    found = [torch.stack((one["episode_idx"][:, 0], one["step_idx"][:, 0])).T for one in batches]
    return [(int(episode), int(row)) for one in found for episode, row in one.tolist()]


def test_what_another_process_writes_is_seen_on_request(tmp_path: Path) -> None:
    path, pipe = tmp_path / "run", subprocess.PIPE
    paths = ":".join(path for path in sys.path if path)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdin=pipe,
        stdout=pipe,
        text=True,
        env={"PYTHONPATH": f"{Path(__file__).parent}:{paths}"},
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    assert writer.stdout.readline() == "1\n"
    dataset = Dataset(path)
    batches = Batches(dataset, 4, 3, WHO, seed=2)
    assert (len(dataset), batches.windows) == (1, 3)
    for count in range(2, 7):
        before = seen(batches)
        assert sorted(before) == [(n, row) for n in range(count - 1) for row in range(n + 3)]
        print(file=writer.stdin, flush=True)
        assert writer.stdout.readline() == f"{count}\n"
        assert len(dataset) == 1  # Nothing is seen that was not asked for.
        assert batches.refresh() == count + 2
        assert len(dataset.refresh()) == count
        assert batches.epoch == count - 1
    fresh = Batches(Dataset(path), 4, 3, WHO, seed=2)
    fresh.set_epoch(batches.epoch)
    assert seen(fresh) == seen(batches)  # As if it had been opened now.
    print(file=writer.stdin, flush=True)
    assert writer.communicate()[0] == "done\n"
    assert batches.refresh() == 0


def test_episodes_keep_their_numbers_whatever_comes_between_them(tmp_path: Path) -> None:
    write(tmp_path / "later")
    dataset = Dataset(tmp_path)
    assert len(dataset.refresh()) == len(LENGTHS)
    write(tmp_path / "earlier", first=10)  # Before it in the order of paths.
    fresh = dataset.refresh()
    numbers = [int(fresh.episode(n).rows["episode_idx"][0]) for n in range(len(fresh))]
    assert numbers == [*range(len(LENGTHS)), *range(10, 10 + len(LENGTHS))]
    assert np.array_equal(fresh.lengths, [*LENGTHS, *LENGTHS])


def test_a_choice_is_made_again_and_a_part_is_not(tmp_path: Path) -> None:
    made = [record("a" * 64, n, policy=("random", "play")[n % 2]) for n in range(8)]
    run(tmp_path / "a", made[:6])
    whole = Dataset(tmp_path)
    train, _ = whole.train_val(0.5, twins="skip")
    with pytest.raises(InvalidInputError, match="part made by train_val"):
        train.refresh()
    with pytest.raises(InvalidInputError, match="part made by train_val"):
        Batches(train, 2, 2, ("reward",)).refresh()
    some = whole.select(policy="play").select(where=lambda record: record.episode > 1)
    run(tmp_path / "b", made[6:])
    assert [one.episode for one in some.records] == [3, 5]
    assert [one.episode for one in some.refresh().records] == [3, 5, 7]
    again: Dataset = pickle.loads(pickle.dumps(whole.select(policy="play")))
    assert [one.episode for one in again.refresh().records] == [1, 3, 5, 7]
    alone: Dataset = pickle.loads(pickle.dumps(some))
    with pytest.raises(InvalidInputError, match="chosen by a function and pickled"):
        alone.refresh()


def test_what_is_gone_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "run")
    dataset = Dataset(path)
    (path / "shards" / "shard-00000.h5").unlink()
    with pytest.raises(FormatError, match="are gone, or changed"):
        dataset.refresh()


def test_an_epoch_that_is_under_way_ends_with_a_refresh(tmp_path: Path) -> None:
    path = write(tmp_path / "run", finished=False)
    (path / "shards" / "shard-00001.h5.part").rename(tmp_path / "later.part")
    batches = Batches(path, 2, 3, WHO)
    walk = iter(batches)
    assert len(list(islice(walk, 3))) == 3
    (tmp_path / "later.part").rename(path / "shards" / "shard-00001.h5.part")
    assert batches.refresh() > 0
    assert list(walk) == []
    assert batches.state_dict()["consumed"] == 0
    assert batches.epoch == 1
    assert len({*seen(batches)}) == batches.windows
