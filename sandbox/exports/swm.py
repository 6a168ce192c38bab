"""stable-worldmodel: one HDF5 file of flat columns, whose rows are ours as they are."""

from pathlib import Path

import numpy as np

from sandbox.exports import hdf5
from sandbox.exports.formats import Job, Kind, Plan
from sandbox.trajectory import Column, Schema, layout
from sandbox.trajectory.schema import INDEX

SCHEMA = "stable-worldmodel-hdf5-v1"


class Swm:
    """The layout `stable-worldmodel-hdf5-v1`."""

    name = "swm"
    reader = "stable-worldmodel 0.1.1"
    kinds: tuple[Kind, ...] = ("copy", "view")
    ending = ".h5"
    shortest = 1
    compressions = ("zstd", "gzip", "none")
    needs = ()

    def plan(self, schema: Schema, kind: Kind, asked: bool, out: Path) -> Plan:
        """Return every column under its own name: the layout holds all of them."""
        return Plan({name: name for name in schema.names})

    def write(self, job: Job) -> None:
        """Write the columns one episode after another, or as views of the shards."""
        schema = job.dataset.schema
        columns = {name: schema[name] for name in job.plan.held}
        with hdf5.created(job.path, job.compression or "zstd") as target:
            hdf5.attribute(target.file.id, "schema", SCHEMA)
            self._index(target, job)
            if job.kind == "view":
                self._view(target, job, columns)
            else:
                self._copy(target, job, columns)

    def _index(self, target: hdf5.Target, job: Job) -> None:
        """Write how long each episode is, and where it begins."""
        lengths = np.array(job.lengths, np.int64)
        target.ensure(2 * hdf5.DATASET_BYTES + 16 * len(lengths))
        for column, values in zip(INDEX, (lengths, np.cumsum(lengths) - lengths), strict=True):
            made = target.file.create_dataset(
                column.name, values.shape, np.dtype(column.dtype), track_times=False
            )
            made[...] = values

    def _copy(self, target: hdf5.Target, job: Job, columns: dict[str, Column]) -> None:
        total = sum(job.lengths)
        once, each = layout.append_bytes(columns.values())
        target.ensure(once)
        made = {name: target.column(column, total) for name, column in columns.items()}
        start = 0
        for number, rows in job.episodes():
            count = int(job.dataset.lengths[number])
            target.ensure(once + each * count)
            for name, values in rows.items():
                made[name].write(start, values)
            start += count

    def _view(self, target: hdf5.Target, job: Job, columns: dict[str, Column]) -> None:
        sources = hdf5.Sources(job.dataset, job.final, [*columns], zstd=True)
        spans = hdf5.joined([sources.span(number) for number in job.numbers])
        for name, column in columns.items():
            target.ensure(hdf5.DATASET_BYTES + hdf5.SPAN_BYTES * len(spans))
            sources.virtual(target.file.id, name, column, spans)
        for _ in job.numbers:
            job.done()
