"""Re-read every byte of a run, recompute digests, trees, signatures and bill, replay episodes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from sandbox import catalogue, jsonfile, prices
from sandbox.errors import FormatError, InvalidInputError, shown
from sandbox.evidence import log
from sandbox.run.folder import MANIFEST, RUN, Folder
from sandbox.run.identity import Identity
from sandbox.verification import charges, history, shards
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
        sample: number of episodes to replay, evenly spread; None replays all.
        progress: called after each episode.
        trust: what to believe; None is this machine's ledger and its keys.
        chosen: numbers of the episodes to replay, instead of a sample.
        workers: number of processes that share the shards.

    Raises:
        FormatError: this is no run, or its run.json cannot be read.
    """
    identity, found = folder.identity, Found()
    report = found.report
    trust = Trust.here() if trust is None else trust
    chosen = _spread(folder, sample) if chosen is None else chosen
    job = _check_run(folder, trust, chosen, report)
    with report.about("shards"):
        shards.check(job, folder, found, progress, workers)
        _note_undecided(report)
    leaves = [identity.leaf, *found.leaves]
    with report.about("files"):
        _check_count(folder, report)
        manifest = _check_files(folder, found, leaves)
    with report.about("log"):
        history.check(folder, leaves, trust, report, manifest)
    with report.about("charges"):
        charges.check(folder, found.usages, trust, report)
    return report


def _check_run(folder: Folder, trust: Trust, chosen: frozenset[int], report: Report) -> Job:
    """Check what run.json says; return which of the chosen episodes to replay, and how."""
    identity = folder.identity
    unknown = _unknown(identity.recipe.environment, trust)
    if unknown:
        chosen = frozenset[int]()
        report.notes.append(f"no episode was simulated again: {unknown}")
    foreign = [name for name in identity.recipe.policies if ":" in name]
    if foreign:
        report.notes.append(f"the actions of {', '.join(foreign)} were taken as recorded.")
    with report.about("identity"):
        _check_identity(folder, report)
    if not unknown:
        _note_code(folder, report)
    job = Job(identity, chosen, trust.trust_code)
    return _classed(job, trust, report) if chosen else job


def _unknown(name: str, trust: Trust) -> str:
    """Return why an environment cannot be simulated here, or ""."""
    if catalogue.is_strange(name) and not trust.trust_code:
        return f"the environment {name} is somebody's code; give --trust-code to import it."
    try:
        catalogue.code(name)
    except InvalidInputError as error:
        return str(error)
    return ""


def _classed(job: Job, trust: Trust, report: Report) -> Job:
    """Return a job that replays in the run's determinism class, if this machine has it."""
    from sandbox.world import determinism  # Only whoever replays needs a simulator.

    theirs = job.identity.engine
    variables = determinism.variables(theirs)
    if variables:
        told = ", ".join(f"{name}={value!r}" for name, value in variables.items())
        report.notes.append(
            f"replayed in processes with {told}: there, the mathematics are those of the run."
        )
    elif variables is None:
        report.notes.append(
            f"made in another determinism class ({determinism.unlike(theirs)}): where a replay "
            "differs here, that proves nothing."
        )
    decides = trust.exact or variables is not None
    return replace(job, variables=variables or {}, decides=decides)


def _note_undecided(report: Report) -> None:
    """Note which replays differ where that proves nothing."""
    if report.undecided:
        number, text = next(iter(report.undecided.items()))
        report.notes.append(
            f"{len(report.undecided)} episodes are not verified by replay, for they differ in the "
            f"class of this machine; the first is episode {number}: {text}"
        )


def _check_identity(folder: Folder, report: Report) -> None:
    """Compare the run's id and prices in run.json with the work that it describes."""
    identity = folder.identity
    if identity.run != identity.named():
        report.faults.append(
            f"run.json: names the run {identity.run}; its work is {identity.named()}."
        )
    if identity.scenario.environment != identity.recipe.environment:
        report.faults.append("run.json: its scenario is of another environment than its recipe.")
    _check_prices(folder.identity, report)


def _check_prices(identity: Identity, report: Report) -> None:
    """Compare the prices of a run with those that this machine has under their name."""
    version = identity.price_version
    try:
        same = prices.load(version).digest == identity.prices
        fault = f"run.json: its prices are not those of version {version!r}."
    except InvalidInputError as error:
        same, fault = False, f"run.json: {error}"
    if not same and identity.carried is None:
        report.faults.append(fault)
    elif not same:
        report.notes.append(
            f"priced by {version!r}, a schedule of the operator's own, as the run carries it: this "
            "machine has none of that name with these prices."
        )


def _note_code(folder: Folder, report: Report) -> None:
    """Note that the environment has been changed since."""
    name = folder.recipe.environment
    if folder.identity.code != catalogue.code(name):
        report.notes.append(
            f"made by another version of {catalogue.where(name)}: a difference proves nothing."
        )


def _check_count(folder: Folder, report: Report) -> None:
    wanted, ended = folder.recipe.episodes, _ended(folder)
    if ended:
        report.notes.append(
            f"the run ended after {report.episodes} of {wanted} episodes, because its {ended} was "
            "spent; `sandbox generate` goes on with it."
        )
    if report.episodes != wanted and (not ended or report.episodes > wanted):
        report.faults.append(f"{report.episodes} episodes where the recipe says {wanted}.")
    if report.replayed < report.episodes:
        report.notes.append(
            f"{report.episodes - report.replayed} of {report.episodes} episodes were not "
            "simulated again."
        )


def _ended(folder: Folder) -> str:
    """Return why a run ended early; "" if it did not, or if its manifest is damaged."""
    try:
        return folder.ended
    except FormatError:  # `_check_files` says so.
        return ""


def _spread(folder: Folder, sample: int | None) -> frozenset[int]:
    """Return which episodes to replay: all, or `sample` evenly spread, the last included."""
    episodes = folder.recipe.episodes
    if sample is not None and sample < 0:
        raise InvalidInputError(f"sample {shown(sample)}: give a whole number from 0 on, or None.")
    if sample is None or sample >= episodes:
        return frozenset(range(episodes))
    numbers: Sequence[int] = range(episodes)
    if _ended(folder):
        numbers = [record.episode for record in folder.kept().every]
    places: list[float] = np.linspace(len(numbers) - 1, 0, min(sample, len(numbers))).tolist()
    return frozenset(numbers[round(n)] for n in places)


def _check_files(folder: Folder, found: Found, leaves: list[bytes]) -> Mapping[str, Any] | None:
    """Compare run.json and the manifest with what was read, to the byte; complete the leaves.

    Returns:
        The manifest of a run that ended early, which is no leaf; None for other runs.
    """
    report = found.report
    if not folder.run_json.is_canonical:
        report.faults.append(f"{RUN}: its bytes are not as they are written.")
    path = folder.path / MANIFEST
    if not path.exists():
        report.faults.append(f"there is no {MANIFEST}: the run is not finished.")
        return None
    try:
        manifest, ended = jsonfile.read(path), folder.ended
    except FormatError as error:
        report.faults.append(str(error))
        return None
    if not manifest.is_canonical:
        report.faults.append(f"{MANIFEST}: its bytes are not as they are written.")
    ours = folder.manifest(found.records, found.usages, ended)
    _compare_manifest(manifest.data, ours, report)
    if not ended:
        leaves.append(log.leaf(manifest.data))
        return None
    numbers = [record.episode for record in found.records]
    whole = next((n for n, number in enumerate(numbers) if n != number), len(numbers))
    del leaves[1 + whole :]  # The log has the episodes up to the first that is missing.
    return manifest.data


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
