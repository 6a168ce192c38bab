"""Train a small next-frame model on a run: `python examples/next_frame.py runs/push_t_demo`."""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sandbox.loader import Windows


class NextFrame(nn.Module):
    """Predicts the change of a picture from the picture and the action."""

    def __init__(self, action_size: int, width: int = 32) -> None:
        super().__init__()
        self.encode = nn.Conv2d(3 + action_size, width, 5, padding=2)
        self.mix = nn.Sequential(
            nn.SiLU(), nn.Conv2d(width, width, 3, padding=1, dilation=1), nn.SiLU()
        )
        self.decode = nn.Conv2d(width, 3, 3, padding=1)
        nn.init.zeros_(self.decode.weight)  # It begins as "nothing changes".

    def forward(self, picture: Tensor, action: Tensor) -> Tensor:
        """Return the next picture, (batch, 3, height, width) in 0..1."""
        plane = action[:, :, None, None].expand(-1, -1, *picture.shape[2:])
        hidden = self.mix(self.encode(torch.cat([picture, plane], 1)))
        return picture + self.decode(hidden)


def train(run: Path, steps: int, batch: int = 16, seed: int = 0) -> list[float]:
    """Take `steps` optimiser steps and return the loss of each."""
    torch.set_num_threads(2)  # More threads than cores are several times slower.
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
    windows = Windows(run, length=2, columns=("pixels", "action"))
    loader = DataLoader(windows, batch_size=batch, shuffle=True, drop_last=True)
    model = NextFrame(windows[0]["action"].shape[-1])
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses: list[float] = []
    while len(losses) < steps:
        for sample in loader:
            pictures = sample["pixels"].float() / 255
            predicted = model(pictures[:, 0], sample["action"][:, 0])
            loss = nn.functional.mse_loss(predicted, pictures[:, 1])
            optimiser.zero_grad()
            loss.backward()  # pyright: ignore[reportUnknownMemberType]
            optimiser.step()  # pyright: ignore[reportUnknownMemberType]
            losses.append(loss.item())
            if len(losses) == steps:
                break
    return losses


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    losses = train(options.run, options.steps)
    part = max(1, len(losses) // 5)
    first, last = sum(losses[:part]) / part, sum(losses[-part:]) / part
    print(f"{len(losses)} steps: squared error {first:.6f} -> {last:.6f} (the first is copy-last)")


if __name__ == "__main__":
    main()
