"""The commands that keep data: derive runs from others, repair, diagnose and compare them."""

import json
import operator
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from sandbox.cli.options import (
    CardName,
    Compression,
    Json,
    License,
    OutPath,
    Pictures,
    RunPath,
    SigningKeyLabel,
    TrustCode,
    listed,
    path,
)
from sandbox.errors import InvalidInputError

if TYPE_CHECKING:
    from sandbox.cli.progress import Display
    from sandbox.evidence.note import SigningKey
    from sandbox.keeping import DerivedRun
    from sandbox.run.record import Record

Runs = Annotated[
    list[Path],
    typer.Argument(parser=path, help="Run folders, or folders of runs.", show_default=False),
]
Stored = Annotated[
    str | None, typer.Option(help="zstd, gzip or none; default: that of the first run.")
]
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_WHERE = re.compile(r"\s*([\w.]+)\s*(==|!=|>=|<=|>|<)\s*(.+?)\s*")


def subset(
    runs: Runs,
    out: OutPath,
    split: Annotated[str | None, typer.Option(help="Splits, separated by commas.")] = None,
    policy: Annotated[str | None, typer.Option(help="Policies, separated by commas.")] = None,
    scenario: Annotated[str | None, typer.Option(help="Scenarios, separated by commas.")] = None,
    environment: Annotated[
        str | None, typer.Option(help="Environments, separated by commas.")
    ] = None,
    success: Annotated[
        bool | None,
        typer.Option("--success/--failure", help="Only episodes that succeed, or that fail."),
    ] = None,
    factor: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE or NAME=FROM..TO, both ends included; repeat for several."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY, ==, !=, <, <=, > or >=, and a value of JSON, such as 'steps>=20' or "
            "'return>0.5'; a key of an episode's record; dots lead inside; repeat for several."
        ),
    ] = None,
    compression: Stored = None,
    key: SigningKeyLabel = None,
    as_json: Json = False,
) -> None:
    """Write the episodes that have all that is asked for into a run of their own, for free."""
    from sandbox import keeping

    texts = {"split": split, "policy": policy, "scenario": scenario, "environment": environment}
    asked: dict[str, Any] = {name: listed(text) for name, text in texts.items() if text is not None}
    asked |= {} if success is None else {"success": success}
    factors = dict(_factor(text) for text in factor or []) or None
    how = {"subset": asked | {"factors": factor or [], "where": where or []}}
    test = _tests(where or [])
    chosen: dict[str, Any] = {**asked, "factors": factors, "where": test, "how": how}
    with _watched("Choosing", out, as_json) as shown:
        made = keeping.subset(
            runs, out, **chosen, compression=compression, key=_key(key), progress=shown.update
        )
    _print([made], as_json)


def merge(
    runs: Runs,
    out: OutPath,
    compression: Stored = None,
    key: SigningKeyLabel = None,
    as_json: Json = False,
) -> None:
    """Write the episodes of several runs of the same columns into one run; free of charge."""
    from sandbox import keeping

    with _watched("Merging", out, as_json) as shown:
        made = keeping.merge(
            runs, out, compression=compression, key=_key(key), progress=shown.update
        )
    _print([made], as_json)


def split(
    run: RunPath,
    out: Annotated[
        Path,
        typer.Option(parser=path, help="Folder of the runs train and val.", show_default=False),
    ],
    fraction: Annotated[float, typer.Option(help="Share of the episodes to train on.")] = 0.9,
    seed: Annotated[int, typer.Option(help="Seed of the choice.")] = 0,
    by: Annotated[
        str, typer.Option(help="episode, or a factor, of which a range is kept for validation.")
    ] = "episode",
    twins: Annotated[
        str, typer.Option(help="Frames in both parts: refuse or name them, or skip the search.")
    ] = "refuse",
    compression: Stored = None,
    key: SigningKeyLabel = None,
    as_json: Json = False,
) -> None:
    """Write the episodes of a run into two runs, to train on and to validate by."""
    from sandbox import keeping

    with _watched("Splitting", out, as_json) as shown:
        made = keeping.split(
            run,
            out,
            fraction=fraction,
            seed=seed,
            by=by,
            twins=twins,
            compression=compression,
            key=_key(key),
            progress=shown.update,
        )
    _print([made.train, made.val], as_json)


def recompress(
    run: RunPath,
    out: OutPath,
    compression: Compression = None,
    key: SigningKeyLabel = None,
    as_json: Json = False,
) -> None:
    """Write the episodes of a run into a run of another compression; free of charge."""
    from sandbox import keeping

    if compression is None:
        raise InvalidInputError("give --compression zstd, gzip or none.")
    with _watched("Recompressing", out, as_json) as shown:
        made = keeping.recompress(run, out, compression, key=_key(key), progress=shown.update)
    _print([made], as_json)


def migrate(
    run: RunPath,
    out: OutPath,
    compression: Stored = None,
    key: SigningKeyLabel = None,
    as_json: Json = False,
) -> None:
    """Write the episodes of a run of an older format into a run of the newest; free of charge."""
    from sandbox import keeping

    with _watched("Migrating", out, as_json) as shown:
        made = keeping.migrate(
            run, out, compression=compression, key=_key(key), progress=shown.update
        )
    _print([made], as_json)


def card(
    run: RunPath,
    licence: License = None,
    name: CardName = None,
    pictures: Pictures = True,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Write a run's README.md, which Hugging Face reads, with pictures."""
    from sandbox import keeping
    from sandbox.cli import show

    made = keeping.card(run, license=licence, name=name, pictures=pictures, trust_code=trust_code)
    if as_json:
        paths = [str(path) for path in made.pictures]
        print(json.dumps({**asdict(made), "path": str(made.path), "pictures": paths}))
        return
    show.paths("Card", [made.path, *made.pictures])
    for text in made.not_drawn:
        show.warn(f"Not drawn: {text}")


def repair(
    run: RunPath,
    origins: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            parser=path,
            help="A run that this one comes from, renders or branches off; repeat for several.",
        ),
    ] = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Make lost or damaged shards of a run again, bit for bit and free of charge."""
    from sandbox import repairing
    from sandbox.cli import progress, show

    with progress.display("Repairing", as_json, of="shards") as shown:
        found = repairing.repair(
            run, origins=origins or [], trust_code=trust_code, progress=shown.update
        )
    if as_json:
        aside = None if found.aside is None else str(found.aside)
        print(json.dumps({**asdict(found), "path": str(found.path), "aside": aside}))
    else:
        show.repaired(found)


def doctor(
    paths: Runs,
    idle: Annotated[
        float,
        typer.Option(help="Share of an episode from which a stretch without motion is reported."),
    ] = 0.5,
    as_json: Json = False,
) -> None:
    """Look for what makes data train badly; exit status 1 if something is found."""
    from sandbox.cli import show
    from sandbox.dataset import diagnosis

    found = diagnosis.doctor(paths, idle=idle)
    if as_json:
        print(json.dumps({**asdict(found), "ok": not found.findings}))
    else:
        show.findings(found)
    if found.findings:
        raise typer.Exit(1)


def diff(
    a: Annotated[
        Path, typer.Argument(parser=path, help="A run, or a trajectory file.", show_default=False)
    ],
    b: Annotated[Path, typer.Argument(parser=path, help="Another.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Print how two runs differ; exit status 1 if they do."""
    from sandbox import keeping
    from sandbox.cli import show

    found = keeping.diff(a, b)
    if as_json:
        print(json.dumps({**asdict(found), "ok": found.none}))
    else:
        show.difference(found)
    if not found.none:
        raise typer.Exit(1)


@contextmanager
def _watched(doing: str, out: Path, as_json: bool) -> Generator["Display"]:
    """Show progress; after Ctrl-C say how to go on, and exit with status 130."""
    from sandbox.cli import progress

    stopping = progress.stoppable(f"{out} is not finished; run the same command again to continue.")
    with stopping, progress.display(doing, as_json) as shown:
        yield shown


def _factor(text: str) -> tuple[str, Any]:
    """Return a factor and the value, or the range of values, that a text gives."""
    name, equals, value = text.partition("=")
    low, dots, high = value.partition("..")
    try:
        if not equals or not name:
            raise ValueError
        return name, (float(low), float(high)) if dots else _number(value)
    except ValueError:
        raise InvalidInputError(
            f"--factor {text!r:.80}: this is not NAME=VALUE or NAME=FROM..TO. Nothing was done."
        ) from None


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _tests(texts: list[str]) -> "Callable[[Record], bool] | None":
    """Return the function of a record that all conditions together mean; None for none."""
    tests = [_test(text) for text in texts]
    return (lambda record: all(test(record) for test in tests)) if tests else None


def _test(text: str) -> "Callable[[Record], bool]":
    """Return the function of a record that a condition such as `steps>=20` means."""
    found = _WHERE.fullmatch(text)
    if found is None:
        raise InvalidInputError(
            f"--where {text!r:.80}: this is not KEY, one of {' '.join(_OPERATORS)}, and a value. "
            "Nothing was done."
        )
    name, sign, value = found.groups()
    try:
        wanted: Any = json.loads(value)
    except ValueError:
        wanted = value

    def test(record: "Record") -> bool:
        has: Any = record.plain
        for part in name.split("."):
            if part not in _keys(has):
                raise InvalidInputError(
                    f"--where {text!r:.80}: episode {record.episode} has no {name!r} in its "
                    f"record. Known: {', '.join(sorted(record.plain))}. Nothing was done."
                )
            has = has[part]
        try:
            return bool(_OPERATORS[sign](has, wanted))
        except TypeError:
            raise InvalidInputError(
                f"--where {text!r:.80}: episode {record.episode} has {has!r:.40}, which cannot be "
                "compared with that. Nothing was done."
            ) from None

    return test


def _keys(value: Any) -> list[str]:
    return list(cast(dict[str, Any], value)) if isinstance(value, dict) else []


def _key(label: str | None) -> "SigningKey | None":
    """Return the key that signs; None leaves the choice to the library."""
    from sandbox.evidence import keys

    return None if label is None else keys.load(label)


def _print(made: "list[DerivedRun]", as_json: bool) -> None:
    from sandbox.cli import show

    if as_json:
        rows = [{**asdict(one), "path": str(one.path)} for one in made]
        print(json.dumps(rows if len(rows) > 1 else rows[0]))
        return
    for one in made:
        runs = f"{len(one.origins)} run{'' if len(one.origins) == 1 else 's'}"
        show.note(f"{one.path}: {one.episodes} episodes of {runs}; nothing was charged.")
