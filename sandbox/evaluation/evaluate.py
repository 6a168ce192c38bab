"""Evaluate a model on held-out runs; a plain function, which the command line only calls."""

import importlib.metadata
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field

import sandbox
from sandbox import durable, files, jsonfile, outputs
from sandbox.arguments import checked
from sandbox.errors import InvalidInputError, shown
from sandbox.evaluation import (
    contrast,
    factors,
    figures,
    gains,
    held_out,
    measuring,
    page,
    plans,
    reading,
    seeds,
    skills,
    spread,
    strips,
    violations,
)
from sandbox.evaluation.evaluation import Evaluation
from sandbox.evaluation.imagining import Asked, Progress
from sandbox.evaluation.measuring import Measured
from sandbox.evaluation.pasts import Judge
from sandbox.evaluation.spread import Spread
from sandbox.ledger.locks import writing
from sandbox.models import Checkpoint
from sandbox.models.protocol import imagining
from sandbox.training import jobs

PathLike = str | Path
HORIZONS = (1, 2, 4, 8, 16, 32)
MOST_ROWS = 10_000  # Of a window.
FUTURES = 32  # Windows with other hidden factors.
Count = Annotated[int, Field(ge=1, le=10_000, description="a whole number from 1 to 10,000")]
Rows = Annotated[int, Field(ge=1, le=MOST_ROWS, description="a whole number from 1 to 10,000")]
Candidates = Annotated[int, Field(ge=4, le=10_000, description="a whole number from 4 to 10,000")]
Seed = Annotated[int, Field(ge=0, lt=1 << 63, description="a whole number from 0 to 2**63 - 1")]
Futures = Annotated[int, Field(ge=0, le=10_000, description="a whole number from 0 to 10,000")]
Updates = Annotated[int, Field(ge=0, le=100_000, description="a whole number from 0 to 100,000")]
JSON, PAGE = "evaluation.json", "page.html"


@checked
def evaluate(
    model: PathLike,
    runs: PathLike | Sequence[PathLike],
    out: PathLike | None = None,
    *,
    train: PathLike | Sequence[PathLike] | None = None,
    horizons: Sequence[int] = HORIZONS,
    windows: Count = 240,
    context: Rows | None = None,
    seed: Seed = 0,
    reading: Updates = reading.UPDATES,
    futures: Futures = FUTURES,
    surprises: PathLike | None = None,
    branches: PathLike | Sequence[PathLike] | None = None,
    goals: PathLike | None = None,
    results: Sequence[PathLike] = (),
    candidates: Candidates = plans.CANDIDATES,
    also: Sequence[PathLike] = (),
    trust_code: bool = False,
    progress: Progress = lambda done, total: None,
) -> Evaluation:
    """Evaluate a model on runs that it was not trained on.

    The same checkpoint, episodes and arguments give the same bytes on one class of machine.

    Args:
        model: the checkpoint of the model.
        runs: the held-out runs, as `Dataset` takes them.
        out: a folder for the figures, `evaluation.json`, and for `page.html`; None writes nothing.
        train: the runs that the model was trained on. Their frames are compared with those of
            `runs`, and what is fitted beside the model is fitted on them; None compares the ids of
            runs, and fits on the other half of the evaluated episodes.
        horizons: how many rows ahead to predict; those that fit half of the episodes are used.
        windows: number of windows, at most.
        context: rows that the model sees; None is as many as it encodes, and at least 2.
        seed: seed of windows, and of what is fitted or drawn.
        reading: updates of the networks that read poses in pictures; 0 leaves poses out.
        futures: windows that are simulated again with other hidden factors; 0 leaves them out.
        surprises: a run of `sandbox surprises`, whose pairs the model is asked about.
        branches: runs of `sandbox branch`, whose differences the model is asked about.
        goals: a goal set, on which the model orders plans beside the true simulator.
        results: files of `sandbox goals run` on this set, to be shown beside.
        candidates: plans of each pair that are ordered.
        also: checkpoints of other seeds of the model, over which scores are spread.
        trust_code: whether to import a model that the checkpoint calls MODULE:CLASS, and to take a
            goal set whose world's code has changed.
        progress: is told how many windows are done, of how many.

    Raises:
        FormatError: the checkpoint or a run cannot be read.
        InvalidInputError: the model was trained on a run, or does not fit it; or an argument is
            wrong. Nothing was written.
        LockedError: another process evaluates into `out`.
    """
    place = None if out is None else _free(files.place(out))
    asked_for = _rising(horizons)
    if results and goals is None:
        raise InvalidInputError("results: are shown beside their goal set; give it as `goals`.")
    checkpoint = Checkpoint.read(model)
    threads = jobs.threads({"threads": checkpoint.facts.training.get("threads", 1)})
    with nullcontext() if place is None else writing(place), threads:
        given = imagining(checkpoint.model(trust_code=trust_code), checkpoint.facts.model)
        others = seeds.opened(also, checkpoint, trust_code=trust_code)
        apart = held_out.opened(runs, checkpoint, train)
        held_out.check_fits(apart, checkpoint, given)
        rows = max(2, given.context) if context is None else context
        numbers, pictures = measuring.predicted_columns(given, apart)
        ahead = measuring.fitting(asked_for, rows, apart.episodes.lengths, apart.episodes.name)
        asked = Asked(rows, ahead, numbers, pictures)
        judge = partial(Judge.of, given, apart, checkpoint.facts.row_shapes, rows, seed)
        more = _pasts(judge, checkpoint, asked, surprises, branches)
        if goals is not None:
            names = [one.digest for one in others.checkpoints]
            planned = plans.opened(goals, results, checkpoint, names, trust_code=trust_code)
            more["plans"] = planned.figures(given, candidates, seed)
        measured = measuring.measured(given, apart, asked, windows, seed, reading, progress)
        more["factors"] = factors.factors(given, measured, seed)
        unknown = spread.spread(runs, measured, futures, seed, trust_code=trust_code)
        more["seeds"] = seeds.scores(others, measured, seed, progress) if also else None
        settings = {"horizons": list(asked_for), "windows": windows, "context": rows}
        settings |= {"train": apart.train and apart.train.facts.digest}
        settings |= {
            "seed": seed,
            "reading": reading,
            "futures": futures,
            "threads": torch.get_num_threads(),
        }
        found = _evaluation(checkpoint, measured, settings, unknown, more)
        if place is not None:
            _write(place, found, strips.shown(given, measured, figures.middle(measured), seed))
    return found


def _write(place: Path, found: Evaluation, shown: Sequence[strips.Shown]) -> None:
    place.mkdir(parents=True, exist_ok=True)
    durable.replace(place / PAGE, page.page(found, shown).encode())
    durable.replace(place / JSON, found.encode())


def _pasts(
    judge: Callable[[], Judge],
    checkpoint: Checkpoint,
    asked: Asked,
    surprises: PathLike | None,
    branches: PathLike | Sequence[PathLike] | None,
) -> dict[str, Any]:
    """Return what a model says of surprises and of branches, of those that there are."""
    found = dict[str, Any]()
    if surprises is not None:
        found["surprises"] = violations.surprises(surprises, checkpoint, judge())
    if branches is not None:
        several = [branches] if isinstance(branches, str | Path) else branches
        found["branches"] = contrast.contrasts(several, checkpoint, judge(), asked.horizons)
    return found


def _rising(horizons: Sequence[int]) -> tuple[int, ...]:
    """Return horizons in order; InvalidInputError if one is none."""
    good = all(type(one) is int and 1 <= one < MOST_ROWS for one in horizons)
    if not horizons or not good:
        raise InvalidInputError(
            f"horizons {shown(horizons)}: give whole numbers from 1 to {MOST_ROWS - 1:,}."
        )
    return tuple(sorted({*horizons}))


def _free(folder: Path) -> Path:
    """Return a folder that an evaluation may be written in (InvalidInputError if not)."""
    if folder.exists() and not folder.is_dir():
        raise InvalidInputError(f"{folder}: is a file; give a folder.")
    outputs.check(folder / JSON, is_ours=_is_ours)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / JSON).is_file():
        raise InvalidInputError(
            f"{folder}: holds other files and no {JSON}; give a folder of its own."
        )
    return folder


def _is_ours(path: Path) -> bool:
    return "horizons" in jsonfile.read(path).data


def _evaluation(
    checkpoint: Checkpoint,
    measured: Measured,
    settings: dict[str, Any],
    unknown: Spread,
    more: dict[str, Any],
) -> Evaluation:
    facts, windows = checkpoint.facts, measured.windows
    about = {
        "digest": checkpoint.digest,
        "model": facts.model,
        "options": facts.options,
        "updates": facts.updates,
        "trained_on": facts.data.model_dump(),
        "charge_micro": facts.charge_micro,
    }
    found = figures.plain(
        {
            "pictures": figures.pictures(measured, unknown),
            "numbers": figures.of_numbers(measured, unknown),
            "gains": gains.gains(measured),
            "heads": skills.heads(measured),
            "poses": skills.poses(measured),
            "reward": figures.reward(measured),
            "terminated": figures.terminated(measured),
            "groups": figures.grouped(measured),
            **more,
        }
    )
    libraries = ("numpy", "torch")
    return Evaluation(
        checkpoint=about,
        data=measured.held_out.plain(),
        settings=settings,
        versions={one: importlib.metadata.version(one) for one in libraries}
        | {"sandbox": sandbox.__version__},
        notes=[*measured.held_out.notes, *_notes(measured), unknown.why],
        horizons=list(measured.asked.horizons),
        windows={
            "count": len(windows),
            "episodes": len({*windows.episode.tolist()}),
            "rows": windows.length,
        },
        **found,
    )


def _notes(measured: Measured) -> list[str]:
    """Return what a reader of the figures should know, in sentences."""
    episodes, asked = measured.held_out.episodes, measured.asked
    short = int((episodes.lengths < asked.length).sum())
    said = [f"{short} of {len(episodes)} episodes are too short for a window."] if short else []
    if measured.folds is None:
        said.append("Nothing was fitted beside the model: there is one group of episodes alone.")
    else:
        said.append(f"Ridge and what reads poses were fitted on {measured.folds.named}.")
    imported = any(one.imported is not None for one in episodes.records)
    if not imported:
        said.append("The oracle is the truth: these episodes can be simulated again bit for bit.")
    return said
