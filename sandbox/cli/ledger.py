"""The commands over the book: grant, balance, statement."""

import json
from typing import Annotated

import typer

from sandbox import prices
from sandbox.cli import show
from sandbox.ledger import Ledger

ledger_app = typer.Typer(help="Accounts, grants and what was charged.", no_args_is_help=True)

AccountName = Annotated[str, typer.Argument(help="An account.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


@ledger_app.command()
def grant(
    account: AccountName,
    credits: Annotated[str, typer.Argument(help="How many credits.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Give credits to an account; a new one is opened as prepaid."""
    book = Ledger()
    book.grant(account, prices.micro(credits))
    _print_balance(book, account, as_json)


@ledger_app.command()
def balance(
    account: Annotated[str, typer.Argument(help="An account.")] = "local", as_json: Json = False
) -> None:
    """Say what an account has."""
    _print_balance(Ledger(), account, as_json)


@ledger_app.command()
def statement(
    account: Annotated[str, typer.Argument(help="An account.")] = "local", as_json: Json = False
) -> None:
    """List what moved on an account, oldest first."""
    rows = Ledger().statement(account)
    if as_json:
        print(json.dumps(rows))
        return
    shown = [
        {
            "time": row["time"][:19],
            "what": row["kind"],
            "credits": prices.credits(row["amount_micro"]),
            "held": prices.credits(row["held_micro"]),
            "balance": prices.credits(row["balance_micro"]),
            "id": row["id"][:8],
        }
        for row in rows
    ]
    show.table(f"Statement of {account} [credits]", shown)


def _print_balance(book: Ledger, account: str, as_json: bool) -> None:
    found = book.balance(account)
    facts = {
        "account": account,
        "mode": book.account(account).mode,
        "balance_micro": found.posted_micro,
        "pending_micro": found.pending_micro,
        "available_micro": found.available_micro,
    }
    if as_json:
        print(json.dumps(facts))
    else:
        money = {k: prices.credits(v) for k, v in facts.items() if isinstance(v, int)}
        money = {"available_micro": "without limit"} | money
        show.table(
            "Account [credits]",
            [{key.removesuffix("_micro"): value for key, value in (facts | money).items()}],
        )
