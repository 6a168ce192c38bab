"""A recipe carried out: quote, episodes, shards, charges, log; continued where it stopped."""

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from sandbox import catalogue, prices
from sandbox.env import SandboxEnv
from sandbox.env.policies import find
from sandbox.errors import BudgetExhaustedError, FormatError, RunConflictError
from sandbox.evidence.note import SigningKey
from sandbox.ledger import Lease, Ledger, Usage
from sandbox.meter import Meter
from sandbox.prices import PriceSchedule
from sandbox.run import bill
from sandbox.run import folder as runs
from sandbox.run import settle as settlement
from sandbox.run.bill import Bill, Quote
from sandbox.run.interrupts import Uninterrupted
from sandbox.run.recipe import EpisodeChance, Recipe
from sandbox.run.settle import lock, lock_lease
from sandbox.scenario import Scenario
from sandbox.sources import rollout
from sandbox.trajectory import EpisodeBuffer, ShardReader, ShardWriter, shards
from sandbox.trajectory.shard import part_path
from sandbox.world import engine

CHUNK = 64  # Episodes that a greedy lease reserves for at once.
BATCH = 128  # Episodes posted in one transaction.
HOLD_BYTES = 1 << 20  # Of rows committed together: some 2,000 of state, 80 with a 64x64 picture.


class Source(Protocol):
    """Where a run's episodes come from.

    Attributes:
        env: whose columns they have.
        scenario: what its factors do.
        parent: the run that is rendered again, or None.
        plan: what the episodes branch off, in plain JSON, or None.
    """

    env: SandboxEnv
    scenario: Scenario
    parent: str | None
    plan: Mapping[str, Any] | None

    def quote(self, done: int) -> Quote:
        """Return what the episodes after the first `done` cost."""
        ...

    def pay_from(self, lease: Lease, schedule: PriceSchedule) -> None:
        """Pay for the episodes to come from a lease."""
        ...

    def live(self, run: str, index: int, buffer: EpisodeBuffer) -> tuple[int, dict[str, Any]]:
        """Live an episode into a buffer; return its number of steps and its record."""
        ...

    def kept(self) -> None:
        """Know that the episode just lived will be kept and posted."""
        ...

    def close(self) -> None:
        """Give everything back; nothing that was not kept is charged."""
        ...


class Generation:
    """Episodes that nobody has lived before."""

    parent: str | None = None
    plan: Mapping[str, Any] | None = None

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        for name in recipe.policies:
            find(name)
        self.env = rollout.make(recipe, Meter(prices.current()), trust_code=True)
        self.scenario = self.env.scenario

    def __reduce__(self) -> tuple[Any, ...]:
        return Generation, (self.recipe,)

    def quote(self, done: int) -> Quote:
        """Return what the episodes after the first `done` cost at most."""
        return _quote(self.env, self.recipe.episodes - done)

    def pay_from(self, lease: Lease, schedule: PriceSchedule) -> None:
        """Pay for the episodes to come from a lease."""
        self.env.meter = Meter(schedule, lease)

    def live(self, run: str, index: int, buffer: EpisodeBuffer) -> tuple[int, dict[str, Any]]:
        """Simulate an episode, paying for it on the way."""
        chance, env = EpisodeChance(self.recipe, index), self.env
        policy = find(chance.policy)
        steps, success = rollout.rollout(
            env, lambda e: policy(e, chance.policy_rng), buffer, seed=chance.seed
        )
        rollout.finish(env, buffer, steps, index)
        facts = rollout.record(env, self.recipe, run, index, chance, steps)
        return steps, facts | rollout.outcome(buffer, steps, success)

    def kept(self) -> None:
        """End the episode in the meter; the run posts it."""
        self.env.meter.settle("")

    def close(self) -> None:
        """Give the environment's clients back."""
        self.env.meter.void()
        self.env.close()


Progress = Callable[[Mapping[str, Any], Bill], None]


def quote(recipe: Recipe, episodes: int | None = None) -> Quote:
    """Return what `episodes` of a recipe cost, all of them by default."""
    env = rollout.make(recipe, Meter(prices.current()), trust_code=True)
    try:
        return _quote(env, recipe.episodes if episodes is None else episodes)
    finally:
        env.close()


def _quote(env: SandboxEnv, count: int) -> Quote:
    longest = env.longest()
    quantities = {unit: count * quantity for unit, quantity in longest.items()}
    amount = env.meter.schedule.cost(quantities)
    return Quote(quantities, amount, env.fixed_length, longest)


class Run:
    """A run folder: one recipe, one writer at a time.

    Args:
        recipe: what to generate.
        folder: where; made if it is not there.
        ledger: who is charged in.
        source: where the episodes come from; they are generated if None.
        key: who signs the run's log; None leaves it unsigned.

    Raises:
        RunConflictError: the folder holds something else, or another process is writing it.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        ledger: Ledger | None = None,
        source: Source | None = None,
        key: SigningKey | None = None,
    ) -> None:
        self.recipe, self.folder, self.key = recipe, folder, key
        self.ledger = ledger or Ledger()
        self.source: Source = source or Generation(recipe)
        self.env = self.source.env
        self.schema = rollout.schema(self.env)
        self.schedule = _schedule(folder)
        drawn_by = self.env.pictures.drawn_by
        drawing = None if drawn_by is None else drawn_by["class"]
        scenario, version = self.source.scenario.digest, self.schedule.version
        plan, self.code = self.source.plan, catalogue.code(recipe.environment)
        self.id = recipe.run_id(engine()["class"], drawing, scenario, version, self.code, plan)
        self.bill = Bill()
        self._lease: Lease | None = None
        self._charged = 0  # Of the episodes in the shard under way.

    def done(self) -> int:
        """Return how many episodes are kept in the folder; 0 if it is not there."""
        if not (self.folder / "run.json").exists():
            return 0
        self._check_folder()
        paths = [path for path in shards(self.folder, missing_ok=True) if not runs.unborn(path)]
        return sum(len(ShardReader(path)) for path in paths)

    def quote(self) -> Quote:
        """Return what the episodes that are missing cost."""
        return self.source.quote(self.done())

    def check_funds(self, quoted: Quote) -> None:
        """Refuse a run that budget or account cannot pay: in full, or (greedy) one episode of it.

        Raises:
            BudgetExhaustedError: nothing was done.
            LedgerError, RunConflictError: see `recover`, which what is there may need first.
        """
        work = f"{self.recipe.episodes - self.done()} episodes ({_work(quoted.quantities)}) cost "
        work += f"{'' if quoted.exact else 'up to '}{prices.credits(quoted.amount)} credits"
        budget = None if self.recipe.budget is None else prices.micro(self.recipe.budget)
        if budget is not None and quoted.amount + self.bill.amount > budget:
            raise BudgetExhaustedError(
                f"{work} but the budget is {prices.credits(budget)}. Nothing was done. Give a "
                "larger --budget, or ask for fewer --episodes."
            )
        greedy = self.recipe.admission == "greedy"
        least = quoted.episode if greedy and quoted.amount else quoted.quantities
        account, charges = self.recipe.account, self.schedule.charges(least)
        short = self.ledger.shortfall(account, charges)
        if short and (self.folder / "run.json").exists():
            recover(self.folder, self.ledger, self.key)  # A killed process may hold the credit.
            short = self.ledger.shortfall(account, charges)
        if short:
            has = self.ledger.balance(account).available_micro or 0
            raise BudgetExhaustedError(
                f"{work} but the account {account!r} has {prices.credits(has)}. Nothing was done. "
                f"Grant credits with `sandbox ledger grant {account} {prices.credits(short)}`, or "
                "ask for fewer --episodes."
            )

    def generate(self, progress: Progress = lambda record, bill: None, workers: int = 1) -> Bill:
        """Generate the episodes that are missing, keeping and charging each when it has ended.

        A kill loses the episodes under way and those not committed yet, HOLD_BYTES of each worker,
        none of which is charged; Ctrl-C waits for the episodes under way, a second one does not.
        The finished run's bytes are those of one that was never interrupted, whatever the number of
        workers.

        Args:
            progress: called for each episode that is kept.
            workers: processes to share the shards.
        """
        from sandbox.run import workers as crew

        with lock(self.folder, make=True):
            self._begin()
            with lock_lease(self.folder, self.ledger):
                self._recount(self._settle().posted)
                try:
                    if workers > 1:
                        crew.share(self, workers, progress)
                    else:
                        self.generate_some(0, 1, progress)
                finally:
                    self._settle()
        return self.bill

    def generate_some(self, worker: int, workers: int, progress: Progress) -> None:
        """Generate the missing episodes of every `workers`-th shard, beginning at `worker`'s."""
        self._lease = lease = self._leased(worker)
        self.source.pay_from(lease, self.schedule)
        size = self.recipe.shard_episodes
        lease.to_come = self._missing(worker, workers)
        buffer = EpisodeBuffer(self.schema, self.env.max_steps + 1)
        try:
            for shard in range(worker, -(-self.recipe.episodes // size), workers):
                first, last = shard * size, min((shard + 1) * size, self.recipe.episodes)
                self._shard(shard, range(first, last), buffer, progress)
        finally:
            self.bill.already += sum(receipt.exists for receipt in lease.flush(close=True))

    def _missing(self, worker: int, workers: int) -> int:
        """Return how many episodes the shards of one of several workers may still want."""
        size, every = self.recipe.shard_episodes, self.recipe.episodes
        missing = [
            s for s in range(worker, -(-every // size), workers) if not self._path(s).exists()
        ]
        return sum(min(size, every - s * size) for s in missing)

    def _path(self, shard: int) -> Path:
        return self.folder / "shards" / f"shard-{shard:05d}.h5"

    def close(self) -> None:
        """Give the environment's clients back; nothing that was not kept is charged."""
        self.source.close()

    def count(self, kept: Mapping[str, Any], progress: Progress) -> None:
        """Add an episode that is kept to the bill."""
        self._count(self._usage(kept))
        progress(kept, self.bill)

    def _usage(self, kept: Mapping[str, Any]) -> Usage:
        return bill.usage(self.id, self.source.parent, kept, self.schema)

    def _count(self, usage: Usage) -> None:
        self.bill.add(usage.quantities, sum(usage.charges().values()))

    def _settle(self) -> settlement.Settlement:
        """Post, log and sign what is kept; a run that has everything gets its manifest."""
        return settlement.settle(self.folder, self.ledger, self.key)

    def _recount(self, posted: int) -> None:
        """Count what is kept already."""
        found = settlement.kept(self.folder)
        self.bill = Bill()
        for usage in found.usages:
            self._count(usage)
        self.bill.already = len(found.usages) - posted

    def _leased(self, worker: int) -> Lease:
        chunk = CHUNK if self.recipe.admission == "greedy" else 1
        name = bytes.fromhex(runs.ledger_of(self.folder)["lease"]) + worker.to_bytes(8, "big")
        return Lease(self.ledger, self.recipe.account, name, self.id, chunk, BATCH)

    def _shard(
        self, number: int, episodes: range, buffer: EpisodeBuffer, progress: Progress
    ) -> None:
        assert self._lease is not None, "inside generate_some"
        path = self._path(number)
        if path.exists():
            with ShardReader(path) as reader:
                if len(reader) != len(episodes):
                    raise FormatError(
                        f"{path}: holds {len(reader)} episodes where the recipe says "
                        f"{len(episodes)}; generate into another folder."
                    )
            part_path(path).unlink(missing_ok=True)  # Of a process that ended in between.
            return
        header = {"run": self.id, "shard": number, "environment": self.recipe.environment}
        kind = self.recipe.compression
        with (
            Uninterrupted() as waiting,
            ShardWriter.resume(path, self.schema, header, kind, hold_bytes=HOLD_BYTES) as writer,
        ):
            self._charged = len(writer.records)
            self._lease.before = lambda: self._commit(writer, progress)
            try:
                for index in episodes[self._charged :]:
                    self._episode(index, buffer, writer, progress)
                    waiting.act()
            finally:
                self._commit(writer, progress)

    def _episode(
        self, index: int, buffer: EpisodeBuffer, writer: ShardWriter, progress: Progress
    ) -> None:
        """Live an episode, keep it, then charge it: never the other way round."""
        steps, facts = self.source.live(self.id, index, buffer)
        writer.append(buffer.episode(steps, facts))
        self.source.kept()
        if not writer.held:
            self._commit(writer, progress)

    def _commit(self, writer: ShardWriter, progress: Progress) -> None:
        """Keep the episodes that are held back; charge all that are kept and not charged yet."""
        assert self._lease is not None, "inside generate_some"
        writer.commit()
        fresh = writer.records[self._charged :]
        self._charged += len(fresh)
        usages = [self._usage(kept) for kept in fresh]
        for usage in usages:
            self.bill.already += sum(receipt.exists for receipt in self._lease.post(usage))
        for kept, usage in zip(fresh, usages, strict=True):
            self._count(usage)
            progress(kept, self.bill)

    def _begin(self) -> None:
        if (self.folder / "run.json").exists():
            self._check_folder()
            settlement.check_ledger(self.folder, self.ledger)
        elif any(not path.name.startswith(".") for path in self.folder.iterdir()):
            raise RunConflictError(
                f"{self.folder}: this folder holds something that is no run; nothing was done. "
                "Give another --out."
            )
        if not runs.ledger_of(self.folder):
            lease = {"ledger": self.ledger.id, "lease": secrets.token_hex(8)}
            runs.write_json(self.folder / runs.LEDGER, lease)
        if not (self.folder / "run.json").exists():
            runs.write_json(self.folder / "run.json", self._identity())
        (self.folder / "shards").mkdir(exist_ok=True)

    def _identity(self) -> dict[str, Any]:
        return {
            "format": runs.FORMAT,
            "run": self.id,
            "recipe": self.recipe.dataset(),
            "scenario": self.source.scenario.model_dump(),
            "engine": engine(),
            "renderer": self.env.pictures.drawn_by,
            "price_version": self.schedule.version,
            "prices": self.schedule.digest,
            "parent": self.source.parent,
            "plan": self.source.plan,
            "code": self.code,
        }

    def _check_folder(self) -> None:
        """Refuse a folder of another format, recipe or engine."""
        known = runs.read_run(self.folder)
        for part, ours in self._identity().items():
            if part != "run" and known.get(part) != ours:
                both = (known.get(part), ours)
                difference = "other branches" if part == "plan" else _difference(*both)
                raise RunConflictError(
                    f"{self.folder}: made with another {part}: {difference}. Nothing was done. "
                    "Give another --out, or what it was made with."
                )


def recover(folder: Path, ledger: Ledger, key: SigningKey | None = None) -> settlement.Settlement:
    """Finish or void what a crash left in a run folder; twice changes nothing.

    Raises:
        FormatError: no run, or damaged.
        LedgerError, RunConflictError: see `settlement.settle`, `lock`, `lock_lease`.
    """
    runs.read_run(folder)
    with lock(folder), lock_lease(folder, ledger):
        return settlement.settle(folder, ledger, key)


def _schedule(folder: Path) -> PriceSchedule:
    """Return the prices that a run began under; a new one begins under today's."""
    if not (folder / "run.json").exists():
        return prices.current()
    return prices.load(str(runs.read_run(folder).get("price_version")))


def _difference(theirs: object, ours: object) -> str:
    """Return how two JSON values differ, key by key where they have keys."""
    if not isinstance(theirs, dict) or not isinstance(ours, dict):
        return f"{theirs!r}, not {ours!r}"
    old, new = cast(dict[str, Any], theirs), cast(dict[str, Any], ours)
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return ", ".join(f"{key} was {old.get(key)!r} and is {new.get(key)!r}" for key in keys)


def _work(quantities: Mapping[str, int]) -> str:
    names = {"physics_step": "physics steps", "pixel": "pixels", "raw_byte": "raw bytes"}
    return ", ".join(f"{quantities[u]:,} {n}" for u, n in names.items() if quantities.get(u))
