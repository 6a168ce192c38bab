"""TD-MPC2: a tensordict of episodes of one length, as its offline trainer loads."""

from pathlib import Path
from typing import Any

import numpy as np

from sandbox.errors import InvalidInputError
from sandbox.exports import columns as known
from sandbox.exports.formats import Job, Kind, Plan
from sandbox.trajectory import Schema


class TdMpc2:
    """A file .pt: row t has observation t, and the action and reward that led to it.

    Row 0, to which none led, has NaN. `task` is the place of the episode's environment among those
    of the export.
    """

    name = "tdmpc2"
    reader = "TD-MPC2's common.buffer"
    kinds: tuple[Kind, ...] = ("copy",)
    ending = ".pt"
    shortest = 2
    compressions: tuple[str, ...] = ()
    needs: tuple[str, ...] = ("torch", "tensordict")

    def plan(self, schema: Schema, kind: Kind, asked: bool, out: Path) -> Plan:
        """Return one observation, the actions and the rewards."""
        known.needed(schema, ["action", "reward"], self.name)
        seen = known.single(schema, self.name)
        held = {seen: "obs", "action": "action", "reward": "reward"}
        why = "the format has one observation, actions and rewards; --columns chooses"
        return Plan(held, {name: why for name in schema.names if name not in held})

    def write(self, job: Job) -> None:
        """Write all episodes at once: they must fit memory."""
        import torch
        from tensordict import TensorDict

        lengths = {*job.lengths}
        if len(lengths) > 1:
            raise InvalidInputError(
                f"tdmpc2 holds episodes of one length, and these have {min(lengths)} to "
                f"{max(lengths)} rows. Choose those of one length by `where`, or generate some."
            )
        shape = (len(job.numbers), lengths.pop())
        seen, schema = next(iter(job.plan.held)), job.dataset.schema
        obs: Any = np.empty((*shape, *schema[seen].shape), schema[seen].dtype)
        action = np.full((*shape, *schema["action"].shape), np.nan, np.float32)
        reward = np.full(shape, np.nan, np.float32)
        for place, (_, rows) in enumerate(job.episodes()):
            obs[place] = rows[seen]
            action[place, 1:] = rows["action"][:-1]
            reward[place, 1:] = rows["reward"][1:]
        picture, wide = schema[seen].is_picture, obs.dtype == np.float64
        obs = np.moveaxis(obs, -1, 2) if picture and obs.ndim == 5 else obs
        arrays = {
            "obs": np.ascontiguousarray(obs, np.float32 if wide else obs.dtype),
            "action": action,
            "reward": reward,
            "task": np.repeat(_tasks(job)[:, None], shape[1], axis=1),
        }
        tensors = {name: torch.as_tensor(values) for name, values in arrays.items()}
        with job.path.open("xb") as file:
            torch.save(TensorDict(tensors, batch_size=shape), file)


def _tasks(job: Job) -> Any:
    """Return the place of each episode's environment among those of the export, int64."""
    codes = job.dataset.facts.columns["environment"][list(job.numbers)]
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)
