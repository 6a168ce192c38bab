"""The commands over runs: generate, quote, verify, inspect, preview, envs, scenarios."""

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sandbox import catalogue, prices
from sandbox.cli import show, trust
from sandbox.cli.ledger import ledger_app
from sandbox.cli.trust import Key, TrustCode
from sandbox.run import recipe
from sandbox.scenario import factors

if TYPE_CHECKING:
    from sandbox.env import SandboxEnv
    from sandbox.run.run import Run


class Document(StrEnum):
    """What people write in YAML."""

    scenario = "scenario"
    recipe = "recipe"


app = typer.Typer(
    help="Metered, replayable simulation for world models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(ledger_app, name="ledger")
app.add_typer(trust.keys_app, name="keys")
for command in (trust.recover, trust.verify, trust.audit, trust.prove):
    app.command()(command)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
RunPath = Annotated[Path, typer.Argument(help="A run folder.", show_default=False)]
RecipeName = Annotated[
    str, typer.Argument(help="A recipe's name, or a path ending in .yaml.", show_default=False)
]
Episodes = Annotated[int | None, typer.Option(help="Instead of the recipe's.")]
Seed = Annotated[int | None, typer.Option(help="Instead of the recipe's.")]
Split = Annotated[
    str | None, typer.Option(help="Of the scenario, instead of the recipe's; such as train.")
]
Credits = Annotated[str | None, typer.Option(help="Most that the run may cost [credits].")]
Account = Annotated[str | None, typer.Option(help="Who pays.")]
Cameras = Annotated[
    list[str] | None, typer.Option(help="Who draws, instead of the run's; may be repeated.")
]
ImageSize = Annotated[int | None, typer.Option(help="Pixels in width and height.")]
Renderer = Annotated[str | None, typer.Option(help="raster or tiny.")]
Compression = Annotated[str | None, typer.Option(help="zstd, gzip or none.")]
Admission = Annotated[
    str | None, typer.Option(help="safe: the whole run can be paid; greedy: as far as credit goes.")
]
Workers = Annotated[int, typer.Option(min=1, max=256, help="Processes that share the shards.")]


@app.command()
def generate(
    name: RecipeName,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/RECIPE if none.")] = None,
    split: Split = None,
    episodes: Episodes = None,
    seed: Seed = None,
    budget: Credits = None,
    account: Account = None,
    compression: Compression = None,
    admission: Admission = None,
    workers: Workers = 1,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Carry out a recipe; run it again to continue where it stopped."""
    from sandbox.run.run import Run

    wanted = recipe.changed(
        recipe.load(name),
        split=split,
        episodes=episodes,
        seed=seed,
        budget=_credits(budget),
        account=account,
        compression=compression,
        admission=admission,
    )
    folder = out or Path("runs") / Path(name).stem
    run = Run(wanted, folder, key=trust.signer(key))
    _carry_out(run, "Generating", workers, as_json)


@app.command()
def render(
    run: RunPath,
    out: Annotated[Path, typer.Option(help="The new run folder.", show_default=False)],
    columns: Annotated[
        str, typer.Option(help="Of pixels, depth, segmentation, links; with commas.")
    ] = "pixels",
    camera: Cameras = None,
    image_size: ImageSize = None,
    renderer: Renderer = None,
    budget: Credits = None,
    account: Account = None,
    compression: Compression = None,
    admission: Admission = None,
    workers: Workers = 1,
    key: Key = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Replay a finished run, bit for bit, and draw its pictures now; only these are charged."""
    from sandbox.run import folder as runs
    from sandbox.run.run import Run
    from sandbox.sources import rendering as rerender

    wanted = recipe.with_pictures(
        runs.recipe_of(run),
        columns.split(","),
        camera,
        image_size=image_size,
        renderer=renderer,
        budget=_credits(budget),
        account=account,
        compression=compression,
        admission=admission,
    )
    source = rerender.Rendering(wanted, run, trust_code)
    drawing = Run(wanted, out, None, source, trust.signer(key))
    _carry_out(drawing, "Rendering", workers, as_json)


@app.command()
def branch(
    run: RunPath,
    episode: Annotated[int, typer.Option(min=0, help="Which to branch off.")],
    step: Annotated[int, typer.Option(min=0, help="The first that may differ.")],
    kinds: Annotated[
        str,
        typer.Option(
            "--with",
            help="noop, same, random, impulse, remove, factor:NAME=VALUE; and what cannot be: "
            "vanish, teleport, ghost, recolor, reshape. Most take :BODY. With commas.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The new run folder.", show_default=False)],
    k: Annotated[int, typer.Option(min=1, help="How many of each that has chance in it.")] = 1,
    budget: Credits = None,
    account: Account = None,
    workers: Workers = 1,
    key: Key = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Live a recorded episode again up to a step, then otherwise: counterfactual groups."""
    from sandbox.sources import branching

    plan = branching.planned(run, episode, step, _listed(kinds), k, trust_code)
    _branch_off(run, plan, out, budget, account, workers, key, trust_code, as_json)


@app.command()
def surprises(
    run: RunPath,
    out: Annotated[Path, typer.Option(help="The new run folder.", show_default=False)],
    kinds: Annotated[
        str | None,
        typer.Option(
            "--with",
            help="Of vanish, teleport, ghost, recolor, reshape; each that the run has moments for, "
            "if none is named.",
        ),
    ] = None,
    pairs: Annotated[int, typer.Option(min=1, help="How many of each, each of an episode.")] = 10,
    during: Annotated[
        str | None, typer.Option(help="An event: only while it holds, such as hidden.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of which moments, and what happens.")] = 0,
    budget: Credits = None,
    account: Account = None,
    workers: Workers = 1,
    key: Key = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Make pairs for violation of expectation: what was recorded, and what cannot be."""
    from sandbox.sources import branching

    named = None if kinds is None else _listed(kinds)
    plan = branching.surprises(run, named, pairs, during, seed, trust_code)
    _branch_off(run, plan, out, budget, account, workers, key, trust_code, as_json)
    if not as_json:
        show.pairs(branching.pairs(out))


def _branch_off(
    run: Path,
    plan: Mapping[str, Any],
    out: Path,
    budget: str | None,
    account: str | None,
    workers: int,
    key: str | None,
    trust_code: bool,
    as_json: bool,
) -> None:
    from sandbox.run.run import Run
    from sandbox.sources import branching

    pays = _credits(budget)
    source = branching.Branching.of(run, plan, trust_code, budget=pays, account=account)
    carried = Run(source.recipe, out, None, source, trust.signer(key))
    _carry_out(carried, "Branching", workers, as_json)


def _carry_out(run: "Run", doing: str, workers: int, as_json: bool) -> None:
    """Quote, generate, bill."""
    wanted = run.recipe
    try:
        quoted = run.quote()
        run.check_funds(quoted)
        if not as_json:
            show.quote(wanted, quoted, run.done())
        with show.waiting("Compiling the renderer, once on a machine", hidden=as_json):
            run.env.pictures.warm_up()
        with show.GenerateProgress(wanted, doing, hidden=as_json) as progress:
            bill = run.generate(progress, workers)
    except KeyboardInterrupt:
        show.note(
            f"Stopped. {run.bill.episodes} of {wanted.episodes} episodes are kept and charged; run "
            "the same command again to continue."
        )
        raise typer.Exit(130) from None
    finally:
        run.close()
    if as_json:
        print(json.dumps(_bill(bill, run.folder)))
    else:
        show.bill(bill, run.folder)
        if run.key is None:
            show.note("Its log is not signed: make a key with `sandbox keys new`.")


@app.command()
def quote(
    name: RecipeName,
    split: Split = None,
    episodes: Episodes = None,
    seed: Seed = None,
    account: Account = None,
    as_json: Json = False,
) -> None:
    """Say what a recipe will cost: exact where episodes have a fixed length, else at most."""
    from sandbox.run import run as collect

    changes = {"split": split, "episodes": episodes, "seed": seed, "account": account}
    wanted = recipe.changed(recipe.load(name), **changes)
    quoted = collect.quote(wanted)
    if as_json:
        print(
            json.dumps(
                {
                    "quantities": quoted.quantities,
                    "charge_micro": quoted.amount,
                    "exact": quoted.exact,
                    "price_version": prices.current().version,
                }
            )
        )
    else:
        show.quote(wanted, quoted, 0)


@app.command()
def inspect(run: RunPath, as_json: Json = False) -> None:
    """Say what is in a run or a file: columns, units, episodes, policies, returns, credits."""
    from sandbox.report.summary import summarise

    summary = summarise(run)
    if as_json:
        print(json.dumps(summary))
    else:
        show.summary(summary)


@app.command()
def coverage(
    run: RunPath,
    out: Annotated[
        Path | None, typer.Option(help="The picture; coverage.png in the run folder if none.")
    ] = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Measure what a run covers of its world, and warn of what trains badly."""
    from sandbox.report import coverage as covering

    found = covering.measure(run, trust_code)
    if as_json:
        print(json.dumps(covering.plain(found)))
        return
    picture = out or run / "coverage.png"
    covering.draw(found, picture)
    show.coverage(found)
    show.paths("Picture", [picture])


@app.command()
def preview(
    run: RunPath,
    out: Annotated[Path | None, typer.Option(help="Where to write; RUN/preview if none.")] = None,
    episodes: Annotated[int, typer.Option(help="How many episodes to show.")] = 6,
    columns: Annotated[
        str | None, typer.Option(help="Of pixels, depth, segmentation, links; the run's if none.")
    ] = None,
    camera: Cameras = None,
    image_size: ImageSize = None,
    renderer: Renderer = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Draw a contact sheet (PNG) and a film (MP4) of a run, replayed for pictures it has not."""
    from sandbox.report import preview as previewing

    paths = previewing.preview(
        run,
        out or run / "preview",
        episodes,
        columns.split(",") if columns else None,
        camera,
        trust_code,
        image_size=image_size,
        renderer=renderer,
    )
    if as_json:
        print(json.dumps([str(path) for path in paths]))
    else:
        show.paths("Preview", paths)


@app.command()
def gallery(
    out: Annotated[Path, typer.Argument(help="Where to write.")], as_json: Json = False
) -> None:
    """Write a page of every environment: films, and pictures of its cameras and factors."""
    from sandbox.report.gallery import gallery as write

    names = [name for name, _ in catalogue.importable()]
    page = write(out, show.each(names, "Drawing", hidden=as_json))
    if as_json:
        print(json.dumps(str(page)))
    else:
        show.paths("Gallery", [page])


@app.command()
def envs(as_json: Json = False) -> None:
    """List the environments."""
    rows = [_environment(name, env) for name, env in catalogue.importable()]
    if as_json:
        print(json.dumps(rows))
    else:
        shown = ("environment", "family", "action", "steps", "factors", "summary")
        show.table("Environments", [{key: it[key] for key in shown} for it in rows])


@app.command("factors")
def factors_(
    name: Annotated[
        str, typer.Argument(help="An environment, or MODULE:CLASS.", show_default=False)
    ],
    as_json: Json = False,
) -> None:
    """List what a scenario may vary in an environment."""
    env = catalogue.environment(name, trust_code=True)
    rows = [factors.described(key, one) for key, one in env.factors.items()]
    if as_json:
        print(json.dumps(rows))
    else:
        show.table(f"Factors of {name}", rows)


@app.command()
def schema(
    document: Annotated[Document, typer.Argument(help="Of which document.")] = Document.scenario,
) -> None:
    """Print the JSON schema of a document, so that editors complete it."""
    from sandbox.scenario import Scenario

    model = Scenario if document is Document.scenario else recipe.Recipe
    print(json.dumps(model.model_json_schema(), indent=1))


@app.command()
def scenarios(as_json: Json = False) -> None:
    """List the scenarios, and the recipes."""
    rows = [
        {
            "scenario": name,
            "environment": scenario.environment,
            "splits": list(scenario.splits),
            "varies": list(scenario.factors),
            "summary": scenario.summary,
        }
        for name, scenario in catalogue.checked_scenarios()
    ]
    if as_json:
        print(json.dumps(rows))
    else:
        shown = ("scenario", "splits", "summary")
        show.table("Scenarios", [{key: row[key] for key in shown} for row in rows])
        show.note("Recipes: " + ", ".join(catalogue.recipes()))


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _credits(budget: str | None) -> float | None:
    return None if budget is None else prices.micro(budget) / prices.MICRO


def _environment(name: str, env: "type[SandboxEnv]") -> dict[str, Any]:
    return {
        "environment": name,
        "id": catalogue.gym_id(name),
        "family": env.family,
        "action": env.action_size,
        "proprio": len(env.elements),
        "state": len(env.state_names()),
        "steps": env.max_episode_steps(),
        "hz": env.control_hz,
        "factors": len(env.factors),
        "summary": (env.__doc__ or "").strip().splitlines()[0],
    }


def _bill(bill: Any, folder: Path) -> dict[str, Any]:
    return {
        "run": str(folder),
        "episodes": bill.episodes,
        "already_charged": bill.already,
        "quantities": bill.quantities,
        "charge_micro": bill.amount,
    }
