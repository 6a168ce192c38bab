"""Whether a run may begin: whether budget and account can pay what is to come."""

from typing import TYPE_CHECKING

from sandbox import prices
from sandbox.errors import BudgetExhaustedError, InvalidInputError
from sandbox.ledger import Ledger
from sandbox.ledger.transfer import Charges
from sandbox.prices import plus
from sandbox.run import bill
from sandbox.run.bill import Quote
from sandbox.run.settle import recover

if TYPE_CHECKING:
    from sandbox.run.run import Run


def check(run: "Run", quoted: Quote) -> None:
    """Refuse a run that budget or account cannot pay: in full, or (greedy) one episode of it.

    Args:
        run: the run, which may have begun.
        quoted: what its missing episodes cost.

    Raises:
        BudgetExhaustedError: nothing was done.
        LedgerError, RunConflictError: see `recover`, which the folder may need first.
    """
    greedy, budget = run.recipe.admission == "greedy", run.recipe.budget
    if greedy and run.done() and not run.begins_stage:
        return  # It goes on as far as it can, and ends with what it has.
    spent = bill.total(run.folder.kept().usages)[1] if run.folder.exists else 0
    charges, work = least(run, quoted, spent, greedy=greedy)
    cost, fewer = sum(charges.values()), "" if greedy else ", or ask for fewer --episodes"
    fewer = fewer if run.limit is None else ", or ask for fewer --credits"
    if budget is not None and spent + cost > prices.micro(budget):
        raise BudgetExhaustedError(
            f"{work} but the budget is {prices.credits(prices.micro(budget))}. Nothing was done. "
            f"Give a larger --budget{fewer}."
        )
    account = run.recipe.account
    short = run.ledger.shortfall(account, charges)
    if short and run.folder.exists:
        recover(run.path, run.ledger, run.key)  # A killed process may hold the credit.
        short = run.ledger.shortfall(account, charges)
    if short:
        has = run.ledger.balance(account).available_micro or 0
        others = f", of which {prices.credits(cost - short)} can pay for it" if has >= cost else ""
        raise BudgetExhaustedError(
            f"{work} but the account {account!r} has {prices.credits(has)}{others}. Nothing was "
            f"done. Grant credits with `sandbox ledger grant {account} "
            f"{prices.credits(short)}`{fewer}."
        )


def payable(
    work: str,
    spent: int,
    charges: Charges,
    limit: int | None,
    account: str,
    ledger: Ledger,
    fewer: str = "ask for less",
) -> None:
    """Refuse several runs, or other work, that budget or account cannot pay as a whole.

    Args:
        work: what it is and costs, in words.
        spent: what it has cost already [microcredits].
        charges: what the rest costs at most, per meter unit [microcredits].
        limit: the budget [microcredits]; None: there is none.
        account: who pays.
        ledger: where the account is.
        fewer: what would make it cheaper.

    Raises:
        BudgetExhaustedError: nothing was done.
    """
    if limit is not None and spent + sum(charges.values()) > limit:
        raise BudgetExhaustedError(
            f"{work} but the budget is {prices.credits(limit)}. Nothing was done. Give a larger "
            f"--budget, or {fewer}."
        )
    if short := ledger.shortfall(account, charges):
        raise BudgetExhaustedError(
            f"{work} but the account {account!r} lacks {prices.credits(short)} of them. Nothing "
            f"was done. Grant credits with `sandbox ledger grant {account} "
            f"{prices.credits(short)}`, or {fewer}."
        )


def least(run: "Run", quoted: Quote, spent: int, *, greedy: bool) -> tuple[Charges, str]:
    """Return what must be payable [microcredits per meter unit], and what for, in words.

    Args:
        run: the run, which may have begun.
        quoted: what its missing episodes cost.
        spent: what it has cost already [microcredits].
        greedy: whether it begins if one episode can be paid.
    """
    if run.limit is not None:
        return _of_credits(run, quoted, run.limit, spent, greedy=greedy)
    quantities = quoted.episode if greedy and quoted.amount else quoted.quantities
    charges = run.schedule.charges(quantities)
    price = f"{prices.credits(sum(charges.values()))} credits"
    work = "one episode" if greedy else f"{run.stages.episodes - run.done()} episodes"
    work += f" ({bill.in_words(quantities)}) cost{'s' if greedy else ''} "
    return charges, work + (price if quoted.exact else f"up to {price}")


def _of_credits(
    run: "Run", quoted: Quote, limit: int, spent: int, *, greedy: bool
) -> tuple[Charges, str]:
    """Return the same of a run whose recipe says what it may cost [microcredits]."""
    each, rest = run.schedule.charges(quoted.episode), limit - spent
    longest = sum(each.values())
    if not longest:
        raise InvalidInputError(
            f"credits: under the price schedule {run.schedule.version!r} an episode costs nothing, "
            "so that credits do not say how many there are. Nothing was done. Give --episodes."
        )
    if greedy and longest <= rest:
        return each, f"one episode costs up to {prices.credits(longest)} credits"
    charges = plus({}, each, rest // max(1, longest))
    dearest = max(each, key=lambda unit: each[unit])  # What is left is for shorter episodes.
    charges = plus(charges, {dearest: rest - sum(charges.values())})
    return charges, f"the recipe asks for {prices.credits(rest)} credits of episodes"
