"""The shards of a run, read and lived again, by one process or several."""

import multiprocessing
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sandbox.env import SandboxEnv
from sandbox.errors import FormatError, SandboxError
from sandbox.ledger import Usage
from sandbox.run import bill
from sandbox.run.recipe import EpisodeChance, Recipe
from sandbox.scenario import Scenario
from sandbox.sources import rollout
from sandbox.sources.branching import Due, branched, due
from sandbox.sources.replay import Replay, Witness, first_difference
from sandbox.trajectory import Episode, EpisodeBuffer, ShardReader


@dataclass
class Report:
    """What was checked and what was wrong.

    Attributes:
        episodes: how many were read and re-hashed.
        replayed: how many of them were simulated again.
        rows: of the episodes read.
        charge_micro: what they cost in all [microcredits].
        checked: what was found to be right, one sentence each.
        faults: what is wrong, one sentence each; a run that verifies has none.
        failed: number of an episode to what is wrong with it, and
        diverged: of those, the ones whose bytes are whole and whose work was not done as recorded.
        unseen: columns that a replay does not compare.
        notes: what was not checked, and why.
    """

    episodes: int = 0
    replayed: int = 0
    rows: int = 0
    charge_micro: int = 0
    checked: list[str] = field(default_factory=list[str])
    faults: list[str] = field(default_factory=list[str])
    failed: dict[int, str] = field(default_factory=dict[int, str])
    diverged: list[int] = field(default_factory=list[int])
    unseen: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])


Progress = Callable[[Report], None]


@dataclass(frozen=True)
class Job:
    """What to read a run's shards for.

    Attributes:
        known: what run.json says.
        recipe, scenario: those in it.
        chosen: the numbers of the episodes to simulate again.
        trust_code: see `catalogue.environment`.
    """

    known: Mapping[str, Any]
    recipe: Recipe
    scenario: Scenario
    chosen: frozenset[int]
    trust_code: bool = False


@dataclass
class Found:
    """What some shards hold.

    Attributes:
        report: what is wrong with them.
        records: of their episodes.
        usages: what each is to be charged for.
        leaves: hashes of the records, as the log has them.
    """

    report: Report = field(default_factory=Report)
    records: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    usages: list[Usage] = field(default_factory=list[Usage])
    leaves: list[bytes] = field(default_factory=list[bytes])

    def add(self, other: "Found") -> None:
        """Add what the shards after these hold."""
        mine, its = self.report, other.report
        mine.episodes += its.episodes
        mine.replayed += its.replayed
        mine.rows += its.rows
        mine.charge_micro += its.charge_micro
        mine.faults += its.faults
        mine.failed |= its.failed
        mine.diverged += its.diverged
        mine.unseen += [name for name in its.unseen if name not in mine.unseen]
        mine.notes += [note for note in its.notes if note not in mine.notes]
        self.records += other.records
        self.usages += other.usages
        self.leaves += other.leaves


def read(
    job: Job, paths: Sequence[Path], found: Found, progress: Progress, workers: int = 1
) -> None:
    """Read every shard, check and replay its episodes, and add what is found.

    Args:
        job: what for.
        paths: of the shards, in order.
        found: where it goes.
        progress: called after each episode, or by several workers after each shard.
        workers: processes to share the shards.
    """
    if workers == 1 or len(paths) < 2:
        with closing(Reading(job, found, progress)) as reading:
            for number, path in enumerate(paths):
                reading.shard(path, number)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(paths)), context, _begin) as pool:
        for part in pool.map(partial(_alone, job), paths, range(len(paths))):
            found.add(part)
            progress(found.report)


_readings: dict[str, "Reading"] = {}  # Of a worker: its environment serves all its shards.


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a worker without a word.


def _alone(job: Job, path: Path, number: int) -> Found:
    """Be a worker: return what one shard holds."""
    reading = _readings.setdefault("", Reading(job, Found(), lambda report: None))
    reading.found = Found()
    try:
        reading.shard(path, number)
    except SandboxError as error:  # Others of its kind do not survive being sent.
        raise SandboxError(str(error)) from None
    return reading.found


class Reading:
    """Reads shards one after the other, and lives their episodes again."""

    def __init__(self, job: Job, found: Found, progress: Progress) -> None:
        self.job, self.found, self._progress = job, found, progress
        self._replay: Replay | None = None
        self._buffer: EpisodeBuffer | None = None

    def close(self) -> None:
        """Give the environment's clients back."""
        if self._replay is not None:
            self._replay.close()

    def shard(self, path: Path, number: int) -> None:
        """Check a shard, episode by episode; it is the run's `number`-th, from 0."""
        report, first = self.found.report, number * self.job.recipe.shard_episodes
        try:
            with ShardReader(path) as reader:
                self._header(path, reader, number)
                beside = reader.sidecar_fault()
                report.faults += [beside] if beside else []
                for n in range(len(reader)):
                    self._judge(path, reader, n, first + n)
                    self._progress(report)
        except FormatError as error:
            report.faults.append(str(error))

    def _header(self, path: Path, reader: ShardReader, number: int) -> None:
        said = {name: reader.header.get(name) for name in ("run", "shard", "environment")}
        environment = self.job.recipe.environment
        ours = {"run": self.job.known["run"], "shard": number, "environment": environment}
        for name, value in ours.items():
            if said[name] != value:
                self.found.report.faults.append(
                    f"{path.name}: belongs to another run: {name} {said[name]!r}, not {value!r}."
                )

    def _judge(self, path: Path, reader: ShardReader, n: int, index: int) -> None:
        record, found = reader.records[n], self.found
        found.report.episodes += 1
        found.records.append(record)
        try:
            parent = self.job.known.get("parent")
            usage = bill.usage(self.job.known["run"], parent, record, reader.schema)
            found.usages.append(usage)
            found.leaves.append(bytes.fromhex(usage.evidence))
            fault = self._episode(reader, n, index)
        except SandboxError as error:
            fault = str(error)
            found.leaves += [bill.leaf(record)] * (len(found.leaves) < len(found.records))
        if fault:
            found.report.faults.append(f"{path.name}: episode {index}: {fault}")
            found.report.failed[index] = fault

    def _episode(self, reader: ShardReader, n: int, index: int) -> str:
        """Check one episode and return what is wrong with it, or ""."""
        report = self.found.report
        episode = reader.read(n)
        report.rows += len(episode)
        report.charge_micro += int(episode.rows["charge"].sum())
        fault = self._misplaced(episode, index) or bill.fault(episode)
        if fault or index not in self.job.chosen:
            return fault
        report.replayed += 1
        fault = self._again(episode, index)
        if fault:
            report.diverged.append(index)
        return fault

    def _misplaced(self, episode: Episode, index: int) -> str:
        """Return how an episode is not of this run, or not at its place, or ""."""
        facts, known = episode.record, self.job.known
        if int(episode.rows["episode_idx"][0]) != index or facts.get("episode") != index:
            return f"stands where episode {index} should be."
        if facts.get("run") != known["run"]:
            return f"belongs to the run {facts.get('run')}."
        if facts.get("price_version") != known.get("price_version"):
            return f"was priced under {facts.get('price_version')!r}, not as the run."
        said = {"engine": known["engine"], "scenario_digest": self.job.scenario.digest}
        said |= {"renderer": known["renderer"]}
        return _first_unlike(facts, said, "run.json")

    def _again(self, episode: Episode, index: int) -> str:
        """Simulate an episode again; return the first difference from its recipe, or ""."""
        replay, facts = self._replaying(), episode.record
        env, recipe = replay.env, self.job.recipe
        wanted, witness = self._wanted(env, episode, index)
        said = {key: getattr(wanted, key) for key in ("seed", "policy", "factors")}
        said["disturbances"] = list(wanted.disturbances)
        fault = _first_unlike(facts, said, "the recipe")
        if fault:
            return fault
        if self._buffer is None:
            self._buffer = EpisodeBuffer(rollout.schema(env), env.max_steps + 1)
        steps, success, fault = replay.live(episode, self._buffer, witness)
        if fault:
            return fault
        made = rollout.record(env, recipe, facts["run"], index, wanted, steps)
        made |= rollout.outcome(self._buffer, steps, success) | branched(wanted, self._buffer)
        known = {key: facts.get(key) for key in ("engine", "renderer", "digest")}
        unseen = set(self.found.report.unseen)
        rows = {name: column for name, column in episode.rows.items() if name not in unseen}
        again = self._buffer.episode(steps, {**facts, "charge_micro": env.meter.spent})
        fault = first_difference(rows, again.rows) or _first_unlike(facts, made | known, "a replay")
        if not fault and witness is not None and witness.differs is not None:
            fault = f"its action at step {witness.differs} is not what {wanted.policy!r} takes."
        return fault

    def _wanted(self, env: SandboxEnv, episode: Episode, index: int) -> tuple[Due, Witness | None]:
        """Return what the recipe, or the plan of branches, has at a place; and who looks on."""
        plan, scenario = self.job.known["plan"], self.job.scenario
        if plan is not None:  # Whose actions up to the step are another run's.
            return due(plan, index), None
        chance = EpisodeChance(self.job.recipe, index)
        drawn = scenario.sample(env.factors, chance.seed, self.job.recipe.split)
        happens = scenario.happenings(env.factors, drawn, chance.seed)
        wanted = Due(chance.seed, chance.policy, drawn.plain(), [one.plain() for one in happens])
        return wanted, Witness(episode, chance)

    def _replaying(self) -> Replay:
        """Return what lives episodes again; note if it cannot draw their pictures."""
        if self._replay is None:
            job, report = self.job, self.found.report
            self._replay = Replay(job.recipe, job.scenario, job.trust_code)
            pictures = self._replay.env.pictures
            ours, theirs = pictures.drawn_by, self.job.known.get("renderer")
            if ours != theirs:
                report.unseen += list(pictures.columns)
                report.notes.append(
                    f"pictures were drawn by {theirs}, and here by {ours}: not compared."
                )
        return self._replay


def _first_unlike(facts: Mapping[str, Any], due: Mapping[str, Any], whose: str) -> str:
    """Return the first key of an episode's record that is not as it is due, or ""."""
    for key in sorted({*due} if whose != "a replay" else {*due, *facts}):
        if facts.get(key, ...) != due.get(key, ...):
            shown = f"{facts.get(key)!r:.80}, and {whose} {due.get(key)!r:.80}"
            return f"its record says {key} {shown}."
    return ""
