"""The tables of a ledger in PostgreSQL, and a check that a database has exactly these."""

from collections.abc import Iterable, Iterator
from typing import Any, LiteralString

from sandbox.ledger.schema import unlike

FORMAT = 1  # Of the tables; another version's are refused.
NAMES = ("ledger", "account", "transfer", "entry")  # Of the tables: no row ever changes.
TABLES: LiteralString = """
CREATE TABLE ledger (id TEXT NOT NULL, format INTEGER NOT NULL);
CREATE TABLE account (
    name TEXT COLLATE "C" PRIMARY KEY,
    mode TEXT NOT NULL CHECK (mode IN ('prepaid', 'postpaid')),
    overdraft BIGINT NOT NULL CHECK (overdraft >= 0)
);
CREATE TABLE transfer (
    seq BIGINT PRIMARY KEY,
    id BYTEA NOT NULL UNIQUE CHECK (length(id) = 16),
    kind TEXT NOT NULL CHECK (kind IN
        ('open', 'grant', 'reserve', 'post', 'void', 'expire', 'breakage', 'refund')),
    account TEXT COLLATE "C" NOT NULL,
    amount BIGINT NOT NULL CHECK (amount >= 0),
    facts TEXT NOT NULL,
    parts TEXT NOT NULL,
    lease BYTEA,
    run TEXT COLLATE "C",
    resolves BIGINT,
    corrects BIGINT,
    expires BIGINT,
    at BIGINT NOT NULL,
    link BYTEA NOT NULL CHECK (length(link) = 32)
);
CREATE TABLE entry (
    account TEXT COLLATE "C" NOT NULL,
    pot BIGINT NOT NULL,
    transfer BIGINT NOT NULL,
    posted BIGINT NOT NULL,
    pending BIGINT NOT NULL,
    posted_after BIGINT NOT NULL,
    pending_after BIGINT NOT NULL,
    PRIMARY KEY (account, pot, transfer)
);
CREATE UNIQUE INDEX transfer_resolves ON transfer (resolves) WHERE resolves IS NOT NULL;
CREATE INDEX transfer_lease ON transfer (lease) WHERE kind = 'reserve';
CREATE INDEX transfer_hold ON transfer (account, expires) WHERE kind = 'reserve';
CREATE INDEX transfer_grant ON transfer (account) WHERE kind = 'grant';
CREATE INDEX transfer_run ON transfer (run) WHERE run IS NOT NULL;
CREATE INDEX transfer_corrects ON transfer (corrects) WHERE corrects IS NOT NULL;
CREATE FUNCTION ledger_is_only_added_to() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION 'the ledger is only ever added to'; END$$;
"""
TRIGGER: LiteralString = (
    "CREATE TRIGGER {table}_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
    "FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_only_added_to()"
)
THERE: LiteralString = (  # The numbers of the tables that exist.
    "SELECT to_regclass(name)::oid "
    "FROM unnest(ARRAY['ledger', 'account', 'transfer', 'entry']) name"
)
LISTED: LiteralString = f"""
SELECT 'column', c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod)
    || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END || coalesce(' ' || o.collname, '')
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_collation o ON o.oid = a.attcollation
WHERE c.oid IN ({THERE}) AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL SELECT 'constraint', conname, replace(pg_get_constraintdef(oid), '::text', '')
FROM pg_constraint WHERE conrelid IN ({THERE}) AND contype IN ('c', 'f')
UNION ALL SELECT 'index', c.relname,
    regexp_replace(pg_get_indexdef(c.oid), '^CREATE (.*)INDEX \\S+ ON \\S+', '\\1')
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid IN ({THERE})
UNION ALL SELECT 'trigger', t.tgname, t.tgenabled::text || ' ' || t.tgtype::text || ' ' || p.prosrc
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
WHERE t.tgrelid IN ({THERE}) AND NOT t.tgisinternal
"""
_MADE = """
column account.mode: text NOT NULL default
column account.name: text NOT NULL C
column account.overdraft: bigint NOT NULL
column entry.account: text NOT NULL C
column entry.pending: bigint NOT NULL
column entry.pending_after: bigint NOT NULL
column entry.posted: bigint NOT NULL
column entry.posted_after: bigint NOT NULL
column entry.pot: bigint NOT NULL
column entry.transfer: bigint NOT NULL
column ledger.format: integer NOT NULL
column ledger.id: text NOT NULL default
column transfer.account: text NOT NULL C
column transfer.amount: bigint NOT NULL
column transfer.at: bigint NOT NULL
column transfer.corrects: bigint
column transfer.expires: bigint
column transfer.facts: text NOT NULL default
column transfer.id: bytea NOT NULL
column transfer.kind: text NOT NULL default
column transfer.lease: bytea
column transfer.link: bytea NOT NULL
column transfer.parts: text NOT NULL default
column transfer.resolves: bigint
column transfer.run: text C
column transfer.seq: bigint NOT NULL
constraint account_mode_check: CHECK ((mode = ANY (ARRAY['prepaid', 'postpaid'])))
constraint account_overdraft_check: CHECK ((overdraft >= 0))
constraint transfer_amount_check: CHECK ((amount >= 0))
constraint transfer_id_check: CHECK ((length(id) = 16))
constraint transfer_kind_check: CHECK ((kind = ANY (ARRAY['open', 'grant', 'reserve', 'post', \
'void', 'expire', 'breakage', 'refund'])))
constraint transfer_link_check: CHECK ((length(link) = 32))
index account_pkey: UNIQUE  USING btree (name)
index entry_pkey: UNIQUE  USING btree (account, pot, transfer)
index transfer_corrects:  USING btree (corrects) WHERE (corrects IS NOT NULL)
index transfer_grant:  USING btree (account) WHERE (kind = 'grant'::text)
index transfer_hold:  USING btree (account, expires) WHERE (kind = 'reserve'::text)
index transfer_id_key: UNIQUE  USING btree (id)
index transfer_lease:  USING btree (lease) WHERE (kind = 'reserve'::text)
index transfer_pkey: UNIQUE  USING btree (seq)
index transfer_resolves: UNIQUE  USING btree (resolves) WHERE (resolves IS NOT NULL)
index transfer_run:  USING btree (run) WHERE (run IS NOT NULL)
trigger account_kept: O 58 BEGIN RAISE EXCEPTION 'the ledger is only ever added to'; END
trigger entry_kept: O 58 BEGIN RAISE EXCEPTION 'the ledger is only ever added to'; END
trigger ledger_kept: O 58 BEGIN RAISE EXCEPTION 'the ledger is only ever added to'; END
trigger transfer_kept: O 58 BEGIN RAISE EXCEPTION 'the ledger is only ever added to'; END
"""


def differences(found: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    """Yield how the rows of the query LISTED differ from those of this version."""
    lines = [line.partition(": ") for line in _MADE.strip().splitlines()]
    made = {name: text for name, _, text in lines}
    there = {f"{kind} {name}": str(text) for kind, name, text in found}
    return unlike(made, there)
