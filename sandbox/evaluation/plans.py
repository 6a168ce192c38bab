"""Plans: does a model order plans as the true simulator does, and what do its agents reach?

Candidates begin in the start of each pair of a goal set, and cost how far they stay from its goal:
truly, as planners on the simulator reckon it, and as the model imagines it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sandbox import prices
from sandbox.errors import InvalidInputError
from sandbox.estimates import bootstrap
from sandbox.evaluation.imagining import PIXELS
from sandbox.evaluation.ranks import regret, spearman
from sandbox.evaluation.windows import tensor
from sandbox.goals import calls, scores
from sandbox.goals.modelled import Start
from sandbox.goals.pair import Pair
from sandbox.goals.planned import away
from sandbox.goals.sets import GoalSet
from sandbox.goals.stage import Stage
from sandbox.imagination import planning
from sandbox.models.checkpoint import Checkpoint
from sandbox.models.protocol import Shapes, WorldModel
from sandbox.planning.noise import coloured
from sandbox.training.trainer import seed as seed_torch

F32, F64 = NDArray[np.float32], NDArray[np.float64]
CANDIDATES = 32  # Of a pair: half of them by chance, half near its known solution.
STATE, TRUE = "state", "true pictures"
_RED = 2.0  # The noise of candidates: its power falls with frequency^2, as icem's does.


@dataclass(frozen=True)
class Ranked:
    """What candidates cost, each (pairs, candidates).

    Attributes:
        true: truly.
        said: by what is compared with the goal: pictures or states that the model imagines, or
            true pictures.
    """

    true: F64
    said: Mapping[str, F64]


@dataclass(frozen=True)
class Plans:
    """A goal set, with results on it.

    Attributes:
        goals: the set.
        shapes: of the columns that the model knows, pictures with channels first.
        reached: what agents reached, as plain JSON.
        notes: what a reader should know, in sentences.
        trust_code: as `Stage` says.
    """

    goals: GoalSet
    shapes: Shapes
    reached: Sequence[Mapping[str, Any]]
    notes: Sequence[str]
    trust_code: bool

    def figures(self, model: WorldModel, count: int, seed: int) -> dict[str, Any]:
        """Return how well a model orders plans, and what agents reached, as plain JSON."""
        found = ranked(model, self.shapes, self.goals, count, seed, trust_code=self.trust_code)
        about = {"set": self.goals.digest, "kind": self.goals.kind, "notes": list(self.notes)}
        return {**about, **figures(found), "reached": list(self.reached)}


def opened(
    path: str | Path,
    results: Sequence[str | Path],
    checkpoint: Checkpoint,
    digests: Sequence[str],
    *,
    trust_code: bool,
) -> Plans:
    """Read a goal set on which a model can be judged, and results on it.

    Args:
        path: the file of the set.
        results: files of results.
        checkpoint: the model's.
        digests: of all models that are evaluated.
        trust_code: as `Stage` says.

    Raises:
        FormatError: one cannot be read, or results are of another set.
        InvalidInputError: its goals are no states, or its source is training data.
    """
    goals, facts = calls.read_set(path).set, checkpoint.facts
    if goals.is_task:
        raise InvalidInputError(
            f"{path}: its goal is the world's own task, from which no plan has a distance. Give a "
            "set of another kind (--kind ahead)."
        )
    if goals.source.get("run") in facts.data.runs:
        raise InvalidInputError(
            f"{path}: its pairs are of a run that the model was trained on; make a set of another."
        )
    apart = {*facts.data.runs} <= {one.run for one in goals.apart}
    notes = [
        "The set shares neither seed nor state with the training data."
        if apart
        else "The set was not compared with the training data; `sandbox goals make --apart-from "
        "RUN` does so."
    ]
    found, missing = reached(results, goals, digests)
    notes += [missing] if results and missing else []
    return Plans(goals, facts.row_shapes, found, notes, trust_code)


def ranked(
    model: WorldModel, shapes: Shapes, goals: GoalSet, count: int, seed: int, *, trust_code: bool
) -> Ranked:
    """Return what candidates cost, truly and as a model says.

    Args:
        model: the model.
        shapes: of the columns that it knows, pictures with channels first.
        goals: the goal set.
        count: candidates of a pair.
        seed: seed of the candidates, and of what the model draws.
        trust_code: as `Stage` says.

    Raises:
        InvalidInputError: the model gives neither pictures nor states, or is of another world.
    """
    columns = [one for one in (PIXELS, STATE) if one in model.gives]
    if not columns:
        raise InvalidInputError(
            f"the model gives {', '.join(model.gives)}, which no goal of a set can be compared "
            "with; that takes pixels or state. Leave out --goals."
        )
    seen = [PIXELS] if PIXELS in shapes else []
    size = shapes[PIXELS][1] if seen else 64
    true, said = list[F64](), list[dict[str, F64]]()
    with Stage(goals, prices.current(), (*seen, "proprio"), size, trust_code=trust_code) as stage:
        for pair in goals.pairs:
            start = _start(stage, pair)
            _check(model, shapes, start, stage.env.action_size)
            candidates = _candidates(pair, count, stage.env.action_size, seed)
            cost, frames = _truth(stage, pair, candidates)
            true.append(cost)
            said.append(dict[str, F64]())
            for one in columns:
                seed_torch(seed, pair.number)
                said[-1][one] = _said(model, start, candidates, one, stage, pair)
            if PIXELS in columns:
                said[-1][TRUE] = planning.cost(frames, start).double().numpy()
    return Ranked(np.stack(true), {one: np.stack([it[one] for it in said]) for one in said[0]})


def _told(observation: Any, info: Mapping[str, Any]) -> dict[str, Any]:
    """Return an observed row with the state."""
    several = isinstance(observation, dict)
    return {**(observation if several else {"proprio": observation}), STATE: info["state"]}


def _start(stage: Stage, pair: Pair) -> Start:
    """Return a pair's start as an agent is told of it; the stage is left in it."""
    observation, info = stage.begin(pair)
    here = _told(observation, info)
    goal = here
    for action in pair.known:
        observation, _, _, _, info = stage.env.step(action)
        goal = _told(observation, info)
    stage.begin(pair)
    taken = np.zeros((0, stage.env.action_size), np.float32)
    return Start((here,), taken, {**goal, STATE: pair.goal})


def _check(model: WorldModel, shapes: Shapes, start: Start, size: int) -> None:
    """Refuse a world whose rows have other shapes than the model knows (InvalidInputError)."""
    here: Mapping[str, Any] = start.observations[-1]
    for name in dict.fromkeys((*model.needs, *(one for one in model.gives if one in here))):
        got = np.shape(here[name]) if name in here else None
        got = (got[2], *got[:2]) if got is not None and name == PIXELS else got
        if got != tuple(shapes[name]):
            raise InvalidInputError(
                f"{name} has rows of shape {got} in the goal set's world, and the model was "
                f"trained on {tuple(shapes[name])}; give a set of its world."
            )
    if tuple(shapes["action"]) != (size,):
        raise InvalidInputError(
            f"actions have {size} numbers in the goal set's world, and the model was trained on "
            f"{tuple(shapes['action'])}; give a set of its world."
        )


def _candidates(pair: Pair, count: int, size: int, seed: int) -> F32:
    """Return candidates as long as the known solution, float32 (count, steps, size).

    The first half is noise; the second goes from the known solution to noise in equal parts.
    """
    rng, known = np.random.default_rng([seed, pair.number]), np.asarray(pair.known, np.float64)
    noise = coloured(rng, (count, len(known), size), _RED).clip(-1, 1)
    near = count - count // 2
    share = (np.arange(near) / near)[:, None, None]
    noise[-near:] = (1 - share) * known + share * noise[-near:]
    return noise.astype(np.float32)


def _truth(stage: Stage, pair: Pair, candidates: F32) -> tuple[F64, dict[int, torch.Tensor]]:
    """Return true costs (N,), and true pictures from 0 to 1 of the steps that are compared.

    An episode that ends stays as it is.
    """
    env, frames = stage.env, dict[int, list[NDArray[Any]]]()
    costs, steps = np.empty(len(candidates)), candidates.shape[1]
    here = env.snapshot()
    for n, candidate in enumerate(candidates):
        env.restore(here)
        states, row = list[Any](), dict[str, Any]()
        for step, action in enumerate(candidate):
            if not env.episode.over:
                observation, _, _, _, info = env.step(action)
                row = _told(observation, info)
            states.append(row[STATE])
            if PIXELS in row and planning.compared(step, steps):
                picture = np.moveaxis(np.asarray(row[PIXELS], np.float32), -1, 0)
                frames.setdefault(step, []).append(picture)
        costs[n] = away(env.aim, env.state_names(), np.array(states), pair.goal)
    return costs, {step: tensor(np.stack(every)) / 255 for step, every in frames.items()}


def _said(
    model: WorldModel, start: Start, candidates: F32, column: str, stage: Stage, pair: Pair
) -> F64:
    """Return what a model says that candidates cost, (N,)."""
    if column == PIXELS:
        found = planning.rollout(model, start, candidates, column)
        return planning.cost(found, start).double().numpy()
    found = planning.rollout(model, start, candidates, column, every=1)
    states = torch.stack([*found.values()], 1).double().numpy()
    names = stage.env.state_names()
    return np.array([away(stage.env.aim, names, one, pair.goal) for one in states])


def figures(found: Ranked) -> dict[str, Any]:
    """Return rank correlation and regret, with intervals over pairs, by what is compared."""
    half = found.true.shape[1] // 2
    parts = {"random": slice(0, half), "near": slice(half, None)}
    every = dict[str, Any]()
    for who, said in found.said.items():
        each = np.array(
            [
                [*(spearman(one[part], true[part]) for part in parts.values()), regret(one, true)]
                for one, true in zip(said, found.true, strict=True)
            ]
        )
        with np.errstate(invalid="ignore"):
            intervals = bootstrap(
                np.zeros(len(each)), lambda chosen, each=each: _means(each[chosen])
            )
        named = zip((*parts, "regret"), intervals, strict=True)
        every[who] = {name: one and vars(one) for name, one in named}
    return {"pairs": len(found.true), "candidates": found.true.shape[1], "by": every}


def _means(chosen: F64) -> F64:
    """Return means over pairs, (choices, statistics), of what is known of them."""
    known = np.isfinite(chosen)
    return np.where(known, chosen, 0).sum(1) / known.sum(1)


def reached(
    paths: Sequence[str | Path], goals: GoalSet, digests: Sequence[str]
) -> tuple[list[dict[str, Any]], str]:
    """Return what agents reached, and which floors and ceilings are missing, or "".

    Args:
        paths: files of results of the set.
        goals: the set.
        digests: of the models that are evaluated.

    Raises:
        FormatError: one cannot be read, or is of another set.
    """
    every, found = calls.read_results(paths), list[dict[str, Any]]()
    for one in every:
        one.check_of(goals)
        head = one.results.head
        on = head.options.get("checkpoint")
        rates = {name: vars(scores.rate(one.results, name)) for name in scores.MEASURES}
        found.append(
            {
                "agent": head.agent,
                "checkpoint": on,
                "evaluated": on in digests,
                "seeds": len(head.seeds),
                **rates,
                "regret_steps": scores.regret(one.results, goals),
            }
        )
    return found, scores.lacking([one.results for one in every])
