"""A recipe carried out: quote, episodes, shards, charges, manifest; continued where it stopped."""

import signal
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol, cast

from filelock import FileLock, Timeout

from sandbox import digest, prices, rollout, runs
from sandbox.env import SandboxEnv
from sandbox.errors import BudgetExhaustedError, FormatError, RunConflictError, SandboxError
from sandbox.ledger import Ledger, charge_id
from sandbox.meter import Receipt
from sandbox.policies import POLICIES
from sandbox.recipe import EpisodeChance, Recipe
from sandbox.scenario import Scenario
from sandbox.trajectory import (
    EpisodeBuffer,
    ShardReader,
    ShardWriter,
    shards,
)
from sandbox.world import engine


@dataclass(frozen=True)
class Quote:
    """What a run will cost: exact where the length of an episode is fixed, else an upper bound.

    Attributes:
        quantities: work per meter unit.
        amount: microcredits.
        exact: whether the bill will be the same to the microcredit.
    """

    quantities: dict[str, int]
    amount: int
    exact: bool


class Due(NamedTuple):
    """What a run posts for one episode.

    Attributes:
        transfer: the id of the post.
        quantities: work per meter unit.
        amount: microcredits.
        version: of the price schedule.
    """

    transfer: bytes
    quantities: Mapping[str, int]
    amount: int
    version: str


@dataclass
class Bill:
    """What a run cost so far.

    Attributes:
        quantities: work per meter unit of the episodes kept.
        amount: microcredits.
        episodes: how many are kept, and
        already: how many of them were on the book before.
    """

    quantities: dict[str, int] = field(default_factory=lambda: dict.fromkeys(prices.UNITS, 0))
    amount: int = 0
    episodes: int = 0
    already: int = 0

    def add(self, quantities: Mapping[str, int], amount: int, already: bool = False) -> None:
        """Add an episode's charges."""
        for unit, quantity in quantities.items():
            self.quantities[unit] += quantity
        self.amount += amount
        self.episodes += 1
        self.already += already


class Source(Protocol):
    """Where a run's episodes come from.

    Attributes:
        env: whose columns they have.
        scenario: what its factors do.
        parent: the run that is rendered again, or None.
    """

    env: SandboxEnv
    scenario: Scenario
    parent: str | None

    def quote(self, done: int) -> "Quote":
        """Return what the episodes after the first `done` cost."""
        ...

    def live(self, run: str, index: int, buffer: EpisodeBuffer) -> tuple[int, dict[str, Any]]:
        """Live an episode into a buffer; return its number of steps and its record."""
        ...

    def due(self, run: str, record: Mapping[str, Any]) -> Due:
        """Return what is to be posted for an episode that is kept."""
        ...

    def settle(self, due: Due, evidence: str) -> Receipt | None:
        """Post what is due for the episode just lived."""
        ...

    def close(self) -> None:
        """Give everything back; nothing that was not kept is charged."""
        ...


class Generation:
    """Episodes that nobody has lived before."""

    parent: str | None = None

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self.env = rollout.make(recipe, recipe.account)
        self.scenario = self.env.scenario

    def quote(self, done: int) -> "Quote":
        """Return what the episodes after the first `done` cost at most."""
        return quote(self._recipe, self._recipe.episodes - done)

    def live(self, run: str, index: int, buffer: EpisodeBuffer) -> tuple[int, dict[str, Any]]:
        """Simulate an episode, paying for it on the way."""
        chance, env = EpisodeChance(self._recipe, index), self.env
        env.next_charge = charge_id(run, index)
        policy = POLICIES[chance.policy]
        steps, success = rollout.rollout(
            env, lambda e: policy(e, chance.policy_rng), buffer, seed=chance.seed
        )
        rollout.finish(env, buffer, steps, index)
        facts = rollout.record(env, self._recipe, run, index, chance, steps)
        facts["success"] = success
        facts["return"] = float(buffer.arrays["reward"][: steps + 1].sum())
        return steps, facts

    def due(self, run: str, record: Mapping[str, Any]) -> Due:
        """Return all that an episode cost."""
        return Due(
            charge_id(run, record["episode"]),
            record["charges"],
            record["charge_micro"],
            record["price_version"],
        )

    def settle(self, due: Due, evidence: str) -> Receipt | None:
        """Post it, and give back what else was held for it."""
        return self.env.meter.settle(evidence)

    def close(self) -> None:
        """Give the environment's clients back."""
        self.env.meter.void()
        self.env.close()


Progress = Callable[[Mapping[str, Any], Bill], None]


def quote(recipe: Recipe, episodes: int | None = None) -> Quote:
    """Return what `episodes` of a recipe cost, all of them by default."""
    env = rollout.make(recipe, account=None)
    try:
        count = recipe.episodes if episodes is None else episodes
        per_episode = env.longest()
        quantities = {unit: count * quantity for unit, quantity in per_episode.items()}
        return Quote(quantities, prices.current().cost(quantities), env.fixed_length)
    finally:
        env.close()


class Run:
    """A run folder: one recipe, one writer at a time.

    Args:
        recipe: what to generate.
        folder: where; made if it is not there.
        ledger: who is charged in.
        source: where the episodes come from; they are generated if None.

    Raises:
        RunConflictError: the folder holds something else, or another process is writing it.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        ledger: Ledger | None = None,
        source: Source | None = None,
    ) -> None:
        self.recipe, self.folder = recipe, folder
        self.ledger = ledger or Ledger()
        self.source: Source = source or Generation(recipe)
        self.env = self.source.env
        self.schema = rollout.schema(self.env)
        drawn_by = self.env.pictures.drawn_by
        drawing = None if drawn_by is None else drawn_by["class"]
        self.id = recipe.run_id(engine()["class"], drawing, self.source.scenario.digest)
        self.bill, self._whole = Bill(), Bill()

    def done(self) -> int:
        """Return how many episodes are kept in the folder; 0 if it is not there."""
        if not (self.folder / "run.json").exists():
            return 0
        self._check_folder()
        return sum(len(ShardReader(path)) for path in shards(self.folder, missing_ok=True))

    def quote(self) -> Quote:
        """Return what the episodes that are missing cost."""
        return self.source.quote(self.done())

    def check_funds(self, quoted: Quote) -> None:
        """Refuse a run that the budget or the account cannot pay in full.

        Raises:
            BudgetExhaustedError: nothing was done.
        """
        work = f"{self.recipe.episodes - self.done()} episodes ({_work(quoted.quantities)}) cost "
        work += f"{'' if quoted.exact else 'up to '}{prices.credits(quoted.amount)} credits"
        budget = None if self.recipe.budget is None else prices.micro(self.recipe.budget)
        if budget is not None and quoted.amount + self.bill.amount > budget:
            raise BudgetExhaustedError(
                f"{work} but the budget is {prices.credits(budget)}. Nothing was done. Give a "
                "larger --budget, or ask for fewer --episodes."
            )
        available = self.ledger.balance(self.recipe.account).available_micro
        if available is not None and quoted.amount > available:
            short = prices.credits(quoted.amount - available)
            raise BudgetExhaustedError(
                f"{work} but the account {self.recipe.account!r} has {prices.credits(available)}. "
                "Nothing was done. Grant credits with `sandbox ledger grant "
                f"{self.recipe.account} {short}`, or ask for fewer --episodes."
            )

    def generate(self, progress: Progress = lambda record, bill: None) -> Bill:
        """Generate the episodes that are missing, keeping each as it ends.

        A kill loses the episode under way and nothing else; the finished run's bytes are those of
        one that was never interrupted.
        """
        with self._locked():
            self._begin()
            shard, size = 0, self.recipe.shard_episodes
            buffer = EpisodeBuffer(self.schema, self.env.max_steps + 1)
            while shard * size < self.recipe.episodes:
                first, last = shard * size, min((shard + 1) * size, self.recipe.episodes)
                self._shard(shard, range(first, last), buffer, progress)
                shard += 1
            runs.write_json(self.folder / "manifest.json", self._manifest())
        return self.bill

    def close(self) -> None:
        """Give the environment's clients back; nothing that was not kept is charged."""
        self.source.close()

    def _shard(
        self, number: int, episodes: range, buffer: EpisodeBuffer, progress: Progress
    ) -> None:
        path = self.folder / "shards" / f"shard-{number:05d}.h5"
        if path.exists():
            with ShardReader(path) as reader:
                kept = list(reader.records)
            if len(kept) != len(episodes):
                raise FormatError(
                    f"{path}: holds {len(kept)} episodes where the recipe says {len(episodes)}; "
                    "generate into another folder."
                )
            for known in kept:
                self._post(known, progress)
            return
        header = {"run": self.id, "shard": number, "environment": self.env.name()}
        with ShardWriter.resume(path, self.schema, header, self.recipe.compression) as writer:
            for known in writer.records:
                self._post(known, progress)
            for index in episodes[len(writer.records) :]:
                self._episode(index, buffer, writer, progress)

    def _episode(
        self, index: int, buffer: EpisodeBuffer, writer: ShardWriter, progress: Progress
    ) -> None:
        """Live an episode, keep it, then charge it: never the other way round."""
        steps, facts = self.source.live(self.id, index, buffer)
        with _uninterrupted():
            kept = writer.append(buffer.episode(steps, facts))
            due = self.source.due(self.id, kept)
            receipt = self.source.settle(due, digest.sha256(kept))
        self._count(kept, due, receipt is not None and receipt.exists, progress)

    def _post(self, kept: Mapping[str, Any], progress: Progress) -> None:
        """Charge an episode that is kept, unless it is on the book already."""
        due = self.source.due(self.id, kept)
        receipt = self.ledger.settle(
            self.recipe.account,
            due.transfer,
            due.amount,
            digest.sha256(kept),
            due.quantities,
            due.version,
        )
        self._count(kept, due, receipt.exists, progress)

    def _count(self, kept: Mapping[str, Any], due: Due, already: bool, progress: Progress) -> None:
        self.bill.add(due.quantities, due.amount, already)
        self._whole.add(kept["charges"], kept["charge_micro"])
        progress(kept, self.bill)

    def _begin(self) -> None:
        if (self.folder / "run.json").exists():
            self._check_folder()
            return
        if any(path.name != ".lock" for path in self.folder.iterdir()):
            raise RunConflictError(
                f"{self.folder}: this folder holds something that is no run; nothing was done. "
                "Give another --out."
            )
        (self.folder / "shards").mkdir()
        runs.write_json(self.folder / "run.json", self._identity())

    def _identity(self) -> dict[str, Any]:
        return {
            "format": runs.FORMAT,
            "run": self.id,
            "recipe": self.recipe.dataset(),
            "scenario": self.source.scenario.model_dump(),
            "engine": engine(),
            "renderer": self.env.pictures.drawn_by,
            "parent": self.source.parent,
        }

    def _check_folder(self) -> None:
        """Refuse a folder of another format, recipe or engine."""
        known = runs.read_run(self.folder)
        for part, ours in self._identity().items():
            if part != "run" and known.get(part) != ours:
                difference = _difference(known.get(part), ours)
                raise RunConflictError(
                    f"{self.folder}: made with another {part}: {difference}. Nothing was done. "
                    "Give another --out, or what it was made with."
                )

    @contextmanager
    def _locked(self) -> Generator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock", timeout=0):
                yield
        except Timeout:
            raise RunConflictError(
                f"{self.folder}: another process is generating here; nothing was done. Wait for "
                "it, or give another --out."
            ) from None
        except OSError as error:
            raise SandboxError(
                f"{self.folder}: cannot be written: {error.strerror or error}. Nothing was charged "
                "for what is not kept; make room, or give another --out."
            ) from error

    def _manifest(self) -> dict[str, Any]:
        files = {path.name: path for path in shards(self.folder)}
        return {
            "format": runs.FORMAT,
            "run": self.id,
            "parent": self.source.parent,
            "episodes": self._whole.episodes,
            "shards": {name: runs.file_digest(path) for name, path in sorted(files.items())},
            "quantities": self._whole.quantities,
            "charge_micro": self._whole.amount,
            "posted_quantities": self.bill.quantities,
            "posted_micro": self.bill.amount,
            "price_version": prices.current().version,
        }


@contextmanager
def _uninterrupted() -> Generator[None]:
    """Let Ctrl-C wait, so that an episode is both kept and charged, or neither."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            handler(*came[0])


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
