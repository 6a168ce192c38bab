"""Verify an imported run: its files are whole, and nothing shows how its rows were made."""

from collections.abc import Mapping
from typing import Any

from sandbox import jsonfile
from sandbox.errors import FormatError, UnreadableError
from sandbox.evidence import log
from sandbox.run import importing
from sandbox.run.folder import MANIFEST, RUN, Folder
from sandbox.run.imported import IMPORTED, Imported
from sandbox.run.record import Record
from sandbox.run.shard import Shard
from sandbox.trajectory.shard import number_of
from sandbox.verification import checks
from sandbox.verification.report import Progress, Report

_OF_OTHERS = (RUN, log.LOG, log.CHECKPOINT)  # Files that would claim what nobody knows.


def verify(folder: Folder, progress: Progress) -> Report:
    """Check the files of an imported run; the report always has the fault that it was imported.

    Args:
        folder: the imported run.
        progress: called after each episode.

    Raises:
        FormatError: its imported.json cannot be read.
    """
    known, report = folder.imported, Report()
    assert known is not None, "an imported run"
    with report.about("import"):
        report.faults.append(
            f"it {known.said}: nothing shows how its rows were made, and nothing can simulate them "
            "again. It was not verified."
        )
    report.notes += [f"{name}: {why}." for name, why in known.lossy.items()]
    with report.about("identity"):
        _check_identity(folder, known, report)
    with report.about("shards"):
        for path in folder.paths(missing_ok=True):
            try:
                _check_shard(folder.shard(path), number_of(path), known, report, progress)
            except UnreadableError:
                raise
            except FormatError as error:
                report.faults.append(str(error))
    with report.about("files"):
        _check_files(folder, known, report)
    if len(report.faults) == 1:
        report.checked.append("each episode has the digest of its record; the files are whole.")
    return report


def _check_identity(folder: Folder, known: Imported, report: Report) -> None:
    if not jsonfile.read(folder.path / IMPORTED).is_canonical:
        report.faults.append(f"{IMPORTED}: its bytes are not as they are written.")
    if known.run != known.named():
        report.faults.append(f"{IMPORTED}: names the run {known.run:.80}; it is {known.named()}.")
    for name in _OF_OTHERS:
        if (folder.path / name).exists():
            report.faults.append(f"{name}: an imported run has no such file; it is foreign.")


def _check_shard(
    shard: Shard, number: int, known: Imported, report: Report, progress: Progress
) -> None:
    """Check header, records and rows of a shard."""
    planned, header = known.stages, shard.reader.header
    if header != known.header(number):
        report.faults.append(f"{shard.path.name}: its header is not that of the imported run.")
    for fault in (shard.reader.own_fault(), shard.reader.sidecar_fault()):
        report.faults += [fault] if fault else []
    for n in range(len(shard.reader)):
        report.episodes += 1
        try:
            episode = shard.reader.read(n)
            report.rows += len(episode)
            fault = _misplaced(shard.record(n), planned.episode(number, n), known, episode.rows)
        except UnreadableError:
            raise
        except FormatError as error:
            fault = str(error)
        if fault:
            report.fail(planned.episode(number, n), fault, shard.path.name)
        progress(report)
    shard.reader.forget()


def _misplaced(record: Record, index: int, known: Imported, rows: Mapping[str, Any]) -> str:
    """Return how an episode is not of this run, or claims a charge, or ""."""
    if int(rows["episode_idx"][0]) != index or record.episode != index:
        return f"episode {record.episode} stands where it should be."
    if (record.run, record.environment) != (known.run, known.environment):
        return f"belongs to the run {record.run:.80}."
    if record.imported is None:
        return "its record does not say that it was imported."
    if record.charges or record.charge_micro:
        return "says that it was charged, and an import charges nothing."
    return ""


def _check_files(folder: Folder, known: Imported, report: Report) -> None:
    if report.episodes != known.episodes:
        report.faults.append(f"{report.episodes} episodes where {IMPORTED} says {known.episodes}.")
    if not folder.finished:
        report.faults.append(f"there is no {MANIFEST}: the import is not finished.")
        return
    try:
        said = jsonfile.read(folder.path / MANIFEST)
        if not said.is_canonical:
            report.faults.append(f"{MANIFEST}: its bytes are not as they are written.")
        checks.manifest(MANIFEST, said.data, importing.of_folder(folder), report)
    except FormatError as error:
        report.faults.append(str(error))
