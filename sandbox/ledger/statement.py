"""What moved on an account, line by line, with its balance after each."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sandbox.ledger.book import Ledger
from sandbox.ledger.burn import OVERAGE
from sandbox.ledger.export import Line
from sandbox.ledger.transfer import Booked, legs


def statement(ledger: Ledger, account: str, *, below: bool = False) -> list[dict[str, Any]]:
    """Return what moved on an account, or on it and those below it, oldest first.

    Amounts are in microcredits: `amount_micro` is what it did to the balance, `held_micro` to what
    is held back, `overage_micro` how much of it came from beyond all grants.

    Raises:
        UnknownNameError: no such account.
    """
    ledger.account(account)
    names = [a.name for a in ledger.accounts(account)] if below else [account]
    lines: list[dict[str, Any]] = []
    balance = pending = 0
    for booked in ledger.transfers(names):
        line = _line(booked)
        balance += line["amount_micro"]
        pending += line["held_micro"]
        lines.append({**line, "balance_micro": balance, "pending_micro": pending})
    return lines


def exported(ledger: Ledger, account: str | None = None) -> Iterator[Line]:
    """Yield what bills are made of: posts, refunds, grants and breakage, oldest first.

    Args:
        ledger: the book.
        account: of it and those below it; None is all.
    """
    if account is not None:
        ledger.account(account)
    for booked in ledger.transfers([a.name for a in ledger.accounts(account)]):
        it = booked.move
        if it.kind in ("post", "refund", "grant", "breakage"):
            yield Line(
                id=it.id.hex(),
                at=_time(booked),
                account=it.account,
                kind=it.kind,
                amount_micro=it.amount,
                quantities=it.facts.get("quantities", {}),
                price_version=it.facts.get("price_version"),
                run=it.run,
                episode=it.facts.get("episode"),
                parent=it.facts.get("parent"),
                corrects=it.facts.get("post"),
            )


def _line(booked: Booked) -> dict[str, Any]:
    it = booked.move
    mine = [leg for leg in legs(it.kind, it.account, it.amount, it.parts) if leg[0] == it.account]
    over = -sum(posted for _, pot, posted, _ in mine if pot == OVERAGE and it.kind == "post")
    return {
        "time": _time(booked).isoformat(timespec="seconds"),
        "account": it.account,
        "kind": it.kind,
        "amount_micro": sum(posted for _, _, posted, _ in mine),
        "held_micro": sum(pending for *_, pending in mine),
        "overage_micro": over,
        "work": it.facts.get("quantities", {}),
        "price_version": it.facts.get("price_version"),
        "run": it.run,
        "episode": it.facts.get("episode"),
        "id": it.id.hex(),
        "evidence": it.facts.get("evidence"),
        "corrects": it.facts.get("post"),
    }


def _time(booked: Booked) -> datetime:
    return datetime.fromtimestamp(booked.at / 1000, UTC)
