"""The book against plain integers: whatever is done to it in whatever order."""

import os
import pickle
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sandbox.errors import BudgetExhaustedError, LedgerError
from sandbox.ledger import Ledger, Usage
from sandbox.ledger.proof import replayed
from sandbox.ledger.rules import HOLD_S

UNITS = ["raw_byte", "pixel"]
RATES = {"raw_byte": 1, "pixel": 50}
OVERDRAFT = 40


@dataclass
class Pot:
    """A grant, or (the last one) credit without conditions, which may go below 0."""

    left: int = 0
    held: int = 0
    priority: int = 10**6
    expires: float = float("inf")
    pixels_only: bool = False
    number: int = 0


@dataclass
class Hold:
    """Credit set aside for one meter unit."""

    unit: str
    ends: float
    parts: list[tuple[Pot, int]] = field(default_factory=list)


@dataclass
class Model:
    """An account in plain integers."""

    overdraft: float
    pots: list[Pot] = field(default_factory=lambda: [Pot(number=-1)])
    holds: dict[int, list[Hold]] = field(default_factory=dict)

    def payers(self, unit: str) -> Iterator[tuple[Pot, float]]:
        """Every pot that may pay for a unit, in burn order, and what it has."""
        for pot in sorted(self.pots, key=lambda p: (p.number < 0, p.priority, p.expires, p.number)):
            if unit == "pixel" or not pot.pixels_only:
                extra = self.overdraft if pot.number < 0 else 0
                yield pot, pot.left - pot.held + extra

    def sweep(self, now: float) -> None:
        for lease, holds in self.holds.items():
            for hold in [h for h in holds if h.ends <= now]:
                self.release(hold)
            self.holds[lease] = [h for h in holds if h.ends > now]
        for pot in self.pots:
            if pot.expires <= now:
                pot.left = pot.held  # Breakage.

    def release(self, hold: Hold) -> None:
        for pot, amount in hold.parts:
            pot.held -= amount

    def take(
        self, unit: str, amount: int, now: float, aside: list[Hold]
    ) -> list[tuple[Pot, int]] | None:
        """Return which pots pay, what was set aside first; None if they have not as much."""
        taken: list[tuple[Pot, int]] = []
        free = {id(pot): has for pot, has in self.payers(unit)}
        kept = [part for hold in aside if hold.unit == unit for part in hold.parts]
        usable = [(pot, has) for pot, has in self.payers(unit) if pot.expires > now]
        for pot, most in [*sorted(kept, key=lambda p: p[0].number), *usable]:
            used = sum(n for p, n in taken if p is pot)
            part = int(min(amount, most, free[id(pot)] - used))
            if part > 0:
                taken.append((pot, part))
                amount -= part
        return None if amount else taken

    @property
    def posted(self) -> int:
        return sum(pot.left for pot in self.pots)

    @property
    def held(self) -> int:
        return sum(pot.held for pot in self.pots)


class BookMachine(RuleBasedStateMachine):
    """A prepaid account with an overdraft and a postpaid one."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = 1000
        self.book = self.opened()
        self.book.open_account("lab", "prepaid", OVERDRAFT)
        self.book.account("local")
        self.models = {"lab": Model(OVERDRAFT), "local": Model(float("inf"))}
        self.posts: dict[int, tuple[str, str, int, list[tuple[Pot, int]]]] = {}
        self.refunds: dict[int, int] = {}
        self.grants = 0

    def opened(self) -> Ledger:
        return Ledger(Path(self.folder.name) / "ledger.db", clock=lambda: self.now)

    def teardown(self) -> None:
        self.book.close()
        self.folder.cleanup()

    @rule(
        account=st.sampled_from(["lab", "local"]),
        amount=st.integers(1, 300),
        priority=st.integers(0, 2),
        lasts=st.sampled_from([None, 5, HOLD_S]),
        pixels_only=st.booleans(),
    )
    def grant(
        self, account: str, amount: int, priority: int, lasts: int | None, pixels_only: bool
    ) -> None:
        self.grants += 1
        expires = None if lasts is None else self.now + lasts
        for again in (False, True):
            receipt = self.book.grant(
                *(account, amount, self.grants.to_bytes(16, "big")),
                priority=priority,
                expires=expires,
                meters=["pixel"] if pixels_only else [],
            )
            assert receipt.exists == again
        ends = float("inf") if expires is None else expires
        self.models[account].pots.append(
            Pot(amount, 0, priority, ends, pixels_only, number=self.grants)
        )

    @rule(
        lease=st.integers(0, 2),
        unit=st.sampled_from(UNITS),
        least=st.integers(0, 4),
        more=st.integers(0, 60),
    )
    def reserve(self, lease: int, unit: str, least: int, more: int) -> None:
        model, rate = self.models["lab"], RATES[unit]
        model.sweep(self.now)
        held = self.book.reserve(
            *("lab", bytes([lease]) * 16, {unit: least * rate}, {unit: rate}, more),
            price_version="1",
        )
        fits = [
            n
            for n in range(more + 1)
            if model.take(unit, (least + n) * rate, self.now, []) is not None
        ]
        assert held == (max(fits) if fits else -1)
        if held >= 0:
            parts = model.take(unit, (least + held) * rate, self.now, [])
            assert parts is not None
            for pot, amount in parts:
                pot.held += amount
            model.holds.setdefault(lease, []).append(Hold(unit, self.now + HOLD_S, parts))

    @rule(
        account=st.sampled_from(["lab", "local"]),
        number=st.integers(0, 6),
        unit=st.sampled_from(UNITS),
        count=st.integers(0, 80),
        lease=st.none() | st.integers(0, 2),
    )
    def post(self, account: str, number: int, unit: str, count: int, lease: int | None) -> None:
        model, amount = self.models[account], RATES[unit] * count
        usage = Usage(bytes([99, number] * 8), {unit: count}, "1", "e" * 64)
        name = None if lease is None or account == "local" else bytes([lease]) * 16
        known = self.posts.get(number)
        model.sweep(self.now)
        if known is not None and known[:3] != (account, unit if count else known[1], amount):
            with pytest.raises(LedgerError, match="something else"):
                self.book.post(account, [usage], name)
            return
        aside = model.holds.get(lease, []) if name is not None and lease is not None else []
        for hold in aside:
            model.release(hold)
        parts = [] if known else model.take(unit, amount, self.now, aside)
        if parts is None:
            for pot, held in [part for hold in aside for part in hold.parts]:
                pot.held += held
            with pytest.raises(BudgetExhaustedError, match="Nothing was charged"):
                self.book.post(account, [usage], name)
            return
        (receipt,) = self.book.post(account, [usage], name)
        assert receipt.exists == (known is not None)
        if name is not None and lease is not None:
            model.holds.pop(lease, None)
        if known is None:
            for pot, part in parts:
                pot.left -= part
            self.posts[number] = (account, unit, amount, parts)

    @rule(number=st.integers(0, 6), lease=st.integers(0, 2))
    def a_batch_with_a_bad_post_changes_nothing(self, number: int, lease: int) -> None:
        before = self.book.transfers()
        good = Usage(b"good".ljust(16), {"raw_byte": 0}, "1", "e" * 64)
        bad = Usage(b"\x07".ljust(16), {"raw_byte": 10**9}, "1", "e" * 64)
        self.models["lab"].sweep(self.now)
        self.book.balance("lab")
        before = self.book.transfers()
        with pytest.raises(BudgetExhaustedError):
            self.book.post("lab", [good, bad], bytes([lease]) * 16)
        assert self.book.transfers() == before

    @rule(number=st.integers(0, 6), amount=st.none() | st.integers(1, 200))
    def refund(self, number: int, amount: int | None) -> None:
        id = bytes([99, number] * 8)
        account, _, whole, parts = self.posts.get(number, ("lab", "", 0, []))
        model, done = self.models[account], self.refunds.get(number, 0)
        wanted = whole - done if amount is None else amount
        key = f"{number} {amount} {done}".encode().ljust(16)[:16]
        if number not in self.posts or not 0 < wanted <= whole - done:
            with pytest.raises(LedgerError, match="Nothing was booked"):
                self.book.refund(id, amount, key)
            return
        for again in (False, True):
            assert self.book.refund(id, amount, key).exists == again
        self.refunds[number] = done + wanted
        order = sorted(parts, key=lambda p: (p[0].number >= 0, -p[0].number))
        for pot, part in order:
            skipped = min(part, done)
            given = min(part - skipped, wanted)
            done, wanted = done - skipped, wanted - given
            target = pot if pot.expires > self.now else model.pots[0]
            target.left += given

    @rule(lease=st.integers(0, 2))
    def void(self, lease: int) -> None:
        for _ in range(2):
            self.book.void("lab", bytes([lease]) * 16)
        for hold in self.models["lab"].holds.pop(lease, []):
            self.models["lab"].release(hold)

    @rule(lease=st.integers(0, 2))
    def another_price_than_was_reserved_is_refused(self, lease: int) -> None:
        self.models["lab"].sweep(self.now)
        if self.book.reserve("lab", b"p" * 16, {"raw_byte": 1}, price_version="0") == 0:
            usage = Usage(b"q" * 16, {"raw_byte": 1}, "1", "e" * 64)
            with pytest.raises(LedgerError, match="under price schedule '0'"):
                self.book.post("lab", [usage], b"p" * 16)
            self.book.void("lab", b"p" * 16)

    @rule(seconds=st.sampled_from([1, 6, HOLD_S // 2, HOLD_S]))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def crash(self) -> None:
        self.book = pickle.loads(pickle.dumps(Ledger(self.book.path)))
        self.book = self.opened()

    @invariant()
    def the_book_says_the_same(self) -> None:
        for account, model in self.models.items():
            model.sweep(self.now)
            found = self.book.balance(account)
            assert (found.posted_micro, found.pending_micro) == (model.posted, model.held)
            if account == "lab":
                free = sum(p.left - p.held for p in model.pots if p.number >= 0)
                over = OVERDRAFT + model.pots[0].left - model.pots[0].held
                assert found.available_micro == free + over
                assert over >= 0
        assert self.book.check() == []
        with self.book._store.transaction() as pages:
            for (account, pot), amounts in replayed(pages).items():
                assert pages.pot(account, pot) == amounts


TestBookMachine = BookMachine.TestCase
TestBookMachine.settings = settings(
    max_examples=2000 if "SANDBOX_SOAK" in os.environ else 40,
    stateful_step_count=25,
    deadline=None,
)
