"""Re-read every byte, recompute every digest, tree, signature and bill, simulate episodes again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from sandbox import catalogue, prices
from sandbox.env.policies import POLICIES
from sandbox.errors import FormatError, InvalidInputError
from sandbox.evidence import keys, log, note
from sandbox.evidence.note import VerifierKey
from sandbox.ledger import Ledger
from sandbox.run import bill
from sandbox.run import folder as runs
from sandbox.run import settle as settlement
from sandbox.trajectory import shards
from sandbox.verification import charges as books
from sandbox.verification.shards import Found, Job, Progress, Report, read
from sandbox.world import engine

__all__ = ["Progress", "Report", "Trust", "verify"]


@dataclass(frozen=True)
class Trust:
    """Whom and what to believe beside the run's own folder.

    Attributes:
        ledger: where it was charged; None leaves charges unchecked.
        keys: whose signatures count.
        signed: whether one of them must have signed.
        published: a checkpoint of this run that was kept elsewhere, as a note; or None.
        trust_code: whether to import an environment that the run calls MODULE:CLASS; without, its
            episodes are not simulated again.
    """

    ledger: Ledger | None
    keys: Sequence[VerifierKey] = ()
    signed: bool = False
    published: str | None = None
    trust_code: bool = False

    @classmethod
    def here(cls) -> "Trust":
        """Return what this machine trusts: its ledger, and its keys if it has any."""
        known = keys.trusted()
        return cls(Ledger(read_only=True), known, signed=bool(known))


def verify(
    folder: Path,
    sample: int | None = None,
    progress: Progress = lambda report: None,
    trust: Trust | None = None,
    chosen: frozenset[int] | None = None,
    workers: int = 1,
) -> Report:
    """Verify a run; read-only.

    Args:
        folder: the run's.
        sample: replay only this many episodes, evenly spread; None replays all.
        progress: called after each episode.
        trust: whom to believe; None is this machine's ledger and its keys.
        chosen: the numbers of the episodes to replay, instead of a sample.
        workers: processes to share the shards.

    Raises:
        FormatError: this is no run, or its run.json cannot be read.
    """
    known, recipe, found = runs.read_run(folder), runs.recipe_of(folder), Found()
    report = found.report
    trust = Trust.here() if trust is None else trust
    if known.get("engine") != engine():
        report.notes.append(
            f"made under determinism class {known['engine'].get('class')}, replayed under "
            f"{engine()['class']}: bit-exactness is claimed only inside one class."
        )
    chosen = _spread(recipe.episodes, sample) if chosen is None else chosen
    foreign = [name for name in recipe.policies if name not in POLICIES]
    if foreign:
        report.notes.append(f"the actions of {', '.join(foreign)} were taken as recorded.")
    if catalogue.is_strange(recipe.environment) and not trust.trust_code:
        chosen = frozenset()
        report.notes.append(_untrusted(recipe.environment))
    job = Job(known, recipe, runs.scenario_of(folder), chosen, trust.trust_code)
    _check_identity(job, report)
    _check_code(job, report)
    read(job, shards(folder, missing_ok=True), found, progress, workers)
    _count(job, report)
    leaves = [bill.leaf(known), *found.leaves]
    _check_files(folder, job, found, leaves)
    _check_log(folder, known["run"], leaves, trust, report)
    parent = known.get("parent")
    books.check(*(folder, known["run"], parent, recipe.account, found.usages, trust.ledger, report))
    return report


def _check_identity(job: Job, report: Report) -> None:
    """Compare what run.json calls the run, and its prices, with the work that it describes."""
    known, scenario = job.known, job.scenario.digest
    classes = [dict[str, Any](known[who] or {}).get("class") for who in ("engine", "renderer")]
    version = str(known["price_version"])
    parts = (str(classes[0]), classes[1], scenario, version, known["code"], known["plan"])
    named = job.recipe.run_id(*parts)
    if known["run"] != named:
        report.faults.append(f"run.json: names the run {known['run']}; its work is {named}.")
    if job.scenario.environment != job.recipe.environment:
        report.faults.append("run.json: its scenario is of another environment than its recipe.")
    try:
        if known["prices"] != prices.load(version).digest:
            report.faults.append(f"run.json: its prices are not those of version {version!r}.")
    except InvalidInputError as error:
        report.faults.append(f"run.json: {error}")


def _check_code(job: Job, report: Report) -> None:
    """Note if the environment has been changed since."""
    name = job.recipe.environment
    if catalogue.is_strange(name) and not job.trust_code:
        return
    try:
        if job.known["code"] != catalogue.code(name):
            report.notes.append(
                f"made by another version of {catalogue.where(name)}: a difference proves nothing."
            )
    except InvalidInputError as error:
        report.faults.append(f"run.json: {error}")


def _untrusted(environment: str) -> str:
    return (
        f"no episode was simulated again: the environment {environment} is somebody's code; give "
        "--trust-code to import it."
    )


def _count(job: Job, report: Report) -> None:
    if report.episodes != job.recipe.episodes:
        report.faults.append(
            f"{report.episodes} episodes where the recipe says {job.recipe.episodes}."
        )
    if report.replayed < report.episodes:
        report.notes.append(
            f"{report.episodes - report.replayed} of {report.episodes} episodes were not "
            "simulated again."
        )


def _spread(episodes: int, sample: int | None) -> frozenset[int]:
    """Return which episodes to replay: all, or `sample` evenly spread, the last included."""
    if sample is None or sample >= episodes:
        return frozenset(range(episodes))
    return frozenset(round(n) for n in np.linspace(episodes - 1, 0, sample).tolist())


def _check_files(folder: Path, job: Job, found: Found, leaves: list[bytes]) -> None:
    """Compare run.json and the manifest with what was read, to the byte; complete the leaves."""
    report = found.report
    for name in ("run.json", "manifest.json"):
        path = folder / name
        if not path.exists():
            report.faults.append(f"there is no {name}: the run is not finished.")
            continue
        try:
            said = runs.read_json(path)
        except FormatError as error:
            report.faults.append(str(error))
            continue
        if path.read_bytes() != runs.json_bytes(said):
            report.faults.append(f"{name}: its bytes are not as they are written.")
        if name == "run.json":
            continue
        leaves.append(bill.leaf(said))
        kept = settlement.Kept(job.known, job.recipe, found.records, found.usages)
        _compare_manifest(said, settlement.manifest(folder, kept), report)


def _compare_manifest(said: Mapping[str, Any], ours: Mapping[str, Any], report: Report) -> None:
    for key in sorted({*said, *ours}):
        if key != "shards" and said.get(key) != ours.get(key):
            report.faults.append(
                f"manifest.json: says {key} {said.get(key)!r}; the shards say {ours.get(key)!r}."
            )
    named = said.get("shards")
    files = cast(dict[str, Any], named) if isinstance(named, dict) else {}
    for name in sorted({*ours["shards"], *files}):
        if ours["shards"].get(name) != files.get(name):
            report.faults.append(f"shards/{name}: its bytes are not those that the manifest names.")


def _check_log(folder: Path, run: str, leaves: list[bytes], trust: Trust, report: Report) -> None:
    """Compare log, checkpoint and a published checkpoint with the leaves of what was read."""
    made = log.checkpoint(run, leaves)
    try:
        known = log.read(folder)
        torn = (folder / log.LOG).stat().st_size != 65 * len(known) if known else True
        if known != leaves or torn:
            line = _first_other(known, leaves)
            whose = "run.json" if line == 1 else f"episode {line - 2}, or the manifest,"
            report.faults.append(f"log: line {line} of {len(known)} is not what {whose} says.")
        text = log.checkpoint_text(folder)
        _check_signature(text, trust, report)
        said = note.Checkpoint.parse(_body(text))
        if _body(text) != made.text:
            report.faults.append(
                f"checkpoint: says {said.size} entries with root {said.root.hex()} in "
                f"{said.origin}; the run has {made.size} with {made.root.hex()} in {made.origin}."
            )
        if trust.published is not None:
            _check_published(trust, leaves, made.origin, report)
    except FormatError as error:
        report.faults.append(f"checkpoint: {error}")
    if not report.faults:
        report.checked.append(f"log and checkpoint of {made.size} entries, root {made.root.hex()}.")


def _first_other(known: list[bytes], leaves: list[bytes]) -> int:
    """Return the first line that two logs do not share."""
    both = zip(known, leaves, strict=False)
    shared = min(len(known), len(leaves))
    return next((n for n, (a, b) in enumerate(both, 1) if a != b), shared + 1)


def _body(text: str) -> str:
    """Return a checkpoint without its signatures, if it has any."""
    return note.split(text)[0] if "\n\n" in text else text


def _check_signature(text: str, trust: Trust, report: Report) -> None:
    if "\n\n" not in text:
        if trust.signed:
            report.faults.append("checkpoint: not signed; give --unsigned if it need not be.")
        else:
            report.notes.append("not signed: anybody could have made this run's log.")
        return
    _, signers = note.verified(text, trust.keys)
    known = [(key.name, key.id) for key in signers]
    signed = [(one.name, one.id) for one in note.split(text)[1]]
    names = ", ".join(f"{name}+{id.hex()}" for name, id in signed if (name, id) not in known)
    if not signers:
        report.faults.append(
            f"checkpoint: signed by {names}, whom you do not trust; give --key if you do."
        )
        return
    report.checked.append(f"signature of {', '.join(key.name for key in signers)}.")
    if names:
        report.notes.append(f"the signature of {names} was not checked: you do not trust them.")


def _check_published(trust: Trust, leaves: list[bytes], origin: str, report: Report) -> None:
    """Tell a prefix that was rewritten from entries that were appended since."""
    text = trust.published or ""
    if "\n\n" in text:
        note.verified(text, trust.keys)
    old = note.Checkpoint.parse(_body(text))
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
