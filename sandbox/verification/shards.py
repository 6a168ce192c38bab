"""Check the shards of a run, episode by episode, with one process or several."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox import processes
from sandbox.errors import FormatError, SandboxError, UnreadableError, shown
from sandbox.evidence import log
from sandbox.ledger import Usage
from sandbox.run import bill
from sandbox.run.derived import Derived
from sandbox.run.folder import Folder
from sandbox.run.identity import Identity, has_tries, imagined
from sandbox.run.record import Record
from sandbox.run.shard import Entry, Shard
from sandbox.run.stages import Stages
from sandbox.trajectory import FORMAT_VERSION, Episode, Schema
from sandbox.trajectory.shard import number_of
from sandbox.verification import records
from sandbox.verification.report import Progress, Report

if TYPE_CHECKING:
    from sandbox.imagination.checking import Imagining
    from sandbox.verification.replaying import Replaying


@dataclass(frozen=True)
class Job:
    """What to check.

    Attributes:
        identity: the run that the shards should belong to, or what a derived run says of itself.
        stages: how many episodes it should have, and in which shards.
        chosen: numbers of the episodes to simulate again.
        trust_code: whether to import an environment that the run calls MODULE:CLASS.
        variables: environment variables of the processes in which the mathematics are the run's;
            none for those of this process.
        decides: whether a replay that differs is a fault; in another determinism class than the
            run's it proves nothing.
        source: the run whose rows imagined episodes begin with; None takes these as recorded.
    """

    identity: Identity | Derived
    stages: Stages
    chosen: frozenset[int]
    trust_code: bool = False
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    decides: bool = True
    source: Path | None = None

    def header(self, number: int) -> dict[str, Any]:
        """Return what the header of a shard should say."""
        said = {"run": self.identity.run, "shard": number}
        if isinstance(self.identity, Derived):
            return said
        world = self.identity.recipe.worlds[self.stages.part(number)]
        return {**said, "environment": world.environment}

    def of_episode(self, index: int) -> tuple[Identity, int]:
        """Return the work that the episode at a place is of, and its number in its run.

        Raises:
            FormatError: there should be no episode at that place.
        """
        if not isinstance(self.identity, Derived):
            return self.identity.of_episode(index), index
        if index >= len(self.identity.episodes):
            raise FormatError(f"it is one more than the {len(self.identity.episodes)} named.")
        home, number = self.identity.of_episode(index)
        return home.of_episode(number), number

    def version(self, index: int, file: int) -> int:
        """Return the trajectory format in which an episode was made.

        Args:
            index: the place of the episode.
            file: the format of its file, which differs for an episode that was taken over.
        """
        if not isinstance(self.identity, Derived):
            return file
        return self.identity.homes[self.identity.episodes[index][0]].trajectory


@dataclass
class Found:
    """What some shards hold.

    Attributes:
        report: what is wrong with them.
        records: records of their episodes that can be read.
        usages: what each of these is to be charged for.
        leaves: leaves of all records in the run's log.
        numbers: the number that each episode of `leaves` should have.
    """

    report: Report = field(default_factory=Report)
    records: list[Entry] = field(default_factory=list[Entry])
    usages: list[Usage] = field(default_factory=list[Usage])
    leaves: list[bytes] = field(default_factory=list[bytes])
    numbers: list[int] = field(default_factory=list[int])

    def add(self, other: "Found") -> None:
        """Add what the shards after these hold."""
        self.report.add(other.report)
        self.records += other.records
        self.usages += other.usages
        self.leaves += other.leaves
        self.numbers += other.numbers

    def sort(self) -> None:
        """Put what was found into the order of the episodes, which shards of parts do not have."""
        places = sorted(range(len(self.numbers)), key=self.numbers.__getitem__)
        self.leaves = [self.leaves[n] for n in places]
        self.numbers.sort()
        read = range(len(self.records))
        places = sorted(read, key=lambda n: self.records[n].episode)
        self.records = [self.records[n] for n in places]
        self.usages = [self.usages[n] for n in places]


def check(job: Job, folder: Folder, found: Found, progress: Progress, workers: int = 1) -> None:
    """Check every shard, replay the chosen episodes, and add what is found.

    Args:
        job: what to check.
        folder: the run.
        found: what is found is added here.
        progress: called after each episode; with several workers after each shard.
        workers: number of processes that share the shards.
    """
    paths = folder.paths(missing_ok=True)
    if not job.variables and (workers == 1 or len(paths) < 2):
        checker = Checker(job, folder, found, progress)
        try:
            for path in paths:
                checker.shard(path)
        finally:
            checker.close()
        return
    start, count = (job, folder.path), max(1, min(workers, len(paths)))
    with processes.pool(count, _start_worker, start, job.variables) as pool:
        parts = deque(pool.submit(_check_one, path) for path in paths)
        while parts:  # Each is forgotten once it is added: a run may have millions of episodes.
            found.add(parts.popleft().result())
            progress(found.report)


_worker: "Checker | None" = None  # Of a worker process: its environment serves all its shards.


def _start_worker(job: Job, path: Path) -> None:
    global _worker
    _worker = Checker(job, Folder(path), Found(), lambda report: None)


def _check_one(path: Path) -> Found:
    """Check one shard in a worker process; return what was found."""
    assert _worker is not None, "_start_worker comes first"
    found = _worker.found = Found()
    try:
        _worker.shard(path)
    except SandboxError as error:  # Other errors of its kind cannot be sent between processes.
        raise SandboxError(str(error)) from None
    return found


class Checker:
    """Checks shards one after the other.

    Args:
        job: what to check.
        folder: the run.
        found: what is found is added here.
        progress: called after each episode.
    """

    def __init__(self, job: Job, folder: Folder, found: Found, progress: Progress) -> None:
        self.job, self.found = job, found
        self._folder, self._progress = folder, progress
        self._replaying: dict[
            int, tuple[Identity, Replaying | Imagining]
        ] = {}  # By the identity's id.
        self._version = FORMAT_VERSION

    def close(self) -> None:
        """Release the simulator."""
        for _, one in self._replaying.values():
            one.close()
        self._replaying = {}

    def shard(self, path: Path) -> None:
        """Check a shard, episode by episode; its name says which one of the run it should be."""
        report, known = self.found.report, self.job.stages
        try:
            number = number_of(path)
            if number >= known.episodes:
                raise FormatError(f"{path.name}: the run has no shard of that number.")
            shard = self._folder.shard(path)
            self._version = shard.reader.version
            self._check_header(shard, number)
            for fault in (shard.reader.own_fault(), shard.reader.sidecar_fault()):
                report.faults += [fault] if fault else []
            for n in range(len(shard.reader)):
                self._check_episode(shard, n, known.episode(number, n))
                self._progress(report)
            shard.reader.close()  # A file that is open takes 4 MB.
            shard.forget()
        except FormatError as error:
            report.faults.append(str(error))

    def _check_header(self, shard: Shard, number: int) -> None:
        header, faults = shard.reader.header, self.found.report.faults
        for name, value in self.job.header(number).items():
            if header.get(name) != value:
                what = "is another shard" if name == "shard" else "belongs to another run"
                said = f"{name} {shown(header.get(name))}, not {value!r}"
                faults.append(f"{shard.path.name}: {what}: {said}.")

    def _check_episode(self, shard: Shard, n: int, index: int) -> None:
        """Check one episode, and add what is wrong with it."""
        found, data = self.found, shard.reader.records[n]
        found.report.episodes += 1
        found.numbers.append(index)
        try:
            record = Record.parse(data)
        except FormatError as error:
            found.leaves.append(log.leaf(data))
            found.report.fail(index, str(error), shard.path.name)
            return
        found.leaves.append(record.leaf)
        found.records.append(Entry.of(record))
        try:
            schema = shard.reader.schema
            identity, _ = self.job.of_episode(index)
            run, parent, prices = identity.run, identity.parent, identity.carried
            found.usages.append(bill.usage(run, parent, record, schema, prices))
            fault = self._fault(shard.reader.read(n), record, index, schema)
        except UnreadableError:
            raise
        except SandboxError as error:
            fault = str(error)
        if fault:
            found.report.fail(index, fault, shard.path.name)

    def _fault(self, episode: Episode, record: Record, index: int, columns: Schema) -> str:
        """Return what is wrong with an episode, or ""; replay it if it is chosen."""
        report = self.found.report
        report.rows += len(episode)
        report.charge_micro += int(episode.rows["charge"].sum())
        fault = self._misplaced(episode, record, index)
        fault = fault or bill.fault(episode, record, self.job.of_episode(index)[0].carried)
        if fault or index not in self.job.chosen:
            return fault
        fault = self._replayed(episode, record, index, columns)
        if fault and not self.job.decides:
            report.undecided[index] = fault
            return ""
        report.replayed += 1
        if fault:
            report.diverged.append(index)
        return fault

    def _misplaced(self, episode: Episode, record: Record, index: int) -> str:
        """Return how an episode is not of this run, or not at its place, or ""."""
        identity, number = self.job.of_episode(index)
        if int(episode.rows["episode_idx"][0]) != number or record.episode != number:
            return f"episode {record.episode} stands where it should be."
        if record.run != identity.run:
            return f"belongs to the run {record.run}."
        if record.price_version != identity.price_version:
            return f"was priced under {record.price_version!r}, not as the run."
        ours = {"engine": identity.engine, "renderer": identity.renderer}
        ours |= {"scenario_digest": identity.scenario.digest}
        if (record.tried is not None) != has_tries(identity.plan):
            return "is a try of a goal set, or none, unlike the run."
        if (record.imagined is not None) != (imagined(identity.plan) is not None):
            return "is imagined, or not, unlike the run."
        fault = records.difference(record.plain, ours, "run.json")
        return fault or records.start_fault(episode.rows, record)

    def _again(self, identity: Identity, index: int, columns: Schema) -> "Replaying | Imagining":
        """Return what simulates, or imagines, the episodes of some work again."""
        job, report = self.job, self.found.report
        if imagined(identity.plan) is not None:  # Only whoever imagines needs torch.
            from sandbox.imagination.checking import Imagining

            made = Imagining(identity, self._folder.path, columns, job.trust_code, job.source)
            if not made.is_of_this_code:
                report.excuse(
                    "imagined by another version of the models: a difference proves nothing."
                )
            return made
        from sandbox.verification.replaying import Replaying  # And who replays a simulator.

        return Replaying(identity, job.trust_code, report, job.version(index, self._version))

    def _replayed(self, episode: Episode, record: Record, index: int, columns: Schema) -> str:
        """Simulate an episode again, or imagine it; return the first difference, or ""."""
        identity, number = self.job.of_episode(index)
        if id(identity) not in self._replaying:
            self._replaying[id(identity)] = (identity, self._again(identity, index, columns))
        return self._replaying[id(identity)][1].difference(episode, record, number)
