"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

MAKE, LOOK, CHECK, PAY = "Make data", "Look at it", "Check it", "Pay for it"  # Groups of --help.

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
RunPath = Annotated[Path, typer.Argument(help="A run folder.", show_default=False)]
OutPath = Annotated[Path, typer.Option(help="The new run folder.", show_default=False)]
RecipeName = Annotated[
    str, typer.Argument(help="A recipe's name, or a path ending in .yaml.", show_default=False)
]
Episodes = Annotated[int | None, typer.Option(help="Number of episodes; default: the recipe's.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the run; default: the recipe's.")]
Split = Annotated[
    str | None,
    typer.Option(help="Split of the scenario, such as train; default: the recipe's."),
]
Budget = Annotated[str | None, typer.Option(help="Most that the run may cost [credits].")]
Account = Annotated[str | None, typer.Option(help="Account that pays; default: the recipe's.")]
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
Renderer = Annotated[str | None, typer.Option(help="raster or tiny; default: the run's.")]
Compression = Annotated[str | None, typer.Option(help="zstd, gzip or none; default: the recipe's.")]
Admission = Annotated[
    str | None,
    typer.Option(
        help="safe: start only if the whole run can be paid; greedy: stop when credit is spent."
    ),
]
Workers = Annotated[
    int, typer.Option(min=1, max=256, help="Number of processes that share the shards.")
]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Import the environment MODULE:CLASS of the run.")
]
SigningKeyLabel = Annotated[
    str | None,
    typer.Option("--key", help="Label of the key that signs; default: the key `default`, if any."),
]


def listed(text: str) -> list[str]:
    """Return the parts of a text separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]
