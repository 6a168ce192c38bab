"""The commands that look at data and at what there is to generate."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sandbox.cli.options import (
    Antialias,
    Cameras,
    Columns,
    ImageSize,
    Json,
    Renderer,
    RunPath,
    TrustCode,
    listed,
    path,
)

if TYPE_CHECKING:
    from sandbox.env import SandboxEnv


class Document(StrEnum):
    """What people write in YAML."""

    scenario = "scenario"
    recipe = "recipe"


def inspect(
    run: Annotated[
        Path,
        typer.Argument(
            parser=path,
            help="A run folder, or a trajectory file.",
            show_default=False,
        ),
    ],
    as_json: Json = False,
) -> None:
    """Print what a run or a trajectory file holds: columns, units, episodes, policies, credits."""
    from sandbox import api
    from sandbox.cli import show
    from sandbox.report.summary import summarise

    summary = summarise(api.open_run(run))
    if as_json:
        print(json.dumps(summary))
    else:
        show.summary(summary)


def preview(
    run: RunPath,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=path, help="Folder to write into; default: RUN/preview.", show_default=False
        ),
    ] = None,
    episodes: Annotated[int, typer.Option(help="Number of episodes to show.")] = 6,
    columns: Columns = None,
    camera: Cameras = None,
    image_size: ImageSize = None,
    antialias: Antialias = None,
    renderer: Renderer = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Draw a contact sheet (PNG) and a film (MP4) of a run; missing pictures are replayed."""
    from sandbox import api
    from sandbox.cli import show
    from sandbox.report import preview as previews

    paths = previews.preview(
        api.open_run(run, trust_code=trust_code),
        out or run / "preview",
        episodes,
        listed(columns) if columns else None,
        camera,
        image_size=image_size,
        antialias=antialias,
        renderer=renderer,
    )
    if as_json:
        print(json.dumps([str(path) for path in paths]))
    else:
        show.paths("Preview", paths)


def coverage(
    run: RunPath,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=path, help="The picture; default: RUN/coverage.png.", show_default=False
        ),
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(
            "--train",
            parser=path,
            help="The run that a model is trained on: warn of what this one shares with it.",
            show_default=False,
        ),
    ] = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Measure what a run covers of its worlds, and warn if little moves or seeds repeat."""
    from sandbox import api, outputs
    from sandbox.cli import show
    from sandbox.report import coverage as covering
    from sandbox.report import coverage_picture as drawing

    picture = out or run / "coverage.png"
    drawing.ending(picture)
    if not as_json:  # Before the work, and not after it.
        outputs.check(picture, "coverage")
    found = covering.measure(
        api.open_run(run, trust_code=trust_code), None if train is None else api.open_run(train)
    )
    if as_json:
        print(json.dumps(covering.plain(found)))
        return
    drawing.draw(found, picture)
    show.coverage(found)
    show.paths("Picture", [picture])


def gallery(
    out: Annotated[
        Path,
        typer.Argument(
            parser=path,
            help="Folder to write into.",
            show_default=False,
        ),
    ],
    as_json: Json = False,
) -> None:
    """Write the reference page of every environment: films, cameras, factors, events."""
    from sandbox import catalogue
    from sandbox.cli import progress, show
    from sandbox.report.gallery import gallery as write

    page = write(out, progress.each(catalogue.environments(), "Drawing", hidden=as_json))
    if as_json:
        print(json.dumps(str(page)))
    else:
        show.paths("Gallery", [page])


def envs(as_json: Json = False) -> None:
    """List the environments."""
    from sandbox import catalogue
    from sandbox.cli import show

    rows = [_environment(name, env) for name, env in catalogue.importable()]
    if as_json:
        print(json.dumps(rows))
    else:
        shown = ("environment", "family", "action", "steps", "factors", "summary")
        show.table("Environments", [{key: row[key] for key in shown} for row in rows])


def factors(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of an environment, such as push_t or PushT, or MODULE:CLASS.",
            show_default=False,
        ),
    ],
    as_json: Json = False,
) -> None:
    """List the factors of an environment: what a scenario may vary."""
    from sandbox import catalogue
    from sandbox.cli import show
    from sandbox.scenario.factors import described

    known = catalogue.environment(name, trust_code=True).factors
    rows = [described(key, one) for key, one in known.items()]
    if as_json:
        print(json.dumps(rows))
    else:
        show.table(f"Factors of {name}", rows)


def schema(
    document: Annotated[Document, typer.Argument(help="Kind of document.")] = Document.scenario,
) -> None:
    """Print the JSON schema of scenarios or recipes, for an editor to complete them."""
    from sandbox.report import reference
    from sandbox.run.recipe import Recipe
    from sandbox.scenario import Scenario

    model = Scenario if document is Document.scenario else Recipe
    print(json.dumps(reference.schema(model), indent=1))


def scenarios(as_json: Json = False) -> None:
    """List the scenarios and the recipes."""
    from sandbox import catalogue
    from sandbox.cli import show

    rows: list[dict[str, Any]] = [
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


def _environment(name: str, env: "type[SandboxEnv]") -> dict[str, Any]:
    from sandbox import catalogue

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
        "summary": (env.__doc__ or "").strip().partition("\n")[0],
    }
