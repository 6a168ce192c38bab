"""Transitions, returns and statistics are those of the rows, without the action that is none."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from episodes import SCHEMA, record, run
from ramps import write
from torch.utils.data import DataLoader

from sandbox import Batches, Dataset, Windows, content
from sandbox.dataset.rows import next_pairs, returns
from sandbox.dataset.statistics import QUANTILES, Statistics
from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.trajectory import Column, Schema

PIXELS = Column("pixels", "uint8", (4, 6, 3), "RGB", "1")
WITH_PIXELS = Schema((PIXELS, Column("depth", "float32", (4, 6), "m", "m"), *SCHEMA.columns))


def records(count: int = 9) -> list[dict[str, Any]]:
    return [record("a" * 64, n) for n in range(count)]


@pytest.fixture
def seen(tmp_path: Path) -> Dataset:
    return Dataset(run(tmp_path / "run", records(), schema=WITH_PIXELS))


def test_with_a_frameskip_pairs_and_returns_have_what_came_between_their_rows(
    tmp_path: Path,
) -> None:
    """By the ramp: action and reward of row t are t."""
    path = write(tmp_path / "run")
    for batch in Batches(path, 4, 4, ("pixels", "action", "reward", "step_idx"), frameskip=3):
        pairs, t = next_pairs(batch), batch["step_idx"]
        assert (pairs["next_step_idx"] == pairs["step_idx"] + 3).all()
        between = t[:, :-1, None] + torch.arange(3)  # From each row to the next.
        assert torch.equal(pairs["action"][..., 0].long(), between)
        assert torch.equal(pairs["reward"].long(), between + 1)
        found = returns(batch, 0.5)
        last = t[:, :1] + torch.arange(1, 12)  # Of the first row.
        wanted = (last * 0.5 ** torch.arange(11)).sum(dim=1)
        assert found.shape == t.shape
        assert torch.allclose(found[:, 0], wanted.double())


def test_next_pairs_are_aligned(seen: Dataset) -> None:
    """By the ramp: action and reward of row t are t."""
    names = ("pixels", "state", "action", "reward", "terminated", "truncated", "step_idx")
    for batch in DataLoader(Windows(seen, 3, names), batch_size=4):
        pairs = next_pairs(batch)
        assert [*pairs] == [
            *("pixels", "next_pixels", "state", "next_state", "action", "reward"),
            *("terminated", "truncated", "step_idx", "next_step_idx"),
        ]
        at = pairs["step_idx"]
        assert at.shape == (len(batch["reward"]), 2)
        assert torch.equal(pairs["next_step_idx"], at + 1)
        assert torch.equal(pairs["action"][..., 0], at.float())
        assert torch.equal(pairs["reward"], at.double() + 1)
        assert torch.equal(pairs["next_pixels"], batch["pixels"][:, 1:])
        assert not pairs["action"].isnan().any()
        assert torch.equal(pairs["truncated"], batch["truncated"][:, 1:])


def test_returns_are_the_discounted_rewards_that_follow() -> None:
    reward = torch.tensor([[9.0, 1.0, 2.0, 4.0], [0.0, 0.0, 0.0, 8.0]], dtype=torch.float64)
    found = returns({"reward": reward}, 0.5)
    assert found.tolist() == [[1 + 1 + 1, 2 + 2, 4, 0], [2, 4, 8, 0]]
    assert found.dtype == reward.dtype
    assert returns({"reward": reward}, 0).tolist() == [[1, 2, 4, 0], [0, 0, 8, 0]]
    assert returns({"reward": reward}, 1)[0].tolist() == [7, 6, 4, 0]


def test_what_is_padded_is_no_transition_and_earns_nothing() -> None:
    mask = torch.tensor([[True, True, False], [True, True, True]])
    batch = {"reward": torch.ones(2, 3), "mask": mask}
    assert next_pairs(batch)["mask"].tolist() == [[True, False], [True, True]]
    assert returns(batch, 1).tolist() == [[1, 0, 0], [2, 1, 0]]


def test_batches_that_are_none_are_refused() -> None:
    rows = torch.zeros(2, 3)
    for batch in ({}, {"reward": rows, "state": torch.zeros(2, 4, 1)}, {"reward": torch.zeros(3)}):
        with pytest.raises(InvalidInputError, match="give windows"):
            next_pairs(batch)
    with pytest.raises(InvalidInputError, match="at least 2"):
        next_pairs({"reward": torch.zeros(4, 1)})
    with pytest.raises(InvalidInputError, match="load the column 'reward'"):
        returns({"state": rows}, 0.9)
    for discount in (1.1, -0.1, float("nan"), "0.9"):
        with pytest.raises(InvalidInputError, match="from 0 to 1"):
            returns({"reward": rows}, discount)  # pyright: ignore[reportArgumentType]


def expected(values: Any) -> Statistics:
    """The statistics of values (n, ...), all at once."""
    values = np.asarray(values, np.float64)
    quantiles = dict(zip(QUANTILES, np.quantile(values, QUANTILES, axis=0), strict=True))
    ends = values.min(axis=0), values.max(axis=0)
    return Statistics(len(values), values.mean(axis=0), values.std(axis=0), *ends, quantiles)


def same(one: Statistics, other: Statistics) -> bool:
    """Whether two statistics agree to a billionth."""
    arrays = [
        [s.mean, s.std, s.min, s.max, *(s.quantiles[q] for q in QUANTILES)] for s in (one, other)
    ]
    shapes = [[one.shape for one in some] for some in arrays]
    close = all(np.allclose(a, b, rtol=1e-9, atol=1e-9) for a, b in zip(*arrays, strict=True))
    return one.count == other.count and shapes[0] == shapes[1] and close


def test_statistics_are_those_of_all_rows_but_the_actions_that_are_none(seen: Dataset) -> None:
    found = seen.statistics(["state", "action", "reward", "pixels", "depth", "truncated"])
    rows = [seen.episode(n).rows for n in range(len(seen))]
    for name in ("state", "reward", "truncated"):
        assert same(found[name], expected(np.concatenate([one[name] for one in rows]))), name
    assert same(found["action"], expected(np.concatenate([one["action"][:-1] for one in rows])))
    pixels = np.concatenate([one["pixels"].reshape(-1, 3) for one in rows])
    assert same(found["pixels"], expected(pixels))
    assert found["pixels"].mean.shape == (3,)
    assert same(found["depth"], expected(np.concatenate([one["depth"].ravel() for one in rows])))
    assert found["depth"].std == 0  # It is never written: constant.


def test_statistics_are_computed_once_for_the_same_episodes_wherever_they_lie(
    seen: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = seen.statistics(["state"])
    part = seen.select(where=lambda one: one.episode < 4).statistics(["state"])
    (tmp_path / "run").rename(tmp_path / "moved")
    read: list[int] = []
    rows = Dataset.rows
    monkeypatch.setattr(Dataset, "rows", lambda self, n, c: read.append(n) or rows(self, n, c))
    moved = Dataset(tmp_path / "moved")
    assert same(moved.statistics(["state"])["state"], first["state"])
    assert same(
        moved.select(where=lambda r: r.episode < 4).statistics(["state"])["state"], part["state"]
    )
    assert not read
    assert part["state"].count < first["state"].count
    moved.statistics(["state", "reward"])
    assert read == list(range(9))


def test_damaged_statistics_are_computed_again(seen: Dataset) -> None:
    first = seen.statistics(["state"])["state"]
    (file,) = (content.cache() / "index").glob("statistics-*")
    data = file.read_bytes()
    kept = json.loads(data)
    kept["statistics"][1][0] += 1
    for damaged in (
        *(data[:n] + bytes([data[n] ^ 1]) + data[n + 1 :] for n in range(0, len(data), 7)),
        *(b"", b"{}", b"[]", data[:-20], json.dumps(kept).encode()),
    ):
        file.write_bytes(damaged)
        assert same(seen.statistics(["state"])["state"], first)


def test_statistics_of_more_values_than_are_kept_come_from_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Dataset(run(tmp_path / "run", records(40), lengths=(30,), shard_episodes=40))
    whole = dataset.statistics(["state"])["state"]
    monkeypatch.setattr("sandbox.dataset.statistics._MOST", 600)
    monkeypatch.setenv("SANDBOX_HOME", str(tmp_path / "elsewhere"))
    part = dataset.statistics(["state"])["state"]
    assert np.array_equal(part.mean, whole.mean)
    assert np.array_equal(part.max, whole.max)
    assert not np.array_equal(part.quantiles[0.5], whole.quantiles[0.5])
    assert np.allclose(part.quantiles[0.5], whole.quantiles[0.5], atol=25)


def test_statistics_that_cannot_be_are_refused(seen: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'state'"):
        seen.statistics(["stat"])
    for columns in ([], "state"):
        with pytest.raises(InvalidInputError, match="at least one column"):
            seen.statistics(columns)
    one = Dataset(run(tmp_path / "one", records(1), lengths=(1,)))
    with pytest.raises(InvalidInputError, match="'action': no episode has a value"):
        one.statistics(["action"])
    schema = Schema((*SCHEMA.columns, replace(PIXELS, name="proprio", dtype="float32", shape=(2,))))
    built = run(tmp_path / "nan", records(2), schema=schema, nan="proprio")
    with pytest.raises(InvalidInputError, match="episode 0: column 'proprio' has values that are"):
        Dataset(built).statistics(["proprio"])
