"""R2-Dreamer: a tensordict of transitions, as its replay buffer stores them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sandbox.exports import dreamer
from sandbox.exports.formats import Job, Kind, Plan
from sandbox.trajectory import Schema

_LIFTED = ("reward", "is_first", "is_last", "is_terminal")


class R2Dreamer:
    """A file .pt: all rows one after another, as ours; `episode` tells episodes apart.

    The action was taken *at* a row, and is 0 on an episode's last. The buffer itself moves the
    actions by one when it samples. `stoch` and `deter`, which depend on the model, are not there.
    """

    name = "r2dreamer"
    reader = "R2-Dreamer's buffer"
    kinds: tuple[Kind, ...] = ("copy",)
    ending = ".pt"
    shortest = 2
    compressions: tuple[str, ...] = ()
    needs: tuple[str, ...] = ("torch", "tensordict")

    def plan(self, schema: Schema, kind: Kind, asked: bool, out: Path) -> Plan:
        """Return what DreamerV3's format has."""
        return dreamer.plan(schema, self.name, asked)

    def write(self, job: Job) -> None:
        """Write all rows at once: they must fit memory."""
        import torch
        from tensordict import TensorDict

        total, start, arrays = sum(job.lengths), 0, dict[str, Any]()
        for values in _arranged(job):
            count = len(values["episode"])
            for name, array in values.items():
                if name not in arrays:
                    arrays[name] = np.empty((total, *array.shape[1:]), array.dtype)
                arrays[name][start : start + count] = array
            start += count
        tensors = {name: torch.as_tensor(array) for name, array in arrays.items()}
        with job.path.open("xb") as file:
            torch.save(TensorDict(tensors, batch_size=(total,)), file)


def _arranged(job: Job) -> Iterator[dict[str, Any]]:
    """Yield the rows of each episode under the names of the format."""
    for place, (_, rows) in enumerate(job.episodes()):
        found: dict[str, Any] = dreamer.arranged(rows, job.plan.held)
        found |= {name: found[name][:, None] for name in _LIFTED}
        yield {**found, "episode": np.full(len(found["reward"]), place, np.int32)}
