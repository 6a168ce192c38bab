"""What credits buy: runs that are generated, branched and verified, and parts of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from sandbox import api, checking, durable, jsonfile, keeping
from sandbox import prices as schedules
from sandbox.errors import FormatError, InvalidInputError
from sandbox.ledger import Ledger
from sandbox.prices import PriceSchedule
from sandbox.run import bill as bills
from sandbox.run.folder import Folder
from sandbox.run.recipe import Recipe
from sandbox.run.record import Record
from sandbox.valuation.asked import Arm
from sandbox.verification.trust import Trust

RUN, BRANCHES, DATA = "run", "branches", "data"
KINDS = ("random",)  # Of branches.
_BRANCHING = 0x6272616E  # Of the seeds of branches.


def bought(arm: Arm, seed: int, micro: int, folder: Path, paying: Mapping[str, Any]) -> list[Path]:
    """Return the runs that an amount buys [microcredits]: generated, branched, and verified.

    Args:
        arm: what it is spent on.
        seed: data seed.
        micro: the amount.
        folder: where the runs are to be.
        paying: who pays and who works, as `generate` takes it.

    Raises:
        FormatError: a run does not verify.
    """
    own, rest = shares(arm, micro)
    run = generated(arm.sized(own, seed), folder / RUN, paying)
    if not rest:
        return [run]
    return [run, *_branched(arm, seed, rest, run, folder / BRANCHES, paying)]


def shares(arm: Arm, micro: int) -> tuple[int, int]:
    """Return what an amount has for episodes of the recipe, and for branches of them."""
    rest = round(micro * arm.branched)
    return micro - rest, rest


def generated(recipe: Recipe, run: Path, paying: Mapping[str, Any]) -> Path:
    """Return a run that is generated and verified."""
    if not _is_verified(run):
        api.generate(recipe, run, **paying)
        _verify(run, paying)
    return run


def _branched(
    arm: Arm, seed: int, micro: int, run: Path, folder: Path, paying: Mapping[str, Any]
) -> Iterator[Path]:
    """Yield runs of one branch each, of one episode after the other, as long as one can be paid."""
    schedule = schedules.chosen(paying["prices"])
    longest = schedule.cost(episode(arm.recipe, schedule))
    records, rng = [*Folder(run).records()], np.random.default_rng([_BRANCHING, seed])
    for n in count():
        if longest > micro:
            return
        past = records[n % len(records)]
        step, path = int(rng.integers(past.steps)), folder / f"{n:05}"
        if not _is_verified(path):
            told = {"episode": past.episode, "step": step, "kinds": KINDS, "trust_code": True}
            api.branch(run, path, **told, **paying)
            _verify(path, paying)
        micro -= cost(path)
        yield path


def episode(recipe: Recipe, schedule: PriceSchedule) -> dict[str, int]:
    """Return the work of an episode at most, per meter unit."""
    from sandbox.sources.generation import Generation

    with closing(Generation(recipe)) as source:
        return source.quote(0, schedule).episode


def cost(run: Path) -> int:
    """Return what a run has cost [microcredits]."""
    return bills.total(Folder(run).kept().usages)[1]


def _mark(run: Path) -> Path:
    return run.with_name(f"{run.name}.verified.json")


def _is_verified(run: Path) -> bool:
    """Return whether a run is whole, and was verified: it is charged then, too."""
    return _mark(run).exists() and jsonfile.read(_mark(run)).data == _known(run)


def _known(run: Path) -> dict[str, Any]:
    return {"run": Folder(run).run, "episodes": Folder(run).count()}


def _verify(run: Path, paying: Mapping[str, Any]) -> None:
    """Simulate a run's episodes again, and note that they are the same (FormatError if not)."""
    ledger: Ledger | None = paying["ledger"]
    trust = Trust.here(trust_code=True)
    trust = trust if ledger is None else replace(trust, ledger=ledger)
    report = checking.verify(run, trust=trust, workers=paying["workers"])
    if report.faults:
        raise FormatError(f"{run}: does not verify: {report.faults[0]}")
    durable.replace(_mark(run), jsonfile.encode(_known(run)))


def part(arm: Arm, runs: Sequence[Path], micro: int, most: int, folder: Path) -> Path:
    """Return the run of the episodes that an amount buys, of those that the most bought.

    It has the episodes that it would have if nothing else had been bought, and costs nothing more.

    Raises:
        InvalidInputError: the amount pays one episode alone.
    """
    if micro == most and not arm.branched:
        return runs[0]
    place = folder / DATA
    if not (Folder(place).derived is not None and Folder(place).finished):
        chosen = {*_payable(arm, runs, micro)}
        keeping.subset(
            list(runs),
            place,
            where=lambda record: (record.run, record.episode) in chosen,
            how={"worth": {"credits_micro": micro, "branched": arm.branched}},
        )
    return place


def _payable(arm: Arm, runs: Sequence[Path], micro: int) -> list[tuple[str, int]]:
    """Return run and number of the episodes and branches that an amount pays, the first ones."""
    own, rest = shares(arm, micro)
    episodes = [*_first(Folder(runs[0]).records(), own)]
    if len(episodes) < 2:
        raise InvalidInputError(
            f"{runs[0]}: {schedules.credits(own)} credits pay {len(episodes)} of its episodes; "
            "training needs one, and another to pick weights by. Give more --credits, in another "
            "folder."
        )
    branches = _first((one for run in runs[1:] for one in Folder(run).records()), rest)
    return [(one.run, one.episode) for one in (*episodes, *branches)]


def _first(records: Iterable[Record], micro: int) -> Iterator[Record]:
    """Yield the first records that an amount pays."""
    for one in records:
        micro -= one.charge_micro
        if micro < 0:
            return
        yield one
