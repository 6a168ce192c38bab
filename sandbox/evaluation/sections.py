"""Sections of a page: plans, hidden factors, and several seeds."""

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sandbox import pages
from sandbox.evaluation.evaluation import Evaluation, told
from sandbox.evaluation.factors import LATENTS, ROWS
from sandbox.evaluation.pictures import MEASURES
from sandbox.evaluation.plans import TRUE
from sandbox.goals.scores import MEASURES as RATES

_RATES = ("strictly", "strictly, at the end", "moderately", "moderately, at the end")
_PLANNED = {"random": "rank correlation, random plans", "near": "near the solution"}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of cells that are HTML already, which scrolls if it is too wide."""
    return f'<div class="wide">{pages.table(head, rows)}</div>'


def note(said: str) -> str:
    """Return a paragraph of small print, HTML already."""
    return f'<p class="note">{said}</p>'


def ahead(found: Evaluation) -> list[str]:
    """Return the heads of columns of horizons."""
    return [f"{h} ahead" for h in found.horizons]


def interval(one: Mapping[str, float] | None, digits: int, sign: str = "+") -> str:
    """Return a value with its interval, as cells show it."""
    if one is None:
        return "-"
    value, low, high = (f"{one[name]:{sign}.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} <small>{low} to {high}</small>"


def seeds(found: Evaluation) -> Iterator[str]:
    """Yield the section of several seeds."""
    if found.seeds is None:
        return
    models = found.seeds["models"]
    yield f"<h2>{len(models)} seeds of the model</h2>"
    yield note(
        "The interquartile mean over seeds and episodes, with intervals of 95 % by drawing both "
        "again; below it, that of each seed. Trained with the seeds "
        + ", ".join(html.escape(str(one["seed"])) for one in models)
        + "."
    )
    rows = list[list[str]]()
    for row in found.seeds["rows"]:
        name = MEASURES.get(row["measure"], f"nRMSE of {row['column']}")
        digits = 1 if "dB" in name else 3
        said = name if row["over"] is None else f"{name}, better than {row['over']}"
        cells = [
            interval(one, digits, "" if row["over"] is None else "+")
            + f"<small>{', '.join(told(each[n], digits) for each in row['each'])}</small>"
            for n, one in enumerate(row["iqm"])
        ]
        rows.append([html.escape(said), *cells])
    yield table(["", *ahead(found)], rows)


def factors(found: Evaluation) -> Iterator[str]:
    """Yield the section of hidden factors."""
    if found.factors is None:
        return
    yield "<h2>Factors</h2>"
    yield note(
        "What ridge regression reads of each factor, fitted on other episodes: 1 is perfect, 0 is "
        "their mean. What the rows that the model has seen tell as well, it need not have inferred."
    )
    known = [who for who in (LATENTS, ROWS) if any("auc" in one[who] for one in found.factors)]
    rows = list[list[str]]()
    for one in found.factors:
        cells = [interval(one[who]["skill"], 2) for who in (LATENTS, ROWS)]
        areas = [told(one[who].get("auc"), 2) for who in known]
        rows.append([html.escape(one["name"]), *cells, *areas])
    named = [f"skill, {who}" for who in (LATENTS, ROWS)] + [f"AUC, {who}" for who in known]
    yield table(["", *named], rows)


def plans(found: Evaluation) -> Iterator[str]:
    """Yield the section of plans."""
    if found.plans is None:
        return
    every = found.plans
    yield "<h2>Plans</h2>"
    yield note(
        f"{every['candidates']} plans for each of {every['pairs']} pairs of the goal set "
        f"{every['set'][:12]}: half by chance, half between the known solution and chance. "
        "Correlation of the order by imagined cost with that by true cost: 1 is the same order, 0 "
        "is chance. Regret is the true cost of the plan that is imagined to be best: 0 is the best "
        f"plan, 1 the mean of all. &quot;{TRUE}&quot; compares pictures of the simulator in place "
        "of imagined ones, as a perfect model would. Intervals of 95 % over pairs. "
        + " ".join(html.escape(one) for one in every["notes"])
    )
    rows = [
        [html.escape(who if who == TRUE else f"imagined {who}")]
        + [interval(one[name], 2) for name in (*_PLANNED, "regret")]
        for who, one in every["by"].items()
    ]
    yield table(["", *_PLANNED.values(), "regret"], rows)
    if every["reached"]:
        yield note("Goals reached, % of pairs, at some step of the budget and at its end.")
        yield table(
            ["agent", *_RATES, "steps more than the solution"],
            [_agent(one) for one in every["reached"]],
        )


def _agent(one: Mapping[str, Any]) -> list[str]:
    """Return a row of what an agent reached."""
    on = ", this model" if one["evaluated"] else ""
    on = f", another model ({one['checkpoint'][:12]})" if one["checkpoint"] and not on else on
    rates = [
        interval({name: 100 * value for name, value in one[rate].items()}, 1, "") for rate in RATES
    ]
    return [html.escape(f"{one['agent']}{on}"), *rates, f"{one['regret_steps']:+.1f}"]
