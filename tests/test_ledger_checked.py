"""The book under one's feet: it cannot vanish unnoticed, and is derived again where it is new."""

import shutil
import time
import tracemalloc
from pathlib import Path
from typing import Any

import apsw
import gymnasium
import pytest
from running import cli, recipe

import sandbox
from sandbox import prices
from sandbox.errors import LedgerError
from sandbox.ledger import Ledger, Usage, charge_id, checked
from sandbox.run.watcher import Watcher


def busy(book: Ledger, posts: int) -> None:
    """Book grants, holds, voids, posts and a refund."""
    count = len(book.transfers())
    book.grant("lab", 10 * posts * 400_000)
    for start in range(0, posts, 50):
        lease = (count + start).to_bytes(16, "big")
        book.reserve("lab", lease, {"reset": 50 * 400_000}, price_version="1")
        ids = [charge_id("r" * 64, count + n) for n in range(start, min(start + 50, posts))]
        usages = [Usage(id, {"reset": 1}, "1", "e" * 64) for id in ids]
        book.post("lab", usages, lease)
        book.refund(ids[0], 1000)


# It vanishes --------------------------------------------------------------------------------------


def test_a_ledger_that_is_deleted_during_a_run_ends_it_and_restored_the_run_goes_on(
    tmp_path: Path,
) -> None:
    home, kept = Ledger().path.parent, tmp_path / "kept"
    wanted = recipe("billiards", episodes=6)

    class Deleting(Watcher):
        def kept(self, record: Any, bill: Any) -> None:
            if home.exists():
                Ledger().close()
                shutil.copytree(home, kept)
                shutil.rmtree(home)

    with pytest.raises(LedgerError, match=r"deleted or moved while it was in use\. Nothing was b"):
        sandbox.generate(wanted, tmp_path / "run", watcher=Deleting())
    assert not (home / "ledger.db").exists()
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(kept, home)
    assert sandbox.generate(wanted, tmp_path / "run").episodes == 6
    assert sandbox.verify(tmp_path / "run").faults == []


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced", "restored"])
def test_an_environment_books_nothing_where_its_ledger_no_longer_is(
    tmp_path: Path, how: str
) -> None:
    book = Ledger()
    book.grant("lab", prices.micro(100))
    book.close()
    copy = shutil.copy(book.path, tmp_path / "copy.db")
    other = Ledger(tmp_path / "other.db")
    other.grant("lab", prices.micro(100))
    other.close()
    env: Any = gymnasium.make("sandbox:sandbox/CartpoleSwingup-v0", account="lab")
    env.reset(seed=0)
    env.step([0.0])
    for beside in ("ledger.db-wal", "ledger.db-shm"):
        (book.path.parent / beside).unlink(missing_ok=True)
    if how == "deleted":
        book.path.unlink()
    elif how == "moved":
        book.path.rename(tmp_path / "moved.db")
    else:
        book.path.unlink()
        shutil.copy(other.path if how == "replaced" else copy, book.path)
    if how == "restored":  # An older copy of the same ledger: the episode is posted there.
        env.close()
        assert Ledger().balance("lab").posted_micro < prices.micro(100)
        assert Ledger().check() == []
        return
    with pytest.raises(LedgerError):
        env.close()
    if how == "deleted":
        assert not book.path.exists()
    if how == "replaced":
        assert Ledger(tmp_path / "other.db").balance("lab").posted_micro == prices.micro(100)


# What is new --------------------------------------------------------------------------------------


def test_what_is_new_is_derived_again_and_the_rest_only_hashed(book: Ledger) -> None:
    busy(book, 120)
    assert checked.check(book) == ([], 0)
    before = len(book.transfers())
    assert checked.check(book) == ([], before)
    busy(book, 70)  # Refunds, voids and posts that refer to what was there before.
    old = next(b for b in book.transfers() if b.move.kind == "post")
    book.refund(old.move.id, 5)
    assert checked.check(book) == ([], before)
    assert checked.check(book) == ([], len(book.transfers()))
    assert checked.check(book, whole=True) == ([], 0)


@pytest.mark.parametrize(
    ("cooking", "says"),
    [
        ("UPDATE transfer SET amount = 1 WHERE seq = 3", "rewritten, or an older copy"),
        ("UPDATE transfer SET at = at - 1 WHERE seq = 9", "rewritten, or an older copy"),
        ("DELETE FROM transfer WHERE seq = 5", "rewritten, or an older copy"),
        ("UPDATE entry SET posted = posted + 1 WHERE transfer = 4", "balances after transfer"),
        ("DELETE FROM entry WHERE transfer = 4", "balances after transfer"),
        ("DELETE FROM transfer WHERE seq > 20", "rewritten, or an older copy"),
        ("UPDATE ledger SET id = 'another'", "the one that was checked before"),
        ("UPDATE transfer SET amount = 1 WHERE seq = (SELECT max(seq) FROM transfer)", "its link"),
        ("UPDATE entry SET posted_after = 7 WHERE transfer > 60", "its entries are not"),
    ],
)
def test_whoever_cooks_the_book_before_or_after_the_point_is_found(
    book: Ledger, cooking: str, says: str
) -> None:
    busy(book, 60)
    assert checked.check(book)[0] == []
    busy(book, 10)
    book.close()
    with apsw.Connection(str(book.path)) as connection:
        for table in ("ledger", "transfer", "entry"):
            for verb in ("UPDATE", "DELETE"):
                connection.execute(f"DROP TRIGGER {table}_{verb}")
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(cooking)
    found, since = checked.check(Ledger(book.path))
    faults = [text for text in found if "trigger" not in text]
    assert any(says in text for text in faults), faults
    assert since > 0  # The point stays where it was right.


@pytest.mark.parametrize(
    "text", ["", "{}", '{"format": 1, "transfers": true}', "[]", '{"format":2}']
)
def test_a_point_that_cannot_be_read_is_ignored(book: Ledger, text: str) -> None:
    busy(book, 3)
    (book.path.parent / "ledger.checked.json").write_text(text)
    assert checked.check(book) == ([], 0)


def test_verify_derives_what_is_new_and_all_of_it_on_request(tmp_path: Path) -> None:
    run = tmp_path / "run"
    sandbox.generate(recipe(episodes=2), run)
    book = Ledger()
    assert cli("verify", run, "--sample", "0").returncode == 0
    assert checked.check(book)[1] == len(book.transfers())
    book.close()
    with apsw.Connection(str(book.path)) as connection:
        connection.execute("DROP TRIGGER entry_UPDATE")
        connection.execute("UPDATE entry SET posted_after = 7 WHERE account = '@plant'")
    texts = [cli("verify", run, "--sample", "0", *more).stdout for more in ([], ["--whole-ledger"])]
    assert ["its entries are not what it moves" in text for text in texts] == [False, True]


def test_the_command_checks_all_and_verify_finds_what_was_rewritten(tmp_path: Path) -> None:
    run = tmp_path / "run"
    sandbox.generate(recipe(episodes=2), run)
    assert cli("ledger", "check").returncode == 0
    with apsw.Connection(str(Ledger().path)) as connection:
        connection.execute("DROP TRIGGER transfer_UPDATE")
        connection.execute("UPDATE transfer SET amount = amount + 1 WHERE kind = 'post'")
    assert cli("ledger", "check", "--json").returncode == 1
    assert cli("verify", run, "--sample", "0").returncode == 1


def test_a_check_of_what_is_new_costs_a_fraction_of_the_whole(book: Ledger) -> None:
    busy(book, 3000)
    book.close()

    def seconds(whole: bool) -> float:
        start = time.thread_time()
        assert checked.check(book, whole=whole)[0] == []
        return time.thread_time() - start

    whole = seconds(True)
    assert min(seconds(False) for _ in range(3)) < whole / 4


def test_checking_a_ledger_takes_as_much_memory_for_many_posts_as_for_few(tmp_path: Path) -> None:
    book, most = Ledger(tmp_path / "ledger.db"), list[int]()
    for posts in (400, 3000):
        busy(book, posts)
        tracemalloc.start()
        try:
            assert book.check() == []
            most.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert most[1] - most[0] < 3000 * 100, "bytes: a post has 2,600"
