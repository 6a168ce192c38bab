"""The command of experiments."""

import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sandbox.cli.options import Budget, Json, Prices, SigningKeyLabel, TrustCode, Workers, path
from sandbox.errors import InvalidInputError, shown

if TYPE_CHECKING:
    from sandbox.experiments.foresight import Quote
    from sandbox.experiments.results import Results

_SHOWN = ("loss", "held_out", "success", "return")  # Of the numbers while a run is made.

Source = Annotated[
    Path,
    typer.Argument(
        parser=path,
        help="A YAML file, or the folder of an experiment that goes on.",
        show_default=False,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="KEY=VALUE: a dotted key of the file, such as model.size=nano or seeds=[0,1], to "
        "another value, as YAML writes it. Repeat it for several.",
    ),
]


def experiment(
    source: Source,
    changes: Set = None,
    out: Annotated[
        Path | None, typer.Option(parser=path, help="The experiment's folder; default: runs/NAME.")
    ] = None,
    account: Annotated[
        str | None, typer.Option(help="Account that pays; default: the file's, or local.")
    ] = None,
    budget: Budget = None,
    prices: Prices = None,
    workers: Workers = 1,
    trust_code: TrustCode = False,
    key: SigningKeyLabel = None,
    as_json: Json = False,
) -> None:
    """Carry out an experiment: data, trainings and evaluations of one file; again, it goes on."""
    from sandbox.cli import progress
    from sandbox.evidence import keys
    from sandbox.experiments.experiment import experiment as carry_out

    @contextmanager
    def watching(doing: str, of: str) -> Generator[Callable[..., None]]:
        with progress.display(doing, as_json, of) as display:

            def tell(done: int, total: int, numbers: Mapping[str, float]) -> None:
                known = {name: numbers[name] for name in _SHOWN if name in numbers}
                display.update(done, total, **known)

            yield tell

    def quoted(quote: "Quote") -> None:
        if not as_json:
            _quote(quote)

    paying: dict[str, Any] = {"account": account, "budget": budget, "prices": prices}
    paying["key"] = None if key is None else keys.load(key)
    told: dict[str, Any] = {"changes": dict(_change(text) for text in changes or [])}
    told |= {"workers": workers, "trust_code": trust_code, "quoted": quoted}
    with progress.stoppable():
        found = carry_out(source, out, watching=watching, **told, **paying)
    if as_json:
        print(json.dumps(found.plain()))
    else:
        _found(found)


def _change(text: str) -> tuple[str, Any]:
    """Return the key and the value of KEY=VALUE."""
    from sandbox import document

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidInputError(f"--set {shown(text)}: this is not KEY=VALUE. Nothing was done.")
    return key, document.value(value, f"--set {key}")


def _quote(quote: "Quote") -> None:
    from sandbox import prices
    from sandbox.cli import show

    of = f", {quote.finished} of them finished already" if quote.finished else ""
    rows = [
        {"work": label, "credits": prices.credits(micro)} for label, micro in quote.labels.items()
    ]
    total = "total" if quote.exact else "total, at most"
    rows.append({"work": total, "credits": prices.credits(quote.most)})
    show.table(f"Quote: {quote.runs} runs{of}", rows)


def _found(found: "Results") -> None:
    from sandbox import prices
    from sandbox.cli import show

    show.table("Results: means over seeds, ± half of the 95 % interval", found.rows())
    for run in found.runs:
        if run.failed:
            show.note(f"{run.cell.name}, seed {run.seed} failed: {run.failed}")
    bill = found.bill
    rows = [{"work": label, "credits": prices.credits(micro)} for label, micro in bill.items()]
    rows.append({"work": "total", "credits": prices.credits(sum(bill.values()))})
    show.table("Bill", rows)
    show.note(f"Experiment: {found.places.folder}")
