"""Ranks share a run without knowing of each other: bytes, bill and log are those of one process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from running import TESTS, cli, content, file_of, opened, recipe

import sandbox
from sandbox.errors import BudgetExhaustedError, InvalidInputError, RunConflictError
from sandbox.ledger import Ledger, locks
from sandbox.run.locks import lock, lock_lease
from sandbox.run.ranks import Rank, rank
from sandbox.run.recipe import Recipe

pytestmark = pytest.mark.timeout(120)


SCENARIOS = [str(TESTS / f"short_{name}.yaml") for name in ("cartpole_swingup", "billiards")]


def shared(**changes: Any) -> Recipe:
    """A recipe of four shards."""
    return recipe(**{"episodes": 11, "shard_episodes": 3, **changes})


def srun(number: int, size: int) -> dict[str, str]:
    """The variables of a process that srun starts."""
    return {"SLURM_PROCID": str(number), "SLURM_NTASKS": str(size), "SLURM_STEP_ID": "0"}


@pytest.fixture(scope="module")
def by_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process, not to be changed."""
    folder = tmp_path_factory.mktemp("by_one")
    sandbox.generate(shared(), folder / "run")
    return folder / "run"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 1, 2, 0, 0)])
def test_in_any_order_and_again_they_make_the_bytes_of_one(
    order: tuple[int, ...], by_one: Path, tmp_path: Path
) -> None:
    for number in order:
        sandbox.generate(shared(), tmp_path / "run", rank=number, world_size=3)
    assert not (tmp_path / "run" / "manifest.json").exists()
    done = sandbox.settle(tmp_path / "run")
    assert (done.episodes, done.posted, done.finished, done.missing) == (11, 0, True, [])
    assert content(tmp_path / "run") == content(by_one)
    assert sandbox.verify(tmp_path / "run").faults == []
    assert not list(tmp_path.glob("run/.lock.*")), "a lock for each shard"


def test_they_run_at_once_as_a_job_of_slurm_starts_them(by_one: Path, tmp_path: Path) -> None:
    book, out = Ledger(), tmp_path / "run"
    path = str(file_of(shared(account="lab"), tmp_path))
    book.grant("lab", sandbox.quote(shared()).amount)
    command = [sys.executable, "-m", "sandbox", "generate", path, "--out", str(out)]
    ranks = [
        subprocess.Popen(
            [*command, "--rank", "auto", "--json"],
            env={**os.environ, **srun(number, 4)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    said = [one.communicate() for one in ranks]
    assert [one.returncode for one in ranks] == [0] * 4, said
    bills = [json.loads(out) for out, _ in said]
    assert [bill["episodes"] for bill in bills] == [3, 3, 3, 2]
    done = cli("settle", out)
    assert done.returncode == 0, done.stderr
    balance = book.balance("lab")
    assert (balance.posted_micro, balance.pending_micro) == (0, 0)
    assert sum(bill["charge_micro"] for bill in bills) == sandbox.quote(shared()).amount
    assert content(out).keys() == content(by_one).keys()
    assert sandbox.verify(out).faults == []


def test_a_mixture_of_worlds_is_shared_too(tmp_path: Path) -> None:
    worlds = [{"environment": "cartpole_swingup", "share": 2}, {"environment": "billiards"}]
    parts = [
        {**one, "policies": {"random": 1}, "scenario": SCENARIOS[n]} for n, one in enumerate(worlds)
    ]
    wanted = {"format": 1, "episodes": 9, "seed": 3, "shard_episodes": 2, "parts": parts}
    sandbox.generate(wanted, tmp_path / "one")
    for number in (1, 0):
        sandbox.generate(wanted, tmp_path / "two", rank=number, world_size=2)
    assert sandbox.settle(tmp_path / "two").finished
    assert content(tmp_path / "two") == content(tmp_path / "one")


def test_a_missing_rank_is_named_and_may_be_made_up_for(by_one: Path, tmp_path: Path) -> None:
    for number in (0, 2):
        sandbox.generate(shared(), tmp_path / "run", rank=number, world_size=3)
    found = cli("settle", tmp_path / "run")
    assert "1 shards lack episodes: 1." in found.stdout.replace("\n", " ")
    assert found.returncode == 1
    assert sandbox.settle(tmp_path / "run").missing == [1]
    for number in (0, 1):  # By fewer ranks: other shards are theirs.
        sandbox.generate(shared(), tmp_path / "run", rank=number, world_size=2)
    assert sandbox.settle(tmp_path / "run").finished
    assert content(tmp_path / "run") == content(by_one)


def test_who_is_alone_goes_on_with_what_ranks_made(by_one: Path, tmp_path: Path) -> None:
    sandbox.generate(shared(), tmp_path / "run", rank=3, world_size=4)
    assert sandbox.generate(shared(), tmp_path / "run", workers=2).episodes == 11
    assert content(tmp_path / "run") == content(by_one)
    assert sandbox.generate(shared(), tmp_path / "run", rank=0, world_size=4).episodes == 0


def test_nobody_else_writes_the_shard_of_a_rank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "JOIN_S", 0.1)
    monkeypatch.setattr(locks, "ORPHAN_S", 0.2)
    sandbox.generate(shared(), tmp_path / "run", rank=3, world_size=4)
    with lock(tmp_path / "run", worker=0, joins=True):
        with pytest.raises(RunConflictError, match="another process is generating here"):
            sandbox.generate(shared(), tmp_path / "run", rank=0, world_size=4)
        with pytest.raises(RunConflictError, match="another process is generating here"):
            sandbox.settle(tmp_path / "run")
        with pytest.raises(RunConflictError, match="another process is generating here"):
            sandbox.generate(shared(), tmp_path / "run")
        assert sandbox.generate(shared(), tmp_path / "run", rank=1, world_size=4).episodes == 3
    with lock(tmp_path / "run"), pytest.raises(RunConflictError, match="another process"):
        sandbox.generate(shared(), tmp_path / "run", rank=0, world_size=4)
    with (
        opened(shared(), tmp_path / "run") as run,
        lock_lease(run.folder, run.ledger, 0, joins=True),  # It makes a copy of the run.
        pytest.raises(RunConflictError, match="in another folder"),
    ):
        sandbox.generate(shared(), tmp_path / "run", rank=0, world_size=4)


DIES = """
import os, signal, sys
from sandbox.run import filling
from sandbox.trajectory import ShardWriter
filling.BATCH, filling.HOLD_BYTES = 100, 1
commit, left = ShardWriter.commit, [int(sys.argv.pop(1))]
def dying(self):
    before = len(self.records)
    commit(self)
    left[0] -= len(self.records) - before
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
ShardWriter.commit = dying
from sandbox.cli import main
main()
"""


@pytest.mark.parametrize("dies_after", [1, 3, 4])
def test_a_rank_killed_between_keeping_and_charging_is_charged_once(
    dies_after: int, tmp_path: Path
) -> None:
    book, out = Ledger(), tmp_path / "run"
    wanted = shared(account="lab")
    book.grant("lab", sandbox.quote(wanted).amount)
    options = ("generate", str(file_of(wanted, tmp_path)), "--out", str(out))
    given = (*options, "--rank", "0", "--world-size", "2")
    done = subprocess.run([sys.executable, "-c", DIES, str(dies_after), *given], check=False)
    assert done.returncode == -signal.SIGKILL
    sandbox.generate(wanted, out, rank=1, world_size=2)
    sandbox.generate(wanted, out, rank=0, world_size=2)
    assert sandbox.settle(out).finished
    balance = book.balance("lab")
    assert (balance.posted_micro, balance.pending_micro) == (0, 0)
    assert sandbox.verify(out).faults == []


def test_ctrl_c_ends_a_rank_and_loses_nothing(by_one: Path, tmp_path: Path) -> None:
    out, path = tmp_path / "run", str(file_of(shared(), tmp_path))
    command = [sys.executable, "-m", "sandbox", "generate", path, "--out", str(out)]
    with subprocess.Popen(
        [*command, "--rank", "0", "--world-size", "1"], stdout=subprocess.PIPE
    ) as process:
        end = time.monotonic() + 60
        while not list(out.glob("shards/*.jsonl")) and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode in (0, 130)
    sandbox.generate(shared(), out, rank=0, world_size=1)
    assert sandbox.settle(out).finished
    assert content(out) == content(by_one)


BATCH = {
    "SLURM_PROCID": "0",
    "SLURM_NTASKS": "4",
}  # What a job's script has, which srun did not start.
TORCH = {"RANK": "2", "WORLD_SIZE": "5"}


def array(number: int, size: int, first: int) -> dict[str, str]:
    """The variables of a task of a SLURM array."""
    said = {"ID": number, "COUNT": size, "MIN": first}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in said.items()}


@pytest.mark.parametrize(
    ("variables", "it_is"),
    [
        (srun(2, 5), Rank(2, 5)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, Rank(0, 1)),  # A job's script.
        (TORCH, Rank(2, 5)),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"}, Rank(0, 1)),
        ({"PMI_RANK": "1", "PMI_SIZE": "2", "RANK": "0", "WORLD_SIZE": "9"}, Rank(1, 2)),
        (array(7, 4, 4), Rank(3, 4)),
        ({**array(8, 3, 4), "SLURM_ARRAY_TASK_STEP": "2"}, Rank(2, 3)),
        ({**array(7, 4, 4), "SLURM_ARRAY_TASK_MAX": "7"}, Rank(3, 4)),
        ({**array(1, 4, 0), **srun(2, 8)}, Rank(10, 32)),
        ({**array(1, 4, 0), "SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, Rank(1, 4)),
        ({**BATCH, "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4"}, Rank(3, 4)),
        ({**BATCH, "PMI_RANK": "3", "PMI_SIZE": "4"}, Rank(3, 4)),
        ({**srun(1, 2), **TORCH, "TORCHELASTIC_RUN_ID": "none"}, Rank(2, 5)),
        ({**srun(1, 2), **TORCH}, Rank(1, 2)),  # Exported by somebody before srun.
    ],
)
def test_the_usual_variables_say_a_rank(
    variables: dict[str, str], it_is: Rank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", variables)
    assert rank("auto", None) == it_is


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "no variable says a rank"),
        ({"SLURM_PROCID": "1"}, "no variable says a rank"),
        (BATCH, "SLURM_NTASKS=4, but this process is the script .* Put srun before"),
        ({**array(3, 2, 1), "SLURM_ARRAY_TASK_MAX": "3"}, "TASK_ID=3: this array of 2 has gaps"),
        ({**array(1, 2, 1), "SLURM_ARRAY_TASK_MAX": "3"}, "such as --array=0-1"),
        ({"RANK": "two", "WORLD_SIZE": "5"}, "RANK='two': is no whole number"),
        ({"RANK": "5", "WORLD_SIZE": "5"}, "ranks of a world of 5 go from 0 to 4"),
        ({"RANK": "-1", "WORLD_SIZE": "5"}, "ranks of a world of 5"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "world size 0"),
        ({"SLURM_ARRAY_TASK_ID": "1"}, "SLURM_ARRAY_TASK_COUNT"),
        (array(9, 4, 1), "ranks of a world of 4"),
    ],
)
def test_variables_that_say_no_rank_are_refused(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", variables)
    with pytest.raises(InvalidInputError, match=said):
        rank("auto", None)


@pytest.mark.parametrize(
    ("given", "changes", "said"),
    [
        ({"rank": 0}, {}, "give both as numbers"),
        ({"world_size": 2}, {}, "give both as numbers"),
        ({"rank": "auto", "world_size": 2}, {}, "give both as numbers"),
        ({"rank": 2, "world_size": 2}, {}, "go from 0 to 1"),
        ({"rank": -1, "world_size": 2}, {}, "go from 0 to 1"),
        ({"rank": 0, "world_size": 0}, {}, "world size 0"),
        ({"rank": 0, "world_size": 2, "workers": 2}, {}, "a rank is one process"),
        ({"rank": 0, "world_size": 2}, {"admission": "greedy"}, "admission greedy: credit may"),
        ({"rank": 0, "world_size": 2}, {"episodes": None, "credits": 9.0}, "credits: credit may"),
    ],
)
def test_what_ranks_cannot_do_is_refused_and_nothing_is_done(
    given: dict[str, Any], changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    wanted = shared().model_dump(exclude_none=True) | changes
    wanted = {key: value for key, value in wanted.items() if value is not None}
    with pytest.raises(InvalidInputError, match=said):
        sandbox.generate(wanted, tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_a_rank_that_cannot_be_paid_is_refused(tmp_path: Path) -> None:
    book, wanted = Ledger(), shared(account="lab")
    each = sandbox.quote(shared(episodes=1)).amount
    book.grant("lab", 5 * each)
    with pytest.raises(BudgetExhaustedError, match="rank 0 of 2: 6 episodes cost up to"):
        sandbox.generate(wanted, tmp_path / "run", rank=0, world_size=2)
    assert not (tmp_path / "run").exists()
    assert sandbox.generate(wanted, tmp_path / "run", rank=1, world_size=2).episodes == 5
    with pytest.raises(BudgetExhaustedError, match="the budget is"):
        sandbox.generate(wanted, tmp_path / "run", rank=0, world_size=2, budget=each / 1e6)
    book.grant("lab", 3 * each)  # Half of what is missing.
    with pytest.raises(BudgetExhaustedError):
        sandbox.generate(wanted, tmp_path / "run", rank=0, world_size=2)
    assert sandbox.settle(tmp_path / "run").episodes == 5
