"""Ranks as SLURM starts, cancels and requeues them: the bytes and the bill of one process."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import postgres
import pytest
from running import content, file_of, recipe
from slurm.jobs import Slurm

import sandbox
from sandbox.ledger import Ledger
from sandbox.run.recipe import Recipe

GENERATE = "sandbox generate recipe.yaml --out run --rank auto"
PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    """Two nodes of two cores."""
    made = Slurm()
    yield made
    made.close()


@pytest.fixture
def work(slurm: Slurm, tmp_path: Path) -> Path:
    """A folder of a test, where its jobs run."""
    slurm.work = tmp_path
    return tmp_path


def shared(**changes: object) -> Recipe:
    """A recipe of eleven shards."""
    return recipe(**{"episodes": 33, "shard_episodes": 3, "account": "lab", **changes})


def paid(wanted: Recipe) -> Ledger:
    """A ledger that pays for a recipe once, to the microcredit."""
    book = Ledger()
    book.grant("lab", sandbox.quote(wanted).amount)
    return book


def by_one(wanted: Recipe, work: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What one process makes of a recipe, charged elsewhere."""
    with monkeypatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(work / "elsewhere"))
        patch.delenv("SANDBOX_LEDGER", raising=False)
        Ledger().grant("lab", 10**12)
        sandbox.generate(wanted, work / "one")
    return content(work / "one")


def is_right(work: Path, wanted: Recipe, book: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check bytes, bill and charges of a run."""
    assert content(work / "run") == by_one(wanted, work, monkeypatch)
    balance = book.balance("lab")
    assert (balance.posted_micro, balance.pending_micro) == (0, 0)
    assert sandbox.verify(work / "run").faults == []


def until(true: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def documented() -> tuple[str, list[str]]:
    """The script of the page, and the commands that submit it."""
    blocks = re.findall(r"```[^\n]*\n(.*?)```", PAGE.read_text(), re.DOTALL)
    script = next(block for block in blocks if block.startswith("#!/bin/bash"))
    commands = next(block for block in blocks if "sbatch" in block and block != script)
    return script, commands.splitlines()


def test_the_documented_job_makes_the_run_of_one_process(
    slurm: Slurm, work: Path, postgresql: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgresql.url(postgresql.database())
    monkeypatch.setenv("SANDBOX_LEDGER", url)
    wanted = shared()
    book = paid(wanted)
    file_of(wanted, work)
    script, commands = documented()
    for old, new in {"0-199": "0-3", "big.yaml": "recipe.yaml", "/shared/big": "run"}.items():
        assert old in script + "".join(commands)
        script = script.replace(old, new)
        commands = [line.replace(old, new) for line in commands]
    (work / "big.sh").write_text(script)
    commands = [re.sub(r'"postgresql://[^"]*"', f'"{url}"', line) for line in commands]
    said = slurm.run("bash", "-e", "-c", "\n".join(commands))
    assert slurm.wait(said.split()[-1]) == {said.split()[-1]: "COMPLETED"}, said
    is_right(work, wanted, book, monkeypatch)
    assert len(list(work.glob("slurm-*_*.out"))) == 4


def test_tasks_and_arrays_of_jobs_with_tasks_are_ranks(
    slurm: Slurm, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = shared()
    book = paid(wanted)
    file_of(wanted, work)
    slurm.run("srun", "-n", "2", *GENERATE.split())
    slurm.run("sandbox", "settle", "run")
    is_right(work, wanted, book, monkeypatch)
    (work / "run").rename(work / "before")
    book.grant("lab", sandbox.quote(wanted).amount)  # Held for work that is not charged again.
    job = slurm.submit("--array=4-8:4", "--ntasks=2", "--wrap", f"srun {GENERATE}")
    assert slurm.wait(job) == {"4": "COMPLETED", "8": "COMPLETED"}
    slurm.run("sandbox", "settle", "run")
    assert content(work / "run") == content(work / "before")


def test_what_is_no_rank_is_refused_and_makes_nothing(slurm: Slurm, work: Path) -> None:
    file_of(shared(account="local"), work)
    said = {"--ntasks=2": "Put srun before the command", "--array=1,3": "this array of 2 has gaps"}
    for option, told in said.items():
        job = slurm.submit(option, "--output=%A.out", "--open-mode=append", "--wrap", GENERATE)
        assert set(slurm.wait(job).values()) == {"FAILED"}
        assert told in (work / f"{job}.out").read_text().replace("\n", " ")
    assert not (work / "run").exists()


def test_a_rank_that_is_cancelled_and_one_that_is_requeued_lose_nothing(
    slurm: Slurm, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = shared(episodes=240, shard_episodes=20)
    book = paid(wanted)
    file_of(wanted, work)
    job = slurm.submit("--array=0-2", "--requeue", "--hold", "--wrap", GENERATE)
    slurm.run("scancel", f"{job}_2")
    slurm.run("scontrol", "release", job)
    settle = slurm.submit(f"--dependency=afterany:{job}", "--wrap", "sandbox settle run")
    until(lambda: len(list(work.glob("run/shards/*.jsonl"))) >= 2)
    slurm.run("scancel", f"{job}_0")
    slurm.run("scontrol", "requeue", f"{job}_1")
    ended = slurm.wait(job)  # SLURM forgets 2, which never began.
    assert (ended["0"], ended["1"]) == ("CANCELLED", "COMPLETED")
    assert slurm.wait(settle) == {settle: "FAILED"}
    told = (work / f"slurm-{settle}.out").read_text()
    assert "shards lack episodes" in told.replace("\n", " ")
    for one in ("--array=2", "--array=0-2"):  # One alone makes all that is missing.
        again = slurm.submit(one, "--wrap", GENERATE)
        assert {*slurm.wait(again).values()} == {"COMPLETED"}
    slurm.run("sandbox", "settle", "run")
    is_right(work, wanted, book, monkeypatch)
