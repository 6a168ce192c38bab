"""Posts: what episodes cost, each charged once, first from what is held for it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sandbox.errors import BudgetExhaustedError, InvalidInputError, LedgerError
from sandbox.ledger import burn, rules
from sandbox.ledger.account import Account, Usage
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
    """What an episode costs.

    Attributes:
        usage: its work.
        charges: microcredits per meter unit.
        amount: microcredits in all.
    """

    usage: Usage
    charges: Charges
    amount: int


def priced(usage: Usage) -> PricedUsage:
    """Return what an episode costs; InvalidInputError if it cannot be written."""
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
    if charges and max(usage.quantities.values()) > LARGEST:  # Of what costs nothing.
        raise InvalidInputError(f"{max(usage.quantities.values())} is too much work to be written.")
    return PricedUsage(usage, charges, amount)


class Purse:
    """What an account can pay with, in one transaction.

    Attributes:
        aside: what was held for these posts and is not used yet.
    """

    def __init__(self, pages: Pages, payer: Account, holds: Sequence[Booked], now: int) -> None:
        self._pages, self._payer, self._holds, self._now = pages, payer, holds, now
        self.aside: Parts = rules.release(pages, holds, now)
        self._lots, self._room = rules.lots(pages, payer.name, now), rules.overdraft(pages, payer)

    def post(self, usages: Sequence[PricedUsage]) -> list[Receipt]:
        """Post what episodes cost, each once; raises as `Ledger.post` does."""
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
        """Hold what is left of what was held, for as long as it was."""
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
        """Take what an episode costs; return from where."""
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
        usage = one.usage
        facts = {
            "evidence": usage.evidence,
            "quantities": {u: n for u, n in usage.quantities.items() if n},
            "price_version": usage.price_version,
            "episode": usage.episode,
            "parent": usage.parent,
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
        """Refuse a price schedule other than the one that was fixed when credit was reserved."""
        for hold in self._holds:
            fixed = hold.move.facts["price_version"]
            if fixed != usage.price_version:
                raise LedgerError(
                    f"credit was reserved under price schedule {fixed!r}, not "
                    f"{usage.price_version!r}. Nothing was booked."
                )
