"""Make a run on a Ray cluster: a task makes a shard, and this process keeps it, and pays for it.

A task knows no ledger and no run folder. What it made comes home as the bytes of a shard's files,
or lies on storage that all nodes share. It is charged once it is in the run's folder. A shard whose
node or worker died is made again; nobody pays for what was lost.
"""

import os
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sandbox import durable, files
from sandbox.errors import BudgetExhaustedError, InvalidInputError, SandboxError, shown
from sandbox.interrupts import Uninterrupted
from sandbox.ledger.holder import Holder
from sandbox.prices import PriceSchedule, credits, plus
from sandbox.run import ranks
from sandbox.run.filling import HOLD_BYTES, Alone, Filling, Progress, header
from sandbox.run.ranks import Rank
from sandbox.run.run import Run, Share
from sandbox.run.settle import check_charges
from sandbox.run.source import Source
from sandbox.run.watcher import Watcher
from sandbox.trajectory import EpisodeBuffer, ShardWriter
from sandbox.trajectory.shard import part_path, sidecar_path

_TRIES = 5  # Of a shard: then it is not the cluster that fails.
_CONNECT_S = 10.0  # How long the head of a cluster may take to answer.
_LISTEN_S = 0.25  # How often it looks whether it was interrupted.
_AHEAD = 2  # Tasks for each processor: the next begins while the last comes home.
_SOURCES = dict[str, Source]()  # Of this worker of the cluster, by run.
Files = dict[str, bytes]


def check(on: str, workers: int, rank: Rank | None, run: Run) -> None:
    """Refuse a cluster that is not known, and what does not go with one (InvalidInputError)."""
    ranks.check(run)
    if on != "ray":
        raise InvalidInputError(f"on {shown(on)}: give 'ray'. Nothing was done.")
    if workers != 1 or rank is not None:
        raise InvalidInputError(
            f"{'rank' if rank else f'workers {workers}'}: the cluster says how many processes "
            "there are. Nothing was done. Leave it out with --on ray."
        )


def sharing(shared: bool, watcher: Watcher | None = None) -> Share:
    """Return how to make a run's shards on the Ray cluster that RAY_ADDRESS names.

    Without that variable a cluster of this machine is started, and stopped with this process.

    Args:
        shared: whether all nodes see the run's folder under its path; then tasks write there, and
            no shard travels.
        watcher: is told what runs.

    Raises:
        SandboxError: Ray is not installed.
    """
    if find_spec("ray") is None:
        raise SandboxError(
            "on ray: Ray is not installed. Nothing was done. Install it with "
            "`pip install 'worldmodel-sandbox[ray]'`."
        )
    return partial(_share, shared=shared, watcher=watcher or Watcher())


def _share(run: Run, progress: Progress, shared: bool, watcher: Watcher) -> None:
    import ray

    ranks.check(run)
    _connect(ray)
    cluster = _Cluster(ray, run, progress, shared)
    watcher.sharing(cluster.states)
    cluster.fill()


def _connect(ray: Any) -> None:
    """Join the cluster that RAY_ADDRESS names, or start one here (SandboxError)."""
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS")
    host, _, port = (address or "").rpartition(":")
    try:
        if host and port.isdecimal():  # Ray would try for minutes, and then end the process.
            socket.create_connection((host, int(port)), _CONNECT_S).close()
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError, SystemExit) as error:
        raise SandboxError(
            f"RAY_ADDRESS={address}: no Ray cluster can be reached there: {str(error)[:200]}. "
            "Nothing was made. Start one with `ray start --head`, or unset the variable."
        ) from error


@dataclass
class _Cluster:
    """The shards of a run that tasks make.

    Attributes:
        ray: the module.
        run: the run.
        progress: called for each episode that is kept.
        shared: whether tasks write into the run's folder.
        tasks: the shards that are being made, by the reference of their result.
        tries: how often a shard was begun.
    """

    ray: Any
    run: Run
    progress: Progress
    shared: bool
    tasks: dict[Any, int] = field(default_factory=dict[Any, int])
    tries: Counter[int] = field(default_factory=Counter[int])

    def fill(self) -> None:
        """Make the missing episodes; first those of shards that another process left growing."""
        run, known = self.run, self.run.stages
        lacking = Filling(run, range(known.shards), Alone(run), self.progress).lacking()
        missing, growing = list[int](), list[int]()
        for number in lacking:
            begun = part_path(run.shard_path(number)).exists()
            (growing if begun else missing).append(number)
        with Uninterrupted() as waiting:
            waits = iter(missing)
            self._submit(waits)
            try:
                if growing:
                    Filling(run, growing, Alone(run), self.progress).fill()
                while self.tasks:
                    self._take(waits)
                    waiting.act()
            finally:
                self._stop()

    def states(self) -> Sequence[str]:
        """Return which shards are being made."""
        return [f"shard {number}" for number in sorted(self.tasks.values())]

    def _submit(self, waits: Iterator[int]) -> None:
        """Hand out shards until there are enough for every processor."""
        most = _AHEAD * max(1, int(self.ray.cluster_resources().get("CPU", 1)))
        while len(self.tasks) < most and (number := next(waits, None)) is not None:
            self._begin(number)

    def _begin(self, number: int) -> None:
        """Hold what a shard may cost, and hand it out."""
        run, known = self.run, self.run.stages
        self._hold(number)
        self.tries[number] += 1
        part = known.part(number)
        place = str(run.path / "shards") if self.shared else None
        job = _Job(
            run.id,
            run.schedule,
            header(run.identity, known, number),
            run.recipe.compression,
            run.shard_path(number).name,
            part,
            tuple(known.shard(number)),
            place,
            self.tries[number],
        )
        make = self.ray.remote(max_retries=0, num_cpus=1)(_make)
        self.tasks[make.remote([self._source], job)] = number

    @cached_property
    def _source(self) -> Any:
        """The reference of the source, which each worker of the cluster fetches once."""
        return self.ray.put(self.run.source)

    def _take(self, waits: Iterator[int]) -> None:
        """Keep and charge a shard that has come, or hand it out again if it was lost."""
        come, _ = self.ray.wait([*self.tasks], timeout=_LISTEN_S)
        for one in come:
            number = self.tasks.pop(one)
            try:
                made = self.ray.get(one)
            except self.ray.exceptions.RayTaskError as error:
                cause = error.cause
                raise (
                    cause
                    if isinstance(cause, SandboxError)
                    else SandboxError(
                        f"shard {number}: its task failed: {cause}. What is kept is kept."
                    )
                ) from error
            except self.ray.exceptions.RayError as error:
                self._again(number, error)
                continue
            self._keep(number, made)
        self._submit(waits)

    def _again(self, number: int, error: Exception) -> None:
        """Hand a shard out again whose worker or node died."""
        if self.tries[number] >= _TRIES:
            raise SandboxError(
                f"shard {number}: was lost {_TRIES} times: {' '.join(str(error).split())[:200]}. "
                "What is kept is kept; run the same command again to continue."
            ) from error
        self.run.bill.repeated += len(self.run.stages.shard(number))
        self._begin(number)

    def _hold(self, number: int) -> None:
        """Hold what a shard may cost (BudgetExhaustedError)."""
        run = self.run
        account = run.recipe.account
        if run.ledger.account(account).mode == "postpaid":
            return
        charges = run.schedule.charges(plus({}, run.longest, len(run.stages.shard(number))))
        name = self._lease(number)
        run.ledger.void(account, name)  # Of a try that was lost.
        held = run.ledger.reserve(
            account,
            name,
            charges,
            price_version=run.schedule.version,
            run=run.id,
            holder=Holder.me(),
        )
        if held < 0:
            raise BudgetExhaustedError(
                f"shard {number} costs up to {credits(sum(charges.values()))} credits, which the "
                f"account {account!r} does not have now. What is kept is kept."
            )

    def _lease(self, number: int) -> bytes:
        booking = self.run.folder.booking()
        assert booking is not None, "written when the run began"
        return booking.lease + number.to_bytes(8, "big")

    def _keep(self, number: int, made: Mapping[str, bytes] | None) -> None:
        """Put a shard into the folder, and charge it then."""
        run, path = self.run, self.run.shard_path(number)
        beside = sidecar_path(path)
        run.ledger.confirm()
        if made is not None:
            durable.replace(beside, made[beside.name])
            durable.replace(path, made[path.name])
        else:
            for one in (beside, path):
                _hidden(one, self.tries[number]).replace(one)
            durable.sync_folder(path.parent)
        kept = run.folder.shard(path)
        check_charges(run.folder, run.stages, kept)
        receipts = run.ledger.post(run.recipe.account, run.folder.usages(kept), self._lease(number))
        run.bill.already += sum(receipt.exists for receipt in receipts)
        for record in kept.records:
            run.count(record, self.progress)

    def _stop(self) -> None:
        """Cancel what is under way, and release what is held for it."""
        for one, number in self.tasks.items():
            with suppress(Exception):  # The cluster may be gone.
                self.ray.cancel(one, force=True)
            self.run.ledger.void(self.run.recipe.account, self._lease(number))
        for left in (self.run.path / "shards").glob(_hidden(Path("*"), "*").name):
            left.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Job:
    """What a task makes.

    Attributes:
        run: id of the run.
        schedule: its prices.
        header: of the shard.
        compression: of the shard.
        name: name of the shard's file.
        part: the part whose episodes it holds.
        episodes: their numbers.
        place: the folder where it is to be written; None lets its bytes come home.
        attempt: how often it was handed out, with this time.
    """

    run: str
    schedule: PriceSchedule
    header: Mapping[str, Any]
    compression: str
    name: str
    part: int
    episodes: Sequence[int]
    place: str | None
    attempt: int


def _make(references: Sequence[Any], job: _Job) -> Files | None:
    """Make a shard, in a worker of the cluster; return its files, or write them."""
    import ray

    if job.run not in _SOURCES:
        _SOURCES.clear()
        _SOURCES[job.run] = ray.get(references[0])
        _SOURCES[job.run].warm_up()
    with TemporaryDirectory() as folder:
        path = Path(folder) / job.name
        _write(_SOURCES[job.run], job, path)
        made = {one.name: files.read(one, 1 << 40) for one in (sidecar_path(path), path)}
    if job.place is None:
        return made
    for name, data in made.items():
        durable.replace(_hidden(Path(job.place) / name, job.attempt), data)
    return None


def _write(source: Source, job: _Job, path: Path) -> None:
    """Make the episodes of a shard, and write it."""
    maker = source.makers[job.part]
    maker.pay_from(None, job.schedule)
    buffer = EpisodeBuffer(maker.schema, maker.max_rows)
    writer = ShardWriter(
        path, maker.schema, job.header, job.compression, sync=False, hold_bytes=HOLD_BYTES
    )
    for index in job.episodes:
        record = maker.make(job.run, index, buffer)
        writer.append(buffer.episode(record.steps, record.plain))
        maker.on_kept()
    writer.close()


def _hidden(path: Path, attempt: int | str) -> Path:
    """Return under which name a task writes a file that is not kept yet."""
    return path.with_name(f".{path.name}.made-{attempt}")
