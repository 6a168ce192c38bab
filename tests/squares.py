"""Runs of a square that goes where the action says, and models that know how it does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from episodes import record
from torch import Tensor, nn

from sandbox.dataset.dataset import Dataset
from sandbox.models import Checkpoint
from sandbox.models.checkpoint import Data, Facts
from sandbox.training.material import data
from sandbox.trajectory import Column, Episode, EpisodeBuffer, Schema, ShardWriter

SIDE, SQUARE, LAST = 20, 4, 16  # Pixels; and the largest place.
ROWS = 24
SCHEMA = Schema(
    (
        Column("pixels", "uint8", (SIDE, SIDE, 3), "a bright square", "1"),
        Column("state", "float64", (3,), "its place, and 1", "1", ("x", "y", "one")),
        Column("action", "float32", (2,), "-1, 0 or 1", "1"),
        Column("reward", "float64", (), "x / 10", "1"),
        Column("terminated", "bool", (), "x is the largest", "1"),
        Column("truncated", "bool", (), "last", "1"),
        Column("charge", "int64", (), "1", "microcredit"),
        Column("step_idx", "int32", (), "t", "1"),
        Column("episode_idx", "int64", (), "episode", "1"),
    )
)


STEP, PAST = 6, "y" * 64  # Where branches begin; the run that they branch off.


def run(path: Path, name: str = "a", episodes: int = 6, rows: int = ROWS) -> Path:
    """Write a run whose squares go by chance; of every other episode to the right, to its end."""
    made = list[Episode]()
    for number in range(episodes):
        given = record(
            name * 64,
            number,
            policy=("random", "right")[number % 2],
            factors={"t_mass_kg": number / 10, "t_color": [number % 2 * 255, 0, 0]},
        )
        made.append(_episode(given, rows, int(given["seed"]), right=number % 2 == 1))
    return _written(path, made)


def branched(path: Path, kinds: Sequence[str], groups: int = 3, name: str = "b") -> Path:
    """Write a run of branches: of each past one of each kind, in order."""
    made = list[Episode]()
    for group in range(groups):
        for kind in kinds:
            impossible = kind in ("teleport", "recolor")
            branch = {"run": PAST, "episode": group, "step": STEP, "past": group, "kind": kind}
            given = record(name * 64, len(made), branch=branch | {"impossible": impossible})
            made.append(_episode(given, 20, group, right=False, kind=kind))
    return _written(path, made)


def _written(path: Path, episodes: Sequence[Episode]) -> Path:
    (path / "shards").mkdir(parents=True)
    writer = ShardWriter(path / "shards" / "shard-00000.h5", SCHEMA, {}, sync=False)
    for one in episodes:
        writer.append(one)
    writer.close()
    return path


def _episode(
    given: dict[str, Any], rows: int, seed: int, *, right: bool, kind: str = "same"
) -> Episode:
    buffer, rng = EpisodeBuffer(SCHEMA, rows), np.random.default_rng(seed)
    shade, place, t = int(rng.integers(30, 120)), rng.integers(0, (6, LAST + 1)), 0
    for t in range(rows):
        action = rng.integers(-1, 2, 2)
        action[0] = 1 if right and t % 4 else action[0]
        if t >= STEP and kind in ("noop", "random"):
            action = np.array([1, -1]) if kind == "random" else np.zeros(2, np.int64)
        over = bool(place[0] == LAST) or t == rows - 1
        shows = kind == "recolor" and t > STEP
        buffer.arrays["pixels"][t] = drawn(shade, *place.tolist(), light=150 if shows else 220)
        buffer.arrays["state"][t] = *place, 1
        buffer.arrays["reward"][t] = place[0] / 10 if t else 0
        buffer.arrays["action"][t] = np.nan if over else action
        buffer.arrays["step_idx"][t], buffer.arrays["episode_idx"][t] = t, given["episode"]
        buffer.arrays["charge"][t] = 1
        buffer.arrays["terminated"][t] = place[0] == LAST
        buffer.arrays["truncated"][t] = over and place[0] < LAST
        if over:
            break
        place = np.clip(place + action, 0, LAST)
        if t == STEP and kind == "teleport":
            place = np.array([place[0], (place[1] + 8) % LAST])
        if t == STEP and kind == "factor":
            place = np.clip(place + 1, 0, LAST - 1)
    return buffer.episode(t, {**given, "steps": t, "charge_micro": t + 1})


def drawn(shade: int, x: int, y: int, light: int = 220) -> Any:
    made = np.full((SIDE, SIDE, 3), shade, np.uint8)
    made[y : y + SQUARE, x : x + SQUARE] = light
    return made


class Mover(nn.Module):
    """Knows how the square moves; what it says is off by noise.

    Args:
        noise: of pictures, places and rewards.
        ignores: whether it ignores the actions.
        breaks: after how many steps it gives NaN; 0 is never.
        gives: some of what it gives.
    """

    needs, context = ("pixels", "state"), 3

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        noise: float = 0.0,
        ignores: bool = False,
        breaks: int = 0,
        gives: tuple[str, ...] = ("pixels", "state", "reward", "terminated"),
    ) -> None:
        super().__init__()
        self.noise, self.ignores, self.breaks = noise, ignores, breaks
        self.gives = tuple(gives)
        self.weight = nn.Parameter(torch.zeros(1))

    def encode(self, context: Mapping[str, Tensor], actions: Tensor) -> dict[str, Tensor]:
        frame = context["pixels"][:, -1].float() / 255
        place, steps = context["state"][:, -1, :2], torch.zeros(len(frame), 1)
        return {"shade": frame.amin((1, 2, 3)), "place": place, "steps": steps}

    def step(self, state: dict[str, Tensor], action: Tensor) -> dict[str, Tensor]:
        moved = state["place"] if self.ignores else state["place"] + action
        return {**state, "place": moved.clamp(0, LAST), "steps": state["steps"] + 1}

    def decode(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        place, count = state["place"], len(state["place"])
        frames = state["shade"][:, None, None, None].repeat(1, 3, SIDE, SIDE)
        for n, (x, y) in enumerate(place.round().long().tolist()):
            frames[n, :, y : y + SQUARE, x : x + SQUARE] = 220 / 255
        broken = (state["steps"][:, 0] >= self.breaks) & (self.breaks > 0)
        frames[broken] = torch.nan
        said = {
            "pixels": frames,
            "state": torch.cat([place, torch.ones(count, 1)], 1),
            "reward": place[:, 0] / 10,
        }
        said = {name: one + self.noise * torch.randn(one.shape) for name, one in said.items()}
        near = place[:, 0] + 20 * self.noise * torch.randn(count)
        return said | {"terminated": torch.sigmoid(near - LAST)}

    def loss(self, batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        return {"nothing": self.weight.sum()}


SHAPES = {
    "pixels": [3, SIDE, SIDE],
    "state": [3],
    "action": [2],
    "reward": list[int](),
    "terminated": list[int](),
}


def checkpoint(
    path: Path, trained_on: Path | None = None, held_out: Path | None = None, **options: Any
) -> Path:
    """Write the checkpoint of a Mover."""
    known = Data(
        runs=["z" * 64], environment="push_t", episodes=1, rows=2, digest="0" * 64, charge_micro=0
    )
    facts = Facts(
        model="squares:Mover",
        options=options,
        shapes=SHAPES,
        training={"threads": 1, "seed": 0},
        data=known if trained_on is None else data(Dataset(trained_on)),
        held_out=known if held_out is None else data(Dataset(held_out)),
        shared_frames=0,
        updates=0,
        error=None,
        charge_micro=0,
        prices="3",
        code="0" * 64,
        versions={},
    )
    Checkpoint(facts, {"weight": torch.zeros(1)}, {}).write(path)
    return path
