"""The commands of world models: train, evaluate, dream and worth."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sandbox.cli.options import (
    Budget,
    Json,
    Making,
    OutPath,
    Prices,
    RunPath,
    listed,
    making,
    path,
    settings,
)
from sandbox.errors import InvalidInputError

if TYPE_CHECKING:
    from sandbox.models import Checkpoint
    from sandbox.valuation.found import Worth

Runs = Annotated[
    list[Path],
    typer.Argument(parser=path, help="Run folders to train on.", show_default=False),
]
ModelOut = Annotated[
    Path,
    typer.Option("--out", parser=path, help="The checkpoint: .safetensors.", show_default=False),
]
ModelName = Annotated[
    str,
    typer.Option("--model", help="conv, rssm, jepa, mlp, gcbc, or MODULE:CLASS of a torch module."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting of the training, NAME=VALUE, such as lr=0.001."),
]
Option = Annotated[
    list[str] | None,
    typer.Option("--option", help="An option of the model, NAME=VALUE, such as width=64."),
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        help="csv, jsonl, tensorboard, wandb (offline), mlflow or trackio; repeat it for several; "
        "default: csv, and tensorboard if tensorboardX is installed."
    ),
]


Size = Annotated[str, typer.Option(help="nano, tiny, small or base.")]
Updates = Annotated[int | None, typer.Option(help="Number of updates.")]
Minutes = Annotated[
    float | None, typer.Option(help="As many updates as this machine makes in these minutes.")
]
ForCredits = Annotated[
    str | None, typer.Option("--credits", help="As many updates as these credits pay.")
]
HeldOut = Annotated[
    Path | None,
    typer.Option(
        parser=path,
        help="A run, apart from the others, that picks the weights; default: a tenth of the "
        "episodes.",
    ),
]
Exact = Annotated[
    bool,
    typer.Option(
        "--exact",
        help="Train the last third on a grid, so that dreams can be verified bit for bit anywhere.",
    ),
]
ModelPath = Annotated[
    Path, typer.Argument(parser=path, help="A checkpoint of `train`.", show_default=False)
]
TrustModel = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        help="Allow importing the code of a model that the checkpoint names as MODULE:CLASS. "
        "Trust whoever gave you the checkpoint.",
    ),
]
Tier = Annotated[
    str | None,
    typer.Option(
        help="exact (the same bytes on any machine), class (on machines of one class), or audit "
        "(within bounds); default: the best that the model has."
    ),
]
READING, FUTURES = 1500, 32  # Updates of what reads poses; windows with other factors.
HeldOutRuns = Annotated[
    list[Path], typer.Argument(parser=path, help="Held-out run folders.", show_default=False)
]
EvaluationOut = Annotated[
    Path | None,
    typer.Option("--out", parser=path, help="Folder for evaluation.json and page.html."),
]
TrainedOn = Annotated[
    list[Path] | None,
    typer.Option(
        "--train",
        parser=path,
        help="A run that the model was trained on; repeat it for several. Frames are compared, and "
        "what is fitted is fitted on them.",
    ),
]
Horizons = Annotated[str, typer.Option(help="How many rows ahead, separated by commas.")]
Context = Annotated[
    int | None, typer.Option(min=1, help="Rows that the model sees; default: as it was trained.")
]
Reading = Annotated[
    int, typer.Option(min=0, help="Updates of what reads poses in pictures; 0 leaves poses out.")
]
Futures = Annotated[
    int,
    typer.Option(min=0, help="Windows simulated again with other hidden factors; 0: none."),
]
Surprises = Annotated[
    Path | None, typer.Option(parser=path, help="A run of `surprises` to ask the model about.")
]
Branches = Annotated[
    list[Path] | None,
    typer.Option(parser=path, help="A run of `branch` to ask about; repeat it for several."),
]
Goals = Annotated[
    Path | None,
    typer.Option(
        parser=path,
        help="A goal set: how well the model orders plans there, beside the true simulator.",
    ),
]
GoalResults = Annotated[
    list[Path] | None,
    typer.Option(
        parser=path,
        help="Results of `goals run` on that set, to be shown beside; repeat it for several.",
    ),
]
Also = Annotated[
    list[Path] | None,
    typer.Option(
        parser=path, help="Another seed of the same model, to be pooled; repeat it for several."
    ),
]
Payer = Annotated[str, typer.Option("--account", help="Account that pays.")]


def train(
    runs: Runs,
    out: ModelOut,
    model: ModelName = "conv",
    size: Size = "tiny",
    updates: Updates = None,
    minutes: Minutes = None,
    credits: ForCredits = None,
    held_out: HeldOut = None,
    setting: Set = None,
    option: Option = None,
    exact: Exact = False,
    track: Track = None,
    account: Payer = "local",
    budget: Budget = None,
    prices: Prices = None,
    as_json: Json = False,
) -> None:
    """Train a world model from runs; the same command continues where it stopped."""
    from sandbox.cli import progress, show
    from sandbox.training import train as training

    amount = {"updates": updates, "minutes": minutes, "credits": credits}
    options = settings(option) | ({"exact": True} if exact else {})
    given = {"options": options, "settings": settings(setting), "held_out": held_out}
    paying = {"account": account, "budget": budget, "prices": prices}
    with progress.stoppable(), progress.display("Training", as_json, "updates") as shown:

        def tell(done: int, total: int, numbers: Mapping[str, float]) -> None:
            said = {name: numbers[name] for name in ("loss", "held_out") if name in numbers}
            shown.update(done, total, **said)

        def quoted(micro: int, count: int) -> None:
            if not as_json:
                show.note(f"{count:,} updates, which cost {micro / 1e6:,.2f} credits.")

        told = {"track": track, "progress": tell, "quoted": quoted}
        asked: dict[str, Any] = {**amount, **given, **paying, **told}
        made = training.train(runs, out, model, size, **asked)
    _print_trained(made, out, as_json)


def evaluate(
    model: ModelPath,
    runs: HeldOutRuns,
    out: EvaluationOut = None,
    train: TrainedOn = None,
    horizons: Horizons = "1,2,4,8,16,32",
    windows: Annotated[int, typer.Option(min=1, help="Number of windows, at most.")] = 240,
    context: Context = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of windows and of what is drawn.")] = 0,
    reading: Reading = READING,
    futures: Futures = FUTURES,
    surprises: Surprises = None,
    branches: Branches = None,
    goals: Goals = None,
    results: GoalResults = None,
    candidates: Annotated[int, typer.Option(min=4, help="Plans that are ordered, of a pair.")] = 32,
    also: Also = None,
    trust_code: TrustModel = False,
    as_json: Json = False,
) -> None:
    """Evaluate a world model on held-out runs, beside what knows nothing of the world."""
    from sandbox.cli import progress, show
    from sandbox.evaluation import evaluate as evaluating

    ahead = [_whole(text) for text in horizons.split(",")]
    asked: dict[str, Any] = {"train": train or None, "horizons": ahead, "windows": windows}
    asked |= {"context": context, "seed": seed, "reading": reading, "futures": futures}
    asked |= {"surprises": surprises, "branches": branches or None, "trust_code": trust_code}
    asked |= {"goals": goals, "results": results or (), "candidates": candidates}
    asked["also"] = also or ()
    stopping = progress.stoppable("Nothing was written; run the same command again.")
    with stopping, progress.display("Evaluating", as_json, "windows") as shown:
        found = evaluating(model, runs, out, progress=shown.update, **asked)
    if as_json:
        sys.stdout.write(found.encode().decode())
        return
    head, *rows = found.rows()
    head = ["", *head[1:]]
    show.table("Predicted", [dict(zip(head, row, strict=True)) for row in rows])
    for text in (found.verdict(), *found.notes):
        show.note(text)
    if out is not None:
        show.paths("Evaluation", [out / "evaluation.json", out / "page.html"])


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidInputError(f"--horizons {text!r}: give whole numbers, as in 1,4,16.") from None


@making
def dream(
    model: ModelPath,
    run: RunPath,
    out: OutPath,
    episodes: Annotated[int, typer.Option(min=1, help="Number of episodes.")] = 16,
    steps: Annotated[int, typer.Option(min=1, help="Steps that each imagines, at most.")] = 50,
    policy: Annotated[str, typer.Option(help="random, noise, noop or recorded.")] = "random",
    tier: Tier = None,
    trust_code: TrustModel = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of starts and actions.")] = 0,
    *,
    making: Making,
) -> None:
    """Imagine episodes by a model, from rows of a run on; verify imagines them again."""
    from sandbox import dreaming
    from sandbox.cli import progress, show

    paying = making.paying
    paying["account"] = paying["account"] or "local"
    with progress.making_run("Dreaming", out, making.as_json) as watcher:
        bill = dreaming.dream(
            model,
            run,
            out,
            episodes=episodes,
            steps=steps,
            policy=policy,
            tier=tier,
            seed=seed,
            trust_code=trust_code,
            watcher=watcher,
            **paying,
        )
    if making.as_json:
        print(json.dumps(asdict(bill)))
    else:
        show.bill(bill, out, "Imagined run")


RecipeNames = Annotated[
    list[str],
    typer.Argument(help="Names of recipes, or paths ending in .yaml.", show_default=False),
]
Amounts = Annotated[
    str,
    typer.Option(
        "--credits",
        help="What each recipe may spend on episodes: amounts separated by commas.",
        show_default=False,
    ),
]
WorthOut = Annotated[
    Path,
    typer.Option("--out", parser=path, help="The folder of all of it.", show_default=False),
]
Branched = Annotated[
    list[str] | None,
    typer.Option(
        "--branches",
        help="NAME=SHARE: compare a recipe also with this share of its credits spent on branches "
        "of its episodes, such as 0.5.",
    ),
]
Tests = Annotated[
    list[str] | None,
    typer.Option(
        "--test",
        help="A recipe or run of held-out episodes, one for each world; default: the interpolation "
        "of its varied scenario, by all policies.",
    ),
]
WorthGoals = Annotated[
    Path | None, typer.Option(parser=path, help="A goal set, on which models are planned with.")
]
PlannerSet = Annotated[
    list[str] | None,
    typer.Option("--planner", help="A setting of icem, NAME=VALUE, such as samples=64."),
]


@making
def worth(
    recipes: RecipeNames,
    credits: Amounts,
    out: WorthOut,
    model: ModelName = "conv",
    size: Size = "tiny",
    updates: Updates = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=100, help="Number of seeds, of data and of models.")
    ] = 2,
    branches: Branched = None,
    test: Tests = None,
    goals: WorthGoals = None,
    planner: PlannerSet = None,
    horizons: Horizons = "1,2,4,8,16,32",
    windows: Annotated[int, typer.Option(min=1, help="Number of windows, at most.")] = 240,
    setting: Set = None,
    option: Option = None,
    *,
    making: Making,
) -> None:
    """Compare recipes of equal bills: train one model on each, and evaluate it."""
    from sandbox.cli import progress, show
    from sandbox.valuation.worth import worth as comparing

    asked: dict[str, Any] = {"updates": updates, "seeds": seeds, "branches": settings(branches)}
    asked |= {"tests": test or [], "goals": goals, "windows": windows}
    asked |= {"horizons": [_whole(text) for text in horizons.split(",")]}
    asked |= {
        "planner": settings(planner),
        "settings": settings(setting),
        "options": settings(option),
    }
    with progress.stoppable(), progress.display("Comparing", making.as_json, "models") as shown:

        def quoted(micro: int) -> None:
            if not making.as_json:
                show.note(f"It costs {micro / 1e6:,.2f} credits at most.")

        def tell(done: int, total: int, what: str) -> None:
            shown.update(done, total, **({"next": what} if what else {}))

        asked |= {"quoted": quoted, "progress": tell, **making.paying}
        found = comparing(recipes, out, listed(credits), model, size, **asked)
    if making.as_json:
        print(json.dumps(found.plain()))
    else:
        _print_worth(found, out)


def _print_trained(made: "Checkpoint", out: Path, as_json: bool) -> None:
    from sandbox.cli import show

    facts = made.facts
    if as_json:
        print(json.dumps({"checkpoint": str(out), "digest": made.digest, **facts.model_dump()}))
        return
    show.note(
        f"Trained on {facts.data.episodes:,} episodes; the weights after update {facts.updates:,} "
        f"have the least error on {facts.held_out.episodes:,} held out: {facts.error:.4g}."
    )
    show.note(
        f"It cost {facts.charge_micro / 1e6:,.2f} credits; its data "
        f"{facts.data.charge_micro / 1e6:,.2f}."
    )
    show.note(f"Checkpoint: {out}")


def _print_worth(found: "Worth", out: Path) -> None:
    from sandbox.cli import show

    show.table("Means, with intervals of 95 % over seeds", found.rows())
    for one in found.cells:
        if one.failed:
            show.note(f"{one.arm}, seed {one.seed}, {one.credits:,.12g} credits: {one.failed}")
    show.note(
        "`better than` names what is worse by more than the interval of the difference, seed by "
        "seed; all of these of one amount hold together with 95 %."
    )
    bill = [{"work": name, "credits": f"{n / 1e6:,.2f}"} for name, n in found.bill.items()]
    show.table("Bill", [*bill, {"work": "all", "credits": f"{found.amount / 1e6:,.2f}"}])
    show.paths("Results", [out / f"worth.{kind}" for kind in ("json", "csv", "png")])
