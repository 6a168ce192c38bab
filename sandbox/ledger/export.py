"""Usage in the formats of billing tools: FOCUS 1.4 rows and CloudEvents 1.0.

FOCUS (focus.finops.org, the Cost and Usage dataset) requires BillingCurrency to be a national
currency. A credit is not one, and this ledger does not know its price in money: costs are in
credits, and BillingCurrency is ISO 4217's code for "no currency". Grants and expired credit are not
charges and have no row.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox import prices
from sandbox.prices import MICRO

PROVIDER = "worldmodel-sandbox"
CURRENCY = "X" * 3  # ISO 4217: no currency.
# FOCUS's columns in alphabetical order, as it asks for, then those of our own, which begin with x_.
COLUMNS: tuple[str, ...] = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "HostProviderName",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingQuantity",
    "PricingUnit",
    "ServiceCategory",
    "ServiceName",
    "ServiceProviderName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceDetails",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "x_Corrects",
    "x_Episode",
    "x_ParentRun",
    "x_PriceVersion",
    "x_Run",
    "x_Transfer",
)


@dataclass(frozen=True, slots=True)
class Line:
    """One transfer of an account, as bills show it.

    Attributes:
        id: 32 hex digits.
        at: when the transfer was booked, UTC.
        account: the name of the account.
        kind: post, refund, grant or breakage.
        amount_micro: the amount moved [microcredits], 0 or more.
        quantities: the work of a post per meter unit; empty for other kinds.
        price_version: the price schedule of a post, or None.
        run: the id of a post's run, or None.
        episode: the number of a post's episode in its run, or None.
        parent: the id of the run that a post's episode was rendered from, or None.
        corrects: the id of the post that a refund corrects, or None.
    """

    id: str
    at: datetime
    account: str
    kind: str
    amount_micro: int
    quantities: Mapping[str, int]
    price_version: str | None
    run: str | None
    episode: int | None
    parent: str | None
    corrects: str | None


def focus(lines: Iterable[Line]) -> Iterator[dict[str, str]]:
    """Yield FOCUS rows: one for each meter unit of a post, one for a refund; null is ""."""
    for line in lines:
        if line.kind == "post":
            yield from _usage_rows(line)
        elif line.kind == "refund":
            yield (
                _row(line)
                | _costs(-line.amount_micro)
                | {
                    "ChargeClass": "Correction",
                    "ChargeDescription": "Refund of a charge",
                }
            )


def focus_csv(lines: Iterable[Line]) -> Iterator[str]:
    """Yield FOCUS rows as lines of CSV (RFC 4180), the header first."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for row in focus(lines):
        yield text.getvalue()
        text.seek(0)
        text.truncate()
        writer.writerow(row)
    yield text.getvalue()


def cloudevents(lines: Iterable[Line]) -> Iterator[dict[str, Any]]:
    """Yield the CloudEvents of posts and refunds; a receiver drops repeated (source, id) pairs."""
    for line in lines:
        if line.kind not in ("post", "refund"):
            continue
        source = "/sandbox/interactive" if line.run is None else f"/sandbox/runs/{line.run}"
        yield {
            "specversion": "1.0",
            "id": line.id,
            "source": source,
            "type": f"sandbox.usage.{'posted' if line.kind == 'post' else 'refunded'}",
            "time": _time(line.at),
            "subject": line.account,
            "datacontenttype": "application/json",
            "data": {
                "account": line.account,
                "amount_micro": line.amount_micro,
                "quantities": dict(line.quantities),
                "price_version": line.price_version,
                "run": line.run,
                "episode": line.episode,
                "parent": line.parent,
                "corrects": line.corrects,
            },
        }


def cloudevents_ndjson(lines: Iterable[Line]) -> Iterator[str]:
    """Yield CloudEvents, each as a line of JSON."""
    for event in cloudevents(lines):
        yield json.dumps(event, sort_keys=True, separators=(",", ":"))


def _usage_rows(line: Line) -> Iterator[dict[str, str]]:
    schedule = prices.load(str(line.price_version))
    for unit, quantity in sorted(line.quantities.items()):
        if not quantity:
            continue
        sku = f"{unit}/{schedule.version}"
        yield (
            _row(line)
            | _costs(schedule.cost({unit: quantity}))
            | {
                "ChargeDescription": f"{unit} of a simulated episode",
                "ConsumedQuantity": str(quantity),
                "ConsumedUnit": unit,
                "ListUnitPrice": _decimal(schedule.rates[unit]),
                "PricingQuantity": str(quantity),
                "PricingUnit": unit,
                "SkuId": unit,
                "SkuMeter": unit,
                "SkuPriceId": sku,
            }
        )


def _row(line: Line) -> dict[str, str]:
    """Return the values that all rows of a line share; the other columns are null."""
    known = {
        "BillingAccountId": line.account.split("/")[0],
        "BillingAccountName": line.account.split("/")[0],
        "BillingCurrency": CURRENCY,
        "BillingPeriodStart": _time(_month(line.at)),
        "BillingPeriodEnd": _time(_month(_month(line.at) + timedelta(days=32))),
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": _time(line.at),
        "ChargePeriodEnd": _time(line.at + timedelta(seconds=1)),
        "HostProviderName": PROVIDER,
        "InvoiceIssuerName": PROVIDER,
        "ServiceCategory": "Compute",
        "ServiceName": "Simulation",
        "ServiceProviderName": PROVIDER,
        "ServiceSubcategory": "Other (Compute)",
        "SubAccountId": line.account,
        "SubAccountName": line.account,
        "x_Corrects": line.corrects or "",
        "x_Episode": "" if line.episode is None else str(line.episode),
        "x_ParentRun": line.parent or "",
        "x_PriceVersion": line.price_version or "",
        "x_Run": line.run or "",
        "x_Transfer": line.id,
    }
    return dict.fromkeys(COLUMNS, "") | known


def _costs(micro: int) -> dict[str, str]:
    """Return the cost columns of a row; without discounts all have the same value."""
    names = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")
    return dict.fromkeys(names, _decimal(micro))


def _decimal(micro: int) -> str:
    """Return microcredits written as credits, without rounding and separators."""
    whole, part = divmod(abs(micro), MICRO)
    return f"{'-' if micro < 0 else ''}{whole}.{part:06d}"


def _month(at: datetime) -> datetime:
    """Return the beginning of a time's month."""
    return datetime(at.year, at.month, 1, tzinfo=UTC)


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
