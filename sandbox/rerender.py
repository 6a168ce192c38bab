"""A finished run lived again for other pictures: only these are charged."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox import prices, rollout, runs
from sandbox.collect import Due, Quote
from sandbox.errors import BudgetExhaustedError, FormatError
from sandbox.ledger import AccountFunds, Ledger, charge_id
from sandbox.meter import Receipt
from sandbox.recipe import Recipe
from sandbox.replay import Replay, bill, first_difference
from sandbox.scenario import Scenario
from sandbox.trajectory import Episode, EpisodeBuffer, ShardReader, shards
from sandbox.world import engine


class Rendering:
    """The episodes of a finished run, simulated again with other pictures.

    Each is compared bit for bit with what was recorded before it is kept. What the rest of it cost
    was paid with that run; what is due now are its pictures.

    Args:
        recipe: of the new run, from `recipe.with_pictures`.
        folder: of the old one.
        ledger: who is charged in.

    Raises:
        FormatError: the old run is damaged or not finished.
    """

    def __init__(self, recipe: Recipe, folder: Path, ledger: Ledger) -> None:
        known = runs.read_run(folder)
        if not (folder / "manifest.json").exists():
            raise FormatError(f"{folder}: this run is not finished; `sandbox generate` it first.")
        try:
            self.scenario = Scenario.model_validate(known["scenario"])
        except (KeyError, ValueError) as error:
            raise FormatError(f"{folder / 'run.json'}: its scenario: {error}.") from None
        self.parent: str | None = known["run"]
        self._shards, self._size = shards(folder), recipe.shard_episodes
        self._funds = AccountFunds(ledger, recipe.account)
        self._replay = Replay(recipe)
        self.env = self._replay.env
        self._drawn = rollout.drawn(self.env)
        columns = rollout.schema(self.env).columns
        self._work = {
            "pixel": self.env.work()["pixel"],
            "raw_byte": sum(c.row_bytes for c in columns if c.name in self._drawn),
        }
        self._reader: ShardReader | None = None
        self._held: Due | None = None

    def quote(self, done: int) -> Quote:
        """Return exactly what the pictures of the episodes after the first `done` cost."""
        lengths = [n for path in self._shards for n in ShardReader(path).lengths.tolist()]
        quantities = self._quantities(sum(lengths[done:]))
        return Quote(quantities, prices.current().cost(quantities), exact=True)

    def live(self, run: str, index: int, buffer: EpisodeBuffer) -> tuple[int, dict[str, Any]]:
        """Simulate an episode again, compare, and return its number of steps and its new record.

        Raises:
            FormatError: it is damaged, or the replay differs. It is not charged.
            BudgetExhaustedError: its pictures cannot be paid. Nothing was done.
        """
        episode = self._recorded(index)
        fault = bill(episode)
        if fault:
            raise FormatError(f"episode {index}: {fault}")
        self._hold(run, index, len(episode))
        steps, success, fault = self._replay.live(episode, buffer)
        if not fault:
            fault = self._difference(episode, buffer, steps)
        if fault or success != episode.record.get("success"):
            raise FormatError(f"episode {index}: {fault or 'its success is not what was said.'}")
        return steps, self._record(episode, run)

    def due(self, run: str, record: Mapping[str, Any]) -> Due:
        """Return what the pictures of an episode cost."""
        quantities = self._quantities(int(record["steps"]) + 1)
        amount = prices.load(record["price_version"]).cost(quantities)
        transfer = charge_id(run, int(record["episode"]), self.parent)
        return Due(transfer, quantities, amount, record["price_version"])

    def settle(self, due: Due, evidence: str) -> Receipt | None:
        """Post it, and give back what else was held for it."""
        self._held = None
        return self._funds.settle(due.transfer, due.amount, evidence, due.quantities, due.version)

    def close(self) -> None:
        """Give everything back; nothing that was not kept is charged."""
        if self._held is not None:
            self._funds.void(self._held.transfer)
        self._replay.close()

    def _hold(self, run: str, index: int, rows: int) -> None:
        facts = {"steps": rows - 1, "episode": index, "price_version": prices.current().version}
        due = self.due(run, facts)
        if due.amount and not self._funds.reserve(due.transfer, due.amount, due.amount):
            raise BudgetExhaustedError(
                f"the pictures of episode {index} cost {prices.credits(due.amount)} credits but "
                f"the account {self._funds.account!r} has not as much. Nothing was done. Grant "
                f"credits with `sandbox ledger grant {self._funds.account} CREDITS`."
            )
        self._held = due

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
        names = set(buffer.arrays) - self._drawn - {"charge"}
        missing = sorted(names - set(episode.rows))
        if missing:
            return f"it has no column {missing[0]!r}."
        again = buffer.episode(steps, {"charge_micro": self.env.meter.spent})
        return first_difference({name: episode.rows[name] for name in sorted(names)}, again.rows)

    def _record(self, episode: Episode, run: str) -> dict[str, Any]:
        """Return what would be known of an episode had it been drawn at once."""
        env, known = self.env, {**episode.record}
        known.pop("digest", None)
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

    def _quantities(self, rows: int) -> dict[str, int]:
        work = {unit: rows * count for unit, count in self._work.items()}
        return {unit: work.get(unit, 0) for unit in prices.UNITS}
