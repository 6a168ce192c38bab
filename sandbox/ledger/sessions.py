"""Locks of runs that a session on the ledger's server holds: they end with its connection."""

import time
from dataclasses import dataclass

from sandbox.errors import LockedError
from sandbox.ledger.connection import Connection
from sandbox.ledger.locks import JOIN_S, ORPHAN_S
from sandbox.ledger.postgres import key

_LOOK_S = 0.05  # Between attempts to take a lock.


@dataclass(frozen=True)
class RunLock:
    """A lock of a run: of a process alone, or of a worker with a number.

    Attributes:
        name: the run's.
        worker: the number, or None.
        wait_s: how long to wait for workers.
        joins: whether a worker was started by nobody who is alone; see `locks.alone`.
    """

    name: str
    worker: int | None
    wait_s: float
    joins: bool = False

    def take(self, connection: Connection, where: str, *, again: bool = False) -> None:
        """Take it (LockedError); with `again` after a connection was lost."""
        alone, workers = key("run", self.name), key("workers", self.name)
        if self.worker is not None:
            mine = key("worker", self.name, str(self.worker))
            wait_s = JOIN_S if self.joins else self.wait_s
            if not _take(connection, "_lock", mine, wait_s):
                raise self.refused(where)
            if not _take(connection, "_lock_shared", workers, self.wait_s):
                self.release(connection)
                raise self.refused(where)
            if self.joins and not again:
                self._see_nobody_alone(connection, alone, where)
            return
        if not _take(connection, "_lock", alone, ORPHAN_S if again else 0.0):
            raise self.refused(where)
        if not again:  # Its own workers hold theirs by now.
            if not _take(connection, "_lock", workers, self.wait_s):
                self.release(connection)
                raise self.refused(where)
            connection.execute("SELECT pg_advisory_unlock(%s)", [workers])

    def _see_nobody_alone(self, connection: Connection, alone: int, where: str) -> None:
        """Refuse to join while a process is alone (LockedError)."""
        if not _take(connection, "_lock_shared", alone, 1.5 * ORPHAN_S):
            self.release(connection)
            raise self.refused(where)
        connection.execute("SELECT pg_advisory_unlock_shared(%s)", [alone])

    def release(self, connection: Connection) -> None:
        """Release what is held of it."""
        if self.worker is None:
            connection.execute("SELECT pg_advisory_unlock(%s)", [key("run", self.name)])
            return
        mine = key("worker", self.name, str(self.worker))
        connection.execute("SELECT pg_advisory_unlock(%s)", [mine])
        connection.execute("SELECT pg_advisory_unlock_shared(%s)", [key("workers", self.name)])

    def refused(self, where: str) -> LockedError:
        """Return the error for a lock that another process holds."""
        return LockedError(
            f"{where}: another process holds this lock: {self.name}. Nothing was done. Wait for it."
        )


def _take(connection: Connection, kind: str, number: int, wait_s: float) -> bool:
    """Return whether a lock could be taken, within some time."""
    until = time.monotonic() + wait_s
    sql = f"SELECT pg_try_advisory{kind}(%s)".encode()
    while True:
        found = connection.execute(sql, [number]).fetchone()
        if found is not None and found[0]:
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(_LOOK_S)
