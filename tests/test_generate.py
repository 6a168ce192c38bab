"""Recipes carried out: quoted, metered, kept whole, continued, and the same bytes every time."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import KILLED, cli, content, file_of, logged, opened, python, recipe

import sandbox
from sandbox import catalogue, prices
from sandbox.errors import (
    BudgetExhaustedError,
    InvalidInputError,
    LedgerError,
    RunConflictError,
    SandboxError,
)
from sandbox.ledger import Ledger
from sandbox.ledger.statement import statement
from sandbox.run import admission
from sandbox.run.recipe import changed
from sandbox.run.workers import sharing
from sandbox.sources import rollout
from sandbox.trajectory import Episode, ShardReader, ShardWriter, shards


def rows_of(path: Path, name: str) -> list[Any]:
    return [episode.rows[name] for episode in sandbox.open_run(path).episodes()]


SOAK = "SANDBOX_SOAK" in os.environ


# Where lengths differ, a quote tries some episodes: the long version does so in every world.
QUOTED = [n for n in catalogue.environments() if catalogue.environment(n).fixed_length]


QUOTED = catalogue.environments() if SOAK else [*QUOTED, "two_room"]


@pytest.mark.parametrize("name", QUOTED)
def test_the_quote_is_the_bill_or_its_upper_bound(name: str, tmp_path: Path) -> None:
    wanted = recipe(name, policies={"scripted": 1.0}, episodes=2 if SOAK else 1)
    quoted = sandbox.quote(wanted)
    bill = sandbox.generate(wanted, tmp_path / "run")
    assert quoted.exact == catalogue.environment(name).fixed_length
    if quoted.exact:
        assert (bill.quantities, bill.amount) == (quoted.quantities, quoted.amount)
    assert bill.amount <= quoted.amount
    assert bill.amount == prices.current().cost(bill.quantities)


def test_the_bill_is_what_the_ledger_and_the_rows_say(tmp_path: Path) -> None:
    bill = sandbox.generate(recipe("push_t", episodes=3, observation=["pixels"]), tmp_path / "run")
    rows = sum(int(charge.sum()) for charge in rows_of(tmp_path / "run", "charge"))
    book = Ledger()
    assert bill.amount == rows == -book.balance("local").posted_micro
    assert book.check() == []


def test_rows_follow_the_convention(tmp_path: Path) -> None:
    sandbox.generate(recipe("push_t", episodes=2), tmp_path / "run")
    for path in shards(tmp_path / "run"):
        with ShardReader(path) as reader:
            for n in range(len(reader)):
                rows = reader.read(n).rows
                steps = len(rows["reward"]) - 1
                assert rows["reward"][0] == 0
                assert np.isnan(rows["action"][-1]).all()
                assert not np.isnan(rows["action"][:-1]).any()
                assert (rows["step_idx"] == np.arange(steps + 1)).all()
                assert (rows["episode_idx"] == n).all()
                assert (rows["truncated"] | rows["terminated"]).nonzero()[0].tolist() == [steps]
                # The finger moves in the row after the one that holds the action.
                names = reader.schema.columns[reader.schema.names.index("state")].elements
                at = names.index("finger.x.position")
                moved = np.diff(rows["state"][:, at])
                taken = rows["action"][:-1, 0] * 0.05
                assert np.corrcoef(moved, taken)[0, 1] > 0.9


def test_generating_twice_gives_the_same_bytes_and_charges_once(tmp_path: Path) -> None:
    wanted = recipe("push_t", episodes=3, observation=["proprio", "pixels"], image_size=16)
    first = sandbox.generate(wanted, tmp_path / "a")
    second = sandbox.generate(wanted, tmp_path / "b")
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert (first.already, second.already) == (0, 3)
    assert first.amount == second.amount == -Ledger().balance("local").posted_micro
    again = sandbox.generate(wanted, tmp_path / "a")
    assert again.already == 3


def test_another_process_with_another_hash_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    code = (
        "import sandbox\n"
        "from running import recipe\n"
        f"sandbox.generate(recipe(episodes=2), {str(tmp_path / 'b')!r})"
    )
    other = python("-c", code, hash_seed="4321")
    assert other.returncode == 0, other.stderr
    sandbox.generate(recipe(episodes=2), tmp_path / "a")
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_an_episode_depends_on_the_seed_and_its_place_alone(tmp_path: Path) -> None:
    mixed = {"random": 1.0, "ou_noise": 2.0, "scripted": 1.0}
    sandbox.generate(recipe("push_t", episodes=2, policies=mixed), tmp_path / "short")
    sandbox.generate(
        recipe("push_t", episodes=4, policies=mixed, shard_episodes=3), tmp_path / "long"
    )
    for column in ("state", "action"):
        short, long = rows_of(tmp_path / "short", column), rows_of(tmp_path / "long", column)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(short, long, strict=False))


def start(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command, path = "from sandbox.cli import main; main()", file_of(KILLED, folder.parent)
    return subprocess.Popen(
        [sys.executable, "-c", command, "generate", str(path), "--out", str(folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_run_by_three_processes_has_the_bytes_of_one_by_one(tmp_path: Path) -> None:
    wanted = recipe("billiards", episodes=5, shard_episodes=1)
    sandbox.generate(wanted, tmp_path / "one")
    seen: list[int] = []
    with opened(wanted, tmp_path / "three") as run:
        run.generate(lambda record, bill: seen.append(record.episode), sharing(3))
    assert sorted(seen) == list(range(5))
    assert run.bill.already == 5
    assert content(tmp_path / "one") == content(tmp_path / "three")


def test_what_stops_one_of_several_processes_is_said_and_the_rest_is_kept(tmp_path: Path) -> None:
    quoted = sandbox.quote(recipe("billiards", episodes=1)).amount
    Ledger().grant("lab", 2 * quoted)
    wanted = recipe("billiards", episodes=6, shard_episodes=2, account="lab", admission="greedy")
    ended = sandbox.generate(wanted, tmp_path / "run", workers=2).ended
    assert "sandbox ledger grant lab" in ended
    book = Ledger()
    assert (
        0
        < -sum(line["amount_micro"] for line in statement(book, "lab") if line["kind"] == "post")
        <= 2 * quoted
    )
    assert book.balance("lab").pending_micro == 0
    book.grant("lab", 100 * quoted)
    sandbox.generate(wanted, tmp_path / "run")
    sandbox.generate(wanted, tmp_path / "whole")
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_a_safe_run_needs_credit_for_all_of_it_and_a_greedy_one_for_an_episode(
    tmp_path: Path,
) -> None:
    quoted = sandbox.quote(recipe("billiards", episodes=1)).amount
    Ledger().grant("lab", 2 * quoted)
    with pytest.raises(BudgetExhaustedError, match="Nothing was done"):
        sandbox.generate(recipe("billiards", account="lab"), tmp_path / "safe")
    with opened(recipe("billiards", account="lab", admission="greedy"), tmp_path / "greedy") as run:
        admission.check(run, run.quote())
        assert run.generate().ended
    balance = Ledger().balance("lab")
    assert (balance.posted_micro, balance.pending_micro) == (0, 0)
    assert sum(len(ShardReader(path)) for path in shards(tmp_path / "greedy")) == 2


def test_a_run_is_charged_in_one_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.generate(recipe("billiards", episodes=1), tmp_path / "run")
    monkeypatch.setenv("SANDBOX_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(LedgerError, match="charged in the ledger"):
        sandbox.generate(recipe("billiards", episodes=1), tmp_path / "run")
    assert Ledger().balance("local").posted_micro == 0


def test_grants_for_one_meter_pay_that_meter_alone(tmp_path: Path) -> None:
    book, wanted = Ledger(), recipe("billiards", episodes=1, account="lab")
    quoted = sandbox.quote(wanted)
    physics = prices.current().charges(quoted.quantities)["physics_step"]
    book.grant("lab", quoted.amount, meters=["physics_step"], source="a gift")
    with pytest.raises(BudgetExhaustedError):
        sandbox.generate(wanted, tmp_path / "run")
    book.grant("lab", quoted.amount - physics)
    sandbox.generate(wanted, tmp_path / "run")
    assert book.balance("lab").posted_micro == quoted.amount - physics
    assert book.shortfall("lab", {"pixel": 1}) == 1
    assert sandbox.verify(tmp_path / "run", sample=0).faults == []


def test_an_interrupt_keeps_what_is_committed_and_says_how_to_go_on(tmp_path: Path) -> None:
    process = start(tmp_path / "run", "--episodes", "4000")
    while len(logged(tmp_path / "run")) < 3:
        time.sleep(0.05)
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"run the same command again" in out.replace(b"\n", b" ")
    assert b"Traceback" not in error
    posts = [line for line in statement(Ledger(), "local") if line["kind"] == "post"]
    assert len(posts) == sum(len(ShardReader(path)) for path in shards(tmp_path / "run")) >= 9


def test_an_interrupt_waits_until_a_kept_episode_is_charged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = ShardWriter.append

    def append_and_interrupt(self: ShardWriter, episode: Episode) -> dict[str, Any]:
        kept = append(self, episode)
        signal.raise_signal(signal.SIGINT)
        return kept

    monkeypatch.setattr(ShardWriter, "append", append_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        sandbox.generate(recipe(), tmp_path / "run")
    posts = [line for line in statement(Ledger(), "local") if line["kind"] == "post"]
    assert len(posts) == len(logged(tmp_path / "run")) == 1


def test_two_generators_on_one_folder_are_refused(tmp_path: Path) -> None:
    first = start(tmp_path / "run", "--episodes", "4000")
    while not logged(tmp_path / "run"):
        time.sleep(0.05)
        assert first.poll() is None, first.communicate()
    path = file_of(KILLED, tmp_path)
    second = cli("generate", path, "--out", tmp_path / "run", "--episodes", "4000")
    first.kill()
    first.communicate()
    assert second.returncode == 2
    assert "another process is generating here" in " ".join(second.stderr.split())
    assert "Traceback" not in second.stderr


def test_a_run_that_the_budget_cannot_pay_is_refused_whole(tmp_path: Path) -> None:
    with pytest.raises(BudgetExhaustedError, match=r"cost .* credits but the budget is 1\.00"):
        sandbox.generate(recipe(), tmp_path / "run", budget=1)
    assert not (tmp_path / "run").exists()
    assert Ledger().balance("local").posted_micro == 0


def test_a_prepaid_account_pays_exactly_the_run_or_nothing(tmp_path: Path) -> None:
    book = Ledger()
    wanted = recipe(episodes=2, account="lab")
    book.grant("lab", sandbox.quote(recipe(episodes=2)).amount - 1)
    with pytest.raises(BudgetExhaustedError, match=r"sandbox ledger grant lab 0\.000001"):
        sandbox.generate(wanted, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    book.grant("lab", 1)
    sandbox.generate(wanted, tmp_path / "run")
    assert (book.balance("lab").posted_micro, book.balance("lab").pending_micro) == (0, 0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 6}, "seed was 5 and is 6"),
        ({"episodes": 4}, "episodes was 3 and is 4"),
        ({"compression": "none"}, "compression was 'zstd' and is 'none'"),
    ],
)
def test_a_folder_made_by_another_recipe_is_refused(
    change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    sandbox.generate(recipe(), tmp_path / "run")
    before = content(tmp_path / "run")
    with pytest.raises(RunConflictError, match=says):
        sandbox.generate(recipe(**change), tmp_path / "run")
    assert content(tmp_path / "run") == before


def test_a_folder_of_another_format_or_of_somebody_else_is_refused(tmp_path: Path) -> None:
    sandbox.generate(recipe(), tmp_path / "run")
    known = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**known, "format": 99}))
    with pytest.raises(Exception, match="not of run format 3"):
        sandbox.generate(recipe(), tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("important")
    with pytest.raises(RunConflictError, match="something that is no run"):
        sandbox.generate(recipe(), tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "important"


def test_what_was_simulated_but_not_kept_is_not_charged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Ledger().grant("lab", prices.micro(1000))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rollout, "finish", fail)
    with pytest.raises(SandboxError, match="No space left"):
        sandbox.generate(recipe(account="lab"), tmp_path / "run")
    balance = Ledger().balance("lab")
    assert (balance.posted_micro, balance.pending_micro) == (prices.micro(1000), 0)


def test_a_policy_of_ones_own_is_called_by_its_path_and_never_by_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "def half(env, rng):\n"
        "    return lambda: np.full(env.action_size, rng.choice([-0.5, 0.5]), np.float32)\n"
        "NONE = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    sandbox.generate(recipe(policies={"mine:half": 1.0}, episodes=1), tmp_path / "run")
    with ShardReader(shards(tmp_path / "run")[0]) as reader:
        one = reader.read(0)
    assert set(np.abs(one.rows["action"][:-1]).ravel().tolist()) == {0.5}
    (tmp_path / "mine.py").unlink()
    monkeypatch.delitem(sys.modules, "mine")
    report = sandbox.verify(tmp_path / "run")
    assert report.faults == []
    assert "the actions of mine:half were taken as recorded." in report.notes
    for name, says in (
        ("os:nobody", "cannot be imported"),
        ("nobody:x", "cannot be imported"),
        ("os:sep", "no function"),
    ):
        with pytest.raises(InvalidInputError, match=says):
            sandbox.generate(recipe(policies={name: 1.0}), tmp_path / "other")
    assert not (tmp_path / "other").exists()
    with pytest.raises(InvalidInputError, match="policies"):
        changed(recipe(), policies={"os.system": 1.0})
