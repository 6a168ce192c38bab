"""Several processes make the episodes of one run.

While there is much to do, each takes whole shards, writes them, and pays for them. The last
episodes are handed out one by one: whoever is idle makes the next, and this process keeps them in
order. So nobody waits for another's shard, and the bytes are those of one process.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Self

from sandbox.errors import BudgetExhaustedError, SandboxError
from sandbox.processes import forking
from sandbox.run.filling import Filling, check_allowance
from sandbox.run.record import Record
from sandbox.run.run import Progress, Run, Share
from sandbox.run.watcher import ENDED, WAITS, Watcher
from sandbox.run.worker import END, EPISODE, KEPT, SHARD, Message, work
from sandbox.trajectory import Episode

SHARE = 7 / 8  # Of what a worker makes: this much of it in whole shards, if shards are that small.
AHEAD, AHEAD_BYTES = 4, 256 << 20  # Episodes a worker that wait for an earlier one; their bytes.
_LISTEN_S = 0.25  # How often it looks whether it was interrupted.


def sharing(workers: int, watcher: Watcher | None = None) -> Share | None:
    """Return how to make a run's episodes with several processes; None for a single one."""
    if workers == 1:
        return None
    return partial(_share, workers=workers, watcher=watcher or Watcher())


def _share(run: Run, progress: Progress, workers: int, watcher: Watcher) -> None:
    """Make a run's missing episodes with several processes.

    Raises:
        BudgetExhaustedError: account or budget cannot pay for all. What was kept stays.
        SandboxError: a worker failed or died. The others are stopped; what they kept stays.
    """
    with Crew(run, progress, workers) as crew:
        filling = Filling(run, crew.plan(), crew, progress)
        watcher.sharing(crew.states)
        crew.coming = filling.missing()
        try:
            filling.fill()
        except BudgetExhaustedError:
            crew.finish()
            raise
        crew.finish()


@dataclass(eq=False)
class _Member:
    """A worker.

    Attributes:
        process, channel: as multiprocessing has them.
        tasks: what it was told and has not done, by (kind, number).
        poor: whether it cannot pay for another episode.
        kept: number of episodes that it has kept of the shard that it makes.
    """

    process: BaseProcess
    channel: Connection
    tasks: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    poor: bool = False
    kept: int = 0

    @property
    def state(self) -> str:
        """What it does now, in words."""
        if not self.tasks:
            return "cannot pay" if self.poor else WAITS
        kind, number = min(self.tasks, key=lambda task: task[1])
        if kind == END:
            return ENDED
        return f"{kind} {number}" + (f", {self.kept} kept" if kind == SHARD else "")


class Crew:
    """Workers, of which each is told what to make next. Used as a context.

    Args:
        run: the run.
        progress: called for each episode that a worker keeps itself.
        workers: how many there are.

    Attributes:
        coming: yields part and number of the episodes that are handed out, in order.
    """

    coming: Iterator[tuple[int, int]] = iter(())

    def __init__(self, run: Run, progress: Progress, workers: int) -> None:
        self._run, self._progress, self._workers = run, progress, workers
        self._members = list[_Member]()
        self._shards = deque[int]()  # To be made whole.
        self._made = dict[int, tuple[Record, Episode, _Member]]()  # Not kept yet.
        self._by, self._ahead = dict[int, _Member](), 0
        self._refused: BudgetExhaustedError | None = None
        self._most = run.schedule.cost(run.longest)
        prepaid = run.ledger.account(run.recipe.account).mode == "prepaid"
        self._may_end = run.recipe.admission == "greedy" and prepaid
        self._act: Callable[[], None] = lambda: None

    def plan(self) -> list[int]:
        """Decide which shards workers make whole; return the others that lack episodes.

        There are no others where credit may end a run: then an episode could wait for an earlier
        one that nobody pays.
        """
        known, run = self._run.stages, self._run
        every = run.most_shards if run.limit is not None else known.shards
        lacking = list(Filling(run, range(every or 0), self, self._progress).lacking())
        if self._may_end:
            self._shards.extend(lacking)
            return []
        sizes = [len(known.shard(number)) for number in lacking]
        each = int(sum(sizes) / self._workers * SHARE) // max(sizes, default=1)
        whole = 0 if run.allowance is not None else each * self._workers
        self._shards.extend(lacking[:whole])
        return lacking[whole:]

    def __enter__(self) -> Self:
        run, variables = self._run, dict(os.environ)
        whole = run.allowance if self._may_end else None  # Else it is known here.
        limits = (None if whole is None else whole // self._workers, run.most_shards)
        with forking() as context:
            for number in range(self._workers):
                ours, theirs = context.Pipe()
                given = (number, run.source, run.path, run.ledger, theirs, limits)
                name, values = f"worker {number}", (*given, variables)
                process = context.Process(target=work, args=values, name=name, daemon=True)
                process.start()
                theirs.close()  # So that the pipe ends when the worker does.
                self._members.append(_Member(process, ours))
        return self

    def __exit__(self, *_: object) -> None:
        """Stop those that have not ended, after the episode under way."""
        for member in self._members:
            member.process.terminate()
            member.channel.close()
        for member in self._members:
            member.process.join()

    # What `Filling` asks --------------------------------------------------------------------------

    def begin(self, commit: Callable[[], None], act: Callable[[], None]) -> None:
        """Act on interrupts by `act`."""
        self._act = act

    def make(self, part: int, index: int) -> tuple[Record, Episode]:
        """Return an episode; see `Making`."""
        while index not in self._made:
            self._hand_out()
            if not any((EPISODE, index) in member.tasks for member in self._members):
                self._check_payable(index)
            self._listen()
        record, episode, member = self._made.pop(index)
        self._by[index], self._ahead = member, self._ahead - _size(episode)
        return record, episode

    def charge(self, records: Sequence[Record]) -> None:
        """Tell the workers that made some episodes that these are kept: they pay."""
        kept: dict[_Member, list[Record]] = {}
        for record in records:
            kept.setdefault(self._by.pop(record.episode), []).append(record)
        for member, mine in kept.items():
            _tell(member, (KEPT, mine))

    def states(self) -> list[str]:
        """Return what each worker does, in words."""
        return [member.state for member in self._members]

    def close(self) -> None:
        """Do nothing: workers post what they are told to charge."""

    # The workers ----------------------------------------------------------------------------------

    def finish(self) -> None:
        """Wait until the whole shards are made, and all that is kept is posted.

        Raises:
            BudgetExhaustedError: no worker could pay for a shard.
        """
        self._hand_out()
        while any(member.tasks for member in self._members):
            self._listen()
            self._hand_out()
        for member in self._members:
            self._give(member, END, 0, 0)
        while any(member.tasks for member in self._members):
            self._listen()
        if self._shards and self._refused is not None:
            raise self._refused

    def _hand_out(self) -> None:
        """Tell every worker that is idle, or soon will be, what to make next.

        Who made single episodes gets no shard that another could not pay for: its end would release
        what is held for them.
        """
        for depth in (1, 2):  # Nobody has two tasks while another has none.
            for member in self._members:
                if member.poor or len(member.tasks) >= depth:
                    continue
                if self._shards and (self._may_end or self._refused is None):
                    if not member.tasks:
                        self._give(member, SHARD, self._shards.popleft(), 0)
                elif (following := self._following()) is not None:
                    self._give(member, EPISODE, *following)

    def _following(self) -> tuple[int, int] | None:
        """Return number and part of the next episode to be handed out; None if it must wait."""
        out = sum(len(member.tasks) for member in self._members)
        full = len(self._made) >= AHEAD * self._workers or self._ahead > AHEAD_BYTES
        allowance = self._run.allowance
        dear = allowance is not None and self._most * (out + 1) > allowance
        if (full and out) or dear or self._refused is not None:
            return None
        part, index = next(self.coming, (0, -1))
        return None if index < 0 else (index, part)

    def _check_payable(self, index: int) -> None:
        """Refuse an episode that was not handed out, if nobody will make it."""
        if self._refused is not None:
            raise self._refused
        if not any(member.tasks for member in self._members):
            check_allowance(self._run, index)

    def _give(self, member: _Member, kind: str, number: int, part: int) -> None:
        member.tasks.add((kind, number))
        _tell(member, (kind, number, part))

    def _listen(self) -> None:
        """Take the messages that have come; wait for one, or until an interrupt."""
        channels = {member.channel: member for member in self._members if member.tasks}
        for channel in wait([*channels], _LISTEN_S):
            self._hear(channels[channel])  # pyright: ignore
        self._act()

    def _hear(self, member: _Member) -> None:
        """Take a worker's message (SandboxError if it died or failed)."""
        kind, *content = _received(member)
        match kind, content:
            case "made", [record, episode]:
                member.tasks.remove((EPISODE, record.episode))
                self._made[record.episode] = record, episode, member
                self._ahead += _size(episode)
                if self._run.allowance is not None:
                    cost = sum(self._run.usage(record).charges().values())
                    self._run.allowance -= cost
            case "kept", [record]:
                member.kept += 1
                self._run.count(record, self._progress)
            case "shard", [number]:
                member.kept = 0
                member.tasks.remove((SHARD, number))
            case "poor", [task, number, error]:
                member.poor, self._refused = True, error
                member.tasks.remove((task, number))
                if task == SHARD:  # The others use what credit there is.
                    self._shards.appendleft(number)
            case "end", [already]:
                self._run.bill.already += already
                member.tasks.clear()
            case _, _:
                raise content[0]


def _size(episode: Episode) -> int:
    return sum(rows.nbytes for rows in episode.rows.values())


def _tell(member: _Member, message: Message) -> None:
    with suppress(OSError):  # It died; whoever listens to it says so.
        member.channel.send(message)


def _received(member: _Member) -> Message:
    try:
        return member.channel.recv()
    except (EOFError, OSError):
        member.process.join()
        raise SandboxError(
            f"{member.process.name} died with exit status {member.process.exitcode}. What was kept "
            "is kept; run the same command again to continue."
        ) from None
