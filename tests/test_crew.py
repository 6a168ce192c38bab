"""Workers make a run's last episodes one by one: bytes, bill and ends are those of one process."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from running import content, opened, recipe

import sandbox
from sandbox import prices
from sandbox.errors import BudgetExhaustedError, SandboxError
from sandbox.ledger import Ledger
from sandbox.run.workers import Crew, sharing

pytestmark = pytest.mark.timeout(120)  # Who waits for each other waits for ever.

SHARDS = [(5, 100), (12, 2), (11, 3)]  # One shard; whole shards and a rest; an odd rest.


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one process, not to be changed."""
    folder = tmp_path_factory.mktemp("alone")
    for episodes, size in SHARDS:
        sandbox.generate(billiards(episodes, size), folder / f"{episodes}")
    return folder


def billiards(episodes: int, size: int, **changes: Any) -> Any:
    seen = {"observation": ["proprio"]}
    return recipe("billiards", episodes=episodes, shard_episodes=size, **seen, **changes)


@pytest.mark.parametrize(("episodes", "size"), SHARDS)
def test_it_has_the_bytes_of_one_process(
    episodes: int, size: int, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[list[int]] = []
    plan = Crew.plan
    monkeypatch.setattr(Crew, "plan", lambda self: planned.append(plan(self)) or planned[-1])  # type: ignore[misc]
    seen: list[int] = []
    with opened(billiards(episodes, size), tmp_path / "run") as run:
        bill = run.generate(lambda record, _: seen.append(record.episode), sharing(2))
    assert sorted(seen) == list(range(episodes))
    assert bill.episodes == episodes
    assert content(tmp_path / "run") == content(alone / f"{episodes}")
    assert len(planned[0]) == {5: 1, 12: 2, 11: 2}[episodes], "shards that are made one by one"
    assert [record.run for record in sandbox.Dataset(tmp_path / "run").records] == [
        run.id
    ] * episodes


def test_an_account_pays_exactly_the_run(tmp_path: Path) -> None:
    book, wanted = Ledger(), billiards(7, 100, account="lab")
    book.grant("lab", sandbox.quote(wanted).amount)
    bill = sandbox.generate(wanted, tmp_path / "run", workers=3)
    balance = book.balance("lab")
    assert (balance.posted_micro, balance.pending_micro, bill.episodes) == (0, 0, 7)
    assert sandbox.verify(tmp_path / "run", sample=1).faults == []


def test_a_greedy_run_ends_with_what_its_account_pays(tmp_path: Path) -> None:
    book, wanted = Ledger(), billiards(9, 2, account="lab", admission="greedy")
    one = sandbox.quote(billiards(1, 2)).amount
    book.grant("lab", 5 * one)
    bill = sandbox.generate(wanted, tmp_path / "run", workers=3)
    balance = book.balance("lab")
    assert bill.ended
    assert 3 <= bill.episodes <= 5
    assert (balance.posted_micro, balance.pending_micro) == ((5 - bill.episodes) * one, 0)
    book.grant("lab", 20 * one)
    sandbox.generate(wanted, tmp_path / "run", workers=2)
    sandbox.generate(wanted, tmp_path / "whole")
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_a_budget_is_spent_to_the_last_episode_it_pays(tmp_path: Path) -> None:
    one = sandbox.quote(billiards(1, 2)).amount
    wanted = billiards(9, 2, admission="greedy", budget=float(prices.credits(5 * one)))
    bill = sandbox.generate(wanted, tmp_path / "run", workers=3)
    assert (bill.episodes, bill.amount) == (5, 5 * one)


def test_what_fails_in_a_worker_is_said_and_what_is_kept_is_charged(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(
        "import numpy as np\n"
        "def fails(env, rng):\n"
        "    if rng.random() < 0.2:\n"
        "        raise RuntimeError('no such luck')\n"
        "    return lambda: np.zeros(env.action_size, np.float32)\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        wanted = billiards(40, 100, policies={"late:fails": 1})
        with pytest.raises(SandboxError, match=r"worker \d died|no such luck"):
            sandbox.generate(wanted, tmp_path / "run", workers=2)
    posts = [it for it in Ledger().transfers(["local"]) if it.move.kind == "post"]
    assert len(posts) == len(sandbox.Dataset(tmp_path / "run"))


def test_an_interrupt_stops_it_and_the_same_call_goes_on(alone: Path, tmp_path: Path) -> None:
    wanted = billiards(5, 100)

    def stop(record: Any, bill: Any) -> None:
        if bill.episodes == 2:
            signal.raise_signal(signal.SIGINT)

    began = time.monotonic()
    with opened(wanted, tmp_path / "run") as run, pytest.raises(KeyboardInterrupt):
        run.generate(stop, sharing(2))
    assert time.monotonic() - began < 60
    posts = [it for it in Ledger().transfers(["local"]) if it.move.kind == "post"]
    assert 2 <= len(posts) <= 5
    sandbox.generate(wanted, tmp_path / "run", workers=3)
    assert content(tmp_path / "run") == content(alone / "5")


def test_a_run_whose_first_episode_nobody_pays_is_refused(tmp_path: Path) -> None:
    wanted = billiards(4, 100, account="lab", admission="greedy")
    Ledger().grant("lab", 1)
    with pytest.raises(BudgetExhaustedError):
        sandbox.generate(wanted, tmp_path / "run", workers=2)
