"""Options and arguments that several commands share."""

import inspect
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sandbox.errors import InvalidInputError, shown

if TYPE_CHECKING:
    from sandbox.evidence.note import SigningKey


def path(text: str) -> Path:
    """Return a path with `~` replaced by the user's folder, which not every shell does."""
    return Path(os.path.expanduser(text))


MAKE, LOOK, KEEP = "Make data", "Look at it", "Keep it"  # Groups of --help.
HAND, CHECK, PAY = "Hand it over", "Check it", "Pay for it"
MODEL = "Learn from it"

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
RunPath = Annotated[
    Path,
    typer.Argument(
        parser=path,
        help="A run folder.",
        show_default=False,
    ),
]
OutPath = Annotated[
    Path,
    typer.Option(
        parser=path,
        help="The new run folder.",
        show_default=False,
    ),
]
RecipeName = Annotated[
    str, typer.Argument(help="A recipe's name, or a path ending in .yaml.", show_default=False)
]
Episodes = Annotated[int | None, typer.Option(help="Number of episodes; default: the recipe's.")]
CreditsOption = Annotated[
    str | None,
    typer.Option(
        "--credits",
        help="Credits of episodes instead of a number of them: as many whole ones as they pay.",
    ),
]
Seed = Annotated[int | None, typer.Option(help="Seed of the run; default: the recipe's.")]
Split = Annotated[
    str | None,
    typer.Option(help="Split of the scenario, such as train; default: the recipe's."),
]
Budget = Annotated[
    str | None, typer.Option(help="Most that it may cost [credits], all runs of a sweep together.")
]
Account = Annotated[
    str | None, typer.Option(help="Account that pays; default: that of the recipe, or of the run.")
]
Prices = Annotated[
    str | None,
    typer.Option(
        help="Price schedule: a version, or a path ending in .yaml; default: what the run began "
        "under, or the current one."
    ),
]
Cameras = Annotated[
    list[str] | None,
    typer.Option(help="Camera that draws; repeat it for several; default: the run's."),
]
Columns = Annotated[
    str | None,
    typer.Option(help="Pictures, separated by commas: pixels, depth, segmentation, links."),
]
ImageSize = Annotated[
    int | None, typer.Option(help="Width and height of pictures [pixels]; default: the run's.")
]
Antialias = Annotated[
    int | None,
    typer.Option(help="Samples of colour in a pixel: 1, 4 or 8; default: the run's."),
]
Renderer = Annotated[str | None, typer.Option(help="raster or tiny; default: the run's.")]
Compression = Annotated[str | None, typer.Option(help="zstd, gzip or none; default: the recipe's.")]
Admission = Annotated[
    str | None,
    typer.Option(
        help="safe: start only if the whole run can be paid; greedy: stop when credit is spent."
    ),
]


RankOption = Annotated[
    str | None,
    typer.Option(
        "--rank",
        metavar="NUMBER|auto",
        help="Make only the shards of this rank, from 0; `auto`: as SLURM, MPI or torch says. "
        "`sandbox settle` ends the run.",
        show_default=False,
    ),
]
OnOption = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="ray",
        help="Make the shards on the Ray cluster that RAY_ADDRESS names, or on one started here.",
        show_default=False,
    ),
]
Shared = Annotated[
    bool,
    typer.Option("--shared", help="All nodes of the cluster see --out: no shard travels."),
]
WorldSize = Annotated[int | None, typer.Option(help="Number of ranks that share the run.")]
Workers = Annotated[
    int,
    typer.Option(min=1, max=256, help="Number of processes that share the work."),
]
TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        help="Allow importing the environment code that the run names as MODULE:CLASS. "
        "Trust whoever gave you the run.",
    ),
]
License = Annotated[
    str | None,
    typer.Option(
        "--license",
        help="Licence of the data, as Hugging Face names it, such as cc-by-4.0; default: that of "
        "the card that is there.",
    ),
]
CardName = Annotated[
    str | None,
    typer.Option(help="What the data is called; default: that of the card, or its environment."),
]
Pictures = Annotated[
    bool, typer.Option("--pictures/--no-pictures", help="Draw coverage and some episodes.")
]
SigningKeyLabel = Annotated[
    str | None,
    typer.Option("--key", help="Label of the key that signs; default: the key `default`, if any."),
]


def rank(text: str | None) -> int | Literal["auto"] | None:
    """Return the number of a rank, or auto, or None; InvalidInputError if it is no number."""
    if text is None:
        return None
    if text == "auto":
        return "auto"
    with suppress(ValueError):
        return int(text)
    raise InvalidInputError(f"--rank {shown(text)}: give a whole number, or auto.")


def listed(text: str) -> list[str]:
    """Return the parts of a text separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def assignments(texts: list[str]) -> dict[str, list[Any]]:
    """Return names and their values, as NAME=VALUE,VALUE,... gives them.

    Raises:
        InvalidInputError: a text that is no assignment, or a name given twice.
    """
    found: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not name or name in found:
            why = "that name is set twice" if name in found else "this is not NAME=VALUE,VALUE"
            raise InvalidInputError(f"--set {shown(text)}: {why}. Nothing was done.")
        found[name] = [_value(part) for part in listed(values)]
    return found


def settings(texts: list[str] | None) -> dict[str, Any]:
    """Return names and their values as `assignments` does, one value alone without its list."""
    found = assignments(texts or [])
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _value(text: str) -> int | float | str:
    """Return a number where the text is one, and else the text."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


@dataclass(frozen=True)
class Making:
    """The options that every command has which makes a run.

    Attributes:
        budget: most that the run may cost [credits].
        account: name of the account that pays.
        prices: version or file of the price schedule.
        workers: number of processes that share the work.
        key: label of the key that signs.
        as_json: whether to print JSON.
    """

    budget: Budget = None
    account: Account = None
    prices: Prices = None
    workers: Workers = 1
    key: SigningKeyLabel = None
    as_json: Json = False

    @property
    def paying(self) -> dict[str, Any]:
        """The arguments of the library's functions that these options set."""
        return {
            "budget": self.budget,
            "account": self.account,
            "prices": self.prices,
            "workers": self.workers,
            "key": self._key(),
        }

    def _key(self) -> "SigningKey | None":
        """Return the key that signs; None leaves the choice to the library."""
        from sandbox.evidence import keys

        return None if self.key is None else keys.load(self.key)


def making(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Making`; it gets them as its argument `making`."""
    own = [p for p in inspect.signature(command).parameters.values() if p.name != "making"]
    shared = list(inspect.signature(Making).parameters.values())
    keywords = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *shared)]

    @wraps(command)
    def run(**given: Any) -> None:
        options = {p.name: given.pop(p.name) for p in shared}
        if options["workers"] > 1:  # They import while this process does.
            from sandbox.processes import prepare

            prepare()
        command(**given, making=Making(**options))

    run.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in keywords}
    return run
