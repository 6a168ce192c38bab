"""Every command in its group."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sandbox.cli import (
    agent,
    cache,
    experiment,
    goals,
    hand,
    keep,
    ledger,
    look,
    make,
    model,
    prices,
    stopping,
    trust,
)
from sandbox.cli.options import CHECK, HAND, KEEP, LOOK, MAKE, MODEL, PAY, Json, path


def _version(wanted: bool) -> None:
    if wanted:
        from sandbox import __version__

        typer.echo(f"sandbox {__version__}")
        raise typer.Exit


class _Group(TyperGroup):
    """All commands. Those that do not say themselves what Ctrl-C leaves have written nothing."""

    def invoke(self, ctx: Any) -> Any:
        with stopping.heard():
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                from sandbox.cli import show

                show.note(stopping.AGAIN)
                raise typer.Exit(stopping.STATUS) from None


app = typer.Typer(
    cls=_Group,
    help="Generate, check and pay for world-model datasets from PyBullet environments.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # Rich's own markup would swallow [credits].
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Generate, check and pay for world-model datasets from PyBullet environments."""


for command in (make.generate, make.quote, make.sweep):
    app.command(rich_help_panel=MAKE)(command)
for command in (make.render, make.branch, make.surprises):
    app.command(rich_help_panel=MAKE)(command)
for command in (make.extend, keep.subset, keep.merge, keep.split, keep.recompress, keep.migrate):
    app.command(rich_help_panel=KEEP)(command)
for command in (look.inspect, look.preview, look.coverage, look.envs, look.scenarios):
    app.command(rich_help_panel=LOOK)(command)
app.command("factors", rich_help_panel=LOOK)(look.factors)
for command in (look.schema, look.gallery):
    app.command(rich_help_panel=LOOK)(command)


@app.command(rich_help_panel=LOOK)
def reference(
    out: Annotated[
        Path,
        typer.Argument(
            parser=path,
            help="Folder of the pages.",
            show_default=False,
        ),
    ],
    as_json: Json = False,
) -> None:
    """Write the reference pages of commands, Python functions, recipes and scenarios."""
    from sandbox.cli import describe, show
    from sandbox.report import reference as pages

    paths = pages.write(out, {**describe.pages(app), **pages.documents()})
    if as_json:
        print(json.dumps([str(path) for path in paths]))
    else:
        show.paths("Reference", paths)


for command in (model.train, model.evaluate, model.dream, model.worth):
    app.command(rich_help_panel=MODEL)(command)
for command in (experiment.experiment, agent.learn):
    app.command(rich_help_panel=MODEL)(command)
for command in (hand.export, hand.view, keep.card, hand.publish):
    app.command(rich_help_panel=HAND)(command)
for command in (trust.verify, trust.audit, trust.refund, trust.prove, trust.settle, keep.repair):
    app.command(rich_help_panel=CHECK)(command)
app.command("import", rich_help_panel=HAND)(hand.import_run)
for command in (keep.doctor, keep.diff):
    app.command(rich_help_panel=CHECK)(command)
app.add_typer(goals.goals_app, name="goals", rich_help_panel=CHECK)
app.add_typer(cache.cache_app, name="cache", rich_help_panel=LOOK)
app.add_typer(trust.keys_app, name="keys", rich_help_panel=CHECK)
app.add_typer(ledger.ledger_app, name="ledger", rich_help_panel=PAY)
app.add_typer(prices.prices_app, name="prices", rich_help_panel=PAY)
