"""The commands of goal sets: make, show, check, run, verify, report."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sandbox.cli.options import Json, SigningKeyLabel, path, settings
from sandbox.errors import InvalidInputError

goals_app = typer.Typer(
    help="Frozen starts and goals, who acts on them, and results that anybody can replay.",
    no_args_is_help=True,
)
SetPath = Annotated[Path, typer.Argument(parser=path, help="A goal set.", show_default=False)]
Out = Annotated[Path, typer.Option(parser=path, help="The new file.", show_default=False)]
Account = Annotated[str, typer.Option(help="Account that pays.")]
Budget = Annotated[
    str | None,
    typer.Option(help="Most that it may cost [credits], with floors and kept rows."),
]
Workers = Annotated[
    int, typer.Option(min=1, max=256, help="Number of processes; what comes of it is the same.")
]
TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        help="Allow a world whose code has changed since the set was made, or that it names as "
        "MODULE:CLASS.",
    ),
]


Source = Annotated[
    str,
    typer.Argument(help="A recipe's name, a .yaml file, or a run folder.", show_default=False),
]
Kind = Annotated[
    str,
    typer.Option(
        help="ahead: the same episode's state later; branched: what another policy reaches; "
        "task: the world's own; tasks: five, named task1 to task5."
    ),
]
Offset = Annotated[int, typer.Option(min=1, help="Steps from start to goal.")]
Steps = Annotated[
    int | None, typer.Option(min=1, help="Steps that an agent has; default: twice the offset.")
]
NoFloors = Annotated[
    bool,
    typer.Option(
        "--no-floors", help="Run no floors and no ceiling (noop, random, recorded) beside it."
    ),
]


def _no_other(run: Path | None) -> Path | None:
    """Return where a run is to be; InvalidInputError if something that is no run is there."""
    if run is not None and run.exists() and not run.is_dir():
        raise InvalidInputError(
            f"{run}: is no folder, and --keep makes a run of the tries. Give another --keep. "
            "Nothing was done."
        )
    held = [one.name for one in run.iterdir() if one.name[0] != "."] if run and run.exists() else []
    if held and "run.json" not in held:
        raise InvalidInputError(
            f"{run}: holds something that is no run. Give another --keep. Nothing was done."
        )
    return run


Batch = Annotated[
    int, typer.Option(min=1, max=256, help="Pairs that a model is asked about in one call.")
]
Keep = Annotated[
    Path | None,
    typer.Option(
        parser=path,
        callback=_no_other,
        help="Keep the agent's tries as a run, in this folder.",
    ),
]
Timeout = Annotated[
    float, typer.Option(min=0.001, help="How long the agent may take to decide [s].")
]
ApartFrom = Annotated[
    list[Path] | None,
    typer.Option(
        parser=path, help="A training run with which nothing is shared; repeat it for several."
    ),
]


def _key(label: str | None) -> Any:
    from sandbox.evidence import keys

    return None if label is None else keys.load(label)


@goals_app.command()
def make(
    source: Source,
    out: Out,
    kind: Kind = "ahead",
    offset: Offset = 25,
    budget: Steps = None,
    pairs: Annotated[
        int | None, typer.Option(min=1, help="Number of pairs; default: 100, of tasks 5.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the set.")] = 0,
    apart_from: ApartFrom = None,
    account: Account = "local",
    credits: Annotated[
        str | None, typer.Option(help="Most that it may cost [credits].", show_default=False)
    ] = None,
    workers: Workers = 1,
    key: SigningKeyLabel = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Make a goal set: find starts and goals, and throw out those that say nothing."""
    from sandbox.cli import progress
    from sandbox.goals import calls

    with progress.stoppable(), progress.display("Making", as_json, "pairs") as shown:
        made = calls.make(
            source,
            out,
            kind,
            offset=offset,
            budget=budget,
            pairs=pairs,
            seed=seed,
            apart_from=apart_from or [],
            account=account,
            max_credits=credits,
            workers=workers,
            key=_key(key),
            trust_code=trust_code,
            progress=lambda done, total, micro: shown.update(done, total, credits=micro / 1e6),
        )
    if as_json:
        facts = {"set": made.digest, "pairs": len(made.pairs), **made.filtered.model_dump()}
        print(json.dumps(facts))
    else:
        _print_set(made, out)


@goals_app.command("show")
def show_set(
    goals: SetPath,
    out: Annotated[
        Path | None,
        typer.Option(parser=path, help="A PNG of start, goal and known solution of each pair."),
    ] = None,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs in the picture, at most.")] = 12,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Print what a set has, and draw start, goal and known solution of its pairs."""
    from sandbox import durable, files, outputs
    from sandbox.cli import show
    from sandbox.goals import calls, drawn

    if out is not None:
        outputs.check(out, is_ours=lambda there: files.begin(there, 4) == b"\x89PNG")
    found = calls.read_set(goals)
    if as_json:
        print(json.dumps(found.set.model_dump(exclude={"pairs"}) | {"digest": found.set.digest}))
    else:
        _print_set(found.set, goals, found.signers)
    if out is not None:
        step = max(1, len(found.set.pairs) // pairs)
        with drawn.Camera(found.set, trust_code=trust_code) as camera:
            strips = [camera.strip(pair) for pair in found.set.pairs[::step][:pairs]]
        durable.replace(out, drawn.png(drawn.sheet(strips)))
        show.paths("Start | goal | known solution", [out])


@goals_app.command()
def check(
    goals: SetPath,
    apart_from: ApartFrom = None,
    workers: Workers = 1,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Replay every start and every known solution of a set; exit 1 if one differs."""
    from sandbox.cli import progress
    from sandbox.goals import calls

    with progress.display("Checking", as_json, "pairs") as shown:
        found = calls.check(
            goals,
            apart_from=apart_from or [],
            workers=workers,
            trust_code=trust_code,
            progress=shown.update,
        )
    _say(found, "pairs", as_json)


Acting = Annotated[
    str,
    typer.Option(
        help="noop, random, recorded, scripted, cem, icem, mppi, gcbc, a policy of `sandbox learn` "
        "(.safetensors), or MODULE:FUNCTION."
    ),
]


@goals_app.command()
def run(
    goals: SetPath,
    out: Out,
    agent: Acting = "noop",
    option: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of the agent, NAME=VALUE; repeat it for several."),
    ] = None,
    options: Annotated[
        Path | None, typer.Option(parser=path, help="A YAML file of the agent's options.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Number of seeds.")] = 3,
    account: Account = "local",
    budget: Budget = None,
    timeout: Timeout = 60.0,
    no_floors: NoFloors = False,
    keep: Keep = None,
    batch: Batch = 1,
    workers: Workers = 1,
    key: SigningKeyLabel = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Let an agent try every pair, and floors beside it; the same command goes on where it was."""
    from sandbox.cli import progress, show
    from sandbox.goals import calls, floors

    found, asked = calls.read_set(goals).set, dict[str, Any](seeds=seeds, trust_code=trust_code)
    asked["beside"] = not no_floors
    given = {**_read_options(options), **settings(option)}
    asked["again"] = keep is not None
    most = floors.quote(found, out, agent, given, **asked)
    if not as_json:
        more = "" if keep is None else f", and {_rows(found, seeds, trust_code)} to keep"
        show.note(f"It costs {most / 1e6:,.2f} credits at most{more}.")
    paying = dict[str, Any](account=account, workers=workers, key=_key(key))
    asked |= {"budget": budget, "timeout_s": timeout, "batch": batch}
    with progress.stoppable(), progress.display("Trying", as_json, "tries") as shown:

        def tell(name: str, done: int, total: int, micro: int) -> None:
            shown.update(done, total, agent=name, credits=micro / 1e6)

        every, spent = floors.run(found, out, agent, given, progress=tell, **paying, **asked)
    if keep is not None:
        paying |= {"budget": _less(budget, spent), "trust_code": trust_code}
        _keep(out, goals, keep, paying, as_json)
    _print(every, as_json, found)


def _less(budget: str | None, spent: int) -> str | None:
    """Return what is left of a budget [credits], after so many microcredits."""
    from sandbox import prices

    return None if budget is None else prices.credits(max(0, prices.micro(budget) - spent))


def _keep(out: Path, goals: Path, run: Path, paying: dict[str, Any], as_json: bool) -> None:
    """Keep the tries of results as a run, and print what it cost."""
    from sandbox import keeping
    from sandbox.cli import progress, show

    with progress.stoppable(), progress.making("Keeping", as_json, quiet=True) as watcher:
        bill = keeping.keep_tries(out, goals, run, watcher=watcher, **paying)
    if not as_json:
        show.bill(bill, run)


@goals_app.command()
def verify(
    results: Annotated[Path, typer.Argument(parser=path, help="Results.", show_default=False)],
    goals: SetPath,
    workers: Workers = 1,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Take every action of results again, and score it again; exit 1 if anything differs."""
    from sandbox.cli import progress
    from sandbox.goals import calls

    with progress.display("Verifying", as_json, "tries") as shown:
        found = calls.verify(
            results, goals, workers=workers, trust_code=trust_code, progress=shown.update
        )
    _say(found, "tries", as_json)


@goals_app.command()
def report(
    results: Annotated[
        list[Path], typer.Argument(parser=path, help="Results of one set.", show_default=False)
    ],
    goals: Annotated[
        Path | None,
        typer.Option("--goals", parser=path, help="Their set, which regret and the page need."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(parser=path, help="A page of its own: .html, with pictures.")
    ] = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Print rates with their intervals beside floor and ceiling; write a page with pictures."""
    from sandbox.cli import show
    from sandbox.goals import calls

    every = calls.read_results(results)
    given = None if goals is None else calls.read_set(goals).set
    for one in every:
        if given is not None:
            one.check_of(given)
    _print(every, as_json, given)
    if out is not None:
        if given is None:
            raise InvalidInputError("--out: a page has pictures, which need the set; give --goals.")
        calls.write_page(results, given, out, trust_code=trust_code)
        show.paths("Page", [out])


def _rows(goals: Any, seeds: int, trust_code: bool) -> str:
    """Return what it costs at most to keep tries of a set, in credits."""
    from sandbox import prices
    from sandbox.goals import kept

    most = kept.most(goals, seeds, prices.current(), trust_code=trust_code)
    return f"{most / 1e6:,.2f}"


def _read_options(given: Path | None) -> dict[str, Any]:
    from pydantic import RootModel

    from sandbox import document

    if given is None:
        return {}
    return document.read(given, RootModel[dict[str, Any]]).root


def _print(every: Any, as_json: bool, goals: Any = None) -> None:
    from sandbox.goals import scores

    if as_json:
        found = [
            {
                "agent": one.results.head.agent,
                "results": one.results.digest,
                "charge_micro": one.results.charge_micro,
                **{
                    name: [rate.value, rate.low, rate.high]
                    for name in scores.MEASURES
                    if (rate := scores.rate(one.results, name))
                },
                "regret_steps": None if goals is None else scores.regret(one.results, goals),
            }
            for one in every
        ]
        print(json.dumps(found))
    else:
        _print_results(every, goals)


def _print_set(goals: Any, path: Path, signers: Any = ()) -> None:
    from sandbox.cli import show
    from sandbox.goals import scores

    distances = [pair.distance for pair in goals.pairs]
    show.note(
        f"{path}: {len(goals.pairs)} pairs of {goals.environment}, {goals.kind}, offset "
        f"{goals.offset}, budget {goals.budget}; set {goals.digest[:16]}."
    )
    show.note(
        f"Distances {min(distances):.1f} to {max(distances):.1f}, IQM {scores.iqm(distances):.1f} "
        f"moderate tolerances. Signed by {', '.join(signers) or 'nobody that is trusted here'}."
    )
    lost = goals.filtered.model_dump()
    rows = [{"candidates": name, "number": n} for name, n in lost.items() if n]
    show.table("Candidates, and by what they were thrown out", rows)


def _print_results(every: Any, goals: Any) -> None:
    from sandbox.cli import show
    from sandbox.goals import page, scores

    rows = list[dict[str, str]]()
    for one in every:
        rates = {
            name.replace("_", ", at the "): str(scores.rate(one.results, name))
            for name in scores.MEASURES
        }
        said = dict(zip(page.FACTS.values(), page.facts(one, goals), strict=True))
        said |= scores.by_task(one.results, goals) if goals is not None else {}
        rows.append({"agent": one.results.head.agent, **rates, **said})
    show.table("Pairs reached, with intervals of 95 %", rows)
    first = every[0]
    for one in every[1:]:
        apart = scores.difference(one.results, first.results, "strict")
        show.note(
            f"{one.results.head.agent} - {first.results.head.agent}, strict, pair by pair: {apart}"
        )
    if missing := scores.lacking([one.results for one in every]):
        show.note(missing)


def _say(faults: list[str], of: str, as_json: bool) -> None:
    from sandbox.cli import show

    if as_json:
        print(json.dumps({"faults": faults}))
    else:
        for fault in faults:
            show.note(fault)
        show.note(f"FAILED: {len(faults)} {of} differ." if faults else f"VERIFIED: all {of}.")
    if faults:
        raise typer.Exit(1)
