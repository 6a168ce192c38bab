"""The command that writes the reference pages."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sandbox.cli.options import Json


def reference(
    out: Annotated[Path, typer.Argument(help="Folder of the pages.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Write the reference pages of commands, Python functions, recipes and scenarios."""
    from sandbox.cli import describe, show
    from sandbox.report import reference as pages

    paths = pages.write(out, {**describe.pages(), **pages.documents()})
    if as_json:
        print(json.dumps([str(path) for path in paths]))
    else:
        show.paths("Reference", paths)
