"""Refunds of what a run charged and did not do; a plain function, which the command line calls."""

from dataclasses import replace

from sandbox import api, checking
from sandbox.arguments import checked
from sandbox.errors import InvalidInputError
from sandbox.ledger import Ledger
from sandbox.run.locks import check_ledger
from sandbox.verification import refunds
from sandbox.verification.refunds import Refunds
from sandbox.verification.report import Progress
from sandbox.verification.trust import Trust


@checked
def refund(
    run: api.PathLike,
    *,
    trust: Trust | None = None,
    ledger: Ledger | None = None,
    workers: api.Workers = 1,
    progress: Progress = lambda report: None,
) -> Refunds:
    """Verify a run, and refund each episode whose work was not done as recorded.

    Each refund is a transfer of its own, which names the run, the episode, and the SHA-256 of a
    verdict: a file beside the ledger that says who paid, for which record, and what was found.
    Repeating it books nothing again.

    Args:
        run: the run folder, simulated or imagined.
        trust: what to believe; None is this machine's keys.
        ledger: the ledger that charged it; None is this machine's.
        workers: number of processes that share the shards.
        progress: called after each episode.

    Raises:
        InvalidInputError: nothing is wrong, or nothing that a refund can be given for. Nothing was
            booked.
        LedgerError: the run was charged in another ledger. Nothing was booked.
        FormatError: this is no run, or its log does not prove what was charged.
    """
    folder, book = api.open_run(run), ledger or Ledger()
    if folder.derived is not None or folder.imported is not None:
        raise InvalidInputError(
            f"{run}: is derived or imported, and charged nothing. Refund the run it comes from."
        )
    check_ledger(folder, book)
    believed = replace(trust or Trust.here(), ledger=book)
    report = checking.verify(run, trust=believed, workers=workers, progress=progress)
    found = refunds.refund(folder, report, book)
    refunds.refuse_nothing(folder, report, found)
    return found
