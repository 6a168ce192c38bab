"""The commands that make data: generate, quote, render, branch, surprises."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sandbox.cli import options
from sandbox.cli.options import (
    Account,
    Admission,
    Antialias,
    Cameras,
    Columns,
    Compression,
    CreditsOption,
    Episodes,
    ImageSize,
    Json,
    Making,
    OnOption,
    OutPath,
    Prices,
    RankOption,
    RecipeName,
    Renderer,
    RunPath,
    Seed,
    Shared,
    SigningKeyLabel,
    Split,
    TrustCode,
    Workers,
    WorldSize,
    assignments,
    listed,
    making,
    path,
)

if TYPE_CHECKING:
    from sandbox.run.bill import Bill


@making
def generate(
    name: RecipeName,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            help="The run folder; default: runs/RECIPE.",
            show_default=False,
        ),
    ] = None,
    split: Split = None,
    episodes: Episodes = None,
    credits: CreditsOption = None,
    seed: Seed = None,
    compression: Compression = None,
    admission: Admission = None,
    rank: RankOption = None,
    world_size: WorldSize = None,
    on: OnOption = None,
    shared: Shared = False,
    *,
    making: Making,
) -> None:
    """Generate the dataset of a recipe; the same command continues where it stopped."""
    from sandbox import api
    from sandbox.cli import progress, show

    folder = out or Path("runs") / Path(name).stem
    with progress.making_run("Generating", folder, making.as_json) as watcher:
        bill = api.generate(
            name,
            folder,
            split=split,
            episodes=episodes,
            credits=credits,
            seed=seed,
            compression=compression,
            admission=admission,
            rank=options.rank(rank),
            world_size=world_size,
            on=on,
            shared=shared,
            watcher=watcher,
            **making.paying,
        )
    _print_bill(bill, folder, making.as_json)
    if rank is not None and not making.as_json:
        show.note(f"When all ranks have ended: `sandbox settle {folder}`.")


def extend(
    run: RunPath,
    episodes: Annotated[
        int,
        typer.Option(min=1, help="Number of episodes that the run will have.", show_default=False),
    ],
    budget: Annotated[
        str | None,
        typer.Option(help="Most that the whole run may cost, old episodes included [credits]."),
    ] = None,
    admission: Admission = None,
    trust_code: TrustCode = False,
    workers: Workers = 1,
    key: SigningKeyLabel = None,
    as_json: Json = False,
) -> None:
    """Extend a finished run to more episodes of its recipe; only new ones are charged."""
    from sandbox import keeping
    from sandbox.cli import progress
    from sandbox.evidence import keys

    with progress.making_run("Extending", run, as_json) as watcher:
        bill = keeping.extend(
            run,
            episodes,
            budget=budget,
            admission=admission,
            trust_code=trust_code,
            workers=workers,
            key=None if key is None else keys.load(key),
            watcher=watcher,
        )
    _print_bill(bill, run, as_json)


def quote(
    name: RecipeName,
    split: Split = None,
    episodes: Episodes = None,
    credits: CreditsOption = None,
    seed: Seed = None,
    account: Account = None,
    prices: Prices = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure/--no-measure",
            help="Make a few episodes, for free, to estimate time and disk on this machine.",
        ),
    ] = True,
    as_json: Json = False,
) -> None:
    """Print what a recipe will cost: exactly if its episodes have a fixed length, else at most."""
    from sandbox import api
    from sandbox.cli import show
    from sandbox.run import recipe as recipes

    wanted = recipes.of(
        name, split=split, episodes=episodes, credits=credits, seed=seed, account=account
    )
    quoted = api.quote(wanted, prices=prices)
    found = api.estimate(wanted, prices=prices) if measure else None
    if as_json:
        facts = {
            "quantities": quoted.quantities,
            "charge_micro": quoted.amount,
            "exact": quoted.exact,
            "expected_micro": quoted.amount if quoted.exact else quoted.expected,
            "expected_episodes": quoted.expected_episodes,
            "price_version": quoted.price_version,
            "estimate": None if found is None else asdict(found),
        }
        print(json.dumps(facts))
        return
    show.quote(wanted, quoted, 0)
    if found is not None:
        show.estimate(found)


@making
def render(
    run: RunPath,
    out: OutPath,
    columns: Columns = "pixels",
    camera: Cameras = None,
    image_size: ImageSize = None,
    antialias: Antialias = None,
    renderer: Renderer = None,
    compression: Compression = None,
    admission: Admission = None,
    trust_code: TrustCode = False,
    *,
    making: Making,
) -> None:
    """Replay a finished run and draw its pictures; only the pictures are charged."""
    from sandbox import api
    from sandbox.cli import progress

    with progress.making_run("Rendering", out, making.as_json) as watcher:
        bill = api.render(
            run,
            out,
            listed(columns or ""),
            camera=camera,
            image_size=image_size,
            antialias=antialias,
            renderer=renderer,
            compression=compression,
            admission=admission,
            trust_code=trust_code,
            watcher=watcher,
            **making.paying,
        )
    _print_bill(bill, out, making.as_json)


@making
def sweep(
    name: RecipeName,
    grid: Annotated[
        list[str],
        typer.Option(
            "--set",
            help="NAME=VALUE,VALUE,...: values of a factor, or of a recipe's key (scenario, split, "
            "seed, episodes, credits, reward, image_size, antialias, renderer). Repeat it for a "
            "grid.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(parser=path, help="The folder of the runs.", show_default=False)
    ],
    split: Split = None,
    episodes: Episodes = None,
    seed: Seed = None,
    compression: Compression = None,
    *,
    making: Making,
) -> None:
    """Generate a recipe for every combination of values, into one folder and with one bill."""
    from sandbox import sweeping
    from sandbox.cli import progress, show

    with progress.stoppable():
        found = sweeping.sweep(
            name,
            out,
            assignments(grid),
            split=split,
            episodes=episodes,
            seed=seed,
            compression=compression,
            watching=lambda cell: progress.making(cell.name, making.as_json, quiet=True),
            **making.paying,
        )
    if making.as_json:
        rows = [{**asdict(one), "path": str(one.path)} for one in found.cells]
        told = {"runs": rows, "charge_micro": found.bill.amount, "ended": found.ended}
        print(json.dumps(told))
    else:
        show.sweep(found, out)


@making
def branch(
    run: RunPath,
    episode: Annotated[int, typer.Option(min=0, help="Number of the episode to branch off.")],
    step: Annotated[int, typer.Option(min=0, help="Step of the first action that may differ.")],
    kinds: Annotated[
        str,
        typer.Option(
            "--with",
            help="Kinds of branches, separated by commas. Actions: same (recorded), noop (zeros), "
            "random. Possible: impulse, remove, factor:NAME=VALUE. Impossible: vanish, teleport, "
            "ghost, recolor, reshape. Name a body as impulse:BODY; default: the fastest.",
        ),
    ],
    out: OutPath,
    k: Annotated[
        int,
        typer.Option(
            min=1,
            help="Number of branches for each random kind: random, impulse, teleport, recolor, "
            "reshape.",
        ),
    ] = 1,
    trust_code: TrustCode = False,
    *,
    making: Making,
) -> None:
    """Replay an episode up to a step, then continue it differently."""
    from sandbox import api
    from sandbox.cli import progress

    with progress.making_run("Branching", out, making.as_json) as watcher:
        bill = api.branch(
            run,
            out,
            episode=episode,
            step=step,
            kinds=listed(kinds),
            k=k,
            trust_code=trust_code,
            watcher=watcher,
            **making.paying,
        )
    _print_bill(bill, out, making.as_json)


@making
def surprises(
    run: RunPath,
    out: OutPath,
    kinds: Annotated[
        str | None,
        typer.Option(
            "--with",
            help="Kinds of surprises, separated by commas: vanish, teleport, ghost, recolor, "
            "reshape; default: every kind for which the run has enough suitable steps.",
        ),
    ] = None,
    pairs: Annotated[
        int,
        typer.Option(
            min=1, max=1_000_000, help="Number of pairs of each kind; each uses another episode."
        ),
    ] = 10,
    during: Annotated[
        str | None,
        typer.Option(
            help="Event flag, such as hidden: surprises happen only while it is true. Needs labels."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the choice of steps, and of what happens.")
    ] = 0,
    trust_code: TrustCode = False,
    *,
    making: Making,
) -> None:
    """Make pairs of a possible and an impossible episode with the same past."""
    from sandbox import api
    from sandbox.cli import progress, show
    from sandbox.sources import surprises as pairings

    with progress.making_run("Branching", out, making.as_json) as watcher:
        bill = api.surprises(
            run,
            out,
            kinds=None if kinds is None else listed(kinds),
            pairs=pairs,
            during=during,
            seed=seed,
            trust_code=trust_code,
            watcher=watcher,
            **making.paying,
        )
    _print_bill(bill, out, making.as_json)
    if not making.as_json:
        show.pairs(pairings.pairs(api.open_run(out)))


def _print_bill(bill: "Bill", folder: Path, as_json: bool) -> None:
    from sandbox.cli import show
    from sandbox.evidence import keys

    if as_json:
        facts = {
            "run": str(folder),
            "episodes": bill.episodes,
            "already_charged": bill.already,
            "repeated": bill.repeated,
            "quantities": bill.quantities,
            "charge_micro": bill.amount,
            "ended": bill.ended,
        }
        print(json.dumps(facts))
        return
    show.bill(bill, folder)
    if not keys.exists():
        show.note("Its log is not signed: make a key with `sandbox keys new`.")
