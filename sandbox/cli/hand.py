"""The commands that hand data over to other tools and people, and take theirs in."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sandbox.cli.options import (
    CardName,
    Json,
    License,
    OutPath,
    Pictures,
    RunPath,
    TrustCode,
    listed,
    path,
)

if TYPE_CHECKING:
    from sandbox.cli.progress import Display
    from sandbox.dataset.dataset import Dataset
    from sandbox.exports.formats import Exported
    from sandbox.imports.take import ImportedRun

Runs = Annotated[
    list[str],
    typer.Argument(
        help="A run folder, a folder of runs, a trajectory file or a glob; or several.",
        show_default=False,
    ),
]
Out = Annotated[
    Path,
    typer.Option(parser=path, help="The new file or folder.", show_default=False),
]
Columns = Annotated[
    str | None,
    typer.Option(help="Columns, separated by commas; default: all that the format holds."),
]
Split = Annotated[str | None, typer.Option(help="Splits, separated by commas; default: all.")]
Policy = Annotated[str | None, typer.Option(help="Policies, separated by commas; default: all.")]
Success = Annotated[
    bool | None,
    typer.Option("--success/--failure", help="Only episodes that succeed, or only that fail."),
]


def export(
    runs: Runs,
    to: Annotated[
        str,
        typer.Option(
            help="Format: swm, minari, robomimic, lerobot, hf, webdataset, dreamer, r2dreamer, "
            "tdmpc2, ogbench, lance.",
            show_default=False,
        ),
    ],
    out: Out,
    columns: Columns = None,
    split: Split = None,
    policy: Policy = None,
    success: Success = None,
    compression: Annotated[
        str | None,
        typer.Option(help="zstd, gzip or none, for HDF5; default: the format's own."),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(min=1, max=256, help="Number of processes, for a format of several files."),
    ] = 1,
    video: Annotated[
        bool, typer.Option("--video", help="Of lerobot: pictures as films, which are not exact.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write episodes in another tool's format: a copy that is whole or not there."""
    from sandbox import exporting

    with _watched("Exporting", as_json) as shown:
        found = exporting.export(
            _chosen(runs, split, policy, success),
            to,
            out,
            columns=_named(columns),
            compression=compression,
            workers=workers,
            video=video,
            progress=shown.update,
        )
    _print(found, as_json)


def view(
    runs: Runs,
    to: Annotated[
        str, typer.Option("--as", help="Format: swm, minari, robomimic.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option(
            parser=path,
            help="The new file or folder; in a run, below views/.",
            show_default=False,
        ),
    ],
    columns: Columns = None,
    split: Split = None,
    policy: Policy = None,
    success: Success = None,
    plugin: Annotated[
        bool, typer.Option("--plugin", help="The reader loads hdf5plugin, which reads Zstd.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Lay another tool's format over the shards, which are not copied: move them together."""
    from sandbox import exporting

    with _watched("Viewing", as_json) as shown:
        found = exporting.view(
            _chosen(runs, split, policy, success),
            to,
            out,
            columns=_named(columns),
            plugin=plugin,
            progress=shown.update,
        )
    _print(found, as_json)


def publish(
    run: RunPath,
    to: Annotated[Path, typer.Option(parser=path, help="The new folder.", show_default=False)],
    licence: License = None,
    name: CardName = None,
    pictures: Pictures = True,
    keep_paths: Annotated[
        bool, typer.Option("--keep-paths", help="Also if its evidence names a path of yours.")
    ] = False,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Copy a run for others to read, verify and upload, without what is of this machine alone."""
    from sandbox import publishing
    from sandbox.cli import progress, show

    with progress.verifying(run, as_json) as shown:
        found = publishing.publish(
            run,
            to,
            license=licence,
            name=name,
            pictures=pictures,
            keep_paths=keep_paths,
            trust_code=trust_code,
            progress=shown,
        )
    if as_json:
        print(json.dumps({**asdict(found), "path": str(found.path), "command": found.command}))
    else:
        show.published(found)


def import_run(
    dataset: Annotated[
        Path,
        typer.Argument(
            parser=path, help="The dataset: a folder, or a file of HDF5.", show_default=False
        ),
    ],
    source: Annotated[
        str, typer.Option("--from", help="minari, lerobot, swm or hdf5.", show_default=False)
    ],
    out: OutPath,
    mapping: Annotated[
        Path | None,
        typer.Option("--map", parser=path, help="YAML that says what the columns of hdf5 are."),
    ] = None,
    compression: Annotated[str, typer.Option(help="Of pictures: zstd, gzip or none.")] = "zstd",
    as_json: Json = False,
) -> None:
    """Import a dataset as a run that can be read like any other, but never be verified."""
    from sandbox import exporting
    from sandbox.cli import progress

    stopping = progress.stoppable("Run the same command again to continue.")
    with stopping, progress.display("Importing", as_json) as shown:
        found = exporting.import_run(
            dataset,
            source,
            out,
            mapping=mapping,
            compression=compression,
            progress=shown.update,
        )
    _print_import(found, source, as_json)


def _print_import(found: "ImportedRun", source: str, as_json: bool) -> None:
    from sandbox.cli import show

    if not as_json:
        show.imported(found, source)
        return
    facts = {**asdict(found), "path": str(found.path), "imported": source}
    print(json.dumps(facts))


@contextmanager
def _watched(doing: str, as_json: bool) -> Generator["Display"]:
    """Show progress; after Ctrl-C say that nothing is there, and exit with status 130."""
    from sandbox.cli import progress

    stopping = progress.stoppable("Nothing is at the path; run the same command again.")
    with stopping, progress.display(doing, as_json) as shown:
        yield shown


def _chosen(
    runs: list[str], split: str | None, policy: str | None, success: bool | None
) -> "Dataset":
    from sandbox.dataset.dataset import Dataset

    return Dataset(runs, split=_named(split), policy=_named(policy), success=success)


def _named(text: str | None) -> list[str] | None:
    return None if text is None else listed(text)


def _print(found: "Exported", as_json: bool) -> None:
    from sandbox.cli import show

    if not as_json:
        show.exported(found)
        return
    facts = {
        "path": str(found.path),
        "format": found.format,
        "kind": found.kind,
        "episodes": found.episodes,
        "rows": found.rows,
        "size_bytes": found.size_bytes,
        "columns": dict(found.columns),
        "left_out": dict(found.left_out),
        "notes": list(found.notes),
        "episodes_too_short": found.too_short,
    }
    print(json.dumps(facts))
