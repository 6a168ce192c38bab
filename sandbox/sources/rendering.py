"""Render a finished run again: replay it for other pictures; only these are charged."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from sandbox.env.costs import observed
from sandbox.errors import FormatError
from sandbox.ledger import Lease
from sandbox.prices import PriceSchedule
from sandbox.run.bill import DRAWING, Quote, fault, is_view, view_bytes
from sandbox.run.folder import Folder
from sandbox.run.recipe import Recipe
from sandbox.run.record import Record
from sandbox.sources import columns, rollout, setup
from sandbox.sources.holding import Holding
from sandbox.sources.replay import Replay, first_difference
from sandbox.trajectory import Episode, EpisodeBuffer
from sandbox.world import determinism, engine


class Rendering:
    """The episodes of a finished run, replayed with other pictures.

    Each is compared bit for bit with what was recorded before it is kept. The rest of an episode
    was paid with that run; only its pictures are charged now.

    Args:
        recipe: recipe of the new run, from `recipe.with_pictures`.
        folder: the old run.

    Raises:
        FormatError: the old run is damaged or not finished.
    """

    def __init__(self, recipe: Recipe, folder: Folder) -> None:
        folder.check_finished()
        if len(folder.kept().records) < recipe.episodes:
            raise FormatError(
                f"{folder.path}: it ended early and lacks episodes in between: "
                f"`{folder.continued_by}` goes on with it."
            )
        self._recipe, self._folder = recipe, folder
        known = folder.identity
        self._replay = Replay(
            recipe, folder.scenario, folder.trust_code, known.plan, schedule=known.schedule
        )
        self._env = self._replay.env
        made = rollout.origin(self._env, recipe)
        self.origin = replace(made, parent=known.run, plan=known.plan)
        self.schema = self._replay.schema
        older = min(shard.reader.version for shard in folder.shards())
        self._recorded = columns.schema(self._env, known.plan, older)
        self.max_rows = self._env.max_steps + 1
        self._holding = Holding("pictures", None, known.schedule)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rendering, (self._recipe, self._folder.path, self._folder.trust_code)

    def quote(self, done: int, schedule: PriceSchedule) -> Quote:
        """Return exactly what the pictures of the episodes after the first `done` cost."""
        lengths = [n for s in self._folder.shards() for n in s.reader.lengths.tolist()]
        quantities = self._work(sum(lengths[done:]), schedule)
        whole = {unit: quantities.get(unit, 0) for unit in schedule.no_work()}
        longest = self._work(max(lengths), schedule)
        return Quote(whole, schedule.cost(quantities), True, longest, schedule.version)

    def _work(self, rows: int, schedule: PriceSchedule) -> dict[str, int]:
        """Return the work of the pictures of some rows, per meter unit."""
        work = observed(self._env, schedule, rows)
        drawing = {unit: work[unit] for unit in DRAWING}
        return schedule.metered({"raw_byte": rows * view_bytes(self.schema), **drawing})

    @property
    def makers(self) -> list[Self]:
        """This one: it has no parts."""
        return [self]

    def pay_from(self, lease: Lease | None, schedule: PriceSchedule) -> None:
        """Pay for the pictures to come from a lease."""
        self._holding, self._schedule = Holding("pictures", lease, schedule), schedule
        self._replay.price_by(schedule)

    def warm_up(self) -> None:
        """Compile the renderer, once on a machine."""
        self._env.pictures.warm_up()

    def make(self, run: str, index: int, buffer: EpisodeBuffer, limit: int | None = None) -> Record:
        """Replay an episode, compare it, and return its new record.

        Raises:
            FormatError: the episode is damaged, or the replay differs. It is not charged.
            BudgetExhaustedError: its pictures cannot be paid. Nothing was done.
        """
        assert limit is None, "it has as many episodes as the run that it renders"
        episode = self._folder.episode(index)
        record = Record.parse(episode.record)
        wrong = fault(episode, record, self._folder.identity.carried)
        if wrong:
            raise FormatError(f"episode {index}: {wrong}")
        self._holding.hold(index, self._work(self.max_rows, self._schedule))
        steps, success, wrong = self._replay.simulate(episode, record, buffer)
        if not wrong:
            wrong = self._difference(episode, buffer, steps)
        if wrong or success != record.success:
            wrong = wrong or "its success is not what was said."
            wrong += determinism.advice(self._folder.identity.engine)
            raise FormatError(f"episode {index}: {wrong}")
        setup.fill(buffer.arrays, self._env, run, steps)  # Of this run, not of the old one.
        return self._record(record, run, buffer)

    def on_kept(self) -> None:
        """Note that the run posts the episode made last."""
        self._holding.kept()

    def close(self) -> None:
        """Release the simulator; an episode that was not kept is not charged."""
        self._holding.close()
        self._replay.close()
        self._folder.close()

    def _difference(self, episode: Episode, buffer: EpisodeBuffer, steps: int) -> str:
        """Return where an episode differs from its replay, pictures and price aside, or ""."""
        views = {column.name for column in self.schema.columns if is_view(column)}
        names = sorted(set(self._recorded.names) - views - {"charge", "run"})
        missing = [name for name in names if name not in episode.rows]
        if missing:
            return f"it has no column {missing[0]!r}."
        again = buffer.episode(steps, {"charge_micro": self._env.meter.spent}).rows
        recorded = {name: episode.rows[name] for name in names}
        return first_difference(
            recorded, {name: columns.narrowed(again[name], recorded[name]) for name in names}
        )

    def _record(self, old: Record, run: str, buffer: EpisodeBuffer) -> Record:
        """Return the record that the episode would have had with these pictures from the start."""
        env, branch = self._env, old.branch
        changes: dict[str, Any] = {
            "run": run,
            "engine": engine(),
            "renderer": env.pictures.drawn_by,
            "views": list(env.pictures.cameras),
            "cameras": env.pictures.described(),
            "price_version": env.meter.schedule.version,
            "charges": dict(env.meter.quantities),
            "charge_micro": env.meter.spent,
        }
        known = {k: v for k, v in old.plain.items() if k not in ("digest", "branch")}
        if branch is not None:
            changes["branch"] = branch | {"prefix_micro": rollout.prefix(branch, buffer)}
        return Record.parse({**known, **changes})


def _rendering(recipe: Recipe, path: Path, trust_code: bool) -> Rendering:
    return Rendering(recipe, Folder(path, trust_code))
