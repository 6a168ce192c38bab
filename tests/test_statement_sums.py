"""What did it cost? Charges less refunds, summed by what they say of themselves."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from running import cli, recipe

import sandbox
from sandbox import prices
from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.ledger import Ledger, Usage, statement
from sandbox.ledger.statement import BY, sums

DAY = 24 * 3600.0


def rolled_out(label: str | None, steps: int, **keywords: Any) -> None:
    env: Any = gymnasium.make("sandbox:sandbox/PushT-v0", account="lab", label=label, **keywords)
    env.reset(seed=0)
    for _ in range(steps):
        env.step([0.0, 0.0])
    env.close()


def by(key: str, **keywords: Any) -> dict[str, int]:
    return {row[key]: row["charge_micro"] for row in sums(Ledger(), "lab", key, **keywords)}


def test_interactive_charges_and_runs_are_summed_by_what_they_are(tmp_path: Path) -> None:
    book, reset, step = Ledger(), 400_000, 240_000
    book.grant("lab", prices.micro(10_000))
    rolled_out("sweep-3", 2)
    rolled_out("sweep-3", 1, scenario="push_t_varied", split="train")
    rolled_out(None, 3)
    run = sandbox.generate(recipe("billiards", account="lab", episodes=2), tmp_path / "run")
    assert by("label") == {"-": reset + 3 * step + run.amount, "sweep-3": 2 * reset + 3 * step}
    assert by("environment") == {"push_t": 3 * reset + 6 * step, "billiards": run.amount}
    assert sorted(by("run").values()) == sorted([3 * reset + 6 * step, run.amount])
    assert sum(by("meter").values()) == sum(by("day").values()) == 3 * reset + 6 * step + run.amount
    assert by("meter")["physics_step"] == 6 * step + run.quantities["physics_step"] * 10_000
    lines = [line for line in statement.statement(book, "lab") if line["kind"] == "post"]
    assert [(line["scenario"], line["label"]) for line in lines[:2]] == [
        (None, "sweep-3"),
        ("push_t_varied", "sweep-3"),
    ]
    post = next(line for line in lines if line["environment"] == "push_t")
    book.refund(bytes.fromhex(post["id"]), 1000)
    assert by("environment")["push_t"] == 3 * reset + 6 * step - 1000
    assert by("label")["sweep-3"] == 2 * reset + 3 * step - 1000
    assert by("meter")["(refunds)"] == -1000
    assert book.check() == []


def test_days_are_those_of_the_ledger_and_accounts_below_are_added(tmp_path: Path) -> None:
    now = [20_000 * DAY]
    book = Ledger(tmp_path / "ledger.db", clock=lambda: now[0])
    for account in ("lab", "lab/a"):
        book.grant(account, 1000)
    for n, account in enumerate(("lab", "lab/a", "lab")):
        about: Mapping[str, str | None] = {"label": f"l{n % 2}"}
        book.post(account, [Usage(bytes([n]) * 16, {"raw_byte": 10}, "1", "e" * 64, about=about)])
        now[0] += DAY
    book.refund(bytes([0]) * 16, 4)
    found = [(row["day"], row["posts"], row["charge_micro"]) for row in sums(book, "lab", "day")]
    assert found == [("2024-10-04", 1, 10), ("2024-10-06", 1, 10), ("2024-10-07", 0, -4)]
    below = {row["label"]: row["charge_micro"] for row in sums(book, "lab", "label", below=True)}
    assert below == {"l0": 16, "l1": 10}
    with pytest.raises(UnknownNameError, match="Did you mean 'label'"):
        sums(book, "lab", "labels")


def test_a_charge_of_an_older_version_that_says_nothing_counts_once(book: Ledger) -> None:
    book.grant("lab", 1000)
    usage = Usage(b"p" * 16, {"raw_byte": 10}, "1", "e" * 64)
    book.post("lab", [usage])
    said = Usage(b"p" * 16, {"raw_byte": 10}, "1", "e" * 64, about={"environment": "push_t"})
    assert book.post("lab", [said])[0].exists
    assert [row["environment"] for row in sums(book, "lab", "environment")] == ["-"]


@pytest.mark.parametrize("label", ["", "-", "a\nb", "x" * 101, "\ud800"])
def test_a_label_that_is_no_line_of_text_is_refused(label: Any) -> None:
    with pytest.raises(InvalidInputError, match="give 1 to 100 printable characters"):
        gymnasium.make("sandbox:sandbox/PushT-v0", account=None, label=label)


@pytest.mark.parametrize("key", BY)
def test_the_command_prints_sums_as_a_table_csv_and_json(key: str) -> None:
    Ledger().grant("lab", prices.micro(100))
    rolled_out("a, b", 1)
    command = ("ledger", "statement", "lab", "--by", key)
    (row, *others) = json.loads(cli(*command, "--json").stdout)
    assert row["posts"] == 1
    assert sum(one["charge_micro"] for one in (row, *others)) == 640_000
    table = list(csv.DictReader(io.StringIO(cli(*command, "--csv").stdout)))
    assert [one[key] for one in table] == [one[key] for one in (row, *others)]
    assert "0.64" in cli(*command).stdout
    wrong = cli("ledger", "statement", "lab", "--by", "colour")
    assert (wrong.returncode, wrong.stdout) == (2, "")
