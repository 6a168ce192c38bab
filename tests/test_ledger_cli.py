"""The book by its commands: what a person and a script see."""

import csv
import io
import json
import time
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
        ("grant", "lab", "1", "--id", "aabb"),
        ("grant", "lab", "1", "--source", "\udcff"),
        ("open", "lab\udcff", "--mode", "postpaid"),
        ("balance", "lab\udcff"),
        ("statement", "lab\udcff"),
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


TIMES = ("from 1970-01-01 to before 2248-09-26", "2300-01-01", "9999-12-31T23:59:59-12:00")


def test_what_is_out_of_range_is_refused_with_the_range() -> None:
    said("open", "lab", "--mode", "prepaid")
    for options, told in (
        (("--priority", "99999999999"), ("priority 99999999999", "from 0 to 2,147,483,647")),
        (("--id", "aabb"), ("'aabb'", "32 hex digits")),
        (("--id", "ab " * 16), ("32 hex digits",)),
        (("--expires", TIMES[1]), TIMES[:2]),
        (("--expires", TIMES[2]), (TIMES[0], TIMES[2])),
        (("--effective", "0001-01-01"), (TIMES[0], "'0001-01-01'")),
        (("--effective", "2099-01-01", "--expires", "2098-01-01"), ("2099", "2098")),
    ):
        done = cli("ledger", "grant", "lab", "1", *options)
        assert done.returncode == 2, options
        assert all(text in done.stderr for text in told), done.stderr
        assert "Traceback" not in done.stderr


def test_local_may_be_prepaid() -> None:
    said("open", "local", "--mode", "prepaid")
    assert said("grant", "local", "5")["available_micro"] == 5_000_000


def test_who_reads_changes_no_byte_of_the_ledger() -> None:
    said("open", "lab", "--mode", "prepaid")
    book = Ledger()
    book.grant("lab", 10**6, expires=time.time() + 0.5)
    book.close()
    before = book.path.read_bytes()
    while said("balance", "lab")["balance_micro"]:  # Until the grant has expired.
        pass
    assert said("balance") == {
        **{"account": "local", "mode": "postpaid", "balance_micro": 0, "pending_micro": 0},
        "available_micro": None,
    }
    assert [row["account"] for row in said("balance", "--below")["below"]] == ["local"]
    assert len(said("statement", "lab")) == 2
    assert cli("ledger", "export", "lab").returncode == 0
    assert book.path.read_bytes() == before
    assert Ledger().transfers()[-1].move.kind == "grant"
