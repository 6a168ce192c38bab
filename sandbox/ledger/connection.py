"""A connection to the PostgreSQL server of a ledger: how it begins, and what its errors say."""

import os
import re
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import quote

import psycopg
from psycopg import conninfo, errors
from psycopg.abc import PQGen

from sandbox.errors import InvalidInputError, LedgerError
from sandbox.ledger.database import Row

CONNECT_S = 5  # For a server to accept a connection.
ANSWER_S = 60.0  # For a server to answer a statement.
READ_S = 1800.0  # For it to sort what a whole book has.
_SESSION = b"""
SET client_encoding = 'UTF8';
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = '60s';
SET tcp_keepalives_idle = 20;
SET tcp_keepalives_interval = 10;
SET tcp_keepalives_count = 3;
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') IN ('off', 'local')
"""  # A client that vanished must not keep its locks, and what is committed must be on a disk.
_FOR_NOW = re.compile(  # What the server says while it starts, stops or is full, as it says it.
    "starting up|shutting down|recovery|not yet accepting|too many clients|connection slots"
    "|terminating|crash"
)
_GONE = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.IdleInTransactionSessionTimeout,
    errors.TooManyConnections,
)
AGAIN = (errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation)
_REMEDIES: Mapping[type[psycopg.Error], str] = {
    errors.DiskFull: "the server's disk is full. Make room on it",
    errors.OutOfMemory: "the server has no memory left. Try again later",
    errors.InsufficientPrivilege: "the user lacks a right. Grant it on the server",
    errors.ReadOnlySqlTransaction: "the server only reads, as a standby does. Name the primary",
    errors.RaiseException: "the server refused to change what was booked",
}


_NAMED = {"user": "PGUSER", "host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE"}


class Connection(psycopg.Connection[Row]):
    """A connection that does not wait for ever.

    Attributes:
        patience_s: how long it waits for an answer [s].
    """

    patience_s = ANSWER_S

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        """Return what a generator of psycopg returns; close the connection if that takes long."""
        try:
            return super().wait(gen, interval, self.patience_s if timeout is None else timeout)
        except errors._WaitTimeout:  # pyright: ignore
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer in {self.patience_s:g} s") from None

    @classmethod
    def opened(cls, place: "Place") -> Self:
        """Return a new connection, in which every statement is a transaction of its own.

        Raises:
            UnreachableError: the server cannot be reached now.
            LedgerError: it refuses, and will.
        """
        try:
            found = cls.connect(**place.parameters, autocommit=True, prepare_threshold=None)
        except psycopg.Error as error:
            raise place.refused(error) from None
        try:
            found.execute(_SESSION)
        except BaseException as error:
            found.close()
            raise place.refused(error) if isinstance(error, psycopg.Error) else error from None
        return found


class UnreachableError(LedgerError):
    """The server cannot be reached, or the connection to it was lost; it may come back.

    Attributes:
        starts: whether it says that it starts or stops, or has too many connections.
    """

    starts = False


class Place:
    """A server, and the database on it.

    Args:
        url: as libpq reads it. What is not in it, libpq takes from its environment variables and
            password file.

    Attributes:
        parameters: for connecting.
        where: the server for messages, without its password.
    """

    def __init__(self, url: str) -> None:
        authority = re.split(r"[/?]", url.partition("://")[2], maxsplit=1)[0]
        try:
            if authority.count("@") > 1 or "#" in url:  # A password would be taken for a host.
                raise psycopg.ProgrammingError
            known = conninfo.conninfo_to_dict(url)
        except psycopg.Error:  # It may quote a password.
            raise InvalidInputError(
                "the ledger's URL cannot be read. Write postgresql://USER:PASSWORD@HOST:PORT/"
                "DATABASE, with % codes for the characters / ? # @ : % in user and password."
            ) from None
        self.parameters: dict[str, Any] = {
            "connect_timeout": CONNECT_S,
            "application_name": "sandbox",
            **known,
        }
        user, host, port, name = (
            quote(str(known.get(key) or os.environ.get(variable, "")), safe=",:[]/")
            for key, variable in _NAMED.items()
        )
        self.where = (
            f"postgresql://{user}{'@' if user else ''}{host}{':' if port else ''}{port}/{name}"
        )

    def refused(self, error: psycopg.Error) -> LedgerError:
        """Return the error for a connection that could not be made."""
        said = self._said(error)
        for_now = _FOR_NOW.search(said) is not None
        if for_now or isinstance(error, _GONE) or "FATAL" not in said:
            found = UnreachableError(
                f"{self.where}: cannot be reached ({said}). Nothing was booked. Start the server, "
                "or set SANDBOX_LEDGER to another place."
            )
            found.starts = for_now and "FATAL" in said
            return found
        return LedgerError(
            f"{self.where}: refuses the connection ({said}). Nothing was booked. Set user, "
            "password and database in SANDBOX_LEDGER, or a password in ~/.pgpass."
        )

    def failed(self, error: psycopg.Error, connection: Connection) -> LedgerError:
        """Return the error for a statement that failed."""
        said = self._said(error)
        if connection.closed or isinstance(error, _GONE):
            return UnreachableError(
                f"{self.where}: the connection was lost ({said}). Start the server, and do the "
                "same again: nothing is charged twice."
            )
        for kind, remedy in _REMEDIES.items():
            if isinstance(error, kind):
                return LedgerError(f"{self.where}: {remedy} ({said}). Nothing was booked.")
        return LedgerError(
            f"{self.where}: this is no ledger, or what was to be booked cannot be written ({said})."
            " Nothing was booked."
        )

    def _said(self, error: psycopg.Error) -> str:
        """Return what an error says, without the password."""
        text = " ".join(str(error).split())
        secrets = [self.parameters.get("password"), os.environ.get("PGPASSWORD")]
        for secret in filter(None, secrets):
            text = text.replace(str(secret), "***")
        return text or type(error).__name__
