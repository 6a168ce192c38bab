"""The loaders of docs/trainers.md, counted through: observation = t, action = t, reward = t."""

import re
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

TEXT = (Path(__file__).parent.parent / "docs" / "trainers.md").read_text()


@pytest.fixture(scope="module")
def loaders() -> dict[str, Any]:
    """What the blocks define; the last one uses it."""
    found: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)[:-1]:
        exec(compile(block, "trainers.md", "exec"), found)
    return found


def test_dreamer_has_the_action_taken_at_its_row(ramped: Path, loaders: dict[str, Any]) -> None:
    seen = 0
    for batch in islice(loaders["dreamer"](ramped, batch=4, length=3), 30):  # More than an epoch.
        step = batch["image"][..., 0, 0, 0].astype(int) - 1
        ends = batch["is_last"]
        assert (batch["action"][..., 0] == step)[~ends].all()
        assert (batch["action"][ends] == 0).all()
        assert (batch["reward"] == step).all()
        assert (batch["is_first"] == (step == 0)).all()
        seen += len(step)
    assert seen > 60


def test_r2dreamer_has_the_action_that_led_to_its_row(
    ramped: Path, loaders: dict[str, Any]
) -> None:
    buffer = loaders["LatentBuffer"](ramped, 4, 3, (8, 4), (6,))
    for _ in range(30):
        data, _, (stoch, deter) = buffer.sample()
        step = data["image"][..., 0, 0, 0].long() - 1
        assert torch.equal(data["action"][..., 0].long(), step - 1)
        assert torch.equal(data["reward"][..., 0].long(), step)
        assert (data.batch_size, stoch.shape, deter.shape) == ((4, 3), (4, 8, 4), (4, 6))
        buffer.update(None, stoch, deter)


def test_tdmpc2_has_what_lies_between_its_observations(
    ramped: Path, loaders: dict[str, Any]
) -> None:
    buffer = loaders["StepBuffer"](ramped, 4, 3)
    for _ in range(30):
        obs, action, reward, terminated, task = buffer.sample()
        step = obs[:, :, 0, 0, 0].long() - 1
        assert obs.shape == (4, 4, 3, 4, 6)
        assert torch.equal(action[..., 0].long(), step[:-1])
        assert torch.equal(reward[..., 0].long(), step[1:])
        assert (terminated.shape, task) == ((3, 4, 1), None)


def test_a_loader_has_about_ten_lines() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)[:-1]
    for block in blocks:
        lines = [line for line in block.splitlines() if line.strip() and '"""' not in line]
        assert len(lines) <= 16
