"""One page of results, which needs nothing but itself: rates, distances, and strips of pictures."""

import html
import math
from collections.abc import Iterable, Sequence

import numpy as np

from sandbox import pages
from sandbox.goals import scores
from sandbox.goals.drawn import Camera
from sandbox.goals.results import Filed, Results
from sandbox.goals.scores import Rate
from sandbox.goals.sets import GoalSet

BANDS = 4  # Of distances, each with as many pairs.
STRIPS = 2  # Of successes, and of failures, of each agent.
_WIDTH, _BAR, _LEFT = 720, 22, 190
_COLUMNS = {
    "strict": "strictly, at some step",
    "strict_end": "strictly, at the end",
    "moderate": "moderately, at some step",
    "moderate_end": "moderately, at the end",
}
FACTS = {  # What tables say beside rates, in full and in short.
    "steps (median)": "steps",
    "regret, steps (IQM)": "regret",
    "nearest (IQM)": "nearest",
    "credits a try": "credits a try",
    "s a try": "s a try",
}


def page(goals: GoalSet, every: Sequence[Filed], *, trust_code: bool = False) -> str:
    """Return the page, HTML."""
    results = [one.results for one in every]
    title = f"{goals.environment}, {goals.kind}: {len(goals.pairs)} pairs"
    parts = [f"<h1>{html.escape(title)}</h1>", _facts(goals, every), _table(goals, every)]
    parts += ["<h2>Reached, by agent</h2>", _bars(results)]
    if not goals.is_task:
        parts += [
            "<h2>Reached strictly, by distance of start and goal</h2>",
            _bands(goals, results),
        ]
    parts += ["<h2>What happened</h2>", *_strips(goals, results, trust_code=trust_code)]
    return pages.page(title, parts)


def _facts(goals: GoalSet, every: Sequence[Filed]) -> str:
    lost = [f"{n} {name}" for name, n in goals.filtered.model_dump().items() if n]
    verified = [name for one in every for name in one.signers]
    said = (
        f"Set {goals.digest[:16]}; offset {goals.offset}, budget {goals.budget} steps. Candidates: "
        f"{', '.join(lost)}. Intervals are of 95 % (Wilson) for as many tries as there are pairs. "
        f"Signed by {', '.join(dict.fromkeys(verified)) or 'nobody that is trusted here'}. Replay "
        "every action with <code>sandbox goals verify RESULTS SET</code>."
    )
    return f'<p class="note">{said}</p>'


def _table(goals: GoalSet, every: Sequence[Filed]) -> str:
    head = [html.escape(one) for one in ("agent", *_COLUMNS.values())] + [*FACTS]
    rows = list[list[str]]()
    for one in every:
        cells = [html.escape(one.results.head.agent)]
        cells += [_cell(scores.rate(one.results, name)) for name in _COLUMNS]
        cells += facts(one, goals)
        rows.append(cells)
    missing = html.escape(scores.lacking([one.results for one in every]))
    note = f'<p class="note">{missing}</p>' if missing else ""
    return pages.table(head, rows) + note


def _cell(rate: Rate) -> str:
    low, value, high = (f"{100 * one:.1f}" for one in (rate.low, rate.value, rate.high))
    return f"{value} % <small>{low} to {high}</small>"


def facts(one: Filed, goals: GoalSet | None) -> list[str]:
    """Return what tables say of results beside rates, as in `FACTS`; no regret without a set."""
    results = one.results
    steps = [o.hits.strict for o in results.outcomes if o.hits.strict is not None]
    near = [o.nearest for o in results.outcomes if o.nearest is not None]
    tries = len(results.outcomes)
    return [
        f"{np.median(steps):.0f}" if steps else "-",
        "-" if goals is None else f"{scores.regret(results, goals):+.1f}",
        f"{scores.iqm(near):.2f}" if near else "-",
        f"{results.charge_micro / 1e6 / tries:,.2f}",
        f"{sum(one.seconds) / tries:,.2f}",
    ]


def _bars(every: Sequence[Results]) -> str:
    """Return rates as bars with their intervals: strict above moderate, of each agent."""
    rows = list[tuple[str, Rate, str]]()
    for one in every:
        rows.append((one.head.agent, scores.rate(one, "strict"), "#3b6ea5"))
        rows.append(("", scores.rate(one, "moderate"), "#a9c4df"))
    note = '<p class="note">Dark: strictly, at some step. Light: moderately.</p>'
    return _svg(rows) + note


def _bands(goals: GoalSet, every: Sequence[Results]) -> str:
    order = np.argsort([pair.distance for pair in goals.pairs], kind="stable")
    rows = list[tuple[str, Rate, str]]()
    for one in every:
        each = scores.by_pair(one, "strict")
        bands = len(goals.tasks) or min(BANDS, len(order))
        for n, band in enumerate(np.array_split(order, bands)):
            ends = [goals.pairs[int(k)].distance for k in (band[0], band[-1])]
            what = f"{ends[0]:.1f} to {ends[1]:.1f}"
            name = f"{one.head.agent}, {goals.tasks[n] if goals.tasks else what}"
            rate = scores.wilson(float(each[band].mean()), len(band))
            rows.append((name, rate, "#3b6ea5" if n % 2 else "#6f98c2"))
    note = '<p class="note">Distances are in moderate tolerances.</p>'
    return _svg(rows) + note


def _svg(rows: Sequence[tuple[str, Rate, str]]) -> str:
    """Return horizontal bars from 0 to 100 %, each with its name and interval."""
    width, height = _WIDTH - _LEFT - 60, len(rows) * _BAR + 24
    made = list[str]()
    for percent in range(0, 101, 25):
        x = _LEFT + width * percent / 100
        made.append(f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height - 20}" stroke="#ddd"/>')
        made.append(pages.text(x, height - 6, f"{percent} %", "middle"))
    for n, (name, rate, colour) in enumerate(rows):
        y = n * _BAR + 3
        low, value, high = (_LEFT + width * v for v in (rate.low, rate.value, rate.high))
        made.append(
            f'<rect x="{_LEFT}" y="{y}" width="{value - _LEFT:.1f}" height="{_BAR - 6}" '
            f'fill="{colour}"/>'
        )
        middle = y + (_BAR - 6) / 2
        made.append(
            f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} '
            f'{middle - 4}v8" stroke="#222" fill="none"/>'
        )
        made.append(pages.text(_LEFT - 8, y + 12, html.escape(name), "end"))
        made.append(pages.text(high + 6, y + 12, f"{100 * rate.value:.0f}", "start"))
    return pages.svg(_WIDTH, height, made)


def _strips(goals: GoalSet, every: Sequence[Results], *, trust_code: bool) -> Iterable[str]:
    """Yield strips of successes and failures of each agent: start, goal, and what happened."""
    with Camera(goals, trust_code=trust_code) as camera:
        for one in every:
            yield f"<h3>{html.escape(one.head.agent)}</h3>"
            for wanted in (True, False):
                shown = [o for o in one.outcomes if scores.met(o, "strict") is wanted][:STRIPS]
                for tried in shown:
                    pair = goals.pairs[tried.pair]
                    strip = camera.strip(pair, tried.actions)
                    hit = tried.hits.strict
                    said = f"reached at step {hit}" if hit is not None else _missed(tried.nearest)
                    yield (
                        f'<p class="note">Pair {tried.pair}, seed {tried.seed}: {said}. Start, '
                        "goal, then what happened.</p>"
                        f'<img alt="pair {tried.pair}" src="{pages.address(pages.png(strip))}">'
                    )


def _missed(nearest: float | None) -> str:
    if nearest is None or math.isnan(nearest):
        return "not reached"
    return f"not reached; nearest {nearest:.2f} moderate tolerances"
