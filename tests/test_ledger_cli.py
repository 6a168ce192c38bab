"""The book by its commands: what a person and a script see."""

import csv
import io
import json
from typing import Any

from running import cli

from sandbox.ledger import Ledger, Usage, charge_id


def said(*arguments: str) -> Any:
    done = cli("ledger", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def charge(account: str, n: int = 0) -> bytes:
    id = charge_id("r" * 64, n)
    book = Ledger()
    book.post(account, [Usage(id, {"reset": 1}, "1", "e" * 64, "r" * 64, n)])
    book.close()
    return id


def test_an_account_is_opened_granted_charged_refunded_and_stated() -> None:
    opened = said("open", "lab/alice", "--mode", "prepaid", "--overdraft", "0.5")
    assert (opened["available_micro"], opened["balance_micro"]) == (500_000, 0)
    id = "ab" * 16
    for _ in range(2):  # The same grant twice counts once.
        granted = said("grant", "lab/alice", "1", "--id", id, "--expires", "2099-01-01T00:00:00Z")
    assert granted["balance_micro"] == 1_000_000
    post = charge("lab/alice")
    given = said("refund", post.hex()[:8], "0.1", "--reason", "too much")
    assert (given["refunded_micro"], given["post"]) == (100_000, post.hex())
    assert said("refund", post.hex(), "0.1", "--reason", "too much")["exists"]
    lines = said("statement", "lab/alice")
    assert [line["kind"] for line in lines] == ["open", "grant", "post", "refund"]
    assert lines[-1]["balance_micro"] == 700_000
    assert said("balance", "lab/alice")["balance_micro"] == 700_000


def test_a_statement_is_a_table_csv_or_json() -> None:
    said("open", "lab", "--mode", "postpaid")
    said("open", "lab/bob", "--mode", "postpaid")
    charge("lab/bob")
    table = cli("ledger", "statement", "lab", "--below").stdout
    assert "Statement of lab [credits]" in table
    assert "overage" in table
    done = cli("ledger", "statement", "lab", "--below", "--csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["kind"] for row in rows] == ["open", "open", "post"]
    assert json.loads(rows[-1]["work"]) == {"reset": 1}
    assert (rows[-1]["amount_micro"], rows[-1]["overage_micro"]) == ("-400000", "400000")
    whole = said("balance", "lab", "--below")
    assert whole["balance_micro"] == -400_000
    assert [row["account"] for row in whole["below"]] == ["lab", "lab/bob"]
    assert "without limit" in cli("ledger", "balance", "lab").stdout


def test_what_cannot_be_is_refused_in_one_line_and_nothing_is_booked() -> None:
    said("open", "lab", "--mode", "prepaid")
    before = Ledger().transfers()
    for command in (
        ("open", "lab", "--mode", "postpaid"),
        ("open", "a b", "--mode", "postpaid"),
        ("grant", "lab", "0.0000001"),
        ("grant", "lab", "0"),
        ("grant", "lab", "1", "--id", "zz"),
        ("grant", "lab", "1", "--meters", "pixels"),
        ("grant", "lab", "1", "--expires", "tomorrow"),
        ("grant", "lab", "1", "--expires", "2020-01-01"),
        ("refund", "00"),
        ("refund", "0" * 32),
        ("statement", "lap"),
        ("export", "lap"),
        ("balance", "lap"),
    ):
        done = cli("ledger", *command)
        assert done.returncode == 2, command
        assert done.stderr.startswith("error: "), done.stderr
        assert "Traceback" not in done.stderr
    assert Ledger().transfers() == before
