"""The book derived again from nothing, and whatever in it disagrees."""

from collections.abc import Iterator

from sandbox.ledger.store import Sql
from sandbox.ledger.transfer import effect

_ENTRIES = """
SELECT seq, account, posted, pending, posted_after, pending_after, kind, debit, credit, amount
FROM entry JOIN transfer ON seq = transfer ORDER BY seq
"""
_NOT_TWO = """
SELECT seq, count(entry.transfer) AS many FROM transfer LEFT JOIN entry ON seq = entry.transfer
GROUP BY seq HAVING many <> 2
"""
_WRONGLY_RESOLVED = """
SELECT r.seq, h.seq FROM transfer AS r JOIN transfer AS h ON h.seq = r.resolves
WHERE r.kind NOT IN ('void', 'expire') OR h.kind <> 'reserve' OR r.amount <> h.amount
    OR r.debit <> h.debit OR r.credit <> h.credit OR r.episode IS NOT h.episode
UNION ALL
SELECT seq, NULL FROM transfer WHERE kind IN ('void', 'expire') AND resolves IS NULL
UNION ALL
SELECT max(seq), resolves FROM transfer WHERE resolves IS NOT NULL
GROUP BY resolves HAVING count(*) > 1
"""


def faults(sql: Sql) -> list[str]:
    """Return a sentence for whatever disagrees; [] if nothing."""
    found = [*_unbalanced(sql)]
    for seq, many in sql(_NOT_TWO):
        found.append(f"transfer {seq}: it has {many} entries, not two.")
    for seq, hold in sql(_WRONGLY_RESOLVED):
        found.append(f"transfer {seq}: it does not give back the hold {hold}, once and whole.")
    return found


def _unbalanced(sql: Sql) -> Iterator[str]:
    """Add every account up, entry by entry."""
    modes = dict(sql("SELECT name, mode FROM account"))
    sums: dict[str, tuple[int, int]] = {}
    for seq, account, posted, pending, posted_after, pending_after, *move in sql(_ENTRIES):
        before = sums.get(account, (0, 0))
        after = sums[account] = (before[0] + posted, before[1] + pending)
        if after != (posted_after, pending_after):
            yield f"transfer {seq}: the balance of {account!r} is {after}."
        if (posted, pending) != effect(account, *move):
            yield f"transfer {seq}: its entry on {account!r} is not its amount."
        if modes.get(account) == "prepaid" and after[0] - after[1] < 0:
            yield f"transfer {seq}: {account!r} is overdrawn."
        if modes.get(account) != "system" and after[1] < 0:
            yield f"transfer {seq}: {account!r} holds less than nothing."
    if any(sum(side) for side in zip(*sums.values(), strict=True)):
        yield "the entries do not add up to 0."
