"""A ledger's tables in PostgreSQL, and one transaction of them."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import count
from typing import Any

import psycopg
from psycopg import errors

from sandbox.ledger import tables
from sandbox.ledger.connection import READ_S, Connection
from sandbox.ledger.database import Row

_CHUNK = 2000  # Rows of a stream that are fetched at once.


class Postgres:
    """A transaction of a ledger on a server; see `database.Database`."""

    damages = (
        psycopg.DataError,
        psycopg.InternalError,
        errors.UndefinedTable,
        errors.UndefinedColumn,
        errors.UndefinedFunction,
    )

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """Return all rows of a statement."""
        cursor = self._connection.execute(_own(sql), _named(values))
        return cursor.fetchall() if cursor.description else []

    def stream(self, sql: str, *values: Any) -> Iterator[Row]:
        """Yield the rows of a query; the server keeps the rest of them."""
        self._connection.patience_s = READ_S
        with self._connection.cursor(f"rows_{next(_CURSORS)}") as cursor:
            cursor.itersize = _CHUNK
            yield from cursor.execute(_own(sql), _named(values))

    def lock_tail(self) -> None:
        """Wait until no other transaction can add a transfer before this one ends."""
        self._connection.execute("SELECT pg_advisory_xact_lock(%s)", [key("tail")])

    def insert(self, transfers: Sequence[Row], entries: Sequence[Row]) -> None:
        """Insert rows with all columns."""
        lines = "".join(map(_line, transfers)), "".join(map(_entry, entries))
        with self._connection.cursor() as cursor:
            for table, text in zip(("transfer", "entry"), lines, strict=True):
                with cursor.copy(f"COPY {table} FROM STDIN".encode()) as copy:
                    copy.write(text)

    def now(self) -> float:
        """Return the server's time [s since 1970]."""
        return self.rows("SELECT extract(epoch FROM clock_timestamp())::float8")[0][0]

    def faults(self, *, whole: bool) -> Iterator[str]:
        """Yield which tables are not as made; the server looks after its own files."""
        yield from tables.differences(self._connection.execute(tables.LISTED).fetchall())


def make(connection: Connection, id: str) -> None:
    """Make the tables of a ledger with an id, in a transaction."""
    connection.execute(tables.TABLES)
    for table in tables.NAMES:
        connection.execute(tables.TRIGGER.format(table=table).encode())
    connection.execute("INSERT INTO ledger VALUES (%s, %s)", [id, tables.FORMAT])


def key(*names: str) -> int:
    """Return the number of an advisory lock, which follows from its names."""
    text = "\n".join(("sandbox ledger", *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


_CURSORS = count()
_NULL = "\\N"


@cache
def _own(sql: str) -> bytes:
    """Return a statement of `Pages` for PostgreSQL: without SQLite's hints, with named values."""
    numbers = count(1)
    plain = sql.replace("NOT INDEXED", "").replace("+", "")
    return re.sub(r"\?(\d*)", lambda it: f"%(v{it[1] or next(numbers)})s", plain).encode()


def _named(values: Sequence[Any]) -> dict[str, Any] | None:
    return {f"v{n}": value for n, value in enumerate(values, 1)} or None


def _line(row: Row) -> str:
    """Return a transfer as a line of COPY's text format."""
    seq, id, kind, account, amount, facts, parts, lease, run, *numbers, at, link = row
    fields = (
        *(str(seq), _hex(id), kind, account, str(amount), _text(facts), _text(parts)),
        _NULL if lease is None else _hex(lease),
        _NULL if run is None else _text(run),
        *(_NULL if number is None else str(number) for number in numbers),
        *(str(at), _hex(link)),
    )
    return "\t".join(fields) + "\n"


def _entry(row: Row) -> str:
    """Return an entry as a line of COPY's text format: a name and numbers."""
    return "\t".join(map(str, row)) + "\n"


def _hex(value: bytes) -> str:
    return f"\\\\x{value.hex()}"


def _text(value: str) -> str:
    plain = value.replace("\\", "\\\\") if "\\" in value else value
    return plain if plain.isprintable() else re.sub(r"[\x01-\x1f]", _escaped, plain)


def _escaped(found: "re.Match[str]") -> str:
    return f"\\x{ord(found[0]):02x}"
