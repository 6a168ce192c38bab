"""Verify a derived run: follow each of its episodes to the signed log of the run it comes from."""

from dataclasses import replace

import numpy as np

from sandbox import jsonfile
from sandbox.errors import FormatError
from sandbox.evidence import log, note
from sandbox.run import derived as files
from sandbox.run import deriving
from sandbox.run.derived import DERIVED, Derived
from sandbox.run.folder import MANIFEST, Folder
from sandbox.run.origins import Home
from sandbox.verification import checks, history, shards
from sandbox.verification.report import Progress, Report
from sandbox.verification.shards import Found, Job
from sandbox.verification.trust import Trust


def verify(
    folder: Folder, chosen: frozenset[int], progress: Progress, trust: Trust, workers: int = 1
) -> Report:
    """Verify a derived run, without the runs that it comes from; writes nothing.

    Args:
        folder: the derived run.
        chosen: places of the episodes to replay.
        progress: called after each episode.
        trust: what to believe.
        workers: number of processes that share the shards.

    Raises:
        FormatError: its derived.json, or the file of an origin, cannot be read.
    """
    known, found = folder.derived, Found()
    assert known is not None, "a derived run"
    report = found.report
    with report.about("identity"):
        _check_identity(folder, known, report)
    job = _job(known, checks.possible(chosen, report), trust, report)
    with report.about("shards"):
        shards.check(job, folder, found, progress, workers)
        checks.note_undecided(report)
    with report.about("origins"):
        _check_origins(known, found, trust, report)
    leaves = [known.leaf, *found.leaves]
    with report.about("files"):
        _check_files(folder, known, leaves, report)
    with report.about("log"):
        history.check(folder, leaves, trust, report)
    report.notes.append(
        "it charges nothing: what its episodes cost was charged for the runs they come from, which "
        "verify against their ledger."
    )
    return report


def _check_identity(folder: Folder, known: Derived, report: Report) -> None:
    """Compare what derived.json says with its id, and the identity of each run of origin."""
    if not jsonfile.read(folder.path / DERIVED).is_canonical:
        report.faults.append(f"{DERIVED}: its bytes are not as they are written.")
    if known.run != known.named():
        report.faults.append(f"{DERIVED}: names the run {known.run:.80}; it is {known.named()}.")
    if len({*known.episodes}) != len(known.episodes):
        report.faults.append(f"{DERIVED}: has an episode twice.")
    for n, home in enumerate(known.homes):
        where = files.place(folder.path, n)
        name = str(where.relative_to(folder.path))
        checks.identity(home.identity, report, name)
        if not jsonfile.read(where).is_canonical:
            report.faults.append(f"{name}: its bytes are not as they are written.")


def _job(known: Derived, chosen: frozenset[int], trust: Trust, report: Report) -> Job:
    """Return which of the chosen episodes to replay, and how."""
    left = np.zeros(len(known.homes), np.bool_)  # Runs of which none is simulated again.
    engines = [home.identity.engine for home in known.homes]
    for n, home in enumerate(known.homes):
        why = checks.unknown(home.identity, trust)
        if not why and engines[n] != engines[0]:
            why = "they were made in another determinism class than the first ones."
        left[n] = bool(why)
        if why:
            run = home.identity.run[:16]
            report.notes.append(f"no episode of run {run} was simulated again: {why}")
        else:
            checks.note_code(home.identity, report)
    job = Job(known, known.stages, chosen, trust.trust_code)
    chosen = frozenset(n for n in chosen if not left[known.episodes[n][0]])
    job = replace(job, chosen=chosen)
    return checks.classed(job, engines[0], trust, report) if chosen else job


def _check_origins(known: Derived, found: Found, trust: Trust, report: Report) -> None:
    """Follow the episodes to the log of each run of origin, and check who signed it."""
    every = dict[int, list[tuple[int, bytes]]]()
    twice = set[tuple[str, int]]()
    for place, leaf in zip(found.numbers, found.leaves, strict=True):
        if place >= len(known.episodes):
            continue  # That it should not be there is said of its shard.
        home, number = known.episodes[place]
        every.setdefault(home, []).append((number, leaf))
        key = (known.homes[home].identity.run, number)
        if key in twice:
            report.faults.append(f"episode {number} of run {key[0][:16]} is there twice.")
        twice.add(key)
    for n, home in enumerate(known.homes):
        records = every.get(n, [])
        fault = known.missing(n, len(records)) or home.fault(records)
        fault = fault or _signature(home, trust, report)
        if fault:
            report.faults.append(f"run {home.identity.run[:16]}, its origin {n}: {fault}")
        else:
            report.checked.append(
                f"{len(records)} episodes are in the log of run {home.identity.run[:16]}, "
                f"{home.closed.size} entries with root {home.closed.root.hex()[:16]}."
            )


def _signature(home: Home, trust: Trust, report: Report) -> str:
    """Return what is wrong with who signed the log of a run of origin, or ""."""
    run = home.identity.run[:16]
    if not note.is_signed(home.checkpoint):
        if trust.signed:
            return "its checkpoint is not signed, and a signature is required."
        report.notes.append(f"the log of run {run} is not signed: anybody could have made it.")
        return ""
    try:
        _, signers = note.verified(home.checkpoint, trust.keys)
    except FormatError as error:
        return str(error)
    if not signers and trust.signed:
        return "its checkpoint is signed by no key that is required."
    if not signers:
        names = ", ".join(one.name for one in note.split(home.checkpoint)[1])
        report.notes.append(f"the signature of {names} on the log of run {run} was not checked.")
    return ""


def _check_files(folder: Folder, known: Derived, leaves: list[bytes], report: Report) -> None:
    """Compare number of episodes and manifest with what was read; complete the leaves."""
    if report.episodes != len(known.episodes):
        report.faults.append(
            f"{report.episodes} episodes where {DERIVED} says {len(known.episodes)}."
        )
    if report.replayed < report.episodes:
        report.notes.append(
            f"{report.episodes - report.replayed} of {report.episodes} episodes were not "
            "simulated again."
        )
    if not (folder.path / MANIFEST).exists():
        report.faults.append(f"there is no {MANIFEST}: the run is not finished.")
        return
    try:
        said = jsonfile.read(folder.path / MANIFEST)
        leaves.append(log.leaf(said.data))
        if not said.is_canonical:
            report.faults.append(f"{MANIFEST}: its bytes are not as they are written.")
        checks.manifest(MANIFEST, said.data, deriving.of_folder(folder), report)
    except FormatError as error:
        report.faults.append(str(error))
