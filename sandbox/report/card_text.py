"""What a card says to people: tables, pictures, and how to check and load the data."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sandbox import catalogue, prices
from sandbox.errors import line
from sandbox.exports.registry import FORMATS
from sandbox.report.card_facts import SIGNER, Facts
from sandbox.run.identity import Identity, imagined

_CAPTIONS = {"coverage.png": "What it covers", "strip.png": "Episodes from start to end"}
_MOST = 200  # Characters of a text that the run brings, in a table.
_ORIGINS = 20  # Runs of origin that are named.


def named(facts: Facts) -> str:
    """Return what a run is called that nobody gave a name."""
    return line(", ".join(facts.environments)[:_MOST])


def body(facts: Facts, licence: str | None, name: str, pictures: Sequence[tuple[str, str]]) -> str:
    """Return the text of a card.

    Args:
        facts: what is known of the run.
        licence: the licence that was given.
        name: what the data is called.
        pictures: name and path of each picture.
    """
    parts = [
        f"# {_plain(name)}",
        _about(facts),
        _licence(licence),
        *(_picture(*one) for one in pictures),
        "## Columns",
        _columns(facts),
        "## Factors",
        _factors(facts),
        "## Splits and policies",
        _splits(facts),
        "## Bill",
        _bill(facts),
        "## Versions",
        _versions(facts),
        "## Verify",
        _verify(facts),
        "## Load",
        _load(facts),
    ]
    return "\n\n".join(part for part in parts if part)


def _about(facts: Facts) -> str:
    size = f"{facts.size_bytes / 1e6:,.1f} MB"
    made = "simulated by Bullet. Every episode can be simulated again bit for bit"
    dreams = [one for known in facts.identities if (one := imagined(known.plan)) is not None]
    if dreams:
        names = _listed(f"{one['model'][:16]} (tier {one['tier']})" for one in dreams)
        made = f"**imagined**, not simulated, by the model {names}. Every episode can be imagined "
        made += "again from the recorded rows that it begins with"
    said = [
        f"{facts.episodes:,} episodes, {facts.rows:,} rows ({size}) of "
        f"{_listed(facts.environments)}, {made}, and every row is in a hash tree whose root is in "
        "the log."
    ]
    for known in facts.identities[:_ORIGINS]:
        if known.recipe.scenario is not None:
            scenario = _code(Path(known.recipe.scenario).name)
            summary = (known.scenario.summary or "").strip()
            said.append(f"Scenario {scenario}{': ' + _plain(summary) if summary else '.'}")
    if facts.derived is not None:
        runs = [str(one["run"])[:16] for one in facts.derived.heads]
        more = f" and {len(runs) - _ORIGINS} more" if len(runs) > _ORIGINS else ""
        said.append(
            f"The episodes come from {_listed(runs[:_ORIGINS])}{more}; each carries proof of its "
            "place in the log of its run."
        )
    if facts.ended:
        said.append(f"The run ended early, because its {facts.ended} was spent.")
    return "\n\n".join(dict.fromkeys(said))


def _licence(licence: str | None) -> str:
    if licence is None:
        return (
            "**No licence was given.** Whoever publishes this data names one with `sandbox card "
            "--license`; without it nobody has the right to use the data."
        )
    return f"Licence: {_code(licence)}, given by whoever publishes the data."


def _picture(name: str, path: str) -> str:
    return f"![{_CAPTIONS[name]}]({path})"


def _columns(facts: Facts) -> str:
    told = list[str]()
    for layout in facts.layouts:
        rows = [
            (_code(one.name), one.dtype, _shape(one.shape), _plain(one.unit), _plain(one.meaning))
            for one in layout.schema.columns
        ]
        named = f"### {_plain(layout.name)}\n\n" if len(facts.layouts) > 1 else ""
        told.append(named + _table(("column", "type", "row", "unit", "meaning"), rows))
    return (
        "Each row has an observation, the `action` taken at it (NaN on the last row of an "
        "episode), and the\n`reward` received on arriving there. An episode of T steps has T+1 "
        "rows; `ep_offset` says where each\nbegins in its file, and `ep_len` how many rows it has."
    ) + "".join(f"\n\n{one}" for one in told)


def _factors(facts: Facts) -> str:
    rows = [
        (_code(one.name), _plain(one.values), _plain(one.unit), _plain(one.meaning))
        for one in facts.factors
    ]
    if not rows:
        return "The world has no factors."
    return _table(("factor", "at reset", "unit", "meaning"), rows)


def _splits(facts: Facts) -> str:
    splits = [
        (_code(name) if name else "none", f"{count:,}") for name, count in facts.splits.items()
    ]
    rows = [
        (
            _code(str(one["policy"])),
            f"{one['episodes']:,}",
            "unknown" if one["success"] is None else f"{one['success']:.0%}",
            f"{one['mean_steps']:.1f}",
            f"{one['mean_return']:.3g}",
        )
        for one in facts.policies
    ]
    policies = _table(("policy", "episodes", "success", "mean steps", "mean return"), rows)
    return f"{_table(('split', 'episodes'), splits)}\n\n{policies}"


def _bill(facts: Facts) -> str:
    rows = [(_code(unit), f"{count:,}") for unit, count in facts.charges.items()]
    cost = f"{prices.credits(facts.charge_micro)} credits"
    versions = _listed(one.price_version for one in facts.identities)
    said = f"The episodes cost {cost} under price schedule {versions}."
    if facts.derived is not None:
        said = f"Charged for the runs that the episodes come from: {cost}. This run cost nothing."
    elif facts.posted_micro != facts.charge_micro:
        said += f" {prices.credits(facts.posted_micro)} of them were charged for this run, and the "
        said += "others for the run that it draws again."
    return f"{said}\n\n{_table(('work', 'quantity'), rows)}"


def _versions(facts: Facts) -> str:
    found: dict[str, list[str]] = {
        "run": [facts.run],
        "trajectory format": [str(one) for one in facts.versions],
    }
    for known in facts.identities:
        for name, value in _version(known).items():
            found.setdefault(name, []).append(value)
    rows = [(_plain(name), _listed(values)) for name, values in found.items()]
    return _table(("what", "version"), rows)


def _version(known: Identity) -> dict[str, str]:
    renderer, name = known.renderer or {}, known.recipe.environment
    return {
        **({"environment": catalogue.gym_id(name)} if name.isidentifier() else {}),
        "run format": str(known.format),
        **{f"engine: {name}": value for name, value in known.engine.items()},
        **({"renderer": str(renderer.get("class"))} if renderer else {}),
        "code of the world": known.code[:16],
    }


def _verify(facts: Facts) -> str:
    key = f" --key {SIGNER}" if facts.signer else ""
    required = (
        f" `--key {SIGNER}` requires the signature of the key that lies here; compare it with the "
        "one\nthat its owner names elsewhere."
        if facts.signer
        else ""
    )
    return (
        f"Where worldmodel-sandbox is installed:\n\n```sh\nsandbox verify . --no-ledger{key}\n```"
        "\n\nIt hashes every row, follows each episode to the log, and makes it again; "
        f"`--sample 10` does so\nwith ten of them.{required}"
    )


def _load(facts: Facts) -> str:
    zstd = _kind(facts) == "zstd"
    plugin = "import hdf5plugin  # Reads Zstd.\n" if zstd else ""
    world, data = repr(facts.environments[0]), "'.'"
    if len(facts.layouts) > 1:  # One of several worlds.
        data = f"sandbox.Dataset('.', environment={world})"
    names = facts.layouts[0].schema.names
    first = "state" if "state" in names else names[0]  # Dreams have no state.
    part = f", {facts.layouts[0].name!r}" if len(facts.layouts) > 1 else ""
    formats = [(_code(f"--to {name}"), _plain(one.reader)) for name, one in FORMATS.items()]
    return "\n\n".join(
        [
            "Each block runs in this folder.",
            f"```python\nimport sandbox\n\ndata = {data}\n"
            f"rows = sandbox.Windows(data, columns=['{first}', 'action'], length=2)  # For PyTorch."
            "\nepisode = sandbox.open_run('.').episode(0)\n"
            "print(len(rows), episode.rows['reward'].sum())\n```",
            f"```python\nimport h5py\n{plugin}\nwith h5py.File('shards/shard-00000.h5') as file:\n"
            "    start, count = file['ep_offset'][0], file['ep_len'][0]\n"
            f"    {first} = file['{first}'][start : start + count]\n```",
            f"```python\nimport os\n{plugin}from datasets import load_dataset\n\n"
            f"rows = load_dataset(os.path.abspath('.'){part})  # Or by its name on the Hub.\n```",
            "`sandbox export . --to FORMAT --out OUT` writes it for other tools:",
            _table(("format", "tool"), formats),
        ]
    )


def _kind(facts: Facts) -> str:
    """Return how pictures are compressed."""
    return (facts.derived or facts.identities[0].recipe).compression


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) if shape else "1"


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(_code(str(one)) for one in dict.fromkeys(values))


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _code(text: str) -> str:
    """Return a text that anybody may have written as code, in a table too."""
    return f"`{line(text[:_MOST]).replace('`', chr(39)).replace('|', '/')}`"


def _plain(text: str) -> str:
    """Return a text that anybody may have written as words: no markup, links or pictures."""
    words = line(text[:_MOST]).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{c}" if c in r"\`*_[]|#!" else c for c in words)
