"""The commands of world models: train and dream."""

import json
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
    assignments,
    making,
    path,
)

if TYPE_CHECKING:
    from sandbox.models import Checkpoint

Runs = Annotated[
    list[Path],
    typer.Argument(parser=path, help="Run folders to train on.", show_default=False),
]
ModelOut = Annotated[
    Path,
    typer.Option("--out", parser=path, help="The checkpoint: .safetensors.", show_default=False),
]
ModelName = Annotated[
    str, typer.Option("--model", help="conv, or MODULE:CLASS of a torch module of yours.")
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
        help="csv, jsonl, tensorboard; repeat it for several; default: csv, and tensorboard if "
        "tensorboardX is installed."
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
Tier = Annotated[
    str | None,
    typer.Option(
        help="exact (the same bytes on any machine), class (on machines of one class), or audit "
        "(within bounds); default: the best that the model has."
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
    settings: Set = None,
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
    options = _given(option) | ({"exact": True} if exact else {})
    given = {"options": options, "settings": _given(settings), "held_out": held_out}
    paying = {"account": account, "budget": budget, "prices": prices}
    with progress.display("Training", as_json, "updates") as shown:

        def tell(done: int, total: int, numbers: Mapping[str, float]) -> None:
            said = {name: numbers[name] for name in ("loss", "held_out") if name in numbers}
            shown.update(done, total, **{name: f"{value:.4g}" for name, value in said.items()})

        def quoted(micro: int, count: int) -> None:
            if not as_json:
                show.note(f"{count:,} updates, which cost {micro / 1e6:,.2f} credits.")

        told = {"track": track, "progress": tell, "quoted": quoted}
        asked: dict[str, Any] = {**amount, **given, **paying, **told}
        made = training.train(runs, out, model, size, **asked)
    _print_trained(made, out, as_json)


@making
def dream(
    model: ModelPath,
    run: RunPath,
    out: OutPath,
    episodes: Annotated[int, typer.Option(min=1, help="Number of episodes.")] = 16,
    steps: Annotated[int, typer.Option(min=1, help="Steps that each imagines, at most.")] = 50,
    policy: Annotated[str, typer.Option(help="random, noise, noop or recorded.")] = "random",
    tier: Tier = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of starts and actions.")] = 0,
    *,
    making: Making,
) -> None:
    """Imagine episodes by a model, from rows of a run on; verify imagines them again."""
    from sandbox import dreaming
    from sandbox.cli import progress, show

    paying = making.paying
    paying["account"] = paying["account"] or "local"
    with progress.making("Dreaming", making.as_json) as watcher:
        bill = dreaming.dream(
            model,
            run,
            out,
            episodes=episodes,
            steps=steps,
            policy=policy,
            tier=tier,
            seed=seed,
            watcher=watcher,
            **paying,
        )
    if making.as_json:
        print(json.dumps(asdict(bill)))
    else:
        show.bill(bill, out, "Imagined run")


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


def _given(texts: list[str] | None) -> dict[str, Any]:
    """Return options as NAME=VALUE gives them."""
    found = assignments(texts or [])
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}
