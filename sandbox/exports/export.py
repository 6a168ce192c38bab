"""Export a dataset: check all, write it whole or not at all, and say what is left out."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import numpy as np

from sandbox import digest, files
from sandbox.dataset.dataset import Dataset
from sandbox.errors import InvalidInputError, SandboxError, UnknownNameError
from sandbox.exports import pieces, staging
from sandbox.exports.formats import Exported, Format, Job, Kind, Plan, Progress, Whole
from sandbox.exports.pieces import Parted
from sandbox.exports.registry import FORMATS, format_of
from sandbox.remote.location import Location, Remote
from sandbox.trajectory import COMPRESSIONS, Schema

VIEWS = "views"  # The folder of a run in which views may lie.


def export(
    dataset: Dataset,
    to: str,
    out: str | Path,
    kind: Kind,
    columns: Sequence[str] | None,
    compression: str | None,
    progress: Progress,
    workers: int = 1,
    video: bool = False,
) -> Exported:
    """Write a dataset in another format.

    Args:
        dataset: the episodes.
        to: name of the format.
        out: the new file or folder.
        kind: copy or view.
        columns: the columns to export; None: those that the format holds.
        compression: zstd, gzip or none; None: the format's own. Of a view, zstd says that its
            readers load the plugin that reads it.
        progress: called with the number of episodes that are done, and of all.
        workers: number of processes that share the files; a format of one file takes one.
        video: whether pictures are films.

    Raises:
        InvalidInputError: the format forbids it, or there is something at `out`.
        SandboxError: it cannot be read or written. Nothing is at `out`.
    """
    form, final = format_of(to, video), files.place(out)
    _check(form, final, kind, compression)
    _check_workers(form, workers)
    schema = _chosen(dataset.schema, columns)
    plan = form.plan(schema, kind, columns is not None, final)
    numbers, done = _long_enough(dataset, form), 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress(done, len(numbers))

    own = VIEWS if kind == "view" else ""
    staging.refuse(final, own)
    progress(0, len(numbers))
    same = _same(dataset, numbers, form, plan) if isinstance(form, Parted) else ""
    with staging.staged(final, own, same) as path:
        job = Job(dataset, numbers, plan, path, final, kind, compression, advance)
        _write(form, job, workers)
    return _told(dataset, numbers, form, plan, final, kind)


def _told(
    dataset: Dataset, numbers: list[int], form: Format, plan: Plan, final: Path, kind: Kind
) -> Exported:
    """Return what an export has written."""
    missing = [name for name in dataset.schema.names if name not in plan.held]
    return Exported(
        path=final,
        format=form.name,
        kind=kind,
        episodes=len(numbers),
        rows=int(dataset.lengths[numbers].sum()),
        size_bytes=staging.size(final),
        columns=plan.held,
        left_out={name: plan.left_out.get(name, "it is not asked for") for name in missing},
        too_short=len(dataset) - len(numbers),
        notes=plan.notes,
    )


def _write(form: Format, job: Job, workers: int) -> None:
    """Write an export to where it is staged; a view cannot be written to afterwards."""
    if isinstance(form, Parted):
        pieces.write(form, job, workers)
    else:
        cast(Whole, form).write(job)
    if job.kind == "view":
        staging.protect(job.path)


def _check_workers(form: Format, workers: int) -> None:
    if workers > 1 and not isinstance(form, Parted):
        raise InvalidInputError(
            f"workers {workers}: {form.name} is one file or table, which one process writes."
        )


def _long_enough(dataset: Dataset, form: Format) -> list[int]:
    """Return the numbers of the episodes that a format can hold; InvalidInputError for none."""
    numbers = np.flatnonzero(dataset.lengths >= form.shortest).tolist()
    if not numbers:
        raise InvalidInputError(
            f"{dataset.name}: none of its {len(dataset)} episodes has the {form.shortest} rows "
            f"that {form.name} needs; generate longer ones."
        )
    return numbers


def _same(dataset: Dataset, numbers: Sequence[int], form: Format, plan: Plan) -> str:
    """Return a digest of all that the bytes of an export follow from.

    A shard is known by its path, size and times.
    """
    index, told = dataset.index, [int(n) for n in numbers]
    stamps = [(str(path), *_stamp(path)) for path in index.paths]
    places = [(int(index.shard[n]), int(index.first[n]), int(index.lengths[n])) for n in told]
    return digest.sha256([form.name, dict(plan.held), [*plan.notes], stamps, places])


def _stamp(path: Location) -> tuple[int, int]:
    """Return size and time of a shard, or its version; zeros if it was finished meanwhile."""
    if isinstance(path, Remote):
        return path.stamp[:2]
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _check(form: Format, final: Path, kind: Kind, compression: str | None) -> None:
    """Refuse what a format does not know.

    Raises:
        InvalidInputError: a kind, the ending of a path or a compression that it does not know.
        UnknownNameError: there is no such compression.
        SandboxError: a package is missing.
    """
    if kind not in form.kinds:
        able = [one.name for one in FORMATS.values() if kind in one.kinds]
        raise InvalidInputError(
            f"{form.name} cannot be a view of the shards; {', '.join(able)} can. Export a copy."
        )
    if form.ending and not final.name.endswith(form.ending):
        raise InvalidInputError(
            f"{final}: {form.name} is one file, whose name must end in {form.ending}."
        )
    if compression is not None and compression not in COMPRESSIONS:
        raise UnknownNameError("compression", compression, COMPRESSIONS)
    if compression is not None and not form.compressions:
        raise InvalidInputError(f"compression {compression}: {form.name} leaves no choice.")
    if kind == "copy" and compression not in (None, *form.compressions):
        raise InvalidInputError(
            f"compression {compression}: what reads {form.name} knows "
            f"{' and '.join(form.compressions)} alone; choose one of these."
        )
    missing = [package for package in form.needs if find_spec(package) is None]
    if missing:
        raise SandboxError(
            f"{form.name} is written by {missing[0]}, which is not installed; "
            '`pip install "worldmodel-sandbox[export]"` installs it.'
        )


def _chosen(schema: Schema, columns: Sequence[str] | None) -> Schema:
    """Return the schema of the columns that are named; all, if none is.

    Raises:
        InvalidInputError: a column is named twice, or none is.
        UnknownNameError: there is no such column.
    """
    if columns is None:
        return schema
    if not columns or len({*columns}) < len(columns):
        raise InvalidInputError(
            f"columns {', '.join(columns) or 'none'}: name each once, and at least one."
        )
    return Schema(tuple(schema[name] for name in columns), partial=True)
