"""Learn to predict the next frame from a frame and an action, from a recorded run.

    python examples/next_frame.py RUN [--steps 300] [--test OTHER_RUN]

A small convolutional network predicts the *change* of the picture. The baseline to beat is the
frame itself: most of a picture stays as it is.
"""

import argparse
from itertools import chain, islice, repeat

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import sandbox
from sandbox.dataset.windows import Windows


class NextFrame(nn.Module):
    """Frame (B, 3, H, W) in 0 to 1 and action (B, k) to the next frame (B, 3, H, W)."""

    def __init__(self, action_size: int, width: int = 32) -> None:
        super().__init__()
        self.see = nn.Conv2d(3, width, 5, stride=2, padding=2)
        self.feel = nn.Linear(action_size, width)
        self.think = nn.Conv2d(width, width, 5, padding=2)
        self.draw = nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1, bias=False)
        nn.init.zeros_(self.draw.weight)  # Begins as the baseline: nothing changes.

    def forward(self, frame: Tensor, action: Tensor) -> Tensor:
        """Return the frame after `action`."""
        seen = torch.relu(self.see(frame) + self.feel(action)[:, :, None, None])
        change: Tensor = self.draw(torch.relu(seen + self.think(seen)))
        return frame + change


def pairs(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return frame, action taken there, and next frame of windows of two rows."""
    pixels = batch["pixels"].float() / 255
    action = torch.nan_to_num(batch["action"][:, 0])  # NaN where an episode has ended.
    return pixels[:, 0], action, pixels[:, 1]


def main() -> None:
    """Train, and print the loss before and after beside the baseline's."""
    parser = argparse.ArgumentParser(description="Learn to predict the next frame of a run.")
    parser.add_argument("run", help="folder of a run, or a trajectory file, with `pixels`")
    parser.add_argument("--steps", type=int, default=300, help="optimiser steps")
    parser.add_argument("--test", help="folder of another run, to test on; default: RUN itself")
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]

    windows = Windows(options.run, length=2, columns=("pixels", "action"))
    loader = DataLoader(windows, batch_size=32, shuffle=True)
    seen = windows
    if options.test is not None:
        seen = Windows(options.test, length=2, columns=("pixels", "action"))
        for warning in sandbox.overlap(options.test, options.run).warnings():
            print(f"warning: {warning}")
    frame, action, after = pairs(next(iter(DataLoader(seen, batch_size=256, shuffle=True))))
    model = NextFrame(action.shape[1])
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)

    def loss() -> float:
        with torch.no_grad():
            return nn.functional.mse_loss(model(frame, action), after).item()

    baseline = nn.functional.mse_loss(frame, after).item()
    print(f"{len(windows)} pairs of frames; copying the last frame: {baseline:.3e}")
    print(f"before: {loss():.3e}")
    for batch in islice(chain.from_iterable(repeat(loader)), options.steps):
        before, taken, target = pairs(batch)
        optimiser.zero_grad()
        error = nn.functional.mse_loss(model(before, taken), target)
        error.backward()  # pyright: ignore[reportUnknownMemberType]
        optimiser.step()  # pyright: ignore[reportUnknownMemberType]
    print(f"after {options.steps} steps: {loss():.3e}")


if __name__ == "__main__":
    main()
