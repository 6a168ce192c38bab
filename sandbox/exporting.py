"""Hand episodes over to other tools, as copies or views, and take theirs in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sandbox import files
from sandbox.arguments import checked
from sandbox.dataset.dataset import Dataset
from sandbox.exports import export as exports
from sandbox.exports.formats import Exported, Progress
from sandbox.imports import take as imports
from sandbox.imports.take import ImportedRun

Runs = str | Path | Sequence[str | Path] | Dataset
Workers = Annotated[int, Field(ge=1, le=256, description="a whole number from 1 to 256")]


@checked
def export(
    path: Runs,
    to: str,
    out: str | Path,
    *,
    columns: Sequence[str] | None = None,
    compression: str | None = None,
    workers: Workers = 1,
    video: bool = False,
    progress: Progress = lambda done, total: None,
) -> Exported:
    """Write episodes in another tool's format, whole or not at all.

    The same call goes on with what a kill, Ctrl-C or a full disk left of a format of several files:
    lerobot, hf, webdataset, dreamer. Others are written again.

    Args:
        path: a Dataset, or what it takes: a trajectory file, a run, a folder of runs, a glob, or
            several of these.
        to: name of the format; docs/exports.md lists them.
        out: the new file or folder.
        columns: columns to export; None is all that the format can hold.
        compression: zstd, gzip or none, for formats that leave a choice; None is the format's own.
        workers: number of processes that share the files of such a format; the bytes are the same.
        video: of lerobot: whether pictures are films, which are smaller and not exact.
        progress: called with the number of episodes that are done, and of all.

    Returns:
        What was written, and which columns were left out, and why.

    Raises:
        InvalidInputError: the format forbids a name, or there is something at `out`.
        UnknownNameError: there is no such format or column.
        FormatError: the episodes cannot be read.
        SandboxError: a package is missing, or the disk is full. Nothing is at `out`.
    """
    data = path if isinstance(path, Dataset) else Dataset(path)
    return exports.export(data, to, out, "copy", columns, compression, progress, workers, video)


@checked
def view(
    path: Runs,
    to: str,
    out: str | Path,
    *,
    columns: Sequence[str] | None = None,
    plugin: bool = False,
    progress: Progress = lambda done, total: None,
) -> Exported:
    """Lay another tool's format over the shards without copying: HDF5 virtual datasets.

    The view finds the shards by their paths relative to it: move them together. It must not be
    written to.

    Args:
        path: a Dataset, or what it takes: a trajectory file, a run, a folder of runs, a glob, or
            several of these.
        to: name of the format: swm, minari or robomimic.
        out: the new file or folder; in a run, below `views/`.
        columns: columns of the view; None is what the format needs, and all for swm.
        plugin: whether the reader loads hdf5plugin, so that it can read Zstd.
        progress: called with the number of episodes that are done, and of all.

    Returns:
        What was written, and which columns were left out, and why.

    Raises:
        InvalidInputError: the format has no view, or its readers could not read it.
        UnknownNameError, FormatError, SandboxError: see `export`.
    """
    data = path if isinstance(path, Dataset) else Dataset(path)
    packed = "zstd" if plugin else None
    return exports.export(data, to, out, "view", columns, packed, progress)


@checked
def import_run(
    path: str | Path,
    source: str,
    out: str | Path,
    *,
    mapping: str | Path | None = None,
    compression: str = "zstd",
    progress: Progress = lambda done, total: None,
) -> ImportedRun:
    """Import a dataset of another format as a run folder, which everything here reads.

    It is marked as imported: `verify` never succeeds on it, nothing can simulate it again, and
    nothing is charged. The same call goes on with what a kill left.

    Args:
        path: the dataset: for minari and lerobot its folder, for swm and hdf5 a file.
        source: name of its format: minari, lerobot, swm or hdf5.
        out: the new run folder; made if it does not exist.
        mapping: for hdf5 the YAML file that says what the columns are; docs/exports.md has its
            keys.
        compression: of pictures: zstd, gzip or none.
        progress: is told how many episodes are written, and of how many.

    Returns:
        What was written, and what was left out, and why.

    Raises:
        InvalidInputError: the mapping breaks a rule, or `out` is no place for a run.
        UnknownNameError: there is no such format or compression.
        FormatError: the dataset is damaged, or its rows contradict each other.
        RunConflictError: `out` holds something else, or another process writes there.
        SandboxError: a package is missing, or the disk is full; what was kept is kept.
    """
    where = None if mapping is None else files.place(mapping)
    return imports.take(files.place(path), source, files.place(out), where, compression, progress)
