"""The commands of price schedules: list, show, check, use."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sandbox.cli.options import Json
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from sandbox.prices import PriceSchedule

prices_app = typer.Typer(help="List, show and check price schedules, and choose the default.")

Version = Annotated[
    str, typer.Argument(help="Version of a schedule, such as 1.", show_default=False)
]


@prices_app.command("list")
def list_(as_json: Json = False) -> None:
    """List the price schedules: the package's, and those in $SANDBOX_HOME/prices."""
    from sandbox.cli import show
    from sandbox.prices import current, local, schedules

    shipped, (found, faults) = {one.version for one in schedules()}, local.readable()
    try:
        now = current().version
    except SandboxError as error:
        now, faults = "", list(dict.fromkeys([*faults, f"the default: {error}"]))
    rows: list[dict[str, Any]] = [
        {
            "version": one.version,
            "from": one.effective_from.isoformat(),
            "whose": "the package's" if one.version in shipped else "the operator's",
            "current": one.version == now,
            "digest": one.digest,
        }
        for one in [*schedules(), *found]
    ]
    for fault in faults:
        show.warn(fault)
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        row["current"] = "yes" if row["current"] else ""
        del row["digest"]
    show.table("Price schedules", rows)


@prices_app.command("show")
def show_(version: Version, as_json: Json = False) -> None:
    """Print the rates of a price schedule."""
    from sandbox import prices

    _print(prices.load(version), as_json)


@prices_app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A .yaml file.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Check the file of a price schedule, which `--prices FILE` would take; change nothing."""
    from sandbox.prices import local

    _print(local.check(file), as_json)


@prices_app.command()
def use(
    version: Annotated[
        str | None,
        typer.Argument(
            help="Version, or a .yaml file, which is installed; none: the package's choice.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Choose the schedule of new runs and environments on this machine."""
    from sandbox.prices import chosen, current, local

    local.use(None if version is None else chosen(version).version)
    _print(current(), as_json)


def _print(schedule: "PriceSchedule", as_json: bool) -> None:
    from sandbox.cli import show

    facts = {**schedule.plain, "digest": schedule.digest}
    if as_json:
        print(json.dumps(facts))
        return
    rows = [{"work": unit, "microcredits": rate} for unit, rate in schedule.rates.items()]
    title = f"Price schedule {schedule.version}, from {schedule.effective_from}"
    show.table(title, rows)
    if schedule.loads:
        loads = [{"environment": n, **asdict(load)} for n, load in schedule.loads.items()]
        show.table("Nominal CPU time of their work", loads)
