"""Account statements: the transfers of an account, with its balance after each."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sandbox.ledger.book import Ledger
from sandbox.ledger.burn import OVERAGE
from sandbox.ledger.export import Line
from sandbox.ledger.transfer import Booked, legs


def statement(ledger: Ledger, account: str, *, below: bool = False) -> list[dict[str, Any]]:
    """Return the transfers of an account as lines, oldest first; with `below`, of those below too.

    Amounts are in microcredits. `amount_micro` is the change of the balance, `held_micro` the
    change of what is held, and `overage_micro` the part of a post that no grant paid.

    Raises:
        UnknownNameError: the account is not open.
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
    """Yield the posts, refunds, grants and breakage of accounts, oldest first.

    Args:
        ledger: the ledger.
        account: the account, with those below it; None means all accounts.
    """
    if account is not None:
        ledger.account(account)
    for booked in ledger.transfers([a.name for a in ledger.accounts(account)]):
        move = booked.move
        if move.kind in ("post", "refund", "grant", "breakage"):
            yield Line(
                id=move.id.hex(),
                at=_time(booked),
                account=move.account,
                kind=move.kind,
                amount_micro=move.amount,
                quantities=move.facts.get("quantities", {}),
                price_version=move.facts.get("price_version"),
                run=move.run,
                episode=move.facts.get("episode"),
                parent=move.facts.get("parent"),
                corrects=move.facts.get("post"),
            )


def _line(booked: Booked) -> dict[str, Any]:
    """Return a transfer as a line of its account's statement."""
    move = booked.move
    mine = [
        leg
        for leg in legs(move.kind, move.account, move.amount, move.parts)
        if leg[0] == move.account
    ]
    over = -sum(posted for _, pot, posted, _ in mine if pot == OVERAGE and move.kind == "post")
    return {
        "time": _time(booked).isoformat(timespec="seconds"),
        "account": move.account,
        "kind": move.kind,
        "amount_micro": sum(posted for _, _, posted, _ in mine),
        "held_micro": sum(pending for *_, pending in mine),
        "overage_micro": over,
        "work": move.facts.get("quantities", {}),
        "price_version": move.facts.get("price_version"),
        "run": move.run,
        "episode": move.facts.get("episode"),
        "id": move.id.hex(),
        "evidence": move.facts.get("evidence"),
        "corrects": move.facts.get("post"),
    }


def _time(booked: Booked) -> datetime:
    return datetime.fromtimestamp(booked.at / 1000, UTC)
