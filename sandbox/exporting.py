"""Hand episodes over to other tools: copies in their formats, and views of the shards."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sandbox.arguments import checked
from sandbox.dataset.dataset import Dataset
from sandbox.dataset.filters import Wanted
from sandbox.exports import export as exports
from sandbox.exports.formats import Exported, Progress
from sandbox.run.record import Record

Runs = str | Path | Sequence[str | Path] | Dataset


@checked
def export(
    path: Runs,
    to: str,
    out: str | Path,
    *,
    columns: Sequence[str] | None = None,
    split: str | Sequence[str] | None = None,
    policy: str | Sequence[str] | None = None,
    scenario: str | Sequence[str] | None = None,
    environment: str | Sequence[str] | None = None,
    success: bool | None = None,
    factors: Mapping[str, Wanted] | None = None,
    where: Callable[[Record], bool] | None = None,
    compression: str | None = None,
    progress: Progress = lambda done, total: None,
) -> Exported:
    """Write episodes in another tool's format, whole or not at all.

    Args:
        path: a trajectory file, a run, a folder of runs, a glob, several of these, or a Dataset.
        to: name of the format; docs/exports.md lists them.
        out: the new file or folder.
        columns: columns to export; None is all that the format can hold.
        split: export episodes of this split, or of these.
        policy: export episodes of this policy, or of these.
        scenario: export episodes of this scenario, or of these.
        environment: export episodes of this environment, or of these.
        success: export episodes that succeed (True), or fail (False).
        factors: export episodes by their factors, as `Dataset` does.
        where: export episodes for whose Record this function returns true.
        compression: zstd, gzip or none, for formats that leave a choice; None is the format's own.
        progress: called with the number of episodes that are done, and of all.

    Returns:
        What was written, and which columns were left out, and why.

    Raises:
        InvalidInputError: the format forbids a name, or there is something at `out`.
        UnknownNameError: there is no such format, column, split, ...
        FormatError: the episodes cannot be read.
        SandboxError: a package is missing, or the disk is full. Nothing is at `out`.
    """
    texts = {"split": split, "policy": policy, "scenario": scenario, "environment": environment}
    data = _dataset(path, texts, success, factors, where)
    return exports.export(data, to, out, "copy", columns, compression, progress)


@checked
def view(
    path: Runs,
    to: str,
    out: str | Path,
    *,
    columns: Sequence[str] | None = None,
    split: str | Sequence[str] | None = None,
    policy: str | Sequence[str] | None = None,
    scenario: str | Sequence[str] | None = None,
    environment: str | Sequence[str] | None = None,
    success: bool | None = None,
    factors: Mapping[str, Wanted] | None = None,
    where: Callable[[Record], bool] | None = None,
    plugin: bool = False,
    progress: Progress = lambda done, total: None,
) -> Exported:
    """Lay another tool's format over the shards without copying: HDF5 virtual datasets.

    The view finds the shards by their paths relative to it: move them together. It must not be
    written to.

    Args:
        path: a trajectory file, a run, a folder of runs, a glob, several of these, or a Dataset.
        to: name of the format: swm, minari or robomimic.
        out: the new file or folder; in a run, below `views/`.
        columns: columns of the view; None is what the format needs, and all for swm.
        split: show episodes of this split, or of these.
        policy: show episodes of this policy, or of these.
        scenario: show episodes of this scenario, or of these.
        environment: show episodes of this environment, or of these.
        success: show episodes that succeed (True), or fail (False).
        factors: show episodes by their factors, as `Dataset` does.
        where: show episodes for whose Record this function returns true.
        plugin: whether the reader loads hdf5plugin, so that it can read Zstd.
        progress: called with the number of episodes that are done, and of all.

    Returns:
        What was written, and which columns were left out, and why.

    Raises:
        InvalidInputError: the format has no view, or its readers could not read it.
        UnknownNameError, FormatError, SandboxError: see `export`.
    """
    texts = {"split": split, "policy": policy, "scenario": scenario, "environment": environment}
    data = _dataset(path, texts, success, factors, where)
    packed = "zstd" if plugin else None
    return exports.export(data, to, out, "view", columns, packed, progress)


def _dataset(
    path: Runs,
    texts: Mapping[str, str | Sequence[str] | None],
    success: bool | None,
    factors: Mapping[str, Wanted] | None,
    where: Callable[[Record], bool] | None,
) -> Dataset:
    """Return the episodes that are asked for."""
    chosen: dict[str, Any] = {**texts, "success": success, "factors": factors, "where": where}
    return path.select(**chosen) if isinstance(path, Dataset) else Dataset(path, **chosen)
