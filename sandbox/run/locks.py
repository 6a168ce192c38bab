"""Who may write a run: one process, or one worker of each number."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sandbox import files
from sandbox.errors import (
    LedgerError,
    LockedError,
    LocksRefusedError,
    RunConflictError,
    SandboxError,
)
from sandbox.ledger import Ledger
from sandbox.ledger.locks import alone
from sandbox.run.folder import BOOKING, Folder

LOCK = ".lock"  # In a run's folder.


@contextmanager
def lock(
    folder: Path,
    *,
    make: bool = False,
    worker: int | None = None,
    joins: bool = False,
    leased: bool = False,
) -> Generator[None]:
    """Hold the right to write a run folder, alone or as its only worker of a number.

    A worker that joins was started by nobody who writes the folder alone; see `locks.alone`.
    `leased` is for who takes `lock_lease` before it writes what others may write: where the
    folder's file system has no locks, that of the ledger is enough.

    Raises:
        LocksRefusedError: its file system has no locks.
        RunConflictError: another process writes there.
        SandboxError: the folder cannot be written.
    """
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            try:
                held.enter_context(alone(folder / LOCK, worker, joins=joins))
            except LocksRefusedError:
                if not leased:
                    raise
            yield
    except LockedError:
        raise RunConflictError(
            f"{folder}: another process is generating here; nothing was done. Wait for it, or give "
            "another --out."
        ) from None
    except OSError as error:
        remedy = files.remedy(error, "Make room, or give another --out.")
        raise SandboxError(
            f"{folder}: cannot be written: {error.strerror or error}. Nothing was charged for what "
            f"is not kept. {remedy}"
        ) from error


@contextmanager
def lock_lease(
    folder: Folder, ledger: Ledger, worker: int | None = None, *, joins: bool = False
) -> Generator[None]:
    """Hold the right to post or release what a run holds, alone or as its only worker of a number.

    A copy of a run folder has a lock of its own but the lease of the first, so this lock belongs
    to the ledger.

    Raises:
        LedgerError: the run is charged in another ledger, or nothing says in which.
        RunConflictError: another process generates the run in another folder.
        SandboxError: the ledger's lock cannot be taken.
    """
    lease = check_ledger(folder, ledger)
    if not lease:
        yield
        return
    try:
        with ledger.alone(lease.hex(), worker, joins=joins):
            yield
    except LockedError:
        raise RunConflictError(
            f"{folder.path}: another process is generating this run in another folder, of which "
            "this is a copy; nothing was done. Wait for it, or give another --out."
        ) from None


def check_ledger(folder: Folder, ledger: Ledger) -> bytes:
    """Return the prefix of the run's leases; b"" for a run that has not begun.

    Raises:
        LedgerError: the run is charged in another ledger, or nothing says in which.
    """
    booking = folder.booking()
    if booking is None and _keeps(folder):
        raise LedgerError(
            f"{folder.path / BOOKING}: missing, so that nothing says in which ledger these "
            "episodes were charged; here they would be charged again. Nothing was done. Restore it "
            "from a copy, give another --out, or check the run with `sandbox verify --no-ledger`."
        )
    if booking is not None and booking.ledger != ledger.id:
        raise LedgerError(
            f"{folder.path}: charged in the ledger {booking.ledger}, and this one ({ledger.where}) "
            f"is {ledger.id}. Nothing was done. Set SANDBOX_LEDGER to that ledger, or SANDBOX_HOME "
            "to its folder, or give another --out."
        )
    return b"" if booking is None else booking.lease


def _keeps(folder: Folder) -> bool:
    """Return whether the log or the shards hold an episode."""
    return len(folder.log()) > 1 or folder.count() > 0
