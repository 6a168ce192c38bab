"""A finished run lived again for other pictures: only these are charged."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox import prices
from sandbox.errors import BudgetExhaustedError, FormatError
from sandbox.ledger import Lease
from sandbox.prices import PriceSchedule
from sandbox.run import folder as runs
from sandbox.run.bill import Quote, drawn, fault, is_view
from sandbox.run.recipe import Recipe
from sandbox.sources import rollout
from sandbox.sources.plan import prefix
from sandbox.sources.replay import Replay, first_difference
from sandbox.trajectory import Episode, EpisodeBuffer, ShardReader, shards
from sandbox.world import engine


class Rendering:
    """The episodes of a finished run, simulated again with other pictures.

    Each is compared bit for bit with what was recorded before it is kept. What the rest of it cost
    was paid with that run; what is due now are its pictures.

    Args:
        recipe: of the new run, from `recipe.with_pictures`.
        folder: of the old one.
        trust_code: see `catalogue.environment`.

    Raises:
        FormatError: the old run is damaged or not finished.
    """

    def __init__(self, recipe: Recipe, folder: Path, trust_code: bool = False) -> None:
        known = runs.read_run(folder)
        if not (folder / "manifest.json").exists():
            raise FormatError(f"{folder}: this run is not finished; `sandbox generate` it first.")
        self.scenario = runs.scenario_of(folder)
        self.parent: str | None = known["run"]
        self.plan: Mapping[str, Any] | None = known["plan"]
        self._shards, self._size = shards(folder), recipe.shard_episodes
        self._made_from = recipe, folder, trust_code
        self._replay = Replay(recipe, self.scenario, trust_code)
        self.env = self._replay.env
        self._schema = rollout.schema(self.env)
        self._lease: Lease | None = None
        self._held = False
        self._reader: ShardReader | None = None

    def __reduce__(self) -> tuple[type["Rendering"], tuple[Recipe, Path, bool]]:
        return Rendering, self._made_from

    def quote(self, done: int) -> Quote:
        """Return exactly what the pictures of the episodes after the first `done` cost."""
        lengths = [n for path in self._shards for n in ShardReader(path).lengths.tolist()]
        quantities = drawn(self._schema, sum(lengths[done:]))
        whole = {unit: quantities.get(unit, 0) for unit in prices.UNITS}
        longest = drawn(self._schema, max(lengths))
        cost = self.env.meter.schedule.cost(quantities)
        return Quote(whole, cost, exact=True, episode=longest)

    def pay_from(self, lease: Lease, schedule: PriceSchedule) -> None:
        """Pay for the pictures to come from a lease."""
        self._lease, self._schedule = lease, schedule

    def live(self, run: str, index: int, buffer: EpisodeBuffer) -> tuple[int, dict[str, Any]]:
        """Simulate an episode again, compare, and return its number of steps and its new record.

        Raises:
            FormatError: it is damaged, or the replay differs. It is not charged.
            BudgetExhaustedError: its pictures cannot be paid. Nothing was done.
        """
        episode = self._recorded(index)
        wrong = fault(episode)
        if wrong:
            raise FormatError(f"episode {index}: {wrong}")
        self._hold(index)
        steps, success, wrong = self._replay.live(episode, buffer)
        if not wrong:
            wrong = self._difference(episode, buffer, steps)
        if wrong or success != episode.record.get("success"):
            raise FormatError(f"episode {index}: {wrong or 'its success is not what was said.'}")
        return steps, self._record(episode, run, buffer)

    def kept(self) -> None:
        """Know that the run posts the episode just lived."""
        self._held = False

    def close(self) -> None:
        """Give everything back; nothing that was not kept is charged."""
        if self._held and self._lease is not None:
            self._lease.void(b"")
        self._replay.close()

    def _hold(self, index: int) -> None:
        """Hold what the pictures of the longest episode cost."""
        assert self._lease is not None, "pay_from comes first"
        charges = self._schedule.charges(drawn(self._schema, self.env.max_steps + 1))
        if self._lease.reserve(b"", charges, {}, 0, self._schedule.version) < 0:
            raise BudgetExhaustedError(
                f"the pictures of episode {index} cost up to "
                f"{prices.credits(sum(charges.values()))} credits but the account "
                f"{self._lease.account!r} has not as much. Nothing was done. Grant credits with "
                f"`sandbox ledger grant {self._lease.account} CREDITS`."
            )
        self._held = True

    def _recorded(self, index: int) -> Episode:
        """Return an episode of the old run."""
        path = self._shards[index // self._size]
        if self._reader is None or self._reader.path != path:
            self._reader = ShardReader(path)
        episode = self._reader.read(index % self._size)
        if episode.record.get("episode") != index:
            raise FormatError(f"{path}: another episode stands where {index} should be.")
        return episode

    def _difference(self, episode: Episode, buffer: EpisodeBuffer, steps: int) -> str:
        """Return where an episode differs from its replay but in pictures and price, or ""."""
        views = {column.name for column in self._schema.columns if is_view(column)}
        names = set(buffer.arrays) - views - {"charge"}
        missing = sorted(names - set(episode.rows))
        if missing:
            return f"it has no column {missing[0]!r}."
        again = buffer.episode(steps, {"charge_micro": self.env.meter.spent})
        return first_difference({name: episode.rows[name] for name in sorted(names)}, again.rows)

    def _record(self, episode: Episode, run: str, buffer: EpisodeBuffer) -> dict[str, Any]:
        """Return what would be known of an episode had it been drawn at once."""
        env, known = self.env, {**episode.record}
        known.pop("digest", None)
        if "branch" in known:
            known["branch"] = known["branch"] | {"prefix_micro": prefix(known["branch"], buffer)}
        return known | {
            "run": run,
            "engine": engine(),
            "renderer": env.pictures.drawn_by,
            "views": list(env.pictures.cameras),
            "cameras": env.pictures.described(),
            "price_version": env.meter.schedule.version,
            "charges": dict(env.meter.quantities),
            "charge_micro": env.meter.spent,
        }
