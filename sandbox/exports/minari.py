"""Minari: a group for each episode, with T+1 observations and T actions, in `data/`."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from sandbox import durable
from sandbox.errors import InvalidInputError
from sandbox.exports import columns as known
from sandbox.exports import grouped, hdf5
from sandbox.exports.formats import Job, Kind, Plan, about
from sandbox.exports.grouped import Part
from sandbox.trajectory import Column, Schema

VERSION = "0.5.4"
_ID = re.compile(r"[-\w.]+-v\d+")
_STEPS = {
    "action": "actions",
    "reward": "rewards",
    "terminated": "terminations",
    "truncated": "truncations",
}


class Minari:
    """The format of Minari, with pictures as they are: `jpeg_encoding` is false."""

    name = "minari"
    reader = f"minari {VERSION}"
    kinds: tuple[Kind, ...] = ("copy", "view")
    ending = ""
    shortest = 2
    compressions = hdf5.NO_ZSTD
    needs = ()

    def plan(self, schema: Schema, kind: Kind, asked: bool, out: Path) -> Plan:
        """Return observations and infos; a view has infos only if they are asked for."""
        if not _ID.fullmatch(out.name):
            raise InvalidInputError(
                f"{out}: Minari calls a dataset NAME-vNUMBER, as {out.stem or 'demo'}-v0; name the "
                "folder so."
            )
        known.needed(schema, [*_STEPS], self.name)
        seen = known.observations(schema, self.name)
        held, left = dict[str, str](), dict[str, str]()
        for name in schema.names:
            if name in _STEPS:
                held[name] = _STEPS[name]
            elif name in seen:
                held[name] = f"observations/{name}"
            elif reason := known.needless(name, kind, asked):
                left[name] = reason
            else:
                held[name] = f"infos/{name}"
        return Plan(held, left)

    def write(self, job: Job) -> None:
        """Write `data/main_data.hdf5` and `data/metadata.json`."""
        data, final = job.path / "data", job.final / "data" / "main_data.hdf5"
        data.mkdir(parents=True)
        parts = [_part(column, place) for column, place in job.plan.held.items()]
        with hdf5.created(data / "main_data.hdf5", job.compression or "gzip") as target:
            at = target.file.id
            grouped.write(job, target, at, final, "episode_", parts, lambda k, n: _about(job, k, n))
        size = (data / "main_data.hdf5").stat().st_size
        durable.create(data / "metadata.json", _metadata(job, size).encode())


def _part(column: str, place: str) -> Part:
    group, _, name = place.rpartition("/")
    if group:
        return Part(column, group, name)
    return Part(column, "", name, 0, 1) if column == "action" else Part(column, "", name, 1, 0)


def _about(job: Job, place: int, number: int) -> grouped.Attributes:
    """Return the attributes of an episode's group."""
    told = about(job.dataset, number)
    seed = {"seed": told["seed"]} if "seed" in told else {}
    steps = int(job.dataset.lengths[number]) - 1
    return {"id": place, "total_steps": steps, **seed, "sandbox": json.dumps(told)}


def _metadata(job: Job, size: int) -> str:
    """Return the text of `metadata.json`: what is there, and its spaces."""
    schema, held = job.dataset.schema, job.plan.held
    seen = [name for name, place in held.items() if place.startswith("observations/")]
    spaces = [{"type": "Dict", "subspaces": {name: _box(schema[name]) for name in seen}}]
    environments = job.dataset.facts.texts("environment")
    bound = 1.0 if environments else np.inf  # Actions of every environment are from -1 to 1.
    return json.dumps(
        {
            "total_episodes": len(job.numbers),
            "total_steps": sum(job.lengths) - len(job.numbers),
            "data_format": "hdf5",
            "jpeg_encoding": False,
            "observation_space": json.dumps(spaces[0]),
            "action_space": json.dumps(_box(schema["action"], bound)),
            "dataset_id": job.final.name,
            "minari_version": VERSION,
            "dataset_size": round(size / 1e6, 1),
            "description": f"Episodes of {', '.join(environments) or 'an environment'}.",
        }
    )


def _box(column: Column, bound: float = np.inf) -> dict[str, Any]:
    """Return a space as Minari writes it: all that a column can hold, or up to a bound."""
    kind = np.dtype(column.dtype)
    if kind.kind == "f":
        low, high = -bound, bound
    elif kind.kind == "b":
        low, high = 0, 1
    else:
        low, high = np.iinfo(kind).min, np.iinfo(kind).max
    return {
        "type": "Box",
        "dtype": column.dtype,
        "shape": list(column.shape),
        "low": np.full(column.shape, low).tolist(),
        "high": np.full(column.shape, high).tolist(),
    }
