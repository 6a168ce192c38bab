"""Make a goal set: find starts and goals, and throw out those that say nothing."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sandbox import catalogue
from sandbox.env import SandboxEnv
from sandbox.env.aim import Aim
from sandbox.env.policies import POLICIES
from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.goals import crew
from sandbox.goals.apart import U64, marks
from sandbox.goals.pair import F64, Hits, Pair, Start
from sandbox.goals.sets import FORMAT, Filtered, GoalSet
from sandbox.goals.stage import Stage, walk
from sandbox.meter import unpaid
from sandbox.prices import PriceSchedule, plus
from sandbox.run.folder import Folder
from sandbox.run.recipe import Recipe
from sandbox.run.record import Record
from sandbox.sources import rollout
from sandbox.sources.generator import Generator as Episodes
from sandbox.sources.rollout import states_digest
from sandbox.trajectory import EpisodeBuffer, Rows
from sandbox.world import engine

KINDS = ("ahead", "branched", "task", "tasks")
TASKS, PAIRS = 5, 100  # Pairs of a set of tasks, and of another, if nobody says how many.
TRIES, MOST_HITS = 8, 1  # Random tries of a candidate, and how many of them may reach the goal.
MOST_TRIED = 40  # Candidates that are looked at for each pair that is wanted.
SPREAD = 1.5  # Good candidates for each pair: those kept are spread over all distances.
_NO_MARKS: U64 = np.zeros(0, np.uint64)
_START, _RANDOM, _BRANCH = 11, 12, 13  # Names of streams; agents have others.
_OTHERS = ("play", "scripted_noisy", "ou_noise")  # Who acts after a branch: the first other one.


@dataclass(frozen=True)
class Wish:
    """What set is wanted.

    Attributes:
        kind: one of KINDS.
        offset: steps from start to goal; of a task 0.
        budget: steps that an agent will have.
        pairs: number of pairs.
        seed: seed of the set.
    """

    kind: str
    offset: int
    budget: int
    pairs: int
    seed: int

    @property
    def is_ahead(self) -> bool:
        """Whether a goal is the same episode's state later."""
        return self.kind in ("ahead", "tasks")


@dataclass(frozen=True)
class Source:
    """Where the episodes come from.

    Attributes:
        recipe: the recipe of one world.
        run: the folder of a finished run; None simulates new episodes of the recipe.
        trust_code: whether a run's world may be imported by MODULE:CLASS.
        schedule: the prices by which work is counted.
    """

    recipe: Recipe
    run: Path | None
    trust_code: bool
    schedule: PriceSchedule


@dataclass
class Candidate:
    """A pair, or why it is none.

    Attributes:
        reason: one of the filters; "" if the pair is good.
        pair: the pair; None if it is none.
        work: what it took, per meter unit.
        states: marks of its states, up to where its known solution ends; see `apart`.
    """

    reason: str
    pair: Pair | None = None
    work: Mapping[str, int] = field(default_factory=dict[str, int])
    states: U64 = field(default_factory=lambda: _NO_MARKS)


def made(wish: Wish, source: Source, workers: int, first: int) -> Generator[Candidate]:
    """Yield the candidates that are looked at from number `first` on, in order.

    Each depends on its number alone.
    """
    numbers = range(first, wish.pairs * MOST_TRIED)
    return crew.results(partial(_Maker, wish, source), numbers, workers)


def checked(wish: Wish, source: Source) -> None:
    """Refuse a set that cannot be made (InvalidInputError)."""
    if wish.kind not in KINDS:
        raise UnknownNameError("kind of goal", wish.kind, KINDS)
    kind = catalogue.environment(source.recipe.environment, source.trust_code)
    if wish.kind != "task" and isinstance(kind.aim, str):
        raise InvalidInputError(
            f"{kind.name()} has no goal states: {kind.aim}. Its own task it has: --kind task."
        )
    if wish.budget < wish.offset:
        raise InvalidInputError(
            f"a budget of {wish.budget} steps is less than the offset of {wish.offset}: the "
            "known solution would not reach the goal in it. Ask for a larger budget."
        )
    limit = longest(source)
    room = limit if wish.kind == "branched" else limit - wish.offset
    if wish.budget > limit or wish.offset > limit or room < 0:
        raise InvalidInputError(
            f"an offset of {wish.offset} and a budget of {wish.budget} steps: an episode of "
            f"{kind.name()} has {limit}. Ask for fewer."
        )


def chosen(wish: Wish, good: Sequence[Pair], filtered: Filtered) -> list[Pair]:
    """Return as many good pairs as are wanted, spread evenly over their distances.

    Raises:
        InvalidInputError: there are too few.
    """
    if len(good) < wish.pairs:
        lost = {name: n for name, n in filtered.model_dump().items() if n and name != "tried"}
        raise InvalidInputError(
            f"{len(good)} of {wish.pairs} pairs, after {filtered.tried} candidates; lost: "
            f"{', '.join(f'{n} by {name}' for name, n in lost.items()) or 'none'}. Nothing was "
            "written. Ask for fewer pairs, another offset, or episodes in which more happens."
        )
    order = sorted(range(len(good)), key=lambda n: (good[n].distance, n))
    step = len(order) / wish.pairs
    kept = [order[int((n + 0.5) * step)] for n in range(wish.pairs)]
    if wish.kind != "tasks":  # Which are numbered from the nearest goal to the farthest.
        kept = sorted(kept)
    return [good[n].model_copy(update={"number": k}) for k, n in enumerate(kept)]


def goal_set(
    wish: Wish, source: Source, pairs: list[Pair], filtered: Filtered, apart: list[Any]
) -> GoalSet:
    """Return the set of these pairs."""
    named = {"recipe": source.recipe.model_dump(mode="json", exclude_defaults=True)}
    with closing(_Maker(wish, source)) as maker:
        world = _world(wish, source.recipe, maker.env)
    return GoalSet(
        format=FORMAT,
        offset=wish.offset,
        budget=wish.budget,
        source=named if source.run is None else {**named, "run": Folder(source.run).run},
        seed=wish.seed,
        filtered=filtered,
        apart=apart,
        pairs=pairs,
        **world,
    )


class _Maker:
    """Makes candidates, in one process."""

    def __init__(self, wish: Wish, source: Source) -> None:
        self._wish, self._recipe = wish, source.recipe
        self._folder = None if source.run is None else Folder(source.run, source.trust_code)
        self._count = 0 if self._folder is None else self._folder.count()
        scenario = None if self._folder is None else self._folder.scenario
        self._generator = Episodes(source.recipe, scenario, source.trust_code or not source.run)
        self._generator.pay_from(None, source.schedule)
        self.env = self._generator.env
        self._buffer = EpisodeBuffer(self._generator.schema, self._generator.max_rows)
        self._schedule, self._trust = source.schedule, source.trust_code
        self._stage: Stage | None = None
        self._states = _NO_MARKS

    def close(self) -> None:
        self._generator.close()
        if self._stage is not None:
            self._stage.close()

    def do(self, task: int) -> Candidate:
        """Return candidate number `task`."""
        record, rows, work = self._episode(task)
        self._states = _NO_MARKS
        found = self._found(task, record, rows)
        if self._stage is not None:
            work = plus(work, self._stage.taken())
        return Candidate(found[0], found[1], work, self._states)

    def _episode(self, number: int) -> tuple[Record, Rows, dict[str, int]]:
        if self._folder is not None:
            episode = self._folder.episode(number % self._count)
            return Record.parse(episode.record), episode.rows, {}
        record = self._generator.make("0" * 64, number, self._buffer)
        rows = {name: rows[: record.steps + 1] for name, rows in self._buffer.arrays.items()}
        work = self.env.meter.quantities
        self._generator.on_kept()
        return record, rows, work

    def _found(self, number: int, record: Record, rows: Rows) -> tuple[str, Pair | None]:
        wish, rng = self._wish, np.random.default_rng([self._wish.seed, number, _START])
        last = record.steps - (wish.offset if wish.is_ahead else 1)
        last = min(last, self.env.max_steps - max(wish.budget, wish.offset))
        if last < 0:
            return "short", None
        step = 0 if wish.kind == "task" else int(rng.integers(0, last + 1))
        begun = _start(record, rows, step)
        past = marks(rows["state"][: step + 1])
        stage = self._on_stage()
        if wish.is_ahead:
            after = slice(step, step + wish.offset)
            pair = _pair(begun, rows["state"][step + wish.offset], record.policy)
            pair = pair.model_copy(update={"known": np.array(rows["action"][after], np.float32)})
        else:
            pair = self._acted(stage, begun, record, number)
        found = self._judged(stage, pair, number)
        self._states = np.concatenate([past, self._states])
        return found

    def _on_stage(self) -> Stage:
        """Return the stage, on which a pair without a goal can begin."""
        if self._stage is None:
            world = _world(self._wish, self._recipe, self.env)
            bare = GoalSet.model_construct(**world)
            self._stage = Stage(bare, self._schedule, trust_code=self._trust or not self._folder)
        return self._stage

    def _acted(self, stage: Stage, begun: Start, record: Record, number: int) -> Pair:
        """Return the pair whose goal another policy reaches, or the world's own."""
        wish, rng = self._wish, np.random.default_rng([self._wish.seed, number, _BRANCH])
        task = wish.kind == "task"
        by = "scripted" if task else next(name for name in _OTHERS if name != record.policy)
        info = stage.begin(_pair(begun, begun.state, by))[1]
        act, actions = POLICIES[by](stage.env, rng), list[Any]()
        while len(actions) < (wish.budget if task else wish.offset) and not stage.env.episode.over:
            info = stage.env.step(act())[4]
            actions.append(np.array(stage.env.episode.actions[-1], np.float32))
            if task and info["success"]:
                break
        known = np.array(actions, np.float32).reshape(-1, self.env.action_size)
        return _pair(begun, info["state"], by).model_copy(update={"known": known})

    def _judged(self, stage: Stage, pair: Pair, number: int) -> tuple[str, Pair | None]:
        """Return which filter throws a pair out, or "" and the pair."""
        wish = self._wish
        away = stage.hits(pair, pair.start.state[None], [False]).distance[0]
        if away <= 1.0 and wish.kind != "task":
            return "start", None
        known = self._walked(stage, pair, pair.known)
        if known.strict is None or known.moderate is None:
            return "known", None
        still = np.zeros((wish.budget, self.env.action_size), np.float32)
        info = stage.begin(pair)[1]
        with stage.env.snapshot() as at_start:
            if stage.hits(pair, *walk(stage.env, info, still)).first("moderate") is not None:
                return "noop", None
            hits = 0
            for attempt in range(TRIES):
                rng = np.random.default_rng([wish.seed, number, _RANDOM, attempt])
                stage.env.restore(at_start)
                drawn = rng.uniform(-1.0, 1.0, still.shape).astype(np.float32)
                hit = stage.hits(pair, *walk(stage.env, info, drawn)).first("moderate")
                hits += hit is not None
                if hits > MOST_HITS:
                    return "random", None
        return "", pair.model_copy(update={"hits": known, "distance": float(away)})

    def _walked(self, stage: Stage, pair: Pair, actions: Any) -> Hits:
        info = stage.begin(pair)[1]
        states, done = walk(stage.env, info, actions)
        self._states = marks(states)
        if not (self._wish.kind == "task" or states[-1].tobytes() == pair.goal.tobytes()):
            return Hits(moderate=None, strict=None)
        return stage.hits(pair, states, done).hits


def _world(wish: Wish, recipe: Recipe, env: SandboxEnv) -> dict[str, Any]:
    """Return what a set says of its world: all that a stage needs of it."""
    return {
        "kind": wish.kind,
        "environment": recipe.environment,
        "scenario": env.scenario.model_dump(exclude_none=True),
        "aim": env.aim.plain() if isinstance(env.aim, Aim) and wish.kind != "task" else {},
        "engine": dict(engine()),
        "code": catalogue.code(recipe.environment),
    }


def _start(record: Record, rows: Rows, step: int) -> Start:
    states: F64 = np.array(rows["state"][: step + 1], np.float64)
    seed = record.seed
    if seed is None:
        raise InvalidInputError("the run was imported: nothing can simulate its episodes again.")
    return Start(
        seed=seed,
        factors=dict(record.factors),
        disturbances=[dict(one) for one in record.disturbances],
        scene=record.scene_digest,
        policy=record.policy,
        episode=record.episode,
        actions=np.array(rows["action"][:step], np.float32),
        state=states[-1],
        past=states_digest(states),
    )


def _pair(begun: Start, goal: F64, by: str) -> Pair:
    """Return a pair of which neither number nor hits are known."""
    none = Hits(moderate=None, strict=None)
    empty = np.zeros((0, begun.actions.shape[1]), np.float32)
    goal = np.array(goal, np.float64)
    return Pair(number=0, start=begun, goal=goal, by=by, known=empty, hits=none, distance=0.0)


def longest(source: Source) -> int:
    """Return how many steps an episode has at most, with the scenario's own limit."""
    scenario = None if source.run is None else Folder(source.run, source.trust_code).scenario
    trust_code = source.trust_code or source.run is None
    with closing(rollout.make(source.recipe, unpaid(), scenario, trust_code)) as env:
        return env.max_steps
