"""The book against plain integers: whatever is done to it in whatever order."""

import os
import pickle
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, combinations
from pathlib import Path
from unittest import mock

import postgres
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sandbox import prices
from sandbox.errors import BudgetExhaustedError, InvalidInputError, LedgerError, SandboxError
from sandbox.ledger import Ledger, Usage
from sandbox.ledger.pages import Pages
from sandbox.ledger.proof import replayed
from sandbox.ledger.rules import HOLD_S
from sandbox.ledger.transfer import Move

UNITS = ("raw_byte", "pixel", "physics_step")
OLD = prices.load("1")
RATES = {"raw_byte": 1, "pixel": 5, "physics_step": 3, "reset": 1}
SCHEDULES = tuple(
    prices.PriceSchedule(str(n), OLD.effective_from, {u: n * rate for u, rate in RATES.items()})
    for n in (1, 2)
)
OVERDRAFTS = {"lab": 12.0, "bob": 0.0, "local": float("inf")}
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # Is quicker than a disk.
Parts = Mapping[tuple[str, int], int]  # As the book has them: (unit, number of the pot).


@dataclass
class Pot:
    """A grant, or (number 0) credit without conditions, which may go below 0."""

    left: int = 0
    held: int = 0
    priority: int = 0
    begins: float = 0
    expires: float = float("inf")
    units: tuple[str, ...] = ()

    def pays(self, unit: str) -> bool:
        return not self.units or unit in self.units


@dataclass
class Hold:
    """Credit set aside under a lease."""

    lease: int
    version: str
    ends: int
    lasts: int
    parts: Parts


@dataclass
class Source:
    """What can pay for some units, and up to how much."""

    pot: int
    units: tuple[str, ...]
    most: float


@dataclass
class Model:
    """An account in plain integers."""

    overdraft: float
    pots: dict[int, Pot] = field(default_factory=lambda: {0: Pot()})
    holds: list[Hold] = field(default_factory=list)

    def sweep(self, now: int) -> None:
        for hold in [hold for hold in self.holds if hold.ends <= now]:
            self.release(hold)
        for pot in self.pots.values():
            if pot.expires <= now:
                pot.left = pot.held  # Breakage.

    def release(self, hold: Hold) -> None:
        self.holds.remove(hold)
        for (_, pot), amount in hold.parts.items():
            self.pots[pot].held -= amount

    def hold(self, hold: Hold) -> None:
        self.holds.append(hold)
        for (_, pot), amount in hold.parts.items():
            self.pots[pot].held += amount

    def free(self, now: int) -> dict[int, float]:
        """What each pot that can be used has left, in burn order, pot 0 last."""
        usable = {n: p for n, p in self.pots.items() if n and p.begins <= now < p.expires}
        order = sorted(usable, key=lambda n: (usable[n].priority, usable[n].expires, n))
        found: dict[int, float] = {n: usable[n].left - usable[n].held for n in order}
        return {**found, 0: self.overdraft + self.pots[0].left - self.pots[0].held}

    def shares(self, charges: Mapping[str, int], now: int, aside: Parts) -> dict[int, float] | None:
        """What each pot pays: what is set aside, unit by unit, then in burn order; None: too poor.

        Every source in turn adds as much as the smallest cut lets it.
        """
        free, due = self.free(now), dict(charges)
        sources = {(n,): Source(n, self.pots[n].units, 0.0) for n in free}
        limits = {(n,): most for n, most in free.items()}
        for (unit, pot), amount in sorted(aside.items()):
            mine = (pot,) if pot in free else (pot, unit)
            source = sources.setdefault(mine, Source(pot, (unit,), 0.0))
            limits.setdefault(mine, amount)
            taken = min(due.get(unit, 0), amount, max(0, limits[mine] - source.most))
            source.most += taken
            due[unit] = due.get(unit, 0) - taken
        paid = {key: source.most for key, source in sources.items()}
        for key in sorted(limits, key=lambda key: len(key) == 1):  # Ended grants first.
            before = flow(charges, sources.values())
            sources[key].most = max(sources[key].most, limits[key])
            paid[key] += flow(charges, sources.values()) - before
        if sum(paid.values()) < sum(charges.values()):
            return None
        return {n: sum(most for key, most in paid.items() if key[0] == n) for n in self.pots}


def flow(charges: Mapping[str, int], sources: Iterable[Source]) -> float:
    """The most that sources can pay: the smallest cut, over all sets of units that are cut off."""
    units, sources = [unit for unit in charges if charges[unit]], list(sources)
    sets = chain.from_iterable(combinations(units, n) for n in range(len(units) + 1))
    return min(
        sum(charges[unit] for unit in cut)
        + sum(
            source.most
            for source in sources
            if any(not source.units or unit in source.units for unit in units if unit not in cut)
        )
        for cut in sets
    )


def by_pot(parts: Parts) -> dict[int, int]:
    found: dict[int, int] = {}
    for (_, pot), amount in parts.items():
        found[pot] = found.get(pot, 0) + amount
    return found


def amounts(most: int) -> st.SearchStrategy[dict[str, int]]:
    return st.dictionaries(st.sampled_from(UNITS), st.integers(0, most), max_size=3)


payers = st.sampled_from(["lab", "bob", "lab", "bob", "local"])
leases = st.integers(0, 1)
kinds = st.sampled_from([(), UNITS[:1], UNITS[:2], UNITS[1:], (UNITS[0], UNITS[2])])


class BookMachine(RuleBasedStateMachine):
    """Two prepaid accounts, one with an overdraft, whose leases have the same names; and local."""

    def __init__(self) -> None:
        super().__init__()
        self.place = self.found()
        self.priced = mock.patch("sandbox.prices.schedule.schedules", return_value=SCHEDULES)
        self.priced.start()
        self.now, self.version = 1000, "1"
        self.book = self.opened()
        for account in ("lab", "bob"):
            self.book.open_account(account, "prepaid", int(OVERDRAFTS[account]))
        self.models = {account: Model(most) for account, most in OVERDRAFTS.items()}
        self.posts: dict[int, tuple[str, Usage, dict[int, int]]] = {}
        self.refunds: dict[int, int] = {}
        self.grants = 0

    def found(self) -> str:
        """Where the book of an example is."""
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        return str(Path(self.folder.name) / "ledger.db")

    def opened(self) -> Ledger:
        return Ledger(self.place, clock=lambda: self.now)

    def teardown(self) -> None:
        self.book.close()
        self.priced.stop()
        self.left()

    def left(self) -> None:
        """Remove the book of an example."""
        self.folder.cleanup()

    @initialize(lasts=st.sampled_from([4, 30]), units=kinds)
    def begin(self, lasts: int, units: tuple[str, ...]) -> None:
        """Most of what can go wrong needs credit that is held, under one name by two accounts."""
        for account in ("lab", "bob"):
            self.grant(account, 30, 1, None, 6, units)
            self.grant(account, 30, 2, None, None, ())
            self.reserve(account, 0, {"pixel": 1, "raw_byte": 1}, {"raw_byte": 3}, 4, lasts)

    @rule(
        account=payers,
        amount=st.integers(1, 60),
        priority=st.integers(0, 2),
        begins=st.sampled_from([None, None, 3, HOLD_S]),
        lasts=st.sampled_from([None, 3, 5, HOLD_S]),
        units=kinds,
    )
    def grant(
        self,
        account: str,
        amount: int,
        priority: int,
        begins: int | None,
        lasts: int | None,
        units: tuple[str, ...],
    ) -> None:
        self.grants += 1
        id = self.grants.to_bytes(16, "big")
        given = {
            "priority": priority,
            "effective": None if begins is None else self.now + begins,
            "expires": None if lasts is None else self.now + lasts,
            "meters": units,
        }
        if begins is not None and lasts is not None and begins >= lasts:
            with pytest.raises(InvalidInputError, match="is of no use"):
                self.book.grant(account, amount, id, **given)
            return
        for again in (False, True):
            assert self.book.grant(account, amount, id, **given).exists == again
        booked = self.book.find(id)
        assert booked is not None
        ends = given["expires"] or float("inf")
        pot = Pot(amount, 0, priority, given["effective"] or 0, ends, units)
        self.models[account].pots[booked.seq] = pot

    @rule(
        account=payers,
        lease=leases,
        first=amounts(3),
        more=amounts(3),
        times=st.integers(0, 20),
        lasts=st.sampled_from([HOLD_S, 4, 30]),
    )
    def reserve(
        self,
        account: str,
        lease: int,
        first: dict[str, int],
        more: dict[str, int],
        times: int,
        lasts: int,
    ) -> None:
        model, schedule = self.models[account], prices.load(self.version)
        model.sweep(self.now)
        once, again = schedule.charges(first), schedule.charges(more)
        held = self.book.reserve(
            *(account, bytes([lease]) * 16, once, again, times),
            price_version=self.version,
            timeout_s=lasts,
        )
        if account == "local":
            assert held == times
            return
        whole = [
            {u: once.get(u, 0) + n * again.get(u, 0) for u in {**once, **again}}
            for n in range(times + 1)
        ]
        shares = [model.shares(charges, self.now, {}) for charges in whole]
        assert held == max((n for n, share in enumerate(shares) if share is not None), default=-1)
        if held < 0:
            return
        parts = self.book.transfers([account])[-1].move.parts
        self.agree(model, parts, whole[held], shares[held] or {})
        model.hold(Hold(lease, self.version, self.now + lasts, lasts, parts))

    def agree(
        self,
        model: Model,
        parts: Parts,
        charges: Mapping[str, int],
        shares: Mapping[int, float],
        aside: Parts | None = None,
    ) -> None:
        """Which pots pay how much is told; which of the units that they may pay is the book's."""
        assert by_pot(parts) == {pot: amount for pot, amount in shares.items() if amount}
        for unit in UNITS:
            paid = sum(amount for (its, _), amount in parts.items() if its == unit)
            assert paid == charges.get(unit, 0)
        for unit, pot in parts:
            assert model.pots[pot].pays(unit)
            if model.pots[pot].expires <= self.now:
                assert parts[unit, pot] <= (aside or {}).get((unit, pot), 0)

    @rule(
        account=payers,
        work=st.lists(st.tuples(st.integers(0, 30), amounts(6)), max_size=3),
        lease=st.none() | leases,
        keep=st.booleans(),
        pick=st.integers(0, 9),
        old_price=st.booleans(),
    )
    def post(
        self,
        account: str,
        work: list[tuple[int, dict[str, int]]],
        lease: int | None,
        keep: bool,
        pick: int,
        old_price: bool,
    ) -> None:
        every = [(name, hold.lease) for name, model in self.models.items() for hold in model.holds]
        if pick and every:
            account, lease = every[pick % len(every)]
        model = self.models[account]
        model.sweep(self.now)
        holds = [hold for hold in model.holds if hold.lease == lease]
        version = holds[0].version if holds and old_price else self.version
        usages = [
            (n, Usage(bytes([99, n] * 8), quantities, version, "e" * 64)) for n, quantities in work
        ]
        if self.tried(account, usages, lease, keep=keep):
            return
        for one in usages:  # A batch is its posts one after the other; so one of these is refused.
            if not self.tried(account, [one], lease, keep=True):
                return
        raise AssertionError("each alone is posted, together they are refused")

    def tried(
        self, account: str, usages: list[tuple[int, Usage]], lease: int | None, *, keep: bool
    ) -> bool:
        """Post, and return whether that was right; check that it was."""
        model, before = self.models[account], self.book.transfers()
        name = None if lease is None else bytes([lease]) * 16
        batch = [usage for _, usage in usages]
        holds = [hold for hold in model.holds if hold.lease == lease]
        why = self.refusal(account, *usages[0], holds) if len(usages) == 1 else None
        if why is not None:
            with pytest.raises(why, match=r"Nothing was (charged|booked)"):
                self.book.post(account, batch, name, keep=keep)
        try:
            receipts = self.book.post(account, batch, name, keep=keep)
        except SandboxError:
            assert why is not None or len(usages) > 1
            assert self.book.transfers() == before
            return False
        assert why is None
        aside = self.aside(model, holds)
        for (n, usage), receipt in zip(usages, receipts, strict=True):
            assert self.refusal(account, n, usage, [], aside, holds) is None
            assert receipt.exists == (n in self.posts)
            if n not in self.posts:
                booked = self.book.find(usage.id)
                assert booked is not None
                parts = booked.move.parts
                shares = model.shares(usage.charges(), self.now, aside) or {}
                self.agree(model, parts, usage.charges(), shares, aside)
                for (_, pot), amount in parts.items():
                    model.pots[pot].left -= amount
                self.posts[n] = (account, usage, by_pot(parts))
                aside = {key: most - parts.get(key, 0) for key, most in aside.items()}
                aside = {key: most for key, most in aside.items() if most > 0}
        self.held_on(account, holds, aside if keep else {})
        return True

    def aside(self, model: Model, holds: list[Hold]) -> Parts:
        """Release holds; return what they held."""
        found: dict[tuple[str, int], int] = {}
        for hold in holds:
            model.release(hold)
            for key, amount in hold.parts.items():
                found[key] = found.get(key, 0) + amount
        return found

    def refusal(
        self,
        account: str,
        number: int,
        usage: Usage,
        holds: list[Hold],
        aside: Parts | None = None,
        released: Iterable[Hold] = (),
    ) -> type[SandboxError] | None:
        """Why a post cannot be, or None; what is held is counted as free meanwhile."""
        model, known = self.models[account], self.posts.get(number)
        if known is not None:
            work = {unit: n for unit, n in usage.quantities.items() if n}
            same = {unit: n for unit, n in known[1].quantities.items() if n}
            versions = known[1].price_version, usage.price_version
            is_same = known[0] == account and work == same and versions[0] == versions[1]
            return None if is_same else LedgerError
        if any(hold.version != usage.price_version for hold in (*holds, *released)):
            return LedgerError
        aside = self.aside(model, holds) if aside is None else aside
        shares = model.shares(usage.charges(), self.now, aside)
        for hold in holds:
            model.hold(hold)
        return BudgetExhaustedError if shares is None else None

    def held_on(self, account: str, holds: list[Hold], rest: Parts) -> None:
        """Check what is left of what was held, and adopt it."""
        model = self.models[account]
        free, wanted = model.free(self.now), by_pot(rest)
        wanted = {pot: min(most, free.get(pot, most)) for pot, most in wanted.items()}
        wanted = {pot: most for pot, most in wanted.items() if most > 0}
        if not wanted:
            return
        last = self.book.transfers([account])[-1].move
        assert (last.kind, by_pot(last.parts)) == ("reserve", wanted)
        assert all(amount <= rest[key] for key, amount in last.parts.items())
        was = holds[0]
        model.hold(Hold(was.lease, was.version, self.now + was.lasts, was.lasts, last.parts))

    @rule(account=payers, lease=leases, adds=st.integers(1, 6))
    def an_error_amid_a_transaction_changes_nothing(
        self, account: str, lease: int, adds: int
    ) -> None:
        usages = [Usage(bytes([77, n] * 8), {}, self.version, "e" * 64) for n in range(adds)]
        add, left = Pages.add, [adds]

        def failing(pages: Pages, move: Move, at: int) -> None:
            add(pages, move, at)
            pages.flush()
            left[0] -= 1
            if not left[0]:
                raise ZeroDivisionError

        before = self.book.transfers()
        with (
            mock.patch.object(Pages, "add", failing),
            pytest.raises((ZeroDivisionError, LedgerError)),
        ):
            self.book.post(account, usages, bytes([lease]) * 16, keep=True)
        assert self.book.transfers() == before

    @rule(number=st.integers(0, 30), amount=st.none() | st.integers(1, 200))
    def refund(self, number: int, amount: int | None) -> None:
        number = [*self.posts, number][number % (len(self.posts) + 1)]
        id = bytes([99, number] * 8)
        account, _, pots = self.posts.get(number, ("lab", None, {}))
        model, done, whole = self.models[account], self.refunds.get(number, 0), sum(pots.values())
        wanted = whole - done if amount is None else amount
        key = f"{number} {amount} {done}".encode().ljust(16)[:16]
        if number not in self.posts or not 0 < wanted <= whole - done:
            with pytest.raises(LedgerError, match="Nothing was booked"):
                self.book.refund(id, amount, key)
            return
        for again in (False, True):
            assert self.book.refund(id, amount, key).exists == again
        self.refunds[number] = done + wanted
        for pot in sorted(pots, key=lambda pot: (pot != 0, -pot)):
            skipped = min(pots[pot], done)
            given = min(pots[pot] - skipped, wanted)
            done, wanted = done - skipped, wanted - given
            model.pots[pot if model.pots[pot].expires > self.now else 0].left += given

    @rule(account=payers, lease=leases)
    def void(self, account: str, lease: int) -> None:
        for _ in range(2):
            self.book.void(account, bytes([lease]) * 16)
        self.aside(self.models[account], self.under(account, lease))

    @rule(account=st.none() | payers, lease=leases)
    def void_all(self, account: str | None, lease: int) -> None:
        for model in self.models.values():
            model.sweep(self.now)
        worth = 0
        for name, model in self.models.items():
            if account in (None, name):
                self.book.post(name, [])  # Sweeps.
                worth += sum(self.aside(model, self.under(name, lease)).values())
        assert self.book.void_all(bytes([lease]) * 8, account) == worth

    def under(self, account: str, lease: int) -> list[Hold]:
        return [hold for hold in self.models[account].holds if hold.lease == lease]

    @rule(seconds=st.sampled_from([1, 6, HOLD_S // 2, HOLD_S]))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def change_prices(self) -> None:
        self.version = "2" if self.version == "1" else "1"

    @rule(clock=st.sampled_from([0, 10**9]))
    def read_by_a_wrong_clock(self, clock: int) -> None:
        before = self.book.transfers()
        reader = Ledger(self.place, clock=lambda: clock, read_only=True)
        for account in self.models:
            reader.balance(account)
            reader.shortfall(account, {"pixel": 50})
        reader.close()
        assert self.book.transfers() == before

    @rule()
    def crash(self) -> None:
        self.book = pickle.loads(pickle.dumps(Ledger(self.place)))
        self.book.account("local")
        self.book = self.opened()

    @invariant()
    def the_book_says_the_same(self) -> None:
        for account, model in self.models.items():
            model.sweep(self.now)
            found, free = self.book.balance(account), model.free(self.now)
            assert found.posted_micro == sum(pot.left for pot in model.pots.values())
            assert found.pending_micro == sum(pot.held for pot in model.pots.values())
            assert all(most >= 0 for most in free.values())
            limit = None if account == "local" else sum(free.values())
            assert found.available_micro == limit
        assert self.book.check() == []
        self.book.reading(lambda pages, now: self.balances_are_sums(pages))

    def balances_are_sums(self, pages: Pages) -> None:
        for (account, pot), amounts in replayed(pages).items():
            assert pages.pot(account, pot) == amounts


class ServerMachine(BookMachine):
    """The same on a server."""

    server: postgres.Server

    def found(self) -> str:
        self.name = self.server.database()
        return self.server.url(self.name)

    def left(self) -> None:
        self.server.admin(f"DROP DATABASE {self.name} WITH (FORCE)")


TestBookMachine = BookMachine.TestCase
TestBookMachine.settings = settings(
    max_examples=5000 if "SANDBOX_SOAK" in os.environ else 20,
    stateful_step_count=40,
    deadline=None,
)


@pytest.fixture
def _served(postgresql: postgres.Server) -> None:
    ServerMachine.server = postgresql


@pytest.mark.usefixtures("_served")
class TestServerMachine(ServerMachine.TestCase):
    settings = settings(
        max_examples=500 if "SANDBOX_SOAK" in os.environ else 8,
        stateful_step_count=30,
        deadline=None,
    )
