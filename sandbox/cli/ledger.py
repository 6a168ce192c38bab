"""The commands of the ledger: open, grant, balance, statement, refund, release, check, export."""

import csv
import json
import re
import sys
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sandbox.cli.options import Json
from sandbox.errors import InvalidInputError

if TYPE_CHECKING:
    from sandbox.ledger import Ledger

ledger_app = typer.Typer(help="Open accounts, grant credits, see what was charged.")

AccountName = Annotated[str, typer.Argument(help="Name of an account, such as lab/alice.")]
NewAccount = Annotated[
    str, typer.Argument(help="Name of an account, such as lab/alice.", show_default=False)
]
Below = Annotated[bool, typer.Option("--below", help="Include the accounts below it.")]
Hex = Annotated[
    str | None,
    typer.Option("--id", help="Id of the transfer, 32 hex digits; the same id counts once."),
]


class Mode(StrEnum):
    """When an account stops paying."""

    prepaid = "prepaid"
    postpaid = "postpaid"


class Format(StrEnum):
    """Format of exported usage."""

    focus = "focus"
    cloudevents = "cloudevents"


@ledger_app.command("open")
def open_(
    account: NewAccount,
    mode: Annotated[
        Mode, typer.Option(help="prepaid stops when its credit is spent; postpaid owes.")
    ],
    overdraft: Annotated[
        str, typer.Option(help="How far below 0 a prepaid account may go [credits].")
    ] = "0",
    as_json: Json = False,
) -> None:
    """Open an account; an account that is open in the same way stays as it is."""
    from sandbox import prices
    from sandbox.ledger import Ledger

    book = Ledger()
    book.open_account(account, mode.value, prices.micro(overdraft))
    _print_balance(book, account, as_json)


@ledger_app.command()
def grant(
    account: NewAccount,
    credits: Annotated[str, typer.Argument(help="Number of credits.", show_default=False)],
    priority: Annotated[int, typer.Option(help="Grants of lower numbers are spent first.")] = 100,
    effective: Annotated[
        str | None, typer.Option(help="Time from which it can be used, ISO 8601.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="Time at which it expires, ISO 8601.")] = None,
    meters: Annotated[
        str | None,
        typer.Option(
            help="Meter units that it pays, separated by commas, such as drawing_us,raw_byte; "
            "`sandbox prices show 2` lists them; default: all."
        ),
    ] = None,
    source: Annotated[str, typer.Option(help="Where the credits come from, in words.")] = "",
    id: Hex = None,
    as_json: Json = False,
) -> None:
    """Grant credits to an account; a new account is opened as prepaid."""
    from sandbox import prices
    from sandbox.ledger import Ledger

    book = Ledger()
    book.grant(
        account,
        prices.micro(credits),
        _id(id),
        priority=priority,
        effective=_time(effective),
        expires=_time(expires),
        meters=meters.split(",") if meters else (),
        source=source,
    )
    _print_balance(book, account, as_json)


@ledger_app.command()
def balance(account: AccountName = "local", below: Below = False, as_json: Json = False) -> None:
    """Print what an account has."""
    from sandbox import prices
    from sandbox.cli import show

    book = _reader()
    if not below:
        _print_balance(book, account, as_json)
        return
    names = {book.account(account).name, *(found.name for found in book.accounts(account))}
    rows = [_facts(book, name) for name in sorted(names)]
    total = {key: sum(row[key] or 0 for row in rows) for key in ("balance_micro", "pending_micro")}
    if as_json:
        print(json.dumps({"account": account, **total, "below": rows}))
        return
    lines = [_money(row) for row in rows]
    sums = {key.removesuffix("_micro"): prices.credits(n) for key, n in total.items()}
    lines.append({"account": "in all", "mode": "", **sums, "available": ""})
    show.table("Accounts [credits]", lines)


@ledger_app.command()
def statement(
    account: AccountName = "local",
    below: Below = False,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    by: Annotated[
        str | None,
        typer.Option(
            help="Print sums instead, by day, run, environment, label or meter.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """List the transfers of an account, oldest first, or sum what it was charged."""
    from sandbox.cli import show
    from sandbox.ledger import statement as statements

    book = _reader()
    if by is None:
        rows = statements.statement(book, account, below=below)
    else:
        rows = statements.sums(book, account, by, below=below)
    if as_json:
        print(json.dumps(rows))
    elif as_csv:
        _print_csv(rows)
    elif by is not None:
        show.table(f"Charges of {account} by {by} [credits]", _sums(rows))
    else:
        show.table(f"Statement of {account} [credits]", _lines(rows, below=below))


@ledger_app.command()
def refund(
    post: Annotated[
        str,
        typer.Argument(help="Id of the charge, or its first 8 digits or more.", show_default=False),
    ],
    credits: Annotated[
        str | None, typer.Argument(help="Number of credits; default: all that is left.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Reason, in words.")] = "",
    id: Hex = None,
    as_json: Json = False,
) -> None:
    """Refund a charge, or a part of it."""
    from sandbox import prices
    from sandbox.cli import show
    from sandbox.ledger import Ledger

    book = Ledger()
    amount = None if credits is None else prices.micro(credits)
    wanted = _post(book, post)
    receipt = book.refund(wanted, amount, _id(id), reason)
    facts = {
        "id": receipt.id.hex(),
        "post": wanted.hex(),
        "refunded_micro": receipt.amount,
        "exists": receipt.exists,
    }
    if as_json:
        print(json.dumps(facts))
    else:
        again = " already; nothing was booked again" if receipt.exists else ""
        show.note(f"{prices.credits(receipt.amount)} credits given back{again}.")


@ledger_app.command()
def release(
    account: Annotated[
        str | None, typer.Argument(help="Account, with those below it; default: all.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also release what living or unknown processes hold."),
    ] = False,
    only_list: Annotated[bool, typer.Option("--list", help="Only list; release nothing.")] = False,
    as_json: Json = False,
) -> None:
    """List what is held and by which process; release what ended processes hold."""
    from sandbox.cli import show
    from sandbox.ledger import Ledger
    from sandbox.ledger import holds as held

    book = _reader() if only_list else Ledger()
    found = held.holds(book, account)
    done = [] if only_list else held.release(book, account, force=force)
    freed = {(one.account, one.lease) for one in done}
    rows: list[dict[str, Any]] = [
        {
            "account": one.account,
            "held_micro": one.amount_micro,
            "since": one.since.isoformat(timespec="seconds"),
            "process": str(one.holder or "unknown"),
            "state": one.state,
            "run": one.run,
            "released": (one.account, one.lease) in freed,
        }
        for one in found
    ]
    if as_json:
        print(json.dumps(rows))
        return
    show.table("Held [credits]", [_held(row) for row in rows])
    if any(not row["released"] for row in rows) and not only_list:
        show.note("The rest is held by processes that may live: --force releases it.")


@ledger_app.command()
def check(as_json: Json = False) -> None:
    """Derive the whole ledger again from its transfers; `verify` then checks only what is new."""
    from sandbox.cli import show
    from sandbox.ledger import checked

    book = _reader()
    faults, _ = checked.check(book, whole=True)
    if as_json:
        print(json.dumps({"ledger": book.where, "faults": faults, "ok": not faults}))
    else:
        for text in faults:
            show.note(f"fault: {text}")
        show.note(f"{'FAILED' if faults else 'Nothing is wrong'}: {book.where}")
    if faults:
        raise typer.Exit(1)


@ledger_app.command("export")
def export_(
    account: Annotated[
        str | None, typer.Argument(help="Account, with those below it; default: all.")
    ] = None,
    format: Annotated[Format, typer.Option(help="FOCUS 1.4 as CSV, or events as NDJSON.")] = (
        Format.focus
    ),
) -> None:
    """Export usage and cost for billing tools: FOCUS or CloudEvents."""
    from sandbox.ledger import export
    from sandbox.ledger import statement as statements

    lines = statements.exported(_reader(), account)
    write = export.focus_csv if format is Format.focus else export.cloudevents_ndjson
    for line in write(lines):
        sys.stdout.write(line if line.endswith("\n") else f"{line}\n")


def _reader() -> "Ledger":
    """Return the ledger to be read: one that is there is not written."""
    from sandbox.ledger import Ledger

    return Ledger(read_only=Ledger().exists())


def _id(text: str | None) -> bytes | None:
    if text is None:
        return None
    if not re.fullmatch("[0-9a-fA-F]{32}", text):
        raise InvalidInputError(f"id {text!r}: give 32 hex digits.")
    return bytes.fromhex(text)


def _post(book: "Ledger", text: str) -> bytes:
    """Return the id of the post that a text begins."""
    names = [a.name for a in book.accounts()]
    posts = [b.move.id for b in book.transfers(names) if b.move.kind == "post"]
    found = [id for id in posts if len(text) >= 8 and id.hex().startswith(text.lower())]
    if len(found) != 1:
        raise InvalidInputError(
            f"{text!r} begins the ids of {len(found)} posts; give more of the id, as `sandbox "
            "ledger statement --json` has it. Nothing was booked."
        )
    return found[0]


def _time(text: str | None) -> float | None:
    from sandbox.ledger.rules import LATEST, LATEST_S

    if text is None:
        return None
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(
            f"time {text!r}: give ISO 8601, such as 2027-01-31 or 2027-01-31T12:00:00Z."
        ) from None
    try:
        seconds = given.astimezone().timestamp()
    except (ValueError, OverflowError, OSError):  # Beyond what a computer's clock shows.
        seconds = -1
    if not 0 <= seconds < LATEST_S:
        raise InvalidInputError(f"time {text!r}: give one from 1970-01-01 to before {LATEST}, UTC.")
    return seconds


def _lines(rows: list[dict[str, Any]], *, below: bool) -> list[dict[str, Any]]:
    """Return a statement as a terminal has room for it; JSON and CSV have all of it."""
    from sandbox import prices

    owing = any(row["overage_micro"] for row in rows)
    shown: list[dict[str, Any]] = []
    for row in rows:
        episode = "" if row["episode"] is None else f"{(row['run'] or '')[:8]}/{row['episode']}"
        line = {
            "time": row["time"][:16].replace("T", " "),
            "account": row["account"],
            "what": row["kind"],
            "credits": prices.credits(row["amount_micro"]),
            "held": prices.credits(row["held_micro"]),
            "overage": prices.credits(row["overage_micro"]),
            "balance": prices.credits(row["balance_micro"]),
            "episode": episode,
            "id": row["id"][:8],
        }
        unseen = {"account": not below, "overage": not owing}
        shown.append({key: text for key, text in line.items() if not unseen.get(key)})
    return shown


def _sums(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return sums as a terminal has room for them, with their total."""
    from sandbox import prices

    if not rows:
        return []
    by = next(iter(rows[0]))
    lines: list[dict[str, Any]] = [
        {**row, "charge_micro": prices.credits(row["charge_micro"])} for row in rows
    ]
    total = prices.credits(sum(row["charge_micro"] for row in rows))
    lines.append({by: "in all", "posts": "", "work": {}, "charge_micro": total})
    return [
        {
            by: line[by][:40],
            "charges": line["posts"],
            "credits": line["charge_micro"],
            "work": ", ".join(f"{unit} {n:,}" for unit, n in sorted(line["work"].items())),
        }
        for line in lines
    ]


def _print_csv(rows: list[dict[str, Any]]) -> None:
    columns = [*rows[0]] if rows else ["time"]
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, "work": json.dumps(row["work"], sort_keys=True)})


def _held(row: dict[str, Any]) -> dict[str, Any]:
    """Return a hold as a terminal has room for it."""
    from sandbox import prices

    return {
        "account": row["account"],
        "credits": prices.credits(row["held_micro"]),
        "since": row["since"][:16].replace("T", " "),
        "process": f"{row['process']}, {row['state']}",
        "run": (row["run"] or "interactive")[:11],
        "released": "yes" if row["released"] else "no",
    }


def _facts(book: "Ledger", account: str) -> dict[str, Any]:
    found = book.balance(account)
    return {
        "account": account,
        "mode": book.account(account).mode,
        "balance_micro": found.posted_micro,
        "pending_micro": found.pending_micro,
        "available_micro": found.available_micro,
    }


def _money(facts: dict[str, Any]) -> dict[str, Any]:
    from sandbox import prices

    money = {k: prices.credits(v) for k, v in facts.items() if isinstance(v, int)}
    shown = {"available_micro": "without limit"} | money
    shown = {key: shown.get(key, value) for key, value in facts.items()}
    return {key.removesuffix("_micro"): value for key, value in shown.items()}


def _print_balance(book: "Ledger", account: str, as_json: bool) -> None:
    from sandbox.cli import show

    facts = _facts(book, account)
    if as_json:
        print(json.dumps(facts))
    else:
        show.table("Account [credits]", [_money(facts)])
