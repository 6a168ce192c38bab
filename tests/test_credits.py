"""Recipes that say what their episodes may cost, instead of how many there are."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from running import cli, content, file_of, recipe

import sandbox
from sandbox import keeping, prices
from sandbox.errors import BudgetExhaustedError, InvalidInputError, RunConflictError
from sandbox.evidence import keys
from sandbox.ledger import Ledger
from sandbox.run import recipe as recipes
from sandbox.run.recipe import Recipe
from sandbox.sweeping import sweep

CREDITS = 80.0
MICRO = prices.MICRO


def wanted(**changes: Any) -> Recipe:
    """Episodes of different lengths, some of which end early."""
    given: dict[str, Any] = {"policies": {"random": 1.0, "scripted": 1.0}, "shard_episodes": 3}
    one = recipe("push_t", **{**given, "episodes": 1})
    return recipes.of(one, **{"credits": CREDITS, **changes})


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("credits")
    sandbox.generate(wanted(), folder / "run")
    return folder / "run"


def costs(run: Path) -> list[int]:
    folder = sandbox.open_run(run)
    found = [sum(one.charges().values()) for one in folder.kept().usages]
    folder.close()
    return found


def test_a_run_has_as_many_whole_episodes_as_its_credits_pay(priced: Path, tmp_path: Path) -> None:
    paid = costs(priced)
    bill = sandbox.generate(recipes.of(wanted(), episodes=len(paid) + 1), tmp_path / "more")
    assert len({*paid}) > 1  # They do not all cost the same.
    assert costs(tmp_path / "more")[:-1] == paid
    assert sum(paid) <= CREDITS * MICRO < bill.amount
    report = sandbox.verify(priced)
    assert (report.faults, report.episodes) == ([], len(paid))


@pytest.mark.parametrize("workers", [2, 3])
def test_the_bytes_are_the_same_for_any_number_of_workers(
    priced: Path, workers: int, tmp_path: Path
) -> None:
    bill = sandbox.generate(wanted(), tmp_path / "run", workers=workers)
    assert bill.amount == sum(costs(priced))
    assert content(tmp_path / "run") == content(priced)


def test_a_run_that_is_killed_goes_on_to_the_same_bytes(priced: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "run", file_of(wanted(), tmp_path)
    command = [sys.executable, "-m", "sandbox", "generate", str(file), "--out", str(out)]
    for after in (1, 3):
        child = subprocess.Popen(
            [*command, "--workers", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 60
        while child.poll() is None and time.monotonic() < end:
            shards = list((out / "shards").glob("*.jsonl")) if out.exists() else []
            if sum(path.read_bytes().count(b"\n") for path in shards if path.exists()) > after:
                os.kill(child.pid, signal.SIGKILL)
                break
            time.sleep(0.005)
        child.wait()
    bill = sandbox.generate(wanted(), out)
    assert content(out) == content(priced)
    assert bill.amount == sum(costs(priced)) == -Ledger().balance("local").posted_micro


@pytest.mark.parametrize(
    ("credits", "fault"), [(CREDITS / 2, "pay for episode"), (1.5 * CREDITS, "the recipe allows")]
)
def test_verify_finds_a_run_that_ends_too_early_or_too_late(
    credits: float, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes it counts other credits than those that its recipe says, and signs that."""
    said = wanted().dataset()
    monkeypatch.setattr(Recipe, "dataset", lambda self: said)
    sandbox.generate(wanted(credits=credits), tmp_path / "run", key=keys.new("own"))
    monkeypatch.undo()
    (found,) = sandbox.verify(tmp_path / "run").faults
    assert fault in found


def test_credits_that_pay_no_episode_charge_nothing(tmp_path: Path) -> None:
    with pytest.raises(BudgetExhaustedError, match=r"first episode costs more than the 0\.5 cred"):
        sandbox.generate(wanted(credits=0.5), tmp_path / "run")
    assert Ledger().balance("local").posted_micro == 0


def test_an_account_or_budget_that_cannot_pay_the_credits_refuses_the_run(tmp_path: Path) -> None:
    book = Ledger()
    book.open_account("lab", "prepaid")
    book.grant("lab", round(0.9 * CREDITS * MICRO))
    with pytest.raises(BudgetExhaustedError, match=r"asks for 80\.00 credits .* has 72\.00"):
        sandbox.generate(wanted(account="lab"), tmp_path / "run")
    with pytest.raises(BudgetExhaustedError, match=r"but the budget is 30\.00.*--credits"):
        sandbox.generate(wanted(), tmp_path / "run", budget=30)
    assert not (tmp_path / "run").exists()
    book.grant("lab", round(0.1 * CREDITS * MICRO))
    assert sandbox.generate(wanted(account="lab"), tmp_path / "run").episodes


@pytest.mark.parametrize("workers", [1, 3])
def test_a_greedy_run_without_the_credit_ends_early_and_goes_on(
    workers: int, priced: Path, tmp_path: Path
) -> None:
    greedy = wanted(account="lab", admission="greedy")
    book = Ledger()
    book.open_account("lab", "prepaid")
    book.grant("lab", round(0.6 * CREDITS * MICRO))
    bill = sandbox.generate(greedy, tmp_path / "run", workers=workers)
    assert bill.ended
    assert 0 < bill.episodes < len(costs(priced))
    assert sandbox.verify(tmp_path / "run").faults == []
    book.grant("lab", round(0.5 * CREDITS * MICRO))
    assert sandbox.generate(greedy, tmp_path / "run").amount == sum(costs(priced))
    again = sandbox.generate(greedy, tmp_path / "run")
    assert again.episodes == again.already == len(costs(priced))
    assert sandbox.verify(tmp_path / "run").faults == []


def test_quotes_say_what_surely_fits_and_what_is_to_be_expected(priced: Path) -> None:
    quoted = sandbox.quote(wanted())
    assert (quoted.amount, quoted.exact) == (CREDITS * MICRO, False)
    surely = quoted.quantities["reset"]
    count = len(costs(priced))
    assert 1 <= surely <= count
    assert quoted.expected_episodes is not None
    assert count / 2 < quoted.expected_episodes < 2 * count


def test_a_quote_of_too_few_credits_says_what_an_episode_costs(tmp_path: Path) -> None:
    for one, said in ((wanted(), "may pay"), (recipe("cartpole_swingup"), "pay")):
        file = file_of(recipes.of(one, credits=0.5), tmp_path)
        done = cli("quote", file)
        assert done.stdout.startswith(f"Quote: 0.5 credits {said} no episode of "), done.stderr
        assert "exactly" not in done.stdout


def test_it_can_be_extended_rendered_and_swept(priced: Path, tmp_path: Path) -> None:
    count = len(costs(priced))
    sandbox.generate(wanted(), tmp_path / "run")
    assert keeping.extend(tmp_path / "run", count + 2).episodes == count + 2
    assert sandbox.verify(tmp_path / "run").faults == []
    with pytest.raises(RunConflictError, match="fewer"):
        keeping.extend(tmp_path / "run", count)
    assert sandbox.render(priced, tmp_path / "drawn", image_size=8).episodes == count
    found = sweep(wanted(), tmp_path / "swept", {"credits": [40, 80]})
    assert [one.bill.amount <= n * MICRO for one, n in zip(found.cells, (40, 80), strict=True)]
    assert found.cells[1].bill.episodes == count


def test_a_recipe_has_either_episodes_or_credits() -> None:
    both = {**recipe().model_dump(), "credits": 5}
    neither = {k: v for k, v in recipe().model_dump().items() if k != "episodes"}
    for wrong in (both, neither):
        with pytest.raises(InvalidInputError, match="must have either episodes or credits"):
            recipes.of(wrong)
    for wrong in (0, -1, float("inf"), 1e12, "much"):
        with pytest.raises(InvalidInputError):
            recipes.of(neither, credits=wrong)
    assert "credits" not in recipe().model_dump()
    assert "episodes" not in recipes.of(neither, credits="2.5").model_dump()
