"""Import a dataset: check it, and write it as a run that says where it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from sandbox import files, outputs
from sandbox.errors import InvalidInputError, SandboxError, UnknownNameError
from sandbox.imports.incoming import Incoming
from sandbox.imports.registry import NEEDS, source_of
from sandbox.run import importing
from sandbox.run.imported import Imported
from sandbox.run.importing import Progress
from sandbox.trajectory import COMPRESSIONS

SHARD_EPISODES = 1000


@dataclass(frozen=True)
class ImportedRun:
    """An imported run that was written.

    Attributes:
        path: its folder.
        run: its id.
        episodes: number of its episodes.
        rows: number of their rows, T+1 each.
        columns: where each column was in the format; the others are those that every run has.
        left_out: what was there and is not in the run, and why.
        notes: what is to be known of the columns, such as whose channels were put last.
    """

    path: Path
    run: str
    episodes: int
    rows: int
    columns: Mapping[str, str]
    left_out: Mapping[str, str]
    notes: Sequence[str] = ()


def take(
    path: Path,
    source: str,
    out: Path,
    mapping: Path | None,
    compression: str,
    progress: Progress,
) -> ImportedRun:
    """Import a dataset.

    Args:
        path: the dataset.
        source: the name of its format.
        out: the new run folder.
        mapping: the YAML file that says what plain HDF5 means; None for other formats.
        compression: zstd, gzip or none.
        progress: is told how many episodes are written, and of how many.

    Raises:
        UnknownNameError: there is no such format or compression.
        InvalidInputError: a format that has a mapping is given none, or another is given one.
        FormatError: the dataset is none, or damaged.
        RunConflictError: the folder holds something else.
        SandboxError: a package is missing, or the disk is full.
    """
    opening = source_of(source)
    if compression not in COMPRESSIONS:
        raise UnknownNameError("compression", compression, COMPRESSIONS)
    if mapping is not None and source != "hdf5":
        raise InvalidInputError(
            f"{mapping}: {source} says itself what its columns are; give a mapping for hdf5 alone."
        )
    package = NEEDS.get(source)
    if package is not None and find_spec(package) is None:
        raise SandboxError(
            f"{source} is read by {package}, which is not installed; "
            '`pip install "worldmodel-sandbox[export]"` installs it.'
        )
    outputs.check(out / "imported.json", "imported")
    coming = opening(path, mapping)
    try:
        known = _described(coming, source, compression)
        rows = importing.write(out, path, known, coming.schema, coming.episodes(), progress)
    finally:
        coming.close()
    columns, notes = known.columns, tuple(coming.notes)
    return ImportedRun(out, known.run, known.episodes, rows, columns, known.left_out, notes)


def _described(coming: Incoming, source: str, compression: str) -> Imported:
    """Return what the imported run says of itself."""
    digests = {_text(name): files.sha256(path) for name, path in coming.files.items()}
    made = Imported(
        run="",
        source=source,
        name=_text(coming.name[:200]),
        files=digests,
        columns={name: _text(place) for name, place in coming.columns.items()},
        left_out={_text(place): why for place, why in coming.left_out.items()},
        mapping=coming.mapping,
        hz=coming.hz,
        episodes=coming.count,
        compression=compression,
        shard_episodes=SHARD_EPISODES,
        lossy=dict(coming.lossy),
    )
    return replace(made, run=made.named())


def _text(name: str) -> str:
    """Return a name as Unicode: a file's may have bytes that are none."""
    return name.encode(errors="replace").decode()
