"""Find the good pairs of a set, candidate by candidate: paid, and on from where it was stopped."""

import hashlib
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sandbox import catalogue, digest
from sandbox.goals import making
from sandbox.goals.apart import Trained
from sandbox.goals.making import Candidate, Source, Wish
from sandbox.goals.pair import Pair
from sandbox.goals.part import Part
from sandbox.goals.running import Progress
from sandbox.goals.sets import Filtered
from sandbox.run.folder import Folder
from sandbox.till import Till, named
from sandbox.world import engine


def part(
    path: Path, wish: Wish, source: Source, trained: Trained, account: str | None
) -> Part[Candidate]:
    """Return the candidates that were looked at of a set that is under way; see `Part`."""
    work = {
        "wish": asdict(wish),
        "recipe": source.recipe.model_dump(mode="json"),
        "run": None if source.run is None else Folder(source.run).run,
        "apart": [one.model_dump() for one in trained.runs],
        "code": catalogue.code(source.recipe.environment),
        "engine": dict(engine()),
        "prices": source.schedule.version,
    }
    return Part(path, digest.sha256(work), account, _plain, _parsed, "recipe, goals or code")


def good(
    wish: Wish,
    source: Source,
    trained: Trained,
    till: Till,
    part: Part[Candidate],
    workers: int,
    progress: Progress,
) -> tuple[list[Pair], Filtered]:
    """Return the good pairs of enough candidates, and how many were thrown out, by reason.

    Raises:
        BudgetExhaustedError: the next candidate cannot be paid; those before are kept.
    """
    enough, sieve = max(wish.pairs, int(wish.pairs * making.SPREAD)), _Sieve()
    for number, one in enumerate(part.done):  # What a killed process has not posted is posted now.
        _post(till, part.id, number, one)
        sieve.take(one)
    progress(min(len(sieve.good), enough), enough, till.spent)
    first = len(part.done)
    if len(sieve.good) < enough:
        with closing(making.made(wish, source, workers, first)) as found:
            for number, one in enumerate(found, first):
                if one.pair is not None and trained.shares(one.pair.start.seed, one.states):
                    one = replace(one, reason="shared", pair=None)
                till.hold(named("make", part.id, number), one.work)
                part.add(one)
                _post(till, part.id, number, one)
                sieve.take(one)
                progress(min(len(sieve.good), enough), enough, till.spent)
                if len(sieve.good) == enough:
                    break
    sieve.counts["spare"] = max(0, len(sieve.good) - wish.pairs)
    return sieve.good, Filtered(**sieve.counts)


class _Sieve:
    """Keeps good pairs, each once, and counts what is thrown out."""

    def __init__(self) -> None:
        self.counts, self.good = {"tried": 0}, list[Pair]()
        self._there = set[tuple[str, bytes]]()

    def take(self, one: Candidate) -> None:
        self.counts["tried"] += 1
        reason = one.reason
        if one.pair is not None and one.pair.names in self._there:
            reason = "twice"
        if reason or one.pair is None:
            self.counts[reason] = self.counts.get(reason, 0) + 1
            return
        self.good.append(one.pair)
        self._there.add(one.pair.names)


def _post(till: Till, name: str, number: int, one: Candidate) -> None:
    evidence = hashlib.sha256(repr((name, number, one.reason)).encode()).hexdigest()
    till.post(named("make", name, number), one.work, evidence)


def _plain(one: Candidate) -> dict[str, Any]:
    pair = None if one.pair is None else one.pair.model_dump()
    return {"reason": one.reason, "pair": pair, "work": dict(one.work)}


def _parsed(data: dict[str, Any]) -> Candidate:
    pair = None if data["pair"] is None else Pair.model_validate(data["pair"])
    reason = str(data["reason"])
    if (pair is None) != bool(reason) or (reason and reason not in Filtered.model_fields):
        raise ValueError("no candidate")
    return Candidate(reason, pair, {str(unit): int(n) for unit, n in data["work"].items()})
