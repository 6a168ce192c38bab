"""What is exported is what FOCUS 1.4 and CloudEvents 1.0 ask for, and adds up to the bill."""

import csv
import io
import json
import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import cli

from sandbox import prices
from sandbox.ledger import Ledger, Usage, charge_id
from sandbox.ledger.export import COLUMNS, Line, cloudevents, cloudevents_ndjson, focus, focus_csv
from sandbox.ledger.statement import exported

DECIMAL, TIME, TEXT = r"-?\d+(\.\d+)?", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", r".+"
FOCUS = {  # Column: (pattern of a value, whether it may be null), after the dataset's page.
    "BilledCost": (DECIMAL, False),
    "BillingAccountId": (TEXT, False),
    "BillingAccountName": (TEXT, True),
    "BillingCurrency": (r"[A-Z]{3}", False),
    "BillingPeriodEnd": (TIME, False),
    "BillingPeriodStart": (TIME, False),
    "ChargeCategory": (r"Usage|Purchase|Tax|Credit|Adjustment", False),
    "ChargeClass": (r"Correction", True),
    "ChargeDescription": (TEXT, True),
    "ChargeFrequency": (r"One-Time|Recurring|Usage-Based", False),
    "ChargePeriodEnd": (TIME, False),
    "ChargePeriodStart": (TIME, False),
    "ConsumedQuantity": (DECIMAL, True),
    "ConsumedUnit": (TEXT, True),
    "ContractedCost": (DECIMAL, False),
    "EffectiveCost": (DECIMAL, False),
    "HostProviderName": (TEXT, False),
    "InvoiceIssuerName": (TEXT, False),
    "ListCost": (DECIMAL, False),
    "ListUnitPrice": (r"\d+(\.\d+)?", True),
    "PricingQuantity": (DECIMAL, True),
    "PricingUnit": (TEXT, True),
    "ServiceCategory": (r"Compute", False),
    "ServiceName": (TEXT, False),
    "ServiceProviderName": (TEXT, False),
    "ServiceSubcategory": (r"Other \(Compute\)", False),
    "SkuId": (TEXT, True),
    "SkuMeter": (TEXT, True),
    "SkuPriceDetails": (TEXT, True),
    "SkuPriceId": (TEXT, True),
    "SubAccountId": (TEXT, True),
    "SubAccountName": (TEXT, True),
}
MANDATORY = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ContractedCost",
    "EffectiveCost",
    "HostProviderName",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ServiceCategory",
    "ServiceName",
    "ServiceProviderName",
]


@st.composite
def line(draw: st.DrawFn) -> Line:
    units = st.dictionaries(st.sampled_from(sorted(prices.load("1").rates)), st.integers(0, 10**9))
    kind = draw(st.sampled_from(["post", "refund", "grant", "breakage"]))
    work = draw(units) if kind == "post" else {}
    number = draw(st.integers(0, 2**60))
    run = draw(st.none() | st.just("a" * 64))
    return Line(
        id=number.to_bytes(16, "big").hex(),
        at=draw(st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1))).replace(tzinfo=UTC),
        account=draw(st.sampled_from(["local", "lab", "lab/alice"])),
        kind=kind,
        amount_micro=prices.load("1").cost(work) if work else draw(st.integers(0, 10**12)),
        quantities=work,
        price_version="1" if kind == "post" else None,
        run=run,
        episode=None if run is None or kind != "post" else 3,
        parent=None,
        corrects="b" * 32 if kind == "refund" else None,
    )


@given(st.lists(line(), max_size=5))
@settings(deadline=None)
def test_every_row_is_as_focus_wants_it(lines: list[Line]) -> None:
    for row in focus(lines):
        assert tuple(row) == COLUMNS
        for name, value in row.items():
            pattern, nullable = FOCUS.get(name, (TEXT, True))
            assert (nullable and value == "") or re.fullmatch(pattern, value), (name, value)
        start, end = row["BillingPeriodStart"], row["BillingPeriodEnd"]
        assert start <= row["ChargePeriodStart"] < row["ChargePeriodEnd"]
        assert start[8:] == end[8:] == "01T00:00:00Z"
        assert row["ChargePeriodStart"] < end
        if row["ChargeClass"] == "":
            for name in ("ConsumedQuantity", "PricingQuantity", "SkuId", "ListUnitPrice"):
                assert row[name]
            cost = Decimal(row["ListUnitPrice"]) * Decimal(row["PricingQuantity"])
            assert Decimal(row["ListCost"]) == cost


def test_no_mandatory_column_is_missing_and_ours_begin_with_x() -> None:
    assert set(MANDATORY) <= set(COLUMNS)
    assert [name for name in COLUMNS if name not in FOCUS] == [
        name for name in COLUMNS if name.startswith("x_")
    ]
    theirs = [name for name in COLUMNS if name in FOCUS]
    assert theirs == sorted(theirs)


@given(st.lists(line(), max_size=5))
@settings(deadline=None)
def test_the_rows_add_up_to_posts_less_refunds(lines: list[Line]) -> None:
    signs = {"post": 1, "refund": -1}
    priced = [one for one in lines if one.kind != "post" or one.quantities]
    due = sum(signs.get(one.kind, 0) * one.amount_micro for one in priced)
    assert sum(Decimal(row["BilledCost"]) for row in focus(priced)) == Decimal(due) / prices.MICRO


@given(st.lists(line(), max_size=5, unique_by=lambda one: one.id))
@settings(deadline=None)
def test_every_event_is_as_cloudevents_wants_it(lines: list[Line]) -> None:
    events = list(cloudevents(lines))
    for event in events:
        assert {"specversion", "id", "source", "type"} <= set(event)
        assert event["specversion"] == "1.0"
        assert all(re.fullmatch(r"[a-z0-9]+", name) for name in event)
        assert re.fullmatch(TIME, event["time"])
        assert re.fullmatch(r"/[a-z0-9/]+", event["source"])
        assert event["type"] in ("sandbox.usage.posted", "sandbox.usage.refunded")
    twice = {(e["source"], e["id"]): e for e in [*events, *cloudevents(lines)]}
    assert list(twice.values()) == events
    assert [json.loads(text) for text in cloudevents_ndjson(lines)] == events


@pytest.fixture
def busy_book() -> Ledger:
    made = Ledger()
    made.grant("lab/alice", 10**9, meters=["pixel"])
    usage = Usage(charge_id("r" * 64, 3), {"pixel": 7, "reset": 1}, "1", "e" * 64, "r" * 64, 3)
    made.open_account("lab/bob", "postpaid")
    made.post("lab/bob", [usage])
    made.refund(usage.id, 50)
    return made


def test_the_book_is_exported_by_account_and_in_csv(busy_book: Ledger) -> None:
    kinds = [one.kind for one in exported(busy_book)]
    assert kinds == ["grant", "post", "refund"]
    busy_book.open_account("lab", "prepaid")
    assert [one.kind for one in exported(busy_book, "lab")] == kinds
    assert [one.kind for one in exported(busy_book, "lab/alice")] == ["grant"]
    rows = list(csv.DictReader(io.StringIO("".join(focus_csv(exported(busy_book))), newline="")))
    assert [row["BilledCost"] for row in rows] == ["0.000350", "0.400000", "-0.000050"]
    assert {row["x_Run"] for row in rows} == {"r" * 64}


def test_the_command_line_writes_both(busy_book: Ledger) -> None:
    busy_book.close()
    done = cli("ledger", "export", "lab/bob")
    assert done.stdout.splitlines()[0] == ",".join(COLUMNS), done.stderr
    done = cli("ledger", "export", "--format", "cloudevents")
    assert [json.loads(text)["type"] for text in done.stdout.splitlines()] == [
        "sandbox.usage.posted",
        "sandbox.usage.refunded",
    ]
