"""One page of an evaluation, which needs nothing but itself: curves, tables, strips, a film."""

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sandbox import pages
from sandbox.evaluation import curves, sections
from sandbox.evaluation.evaluation import Evaluation, told
from sandbox.evaluation.imagining import COPY, MODEL
from sandbox.evaluation.pictures import MEASURES, MOVING_PSNR, PSNR
from sandbox.evaluation.sections import ahead, interval, note, table
from sandbox.evaluation.strips import Shown

FRAME_MS = 200
_STYLE = """
.curves { display: flex; flex-wrap: wrap; gap: 1rem 2rem; }
.wide { overflow-x: auto; }
.film { display: block; width: 30rem; margin-bottom: 1rem; }
.wide td:first-child { white-space: normal; min-width: 9rem; }
"""


def page(found: Evaluation, shown: Sequence[Shown]) -> str:
    """Return the page, HTML.

    Args:
        found: the evaluation.
        shown: the windows whose pictures it has.
    """
    worlds = ", ".join(found.data["environments"])
    title = f"{found.checkpoint['model']} on {worlds}: {found.windows['count']} windows"
    parts = [f"<h1>{html.escape(title)}</h1>", _about(found)]
    parts.append(f"<p>{html.escape(found.verdict())}</p>")
    parts += [*_pictures(found), *_numbers(found), *_gains(found), *_skills(found)]
    parts += [*sections.seeds(found), *_events(found), *sections.plans(found), *_pasts(found)]
    parts += [*sections.factors(found), *_groups(found), *_shown(shown, found)]
    return pages.page(title, parts, _STYLE)


def _about(found: Evaluation) -> str:
    trained, data = found.checkpoint["trained_on"], found.data
    runs = ", ".join(run[:8] for run in data["runs"])
    said = [
        f"Checkpoint {found.checkpoint['digest'][:16]}, after {found.checkpoint['updates']:,} "
        f"updates on {trained['episodes']:,} episodes of {trained['environment'] or 'several'}.",
        f"Evaluated on {found.windows['episodes']:,} of {data['episodes']:,} episodes of "
        f"{runs or 'no known run'}, windows of {found.settings['context']} rows that the model "
        f"sees and {found.horizons[-1]} that it predicts from the actions alone.",
        *found.notes,
    ]
    return f'<p class="note">{html.escape(" ".join(said))}</p>'


def _pictures(found: Evaluation) -> Iterator[str]:
    if not found.pictures:
        return
    yield "<h2>Pictures</h2>"
    drawn = (
        curves.drawn(MEASURES[name], found.horizons, every)
        for name, every in found.pictures.items()
    )
    yield f'<div class="curves">{"".join(drawn)}</div>'
    yield note(
        "A pixel moves if a channel differs by more than 10 of 255 from the last row seen. PSNR is "
        "of the squared error of all windows together. The oracle has no curve: it is the truth."
    )
    for name, every in found.pictures.items():
        digits = 1 if "dB" in MEASURES[name] else 3
        yield _curves_table(found, MEASURES[name], every, digits)


def _numbers(found: Evaluation) -> Iterator[str]:
    if not found.numbers:
        return
    yield "<h2>Numbers</h2>"
    drawn = (
        curves.drawn(f"nRMSE of {column}", found.horizons, every)
        for column, every in found.numbers.items()
    )
    yield f'<div class="curves">{"".join(drawn)}</div>'
    yield note(
        "Errors are in standard deviations of each element over the run, and in no less than a "
        "twentieth of those of its vector: x, y and z, or a quaternion."
    )
    for column, every in found.numbers.items():
        yield _curves_table(found, f"nRMSE of {column}", every, 3)


def _curves_table(
    found: Evaluation, name: str, every: Mapping[str, Sequence[float | None]], digits: int
) -> str:
    rows = [
        [html.escape(who), *(told(one, digits) for one in curve)] for who, curve in every.items()
    ]
    return table([name, *ahead(found)], rows)


def _gains(found: Evaluation) -> Iterator[str]:
    if not found.gains:
        return
    yield "<h2>How much better</h2>"
    yield note(
        "Above 0, the model is better. Intervals of 95 % by drawing whole episodes again, of each "
        "world, scenario, split and policy as many. The second line of each is the interquartile "
        "mean of the differences of episodes."
    )
    rows = list[list[str]]()
    for gain in found.gains:
        name = MEASURES.get(gain["measure"], f"nRMSE of {gain['column']}")
        digits = 1 if "dB" in name else 3
        for kind, said in (("pooled", f"{name}, over {gain['over']}"), ("iqm", "IQM of episodes")):
            cells = [interval(one, digits) for one in gain[kind]]
            rows.append([html.escape(said), *cells])
    yield table(["", *ahead(found)], rows)


def _skills(found: Evaluation) -> Iterator[str]:
    if found.heads or found.poses is not None:
        yield "<h2>Poses</h2>"
        yield note(
            "Skill over copying: 1 is perfect, 0 is copying the last row, below 0 is worse. An "
            "element has moved if it is more than a tenth of its deviation from where it was."
        )
    for column, skills in found.heads.items():
        yield _skill_table(found, f"The model's own {column}", skills)
    if found.poses is None:
        return
    poses = found.poses
    if poses["elements"]:
        yield _skill_table(found, f"{poses['column']}, read in pictures", poses)
        yield _read_table(found, poses["elements"])
    missing = ", ".join(poses["unreadable"])
    yield note(
        f"Read by a small network that was trained on real frames of {poses['fitted_on']}."
        + (f" It could not read {html.escape(missing)} in real frames." if missing else "")
    )


def _read_table(found: Evaluation, elements: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of what is read in pictures, where it moves."""
    rows = list[list[str]]()
    for one in elements:
        name, real = html.escape(one["name"]), f"{one['explained']:.2f}"
        for who, skill in one["skill_moved"].items():
            rows.append([name, html.escape(who), real, *(told(each, 2) for each in skill)])
            name = real = ""
    return table(["Where it moves", "read in", "R2 of real", *ahead(found)], rows)


def _skill_table(found: Evaluation, name: str, skills: Mapping[str, Any]) -> str:
    rows = [
        [f"{html.escape(who)}{said}", *(told(one, 2) for one in curve)]
        for kind, said in (("skill", ""), ("skill_moved", ", where it moves"))
        for who, curve in skills[kind].items()
    ]
    return table([html.escape(name), *ahead(found)], rows)


def _events(found: Evaluation) -> Iterator[str]:
    if found.reward is None and found.terminated is None:
        return
    yield "<h2>Rewards and ends</h2>"
    if found.reward is not None:
        rows = [[name, *(told(one, 3) for one in curve)] for name, curve in found.reward.items()]
        yield table(["Reward", *ahead(found)], rows)
    if found.terminated is not None:
        ends = [
            "ends among rows",
            *(f"{one['ends']} of {one['cases']}" for one in found.terminated),
        ]
        areas = [told(one["auc"], 3) for one in found.terminated]
        areas = ["none" if area == "-" else area for area in areas]
        yield table(["Terminated", *ahead(found)], [ends, ["AUC", *areas]])


def _pasts(found: Evaluation) -> Iterator[str]:
    if found.surprises is not None:
        yield "<h2>Surprises</h2>"
        yield note(
            "Of a pair, one future is possible and one is not. Accuracy is how often the "
            "impossible one has the larger error, in the row at which it shows and in all that "
            "follow. What copy-last tells as well is no evidence of physics."
        )
        head = ["", "rows", "pairs", "accuracy", "AUC", "accuracy, copy-last", "AUC, copy-last"]
        rows = [
            [one["kind"], span, str(one["pairs"])]
            + [told(scores[who][name], 2) for who in (MODEL, COPY) for name in ("accuracy", "auc")]
            for one in found.surprises
            for span, scores in one["rows"].items()
        ]
        yield table(head, rows)
    if found.branches is not None:
        branches = found.branches
        yield "<h2>Branches</h2>"
        yield note(
            "Two futures of one past, of other actions: the predicted difference beside the true "
            "one. A skill of 1 is the true difference; what ignores actions has 0."
        )
        rows = [["pairs", *(str(one) for one in branches["pairs"])]]
        rows += [
            [name, *(told(one, 2) for one in branches[name])] for name in ("skill", "correlation")
        ]
        spread = branches.get("hidden factors", {})
        for name, said in (("psnr", "PSNR [dB]"), ("rmse", "RMSE")):
            if name in spread:
                curve = [told(one, 1 if name == "psnr" else 3) for one in spread[name]]
                rows.append([f"{said} of simulations with another hidden factor", *curve])
        yield table([html.escape(branches["column"]), *ahead(found)], rows)


def _groups(found: Evaluation) -> Iterator[str]:
    rows = found.groups["rows"]
    if not rows:
        return
    yield f"<h2>By split, policy and factor, {found.groups['horizon']} ahead</h2>"
    decibels = {
        f"{measure} {who}": f"{MEASURES[measure]}, {who}"
        for measure in (PSNR, MOVING_PSNR)
        for who in (MODEL, COPY)
    }
    named = decibels | {
        f"nrmse {column} {who}": f"nRMSE of {column}, {who}"
        for column in found.numbers
        for who in (MODEL, COPY)
    }
    shown = [one for one in rows[0] if one not in ("by", "name", "windows", "episodes")]
    head = ["", "windows", *(html.escape(named.get(one, str(one))) for one in shown)]
    cells = list[list[str]]()
    for row in rows:
        name = row["by"] if row["by"] == row["name"] else f"{row['by']}: {row['name']}"
        values = [told(row[one], 1 if one in decibels else 3) for one in shown]
        cells.append([html.escape(name), f"{row['windows']:,}", *values])
    yield table(head, cells)


def _shown(shown: Sequence[Shown], found: Evaluation) -> Iterator[str]:
    if not shown:
        return
    yield "<h2>What it imagines</h2>"
    steps = ", ".join(str(h) for h in found.horizons)
    yield note(
        f"Truth, dream and error below each other: the last row seen, then {steps} rows ahead. "
        "Windows are ranked by the error on moving pixels. Below each, a film of truth, dream and "
        f"error side by side, {1000 // FRAME_MS} rows a second; films are compressed with loss."
    )
    before = ""
    for one in shown:
        if one.kind != before:
            yield f"<h3>{one.kind.capitalize()}</h3>"
            before = one.kind
        said = f"Episode {one.episode}, row {one.row}; error {one.error:.3f}"
        yield note(f"{said} (root mean square, of 1).")
        strip = pages.address(pages.png(one.strip))
        film = pages.address(pages.film(one.film, FRAME_MS), "webp")
        yield f'<img alt="{said}" src="{strip}">'
        yield f'<img alt="{said}, film" class="film" src="{film}">'
