"""Write an export piece by piece: by several processes, and on where a kill left it.

Which episodes a piece has follows from the episodes alone, so that its bytes are the same whoever
writes it. A piece is written into a folder of its own, synced, moved to its place, and noted: a
note that is there says that the piece is whole.
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import connection, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, Protocol, runtime_checkable

from sandbox import durable, jsonfile, processes
from sandbox.errors import FormatError, SandboxError
from sandbox.exports import staging
from sandbox.exports.formats import Job

NOTES = "noted"  # The folder of the notes, beside the export.
_PIECE = "piece-"
Told = Mapping[str, Any]


@dataclass(frozen=True)
class Piece:
    """A part of an export that is written at once.

    Attributes:
        number: its number in the export, from 0.
        places: the places of its episodes in the export.
        group: what the format tells its pieces apart by, such as a split.
    """

    number: int
    places: Sequence[int]
    group: str = ""


@runtime_checkable
class Parted(Protocol):
    """A format of several files, which are written piece by piece."""

    def pieces(self, job: Job) -> list[Piece]:
        """Return the pieces, which follow from the episodes alone."""
        ...

    def write_piece(self, job: Job, piece: Piece, folder: Path) -> Told:
        """Write the files of a piece into a folder, named as in the export.

        Returns:
            What `finish` needs to know of it, plain JSON.
        """
        ...

    def finish(self, job: Job, pieces: Sequence[Piece], told: Sequence[Told]) -> None:
        """Write what is known of all pieces."""
        ...


def write(form: Parted, job: Job, workers: int) -> None:
    """Write all pieces that are not there yet, then what is known of all.

    Args:
        form: the format.
        job: the export.
        workers: number of processes that share the pieces.

    Raises:
        OSError: the disk is full, or cannot be written.
        SandboxError: a process died, or the episodes cannot be read.
    """
    notes = job.path.parent / NOTES
    for folder in (job.path, notes):
        folder.mkdir(exist_ok=True)
    for left in job.path.parent.glob(f"{_PIECE}*"):  # Of processes that were killed.
        shutil.rmtree(left)
    pieces = form.pieces(job)
    waiting = [piece for piece in pieces if _noted(job, piece) is None]
    for piece in pieces:
        if piece not in waiting:
            _count(job, piece)
    if workers == 1 or len(waiting) < 2:
        for piece in waiting:
            _write(form, job, piece)
    else:
        _share(form, job, waiting, workers)
    told = [_noted(job, piece) or {} for piece in pieces]
    _clear_others(job, told)
    form.finish(job, pieces, [one["told"] for one in told])


def by_size(job: Job, most: int, groups: Sequence[str] = ()) -> list[Piece]:
    """Return pieces of episodes that follow each other, of some raw bytes each.

    Args:
        job: the export.
        most: raw bytes that a piece may have, if it has more than one episode.
        groups: the group of each episode; episodes of two groups share no piece.
    """
    schema, lengths = job.dataset.schema, job.lengths
    row_bytes = sum(schema[name].row_bytes for name in job.plan.held)
    made, growing, sizes = list[tuple[str, list[int]]](), dict[str, int](), dict[str, int]()
    for place, rows in enumerate(lengths):
        group, size = groups[place] if groups else "", rows * row_bytes
        if group not in growing or sizes[group] + size > most:
            growing[group], sizes[group] = len(made), 0
            made.append((group, []))
        made[growing[group]][1].append(place)
        sizes[group] += size
    return [Piece(n, tuple(places), group) for n, (group, places) in enumerate(made)]


def _share(form: Parted, job: Job, waiting: Sequence[Piece], workers: int) -> None:
    """Write pieces with several processes."""
    start = (form, replace(job, done=_nothing))
    try:
        with processes.pool(min(workers, len(waiting)), _start, start) as pool:
            doing = {pool.submit(_work, piece): piece for piece in waiting}
            for future in as_completed(doing):
                future.result()
                _count(job, doing[future])
    except BrokenProcessPool:
        raise SandboxError(
            f"{job.final}: a process died. What is done is kept; run the same command again."
        ) from None


_own: tuple[Parted, Job] | None = None  # Of a worker process: what it writes.


def _start(form: Parted, job: Job) -> None:
    global _own
    _own = (form, job)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that started it was killed."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _work(piece: Piece) -> None:
    """Write a piece in a worker process."""
    assert _own is not None, "_start comes first"
    try:
        _write(*_own, piece)
    except FormatError as error:
        raise FormatError(str(error)) from None
    except SandboxError as error:  # Other errors of its kind cannot be sent between processes.
        raise SandboxError(str(error)) from None


def _write(form: Parted, job: Job, piece: Piece) -> None:
    """Write a piece, and note it when the disk has it."""
    stage = job.path.parent
    folder = stage / f"{_PIECE}{piece.number:06d}.{os.getpid()}"
    folder.mkdir()
    try:
        told = form.write_piece(job, piece, folder)
        sizes: dict[str, int] = {}
        for one in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = str(one.relative_to(folder))
            staging.sync(one)
            (job.path / name).parent.mkdir(parents=True, exist_ok=True)
            sizes[name] = one.stat().st_size
            os.replace(one, job.path / name)
        note = stage / NOTES / f"{piece.number:06d}.json"
        note.unlink(missing_ok=True)
        durable.create(note, json.dumps({"files": sizes, "told": told}).encode())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _noted(job: Job, piece: Piece) -> dict[str, Any] | None:
    """Return the note of a piece; None if it is not whole."""
    path = job.path.parent / NOTES / f"{piece.number:06d}.json"
    with suppress(FormatError, OSError):
        found = jsonfile.read(path).data
        sizes = {name: (job.path / name).stat().st_size for name in found["files"]}
        if sizes == found["files"]:
            return found
    return None


def _clear_others(job: Job, told: Iterable[Mapping[str, Any]]) -> None:
    """Remove what a killed export had written after its pieces."""
    known = {job.path / name for one in told for name in one["files"]}
    for one in [path for path in job.path.rglob("*") if path.is_file()]:
        if one not in known:
            one.unlink()


def _count(job: Job, piece: Piece) -> None:
    for _ in piece.places:
        job.done()


def _nothing() -> None:
    """Count nothing: the process that started this one does."""
