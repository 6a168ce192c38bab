"""The commands over the book: grant, balance, statement."""

import json
from typing import Annotated, Any

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
    rows: list[dict[str, Any]] = []
    for line in Ledger().statement(account):
        rows.append(line)
    print(json.dumps(rows)) if as_json else show.table(f"Statement of {account}", rows)


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
        show.table(
            "Account [credits]",
            [{**{k.removesuffix("_micro"): v for k, v in (facts | money).items()}}],
        )
