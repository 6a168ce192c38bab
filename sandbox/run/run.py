"""Write a run: episodes from a source into shards, charged, logged, continued where it stopped."""

import secrets
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path

from sandbox import durable, files, jsonfile, prices
from sandbox.durable import sync_folder
from sandbox.errors import BudgetExhaustedError, RunConflictError
from sandbox.evidence import log
from sandbox.evidence.note import SigningKey
from sandbox.ledger import Ledger, Usage
from sandbox.prices import PriceSchedule
from sandbox.run import bill, identity, stages
from sandbox.run.bill import Bill, Quote
from sandbox.run.filling import Alone, Filling, Progress
from sandbox.run.folder import BOOKING, MANIFEST, RUN, Folder
from sandbox.run.identity import Identity
from sandbox.run.locks import check_ledger, lock, lock_lease
from sandbox.run.recipe import Recipe
from sandbox.run.record import Record
from sandbox.run.settle import settle
from sandbox.run.source import Source
from sandbox.run.stages import Stages
from sandbox.trajectory.shard import PART

_MOST_ATTACHED = 16 << 30  # Bytes of a file.
ROUND = 1000  # Shards that are shared at once, at most, where credits decide how many there are.


class Run:
    """A run folder that is being written: one source, one writer at a time.

    Args:
        source: where the episodes come from.
        path: the folder; made if it does not exist.
        ledger: where the run is charged; None is this machine's ledger.
        key: signs the run's log; None leaves it unsigned.
        schedule: the prices; None is what the run began under, or for a new one the current.
        grow_to: number of episodes to which a finished run is extended; None makes the recipe's.
        attached: files by the names under which a new run's folder has copies of them.

    Attributes:
        source, path, ledger, key: as given.
        recipe: what is generated.
        identity: which work this run is.
        schedule: the prices that the run began under.
        bill: what the run has cost so far.
        folder: reads what the run keeps.
    """

    def __init__(
        self,
        source: Source,
        path: str | Path,
        ledger: Ledger | None = None,
        key: SigningKey | None = None,
        schedule: PriceSchedule | None = None,
        grow_to: int | None = None,
        attached: Mapping[str, Path] | None = None,
    ) -> None:
        self._attached = dict(attached or {})
        self.source, self.path, self.key = source, files.place(path), key
        self.ledger = ledger or Ledger()
        self.recipe = source.origin.recipe
        self.folder = Folder(self.path)
        version = self.folder.identity.price_version if self.folder.exists else None
        if schedule is None:
            schedule = prices.current() if version is None else prices.load(version)
        self.schedule = schedule
        self.identity = Identity.of(source.origin, self.schedule)
        self.bill = Bill(schedule.no_work(), price_version=schedule.version)
        self._grow_to = grow_to
        self.allowance: int | None = None  # Of the budget, what may be spent here [microcredits].
        self.most_shards: int | None = None  # To be made here; None sets no limit.

    @property
    def id(self) -> str:
        """The id of the run."""
        return self.identity.run

    @property
    def stages(self) -> Stages:
        """How many episodes the run will have, stage by stage, and in which shards."""
        begun = self.folder.exists and self.limit is None
        ends = self.folder.stages.ends if begun else (self.recipe.episodes,)
        grown = () if self._grow_to in (None, ends[-1]) else (self._grow_to,)
        return Stages.of(self.recipe, (*ends, *grown))

    @property
    def wanted(self) -> Recipe:
        """The recipe, with the number of episodes that the run will have."""
        if self.limit is not None:
            return self.recipe
        return self.recipe.model_copy(update={"episodes": self.stages.episodes, "credits": None})

    @property
    def limit(self) -> int | None:
        """What the episodes of a run without a number of them may cost [microcredits].

        None if their number is known: the recipe says it, or the run has come to its end.
        """
        credits = self.recipe.credits if self._grow_to is None else None
        if credits is None or (self.folder.exists and not self.folder.open_ended):
            return None
        return prices.micro(credits)

    def done(self) -> int:
        """Return how many episodes the folder keeps; 0 if it does not exist."""
        if not self.folder.exists:
            return 0
        self._check_folder()
        return self.folder.count()

    def quote(self) -> Quote:
        """Return what the missing episodes cost."""
        return self.source.quote(self.done(), self.schedule)

    def generate(
        self,
        progress: Progress = lambda record, bill: None,
        share: "Share | None" = None,
    ) -> Bill:
        """Make the missing episodes; keep and charge each when it has ended.

        A kill loses the episodes under way and those not committed yet, HOLD_BYTES of each worker,
        none of which is charged. Ctrl-C waits for the episodes under way, a second one does not.
        The finished run has the bytes of one that was never interrupted.

        A greedy run whose credit or budget is spent ends with the episodes that it has, finished
        and shorter, and goes on when it is generated again.

        Args:
            progress: called for each episode that is kept.
            share: makes the missing episodes with other processes; None makes them in this one. The
                bytes are the same.

        Raises:
            BudgetExhaustedError: the credit is spent; of a greedy run, before its first episode.
        """
        with lock(self.path, make=True, leased=True):
            self.begin()
            with lock_lease(self.folder, self.ledger):
                if self.folder.ended and not self.begins_stage:  # It goes on.
                    (self.path / MANIFEST).unlink()
                others = [] if self.begins_stage else self._finished()
                self._recount(self._settle("", others))
                if self.begins_stage:
                    self._begin_stage()
                ended = ""
                try:
                    self._make(progress, share)
                except BudgetExhaustedError as error:
                    if self.recipe.admission != "greedy" or not self.bill.episodes:
                        raise
                    said = str(error).replace(" Nothing was done.", "")
                    ended, self.bill.ended = self._why(), said
                finally:
                    self._settle(ended, others)
        return self.bill

    def _make(self, progress: Progress, share: "Share | None") -> None:
        """Make the missing episodes, here or in other processes.

        Where credits decide how many there are, other processes make the shards that surely can be
        paid whole, and this one the rest, episode by episode.
        """
        if share is not None and self.limit is None:
            share(self, progress)
            return
        while share is not None and (sure := self._sure_shards()) > (self.most_shards or 0):
            self.most_shards = sure
            share(self, progress)
        self.most_shards = None
        Filling(self, None, Alone(self), progress).fill()

    def _sure_shards(self) -> int:
        """Return how many shards the credits surely pay whole, those that are made included."""
        assert self.limit is not None, "credits decide how many there are"
        kept = self.folder.kept()
        whole = len(kept.records)  # Up to the first that is missing.
        rest = self.limit - bill.total(kept.usages[:whole])[1]
        sure = min(whole + rest // max(1, self.schedule.cost(self.longest)), self.recipe.episodes)
        known, first = self.stages, self.most_shards or 0
        numbers = range(first, first + ROUND)
        return next((n for n in numbers if (known.last(n) or sure) >= sure), first + ROUND)

    def count(self, record: Record, progress: Progress) -> None:
        """Add an episode that is kept to the bill."""
        self.bill.add(self.usage(record))
        progress(record, self.bill)

    def close(self) -> None:
        """Release the simulator and the files; an episode that was not kept is not charged."""
        self.source.close()
        self.folder.close()
        self.ledger.close()  # Its file has all transfers then; who goes on opens it again.

    def shard_path(self, number: int) -> Path:
        """Return the path of a shard, once it is finished."""
        return self.path / "shards" / f"shard-{number:05d}.h5"

    def usage(self, record: Record) -> Usage:
        """Return what is posted for an episode."""
        schema = self.source.makers[0].schema  # Only a run without parts renders another.
        return bill.usage(self.id, self.identity.parent, record, schema)

    def _finished(self) -> list[Path]:
        """Return the paths of the finished shards."""
        return [path for path in self.folder.paths(missing_ok=True) if path.suffix != PART]

    def _settle(self, ended: str, others: Collection[Path]) -> int:
        """Post, log and sign what is kept; return how many episodes were posted now.

        Args:
            ended: as `settle` has it.
            others: the shards that this process found.
        """
        return settle(self.folder, self.ledger, self.key, ended, others).posted

    def _budget(self) -> int | None:
        """Return the most that the run may cost [microcredits]; None means no limit."""
        return None if self.recipe.budget is None else prices.micro(self.recipe.budget)

    @cached_property
    def longest(self) -> dict[str, int]:
        """The work of an episode, at most."""
        return self.source.quote(0, self.schedule).episode

    def _why(self) -> str:
        """Return whether it is the credit or the budget that does not pay another episode."""
        charges = self.schedule.charges(self.longest)
        return "credit" if self.ledger.shortfall(self.recipe.account, charges) else "budget"

    def _recount(self, posted: int) -> None:
        """Count what is kept already; `posted` of it was charged just now."""
        usages = self.folder.kept().usages
        self.bill = Bill(self.schedule.no_work(), price_version=self.schedule.version)
        for usage in usages:
            self.bill.add(usage)
        self.bill.already = len(usages) - posted
        budget = self._budget()
        self.allowance = None if budget is None else budget - self.bill.amount

    def begin(self) -> None:
        """Write what says which run this is and where it is charged, or check it.

        Any number of ranks may do so at once: the first decides where the run is charged.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        own = {RUN, *self._attached}
        strange = any(one.name[0] != "." and one.name not in own for one in self.path.iterdir())
        if not self.folder.exists:
            if strange:
                raise RunConflictError(
                    f"{self.path}: this folder holds something that is no run; nothing was done. "
                    "Give another --out."
                )
            for name, path in self._attached.items():
                durable.replace(self.path / name, files.read(path, _MOST_ATTACHED))
            jsonfile.create(self.path / RUN, self.identity.plain)
        self._check_folder()  # Another may have been first.
        if not check_ledger(self.folder, self.ledger):
            booking = {"ledger": self.ledger.id, "lease": secrets.token_hex(8)}
            jsonfile.create(self.path / BOOKING, booking)
            check_ledger(self.folder, self.ledger)
        files.refuse_links(self.path, self.path / "shards")
        (self.path / "shards").mkdir(exist_ok=True)

    def _check_folder(self) -> None:
        """Refuse a folder of another format, recipe or engine."""
        unlike = identity.difference(self.folder.identity, self.identity)
        if unlike:
            raise RunConflictError(
                f"{self.path}: made with {unlike}. Nothing was done. Give another --out, or what "
                "it was made with."
            )
        self._check_growth(self.folder.stages)

    def _check_growth(self, known: Stages) -> None:
        """Refuse to shorten a run, and to begin a stage before the one before has ended."""
        if self._grow_to is None and len(known.ends) == 1:
            return
        paths = self.folder.paths(missing_ok=True)
        whole = self.folder.count() == known.episodes and all(p.suffix != PART for p in paths)
        whole = whole and not self.folder.open_ended
        if self._grow_to is None and not whole:
            raise RunConflictError(
                f"{self.path}: this run is being extended to {known.episodes} episodes. Nothing "
                f"was done. Go on with `sandbox extend {self.path} --episodes {known.episodes}`."
            )
        if self._grow_to is None or self._grow_to == known.episodes:
            return
        if self._grow_to < known.episodes:
            raise RunConflictError(
                f"{self.path}: has {known.episodes} episodes, or is being extended to them, and "
                f"{self._grow_to} are fewer. Nothing was done. Give more --episodes."
            )
        if not whole:
            of = "" if self.folder.open_ended else f" of {known.episodes}"
            go_on = f"extend {self.path} --episodes {known.episodes}"
            raise RunConflictError(
                f"{self.path}: has {self.folder.count()}{of} episodes. Nothing was "
                f"done. Finish it first with `sandbox "
                f"{go_on if len(known.ends) > 1 else 'generate'}`."
            )

    @property
    def begins_stage(self) -> bool:
        """Whether the run is to be extended, and is not yet."""
        known = self.folder.stages.episodes if self.folder.exists else self._grow_to
        return self._grow_to is not None and self._grow_to != known

    def _begin_stage(self) -> None:
        """Note to how many episodes the run grows; keep what closed the stage that has ended.

        A kill between the two writes leaves the run as it was, without its manifest, which settling
        writes again.
        """
        assert self._grow_to is not None, "it begins a stage"
        known, path = self.folder.extended(), self.path / MANIFEST
        before = [one.model_dump() for one in known.before] if known else []
        manifest, text = jsonfile.read(path).data, log.checkpoint_text(self.path)
        before.append({"manifest": manifest, "checkpoint": text})
        path.unlink()
        sync_folder(self.path)
        stages.write(self.path, self.id, self._grow_to, before)


Share = Callable[[Run, Progress], None]  # Makes a run's episodes with other processes.
