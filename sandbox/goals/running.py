"""Run an agent on a set: try by try, paid, on from where it was stopped."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from sandbox.env import costs
from sandbox.errors import BudgetExhaustedError, FormatError, SandboxError
from sandbox.goals import crew
from sandbox.goals import stage as stages
from sandbox.goals.agents import Insider, Wanted
from sandbox.goals.apart import U64, marks
from sandbox.goals.pair import Pair
from sandbox.goals.part import Part
from sandbox.goals.results import Head
from sandbox.goals.sets import GoalSet
from sandbox.goals.stage import Stage
from sandbox.goals.trials import Outcome, Tried, Trier, outcome
from sandbox.prices import PriceSchedule, plus
from sandbox.till import Till, named

Progress = Callable[[int, int, int], None]  # Tries that are done, of how many, microcredits.
Counted = Callable[[int, int], None]  # What is done, of how many.


@dataclass(frozen=True)
class How:
    """How tries are done; what comes of them is the same.

    Attributes:
        workers: number of processes.
        batch: pairs in a call of a model.
        timeout_s: how long an agent may take to decide.
        trust_code: as `Stage` says.
    """

    workers: int
    batch: int
    timeout_s: float
    trust_code: bool


def part(path: Path, head: Head, account: str | None) -> Part[Tried]:
    """Return the tries that are done of a run that is under way; see `Part`."""
    return Part(path, head.digest, account, _plain, _tried, "set, agent, options, seeds or code")


def _plain(tried: Tried) -> dict[str, Any]:
    return {"outcome": tried.outcome.model_dump(), "seconds": round(tried.seconds, 6)}


def _tried(data: dict[str, Any]) -> Tried:
    return Tried(Outcome.model_validate(data["outcome"]), float(data["seconds"]))


def most(stage: Stage, goals: GoalSet, agent: Any, schedule: PriceSchedule) -> dict[str, int]:
    """Return the work of a try at most, per meter unit.

    Raises:
        InvalidInputError: the agent does not do what the set asks for.
    """
    if hasattr(agent, "check"):
        agent.check(goals)
    env, steps = stage.env, goals.budget
    work = plus(costs.simulated(env, schedule, 0, steps), costs.observed(env, schedule, steps))
    return plus(work, agent.most(stage)) if isinstance(agent, Insider) else work


def tries(
    goals: GoalSet,
    head: Head,
    wanted: Wanted,
    schedule: PriceSchedule,
    part: Part[Tried],
    till: Till,
    bound: Mapping[str, int],
    how: How,
    progress: Progress,
) -> None:
    """Do the tries that are not done yet, and post each.

    Raises:
        BudgetExhaustedError: the next try cannot be paid; those before are done.
    """
    tasks, run = head.tasks, part.id
    if [(one.outcome.pair, one.outcome.seed) for one in part.done] != tasks[: len(part.done)]:
        raise FormatError(f"{part.path}: its tries are not in order; remove it, and run again.")
    for tried in part.done:  # Those that a killed process has not posted are posted now.
        _post(till, run, tried.outcome)
    progress(len(part.done), len(tasks), till.spent)
    refused: list[BudgetExhaustedError] = []

    def payable() -> Iterator[tuple[int, int]]:
        for task in tasks[len(part.done) :]:
            try:
                till.hold(named(run, *task), bound)
            except BudgetExhaustedError as error:
                refused.append(error)
                return
            yield task

    make = partial(Trier, goals, wanted, schedule, how.timeout_s, how.trust_code)
    coming = payable()
    batches = iter(lambda: [*islice(coming, how.batch)], [])
    for tried in chain.from_iterable(crew.results(make, batches, how.workers)):
        part.add(tried)
        _post(till, run, tried.outcome)
        progress(len(part.done), len(tasks), till.spent)
    if refused:
        raise refused[0]


def _post(till: Till, run: str, outcome: Outcome) -> None:
    till.post(named(run, outcome.pair, outcome.seed), outcome.work, outcome.evidence)


def faults(
    goals: GoalSet,
    outcomes: Sequence[Outcome],
    schedule: PriceSchedule,
    trust_code: bool,
    workers: int,
    progress: Counted,
) -> list[str]:
    """Return what is wrong with tries, after all their actions were taken again."""
    found = list[str]()
    checker = partial(Checker, goals, schedule, trust_code)
    for n, fault in enumerate(crew.results(checker, iter(outcomes), workers)):
        if fault:
            found.append(f"pair {outcomes[n].pair}, seed {outcomes[n].seed}: {fault}")
        progress(n + 1, len(outcomes))
    return found


class Checker:
    """Takes the actions of tries again, in one process."""

    def __init__(self, goals: GoalSet, schedule: PriceSchedule, trust_code: bool) -> None:
        self._goals = goals
        self._stage = Stage(goals, schedule, trust_code=trust_code)

    def close(self) -> None:
        """Release the simulator."""
        self._stage.close()

    def do(self, task: Outcome) -> str:
        """Return what is wrong with a try, or ""."""
        stage, pair, budget = self._stage, self._goals.pairs[task.pair], self._goals.budget
        if len(task.actions) > budget:
            return f"has {len(task.actions)} actions, and the set gives {budget}"
        info = stage.begin(pair)[1]
        before = stage.env.meter.quantities
        try:
            states, done = stages.walk(stage.env, info, task.actions)
        except SandboxError as error:
            return f"cannot be replayed: {error}"
        if len(states) - 1 < min(budget, len(task.actions)) or (
            len(task.actions) < budget and not stage.env.episode.over
        ):
            return f"has {len(task.actions)} actions, and its episode {len(states) - 1} of {budget}"
        own = plus(stage.env.meter.quantities, before, -1)
        again = outcome(stage, pair, task.seed, task.actions, states, done, own)
        for name in ("states", "hits", "moderate_end", "strict_end", "nearest", "end"):
            if getattr(again, name) != getattr(task, name):
                said = f"{getattr(task, name)} recorded, {getattr(again, name)} when replayed"
                return f"{name}: {said}"
        fewer = [unit for unit, n in again.work.items() if task.work.get(unit, 0) < n]
        return f"its work lacks {', '.join(fewer)}" if fewer else ""


class PairChecker:
    """Replays pairs, in one process."""

    def __init__(self, goals: GoalSet, schedule: PriceSchedule, trust_code: bool) -> None:
        self._stage = Stage(goals, schedule, trust_code=trust_code)

    def close(self) -> None:
        """Release the simulator."""
        self._stage.close()

    def do(self, task: Pair) -> tuple[str, U64]:
        """Return what is wrong with a pair, or "", and marks of the states on its way."""
        stage = self._stage
        try:
            info = stage.begin(task)[1]
            states, done = stages.walk(stage.env, info, task.known)
        except SandboxError as error:
            said = str(error).removeprefix(f"pair {task.number}: ")
            return said, marks(np.zeros((0, 0)))
        hits = stage.hits(task, states, done).hits
        away = float(stage.hits(task, states[:1], done[:1]).distance[0])  # As when it was made.
        fault = ""
        if states[0].tobytes() != task.start.state.tobytes():
            fault = "its past leads to another state"
        elif states[-1].tobytes() != task.goal.tobytes():
            fault = "its known solution leads to another state"
        elif hits != task.hits:
            fault = f"its known solution reaches the goal at {hits}, not at {task.hits}"
        elif away != task.distance:
            fault = f"its start is {away} tolerances from its goal, not {task.distance}"
        elif len(task.known) > stage.goals.budget:
            fault = f"its known solution has {len(task.known)} steps, of {stage.goals.budget}"
        return fault, marks(states)
