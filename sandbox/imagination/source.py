"""Imagined episodes as the source of a run: priced, logged, signed and verified like any other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from sandbox.dataset.dataset import Dataset
from sandbox.errors import SimulationError
from sandbox.imagination.imaginer import Imaginer, engine
from sandbox.imagination.starts import Begin, Starts
from sandbox.ledger import Lease
from sandbox.models import Checkpoint, named
from sandbox.prices import PriceSchedule, plus
from sandbox.run.bill import Quote
from sandbox.run.identity import Identity
from sandbox.run.recipe import EpisodeChance, Recipe
from sandbox.run.record import Record
from sandbox.run.source import Origin
from sandbox.sources.holding import Holding
from sandbox.trajectory import EpisodeBuffer, Rows

_UNITS = ("imagined_step", "imagined_pixel", "model_mflop")
MODEL = "model.safetensors"  # A run of dreams has its model beside its shards.


def plan(
    checkpoint: Checkpoint, tier: str, policy: str, steps: int, source: Dataset
) -> dict[str, Any]:
    """Return what decides the imagined rows, besides the recipe: plain JSON."""
    return {
        "imagined": {
            "model": checkpoint.digest,
            "name": checkpoint.facts.model,
            "tier": tier,
            "policy": policy,
            "steps": steps,
            "source": [*source.facts.texts("run")],
            "episodes": source.facts.digest,
        }
    }


class Dreams:
    """Imagined episodes of a model, each from recorded rows on.

    An episode has the rows that the model is shown, as they were recorded, then what it imagines.

    Args:
        recipe: how many, and who pays.
        identity: of the run whose world it is; the recorded episodes are its.
        path: the checkpoint.
        source: the recorded episodes.
        told: what `plan` returned.
        trust_code: whether to import a model that the checkpoint calls MODULE:CLASS.

    Raises:
        FormatError: checkpoint and plan do not fit.
    """

    def __init__(
        self,
        recipe: Recipe,
        identity: Identity,
        path: Path,
        source: Dataset,
        told: Mapping[str, Any],
        trust_code: bool = False,
    ) -> None:
        self._given = (recipe, identity, path, source, told, trust_code)
        self._recipe, self._identity, self._source = recipe, identity, source
        self._told: Mapping[str, Any] = told["imagined"]
        checkpoint = Checkpoint.read(path)
        self._imaginer = Imaginer(checkpoint, self._told, source.schema, trust_code=trust_code)
        self.schema = self._imaginer.schema
        self._holding: Holding | None = None
        steps, context = self._told["steps"], self._imaginer.context
        more = steps if self._told["policy"] == "recorded" else 0
        self._starts = Starts(source, context, more)
        self.max_rows = context + steps
        self.origin = Origin(
            recipe=recipe,
            scenario=identity.scenario,
            engine=engine(self._told),
            renderer=None,
            code=named.code(checkpoint.facts.model),
            plan=told,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return Dreams, self._given

    @property
    def reads(self) -> tuple[str, ...]:
        """The recorded columns that an episode begins with."""
        return tuple(self._imaginer.seen)

    @property
    def makers(self) -> list[Self]:
        """This one: it has no parts."""
        return [self]

    def quote(self, done: int, schedule: PriceSchedule) -> Quote:
        """Return what the episodes after the first `done` cost, at most."""
        schedule.require(*_UNITS)
        one = self._imaginer.work(self._told["steps"])
        whole = plus({}, one, self._recipe.episodes - done)
        exact = "terminated" not in self._imaginer.given
        return Quote(whole, schedule.cost(whole), exact, one, schedule.version)

    def pay_from(self, lease: Lease | None, schedule: PriceSchedule) -> None:
        """Pay for the episodes to come from a lease."""
        schedule.require(*_UNITS)
        self._schedule = schedule
        self._holding = Holding("dreams", lease, schedule)

    def warm_up(self) -> None:
        """Do nothing: nothing is compiled."""

    def make(self, run: str, index: int, buffer: EpisodeBuffer, limit: int | None = None) -> Record:
        """Imagine episode `index` into a buffer, and return its record."""
        assert limit is None, "a run of dreams says how many there are"
        it, context = self._imaginer, self._imaginer.context
        assert self._holding is not None, "pay_from comes first"
        self._holding.hold(index, it.work(self._told["steps"]))
        begin = self._starts.of(run, index)
        known = self._source.rows(begin.episode, it.seen)
        seen = {name: one[begin.row : begin.row + context] for name, one in known.items()}
        try:
            steps = it.fill(run, index, seen, self._after(known, begin), buffer.arrays)
        except SimulationError as error:
            raise SimulationError(f"episode {index}: {error}") from None
        it.charge(buffer.arrays, steps, self._schedule)
        return self._record(run, index, begin, steps, buffer)

    def on_kept(self) -> None:
        """Note that the run posts the episode made last."""
        assert self._holding is not None, "pay_from comes first"
        self._holding.kept()

    def close(self) -> None:
        """Release what is held for an episode that was not kept."""
        if self._holding is not None:
            self._holding.close()

    def _after(self, seen: Rows, begin: Begin) -> Any:
        """Return what was done at the rows from the last one that the model is shown on."""
        first = begin.row + self._imaginer.context - 1
        return seen["action"][first : first + self._told["steps"]]

    def _record(
        self, run: str, index: int, begin: Begin, steps: int, buffer: EpisodeBuffer
    ) -> Record:
        known, last = self._source.record(begin.episode), self._imaginer.context - 1 + steps
        work = self._imaginer.work(steps)
        return Record.parse(
            {
                "run": run,
                "episode": index,
                "environment": self._recipe.environment,
                "seed": EpisodeChance(self._recipe, index).seed,
                "scenario": self._recipe.scenario,
                "split": self._recipe.split,
                "scenario_digest": self._identity.scenario.digest,
                "factors": known.factors,
                "disturbances": [],
                "scene_digest": known.scene_digest,
                "policy": f"imagined:{self._told['policy']}",
                "engine": engine(self._told),
                "renderer": None,
                "views": [],
                "cameras": {},
                "price_version": self._schedule.version,
                "steps": last,
                "charges": work,
                "charge_micro": self._schedule.cost(self._schedule.metered(work)),
                "success": None,
                "return": float(buffer.arrays["reward"][: last + 1].sum()),
                "imagined": {
                    "model": self._told["model"],
                    "tier": self._told["tier"],
                    "context": self._imaginer.context,
                    "run": known.run,
                    "episode": known.episode,
                    "digest": known.digest,
                    "row": begin.row,
                },
            }
        )
