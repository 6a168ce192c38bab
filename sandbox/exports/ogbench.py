"""OGBench: one .npz of observations, actions and terminals, row after row."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.exports import columns as known
from sandbox.exports import npz
from sandbox.exports.formats import Job, Kind, Plan
from sandbox.trajectory import Schema


class OgBench:
    """The format of OGBench's datasets for goals.

    A row has an observation and the action taken at it; the last row of an episode has 0 for an
    action, and 1 in `terminals`, however the episode ended.
    """

    name = "ogbench"
    reader = "ogbench 1.2.2"
    kinds: tuple[Kind, ...] = ("copy",)
    ending = ".npz"
    shortest = 2
    compressions: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    def plan(self, schema: Schema, kind: Kind, asked: bool, out: Path) -> Plan:
        """Return one observation and the actions: the format has no place for others."""
        known.needed(schema, ["action"], self.name)
        seen = known.single(schema, self.name)
        held = {seen: "observations", "action": "actions"}
        why = "the format has one observation and the actions; --columns chooses"
        return Plan(held, {name: why for name in schema.names if name not in held})

    def write(self, job: Job) -> None:
        """Write the three arrays, each in a pass over the episodes."""
        total, schema = sum(job.lengths), job.dataset.schema
        ends = np.zeros(total, np.float32)
        ends[np.cumsum(job.lengths) - 1] = 1
        with npz.Writer(job.path, pack=False) as file:
            file.array("terminals", "float32", (total,), [ends])
            for name, place in job.plan.held.items():
                column = schema[name]
                parts = _parts(job, name, last=place == "actions")
                file.array(place, column.dtype, (total, *column.shape), parts)


def _parts(job: Job, name: str, *, last: bool) -> Iterator[NDArray[Any]]:
    """Yield a column episode by episode; the pass over the actions, which is last, counts them."""
    if last:
        for _, rows in job.episodes([name]):
            yield known.acted(rows[name])
        return
    for number in job.numbers:
        yield job.dataset.rows(number, [name])[name]
