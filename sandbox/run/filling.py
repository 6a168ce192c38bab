"""Make the missing episodes of some shards of a run, keep them in order, and charge them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from sandbox import prices
from sandbox.errors import BudgetExhaustedError, BudgetSpentError, FormatError
from sandbox.interrupts import Uninterrupted
from sandbox.ledger import Lease
from sandbox.memory import settled
from sandbox.run import bill
from sandbox.run.bill import Bill
from sandbox.run.growth import Growth
from sandbox.run.identity import Identity
from sandbox.run.record import Record
from sandbox.run.stages import Stages
from sandbox.trajectory import Episode, EpisodeBuffer, ShardWriter
from sandbox.trajectory.shard import part_path

if TYPE_CHECKING:
    from sandbox.run.run import Run

CHUNK = 64  # Episodes that a greedy lease reserves for at once.
BATCH = 128  # Episodes posted in one transaction.
HOLD_BYTES = 1 << 20  # Of rows committed together: some 2,000 of state, 80 with a 64x64 picture.
Progress = Callable[[Record, Bill], None]


def header(known: Identity, planned: Stages, number: int) -> dict[str, Any]:
    """Return what the header of a run's shard says."""
    world = known.recipe.worlds[planned.part(number)]
    return {"run": known.run, "shard": number, "environment": world.environment}


class Making(Protocol):
    """Makes episodes, in order, and charges those that are kept."""

    def begin(self, commit: Callable[[], None], act: Callable[[], None]) -> None:
        """Begin; `commit` keeps what is held back, and `act` acts on interrupts that came."""
        ...

    def make(self, part: int, index: int) -> tuple[Record, Episode] | None:
        """Return an episode of a part, which the next call may overwrite.

        Returns:
            None if the recipe's credits do not pay for it. Nothing was charged.

        Raises:
            BudgetExhaustedError: budget or account cannot pay it. Nothing was charged.
        """
        ...

    def charge(self, records: Sequence[Record]) -> None:
        """Charge episodes that are kept."""
        ...

    def close(self) -> None:
        """Post what is charged and not posted; release what is held for other episodes."""
        ...


class Filling:
    """Fills some shards of a run, in the order of episodes.

    Args:
        run: the run.
        shards: numbers of the shards, in order; None is all that the run may have.
        making: makes the episodes.
        progress: called for each episode that is kept.
    """

    def __init__(
        self, run: "Run", shards: Iterable[int] | None, making: Making, progress: Progress
    ) -> None:
        self._run, self._shards, self._making, self._progress = run, shards, making, progress
        self._known, self._makers = run.stages, run.source.makers
        self._credits = run.limit is not None  # They decide how many episodes there are.
        self._closed: dict[int, int] = {}  # Episodes of finished shards that are not full.
        self._growth = Growth(self._resumed, self._charge)

    def fill(self) -> None:
        """Make the missing episodes, and note in the run's folder if credits end it."""
        try:
            with settled(), Uninterrupted() as waiting, self._growth as growth:
                self._making.begin(growth.commit, waiting.act)
                for shard, place, index in self._known.turns(self.lacking()):
                    missing = place >= self._held(shard)
                    if missing and (shard in self._closed or not self._made(shard, index)):
                        self._reach(index)
                        break
                    if place + 1 == len(self._known.shard(shard)):
                        growth.finish(shard)
                    if missing:
                        waiting.act()
        finally:
            self._making.close()

    def missing(self) -> Iterator[tuple[int, int]]:
        """Yield part and number of the episodes that lack, in order; `fill` may go on meanwhile."""
        for shard, place, index in self._known.turns(self.lacking()):
            if place >= self._held(shard):
                yield self._known.part(shard), index

    def lacking(self) -> Iterator[int]:
        """Yield the numbers of the shards that lack episodes, in order."""
        every = self._run.most_shards if self._credits else self._known.shards
        numbers = self._shards
        if numbers is None:
            numbers = count() if every is None else range(every)
        for number in numbers:
            if not self._known.shard(number):
                return
            if not self._run.shard_path(number).exists() or not self._is_full(number):
                yield number

    def _is_full(self, number: int) -> bool:
        """Return whether a finished shard has its episodes; remove what it grew from.

        One that is not full is the last of its part, where credits decide how many there are.

        Raises:
            FormatError: it has other columns, or another number of episodes.
        """
        path, wanted = self._run.shard_path(number), len(self._known.shard(number))
        reader = self._run.folder.shard(path).reader
        if reader.schema != self._makers[self._known.part(number)].schema:
            raise FormatError(
                f"{path}: its columns are those of another version of this program, or of the "
                f"environment (trajectory format {reader.version}). Finish the run with that "
                "version, or generate into another folder."
            )
        held = len(reader)
        if held != wanted and not (self._credits and 0 < held < wanted):
            raise FormatError(
                f"{path}: holds {held} episodes where the recipe says {wanted}; generate into "
                "another folder."
            )
        part_path(path).unlink(missing_ok=True)  # A process ended before it could do so.
        if held < wanted:
            self._closed[number] = held
        return held == wanted

    def _held(self, shard: int) -> int:
        """Return how many episodes a shard has, which is opened unless it is finished."""
        return self._closed[shard] if shard in self._closed else self._growth.held(shard)

    def _resumed(self, number: int) -> ShardWriter:
        """Begin a shard, or continue it: not where another process took over the run."""
        self._run.ledger.confirm()
        run, part = self._run, self._known.part(number)
        head, schema = header(run.identity, self._known, number), self._makers[part].schema
        path, kind = run.shard_path(number), run.recipe.compression
        return ShardWriter.resume(path, schema, head, kind, hold_bytes=HOLD_BYTES)

    def _made(self, shard: int, index: int) -> bool:
        """Make an episode, keep it, then charge it: never the other way round.

        Returns:
            Whether the recipe's credits pay for it; if not, nothing was kept or charged.
        """
        made = self._making.make(self._known.part(shard), index)
        if made is None:
            return False
        self._growth.add(shard, made[1])
        if self._growth.is_committed():
            self._growth.commit()
        return True

    def _charge(self, fresh: list[Record]) -> None:
        """Charge episodes that are kept."""
        self._making.charge(fresh)
        for record in fresh:
            self._run.count(record, self._progress)

    def _reach(self, episodes: int) -> None:
        """End the run with so many episodes, because no other can be paid."""
        if not episodes:
            raise BudgetExhaustedError(
                f"the first episode costs more than the {self._run.recipe.credits} credits of the "
                "recipe. Nothing is kept or charged. Ask for more --credits, in another folder."
            )
        self._growth.finish_all()
        self._run.folder.reached = episodes


class Alone:
    """Makes episodes in this process, which pays for them.

    Args:
        run: the run.
        worker: number of this process among those that make its episodes.
        to_come: number of episodes that are still to be made here, at most.
    """

    def __init__(self, run: "Run", worker: int = 0, to_come: int | None = None) -> None:
        self._run, self._makers = run, run.source.makers
        self._buffers = [EpisodeBuffer(maker.schema, maker.max_rows) for maker in self._makers]
        self._left = self._rest()
        self.lease = self._leased(worker)
        if to_come is not None:
            self.lease.to_come = to_come

    def begin(self, commit: Callable[[], None], act: Callable[[], None] | None = None) -> None:
        """Pay from the lease, whose posts are of episodes that are kept."""
        self.lease.before = commit
        for maker in self._makers:
            maker.pay_from(self.lease, self._run.schedule)

    def make(self, part: int, index: int) -> tuple[Record, Episode] | None:
        """Return an episode, in memory that is used again; see `Making`."""
        run, maker, buffer = self._run, self._makers[part], self._buffers[part]
        check_allowance(run, index)
        try:
            record = maker.make(run.id, index, buffer, self._left)
        except BudgetSpentError:
            return None
        episode = buffer.episode(record.steps, record.plain)
        cost = sum(run.usage(record).charges().values())
        run.allowance = None if run.allowance is None else run.allowance - cost
        self._left = None if self._left is None else self._left - cost
        maker.on_kept()
        return record, episode

    def charge(self, records: Sequence[Record]) -> None:
        """Charge episodes that are kept."""
        for record in records:
            posted = self.lease.post(self._run.usage(record))
            self._run.bill.already += sum(receipt.exists for receipt in posted)

    def close(self) -> None:
        """Post what is charged and not posted; release what is held for other episodes."""
        receipts = self.lease.flush(close=True)
        self._run.bill.already += sum(receipt.exists for receipt in receipts)

    def _leased(self, worker: int) -> Lease:
        run = self._run
        booking = run.folder.booking()
        assert booking is not None, "written when the run began"
        return Lease(
            run.ledger,
            run.recipe.account,
            booking.lease + worker.to_bytes(8, "big"),
            run.id,
            episodes=CHUNK if run.recipe.admission == "greedy" else 1,
            batch=BATCH,
        )

    def _rest(self) -> int | None:
        """Return what is left of the recipe's credits [microcredits]; None if nothing limits.

        Nothing does where only shards are made that can surely be paid.
        """
        run = self._run
        if run.limit is None or run.most_shards is not None:
            return None
        return run.limit - bill.total(run.folder.kept().usages)[1]


def check_allowance(run: "Run", index: int) -> None:
    """Refuse an episode that the budget may not pay (BudgetExhaustedError)."""
    if run.allowance is None:
        return
    most = run.schedule.cost(run.longest)
    if most > run.allowance:
        raise BudgetExhaustedError(
            f"episode {index} may cost {prices.credits(most)} credits but the budget has "
            f"{prices.credits(max(0, run.allowance))} left. Give a larger --budget."
        )
