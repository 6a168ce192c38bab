"""The context of windows: rows before them, with a mask, alike in Batches and Windows."""

from pathlib import Path

import pytest
import torch
from ramps import LENGTHS, write
from torch.utils.data import DataLoader

from sandbox import Batches, Windows
from sandbox.errors import InvalidInputError

WHO = ("episode_idx", "step_idx", "reward", "action")


@pytest.mark.parametrize("cache", [None, "ram"])
@pytest.mark.parametrize("frameskip", [1, 2])
@pytest.mark.parametrize("pad", [False, True])
def test_a_context_is_the_rows_before_and_its_mask_says_where_there_are_none(
    tmp_path: Path, pad: bool, frameskip: int, cache: str | None
) -> None:
    path, context, length = write(tmp_path / "run"), 3, 4
    asked = ("pixels", *WHO)
    alike = {"pad": pad, "frameskip": frameskip, "shuffle": True, "seed": 5, "cache": cache}
    plain = Batches(path, 8, length, asked, **alike)
    with_context = Batches(path, 8, length, asked, context=context, **alike)
    assert plain.wait_for_cache() == with_context.wait_for_cache() == (cache is not None)
    assert plain.windows == with_context.windows
    for one, other in zip(plain, with_context, strict=True):
        mask = other["mask"]
        assert mask.shape == (len(one["reward"]), context + length)
        for name in asked:
            assert torch.equal(one[name].nan_to_num(-1), other[name][:, context:].nan_to_num(-1))
            assert not other[name][~mask].any(), name
        start = one["step_idx"][:, 0]
        rows = start[:, None] + (torch.arange(context + length) - context) * frameskip
        ends = torch.tensor(LENGTHS)[one["episode_idx"][:, 0]]
        assert torch.equal(mask, (rows >= 0) & (rows < ends[:, None]))
        assert torch.equal(other["step_idx"][mask], rows[mask].int())
        assert (other["episode_idx"][mask] >= 0).all()
        of_row = other["reward"] if frameskip == 1 else other["reward"][:, :, 0]
        assert torch.equal(of_row[mask], rows[mask].double())
        assert torch.equal(other["pixels"][mask][:, 0, 0, 0], (rows[mask] + 1).byte())


@pytest.mark.parametrize("cache", [None, "ram"])
@pytest.mark.parametrize(("context", "stride"), [(0, 1), (3, 1), (2, 3), (40, 1)])
def test_windows_have_the_context_that_batches_have(
    tmp_path: Path, context: int, stride: int, cache: str | None
) -> None:
    path, asked = write(tmp_path / "run"), ("pixels", "charge", *WHO)
    windows = Windows(path, 4, asked, stride, context=context, cache=cache)
    batches = Batches(path, 8, 4, asked, stride=stride, context=context, shuffle=False)
    assert windows.wait_for_cache() == (cache is not None)
    assert len(windows) == len(Windows(path, 4, asked, stride)) == batches.windows
    both = {name: torch.cat([one[name] for one in batches]) for name in next(iter(batches))}
    assert ("mask" in both) == (context > 0)
    for k in range(len(windows)):
        one = windows[k]
        assert [*one] == [*both]
        for name, values in one.items():
            assert values.dtype == both[name].dtype
            assert torch.equal(values.nan_to_num(-1), both[name][k].nan_to_num(-1)), (k, name)
    loaded = list(DataLoader(windows, batch_size=8, num_workers=int(cache is None)))
    for name, values in both.items():
        together = torch.cat([one[name] for one in loaded])
        assert torch.equal(together.nan_to_num(-1), values.nan_to_num(-1)), name


def test_trainers_see_a_context_as_rows_that_are_masked(tmp_path: Path) -> None:
    path = write(tmp_path / "run")
    for convention in ("dreamer", "diamond", "sheeprl", "tdmpc2", "jepa", "r2dreamer"):
        batch = next(iter(Batches(path, 64, 3, ("pixels",), context=2, convention=convention)))
        assert {tuple(one.shape[:2]) for one in batch.values()} & {(64, 5), (64, 4), (5, 64)}
    dreamer = next(iter(Batches(path, 200, 3, ("pixels",), context=2, convention="dreamer")))
    first, mask = dreamer["is_first"], dreamer["mask"]
    assert not first[~mask].any()
    begins = ~mask[:, 0] & mask.any(1)
    assert begins.any()
    assert torch.equal(first[begins].int().argmax(1), (~mask[begins]).sum(1))
    diamond = next(iter(Batches(path, 200, 3, ("pixels",), context=2, convention="diamond")))
    assert (diamond["rew"][diamond["mask_padding"]] > 0).all()


@pytest.mark.parametrize("context", [-1, 1.5, "2"])
def test_a_context_that_is_none_is_refused(tmp_path: Path, context: object) -> None:
    path = write(tmp_path / "run")
    with pytest.raises(InvalidInputError, match="context"):
        Batches(path, 8, 3, WHO, context=context)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidInputError, match="context"):
        Windows(path, 3, WHO, context=context)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidInputError, match="several times"):
        Batches(path, 8, 3, ("pixels",), context=2, convention="transitions")


def test_a_state_is_of_one_context(tmp_path: Path) -> None:
    path = write(tmp_path / "run")
    state = Batches(path, 8, 3, WHO).state_dict()
    with pytest.raises(InvalidInputError, match="context"):
        Batches(path, 8, 3, WHO, context=1).load_state_dict(state)
