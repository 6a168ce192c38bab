"""What the command line prints: tables, bills, reports."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console, ConsoleDimensions
from rich.markup import escape
from rich.table import Table

from sandbox import prices
from sandbox.cli import units
from sandbox.errors import line

if TYPE_CHECKING:
    from sandbox.dataset.diagnosis import Diagnosis
    from sandbox.exports.formats import Exported
    from sandbox.imports.take import ImportedRun
    from sandbox.publishing import Published
    from sandbox.repairing import Repaired
    from sandbox.report.coverage import Coverage, Part
    from sandbox.report.difference import Difference
    from sandbox.run.bill import Bill, Quote
    from sandbox.run.estimate import Estimate
    from sandbox.run.recipe import Recipe
    from sandbox.sources.surprises import Pair
    from sandbox.sweeping import Sweep
    from sandbox.verification.audit import Audit
    from sandbox.verification.prove import Proof
    from sandbox.verification.refunds import Refunds
    from sandbox.verification.report import Report


class _Out(Console):
    """Prints for a person at a terminal, and whole lines into pipes and files."""

    @property
    def size(self) -> ConsoleDimensions:
        """Columns and lines of the terminal; elsewhere as many columns as anything needs."""
        columns, lines = super().size
        if not self.file.isatty():  # `is_terminal` believes FORCE_COLOR; COLUMNS may say 20, or 0.
            return ConsoleDimensions(_NO_TERMINAL, lines)
        return ConsoleDimensions(columns or _UNKNOWN_TERMINAL, lines)

    def on_broken_pipe(self) -> None:
        """Let the command end as it does wherever nobody reads on; rich would exit with 1."""
        raise BrokenPipeError

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size


_AGAIN = {  # How episodes were made again, by the tier of a run of dreams.
    "": "simulated again bit for bit",
    "exact": "imagined again bit for bit",
    "class": "imagined again bit for bit, in the class of this machine",
    "audit": "imagined again within bounds",
}
_MOST_FINDINGS = 50  # In a table.
_NO_TERMINAL = 10_000
_UNKNOWN_TERMINAL = 80  # Columns, where a terminal says 0.
OUT = _Out(highlight=False, emoji=False)


def note(text: str) -> None:
    """Print a line; it is not cut where the terminal ends, so that a path in it can be copied."""
    OUT.print(_plain(text), soft_wrap=True)


def warn(text: str) -> None:
    """Print a line on stderr, beside what a command prints for programs."""
    error = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)
    error.print(f"[yellow]warning:[/] {_plain(text)}")


def table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows that share their keys; numbers stand to the right."""
    if not rows:
        note(f"{title}: none.")
        return
    drawn = Table(title=_plain(title), title_justify="left", title_style="bold")
    for key, value in rows[0].items():
        right = isinstance(value, int | float) and not isinstance(value, bool)
        drawn.add_column(
            _plain(key.replace("_", " ")), justify="right" if right else "left", overflow="fold"
        )
    for row in rows:
        drawn.add_row(*(_plain(_text(value)) for value in row.values()))
    OUT.print(drawn)


def pairs(found: "Sequence[Pair]") -> None:
    """Print how soon the members of pairs part, by kind of surprise."""
    from statistics import median_low

    rows: list[dict[str, Any]] = []
    for kind in dict.fromkeys(pair.kind.partition(":")[0] for pair in found):
        mine = [pair for pair in found if pair.kind.partition(":")[0] == kind]
        late = sorted(pair.parts_at - pair.step for pair in mine if pair.parts_at is not None)
        row = {"surprise": kind, "pairs": len(mine)}
        row |= {"rows_until_they_part": median_low(late) if late else "-"}
        row |= {"at_most": max(late) if late else "-", "never": len(mine) - len(late)}
        rows.append(row)
    table("Pairs", rows)
    alike = [pair for pair in found if pair.parts_at is None]
    hues = [pair for pair in alike if pair.kind.startswith("recolor") and not pair.pictured]
    others = [f"{pair.possible}, {pair.impossible}" for pair in alike if pair not in hues]
    if hues:
        note("Colours show in pictures alone, and this run has none: `sandbox render` draws them.")
    if others:
        note(f"Pairs whose surprise never shows; leave them out: episodes {'; '.join(others)}.")


def items(title: str, quantities: Mapping[str, int], total: str, version: str) -> None:
    """Print what work costs under a version of the prices, unit by unit."""
    schedule = prices.load(version)
    drawn = Table(title=_plain(title), title_justify="left", title_style="bold", show_footer=True)
    drawn.add_column("work", footer=total)
    drawn.add_column("quantity", justify="right")
    drawn.add_column("microcredits each", justify="right")
    drawn.add_column(
        "credits", justify="right", footer=prices.credits(schedule.cost(dict(quantities)))
    )
    for unit, quantity in quantities.items():
        cost = schedule.cost({unit: quantity})
        drawn.add_row(
            units.NAMES[unit], f"{quantity:,}", f"{schedule.rates[unit]:,}", prices.credits(cost)
        )
    OUT.print(drawn)


def quote(recipe: "Recipe", quoted: "Quote", done: int) -> None:
    """Print what a run will cost."""
    kept = f", {done} kept already" if done else ""
    what = f"{recipe.episodes - done} episodes"
    if recipe.credits is not None:
        what = f"{prices.credits(quoted.amount)} credits, which surely pay these episodes"
    if recipe.credits is not None and not any(quoted.quantities.values()):
        one = prices.credits(prices.load(quoted.price_version).cost(quoted.episode))
        pay, costs = ("pay", "costs") if quoted.exact else ("may pay", "may cost")
        what = f"{pay} no episode of {recipe.named}: one {costs} {one}"
        note(f"Quote: {recipe.credits:g} credits {what}.")
    else:
        title = f"Quote: {what} of {recipe.named}{kept}; account {recipe.account}"
        total = "exactly" if quoted.exact else "at most"
        items(title, quoted.quantities, total, quoted.price_version)
    if quoted.expected_episodes is not None:
        note(
            f"Expected: about {quoted.expected_episodes:,} episodes, from the usual lengths of "
            "this recipe's policies, which were tried."
        )
    elif quoted.expected is not None:
        note(
            f"Expected: about {prices.credits(quoted.expected)} credits, from the usual lengths of "
            "this recipe's policies, which were tried."
        )


def estimate(found: "Estimate") -> None:
    """Print how long a run takes here, and how much disk."""
    took = timedelta(seconds=max(1, round(found.seconds)))
    note(
        f"Estimated from {found.measured} episodes that were made here: {found.episodes:,} take "
        f"about {took} by one process, and {found.disk_bytes / 1e6:,.1f} MB of disk."
    )


def bill(bill: "Bill", folder: Path, called: str = "Run") -> None:
    """Print what a run cost, and where it is."""
    items(f"Bill: {bill.episodes} episodes", bill.quantities, "total", bill.price_version)
    if bill.repeated:
        note(
            f"Up to {bill.repeated} episodes were made again, because a worker or a node was lost. "
            "Nobody pays for what was lost."
        )
    if bill.already:
        note(f"{bill.already} of them were on the book already; nothing is charged twice.")
    if bill.ended:
        note(f"The run ended here, finished: {bill.ended} Then the same command goes on with it.")
    note(f"{called}: {folder}")


def sweep(found: "Sweep", folder: Path) -> None:
    """Print the cells of a sweep, and its bill."""
    rows = [
        {
            **one.values,
            "episodes": one.bill.episodes,
            "success": f"{one.success:.0%}",
            "return": f"{one.total_reward:,.2f}",
            "credits": prices.credits(one.bill.amount),
        }
        for one in found.cells
    ]
    table(f"Sweep: {len(rows)} runs", rows)
    if found.ended:
        note(f"The sweep ended here: {found.ended} Then the same command goes on with it.")
    bill(found.bill, folder, "Runs")


def exported(found: "Exported") -> None:
    """Print what an export holds, and what it leaves out."""
    what = f"{found.episodes:,} episodes, {found.rows:,} rows, {found.size_bytes / 1e6:,.1f} MB"
    note(f"{found.format} ({found.kind}): {what}.")
    same = [f"{name} as {place}" for name, place in found.columns.items() if name != place]
    kept = [name for name, place in found.columns.items() if name == place]
    note(f"Columns: {', '.join(same + kept)}.")
    for text in found.notes:
        note(f"Note: {text}")
    _left_out(found.left_out)
    if found.too_short:
        note(f"Left out: {found.too_short:,} episodes, which have too few rows for the format.")
    paths("Export", [found.path])


def published(found: "Published") -> None:
    """Print where a run was laid out, what is not there, what it tells, and how to upload it."""
    note(f"Published: {found.path}, {found.size_bytes / 1e6:,.1f} MB")
    for text in found.left_out:
        note(f"Left out: {text}")
    for text in found.told:
        note(f"It tells: {text}")
    for text in found.not_drawn:
        warn(f"Not drawn: {text}")
    note(f"Upload it with: {found.command}")


def repaired(found: "Repaired") -> None:
    """Print what was repaired in a run."""
    if not found.shards and not found.records:
        note(f"{found.path}: every shard is as its log says; nothing was done.")
    for name in (*found.shards, *found.records):
        note(f"Made again, to the byte: shards/{name}")
    if found.shards or found.records:
        aside = "" if found.aside is None else f" What was replaced is in {found.aside}."
        note(f"Nothing was charged.{aside}")


def imported(found: "ImportedRun", source: str) -> None:
    """Print what an import holds, what it leaves out, and that it proves nothing."""
    note(f"{found.path}: {found.episodes:,} episodes, {found.rows:,} rows, imported from {source}.")
    note(f"Columns: {', '.join(f'{n} from {at}' for n, at in found.columns.items())}.")
    for text in found.notes:
        note(f"Note: {text}")
    _left_out(found.left_out)
    note("Nothing shows how these rows were made: they cannot be verified, and were not charged.")


def _left_out(reasons: Mapping[str, str]) -> None:
    """Print what was left out, by the reason."""
    names: dict[str, list[str]] = {}
    for name, why in reasons.items():
        names.setdefault(why, []).append(name)
    for why, several in names.items():
        note(f"Left out: {', '.join(several)}: {why}.")


def report(report: "Report") -> None:
    """Print what verifying found."""
    for text in report.notes:
        OUT.print(f"[yellow]note:[/] {_plain(text)}", soft_wrap=True)
    for fault in report.faults[:20]:
        OUT.print(f"[bold red]fault:[/] {_plain(fault)}", soft_wrap=True)
    if len(report.faults) > 20:
        note(f"and {len(report.faults) - 20} faults more.")
    for text in report.checked:
        OUT.print(f"[green]checked:[/] {_plain(text)}", soft_wrap=True, highlight=False)
    verdict = "[bold green]VERIFIED[/]:"
    if {*report.kinds} == {"import"}:
        verdict = "[bold yellow]IMPORTED[/], not verified:"
    elif report.faults:
        verdict = f"[bold red]FAILED[/]: {_plain(report.counted())}; of"
    elif report.tier == "audit":
        verdict = "[bold yellow]AUDITED[/], not verified:"
    again = _AGAIN.get(report.tier, "imagined again")
    OUT.print(
        f"{verdict} {report.episodes:,} episodes ({report.rows:,} rows) re-hashed, "
        f"{report.replayed:,} {again}, "
        f"{prices.credits(report.charge_micro)} credits added up.",
        soft_wrap=True,
        highlight=False,
    )


def audit(found: "Audit", refund: bool) -> None:
    """Print what an audit supports."""
    report(found.report)
    note(f"Nonce {found.nonce}; log of {found.size} entries, root {found.root}.")
    OUT.print(_plain(found.statement), style="bold", soft_wrap=True, highlight=False)
    if found.report.failed and not refund:
        note("Give their charges back with --refund.")


def refunded(found: "Refunds | None", error: str = "") -> None:
    """Print what was refunded and what was not, or why nothing was."""
    for text in [f"Not refunded: {error}"] if found is None else found.told():
        note(text)


def coverage(found: "Coverage") -> None:
    """Print what a run covers, part by part, and what of that trains badly."""
    if len(found.parts) > 1:
        note(f"{len(found.parts)} parts: {found.episodes:,} episodes, {found.rows:,} rows.")
    for part in found.parts:
        _covered(part)
    _warned(found.warnings)


def _covered(part: "Part") -> None:
    """Print what the episodes of one environment and scenario cover."""
    note(f"{part.title}.")
    cells = part.occupancy
    table(
        "What moves",
        [
            {
                "what": name,
                "moves in episodes": f"{share:.0%}",
                "cells visited": _share(cells, name),
            }
            for name, share in part.moved.items()
        ],
    )
    if part.events:
        rows = [{"event": name, "rows": f"{share:.1%}"} for name, share in part.events.items()]
        table("Events", rows)
    rows = [
        {
            "policy": str(p["policy"]),
            "episodes": f"{p['episodes']:,}",
            "success": f"{p['success']:.0%}",
            "mean return": f"{p['mean_return']:.2f}",
        }
        for p in part.policies
    ]
    table("Policies", rows)
    _warned(part.warnings)


def _warned(texts: Sequence[str]) -> None:
    for text in texts:
        OUT.print(f"[yellow]warning:[/] {_plain(text)}", soft_wrap=True)


def _share(shares: Mapping[str, float], name: str) -> str:
    return f"{shares[name]:.0%}" if name in shares else ""


def findings(found: "Diagnosis") -> None:
    """Print what a doctor found."""
    rows = [
        {
            "kind": one.kind,
            "where": f"{one.where}{'' if one.episode is None else f', episode {one.episode}'}",
            "what": one.text,
        }
        for one in found.findings[:_MOST_FINDINGS]
    ]
    if rows:
        table("Findings", rows)
    if len(found.findings) > len(rows):
        note(f"{len(found.findings) - len(rows)} more; --json prints all.")
    note(f"{found.shards} shards, {found.episodes:,} episodes, {found.rows:,} rows looked at.")
    OUT.print(
        f"[bold red]{len(found.findings)} findings[/]" if found.findings else "[bold green]CLEAN[/]"
    )


def difference(found: "Difference") -> None:
    """Print how two runs differ."""
    for text in (*found.identity, *found.columns, *found.episodes):
        OUT.print(escape(text), soft_wrap=True, highlight=False)
    if found.other > len(found.episodes):
        note(f"{found.other - len(found.episodes)} more episodes differ.")
    note(
        f"{found.same} episodes are the same, {found.other} differ; {found.only_a} are in the "
        f"first alone, {found.only_b} in the second."
    )


def proof(found: "Proof") -> None:
    """Print what a proof shows."""
    for text in found.shown:
        OUT.print(f"[green]shown:[/] {_plain(text)}", soft_wrap=True, highlight=False)
    for text in found.notes:
        OUT.print(f"[yellow]note:[/] {_plain(text)}", soft_wrap=True)
    for text in found.faults:
        OUT.print(f"[bold red]fault:[/] {_plain(text)}", soft_wrap=True)
    OUT.print("[bold red]FAILED[/]" if found.faults else "[bold green]VERIFIED[/]")


def summary(facts: Mapping[str, Any]) -> None:
    """Print what is in a run."""
    ratio = facts["raw_bytes"] / max(1, facts["bytes"])
    note(
        f"{facts['path']}: {facts['episodes']} episodes of {', '.join(facts['environments'])}, "
        f"{facts['rows']:,} rows in {facts['shards']} shards, {facts['bytes']:,} bytes "
        f"({ratio:.1f} times smaller than raw), {prices.credits(facts['charge_micro'])} credits."
    )
    if facts.get("imported"):
        note(f"{facts['imported']}; nothing shows how they were made.")
    columns = [
        {
            "column": c["name"],
            "type": c["dtype"],
            "row": "x".join(map(str, c["shape"])) or "1",
            "unit": c["unit"],
            "meaning": c["meaning"],
        }
        for c in facts["columns"]
    ]
    table("Columns", columns)
    policies = [
        {
            "policy": p["policy"],
            "episodes": p["episodes"],
            "success": "unknown" if p["success"] is None else f"{p['success']:.0%}",
            "mean steps": f"{p['mean_steps']:.1f}",
            "mean return": f"{p['mean_return']:.2f}",
            "credits": prices.credits(p["charge_micro"]),
        }
        for p in facts["policies"]
    ]
    table("Policies", policies)


def paths(title: str, paths: Sequence[Path]) -> None:
    """Print where things are."""
    for path in paths:
        note(f"{title}: {path}")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in cast(list[object], value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _plain(text: str) -> str:
    """Return any text as markup that prints it as one line, without what controls a terminal."""
    return escape(line(text))
