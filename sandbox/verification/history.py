"""Compare a run's log, checkpoint and published checkpoint with what its shards hold."""

from collections.abc import Mapping
from typing import Any

from sandbox.errors import FormatError
from sandbox.evidence import log, note
from sandbox.run.folder import Folder
from sandbox.run.stages import EXTENDED, Before
from sandbox.verification.report import Report
from sandbox.verification.trust import Trust


def check(
    folder: Folder,
    leaves: list[bytes],
    trust: Trust,
    report: Report,
    ended: Mapping[str, Any] | None = None,
) -> None:
    """Compare the log and its checkpoints with the leaves of what was read.

    Args:
        folder: the run.
        leaves: the leaves that the log should have.
        trust: which signatures count, and a checkpoint that was published.
        report: takes what is found.
        ended: the manifest of a run that ended early; None for other runs.
    """
    made = log.checkpoint(folder.run, leaves, ended)
    try:
        _check_lines(folder, leaves, report)
        text = log.checkpoint_text(folder.path)
        _check_signature(text, trust, report)
        said = note.Checkpoint.parse(note.body(text))
        if note.body(text) != made.text:
            report.faults.append(
                f"checkpoint: says {said.size} entries with root {said.root.hex()} in "
                f"{said.origin}{_further(said)}; the run has {made.size} with {made.root.hex()} in "
                f"{made.origin}{_further(made)}."
            )
        for number, one in enumerate(_before(folder)):
            _check_before(number, one, trust, leaves, made.origin, report)
        if trust.published is not None:
            _check_published(trust.published, trust, leaves, made.origin, report)
    except FormatError as error:
        report.faults.append(f"checkpoint: {error}")
    if not report.faults:
        report.checked.append(f"log and checkpoint of {made.size} entries, root {made.root.hex()}.")


def _further(checkpoint: note.Checkpoint) -> str:
    return "".join(f", {line}" for line in checkpoint.extra)


def _check_lines(folder: Folder, leaves: list[bytes], report: Report) -> None:
    known = folder.log()
    torn = (folder.path / log.LOG).stat().st_size != 65 * len(known) if known else True
    if known != leaves or torn:
        line = _first_other(known, leaves)
        whose = "run.json" if line == 1 else f"episode {line - 2}, or the manifest,"
        report.faults.append(f"log: line {line} of {len(known)} is not what {whose} says.")


def _first_other(known: list[bytes], leaves: list[bytes]) -> int:
    """Return the first line, from 1, in which two logs differ."""
    both = zip(known, leaves, strict=False)
    shared = min(len(known), len(leaves))
    return next((n for n, (a, b) in enumerate(both, 1) if a != b), shared + 1)


def _check_signature(text: str, trust: Trust, report: Report) -> None:
    if not note.is_signed(text):
        if trust.signed:
            report.faults.append("checkpoint: not signed, and a signature is required.")
        else:
            report.notes.append("not signed: anybody could have made this run's log.")
        return
    _, signers = note.verified(text, trust.keys)
    known = [(key.name, key.id) for key in signers]
    signed = [(one.name, one.id) for one in note.split(text)[1]]
    names = ", ".join(f"{name}+{id.hex()}" for name, id in signed if (name, id) not in known)
    if signers:
        report.checked.append(f"signature of {', '.join(key.name for key in signers)}.")
    elif trust.signed:
        report.faults.append(f"checkpoint: signed by {names}, and by no key that is required.")
        return
    if names:
        report.notes.append(
            f"the signature of {names} was not checked: the key is not known here. --key requires "
            "a signature."
        )


def _before(folder: Folder) -> list[Before]:
    """Return the stages of a run before its last."""
    found = folder.extended()
    return [] if found is None else found.before


def _check_before(
    number: int, one: Before, trust: Trust, leaves: list[bytes], origin: str, report: Report
) -> None:
    """Check that the checkpoint of an earlier stage is over the beginning of the log."""
    body, size = note.body(one.checkpoint), one.episodes + number + 2
    if body != log.checkpoint(origin.removeprefix("sandbox/"), leaves[:size]).text:
        report.faults.append(
            f"{EXTENDED}: the checkpoint of stage {number} is not over the first {size} entries."
        )
    elif note.is_signed(one.checkpoint):
        note.verified(one.checkpoint, trust.keys)
        report.checked.append(f"the log grew from the {size} entries of stage {number}.")
    elif trust.signed:
        report.faults.append(f"{EXTENDED}: the checkpoint of stage {number} is not signed.")


def _check_published(
    text: str, trust: Trust, leaves: list[bytes], origin: str, report: Report
) -> None:
    """Tell entries that were rewritten from entries that were appended since."""
    if note.is_signed(text):
        note.verified(text, trust.keys)
    old = note.Checkpoint.parse(note.body(text))
    if old.origin != origin:
        report.faults.append(f"the published checkpoint is of another log, {old.origin}.")
    elif old.size > len(leaves) or log.checkpoint("", leaves[: old.size]).root != old.root:
        report.faults.append(
            f"the first {old.size} entries were rewritten, or cut off, since the checkpoint was "
            "published."
        )
    else:
        report.checked.append(
            f"the published checkpoint of {old.size} entries; {len(leaves) - old.size} were "
            "appended since."
        )
