"""Posts: charge each episode once, first from the credit that is held for it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sandbox.errors import BudgetExhaustedError, InvalidInputError, LedgerError
from sandbox.ledger import burn, rules
from sandbox.ledger.account import ABOUT, Account, Usage
from sandbox.ledger.burn import OVERAGE
from sandbox.ledger.pages import Pages
from sandbox.ledger.transfer import (
    LARGEST,
    Booked,
    Charges,
    Move,
    Parts,
    check_amount,
    checked_id,
)
from sandbox.meter import Receipt
from sandbox.prices import credits


@dataclass(frozen=True, slots=True)
class PricedUsage:
    """The work of an episode with its price.

    Attributes:
        usage: the work.
        charges: microcredits per meter unit.
        amount: the sum of `charges` [microcredits].
    """

    usage: Usage
    charges: Charges
    amount: int


def priced(usage: Usage) -> PricedUsage:
    """Return an episode's work with its price; InvalidInputError if it cannot be booked."""
    checked_id(usage.id)
    rules.checked_text("evidence", usage.evidence)
    for what, text in (("run", usage.run), ("parent", usage.parent)):
        if text is not None:
            rules.checked_text(what, text)
    if usage.episode is not None:
        rules.whole("episode", usage.episode)
    charges = usage.charges()
    amount = sum(charges.values())
    check_amount("a charge", amount)
    if (
        charges and max(usage.quantities.values()) > LARGEST
    ):  # The amount does not bound work that is free.
        raise InvalidInputError(f"{max(usage.quantities.values())} is too much work to be written.")
    return PricedUsage(usage, charges, amount)


class Purse:
    """The credit with which an account pays, in one transaction.

    Args:
        pages: the pages of the transaction.
        payer: the account.
        holds: reservations for these posts; they are released.
        now: the ledger's time [ms since 1970].

    Attributes:
        aside: the released parts that are not used yet.
    """

    def __init__(self, pages: Pages, payer: Account, holds: Sequence[Booked], now: int) -> None:
        self._pages, self._payer, self._holds, self._now = pages, payer, holds, now
        self.aside: Parts = rules.release(pages, holds, now)
        self._look()

    def _look(self) -> None:
        """Look up the credit that is free now."""
        self._lots = rules.lots(self._pages, self._payer.name, self._now)
        self._room = rules.overdraft(self._pages, self._payer)

    def post(self, usages: Sequence[PricedUsage]) -> list[Receipt]:
        """Post the work of episodes, each once; raises as `Ledger.post` does."""
        known = self._pages.known([one.usage.id for one in usages])
        receipts: list[Receipt] = []
        for one in usages:
            id = one.usage.id
            exists = id in known and rules.exists(self._pages, self._move(one, {}))
            if not exists:
                self._check_version(one.usage)
                self._pages.add(self._move(one, self._pay(one)), self._now)
                known.add(id)
            receipts.append(Receipt(id, one.amount, exists))
        return receipts

    def hold_on(self) -> None:
        """Reserve again what is left of the released parts, for the same length of time."""
        rest = burn.within(self.aside, self._lots, self._room or 0)
        if rest:
            first = self._holds[0]
            rules.hold(
                self._pages,
                account=self._payer.name,
                lease=first.move.lease or b"",
                parts=rest,
                now=self._now,
                lasts=(first.move.expires or 0) - first.at,
                facts=first.move.facts,
                run=first.move.run,
            )

    def _pay(self, one: PricedUsage) -> Parts:
        """Take the price of an episode from the account; return the parts that pay."""
        parts, missing = burn.covered(one.charges, self._lots, self._room, self.aside)
        if missing and rules.bury(self._pages, self._payer.name, self._now):
            self._look()
            parts, missing = burn.covered(one.charges, self._lots, self._room, self.aside)
        if missing:
            name = self._payer.name
            raise BudgetExhaustedError(
                f"an episode cost {credits(one.amount)} credits but the account {name!r} lacks "
                f"{credits(missing)} of them. Nothing was charged. Grant credits with "
                f"`sandbox ledger grant {name} CREDITS`."
            )
        self._lots = burn.spent(self._lots, parts)
        if self.aside:
            self.aside = burn.less(self.aside, parts)
        if self._room is not None:
            self._room -= sum(amount for (_, pot), amount in parts.items() if pot == OVERAGE)
        return parts

    def _move(self, one: PricedUsage, parts: Parts) -> Move:
        """Return the transfer that posts an episode."""
        usage = one.usage
        facts = {
            "evidence": usage.evidence,
            "quantities": {u: n for u, n in usage.quantities.items() if n},
            "price_version": usage.price_version,
            "episode": usage.episode,
            "parent": usage.parent,
            **{name: said for name in ABOUT if (said := usage.about.get(name)) is not None},
        }
        return Move(
            id=usage.id,
            kind="post",
            account=self._payer.name,
            amount=one.amount,
            facts=facts,
            parts=parts,
            run=usage.run,
        )

    def _check_version(self, usage: Usage) -> None:
        """Refuse another price schedule than the one under which credit was reserved."""
        for hold in self._holds:
            fixed = hold.move.facts["price_version"]
            if fixed != usage.price_version:
                raise LedgerError(
                    f"credit was reserved under price schedule {fixed!r}, not "
                    f"{usage.price_version!r}. Nothing was booked."
                )
