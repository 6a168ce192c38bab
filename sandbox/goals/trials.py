"""One agent on one pair: what it did, what came of it, and what it cost."""

import hashlib
import signal
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from sandbox.errors import InvalidInputError, PlanningError, SandboxError, shown
from sandbox.goals import agents, named
from sandbox.goals.agents import Agent, Insider, Trial, Wanted
from sandbox.goals.modelled import Asked, Modelled
from sandbox.goals.pair import Actions, Hits, Model, Pair
from sandbox.goals.sets import GoalSet
from sandbox.goals.stage import Reached, Stage
from sandbox.prices import PriceSchedule, plus
from sandbox.sources.rollout import states_digest


class Outcome(Model):
    """What an agent did on a pair, and what came of it.

    Attributes:
        pair: number of the pair.
        seed: seed of the try.
        actions: those that it took, float32 (steps, numbers of an action).
        states: SHA-256 of the states from the start on, as bytes.
        hits: the first step at which each level was reached.
        moderate_end, strict_end: whether the goal was reached at the end of the budget.
        nearest: the smallest distance, in moderate tolerances; None of a task.
        end: the distance at the end; None of a task.
        work: what was simulated, per meter unit, without the past of a start.
    """

    pair: int
    seed: int
    actions: Actions
    states: str
    hits: Hits
    moderate_end: bool
    strict_end: bool
    nearest: float | None
    end: float | None
    work: dict[str, Annotated[int, Field(ge=0, lt=1 << 62)]]

    @property
    def evidence(self) -> str:
        """The SHA-256 of all of it, which is posted with its charge."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


@dataclass(frozen=True)
class Tried:
    """An outcome, with what is different each time.

    Attributes:
        outcome: what came of it.
        seconds: how long the agent took to decide, in all.
    """

    outcome: Outcome
    seconds: float


Trying = Generator[Asked, tuple[Any, float], Tried]  # Is sent costs, and the seconds they took.


class Trier:
    """Lets an agent act on pairs, in one process.

    Args:
        goals: the set.
        wanted: the agent.
        schedule: the prices by which work is counted.
        timeout_s: how long it may take to decide.
        trust_code: see `Stage`.
        agent: the agent, if it is of this process; else it is made by its name.
    """

    def __init__(
        self,
        goals: GoalSet,
        wanted: Wanted,
        schedule: PriceSchedule,
        timeout_s: float,
        trust_code: bool,
        agent: Agent | None = None,
    ) -> None:
        self._goals, self._wanted, self._timeout_s = goals, wanted, timeout_s
        self._digest = goals.digest
        first = agent or named.agent(wanted)
        seen, *look = _observed(first, wanted.name)
        self._agents: list[Agent | Insider | Modelled] = [first]
        self._stage = partial(Stage, goals, schedule, seen, *look, trust_code=trust_code)
        self._stages = [self._stage()]
        self._sees = "pixels" in seen

    def close(self) -> None:
        """Release the simulators."""
        for stage in self._stages:
            stage.close()
        if isinstance(self._agents[0], Insider):
            self._agents[0].close()

    def do(self, task: Sequence[tuple[int, int]]) -> list[Tried]:
        """Try pairs, each with a seed: one, or several at a time of a model that takes several."""
        first = self._agents[0]
        while isinstance(first, Modelled) and len(self._agents) < len(task):
            self._agents.append(first.another())
            self._stages.append(self._stage())
        trials = [self._trial(stage, one) for stage, one in zip(self._stages, task, strict=False)]
        going = {
            n: self._trying(self._agents[n], self._stages[n], trial)
            for n, trial in enumerate(trials)
        }
        done, told = dict[int, Any](), dict[int, Any]()
        while going:
            asked = dict[int, Any]()
            for n, trying in [*going.items()]:
                asks, found = _sent(trying, told.get(n))
                (asked if asks else done)[n] = found
                if not asks:
                    del going[n]
            told = self._answered([trials[n] for n in asked], asked) if asked else {}
        return [done[n] for n in range(len(task))]

    def _answered(
        self, trials: Sequence[Trial], asked: Mapping[int, Asked]
    ) -> dict[int, tuple[Any, float]]:
        """Return what the model says to each try that asks, and its share of the seconds."""
        first, begun = self._agents[0], time.perf_counter()
        assert isinstance(first, Modelled), "nobody else asks"
        with self._asked(*trials):
            answers = first.answers([*asked.values()])
        share = (time.perf_counter() - begun) / len(asked)
        return {n: (answer, share) for n, answer in zip(asked, answers, strict=True)}

    def _trial(self, stage: Stage, task: tuple[int, int]) -> Trial:
        number, seed = task
        goals, digest = self._goals, self._digest
        pair = goals.pairs[number]
        pixels = self._pictured(stage, pair) if self._sees and not goals.is_task else None
        return Trial(
            pair=number,
            seed=seed,
            rng=agents.stream(digest, number, seed),
            environment=goals.environment,
            budget=goals.budget,
            action_size=stage.env.action_size,
            goal=agents.goal_of(pair, pixels, task=goals.is_task),
        )

    def _trying(self, agent: Agent | Insider | Modelled, stage: Stage, trial: Trial) -> Trying:
        """Let an agent act on a pair: yield what its planner asks, and return what came of it."""
        pair, spent = self._goals.pairs[trial.pair], 0.0
        observation, info = stage.begin(pair)
        before = stage.env.meter.quantities
        states, done = [info["state"]], [bool(info["success"])]
        agents.seed_others(self._digest, trial.pair, trial.seed)
        with self._asked(trial):
            if isinstance(agent, Insider):
                agent.begin(trial, pair, stage)
            else:
                agent.begin(trial)
        for step in range(self._goals.budget):
            deciding, told, asks = _deciding(agent, step, observation, trial.goal), None, True
            found: Any = None
            while asks:
                begun = time.perf_counter()
                with self._asked(trial):
                    asks, found = _sent(deciding, told)
                spent += time.perf_counter() - begun
                if asks:
                    told, seconds = yield found
                    spent += seconds
            with self._named(trial):
                observation, _, over, cut, info = stage.env.step(found)
            states.append(info["state"])
            done.append(bool(info["success"]))
            if over or cut:
                break
        work = _less(stage.env.meter.quantities, before)
        if isinstance(agent, Insider):
            work = plus(work, agent.work())
        taken = np.array(stage.env.episode.actions[pair.start.step :], np.float32)
        return Tried(outcome(stage, pair, trial.seed, taken, np.array(states), done, work), spent)

    def _pictured(self, stage: Stage, pair: Pair) -> Any:
        """Return the goal's picture: where its known solution ends."""
        observation: Any = stage.begin(pair)[0]
        for action in pair.known:
            observation = stage.env.step(action)[0]
        return observation["pixels"] if len(stage.env.columns) > 1 else observation

    @contextmanager
    def _asked(self, *trials: Trial) -> Generator[None]:
        """Let somebody's code decide, for so long, and name it in every error."""
        with self._named(*trials):
            try:
                with _limited(self._timeout_s * len(trials)), agents.aside():
                    yield
            except (SandboxError, KeyboardInterrupt):
                raise
            except BaseException as error:
                raise InvalidInputError(f"failed: {agents.said(error)}.") from error

    @contextmanager
    def _named(self, *trials: Trial) -> Generator[None]:
        try:
            yield
        except (InvalidInputError, PlanningError) as error:
            tries = "; ".join(f"pair {trial.pair}, seed {trial.seed}" for trial in trials)
            said = f"agent {self._wanted.name!r}, {tries}: {error}"
            kind = InvalidInputError if isinstance(error, InvalidInputError) else PlanningError
            raise kind(said) from error


def _deciding(
    agent: Agent | Insider | Modelled, step: int, observation: Any, goal: Mapping[str, Any]
) -> Generator[Asked, Any, Any]:
    """Return an agent's action; what asks a model yields what it asks, and is sent costs."""
    if isinstance(agent, Modelled):
        return (yield from agent.deciding(observation, goal))
    return agent.act(step) if isinstance(agent, Insider) else agent.act(observation, goal)


def _sent(asking: Generator[Any, Any, Any], told: Any) -> tuple[bool, Any]:
    """Send something to a generator; return whether it asks for more, and what, or its result."""
    try:
        return True, asking.send(told)
    except StopIteration as end:
        return False, end.value


def outcome(
    stage: Stage,
    pair: Pair,
    seed: int,
    actions: Any,
    states: Any,
    done: list[bool],
    work: Mapping[str, int],
) -> Outcome:
    """Return what came of actions, from the states that they led to."""
    reached: Reached = stage.hits(pair, states, done)
    task = stage.goals.is_task
    return Outcome(
        pair=pair.number,
        seed=seed,
        actions=actions.reshape(-1, stage.env.action_size),
        states=states_digest(states),
        hits=reached.hits,
        moderate_end=bool(reached.within["moderate"][-1]),
        strict_end=bool(reached.within["strict"][-1]),
        nearest=None if task else float(reached.distance.min()),
        end=None if task else float(reached.distance[-1]),
        work={unit: n for unit, n in work.items() if n},
    )


def _observed(agent: Any, name: str) -> tuple[tuple[str, ...], int, int]:
    """Return what an agent observes, and `image_size` and `antialias` of its pictures."""
    asked: Any = getattr(agent, "observation", "proprio")
    size: Any = getattr(agent, "image_size", 64)
    samples: Any = getattr(agent, "antialias", 1)
    given: Any = list[Any](asked) if isinstance(asked, tuple | list) else [asked]  # type: ignore
    seen = [one for one in given if isinstance(one, str)]
    if not seen or len(seen) < len(given):
        raise InvalidInputError(
            f"agent {name!r}: its observation is {shown(asked)}; give a name or a list of names."
        )
    for key, value in (("image_size", size), ("antialias", samples)):
        if type(value) is not int:
            raise InvalidInputError(
                f"agent {name!r}: its {key} is {shown(value)}; give a whole number."
            )
    return tuple(seen), size, samples


@contextmanager
def _limited(seconds: float) -> Generator[None]:
    """Interrupt what takes longer, where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(*_: object) -> None:
        raise TimeoutError(f"it took longer than {seconds:g} s to decide")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _less(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return plus(one, other, -1)
