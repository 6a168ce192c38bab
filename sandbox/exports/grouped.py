"""Write a group for each episode: layouts that give steps an array each, cut from our rows."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.exports import hdf5
from sandbox.exports.formats import Job

ATTRIBUTE_BYTES = 8 << 10  # Of an episode's attributes.
Attributes = Mapping[str, int | str]


class Part(NamedTuple):
    """Where rows of a column go.

    Attributes:
        column: the column.
        group: the group in the episode's group; "" is that itself.
        name: the name of the array.
        skipped: how many rows at the beginning are left out: 1 for what arriving at a row gave.
        spared: how many rows at the end are left out: 1 for what only a step has.
    """

    column: str
    group: str
    name: str
    skipped: int = 0
    spared: int = 0


def write(
    job: Job,
    target: hdf5.Target,
    at: hdf5.Place,
    final: Path,
    named: str,
    parts: Sequence[Part],
    attributes: Callable[[int, int], Attributes],
) -> None:
    """Write all episodes.

    Args:
        job: the export.
        target: the file.
        at: the group that gets the episodes' groups.
        final: the path that the file will have.
        named: what the name of an episode's group begins with; its number follows.
        parts: the arrays.
        attributes: returns the attributes of the group, by place in the export and number in the
            dataset.
    """
    schema, lengths = job.dataset.schema, job.dataset.lengths
    columns = {name: schema[name] for name in dict.fromkeys(part.column for part in parts)}
    groups = list(dict.fromkeys(part.group for part in parts if part.group))
    heads = hdf5.DATASET_BYTES * (len(parts) + len(groups) + 1) + ATTRIBUTE_BYTES

    def begun(place: int, number: int) -> dict[str, hdf5.Place]:
        own = target.group(f"{named}{place}", at)
        for key, value in attributes(place, number).items():
            hdf5.attribute(own, key, value)
        return {"": own, **{group: target.group(group, own) for group in groups}}

    if job.kind == "view":
        sources = hdf5.Sources(job.dataset, final, [*columns], job.compression == "zstd")
        for place, number in enumerate(job.numbers):
            target.ensure(heads + hdf5.SPAN_BYTES * len(parts))
            made, whole = begun(place, number), sources.span(number)
            for part in parts:
                span = whole.cut(part.skipped, whole.rows - part.spared)
                sources.virtual(made[part.group], part.name, columns[part.column], [span])
            job.done()
        return
    wide = hdf5.row_bytes([columns[part.column] for part in parts])
    for place, (number, rows) in enumerate(job.episodes(list(columns))):
        target.ensure(heads + wide * int(lengths[number]))
        made = begun(place, number)
        for part in parts:
            values: Any = rows[part.column]
            cut = values[part.skipped : len(values) - part.spared]
            target.array(made[part.group], columns[part.column], part.name, cut)
