"""The tables of the ledger's file, and a check that a file has exactly these."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apsw

APPLICATION_ID = 0x5B0C0001  # In the file's header; it marks a file as a ledger.
FORMAT = 2

_TABLES = """
CREATE TABLE ledger (id TEXT NOT NULL) STRICT;
CREATE TABLE account (
    name TEXT PRIMARY KEY,
    mode TEXT NOT NULL CHECK (mode IN ('prepaid', 'postpaid')),
    overdraft INTEGER NOT NULL CHECK (overdraft >= 0)
) STRICT;
CREATE TABLE transfer (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    kind TEXT NOT NULL CHECK (kind IN
        ('open', 'grant', 'reserve', 'post', 'void', 'expire', 'breakage', 'refund')),
    account TEXT NOT NULL REFERENCES account (name),
    amount INTEGER NOT NULL CHECK (amount >= 0),
    facts TEXT NOT NULL,
    parts TEXT NOT NULL,
    lease BLOB,
    run TEXT,
    resolves INTEGER UNIQUE REFERENCES transfer (seq),
    corrects INTEGER REFERENCES transfer (seq),
    expires INTEGER,
    at INTEGER NOT NULL,
    link BLOB NOT NULL CHECK (length(link) = 32)
) STRICT;
CREATE TABLE entry (
    account TEXT NOT NULL,
    pot INTEGER NOT NULL,
    transfer INTEGER NOT NULL REFERENCES transfer (seq),
    posted INTEGER NOT NULL,
    pending INTEGER NOT NULL,
    posted_after INTEGER NOT NULL,
    pending_after INTEGER NOT NULL,
    PRIMARY KEY (account, pot, transfer)
) STRICT, WITHOUT ROWID;
CREATE INDEX transfer_lease ON transfer (lease) WHERE kind = 'reserve';
CREATE INDEX transfer_hold ON transfer (account, expires) WHERE kind = 'reserve';
CREATE INDEX transfer_grant ON transfer (account) WHERE kind = 'grant';
CREATE INDEX transfer_run ON transfer (run) WHERE run IS NOT NULL;
CREATE INDEX transfer_corrects ON transfer (corrects) WHERE corrects IS NOT NULL
"""


def statements() -> Iterator[str]:
    """Yield the SQL statements that create an empty ledger's tables, indices and triggers."""
    yield from _TABLES.split(";\n")
    for table in ("ledger", "account", "transfer", "entry"):
        for verb in ("UPDATE", "DELETE"):  # No row is ever changed or deleted.
            yield (
                f"CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table} BEGIN "
                "SELECT RAISE(ABORT, 'the ledger is only ever added to'); END"
            )


@functools.cache
def _made() -> dict[str, str | None]:
    """Return the statements of this version's schema by type and name; None for SQLite's own."""
    connection: Any = apsw.Connection(":memory:")  # apsw's own types are partly unknown.
    for statement in statements():
        connection.execute(statement).fetchall()
    return _by_name(connection.execute(SCHEMA))


SCHEMA = "SELECT type, name, sql FROM sqlite_schema"


def _by_name(rows: Iterable[tuple[Any, ...]]) -> dict[str, str | None]:
    return {f"{type} {name}": sql for type, name, sql in rows}


def differences(found: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    """Yield how a file's rows of the query SCHEMA differ from those of this version."""
    return unlike(_made(), _by_name(found))


def unlike(made: Mapping[str, str | None], there: Mapping[str, str | None]) -> Iterator[str]:
    """Yield how the parts of a database, by kind and name, differ from those of this version.

    Args:
        made: what this version makes.
        there: what is there.
    """
    for one in sorted({*made, *there}):
        if one not in there:
            yield f"the {one} is missing."
        elif one not in made:
            yield f"there is a {one}, which no ledger has."
        elif made[one] != there[one]:
            yield f"the {one} is not as this version makes it."
