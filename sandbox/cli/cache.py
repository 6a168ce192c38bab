"""The commands of decoded rows: list, clear."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sandbox.cli.options import Json, path

cache_app = typer.Typer(help="List and clear the decoded rows that training keeps on disk.")

Root = Annotated[
    Path | None,
    typer.Argument(
        parser=path,
        help="Folder of decoded rows; default: $SANDBOX_HOME/cache/decoded.",
        show_default=False,
    ),
]


@cache_app.command("list")
def list_(folder: Root = None, as_json: Json = False) -> None:
    """List the shards whose decoded rows are kept, and what each takes of the disk."""
    from sandbox.cli import show
    from sandbox.dataset import cache_folder

    held = cache_folder.listed(_existing(folder))
    if as_json:
        rows = [{"shard": h.shard, "size_bytes": h.size, "current": h.current} for h in held]
        print(json.dumps(rows))
        return
    show.table(
        "Decoded rows",
        [
            {"shard": h.shard, "MB": h.size / 1e6, "current": "yes" if h.current else "no"}
            for h in held
        ],
    )


@cache_app.command()
def clear(folder: Root = None, as_json: Json = False) -> None:
    """Remove all decoded rows; training that reads them goes on, and the next decodes again."""
    from sandbox.cli import show
    from sandbox.dataset import cache_folder

    removed = cache_folder.clear(_existing(folder))
    size = sum(held.size for held in removed)
    if as_json:
        print(json.dumps({"shards": len(removed), "size_bytes": size}))
    else:
        show.note(f"Removed the decoded rows of {len(removed)} shards, {size / 1e6:,.1f} MB.")


def _existing(folder: Path | None) -> Path:
    """Return the folder that is meant; InvalidInputError if one was named that is not there."""
    from sandbox import files
    from sandbox.dataset import cache_folder
    from sandbox.errors import InvalidInputError

    if folder is None:
        return cache_folder.default()
    place = files.place(folder)
    if not place.is_dir():
        raise InvalidInputError(f"{place}: there is no such folder; give that of a cache.")
    return place
