"""Verify runs, audit them, and settle what is owed for them, as plain functions."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from sandbox.arguments import checked
from sandbox.evidence import keys
from sandbox.evidence.note import SigningKey
from sandbox.ledger import Ledger
from sandbox.report import card as cards
from sandbox.run import settle as settling
from sandbox.run.folder import Folder
from sandbox.run.settle import Settlement
from sandbox.verification import audit as audits
from sandbox.verification import verify as verifying
from sandbox.verification.audit import Audit
from sandbox.verification.report import Progress, Report
from sandbox.verification.trust import Trust

PathLike = str | Path
Workers = Annotated[int, Field(ge=1, le=256, description="a whole number from 1 to 256")]


@checked
def verify(
    run: PathLike,
    *,
    sample: int | None = None,
    trust: Trust | None = None,
    workers: Workers = 1,
    progress: Progress = lambda report: None,
) -> Report:
    """Verify a run: re-read every byte, recompute every digest and charge, replay episodes.

    Args:
        run: the run folder.
        sample: number of episodes to replay, evenly spread; None replays all, and none where
            PyBullet is not installed, which is noted.
        trust: what to believe; None is this machine's ledger and its keys.
        workers: number of processes that share the shards.
        progress: called after each episode.

    Returns:
        What was checked, and `faults`: what is wrong, one sentence each.

    Raises:
        FormatError: this is no run, or its run.json cannot be read.
        NoSimulatorError: a sample is asked for, and PyBullet is not installed.
    """
    return verifying.verify(Folder(run), sample, progress, trust, workers=workers)


@checked
def audit(
    run: PathLike,
    *,
    confidence: float = 0.95,
    fraction: float = 0.05,
    nonce: str | None = None,
    trust: Trust | None = None,
    workers: Workers = 1,
    progress: Progress = lambda report: None,
) -> Audit:
    """Replay a random sample of a run's episodes, and say what that proves.

    Args:
        run: the run folder.
        confidence: probability with which wrong episodes show, 0 to 1.
        fraction: share of wrong episodes to detect, 0 to 1.
        nonce: the auditor's own random text; None makes one.
        trust: what to believe; None is this machine's ledger and its keys.
        workers: number of processes that share the shards.
        progress: called after each episode.

    Raises:
        FormatError: this is no run, or one that is not finished.
        InvalidInputError: a confidence, fraction or nonce that is invalid.
    """
    folder = Folder(run)
    return audits.audit(folder, confidence, fraction, nonce, progress, trust, workers)


@checked
def settle(
    run: PathLike, *, key: SigningKey | None = None, ledger: Ledger | None = None
) -> Settlement:
    """Settle a run that ranks made, or after a crash; repeating is safe.

    Charges what is kept, releases what is held, and logs and signs what is not logged yet.

    Args:
        run: the run folder, in which nobody generates.
        key: signs the run's log; None is this machine's default key, if there is one.
        ledger: where the run is charged; None is this machine's ledger.

    Returns:
        What was done, and the numbers of the shards that are missing.

    Raises:
        FormatError: this is no run, or damaged. Nothing was done.
        LedgerError: the run is charged in another ledger. Nothing was done.
        RunConflictError: another process writes the run, or its log contradicts its shards.
    """
    done = settling.recover(run, ledger or Ledger(), key or keys.default())
    cards.refresh(Folder(run))
    return done
