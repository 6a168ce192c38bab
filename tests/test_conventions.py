"""Conventions of other trainers, counted through: observation = t, action = t, reward = t."""

from pathlib import Path
from typing import Any

import pytest
import torch
from ramps import write
from torch import Tensor

from sandbox.dataset.batches import Batches
from sandbox.dataset.conventions import CONVENTIONS, arranged, fitting
from sandbox.errors import InvalidInputError, UnknownNameError

B, T, FIRST = 3, 5, (0, 7, 2)  # Windows of T rows that begin at these steps of their episodes.
STEPS = torch.tensor([[first + k for k in range(T)] for first in FIRST])


def rows() -> dict[str, Tensor]:
    """Windows of ramps; the second one holds the end of its episode, and no action there."""
    pixels = STEPS[:, :, None, None, None] + torch.tensor([0, 100, 200])[:, None, None]
    action = STEPS[:, :, None].float().repeat(1, 1, 2)
    action[1, -1] = torch.nan
    ended = torch.zeros(B, T, dtype=torch.bool)
    ended[1, -1] = True
    return {
        "pixels": pixels.to(torch.uint8).expand(B, T, 3, 4, 6),
        "proprio": STEPS[:, :, None].float(),
        "action": action,
        "reward": STEPS.double(),
        "terminated": ended,
        "truncated": torch.zeros(B, T, dtype=torch.bool),
        "step_idx": STEPS.int(),
    }


ACTED = STEPS.clone()
ACTED[1, -1] = 0


def test_dreamer_has_our_rows_and_channels_last() -> None:
    found = arranged(rows(), "dreamer")
    assert found["image"].shape == (B, T, 4, 6, 3)
    assert found["image"].dtype == torch.uint8
    assert torch.equal(found["image"][..., 0, 0, 1].long(), STEPS + 100)
    assert torch.equal(found["action"][..., 0].long(), ACTED)
    assert torch.equal(found["reward"], STEPS.float())
    assert torch.equal(found["is_first"], STEPS == 0)
    assert (
        found["is_last"].nonzero().tolist() == found["is_terminal"].nonzero().tolist() == [[1, 4]]
    )
    assert torch.equal(found["proprio"][..., 0].long(), STEPS)


def test_r2dreamer_has_the_action_that_led_to_a_row() -> None:
    found = arranged(rows(), "r2dreamer")
    assert found["image"].shape == (B, T - 1, 4, 6, 3)
    assert torch.equal(found["image"][..., 0, 0, 0].long(), STEPS[:, 1:])
    assert torch.equal(found["action"][..., 0].long(), STEPS[:, 1:] - 1)
    assert torch.equal(found["reward"][..., 0], STEPS[:, 1:].float())
    assert found["is_terminal"].shape == (B, T - 1, 1)


def test_sheeprl_has_time_first() -> None:
    found = arranged(rows(), "sheeprl")
    assert found["rgb"].shape == (T, B, 3, 4, 6)
    assert torch.equal(found["rgb"][:, :, 0, 0, 0].long(), STEPS.T)
    assert torch.equal(found["actions"][..., 0].long(), ACTED.T)
    assert torch.equal(found["rewards"][..., 0], STEPS.T.float())
    assert torch.equal(found["is_first"][..., 0] == 1, STEPS.T == 0)
    assert found["terminated"].nonzero().tolist() == [[4, 1, 0]]


def test_tdmpc2_has_the_steps_between_observations() -> None:
    found = arranged({name: x for name, x in rows().items() if name != "pixels"}, "tdmpc2")
    assert torch.equal(found["obs"][..., 0].long(), STEPS.T)
    assert torch.equal(found["action"][..., 0].long(), STEPS.T[:-1])
    assert torch.equal(found["reward"][..., 0], STEPS.T[1:].float())
    assert found["terminated"].nonzero().tolist() == [[3, 1, 0]]
    assert {*arranged(rows(), "tdmpc2")} >= {"obs.pixels", "obs.proprio"}


def test_jepa_has_our_rows_and_no_nan() -> None:
    found = arranged(rows(), "jepa")
    assert {*found} == {"pixels", "proprio", "action"}
    assert torch.equal(found["pixels"][:, :, 0, 0, 0].long(), STEPS)
    assert torch.equal(found["action"][..., 1].long(), ACTED)


def test_diamond_has_what_an_action_earned_in_its_own_row() -> None:
    found = arranged(rows(), "diamond")
    assert found["obs"].shape == (B, T - 1, 3, 4, 6)
    told = ((found["obs"][:, :, 0, 0, 0] + 1) / 2 * 255).round().long()
    assert torch.equal(told, STEPS[:, :-1])
    assert torch.equal(found["act"][..., 0].long(), STEPS[:, :-1])
    assert torch.equal(found["rew"], STEPS[:, 1:].float())
    assert found["end"].nonzero().tolist() == [[1, 3]]
    assert found["mask_padding"].all()
    padded = {**rows(), "mask": STEPS < 4}
    assert torch.equal(arranged(padded, "diamond")["mask_padding"], STEPS[:, 1:] < 4)


def test_video_has_channels_before_time() -> None:
    found = arranged({"pixels": rows()["pixels"]}, "video")
    assert {*found} == {"pixels"}
    assert torch.equal(found["pixels"][:, 2, :, 0, 0].long(), STEPS + 200)
    assert torch.equal(arranged(rows(), "video")["action"][..., 0].long(), ACTED)


@pytest.mark.parametrize("padded", [False, True])
def test_transitions_are_single_steps_and_none_is_padding(padded: bool) -> None:
    mask = STEPS < 9
    found = arranged({**rows(), "mask": mask} if padded else rows(), "transitions")
    steps = STEPS[:, :-1][mask[:, 1:]] if padded else STEPS[:, :-1].flatten()
    assert torch.equal(found["pixels"][:, 0, 0, 0].long(), steps)
    assert torch.equal(found["next_proprio"][:, 0].long(), steps + 1)
    assert torch.equal(found["action"][:, 0].long(), steps)
    assert torch.equal(found["reward"].long(), steps + 1)
    assert bool(found["terminated"].any()) != padded


def test_cameras_keep_their_names() -> None:
    given = rows()
    given = {"pixels.main": given.pop("pixels"), **given}
    assert "image.main" in arranged(given, "dreamer")
    assert "rgb.main" in arranged(given, "sheeprl")
    assert arranged(given, "diamond")["obs"].shape == (B, T - 1, 3, 4, 6)


def test_no_convention_changes_what_it_was_given() -> None:
    for name in CONVENTIONS:
        given, before = rows(), rows()
        arranged(given, name)
        assert {*given} == {*before}
        assert all(torch.equal(given[n].nan_to_num(), before[n].nan_to_num()) for n in before)


def test_what_cannot_be_arranged_is_refused() -> None:
    given: Any = rows()
    with pytest.raises(UnknownNameError, match="Did you mean 'dreamer'"):
        fitting("dreamr", 4)
    with pytest.raises(InvalidInputError, match="'sheeprl' needs the columns reward, step_idx"):
        arranged({n: x for n, x in given.items() if n not in ("reward", "step_idx")}, "sheeprl")
    with pytest.raises(InvalidInputError, match=r"windows of 1 rows: .* needs 2"):
        arranged({name: x[:, :1] for name, x in given.items()}, "tdmpc2")
    for name, says in (("diamond", "there are 0"), ("video", "needs a column of pixels")):
        with pytest.raises(InvalidInputError, match=says):
            arranged({n: x for n, x in given.items() if n != "pixels"}, name)


def test_batches_come_as_a_trainer_reads_them(tmp_path: Path) -> None:
    """From a run's files: what `Batches` hands out counts as well."""
    ramps = write(tmp_path / "run")
    for name in CONVENTIONS:
        pad = name != "video"
        for batch in Batches(ramps, 4, 5, ("pixels",), convention=name, pad=pad, shuffle=False):
            if name == "transitions":
                step = batch["pixels"][:, 0, 0, 0].long() - 1
                assert torch.equal(batch["action"][:, 0].long(), step)
                assert torch.equal(batch["reward"].long(), step + 1)
                assert torch.equal(batch["next_pixels"][:, 0, 0, 0].long(), step + 2)
            elif name == "tdmpc2":
                first = batch["obs"][:, :, 0, 0, 0].long() - 1
                there = batch["mask"][1:]
                assert torch.equal(batch["action"][..., 0].long()[there], first[:-1][there])
                assert torch.equal(batch["reward"][..., 0].long()[there], first[1:][there])
            elif name == "r2dreamer":
                first = batch["image"][..., 0, 0, 0].long() - 1
                there = batch["mask"]
                assert torch.equal(batch["action"][..., 0].long()[there], first[there] - 1)
            elif name == "dreamer":
                first = batch["image"][..., 0, 0, 0].long() - 1
                there = batch["mask"]
                assert torch.equal(batch["reward"].long()[there], first[there])
                assert torch.equal(batch["is_first"][there], first[there] == 0)
            else:
                assert batch


def test_rows_that_lie_apart_have_their_actions_together(tmp_path: Path) -> None:
    ramps = write(tmp_path / "run")
    for batch in Batches(ramps, 2, 3, ("pixels",), convention="jepa", frameskip=2):
        first = batch["pixels"][:, :, 0, 0, 0].long() - 1
        assert torch.equal(batch["action"][..., 0].long(), first)
        assert batch["action"].shape[2] == 4  # Two actions of two numbers.
    with pytest.raises(InvalidInputError, match="one action a row; leave frameskip at 1"):
        Batches(ramps, 2, 3, ("pixels",), convention="dreamer", frameskip=2)
    with pytest.raises(InvalidInputError, match="windows of 1 rows"):
        Batches(ramps, 2, 1, ("pixels",), convention="tdmpc2")


@pytest.mark.parametrize("convention", ["dreamer", "sheeprl"])
def test_a_padded_row_begins_no_episode(tmp_path: Path, convention: str) -> None:
    ramps = write(tmp_path / "run")
    for batch in Batches(ramps, 4, 40, ("pixels",), convention=convention, pad=True):
        first = batch["is_first"] if convention == "dreamer" else batch["is_first"][..., 0].T
        assert first.sum(1).tolist() == [1] * len(first)


def test_transitions_have_the_charge_of_their_step(tmp_path: Path) -> None:
    ramps = write(tmp_path / "run")
    for batch in Batches(ramps, 4, 3, ("pixels", "charge"), convention="transitions"):
        assert "next_charge" not in batch
        assert len(batch["charge"]) == len(batch["reward"])
