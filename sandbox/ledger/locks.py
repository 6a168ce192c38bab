"""File locks: one process alone, or numbered workers side by side."""

import errno
import warnings
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sandbox import files
from sandbox.errors import LockedError, LocksRefusedError, SandboxError

JOIN_S = 2.0  # How long somebody who joins waits for another of its number.
ORPHAN_S = 10.0  # The workers of a killed process are gone within this time.


@contextmanager
def alone(
    path: Path, worker: int | None = None, wait_s: float | None = None, *, joins: bool = False
) -> Generator[None]:
    """Hold a file lock while the block runs; the system releases it when the process dies.

    Without a worker's number the caller must be alone: the lock of the file and those of all
    workers have to be free. A worker shares the file with workers of other numbers. Whoever starts
    workers is alone itself; a worker that nobody starts joins others, if nobody is alone.

    Args:
        path: the path of the lock's file; a worker's has its number as suffix. The folder must
            exist.
        worker: the number of a worker, or None.
        wait_s: how long to wait for a worker's lock, which the workers of a killed process hold
            until they notice; None is ORPHAN_S. The lock of the file itself is not waited for.
        joins: whether this worker was started by nobody who is alone. Its lock leaves no file.

    Raises:
        LockedError: another process holds the lock.
        LocksRefusedError: its file system has no locks.
        SandboxError: the file cannot be locked.
    """
    from filelock import Timeout  # Only those who lock pay for the import.

    wait_s = ORPHAN_S if wait_s is None else wait_s
    with ExitStack() as held:
        try:
            try:
                if joins:
                    _join(held, path, path.with_name(f"{path.name}.{worker}"))
                elif worker is not None:
                    held.enter_context(_locked(path.with_name(f"{path.name}.{worker}"), wait_s))
                else:
                    held.enter_context(_locked(path, 0))
                    for other in sorted(path.parent.glob(f"{path.name}.*")):
                        with _locked(other, wait_s):
                            pass
            except Timeout as timeout:
                Path(timeout.lock_file).touch()  # OSError where no file can be, such as in /proc.
                raise LockedError(
                    f"{path}: another process holds this lock. Nothing was done. Wait for it."
                ) from None
        except OSError as error:
            raise _unlockable(path, error) from error
        yield


def _unlockable(path: Path, error: OSError) -> SandboxError:
    """Return what to say where a file cannot be locked."""
    if error.errno in files.REFUSED_LOCKS:
        return LocksRefusedError(
            f"{path}: its file system has no locks: {error.strerror}. Nothing was done. Mount it "
            "with locks, or name a place on a disk of this machine."
        )
    return SandboxError(
        f"{path}: no lock can be made there: {error.strerror or error}. Nothing was done. Name a "
        "place where files can be written."
    )


def _join(held: ExitStack, path: Path, mine: Path) -> None:
    """Take a worker's lock, and see that nobody is alone (Timeout)."""
    held.enter_context(_locked(mine, JOIN_S))
    held.callback(mine.unlink, missing_ok=True)  # While it is held; see `writing`.
    with _locked(path, 1.5 * ORPHAN_S):  # Who wants to be alone waits for orphans, and gives up.
        pass


@contextmanager
def _locked(path: Path, wait_s: float) -> Generator[None]:
    """Hold the lock of a file (Timeout), by the system; OSError where there are no locks."""
    from filelock import FileLock

    lock, none = FileLock(path, wait_s), OSError(errno.ENOSYS, "Function not implemented")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # That it falls back to a file which a kill would leave.
        try:
            lock.acquire()
        except RuntimeError:  # Which older versions of filelock raise instead.
            raise none from None
    try:
        if type(lock).__name__ != FileLock.__name__:  # A SoftFileLock by now.
            raise none
        yield
    finally:
        lock.release()


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Hold the right to write a file or folder while the block runs, and leave no lock behind.

    The lock is `.NAME.lock` beside it. It is removed while it is still held: filelock tries again
    where it has locked a file that is removed, so that two processes never hold it.

    Raises:
        LockedError: another process writes the file.
        SandboxError: its folder cannot be written.
    """
    lock = path.with_name(f".{path.name}.lock")
    with ExitStack() as held:
        try:
            held.enter_context(alone(lock))
        except LockedError:
            raise LockedError(
                f"{path}: another process writes it. Nothing was done. Wait for it, or give "
                "another name."
            ) from None
        held.callback(lock.unlink, missing_ok=True)
        yield
