"""Updates a second of `rssm`, in turn with those of SheepRL's DreamerV3: `make dreamer`.

Both update the world model alone, on the same batch, in float32 on one thread: encoder, recurrence
over all rows, decoder, reward, end, divergences, gradients, clipping, and Adam. SheepRL's code runs
as released, not compiled, as is its default. Both have the same widths, latents and channels of the
smallest maps; the picture networks and heads are each library's own.
"""

import importlib
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.tables import show
from sandbox.models import named, work
from sandbox.training.settings import Settings
from sandbox.training.trainer import Trainer, seed

ROUNDS, ACTIONS = 7, 2
THEIRS = "SheepRL 0.8.4"
ALL = 64  # Rows that are drawn: all of them.
CASES = (("tiny", 16, 11), ("tiny", 16, 64), ("small", 16, 11))  # Size, windows, rows of each.
SHAPES = {"pixels": (3, 64, 64), "action": (ACTIONS,), "reward": (), "terminated": ()}
Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Updated:
    """A world model, and what updates it once.

    Attributes:
        model: the world model.
        update: makes one update, on the batch that it knows.
    """

    model: nn.Module
    update: Callable[[], Any]

    def took(self) -> float:
        """Return the CPU time of an update [ms]: to wait for the processor does not count."""
        begun = time.process_time()
        self.update()
        return (time.process_time() - begun) * 1e3

    def size(self) -> tuple[int, int]:
        """Return the parameters, and what `model_mflop` counts in an update."""
        return sum(one.numel() for one in self.model.parameters()), work.mflop(self.update)


def drawn(windows: int, rows: int) -> Batch:
    """Return a batch as `rssm` takes it."""
    seed(0)
    return {
        "pixels": torch.randint(0, 256, (windows, rows, 3, 64, 64), dtype=torch.uint8),
        "action": torch.rand(windows, rows, ACTIONS) * 2 - 1,
        "reward": torch.randn(windows, rows),
        "terminated": torch.rand(windows, rows) < 0.1,
    }


def ours(size: str, batch: Batch, **options: Any) -> Updated:
    """Return `rssm` of a size."""
    told = Settings(updates=1000, precision="float32")
    model: Any = named.make("rssm", named.options_of("rssm", size, options), SHAPES)
    trainer = Trainer(model, told)
    return Updated(model, lambda: trainer.update(batch))


def theirs(size: str, batch: Batch) -> Updated:
    """Return SheepRL's world model, as wide as `rssm` of a size."""
    fabric: Any = _module("lightning.fabric").Fabric(accelerator="cpu", devices=1)
    config = _config(size)
    pixels = gymnasium.spaces.Box(0, 255, SHAPES["pixels"], np.uint8)
    spaces = gymnasium.spaces.Dict(rgb=pixels)
    build = _module("sheeprl.algos.dreamer_v3.agent").build_agent
    model: nn.Module = build(fabric, SHAPES["action"], True, config, spaces)[0]
    told = config.algo.world_model.optimizer
    adam = _module("hydra.utils").instantiate(told, params=model.parameters(), _convert_="all")
    adam = fabric.setup_optimizers(adam)
    learn = _module("sheeprl.algos.dreamer_v3.dreamer_v3").world_model_learning
    _module("sheeprl.utils.metric").MetricAggregator.disabled = True  # No entropies, as of ours.
    rows = _in_time(batch)

    def update() -> None:
        learn(fabric, config, model, adam, {name: one.float() for name, one in rows.items()})

    return Updated(model, update)


def _module(name: str) -> Any:
    """Return a module of packages that `make dreamer` installs."""
    return importlib.import_module(name)


def _config(size: str) -> Any:
    """Return SheepRL's configuration for a model as wide as `rssm` of a size."""
    hydra = _module("hydra")
    with hydra.initialize_config_module("sheeprl.configs", version_base="1.3"):
        composed = hydra.compose("config", _overrides(size))
    plain = _module("omegaconf").OmegaConf.to_container(composed, resolve=True)
    return _module("sheeprl.utils.utils").dotdict(plain)


def _overrides(size: str) -> list[str]:
    """Return SheepRL's settings for `rssm` of a size."""
    told = named.options_of("rssm", size, {})
    world = "algo.world_model"
    return [
        "exp=dreamer_v3",
        "env=dummy",
        "algo.mlp_layers=1",
        f"algo.dense_units={told['hidden']}",
        f"{world}.encoder.cnn_channels_multiplier={told['depth']}",
        f"{world}.recurrent_model.recurrent_state_size={told['deter']}",
        f"{world}.transition_model.hidden_size={told['hidden']}",
        f"{world}.representation_model.hidden_size={told['hidden']}",
        f"{world}.stochastic_size={told['groups']}",
        f"{world}.discrete_size={told['classes']}",
    ]


def _in_time(batch: Batch) -> dict[str, Tensor]:
    """Return the rows as SheepRL's replay buffer has them: time first, numbers in a last axis."""
    rows = {name: one.transpose(0, 1).contiguous() for name, one in batch.items()}
    first = torch.zeros_like(rows["reward"])
    first[0] = 1
    return {
        "rgb": rows["pixels"],
        "actions": rows["action"],
        "rewards": rows["reward"].unsqueeze(-1),
        "terminated": rows["terminated"].unsqueeze(-1),
        "is_first": first.unsqueeze(-1),
    }


def table(size: str, windows: int, rows: int) -> list[dict[str, str]]:
    """Return what an update of each model takes, in turn: medians, and of their ratios."""
    batch = drawn(windows, rows)
    every = {
        THEIRS: theirs(size, batch),
        "rssm, all rows drawn": ours(size, batch, drawn=ALL),
        "rssm": ours(size, batch),
    }
    sizes = {name: one.size() for name, one in every.items()}  # The first update, which warms up.
    found: dict[str, list[float]] = {name: [] for name in every}
    for _ in range(ROUNDS):
        for name, one in every.items():
            found[name].append(one.took())
    return [
        {
            "size, batch": f"{size}, {windows} x {rows}",
            "model": name,
            "parameters": f"{sizes[name][0]:,}",
            "mflop": f"{sizes[name][1]:,}",
            "CPU ms": f"{statistics.median(taken):,.0f}",
            "least": f"{min(taken):,.0f}",
            "times as fast": f"{statistics.median(map(_ratio, found[THEIRS], taken)):.2f}",
        }
        for name, taken in found.items()
    ]


def _ratio(one: float, other: float) -> float:
    return one / other


def main() -> None:
    """Print a table for each case."""
    torch.set_num_threads(1)
    for case in CASES:
        show("Updates of a world model, one thread", table(*case))


if __name__ == "__main__":
    main()
