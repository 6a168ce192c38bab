"""Replay a random sample of a run's episodes, and say what that proves."""

import hashlib
import math
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import catalogue
from sandbox.errors import FormatError, InvalidInputError
from sandbox.evidence import log, note
from sandbox.ledger import Ledger
from sandbox.ledger.transfer import named
from sandbox.run import folder as runs
from sandbox.run import settle as settlement
from sandbox.verification.verify import Progress, Report, Trust, verify
from sandbox.world import engine


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        run: its id.
        report: what was checked and what was wrong.
        episodes: how many there are, and
        replayed: which of them were simulated again.
        random: how many of these were drawn by chance; the others are the last and the dearest.
        nonce: what they were drawn with.
        root: of the log's tree then, hex.
        size: of it.
        confidence: asked for.
        wrong_below: with that confidence, fewer than this many episodes are wrong.
    """

    run: str
    report: Report
    episodes: int
    replayed: tuple[int, ...]
    random: int
    nonce: str
    root: str
    size: int
    confidence: float
    wrong_below: int

    @property
    def statement(self) -> str:
        """What may be said of the run now."""
        drawn = f"{self.report.replayed} of {self.episodes} episodes were simulated again"
        if self.report.unseen:
            drawn += f" ({', '.join(self.report.unseen)} could not be compared)"
        if self.report.faults:
            failed = ", ".join(map(str, sorted(self.report.failed))) or "none by itself"
            return f"FAILED: {drawn}; wrong: {failed}."
        if len(self.replayed) == self.episodes:
            return f"{drawn}, all of them, and all are as recorded."
        return (
            f"{drawn}, {self.random} of them drawn after the log was closed, and all are as "
            f"recorded: with {self.confidence:.4g} confidence fewer than {self.wrong_below} "
            f"({self.wrong_below / self.episodes:.2%}) of the episodes are wrong."
        )


def audit(
    folder: Path,
    confidence: float = 0.95,
    fraction: float = 0.05,
    nonce: str | None = None,
    progress: Progress = lambda report: None,
    trust: Trust | None = None,
    workers: int = 1,
) -> Audit:
    """Verify a run, replaying so many random episodes that `fraction` of them wrong would show.

    Args:
        folder: the run's.
        confidence: with what chance it would show, 0 to 1.
        fraction: of the episodes that may be wrong unseen, 0 to 1.
        nonce: the auditor's own chance, in any words; None makes one. Who knows it before the log
            is closed knows what will be drawn.
        progress: called after each episode.
        trust: whom to believe.
        workers: processes to share the shards.

    Raises:
        FormatError: no run, or one that is not finished.
        InvalidInputError: a confidence, fraction or nonce that is none; or the environment is
            somebody's code that is not trusted.
    """
    for name, value in (("confidence", confidence), ("fraction", fraction)):
        if not 0 < value < 1:
            raise InvalidInputError(f"{name} {value!r}: give a number between 0 and 1.")
    nonce = secrets.token_hex(16) if nonce is None else _checked(nonce)
    trust = Trust.here() if trust is None else trust
    known, recipe = runs.read_run(folder), runs.recipe_of(folder)
    catalogue.check_trust(recipe.environment, trust.trust_code)
    count = recipe.episodes
    if not (folder / "manifest.json").exists():
        raise FormatError(f"{folder}: this run is not finished; `sandbox generate` it first.")
    random = sample_size(count, confidence, fraction)
    try:
        closed, dearest = _closed(folder), _dearest(folder)
        chosen = {*draw(count, random, nonce, closed.root, closed.size), dearest, count - 1}
    except FormatError:  # It fails whatever is drawn; let it be said of what.
        closed, chosen = note.Checkpoint("", 0, b""), set[int]()
    every = tuple(sorted(chosen))
    report = verify(folder, None, progress, trust, frozenset(every), workers)
    return Audit(
        *(str(known["run"]), report, count, every, random, nonce, closed.root.hex()),
        *(closed.size, confidence, wrong_below(count, random, confidence)),
    )


def _checked(nonce: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in nonce):
        raise InvalidInputError(f"nonce {nonce!r}: is not UTF-8; give it in other words.")
    return nonce


def _closed(folder: Path) -> note.Checkpoint:
    """Return the checkpoint of a run, unverified."""
    text = log.checkpoint_text(folder)
    return note.Checkpoint.parse(note.split(text)[0] if "\n\n" in text else text)


def _dearest(folder: Path) -> int:
    """Return which episode cost most, the first of several."""
    charges = [record.get("charge_micro") for record in settlement.kept(folder).records]
    most = [n if type(n) is int else 0 for n in charges]
    return max(range(len(most)), key=most.__getitem__, default=0)


def missed(count: int, wrong: int, sample: int) -> float:
    """Return the chance that none of `wrong` among `count` is in a random sample.

    C(count - wrong, sample) / C(count, sample), the hypergeometric distribution at 0.
    """
    if sample > count - wrong:
        return 0.0
    return math.exp(
        math.fsum(math.log1p(-wrong / (count - n)) for n in range(sample))
        if wrong < count
        else -math.inf
    )


def sample_size(count: int, confidence: float, fraction: float) -> int:
    """Return how many to draw so that `fraction` of `count` wrong shows with `confidence`."""
    wrong = max(1, math.ceil(fraction * count))
    high = 1
    while high < count and 1 - missed(count, wrong, high) < confidence:
        high = min(2 * high, count)
    low = high // 2
    while low < high:
        middle = (low + high) // 2
        enough = 1 - missed(count, wrong, middle) >= confidence
        low, high = (low, middle) if enough else (middle + 1, high)
    return low


def wrong_below(count: int, sample: int, confidence: float) -> int:
    """Return the smallest number of wrong ones that a sample would have shown."""
    low, high = 1, count
    while low < high:
        middle = (low + high) // 2
        shown = 1 - missed(count, middle, sample) >= confidence
        low, high = (low, middle) if shown else (middle + 1, high)
    return low


def draw(count: int, sample: int, nonce: str, root: bytes, size: int) -> list[int]:
    """Return `sample` different numbers below `count`, by chance that nobody chose.

    The seed is SHA-256 of the nonce (UTF-8), the root, and the size (uint64, big-endian). Its
    SHA-256 with a counter (uint64, big-endian) gives 64-bit numbers; those that would favour some
    remainder, and those drawn already, are passed over.
    """
    seed = hashlib.sha256(nonce.encode() + root + size.to_bytes(8, "big")).digest()
    limit = 2**64 - 2**64 % count
    drawn: dict[int, None] = {}
    counter = 0
    while len(drawn) < sample:
        number = int.from_bytes(
            hashlib.sha256(seed + counter.to_bytes(8, "big")).digest()[:8], "big"
        )
        counter += 1
        if number < limit:
            drawn[number % count] = None
    return list(drawn)


def as_json(audit: Audit) -> dict[str, Any]:
    """Return an audit as plain JSON."""
    return {
        "run": audit.run,
        "ok": not audit.report.faults,
        "statement": audit.statement,
        "episodes": audit.episodes,
        "replayed": list(audit.replayed),
        "random": audit.random,
        "nonce": audit.nonce,
        "root": audit.root,
        "size": audit.size,
        "confidence": audit.confidence,
        "wrong_below": audit.wrong_below,
        "not_compared": audit.report.unseen,
        "failed": {str(n): text for n, text in sorted(audit.report.failed.items())},
        "faults": audit.report.faults,
        "notes": audit.report.notes,
    }


def refund(folder: Path, audit: Audit, ledger: Ledger) -> tuple[int, list[int]]:
    """Give back what the episodes cost whose work was not done as recorded.

    Those that only their bytes speak against are left: anybody can damage a copy. So are those of
    another determinism class, or another version of the environment, where it proves nothing.

    Returns:
        What was given back [microcredits], and the episodes that failed and were left.

    Raises:
        LedgerError: the run was charged in another ledger. Nothing was given back.
    """
    settlement.check_ledger(folder, ledger)
    found, given = settlement.kept(folder), 0
    ours = found.run["engine"].get("class") == engine()["class"]
    ours = ours and found.run["code"] == catalogue.code(found.recipe.environment)
    due = {usage.episode: usage for usage in found.usages if ours}
    left: list[int] = []
    for number in sorted(audit.report.failed):
        usage = due.get(number) if number in audit.report.diverged else None
        post = None if usage is None else ledger.find(usage.id)
        if usage is None or post is None or post.move.facts.get("evidence") != usage.evidence:
            left.append(number)
        elif ledger.refunded(usage.id) < post.move.amount:
            reason = f"episode {number} failed its audit"
            id = named("audit-refund/v1", usage.id.hex())
            given += ledger.refund(usage.id, id=id, reason=reason).amount
    return given, left
