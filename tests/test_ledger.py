"""The book: exact, each thing once, and shared."""

import multiprocessing
import os
import signal

import pytest

from sandbox import prices
from sandbox.errors import BudgetExhaustedError, InvalidInputError, LedgerError, UnknownNameError
from sandbox.ledger import AccountFunds, Balance, Lease, Ledger, Usage, charge_id
from sandbox.ledger.rules import HOLD_S
from sandbox.ledger.statement import statement

EPISODE = b"e" * 16
PLACES = ["file", "server"]


def post(book: Ledger, account: str, amount: int, episode: bytes = EPISODE) -> bool:
    """Post bytes, one microcredit each, and give back what the episode holds."""
    return book.post(account, [usage(episode, amount)], episode)[0].exists


def usage(episode: bytes, amount: int, evidence: str = "f" * 64) -> Usage:
    return Usage(episode, {"raw_byte": amount}, "1", evidence)


def hold(book: Ledger, account: str, episode: bytes, least: int, most: int) -> int:
    """Hold back between `least` and `most`; return how much, 0 if not even `least` is there."""
    held = book.reserve(
        account, episode, {"raw_byte": least}, {"raw_byte": 1}, most - least, price_version="1"
    )
    return 0 if held < 0 else least + held


def test_local_is_postpaid_and_a_granted_account_prepaid(book: Ledger) -> None:
    assert book.account("local").mode == "postpaid"
    book.grant("lab/alice", 10)
    assert book.account("lab/alice").mode == "prepaid"
    assert book.balance("lab/alice").available_micro == 10
    assert book.balance("local").available_micro is None


def test_an_unknown_account_is_named_with_its_near_miss(book: Ledger) -> None:
    book.grant("lab", 10)
    with pytest.raises(UnknownNameError, match="Did you mean 'lab'"):
        book.balance("labb")


@pytest.mark.parametrize("name", ["", "@plant", "a b", "x" * 65, "-a", "a\n", "lab\udcff"])
def test_a_name_that_is_none_is_refused(book: Ledger, name: str) -> None:
    for work in (lambda: book.grant(name, 10), lambda: book.balance(name)):
        with pytest.raises(InvalidInputError, match="use 1 to 64"):
            work()
    with pytest.raises(InvalidInputError, match="use 1 to 64"):
        statement(book, name)


def test_text_that_cannot_be_written_is_refused(book: Ledger) -> None:
    bad, good = "lab\udcff", "e" * 64
    for usage in (
        Usage(EPISODE, {"reset": 1}, "1", bad),
        Usage(EPISODE, {"reset": 1}, "1", good, bad, 1),
        Usage(EPISODE, {"reset": 1}, "1", good, "r", 1, bad),
        Usage(EPISODE, {"reset": 1}, bad, good),
        Usage(EPISODE, {"reset": 1}, "1", good, "r", -1),
        Usage(EPISODE, {"reset": 1}, "1", good, 5, 1),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidInputError, match=r"udcff|-1|5"):
            book.post("local", [usage])
    book.grant("lab", 10)
    with pytest.raises(InvalidInputError, match="source"):
        book.grant("lab", 10, source=bad)
    with pytest.raises(InvalidInputError, match="run"):
        book.reserve("lab", EPISODE, {"reset": 1}, price_version="1", run=bad)
    with pytest.raises(InvalidInputError, match="reason"):
        book.refund(EPISODE, reason=bad)
    assert len(book.transfers()) == 2


@pytest.mark.parametrize("amount", [0, -1, 2**63])
def test_a_grant_of_nothing_or_too_much_is_refused(book: Ledger, amount: int) -> None:
    with pytest.raises(InvalidInputError):
        book.grant("lab", amount)


def test_the_same_charge_twice_charges_once_and_another_body_is_refused(book: Ledger) -> None:
    assert not post(book, "local", 7)
    assert post(book, "local", 7)
    assert book.balance("local").posted_micro == -7
    with pytest.raises(LedgerError, match="amount 7 is not 8"):
        post(book, "local", 8)
    with pytest.raises(LedgerError, match="evidence"):
        book.post("local", [usage(EPISODE, 7, "0" * 64)])
    assert book.balance("local").posted_micro == -7
    assert book.check() == []


def test_the_same_grant_twice_counts_once(book: Ledger) -> None:
    for _ in range(2):
        book.grant("lab", 5, id=b"g" * 16)
    assert book.balance("lab").posted_micro == 5


def test_a_prepaid_account_is_never_overdrawn(book: Ledger) -> None:
    book.grant("lab", 10)
    assert hold(book, "lab", EPISODE, 4, 8) == 8
    assert hold(book, "lab", b"x" * 16, 3, 3) == 0
    assert hold(book, "lab", b"x" * 16, 1, 3) == 2
    assert not post(book, "lab", 6)
    balance = book.balance("lab")
    assert (balance.posted_micro, balance.pending_micro, balance.available_micro) == (4, 2, 2)
    with pytest.raises(BudgetExhaustedError, match="Nothing was charged"):
        post(book, "lab", 3, b"y" * 16)
    assert book.balance("lab") == balance
    assert book.check() == []


def test_an_expired_hold_frees_the_credit(book_place: str) -> None:
    now = [1000.0]
    book = Ledger(book_place, clock=lambda: now[0])
    book.grant("lab", 10)
    assert hold(book, "lab", EPISODE, 10, 10) == 10
    assert book.balance("lab").available_micro == 0
    now[0] += HOLD_S + 1
    assert book.balance("lab").available_micro == 10
    assert not post(book, "lab", 10)  # Late, but the credit is still there.
    assert book.balance("lab").available_micro == 0
    assert book.check() == []


def test_a_void_gives_back_what_is_held_and_twice_changes_nothing(book: Ledger) -> None:
    book.grant("lab", 10)
    hold(book, "lab", EPISODE, 1, 6)
    for _ in range(2):
        book.void("lab", EPISODE)
        assert book.balance("lab").pending_micro == 0
    assert hold(book, "lab", EPISODE, 10, 10) == 10
    assert book.check() == []


def test_a_killed_process_holds_nothing_after_its_episode_begins_again(book: Ledger) -> None:
    book.grant("lab", 10)
    child = multiprocessing.get_context("fork").Process(target=_hold_and_die, args=(book,))
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    assert book.balance("lab").pending_micro == 10
    funds = AccountFunds(book, "lab")
    assert funds.reserve(EPISODE, {"raw_byte": 10}, {}, 0, "1") == 0
    funds.finish(EPISODE, "f" * 64, {"raw_byte": 4}, "1")
    assert (book.balance("lab").posted_micro, book.balance("lab").pending_micro) == (6, 0)


def _hold_and_die(book: Ledger) -> None:
    AccountFunds(book, "lab").reserve(EPISODE, {"raw_byte": 10}, {}, 0, "1")
    os.kill(os.getpid(), signal.SIGKILL)


def test_eight_processes_spend_exactly_what_there_is(book: Ledger) -> None:
    book.grant("lab", 100_000)
    context = multiprocessing.get_context("fork")
    racers = [context.Process(target=_race, args=(book, n)) for n in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(120)
        assert racer.exitcode == 0
    balance = book.balance("lab")
    assert (balance.posted_micro, balance.pending_micro) == (0, 0)
    posts = [booked.move for booked in book.transfers(["lab"]) if booked.move.kind == "post"]
    assert sum(move.amount for move in posts) == 100_000
    assert book.check() == []


def _race(book: Ledger, racer: int) -> None:
    """Spend in odd portions until nothing is left."""
    funds = AccountFunds(book, "lab")
    for n in range(10_000):
        episode = charge_id(f"racer {racer}", n)
        held = 1 + funds.reserve(episode, {"raw_byte": 1}, {"raw_byte": 1}, 996, "1")
        if held == 0:
            return
        funds.finish(episode, "f" * 64, {"raw_byte": max(1, held - n % 3)}, "1")


def test_charge_ids_are_deterministic_and_unambiguous() -> None:
    assert charge_id("run", 1) == charge_id("run", 1)
    assert len({charge_id(run, n) for run in ("a", "b", "a\n1") for n in range(50)}) == 150
    assert len(charge_id("run", 1)) == 16


def test_every_opened_account_is_listed_and_a_transfer_is_found_by_its_id(book: Ledger) -> None:
    book.grant("lab", 10, id=b"g" * 16)
    post(book, "local", 7)
    assert [(a.name, a.mode) for a in book.accounts()] == [
        ("lab", "prepaid"),
        ("local", "postpaid"),
    ]
    found = book.find(EPISODE)
    assert found is not None
    assert (found.move.kind, found.move.account, found.move.amount) == ("post", "local", 7)
    assert found.move.facts["quantities"] == {"raw_byte": 7}
    assert found.move.facts["evidence"] == "f" * 64
    grant = book.find(b"g" * 16)
    assert grant is not None
    assert (grant.move.account, grant.move.kind) == ("lab", "grant")
    assert book.find(b"0" * 16) is None


def test_the_same_transfer_at_another_time_is_the_same(book_place: str) -> None:
    now = [1000.0]
    book = Ledger(book_place, clock=lambda: now[0])
    assert not post(book, "local", 7)
    now[0] += 10**6
    assert post(book, "local", 7)


@pytest.mark.parametrize("id", [b"", b"x", b"x" * 17, "x" * 16])
def test_an_id_of_other_than_16_bytes_is_refused(book: Ledger, id: bytes) -> None:
    with pytest.raises(InvalidInputError, match="give 16 bytes"):
        book.grant("lab", 5, id=id)
    with pytest.raises(InvalidInputError, match="give 16 bytes"):
        hold(book, "local", id, 1, 1)
    with pytest.raises(InvalidInputError, match="give 16 bytes"):
        post(book, "local", 1, id)


@pytest.mark.parametrize("amount", [-1, 1.5, True, 2**63])
def test_what_is_no_amount_is_never_booked(book: Ledger, amount: int) -> None:
    book.grant("lab", 10)
    with pytest.raises(InvalidInputError):
        post(book, "lab", amount)
    with pytest.raises(InvalidInputError, match="cannot be booked"):
        book.reserve("lab", EPISODE, {"raw_byte": amount}, price_version="1")
    with pytest.raises(InvalidInputError, match="cannot be booked"):
        book.grant("lab", amount)
    assert book.balance("lab").available_micro == 10


def test_an_account_too_large_for_the_file_is_an_error_and_books_nothing(book: Ledger) -> None:
    book.grant("lab", 2**62)
    with pytest.raises(LedgerError, match="Nothing was booked"):
        book.grant("lab", 2**62)
    assert book.balance("lab").posted_micro == 2**62
    assert book.check() == []


# Overdrafts, refunds, breakage, clocks, versions.


def test_an_account_with_an_overdraft_owes_so_much_and_no_more(book: Ledger) -> None:
    book.open_account("lab", "prepaid", overdraft=5)
    book.grant("lab", 10)
    assert book.balance("lab").available_micro == 15
    assert hold(book, "lab", EPISODE, 16, 16) == 0
    assert hold(book, "lab", EPISODE, 15, 20) == 15
    assert not post(book, "lab", 15)
    assert book.balance("lab").posted_micro == -5
    assert statement(book, "lab")[-1]["overage_micro"] == 5
    assert book.check() == []


def test_an_account_is_opened_once_in_one_way(book: Ledger) -> None:
    book.open_account("lab", "prepaid", overdraft=5)
    book.open_account("lab", "prepaid", overdraft=5)
    with pytest.raises(LedgerError, match="is open as prepaid with an overdraft"):
        book.open_account("lab", "prepaid")
    with pytest.raises(InvalidInputError, match="no limit"):
        book.open_account("bob", "postpaid", overdraft=5)
    with pytest.raises(InvalidInputError, match="give prepaid or postpaid"):
        book.open_account("bob", "free")  # type: ignore[arg-type]


def test_local_may_be_opened_as_prepaid_and_is_granted_like_any_other(book: Ledger) -> None:
    book.open_account("local", "prepaid")
    book.grant("local", 5)
    assert book.balance("local").available_micro == 5


def test_accounts_form_a_tree(book: Ledger) -> None:
    for name in ("lab", "lab/alice", "lab/alice/run", "laboratory"):
        book.open_account(name, "postpaid")
    assert [a.name for a in book.accounts("lab")] == ["lab", "lab/alice", "lab/alice/run"]
    post(book, "lab/alice", 3, b"a" * 16)
    post(book, "laboratory", 4, b"b" * 16)
    assert [line["amount_micro"] for line in statement(book, "lab", below=True)][-1] == -3
    assert book.balance("lab").posted_micro == 0


def test_what_a_grant_leaves_when_it_expires_is_booked_as_breakage(book_place: str) -> None:
    now = [1000.0]
    book = Ledger(book_place, clock=lambda: now[0])
    book.grant("lab", 10, expires=2000)
    book.grant("lab", 3, effective=1500)
    assert book.balance("lab").available_micro == 10
    post(book, "lab", 4)
    now[0] = 2001
    balance = book.balance("lab")
    assert (balance.posted_micro, balance.available_micro) == (3, 3)
    book.post("lab", [])  # Whoever books sweeps; who only reads does not.
    assert book.balance("lab") == balance
    (lost,) = [line for line in statement(book, "lab") if line["kind"] == "breakage"]
    assert lost["amount_micro"] == -6
    book.refund(EPISODE)  # Its grant is gone: it comes back without conditions.
    assert book.balance("lab").available_micro == 7
    with pytest.raises(InvalidInputError, match="give a time to come"):
        book.grant("lab", 10, expires=1500)
    for begins in (3000, 3001):
        with pytest.raises(InvalidInputError, match="let it expire after it takes effect"):
            book.grant("lab", 10, effective=begins, expires=3000)
    with pytest.raises(InvalidInputError, match=r"give seconds since 1970, fewer than 8,796"):
        book.grant("lab", 10, expires=1e11)
    with pytest.raises(InvalidInputError, match="from 0 to 2,147,483,647"):
        book.grant("lab", 10, priority=2**31)
    assert book.check() == []


def test_grants_burn_by_priority_then_expiry_then_age(book_place: str) -> None:
    book = Ledger(book_place, clock=lambda: 1000.0)
    book.grant("lab", 10)  # Transfer 2, after the account's own.
    book.grant("lab", 10, expires=9000)
    book.grant("lab", 10, expires=5000)
    book.grant("lab", 10, priority=1)
    book.grant("lab", 10)
    burnt: list[int] = []
    for n in range(5):
        post(book, "lab", 10, bytes([n]) * 16)
        ((_, pot),) = book.transfers(["lab"])[-1].move.parts
        burnt.append(pot)
    assert burnt == [5, 4, 3, 2, 6]


def test_a_refund_is_a_transfer_of_its_own_and_never_more_than_the_post(book: Ledger) -> None:
    book.grant("lab", 100)
    post(book, "lab", 60)
    assert book.refund(EPISODE, 20, reason="a fault").amount == 20
    assert book.refund(EPISODE, 20, reason="a fault").exists
    assert book.refunded(EPISODE) == 20
    with pytest.raises(LedgerError, match="something else"):
        book.refund(EPISODE, 20, reason="another")
    with pytest.raises(LedgerError, match=r"0\.00004 credits left to refund"):
        book.refund(EPISODE, 41)
    assert book.refund(EPISODE).amount == 40
    assert book.refund(EPISODE).exists
    assert book.balance("lab").posted_micro == 100
    with pytest.raises(LedgerError, match="no post on this book"):
        book.refund(b"0" * 16)
    assert book.check() == []


def test_a_clock_that_runs_backwards_is_refused_beyond_a_minute(book_place: str) -> None:
    now = [10_000.0]
    book = Ledger(book_place, clock=lambda: now[0])
    book.grant("lab", 10)
    now[0] -= 30
    post(book, "lab", 1)  # The book's time stands still.
    assert book.transfers()[-1].at == 10_000_000
    now[0] -= 3600
    before = book.transfers()
    with pytest.raises(LedgerError, match=r"the clock says .* Set the clock"):
        post(book, "lab", 1, b"x" * 16)
    assert book.transfers() == before


def test_a_lease_pays_for_many_and_gives_the_rest_back(book: Ledger) -> None:
    book.grant("lab", 100)
    lease = Lease(book, "lab", b"l" * 16, "r", episodes=4, batch=3)
    for n in range(6):
        assert lease.reserve(b"", {"raw_byte": 10}, {}, 0, "1") == 0
        lease.post(Usage(charge_id("r", n), {"raw_byte": 7}, "1", "e" * 64, "r", n))
        assert book.balance("lab").pending_micro + book.balance("lab").posted_micro >= 100 - 42
    lease.flush(close=True)
    assert (book.balance("lab").posted_micro, book.balance("lab").pending_micro) == (58, 0)
    assert book.check() == []


def test_eight_leases_never_spend_more_than_there_is_and_hold_nothing_in_the_end(
    book: Ledger,
) -> None:
    book.grant("lab", 100_000)
    context = multiprocessing.get_context("fork")
    racers = [context.Process(target=_race_by_lease, args=(book, n)) for n in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(120)
        assert racer.exitcode == 0
    balance = book.balance("lab")
    assert balance.pending_micro == 0
    assert 0 <= balance.posted_micro < 8 * 5 * 200  # What others held when one gave up.
    posts = [booked.move.amount for booked in book.transfers() if booked.move.kind == "post"]
    assert sum(posts) + balance.posted_micro == 100_000
    assert book.check() == []


def _race_by_lease(book: Ledger, racer: int) -> None:
    """Spend in chunks, of one size and then of another, until there is nothing."""
    lease = Lease(book, "lab", bytes([racer]) * 16, f"{racer}", episodes=5, batch=4)
    for n in range(100_000):
        size = 200 if lease.reserve(b"", {"raw_byte": 200}, {}, 0, "1") == 0 else 1
        if size == 1 and lease.reserve(b"", {"raw_byte": 1}, {}, 0, "1") < 0:
            break
        used = max(1, size - n % 7)
        lease.post(
            Usage(charge_id(f"{racer}", n), {"raw_byte": used}, "1", "e" * 64, f"{racer}", n)
        )
    lease.flush(close=True)


# Whose, for how long, under which prices.


def test_nobody_pays_with_what_another_account_holds_under_the_same_name(book: Ledger) -> None:
    for account in ("lab", "bob"):
        book.grant(account, 10)
        assert hold(book, account, EPISODE, 10, 10) == 10
    post(book, "bob", 4)
    assert book.balance("bob") == Balance(6, 0, 6)
    assert book.balance("lab") == Balance(10, 10, 0)
    with pytest.raises(BudgetExhaustedError):
        book.post("bob", [usage(b"x" * 16, 7)], EPISODE)
    post(book, "local", 4, b"y" * 16)
    book.void("bob", EPISODE)
    assert book.balance("lab").pending_micro == 10
    assert book.check() == []


def test_what_begins_alike_is_given_back_together_or_that_of_one_account_or_run(
    book: Ledger,
) -> None:
    names = [b"eight by" + bytes([n]) * 8 for n in range(4)]
    for account, name, run in zip(("lab", "lab", "bob", "bob"), names, "rsrs", strict=True):
        book.grant(account, 10)
        book.reserve(account, name, {"raw_byte": 10}, price_version="1", run=run)
    for short in (b"", b"eight b", b"e" * 17, "eight by"):
        with pytest.raises(InvalidInputError, match="give 8 to 16 bytes"):
            book.void_all(short)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="give 8 to 16 bytes"):
            book.post("lab", [], short)  # type: ignore[arg-type]
    assert book.void_all(b"eight by", "lab", "r") == 10
    assert book.void_all(b"eight by", run="s") == 20
    with pytest.raises(UnknownNameError):
        book.void_all(b"eight by", "rob")
    assert book.void_all(b"eight by") == 10
    assert book.void_all(b"eight by") == 0
    assert book.check() == []


def test_a_post_beyond_what_is_held_spends_no_more_than_there_is(book: Ledger) -> None:
    book.grant("lab", 10)
    hold(book, "lab", EPISODE, 5, 5)
    with pytest.raises(BudgetExhaustedError, match=r"lacks 0\.000005"):
        post(book, "lab", 15)
    assert not post(book, "lab", 10)
    assert book.check() == []


def test_grants_of_some_meters_together_pay_what_they_can(book: Ledger) -> None:
    for meters in (["raw_byte", "pixel"], ["raw_byte", "reset"], ["pixel"]):
        book.grant("lab", 400_000, meters=meters)
    work = {"raw_byte": 400_000, "pixel": 8000, "reset": 1}
    charges = Usage(EPISODE, work, "1", "e" * 64).charges()
    assert book.shortfall("lab", charges) == 0
    assert book.reserve("lab", EPISODE, charges, {"pixel": 1}, 5, price_version="1") == 0
    book.post("lab", [Usage(EPISODE, work, "1", "e" * 64)], EPISODE)
    assert book.balance("lab") == Balance(0, 0, 0)
    assert book.check() == []


def test_a_hold_lasts_as_long_as_it_was_asked_for(book_place: str) -> None:
    now = [1000.0]
    book = Ledger(book_place, clock=lambda: now[0])
    book.grant("lab", 10)
    for wrong in (0, -1, 1.5, True, 30 * 24 * 3600 + 1):
        with pytest.raises(InvalidInputError, match="give whole seconds from 1 to 2,592,000"):
            book.reserve("lab", EPISODE, {}, price_version="1", timeout_s=wrong)  # type: ignore[arg-type]
    book.reserve("lab", EPISODE, {"raw_byte": 6}, price_version="1", timeout_s=5)
    now[0] += 4
    book.post("lab", [usage(b"x" * 16, 1)], EPISODE, keep=True)  # Held on, for as long again.
    now[0] += 4
    assert book.balance("lab").pending_micro == 5
    now[0] += 1
    assert book.balance("lab").pending_micro == 0
    book.reserve("lab", EPISODE, {"raw_byte": 6}, price_version="1", timeout_s=30 * 24 * 3600)
    now[0] += 30 * 24 * 3600 - 1
    assert book.balance("lab").pending_micro == 6
    assert book.check() == []


def test_a_short_hold_ends_for_whoever_saw_a_later_time_before(book_place: str) -> None:
    """Two processes on one book; the clock of one was ahead when it looked."""
    now, ahead = [1000.0], [1000.0]
    book = Ledger(book_place, clock=lambda: now[0])
    other = Ledger(book_place, clock=lambda: ahead[0])
    book.grant("lab", 10)
    ahead[0] = 9000
    other.post("lab", [])
    assert book.reserve("lab", EPISODE, {"raw_byte": 9}, price_version="1", timeout_s=5) == 0
    now[0] = ahead[0] = 1006
    assert other.balance("lab").available_micro == 10
    other.post("lab", [])
    assert [booked.move.kind for booked in book.transfers()][-1] == "expire"


def test_what_was_reserved_under_a_price_is_posted_under_it_when_prices_change(
    book: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SANDBOX_PRICES")
    old = prices.load("1")
    rates = {unit: 2 * rate for unit, rate in old.rates.items()}
    new = prices.PriceSchedule("9", old.effective_from, rates)
    book.grant("lab", 100)
    book.reserve("lab", EPISODE, {"raw_byte": 50}, price_version="1")
    monkeypatch.setattr("sandbox.prices.schedule.schedules", lambda: (old, new))
    assert prices.current(old.effective_from).version == "9"
    with pytest.raises(LedgerError, match="under price schedule '1', not '9'"):
        book.post("lab", [Usage(EPISODE, {"raw_byte": 20}, "9", "f" * 64)], EPISODE)
    receipts = book.post("lab", [usage(EPISODE, 20)], EPISODE, keep=True)
    assert receipts[0].amount == 20
    assert book.post("lab", [usage(b"x" * 16, 30)], EPISODE)[0].amount == 30
    fresh = Usage(b"y" * 16, {"raw_byte": 20}, "9", "f" * 64)
    book.reserve("lab", fresh.id, fresh.charges(), price_version="9")
    assert book.post("lab", [fresh], fresh.id)[0].amount == 40
    assert book.balance("lab").posted_micro == 10
    assert book.check() == []
    monkeypatch.undo()
    assert "cannot be priced" in book.check()[0]  # Schedules are kept for ever.
