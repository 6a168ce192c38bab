"""robomimic: a group `data/demo_N` for each episode, with `obs` and `next_obs` of its T steps."""

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sandbox import catalogue
from sandbox.errors import InvalidInputError
from sandbox.exports import columns as known
from sandbox.exports import grouped, hdf5
from sandbox.exports.formats import Job, Kind, Plan, about
from sandbox.exports.grouped import Part
from sandbox.trajectory import Schema

_STEPS = {"action": "actions", "reward": "rewards", "terminated": "dones"}
_MORE = {"truncated": "truncated", "charge": "charge"}
_DATA, _MASK = "data", "mask"


class Robomimic:
    """The format of robomimic, which trains on demonstrations."""

    name = "robomimic"
    reader = "robomimic 0.3.0"
    kinds: tuple[Kind, ...] = ("copy", "view")
    ending = ".hdf5"
    shortest = 2
    compressions = hdf5.NO_ZSTD
    needs = ()

    def plan(self, schema: Schema, kind: Kind, asked: bool, out: Path) -> Plan:
        """Return what is seen as `obs`; a view has what can be observed, or what is asked for."""
        known.needed(schema, [*_STEPS], self.name)
        seen = known.observations(schema, self.name)
        held, left = dict[str, str](), dict[str, str]()
        for name in schema.names:
            if name in _STEPS:
                held[name] = _STEPS[name]
            elif name not in seen and (reason := known.needless(name, kind, asked)):
                left[name] = reason
            elif name in _MORE:
                held[name] = _MORE[name]
            else:  # A part of a network is called so, and its name has no point.
                held[name] = f"obs/{name.replace('.', '_')}"
        _refuse_same(held)
        return Plan(held, left)

    def write(self, job: Job) -> None:
        """Write the demonstrations, and a mask for each split that there is."""
        parts = [part for column, place in job.plan.held.items() for part in _parts(column, place)]
        with hdf5.created(job.path, job.compression or "gzip") as target:
            data = target.group(_DATA)
            hdf5.attribute(data, "total", sum(job.lengths) - len(job.numbers))
            hdf5.attribute(data, "env_args", json.dumps(_environment(job)))
            grouped.write(job, target, data, job.final, "demo_", parts, lambda _, n: _about(job, n))
            _masks(target, job)


def _parts(column: str, place: str) -> list[Part]:
    group, _, name = place.rpartition("/")
    if group:
        return [Part(column, "obs", name, 0, 1), Part(column, "next_obs", name, 1, 0)]
    return [Part(column, "", name, 0, 1) if column == "action" else Part(column, "", name, 1, 0)]


def _refuse_same(held: dict[str, str]) -> None:
    """Refuse columns that would have the same name."""
    places: dict[str, str] = {}
    for name, place in held.items():
        if place in places:
            raise InvalidInputError(
                f"robomimic allows no point in a name, and {places[place]} and {name} would both "
                f"be {place}; leave one out."
            )
        places[place] = name


def _about(job: Job, number: int) -> grouped.Attributes:
    """Return the attributes of an episode's group."""
    steps = int(job.dataset.lengths[number]) - 1
    return {"num_samples": steps, "sandbox": json.dumps(about(job.dataset, number))}


def _environment(job: Job) -> dict[str, Any]:
    """Return how robomimic would make the environment: by Gymnasium, which it calls type 2."""
    names = [*job.dataset.facts.texts("environment")]
    known = len(names) == 1 and names[0] in catalogue.environments()
    name = f"sandbox:{catalogue.gym_id(names[0])}" if known else ", ".join(names)
    return {"env_name": name, "type": 2, "env_kwargs": {}}


def _masks(target: hdf5.Target, job: Job) -> None:
    """Write the names of the demonstrations of each split."""
    splits: dict[str, list[str]] = {}
    for place, number in enumerate(job.numbers):
        split = about(job.dataset, number).get("split")
        if split is not None:
            splits.setdefault(re.sub(r"[^\w-]", "_", split) or "_", []).append(f"demo_{place}")
    if not splits:
        return
    masks = target.group(_MASK)
    for split, names in splits.items():
        values = np.array([name.encode() for name in names])
        target.ensure(hdf5.DATASET_BYTES + values.nbytes)
        made = h5py.Group(masks).create_dataset(
            split, values.shape, values.dtype, track_times=False
        )
        made[...] = values
