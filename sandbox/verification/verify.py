"""Re-read every byte of a run, recompute digests, trees, signatures and bill, replay episodes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sandbox import jsonfile, simulator
from sandbox.errors import FormatError, InvalidInputError, shown
from sandbox.evidence import log
from sandbox.run.folder import MANIFEST, RUN, Folder
from sandbox.run.identity import imagined
from sandbox.run.stages import EXTENDED
from sandbox.verification import charges, checks, derived, ending, history, shards
from sandbox.verification import imported as imports
from sandbox.verification.report import Progress, Report
from sandbox.verification.shards import Found, Job
from sandbox.verification.trust import Trust


def verify(
    folder: Folder,
    sample: int | None = None,
    progress: Progress = lambda report: None,
    trust: Trust | None = None,
    chosen: frozenset[int] | None = None,
    workers: int = 1,
) -> Report:
    """Verify a run; writes nothing.

    Args:
        folder: the run.
        sample: number of episodes to replay, evenly spread; None replays all, and none where
            PyBullet is not installed, which is noted.
        progress: called after each episode.
        trust: what to believe; None is this machine's ledger and its keys.
        chosen: numbers of the episodes to replay, instead of a sample.
        workers: number of processes that share the shards.

    Raises:
        FormatError: this is no run, or its run.json cannot be read.
        NoSimulatorError: a sample or exact replay is asked for, and PyBullet is not installed.
    """
    trust = Trust.here() if trust is None else trust
    dreams = _dreams(folder, trust)
    if folder.imported is not None:
        return imports.verify(folder, progress)
    chosen = _spread(folder, sample) if chosen is None else chosen
    if chosen and dreams is None and (sample is not None or trust.exact):
        simulator.require()
    if folder.derived is not None:
        return derived.verify(folder, chosen, progress, trust, workers)
    found = Found()
    report, check = found.report, _check_run if dreams is None else _check_dreams
    job = check(folder, trust, chosen, report)
    with report.about("shards"):
        shards.check(job, folder, found, progress, workers)
        found.sort()
        checks.note_undecided(report)
        checks.note_beginnings(job, report)
    with report.about("files"):
        _check_count(folder, report)
        ending.check(folder, job, found)
        leaves, manifest = _check_files(folder, found)
    with report.about("log"):
        history.check(folder, leaves, trust, report, manifest)
    with report.about("charges"):
        charges.check(folder, found.usages, trust, report)
    return report


def _dreams(folder: Folder, trust: Trust) -> Mapping[str, Any] | None:
    """Return what a run's plan says of its dreams; None if it has none.

    Raises:
        InvalidInputError: it has none, and a source of dreams is given.
    """
    others = folder.derived is not None or folder.imported is not None
    told = None if others else imagined(folder.identity.plan)
    if trust.source is not None and told is None:
        raise InvalidInputError(
            f"{folder.path}: was not imagined, so that it begins with rows of no other run; leave "
            "--source out."
        )
    return told


def _check_run(folder: Folder, trust: Trust, chosen: frozenset[int], report: Report) -> Job:
    """Check what run.json says; return which of the chosen episodes to replay, and how."""
    identity, chosen = folder.identity, checks.possible(chosen, report)
    unknown = checks.unknown(identity, trust)
    if unknown:
        chosen = frozenset[int]()
        report.notes.append(f"no episode was simulated again: {unknown}")
    policies = (name for world in identity.recipe.worlds for name in world.policies)
    foreign = dict.fromkeys(name for name in policies if ":" in name)
    if foreign:
        report.notes.append(f"the actions of {', '.join(foreign)} were taken as recorded.")
    with report.about("identity"):
        checks.identity(identity, report)
    if not unknown:
        checks.note_code(identity, report)
    job = Job(identity, folder.stages, chosen, trust.trust_code)
    return checks.classed(job, identity.engine, trust, report) if chosen else job


def _check_dreams(folder: Folder, trust: Trust, chosen: frozenset[int], report: Report) -> Job:
    """Check what run.json says of a run of dreams; return which to imagine again, and how."""
    with report.about("identity"):
        checks.identity(folder.identity, report)
    job = Job(folder.identity, folder.stages, chosen, trust.trust_code)
    return checks.dreamed(job, imagined(folder.identity.plan) or {}, trust, report)


def _check_count(folder: Folder, report: Report) -> None:
    wanted, ended = folder.stages.episodes, _ended(folder)
    if ended:
        of = "" if folder.open_ended else f" of {wanted}"
        report.notes.append(
            f"the run ended after {report.episodes}{of} episodes, because its {ended} was spent; "
            f"`{folder.continued_by}` goes on with it."
        )
    if folder.open_ended:
        wanted = report.episodes  # It has no number yet; that it is not finished is said elsewhere.
    if report.episodes != wanted and (not ended or report.episodes > wanted):
        who = "recipe says" if folder.recipe.stated_episodes is not None else "manifest says"
        who = who if folder.extended() is None else "run was extended to"
        report.faults.append(f"{report.episodes} episodes where the {who} {wanted}.")
    if report.replayed < report.episodes:
        report.notes.append(
            f"{report.episodes - report.replayed} of {report.episodes} episodes were not "
            f"{'imagined' if report.tier else 'simulated'} again."
        )


def _ended(folder: Folder) -> str:
    """Return why a run ended early; "" if it did not, or if its manifest is damaged."""
    try:
        return folder.ended
    except FormatError:  # `_check_files` says so.
        return ""


def _spread(folder: Folder, sample: int | None) -> frozenset[int]:
    """Return which episodes to replay: all, or `sample` evenly spread, the last included."""
    episodes = folder.stages.episodes
    if sample is not None and sample < 0:
        raise InvalidInputError(f"sample {shown(sample)}: give a whole number from 0 on, or None.")
    numbers: Sequence[int] = range(episodes)
    if folder.open_ended or (_ended(folder) and sample is not None):
        numbers = [record.episode for record in folder.kept().every]
    if sample is None or sample >= len(numbers):
        return frozenset(numbers)
    places: list[float] = np.linspace(len(numbers) - 1, 0, min(sample, len(numbers))).tolist()
    return frozenset(numbers[round(n)] for n in places)


def _check_files(folder: Folder, found: Found) -> tuple[list[bytes], Mapping[str, Any] | None]:
    """Compare run.json and the manifests with what was read, to the byte.

    Returns:
        The leaves that the log should have; and the manifest of a run that ended early, which is no
        leaf, None for other runs.
    """
    report = found.report
    if not folder.run_json.is_canonical:
        report.faults.append(f"{RUN}: its bytes are not as they are written.")
    _check_stages(folder, found)
    leaves = folder.leaves(found.leaves)
    path = folder.path / MANIFEST
    if not path.exists():
        report.faults.append(f"there is no {MANIFEST}: the run is not finished.")
        return leaves, None
    try:
        manifest, ended = jsonfile.read(path), folder.ended
    except FormatError as error:
        report.faults.append(str(error))
        return leaves, None
    if not manifest.is_canonical:
        report.faults.append(f"{MANIFEST}: its bytes are not as they are written.")
    ours = folder.manifest(found.records, found.usages, ended)
    checks.manifest(MANIFEST, manifest.data, ours, report)
    if not ended:
        return [*leaves, log.leaf(manifest.data)], None
    numbers = [record.episode for record in found.records]
    whole = next((n for n, number in enumerate(numbers) if n != number), len(numbers))
    # The log has the episodes up to the first that is missing.
    return folder.leaves(found.leaves[:whole]), manifest.data


def _check_stages(folder: Folder, found: Found) -> None:
    """Compare the manifest and the checkpoint of each stage before with what was read."""
    extended = folder.extended()
    if extended is None:
        return
    if not jsonfile.read(folder.path / EXTENDED).is_canonical:
        found.report.faults.append(f"{EXTENDED}: its bytes are not as they are written.")
    for stage, known in enumerate(extended.before):
        ours = folder.manifest(found.records, found.usages, stage=stage)
        checks.manifest(f"{EXTENDED}: stage {stage}", known.manifest, ours, found.report)
