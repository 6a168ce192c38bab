"""Credit is held in portions, by a process that is known, and released when that has ended."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from running import cli, recipe

import sandbox
from sandbox import prices
from sandbox.errors import BudgetExhaustedError, UnknownNameError
from sandbox.ledger import AccountFunds, Ledger, Usage
from sandbox.ledger import holder as holders
from sandbox.ledger.holder import Holder
from sandbox.ledger.holds import holds, release
from sandbox.run.watcher import Watcher as Ignoring

ID = "sandbox:sandbox/PushT-v0"
STILL = np.zeros(2, np.float32)
LEASE = b"l" * 16
HOLDING = """
import sys, time, gymnasium
env = gymnasium.make("sandbox:sandbox/PushT-v0", account="lab")
env.reset(seed=0)
for _ in range(3): env.step([0.0, 0.0])
print("held", flush=True)
time.sleep(600)
"""


@contextmanager
def another_process() -> Iterator[subprocess.Popen[str]]:
    """A process that has simulated three steps and holds credit for more."""
    command = [sys.executable, "-c", HOLDING]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def made() -> Any:
    return gymnasium.make(ID, account="lab").unwrapped


def test_two_environments_share_an_account_to_its_last_step() -> None:
    book, step = Ledger(), 0.24
    book.grant("lab", prices.micro(60))
    envs, going, steps = [made(), made()], [0, 1], [0, 0]
    for env in envs:
        env.reset(seed=0)
    assert book.balance("lab").pending_micro < prices.micro(2 * (0.4 + 17 * step) + 0.01)
    while going:
        for n in list(going):
            truncated = envs[n].step(STILL)[3]
            steps[n] += 1
            if truncated:
                going.remove(n)
                if envs[n].t == envs[n].max_steps:
                    envs[n].reset(seed=1)
                    going.append(n)
    for env in envs:
        env.close()
    assert min(steps) > 0.7 * max(steps)
    left = book.balance("lab")
    assert left.posted_micro < prices.micro(0.4 + 2 * step)
    assert left.pending_micro == 0
    assert book.check() == []


def test_a_second_environment_finds_credit_while_the_first_goes_on() -> None:
    """The first has spent half of the account; it holds no more than a quarter of the rest."""
    book = Ledger()
    book.grant("lab", prices.micro(60))
    first = made()
    first.reset(seed=0)
    for _ in range(120):
        assert not first.step(STILL)[3]
    free = book.balance("lab").available_micro
    assert free is not None
    assert free > prices.micro(15)
    second = made()
    second.reset(seed=0)
    assert not any(second.step(STILL)[3] for _ in range(30))
    first.close()
    second.close()


def test_a_killed_process_leaves_nothing_locked_and_is_not_charged() -> None:
    book = Ledger()
    book.grant("lab", prices.micro(8))
    with another_process() as process:
        (hold,) = holds(book, "lab")
        assert (hold.state, hold.run) == ("living", None)
        assert hold.holder is not None
        assert hold.holder.pid == process.pid
        assert release(book, "lab") == []  # It lives.
        process.send_signal(signal.SIGKILL)
        process.wait()
        (hold,) = holds(book, "lab")
        assert hold.state == "dead"
    env = made()  # Needs what the dead one holds, and frees it.
    env.reset(seed=0)
    steps = 0
    while not env.step(STILL)[3]:
        steps += 1
    env.close()
    assert steps + 1 == int((8 - 0.4) / 0.24)
    assert book.balance("lab").pending_micro == 0
    assert holds(book) == []
    assert book.check() == []


def test_a_zombie_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    while "Z" not in _stat(process.pid):
        pass
    started = replace(Holder.me(), pid=process.pid, started=_stat(process.pid)[-1])
    assert started.state == "dead"
    process.wait()
    assert started.state == "dead"


def _stat(pid: int) -> list[str]:
    text = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [text[0], text[19]]


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "living"),
        ({"started": "1"}, "dead"),  # The number was used again.
        ({"pid": 2**22 + 1}, "dead"),
        ({"host": "elsewhere", "pid": 2**22 + 1}, "unknown"),
        ({"boot": "another", "pid": 2**22 + 1}, "unknown"),
        ({"space": "pid:[1]", "pid": 2**22 + 1}, "unknown"),
    ],
)
def test_only_what_surely_ended_here_is_dead(changes: dict[str, Any], state: str) -> None:
    book = Ledger()
    book.grant("lab", 100)
    who = replace(Holder.me(), **changes)
    book.reserve("lab", LEASE, {"raw_byte": 90}, price_version="1", holder=who)
    assert [hold.state for hold in holds(book)] == [state]
    other = book.reserve("lab", b"m" * 16, {"raw_byte": 20}, price_version="1")
    assert other == (0 if state == "dead" else -1)
    assert [hold.lease for hold in release(book, "lab", force=True)] == (
        [b"m" * 16] if state == "dead" else [LEASE]
    )
    assert book.balance("lab").pending_micro == 0
    assert book.check() == []


def test_where_the_system_has_no_proc_a_process_is_known_by_its_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(holders, "_PROC", tmp_path)
    assert Holder.me().state == "living"
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert replace(Holder.me(), pid=process.pid).state == "dead"


def test_a_hold_of_an_older_version_is_kept_until_it_expires_or_is_forced() -> None:
    """It names no process."""
    book = Ledger()
    book.grant("lab", 100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Holder, "plain", property(lambda self: None))
        book.reserve("lab", LEASE, {"raw_byte": 90}, price_version="1")
    assert [(hold.holder, hold.state) for hold in holds(book)] == [(None, "unknown")]
    assert release(book) == []
    assert book.check() == []
    assert release(book, force=True)[0].amount_micro == 90


def test_a_post_and_a_quote_use_what_the_dead_hold(book: Ledger) -> None:
    for account in ("lab", "bob"):
        book.grant(account, 100)
        dead = replace(Holder.me(), started="1")
        book.reserve(account, LEASE, {"raw_byte": 90}, price_version="1", holder=dead)
    assert book.shortfall("lab", {"raw_byte": 50}) == 0
    assert book.shortfall("lab", {"raw_byte": 150}) == 50
    assert book.balance("lab").pending_micro == 90  # To ask books nothing.
    book.post("bob", [Usage(b"p" * 16, {"raw_byte": 50}, "1", "e" * 64)])
    assert book.balance("bob").pending_micro == 0
    assert AccountFunds(book, "lab").reserve(b"e" * 16, {"raw_byte": 95}, {}, 0, "1") == 0
    assert book.check() == []


def test_the_command_lists_frees_the_dead_and_forces_the_living() -> None:
    book = Ledger()
    book.open_account("lab", "prepaid")
    book.grant("lab/a", 100)
    book.grant("bob", 100)
    dead = replace(Holder.me(), started="1")
    book.reserve("lab/a", LEASE, {"raw_byte": 40}, price_version="1", holder=dead)
    book.reserve("lab/a", b"m" * 16, {"raw_byte": 30}, price_version="1", run="r" * 64)
    book.reserve("bob", b"n" * 16, {"raw_byte": 20}, price_version="1", holder=dead)
    listed = json.loads(cli("ledger", "release", "lab", "--list", "--json").stdout)
    assert [(row["held_micro"], row["state"], row["released"]) for row in listed] == [
        (40, "dead", False),
        (30, "living", False),
    ]
    done = cli("ledger", "release", "lab")
    assert done.returncode == 0
    assert f"process {os.getpid()}" in done.stdout
    assert "--force releases it" in done.stdout + done.stderr
    assert book.balance("lab/a").pending_micro == 30
    assert json.loads(cli("ledger", "release", "lab", "--force", "--json").stdout)[0]["released"]
    assert book.balance("lab/a").pending_micro == 0
    assert book.balance("bob").pending_micro == 20
    assert cli("ledger", "release").returncode == 0
    assert book.balance("bob").pending_micro == 0
    unknown = cli("ledger", "release", "nobody")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    with pytest.raises(UnknownNameError):
        holds(book, "nobody")


def test_a_run_whose_hold_was_forced_from_it_pays_from_what_there_is(tmp_path: Any) -> None:
    book = Ledger()
    book.grant("lab", prices.micro(10_000))
    freed: list[int] = []

    class Watcher(Ignoring):
        def kept(self, record: Any, bill: Any) -> None:
            freed.append(sum(one.amount_micro for one in release(Ledger(), "lab", force=True)))

    sandbox.generate(recipe(account="lab", episodes=4), tmp_path / "run", watcher=Watcher())
    assert not sandbox.verify(tmp_path / "run").faults
    assert book.balance("lab").pending_micro == 0


def test_the_balance_has_what_an_overdraft_lets_an_account_pay() -> None:
    Ledger().open_account("lab", "prepaid", prices.micro(2))
    env = made()
    _, info = env.reset(seed=0)
    while not (done := env.step(STILL))[3]:
        assert info["balance"] - done[4]["balance"] == done[4]["charged"]
        info = done[4]
        assert info["balance"] >= 0
    last = done[4]
    assert last["budget"]["remaining"] == last["balance"] < last["budget"]["needed"]
    env.close()


def test_credit_for_other_meters_is_not_said_to_be_there(tmp_path: Path) -> None:
    book = Ledger()
    book.grant("lab", prices.micro(49.55), meters=["pixel", "raw_byte"])
    book.grant("lab", prices.micro(0.3))
    said = (
        r"An episode costs 0\.64 credits but the account 'lab' has 49\.85, of which 0\.30 can pay "
        r"for it: the rest is for other meter units\. Nothing was done"
    )
    with pytest.raises(BudgetExhaustedError, match=said):
        made().reset(seed=0)
    book.grant("lab", prices.micro(0.5))
    env = made()
    env.reset(seed=0)
    *_, cut, info = env.step(STILL)
    assert cut
    assert info["budget"] == {"reason": "exhausted", "remaining": 160_000, "needed": 240_000}
    with pytest.raises(BudgetExhaustedError, match=r"This costs 0\.24 .*of which 0\.16 can pay"):
        env.step(STILL)
    env.close()
    work = recipe("billiards", episodes=1, account="lab")
    with pytest.raises(BudgetExhaustedError, match=r"has 49\.71, of which .* can pay for it\. Not"):
        sandbox.generate(work, tmp_path / "run")
    assert book.check() == []
