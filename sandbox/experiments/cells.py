"""The configurations of an experiment, frozen: what each is, and the hash that names it."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from sandbox import digest, files, jsonfile
from sandbox import prices as schedules
from sandbox.errors import (
    FormatError,
    InvalidInputError,
    RunConflictError,
    UnknownNameError,
    shown,
)
from sandbox.experiments import acting, data, plan
from sandbox.experiments.data import KEY, Data
from sandbox.experiments.plan import DATA, Experiment
from sandbox.prices import PriceSchedule
from sandbox.training import tracking

FROZEN = "experiment.json"  # In an experiment's folder.
MOST = 10_000  # Runs of an experiment.
Key = Annotated[str, Field(pattern=f"^[0-9a-f]{{{KEY}}}$")]
Amount = Callable[["Asked"], int]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Cell(_Strict):
    """A configuration, of which each seed has a run.

    Attributes:
        hash: names it: the digest of what decides its results, but for the seed.
        asked: the same before minutes or credits became a number of updates.
        values: dotted key to its value here.
        config: an experiment's document with this configuration alone.
        data: keys of its data: of train, held_out and test.
    """

    hash: Key
    asked: Key
    values: dict[str, Any]
    config: dict[str, Any]
    data: dict[Literal["train", "held_out", "test"], list[Key]]

    @property
    def name(self) -> str:
        """What tables call it: its values, or its hash."""
        named = (f"{key}={_short(value)}" for key, value in self.values.items())
        return ", ".join(named) or self.hash


class Frozen(_Strict):
    """An experiment whose runs are settled: what its folder says.

    Attributes:
        format: version of the file format, 1.
        document: what was asked for.
        seeds: of the runs of every configuration.
        cells: the configurations.
        data: recipes by key.
    """

    format: Literal[1]
    document: dict[str, Any]
    seeds: list[int]
    cells: list[Cell]
    data: dict[Key, dict[str, Any]]

    @property
    def experiment(self) -> Experiment:
        """What was asked for."""
        return plan.of(self.document)

    @property
    def runs(self) -> list[tuple[Cell, int]]:
        """Every run: its configuration and seed, in order."""
        return [(cell, seed) for cell in self.cells for seed in self.seeds]

    def known(self) -> dict[str, Data]:
        """Return the data by key.

        Raises:
            RunConflictError: a scenario says something else than when the experiment was settled.
        """
        found = {key: data.of(recipe, self.experiment.account) for key, recipe in self.data.items()}
        for key, one in found.items():
            if one.key != key:
                raise RunConflictError(
                    f"data {key}: the scenario of {one.recipe.named} says something else than when "
                    "this experiment began. Nothing was done. Restore it, or give the experiment's "
                    "file again, for which this is another run."
                )
        return found

    def check(self) -> None:
        """Refuse what anybody wrote that is no settled experiment; no code is imported.

        Raises:
            InvalidInputError, FormatError: a document is not valid, or lacks what a run needs.
        """
        seeds = self.experiment.seeds
        for cell in self.cells:
            where = f"{FROZEN}: configuration {cell.hash}"
            it = plan.of(cell.config, where)
            keys = ("model", "evaluation", "dreams") if it.model is not None else ()
            parts: list[BaseModel | None] = [getattr(it, key) for key in keys]
            said = {
                k: p.model_dump(exclude_none=True) for k, p in zip(keys, parts, strict=True) if p
            }
            settled = it.model is None or it.model.updates is not None
            whole = settled and all(cell.config.get(key) == one for key, one in said.items())
            needed = {key for key in DATA if getattr(it, key) is not None}
            known = {*cell.data} == needed and all(
                listed and {*listed} <= {*self.data} for listed in cell.data.values()
            )
            if not whole or not known or self.seeds != seeds:
                raise FormatError(f"{where}: is not as it was settled. Restore it from a copy.")

    def code(self) -> Iterator[str]:
        """Yield what it names of code that is not ours: MODULE:NAME."""
        for cell in self.cells:
            for key, name in (("model", "name"), ("agent", "environment")):
                if ":" in str(cell.config.get(key, {}).get(name)):
                    yield cell.config[key][name]
        for recipe in self.data.values():
            for world in (recipe, *recipe.get("parts", [])):
                names = (world.get("environment", ""), *world.get("policies", {}))
                yield from (name for name in names if ":" in name)


@dataclass
class Asked:
    """A configuration as it was asked for, before its updates are counted.

    Attributes:
        values: dotted key to its value here.
        experiment: the document with this configuration alone.
        data: by key of the document.
        schedule: the prices.
    """

    values: Mapping[str, Any]
    experiment: Experiment
    data: Mapping[str, list[Data]] = field(default_factory=dict[str, list[Data]])
    schedule: PriceSchedule = field(default_factory=schedules.current)

    def config(self, updates: int | None = None) -> dict[str, Any]:
        """Return a document with this configuration alone.

        Args:
            updates: how many a model's training has; None leaves what was asked for.
        """
        it = self.experiment
        found: dict[str, Any] = {"format": plan.FORMAT, "name": it.name}
        for key, listed in self.data.items():
            recipes = [data.plain(one.recipe) for one in listed]
            found[key] = recipes[0] if key == "held_out" else recipes
        for key in ("model", "evaluation", "dreams") if it.model is not None else ():
            part: BaseModel | None = getattr(it, key)
            if part is not None:
                found[key] = part.model_dump(exclude_none=True)
        if it.agent is not None:
            found["agent"] = it.agent
        if updates is not None:
            amounts = {"minutes", "credits"}
            kept = {name: one for name, one in found["model"].items() if name not in amounts}
            found["model"] = {**kept, "updates": updates}
        prices = {} if it.prices is None else {"prices": _placed(it.prices)}
        return found | {"track": it.track, "account": it.account} | prices

    def digest(self, updates: int | None = None) -> str:
        """Return what names the configuration: the digest of all that decides its results."""
        deciding = {
            key: value
            for key, value in self.config(updates).items()
            if key not in (*DATA, "name", "track", "account", "prices")
        }
        named = {key: [one.key for one in listed] for key, listed in self.data.items()}
        return digest.sha256([deciding, named, self.schedule.digest])[:KEY]


def asked(wanted: Experiment) -> Iterator[Asked]:
    """Yield the configurations of an experiment; the last key of the sweep varies fastest.

    Raises:
        InvalidInputError: one is not valid, or there are too many.
    """
    count = len(wanted.seeds)
    for key, values in wanted.sweep.items():
        unlike = {digest.sha256(_plain(value, key)) for value in values}
        if not values or len(unlike) < len(values):
            raise InvalidInputError(
                f"sweep.{key}: {shown(values)}: give at least one value, and each once."
            )
        count *= len(values)
    for one in wanted.track:
        if one not in tracking.KINDS:
            raise UnknownNameError("tracker", one, tracking.KINDS)
    if count > MOST:
        raise InvalidInputError(
            f"sweep: {count:,} runs are more than {MOST:,}. Nothing was done. Vary less at once."
        )
    known = dict[str, Data]()
    shared = {key: value for key, value in wanted.plain().items() if key != "sweep"}
    for chosen in itertools.product(*wanted.sweep.values()):
        values = dict(zip(wanted.sweep, chosen, strict=True))
        yield _asked(shared, values, known)


def _asked(shared: Mapping[str, Any], values: dict[str, Any], known: dict[str, Data]) -> Asked:
    given = dict(shared)
    for key, value in values.items():
        if key.split(".")[0] in ("format", "name", "seeds", "sweep", "account", "budget", "track"):
            raise InvalidInputError(f"sweep.{key}: is the same for all runs. Nothing was done.")
        given = plan.put(given, key, value)
    it, schedule = plan.of(given), schedules.chosen(given.get("prices"))
    found = {key: _data(getattr(it, key), it.account, known) for key in DATA}
    found = {key: listed for key, listed in found.items() if listed}
    if "train" in found:
        data.check_apart(found["train"], {k: v for k, v in found.items() if k != "train"})
    if it.agent is not None:
        acting.check(it.agent, given.get("prices"), max(it.seeds))
    made = Asked(values, it, found, schedule)
    _plain(made.config(), "the experiment")
    return made


def _data(value: Any, account: str, known: dict[str, Data]) -> list[Data]:
    listed = cast(list[Any], value if isinstance(value, list) else [] if value is None else [value])
    made = list[Data]()
    for one in listed:
        named = digest.sha256(_plain(one, "the recipe"))
        if named not in known:
            known[named] = data.of(one, account)
        made.append(known[named])
    return made


def frozen(wanted: Experiment, every: list[Asked], amount: Amount, before: Frozen | None) -> Frozen:
    """Return an experiment whose runs are settled.

    Args:
        wanted: what was asked for.
        every: its configurations.
        amount: returns how many updates a model's training has.
        before: the last experiment of the folder, whose numbers of updates are kept.

    Raises:
        InvalidInputError: two configurations are the same.
    """
    kept = {cell.asked: cell for cell in before.cells} if before is not None else {}
    cells, recipes = dict[str, Cell](), dict[str, dict[str, Any]]()
    for one in every:
        name, updates = one.digest(), None
        if one.experiment.model is not None:
            was = kept.get(name)
            updates = amount(one) if was is None else was.config["model"]["updates"]
        hash = one.digest(updates)
        if hash in cells:
            raise InvalidInputError(
                f"sweep: {dict(one.values)} is the same configuration as {cells[hash].values}. "
                "Nothing was done. Give each once."
            )
        keys: Any = {key: [it.key for it in listed] for key, listed in one.data.items()}
        cells[hash] = Cell(
            hash=hash, asked=name, values=dict(one.values), config=one.config(updates), data=keys
        )
        recipes |= {it.key: data.plain(it.recipe) for ls in one.data.values() for it in ls}
    return Frozen(
        format=1,
        document=wanted.plain(),
        seeds=wanted.seeds,
        cells=[*cells.values()],
        data=recipes,
    )


def read(folder: Path) -> Frozen | None:
    """Return what an experiment's folder says; None if there is nothing.

    Raises:
        FormatError: it is damaged, or the folder holds something else.
    """
    path = folder / FROZEN
    if not path.exists():
        if folder.exists() and any(one.name[0] != "." for one in folder.iterdir()):
            raise FormatError(
                f"{folder}: holds no experiment. Nothing was done. Give the file of an "
                "experiment, the folder of one, or another --out."
            )
        return None
    return jsonfile.model(path, Frozen)


def write(folder: Path, it: Frozen) -> None:
    """Write it into the folder."""
    jsonfile.write(folder / FROZEN, it.model_dump())


def _placed(prices: str) -> str:
    return str(files.place(prices)) if prices.endswith((".yaml", ".yml")) else prices


def _plain(value: Any, where: str) -> Any:
    """Return a value if JSON can say it (InvalidInputError if not)."""
    try:
        jsonfile.parse(jsonfile.encode(value), where)
    except (TypeError, ValueError, FormatError) as error:
        raise InvalidInputError(f"{where}: {str(error)[:200]} Give plain values.") from None
    return value


def _short(value: Any) -> str:
    """Return a value as a table shows it."""
    text = value if isinstance(value, str) else shown(value, 40)
    return Path(text).stem if text.endswith((".yaml", ".yml")) else text
