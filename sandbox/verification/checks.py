"""Checks that runs and derived runs share: of an identity, and of how its episodes are replayed."""

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from sandbox import catalogue, prices, simulator
from sandbox.errors import InvalidInputError, shown
from sandbox.run.folder import RUN
from sandbox.run.identity import Identity, PartIdentity
from sandbox.verification.report import Report
from sandbox.verification.shards import Job
from sandbox.verification.trust import Trust


def possible(chosen: frozenset[int], report: Report) -> frozenset[int]:
    """Return which of the chosen episodes can be replayed: none, with a note, without PyBullet."""
    why = simulator.fault() if chosen else ""
    if why:
        report.notes.append(f"no episode was simulated again: {why}")
    return frozenset[int]() if why else chosen


def dreamed(job: Job, told: Mapping[str, Any], trust: Trust, report: Report) -> Job:
    """Return how dreams are imagined again, and note what that shows.

    Args:
        job: what to check.
        told: what the run's plan says of its dreams.
        trust: whether a model of somebody's code may be imported.
        report: takes the notes.
    """
    report.tier = str(told.get("tier"))
    name, known = str(told.get("name")), job.identity
    why = ""
    if ":" in name and not trust.trust_code:
        why = f"the model {name} is somebody's code; give --trust-code to import it."
    elif importlib.util.find_spec("torch") is None:
        why = "PyTorch is not installed, which imagines."
    if why:
        report.notes.append(f"no episode was imagined again: {why}")
        return replace(job, chosen=frozenset[int]())
    job = _beginning(job, told, trust, report)
    from sandbox.imagination.imaginer import engine  # Only whoever imagines needs torch.

    decides = isinstance(known, Identity) and dict(known.engine) == engine(told)
    if not decides:
        report.excuse(
            "imagined in another class of machine: where a dream differs here, that proves nothing."
        )
    return replace(job, decides=trust.exact or decides)


def _beginning(job: Job, told: Mapping[str, Any], trust: Trust, report: Report) -> Job:
    """Return a job that compares the rows with which dreams begin, if their run is at hand."""
    if trust.source is None:
        report.notes.append(
            "the recorded rows with which episodes begin were not compared with the run that they "
            f"are of ({_named(told)}): --source RUN does that."
        )
        return job
    from sandbox.dataset.dataset import Dataset

    if Dataset(trust.source).facts.digest == told.get("episodes"):
        return replace(job, source=trust.source)
    report.faults.append(
        f"{trust.source}: holds other episodes than those with which the run says that its dreams "
        f"begin (run {_named(told)})."
    )
    return job


def _named(told: Mapping[str, Any]) -> str:
    named: Any = told.get("source")
    runs = cast(list[Any], named) if isinstance(named, list) else []
    return ", ".join(f"{run!s:.16}" for run in runs[:3]) or "unknown"


def unknown(known: Identity, trust: Trust) -> str:
    """Return why an environment of a run cannot be simulated here, or ""."""
    for name in (world.recipe.environment for world in known.worlds):
        if catalogue.is_strange(name) and not trust.trust_code:
            return f"the environment {name} is somebody's code; give --trust-code to import it."
        try:
            catalogue.code(name)
        except InvalidInputError as error:
            return str(error)
    return ""


def classed(job: Job, theirs: Mapping[str, str], trust: Trust, report: Report) -> Job:
    """Return a job that replays in the run's determinism class, if this machine has it."""
    from sandbox.world import determinism  # Only whoever replays needs a simulator.

    variables = determinism.variables(theirs)
    if variables:
        told = ", ".join(f"{name}={value!r}" for name, value in variables.items())
        report.notes.append(
            f"replayed in processes with {told}: there, the mathematics are those of the run."
        )
    elif variables is None:
        report.excuse(
            f"made in another determinism class ({determinism.unlike(theirs)}): where a replay "
            "differs here, that proves nothing."
        )
    decides = trust.exact or variables is not None
    return replace(job, variables=variables or {}, decides=decides)


def note_undecided(report: Report) -> None:
    """Note which replays differ where that proves nothing."""
    if report.undecided:
        number, text = next(iter(report.undecided.items()))
        report.notes.append(
            f"{len(report.undecided)} episodes are not verified by replay, for they differ in the "
            f"class of this machine; the first is episode {number}: {text}"
        )


def note_beginnings(job: Job, report: Report) -> None:
    """Say that episodes begin with recorded rows of their source, if that was compared."""
    wrong = report.failed or report.undecided
    if job.source is not None and report.replayed and not wrong:
        report.checked.append(
            f"{report.replayed} episodes begin with rows of {job.source}, at the places drawn for "
            "them, byte for byte; their episodes have the digests that the records name."
        )


def identity(known: Identity, report: Report, where: str = RUN) -> None:
    """Compare the run's id and prices in run.json with the work that it describes."""
    if known.run != known.named():
        report.faults.append(f"{where}: names the run {known.run}; its work is {known.named()}.")
    if any(one.scenario.environment != one.recipe.environment for one in known.worlds):
        report.faults.append(f"{where}: its scenario is of another environment than its recipe.")
    if known.parts and known.parts[0] != PartIdentity.of(known):
        report.faults.append(f"{where}: what it says at its top is not that of its first part.")
    _check_prices(known, report, where)


def _check_prices(identity: Identity, report: Report, where: str) -> None:
    """Compare the prices of a run with those that this machine has under their name."""
    version = identity.price_version
    try:
        same = prices.load(version).digest == identity.prices
        fault = f"{where}: its prices are not those of version {version!r}."
    except InvalidInputError as error:
        same, fault = False, f"{where}: {error}"
    if not same and identity.carried is None:
        report.faults.append(fault)
    elif not same:
        report.notes.append(
            f"priced by {version!r}, a schedule of the operator's own, as the run carries it: this "
            "machine has none of that name with these prices."
        )


def manifest(where: str, said: Mapping[str, Any], ours: Mapping[str, Any], report: Report) -> None:
    """Compare what a manifest says with what the shards say, file by file."""
    for key in sorted({*said, *ours}):
        if key != "shards" and said.get(key) != ours.get(key):
            theirs, mine = (shown(one.get(key), most=400) for one in (said, ours))
            report.faults.append(f"{where}: says {key:.80} {theirs}; the shards say {mine}.")
    named = said.get("shards")
    files = cast(dict[str, Any], named) if isinstance(named, dict) else {}
    for name in sorted({*ours["shards"], *files}):
        if name not in ours["shards"]:
            report.faults.append(f"shards/{name:.80}: is missing, and the manifest names it.")
        elif ours["shards"][name] != files.get(name):
            report.faults.append(f"shards/{name}: its bytes are not those that the manifest names.")


def note_code(known: Identity, report: Report) -> None:
    """Note each environment that has been changed since."""
    for world in known.worlds:
        name = world.recipe.environment
        if world.code != catalogue.code(name):
            report.excuse(
                f"made by another version of {catalogue.where(name)}: a difference proves nothing."
            )
