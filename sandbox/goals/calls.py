"""Goal sets and results as plain functions; the command line only calls them."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from sandbox import durable, files, outputs
from sandbox import prices as schedules
from sandbox.arguments import checked
from sandbox.errors import InvalidInputError
from sandbox.evidence import keys
from sandbox.evidence.note import SigningKey
from sandbox.goals import begun, crew, finding, making, page, results, running
from sandbox.goals import named as agents
from sandbox.goals.agents import Wanted
from sandbox.goals.apart import Trained
from sandbox.goals.making import Source, Wish
from sandbox.goals.modelled import Modelled
from sandbox.goals.results import Filed, Results
from sandbox.goals.sets import GoalSet, Signed
from sandbox.goals.stage import Stage
from sandbox.ledger import Ledger
from sandbox.ledger.locks import writing
from sandbox.prices import PriceSchedule
from sandbox.run import recipe as recipes
from sandbox.run.folder import Folder
from sandbox.run.identity import imagined
from sandbox.run.recipe import Recipe
from sandbox.till import Till

_LONGEST = 230  # Bytes of a file's name: those beside it are longer.
Credits = str | int | float
PathLike = str | Path
Count = Annotated[int, Field(ge=1, le=1_000_000, description="a whole number from 1 to 1,000,000")]
Seed = Annotated[int, Field(ge=0, lt=1 << 63, description="a whole number from 0 to 2**63 - 1")]
Seeds = Annotated[int, Field(ge=1, le=1000, description="a whole number from 1 to 1,000")]
Seconds = Annotated[
    float, Field(gt=0, le=86_400, description="a number above 0, to 86,400 (a day)")
]
Workers = Annotated[int, Field(ge=1, le=256, description="a whole number from 1 to 256")]


@checked
def make(
    source: str | Path | Recipe | Mapping[str, Any],
    out: PathLike,
    kind: str = "ahead",
    *,
    offset: Count = 25,
    budget: Count | None = None,
    pairs: Count | None = None,
    seed: Seed = 0,
    apart_from: Sequence[PathLike] = (),
    account: str | None = "local",
    max_credits: Credits | None = None,
    workers: Workers = 1,
    trust_code: bool = False,
    key: SigningKey | None = None,
    ledger: Ledger | None = None,
    progress: running.Progress = lambda done, total, micro: None,
) -> GoalSet:
    """Make a goal set, and write it to a file; called again, it goes on where it was stopped.

    Args:
        source: a recipe (its name, path, or content), whose episodes are simulated; or the folder
            of a finished run.
        out: the file; it must not exist.
        kind: `ahead`, the same episode's state `offset` steps later; `branched`, what another
            policy reaches from the same start; `task`, the world's own goal; `tasks`, five pairs as
            in `ahead`, named task1 to task5 from the nearest goal to the farthest.
        offset: steps from start to goal.
        budget: steps that an agent has; twice the offset, or the limit of the world's task.
        pairs: number of pairs; 100, and of `tasks` 5.
        seed: seed of the set.
        apart_from: training runs; a pair that has a seed or a state of theirs is thrown out.
        account: who pays for what is simulated; None pays for nothing.
        max_credits: the most that it may cost [credits].
        workers: number of processes; the set is the same.
        trust_code: whether to import a world that a run calls MODULE:CLASS.
        key: signs the set; None is this machine's default key, if there is one.
        ledger: where it is charged; None is this machine's ledger.
        progress: is told how many good pairs there are, of how many, and what they cost.

    Raises:
        InvalidInputError: the world has no such goals, there are too few good pairs, or the file
            exists. Nothing was written.
        FormatError: another set is under way there.
        BudgetExhaustedError: it cannot be paid. What is done is kept.
    """
    path, (recipe, run) = check_free(out), _source(source, trust_code)
    schedule, task = schedules.current(), kind == "task"
    given = Source(recipe, run, trust_code or run is None, schedule)
    steps = budget or (making.longest(given) if task else 2 * offset)
    wanted = pairs or (making.TASKS if kind == "tasks" else making.PAIRS)
    wish = Wish(kind, 0 if task else offset, steps, wanted, seed)
    making.checked(wish, given)
    trained = Trained(apart_from, recipe.environment)
    about = _about(recipe.environment, "goals make")
    till = Till(schedule, account, max_credits, ledger, about, "--credits")
    try:
        with writing(path):
            check_free(path)  # Another process may have written it since.
            part = finding.part(path, wish, given, trained, account)
            try:
                good, filtered = finding.good(wish, given, trained, till, part, workers, progress)
                pairs_chosen = making.chosen(wish, good, filtered)
            except InvalidInputError:
                part.remove()  # Nobody goes on with it.
                raise
            goals = making.goal_set(wish, given, pairs_chosen, filtered, trained.runs)
            goals.write(path, key or keys.default())
            part.remove()
    finally:
        till.close()
    return goals


@checked
def read_set(path: PathLike) -> Signed:
    """Read a goal set from a file.

    Raises:
        FormatError: it is no set, damaged or edited.
    """
    return GoalSet.read(path)


@checked
def run(
    goals: PathLike | GoalSet,
    out: PathLike,
    agent: str = "noop",
    options: Mapping[str, Any] | None = None,
    *,
    seeds: Seeds = 3,
    account: str | None = "local",
    budget: Credits | None = None,
    workers: Workers = 1,
    batch: Workers = 1,
    timeout_s: Seconds = 60.0,
    trust_code: bool = False,
    key: SigningKey | None = None,
    ledger: Ledger | None = None,
    progress: running.Progress = lambda done, total, micro: None,
) -> Filed:
    """Let an agent try every pair of a set, with each of some seeds; write what came of it.

    Called again with the same arguments, it goes on where it was stopped. What comes of a pair and
    a seed depends on nothing else.

    Args:
        goals: the set, or its file.
        out: the file of the results.
        agent: noop, random, recorded, scripted, a planner, gcbc, or MODULE:FUNCTION, which takes
            the options and returns an Agent.
        options: of the agent.
        seeds: number of seeds, from 0 on; noop and recorded, which draw nothing, have one.
        account: who pays; None pays for nothing.
        budget: the most that it may cost [credits].
        workers: number of processes; the results are the same.
        batch: number of pairs that a planner's model is asked about in one call, if it has
            `rollouts`; the results are the same.
        timeout_s: how long the agent may take to decide [s].
        trust_code: whether to take a set whose world's code has changed, or is a stranger's.
        key: signs the results; None is this machine's default key, if there is one.
        ledger: where it is charged; None is this machine's ledger.
        progress: is told how many tries are done, of how many, and what they cost.

    Raises:
        InvalidInputError: there is no such agent, or it does not act as it should.
        FormatError: the set cannot be read, or its world has changed.
        BudgetExhaustedError: the next try cannot be paid. Those before are kept.
    """
    given = _given(goals)
    wanted, schedule = Wanted(agent, dict(options or {})), schedules.current()
    made = agents.agent(wanted)
    if batch > 1 and not (isinstance(made, Modelled) and made.takes_several):
        raise InvalidInputError(
            f"batch {batch}: agent {agent!r} has no model that takes several pairs in one call, by "
            "rollouts(). Leave out --batch."
        )
    with Stage(given, schedule, trust_code=trust_code) as stage:
        bound = running.most(stage, given, made, schedule)
    run_head = begun.head(given, wanted, made, schedule.version, begun.seeds_of(made, seeds))
    how = running.How(workers, batch, timeout_s, trust_code)
    path, label = check_free(out), f"goals {agent}"
    till = Till(schedule, account, budget, ledger, _about(given.environment, label))
    try:
        with writing(path):
            check_free(path)  # Another process may have written it since.
            part = running.part(path, run_head, account)
            running.tries(given, run_head, wanted, schedule, part, till, bound, how, progress)
            found = Results(
                head=run_head, outcomes=[one.outcome for one in part.done], charge_micro=till.spent
            )
            took = [one.seconds for one in part.done]
            results.write(path, found, took, key or keys.default())
            part.remove()
    finally:
        till.close()
    return Filed.read(path)


@checked
def quote(
    goals: PathLike | GoalSet,
    agent: str = "noop",
    options: Mapping[str, Any] | None = None,
    *,
    seeds: Seeds = 3,
    trust_code: bool = False,
) -> int:
    """Return what `run` costs at most [microcredits]; its arguments are those of `run`."""
    given = _given(goals)
    made, schedule = agents.agent(Wanted(agent, dict(options or {}))), schedules.current()
    with Stage(given, schedule, trust_code=trust_code) as stage:
        bound = running.most(stage, given, made, schedule)
    return len(given.pairs) * len(begun.seeds_of(made, seeds)) * _price(schedule, bound)


@checked
def check(
    goals: PathLike | GoalSet,
    *,
    apart_from: Sequence[PathLike] = (),
    workers: Workers = 1,
    trust_code: bool = False,
    progress: running.Counted = lambda done, total: None,
) -> list[str]:
    """Replay every start and every known solution of a set, and return what differs.

    Args:
        goals: the set, or its file.
        apart_from: training runs with which it shall share nothing.
        workers: number of processes.
        trust_code: as in `run`.
        progress: is told how many pairs are done, of how many.

    Raises:
        FormatError: the set cannot be read, or its world has changed.
    """
    given = _given(goals)
    trained = Trained(apart_from, given.environment)
    found = list[str]()
    checker = partial(running.PairChecker, given, schedules.current(), trust_code)
    for pair, (fault, states) in zip(
        given.pairs, crew.results(checker, iter(given.pairs), workers), strict=True
    ):
        if trained.shares(pair.start.seed, states):
            fault = fault or "a training run has its seed, or one of its states"
        found += [f"pair {pair.number}: {fault}"] if fault else []
        progress(pair.number + 1, len(given.pairs))
    return found


@checked
def read_results(paths: Sequence[PathLike]) -> list[Filed]:
    """Read results of one set.

    Raises:
        FormatError: a file cannot be read.
        InvalidInputError: they are of different sets.
    """
    every = [Filed.read(path) for path in paths]
    if len({(one.results.head.goals, one.results.head.pairs) for one in every}) > 1:
        named = ", ".join(f"{one.path} of {one.results.head.goals[:12]}" for one in every)
        raise InvalidInputError(f"results of different sets: {named}. Report each set alone.")
    return every


@checked
def write_page(
    results_paths: Sequence[PathLike],
    goals: PathLike | GoalSet,
    out: PathLike,
    *,
    trust_code: bool = False,
) -> None:
    """Write a page of results, which needs nothing but itself.

    Args:
        results_paths: files of results of one set.
        goals: the set, or its file.
        out: the page, .html.
        trust_code: as in `run`.

    Raises:
        FormatError: the results are of another set.
        InvalidInputError: there is another file than a page. Nothing was done.
    """
    given = _given(goals)
    path, every = files.place(out), read_results(results_paths)
    outputs.check(path, is_ours=lambda there: files.begin(there, 9).lower() == b"<!doctype")
    for one in every:
        one.check_of(given)
    durable.replace(path, page.page(given, every, trust_code=trust_code).encode())


@checked
def verify(
    results_path: PathLike,
    goals: PathLike | GoalSet,
    *,
    workers: Workers = 1,
    trust_code: bool = False,
    progress: running.Counted = lambda done, total: None,
) -> list[str]:
    """Take every action of results again, score it again, and return what differs.

    Args:
        results_path: the file of the results.
        goals: the set that they are of, or its file.
        workers: number of processes.
        trust_code: as in `run`.
        progress: is told how many tries are done, of how many.

    Raises:
        FormatError: a file cannot be read, or the results are of another set.
    """
    filed = Filed.read(results_path)
    given = _given(goals)
    filed.check_of(given)
    schedule = schedules.load(filed.results.head.prices)
    outcomes = filed.results.outcomes
    found = running.faults(given, outcomes, schedule, trust_code, workers, progress)
    cost = sum(_price(schedule, one.work) for one in outcomes)
    if cost != filed.results.charge_micro:
        found.append(f"its tries cost {cost} microcredits, not {filed.results.charge_micro}")
    return found


def _given(goals: PathLike | GoalSet) -> GoalSet:
    return goals if isinstance(goals, GoalSet) else GoalSet.read(goals).set


def _about(environment: str, label: str) -> dict[str, str | None]:
    return {"environment": environment, "scenario": None, "label": label}


def _price(schedule: PriceSchedule, work: Mapping[str, int]) -> int:
    return sum(schedule.charges(schedule.metered(work)).values())


def _source(
    given: str | Path | Recipe | Mapping[str, Any], trust_code: bool
) -> tuple[Recipe, Path | None]:
    """Return the recipe of one world, and the run, if it is one."""
    if isinstance(given, str | Path) and os.path.isdir(given):
        folder = Folder(given, trust_code)
        folder.check_finished()
        if imagined(folder.sole.plan) is not None:
            raise InvalidInputError(
                f"{given}: its episodes were imagined by a model; goals are made from a run that "
                "was simulated."
            )
        recipe = folder.sole.recipe
        return recipe, Path(given)
    recipe = recipes.of(given)
    if recipe.parts:
        raise InvalidInputError(
            "a recipe of several worlds: a goal set has one world. Give a recipe of its part."
        )
    return recipe, None


def check_free(out: PathLike) -> Path:
    """Return the place of a new file; refuse one where there is something (InvalidInputError)."""
    path = files.place(out)
    outputs.check(path)
    if path.exists():
        raise InvalidInputError(
            f"{path}: there is something already; nothing was done. Give another --out."
        )
    if len(os.fsencode(path.name)) > _LONGEST:
        raise InvalidInputError(
            f"{path.name[:80]}...: the name is too long, for a file of this name and an ending is "
            f"written beside it; give one of at most {_LONGEST} bytes."
        )
    return path
