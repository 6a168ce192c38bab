"""A comparison that is planned: what it costs at most, and whether it may begin."""

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sandbox import api, durable
from sandbox import prices as schedules
from sandbox.dataset.dataset import Dataset
from sandbox.errors import (
    InvalidInputError,
    LockedError,
    RunConflictError,
    SandboxError,
    UnknownNameError,
)
from sandbox.evaluation import held_out
from sandbox.evaluation.measuring import fitting
from sandbox.goals import calls
from sandbox.goals.sets import GoalSet
from sandbox.ledger import Ledger
from sandbox.ledger.locks import alone
from sandbox.models.protocol import Shapes, WorldModel, imagining
from sandbox.planning.named import planner
from sandbox.prices import PriceSchedule
from sandbox.run import admission
from sandbox.run.folder import Folder
from sandbox.run.recipe import Recipe
from sandbox.training import jobs
from sandbox.training.foresight import foreseen
from sandbox.training.jobs import Job
from sandbox.training.material import shapes_of
from sandbox.valuation import data
from sandbox.valuation.asked import Arm, Asked

ASKED, LOCK, AGENT = "asked.json", ".worth.lock", "icem"
Progress = Callable[[int, int, str], None]  # Models that are done, of how many, and what is next.


@dataclass(frozen=True)
class Plan:
    """A comparison that was checked.

    Attributes:
        folder: where it is.
        asked: what decides the results.
        arms: what is compared.
        tests: world to what it is evaluated on.
        goals: the goal set; None if nothing is planned.
        schedule: the prices.
        paying: who pays and who works, as `generate` takes it.
        progress: see `worth`.
    """

    folder: Path
    asked: Asked
    arms: Sequence[Arm]
    tests: Mapping[str, Recipe | Folder]
    goals: GoalSet | None
    schedule: PriceSchedule
    paying: Mapping[str, Any]
    progress: Progress

    @property
    def cells(self) -> list[tuple[Arm, int, int]]:
        """Arm, seed and amount [microcredits] of each model; seed by seed."""
        return [
            (arm, seed, micro)
            for seed in range(self.asked.seeds)
            for arm in self.arms
            for micro in self.asked.credits
        ]


def check(plan: Plan, budget: api.Credits | None, ledger: Ledger) -> int:
    """Return what all costs at most [microcredits]; refuse it if it cannot be paid or made."""
    from sandbox.sources.generation import Generation

    asked, charges = plan.asked, Counter[str]()
    trainings = dict[str, Job]()
    for arm in plan.arms:
        charges.update(_most(plan, arm, trainings))
    for one in plan.tests.values():
        if isinstance(one, Recipe):
            with closing(Generation(one)) as source:
                charges.update(plan.schedule.charges(source.quote(0, plan.schedule).quantities))
    if plan.goals is not None:
        charges[_largest(charges)] += calls.quote(plan.goals, "random", seeds=1) * _planners(plan)
    total = charges.total()
    work = f"{len(plan.cells)} models and their data cost up to {schedules.credits(total)} credits"
    limit = None if budget is None else schedules.micro(budget)
    begun = (plan.folder / ASKED).exists()  # Then a part is paid, and the rest asks for itself.
    spent, left = (total, Counter[str]()) if begun else (0, charges)
    fewer = "ask for fewer recipes, seeds, credits or updates"
    admission.payable(work, spent, left, limit, asked.account, ledger, fewer)
    return total


def _largest(charges: Mapping[str, int]) -> str:
    return max(charges, key=lambda unit: charges[unit])


def _planners(plan: Plan) -> int:
    """Return how many models plan on the goals.

    Raises:
        InvalidInputError: no arm has their world, or a setting of the planner is wrong.
    """
    assert plan.goals is not None
    settings = dict(plan.asked.planner)
    planner(AGENT, preset=settings.pop("preset", None), options=settings)
    world, worlds = plan.goals.environment, [one.world for one in plan.arms]
    if world not in worlds:
        raise UnknownNameError("world of the recipes", world, {*worlds}, "the goal set")
    return worlds.count(world) * plan.asked.seeds * len(plan.asked.credits)


def _most(plan: Plan, arm: Arm, trainings: dict[str, Job]) -> Counter[str]:
    """Return what data and trainings of an arm cost at most, per meter unit [microcredits].

    Args:
        plan: the comparison.
        arm: the arm.
        trainings: those of data of the same columns, which are noted.

    Raises:
        InvalidInputError: credits do not pay two episodes of a window's rows, or no model can be
            evaluated on the test.
    """
    from sandbox.sources.generation import Generation

    asked, schedule = plan.asked, plan.schedule
    with closing(Generation(arm.recipe)) as source:
        each = schedule.charges(source.quote(0, schedule).episode)
        schema, longest = source.makers[0].schema, source.makers[0].max_rows
    kind = f"{shapes_of(schema)}, {longest}"
    if kind not in trainings:
        given = asked.model, asked.size, asked.options, asked.settings
        with jobs.threads(asked.settings):
            trainings[kind] = foreseen(schema, longest, *given).settled(asked.updates)
    job = trainings[kind]
    model = imagining(job.model, f"model {job.name}")
    _check_test(plan, arm, job.shapes, model)
    rows = model.context + job.settings.horizon
    least = 2 * sum(each.values()) * rows // longest
    if least > data.shares(arm, asked.credits[0])[0]:
        raise InvalidInputError(
            f"recipe {arm.name}: {schedules.credits(asked.credits[0])} credits do not pay two "
            f"episodes of {rows} rows, one to train on and one to pick weights by, which cost "
            f"{schedules.credits(least)}. Nothing was done. Give more --credits."
        )
    charges = Counter(schedule.charges(schedule.metered(job.work(0, asked.updates))))
    for unit in charges:
        charges[unit] *= asked.seeds * len(asked.credits)
    charges[_largest(each)] += asked.seeds * asked.credits[-1]
    return charges


def _check_test(plan: Plan, arm: Arm, shapes: Shapes, model: WorldModel) -> None:
    """Refuse a test that an arm's models cannot be evaluated on (InvalidInputError)."""
    from sandbox.sources.generation import Generation

    test, context = plan.tests[arm.world], max(2, model.context)
    if isinstance(test, Recipe):
        name = f"the test of {arm.world}"
        with closing(Generation(test)) as source:
            schema, longest = source.makers[0].schema, source.makers[0].max_rows
        held_out.check_columns(shapes_of(schema), shapes, model, name)
        fitting(plan.asked.horizons, context, np.array([longest]), name)
    else:
        episodes = Dataset(test.path)
        held_out.check_episodes(episodes, shapes, model)
        fitting(plan.asked.horizons, context, episodes.lengths, episodes.name)


@contextmanager
def begun(plan: Plan) -> Generator[None]:
    """Hold the right to write the folder, which says what is asked for.

    Raises:
        RunConflictError: it holds something else, or another process is at work there.
        SandboxError: it cannot be written.
    """
    folder, path = plan.folder, plan.folder / ASKED
    if (
        not path.exists()
        and folder.exists()
        and any(not one.name.startswith(".") for one in folder.iterdir())
    ):
        raise RunConflictError(
            f"{folder}: holds something that is no comparison. Nothing was done. Give another "
            "--out."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SandboxError(
            f"{folder}: cannot be made: {error.strerror or error}. Give another --out."
        ) from error
    with ExitStack() as held:
        try:
            held.enter_context(alone(folder / LOCK))
        except LockedError:
            raise RunConflictError(
                f"{folder}: another process makes this comparison; nothing was done. Wait for it, "
                "or give another --out."
            ) from None
        if path.exists() and not plan.asked.continues(path):
            raise RunConflictError(
                f"{folder}: holds another comparison. Nothing was done. Give another --out, or the "
                "same arguments; seeds may differ."
            )
        durable.replace(path, plan.asked.encode())
        yield
