"""Replay a random sample of a run's episodes, and say what that proves."""

import hashlib
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sandbox import catalogue
from sandbox.errors import FormatError, InvalidInputError
from sandbox.evidence import log, note
from sandbox.run.folder import Folder
from sandbox.verification.report import Progress, Report
from sandbox.verification.trust import Trust
from sandbox.verification.verify import verify


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        run: id of the run.
        report: what was checked and what is wrong.
        episodes: number of episodes in the run.
        replayed: numbers of the episodes that were simulated again.
        random: number of these that were drawn at random; the others are the last episode and the
            one that cost most.
        nonce: the text that they were drawn with.
        root: root of the log's tree when they were drawn, hex.
        size: number of the log's entries when they were drawn.
        confidence: the confidence that was asked for.
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
            failed = ", ".join(map(str, sorted(self.report.failed)))
            which = f"wrong episodes: {failed}" if failed else "no single episode is wrong"
            return f"FAILED: {drawn}; {which}."
        if len(self.replayed) == self.episodes:
            return f"{drawn}, all of them, and all are as recorded."
        return (
            f"{drawn}, {self.random} of them drawn after the log was closed, and all are as "
            f"recorded: with {self.confidence:.4g} confidence fewer than {self.wrong_below} "
            f"({self.wrong_below / self.episodes:.2%}) of the episodes are wrong."
        )


def audit(
    folder: Folder,
    confidence: float = 0.95,
    fraction: float = 0.05,
    nonce: str | None = None,
    progress: Progress = lambda report: None,
    trust: Trust | None = None,
    workers: int = 1,
) -> Audit:
    """Verify a run, replaying as many random episodes as show that `fraction` of them is wrong.

    Args:
        folder: the run.
        confidence: probability with which that many wrong episodes show, 0 to 1.
        fraction: share of wrong episodes to detect, 0 to 1.
        nonce: the auditor's own random text; None makes one. Whoever knows it before the log is
            closed knows which episodes will be drawn.
        progress: called after each episode.
        trust: what to believe; None is this machine's ledger and its keys.
        workers: number of processes that share the shards.

    Raises:
        FormatError: this is no run, or one that is not finished.
        InvalidInputError: a confidence, fraction or nonce that cannot be, or an environment whose
            code is not trusted.
    """
    _check_shares(confidence=confidence, fraction=fraction)
    nonce = secrets.token_hex(16) if nonce is None else _checked(nonce)
    trust = Trust.here() if trust is None else trust
    for world in folder.recipe.worlds:
        catalogue.check_trust(world.environment, trust.trust_code)
        catalogue.code(world.environment)  # Refuses one that is not there.
    folder.check_finished()
    count = len(_numbers(folder))
    random = sample_size(count, confidence, fraction)
    closed, chosen = _chosen(folder, random, nonce)
    trust = replace(trust, exact=True)  # What cannot be replayed shows nothing.
    report = verify(folder, None, progress, trust, frozenset(chosen), workers)
    return Audit(
        run=folder.run,
        report=report,
        episodes=count,
        replayed=tuple(sorted(chosen)),
        random=random,
        nonce=nonce,
        root=closed.root.hex(),
        size=closed.size,
        confidence=confidence,
        wrong_below=wrong_below(count, random, confidence),
    )


def _check_shares(**shares: float) -> None:
    for name, value in shares.items():
        if not 0 < value < 1:
            raise InvalidInputError(f"{name} {value!r}: give a number between 0 and 1.")


def _checked(nonce: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in nonce):
        raise InvalidInputError(f"nonce {nonce!r}: is not UTF-8; give it in other words.")
    return nonce


def _chosen(folder: Folder, random: int, nonce: str) -> tuple[note.Checkpoint, set[int]]:
    """Return the closed log's checkpoint, and the numbers of the episodes to replay."""
    try:
        numbers = _numbers(folder)
        closed = note.Checkpoint.parse(note.body(log.checkpoint_text(folder.path)))
        drawn = draw(len(numbers), random, nonce, closed.root, closed.size)
        return closed, {*(numbers[n] for n in drawn), _costliest(folder), numbers[-1]}
    except FormatError:  # It fails whatever is drawn; verify says why.
        return note.Checkpoint("", 0, b""), set()


def _numbers(folder: Folder) -> Sequence[int]:
    """Return the numbers of a finished run's episodes: those until it ended, if it ended early."""
    if not folder.ended:
        return range(folder.stages.episodes)
    return [record.episode for record in folder.kept().every]


def _costliest(folder: Folder) -> int:
    """Return the number of the episode that cost most, the first of several."""
    every = folder.kept().every
    return max(every, key=lambda record: record.charge_micro).episode if every else 0


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
