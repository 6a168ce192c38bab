"""Account statements: the transfers of an account, with its balance after each."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from sandbox.errors import UnknownNameError
from sandbox.ledger.book import Ledger
from sandbox.ledger.burn import OVERAGE
from sandbox.ledger.export import Line
from sandbox.ledger.transfer import Booked, legs
from sandbox.prices import plus


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


BY = ("day", "run", "environment", "label", "meter")


def sums(ledger: Ledger, account: str, by: str, *, below: bool = False) -> list[dict[str, Any]]:
    """Return what an account was charged, less refunds, summed by one of BY.

    Each line has a key called `by`, the number of posts, the work per meter unit, and the charge
    less refunds [microcredits]. A refund counts where its charge does; by day, on its own day; by
    meter, in a line of its own, `(refunds)`. What a charge does not say is summed as `-`.

    Raises:
        UnknownNameError: the account is not open, or there is no such sum.
    """
    if by not in BY:
        raise UnknownNameError("sum", by, BY)
    ledger.account(account)
    names = [a.name for a in ledger.accounts(account)] if below else [account]
    found: dict[str, dict[str, Any]] = {}
    posts: dict[int, Booked] = {}
    for booked in ledger.transfers(names):
        move = booked.move
        if move.kind == "post":
            posts[booked.seq] = booked
        elif move.kind != "refund":
            continue
        charged = booked if by == "day" else posts.get(move.corrects or 0, booked)
        for key, amount, work in _shares(booked, charged, by):
            line = found.setdefault(key, {by: key, "posts": 0, "work": {}, "charge_micro": 0})
            line["posts"] += move.kind == "post"
            line["work"] = plus(line["work"], work)
            line["charge_micro"] += amount
    return [found[key] for key in sorted(found)]


def _shares(
    booked: Booked, charged: Booked, by: str
) -> Iterator[tuple[str, int, Mapping[str, int]]]:
    """Yield to which sums a post or refund counts: key, microcredits, work.

    Args:
        booked: the post or refund.
        charged: the post that it is, or refunds.
        by: one of BY.
    """
    move, is_post = booked.move, booked.move.kind == "post"
    work: Mapping[str, int] = move.facts["quantities"] if is_post else {}
    if by == "meter":
        if not is_post:
            yield "(refunds)", -move.amount, {}
            return
        paid: dict[str, int] = dict.fromkeys(work, 0)
        for (unit, _), amount in move.parts.items():
            paid[unit] += amount
        yield from ((unit, amount, {unit: work[unit]}) for unit, amount in paid.items())
        return
    facts = charged.move.facts
    keys = {"day": _time(booked).date().isoformat(), "run": charged.move.run}
    key = keys[by] if by in keys else facts.get(by)
    yield "-" if key is None else str(key), move.amount if is_post else -move.amount, work


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
        "environment": move.facts.get("environment"),
        "scenario": move.facts.get("scenario"),
        "label": move.facts.get("label"),
        "evidence": move.facts.get("evidence"),
        "corrects": move.facts.get("post"),
    }


def _time(booked: Booked) -> datetime:
    return datetime.fromtimestamp(booked.at / 1000, UTC)
