"""Carry out an experiment; a plain function, which the command line only calls."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from sandbox import api, files
from sandbox import prices as schedules
from sandbox.arguments import checked
from sandbox.errors import (
    InvalidInputError,
    LockedError,
    RunConflictError,
    SandboxError,
    shown,
)
from sandbox.evidence import keys
from sandbox.evidence.note import SigningKey
from sandbox.experiments import acting, cells, data, foresight, plan
from sandbox.experiments.carrying import Carrying, Watching, nobody
from sandbox.experiments.cells import Frozen
from sandbox.experiments.data import Data
from sandbox.experiments.foresight import Foresight, Quote
from sandbox.experiments.places import Places
from sandbox.experiments.plan import Experiment
from sandbox.experiments.results import Results
from sandbox.ledger import Ledger
from sandbox.ledger.locks import alone
from sandbox.run.recipe import Recipe

RUNS, LOCK = "runs", ".lock"
OneOrMore = api.RecipeLike | Sequence[api.RecipeLike]
Quoted = Callable[[Quote], None]


@checked
def experiment(
    source: api.PathLike | None = None,
    out: api.PathLike | None = None,
    *,
    changes: Mapping[str, Any] | None = None,
    name: str | None = None,
    train: OneOrMore | None = None,
    held_out: api.RecipeLike | None = None,
    test: OneOrMore | None = None,
    model: Mapping[str, Any] | None = None,
    agent: Mapping[str, Any] | None = None,
    seeds: Sequence[int] | None = None,
    sweep: Mapping[str, Sequence[Any]] | None = None,
    evaluation: Mapping[str, Any] | None = None,
    dreams: Mapping[str, Any] | None = None,
    track: Sequence[str] | None = None,
    account: str | None = None,
    budget: api.Credits | None = None,
    prices: api.PathLike | None = None,
    workers: api.Workers = 1,
    trust_code: bool = False,
    key: SigningKey | None = None,
    ledger: Ledger | None = None,
    quoted: Quoted = lambda quote: None,
    watching: Watching = nobody,
) -> Results:
    """Carry out an experiment: generate its data, train, evaluate and dream; again, it goes on.

    Every run is settled before the first begins, and lies in OUT/HASH/seed-K. Runs that are
    finished are left as they are, so that a changed file makes only what is new.

    Args:
        source: a YAML file, or the folder of an experiment that goes on; None takes the keys below.
        out: the experiment's folder; None is runs/NAME.
        changes: dotted key of the document, such as `model.size`, to another value.
        name: what it is called.
        train: a recipe, or several: the data to train on.
        held_out: a recipe of episodes that pick the weights; None keeps a tenth of `train` apart.
        test: a recipe, or several: the data to evaluate on; None evaluates nothing.
        model: what is trained: name, size, exact, options, settings, and one of updates, minutes
            and credits.
        agent: in place of `model`, an agent that learns: library, and the arguments of `learn`.
        seeds: a run for each, of every configuration; None is 0.
        sweep: dotted key to its values; a configuration for every combination.
        evaluation: what is asked of models: horizons, windows, context, reading, seed.
        dreams: what models imagine: episodes, steps, policy, tier; None is nothing.
        track: csv, jsonl or tensorboard, several.
        account: who pays; None is `local`.
        budget: the most that the whole may cost [credits].
        prices: version or .yaml file of a price schedule; None is the current one.
        workers: number of processes that generate data.
        trust_code: whether a folder that goes on may import what it calls MODULE:NAME.
        key: signs the runs' logs; None is this machine's default key, if there is one.
        ledger: where all is charged; None is this machine's ledger.
        quoted: is told what the whole costs, before it begins.
        watching: makes a context of what is done and of what is counted; its value is told how
            many are done, of how many, and the last numbers.

    Returns:
        What was found; `results.json`, `results.csv` and `results.png` are in the folder.

    Raises:
        InvalidInputError, UnknownNameError: the document is not valid. Nothing was done.
        BudgetExhaustedError: budget or account cannot pay the whole. Nothing was done.
        RunConflictError: another process is at work in the folder, or data have changed.
    """
    given: dict[str, Any] = {"name": name, "train": train, "held_out": held_out, "test": test}
    given |= {"model": model, "agent": agent, "seeds": seeds, "sweep": sweep, "track": track}
    given |= {"evaluation": evaluation, "dreams": dreams, "account": account, "prices": prices}
    asked = {name: _plain(one) for name, one in given.items() if one is not None}
    book, told = ledger or Ledger(), dict(changes or {})
    with ExitStack() as held:
        is_new = False
        if source is not None and files.place(source).is_dir():
            if asked or told or out is not None:
                raise InvalidInputError(
                    f"{source}: an experiment that goes on takes no other values. Nothing was "
                    "done. Give its file with them."
                )
            folder = files.place(source)
            held.enter_context(_alone(folder))
            it, seen = _going_on(folder, trust_code)
        else:
            wanted = _wanted(source, asked | ({} if budget is None else {"budget": budget}), told)
            folder = files.place(out or Path(RUNS) / wanted.name)
            is_new = not folder.exists()
            if not is_new:
                cells.read(folder)  # Refuse what is no experiment, and leave no lock in it.
                held.enter_context(_alone(folder))
            it, seen = _settled(wanted, folder)
        quote, known = _quoted(it, folder, seen, book)
        limit = it.experiment.budget if budget is None else budget
        micro = None if limit is None else schedules.micro(limit)
        foresight.check(quote, it.experiment.account, micro, book)
        quoted(quote)
        if is_new:
            _make(folder)
            held.enter_context(_alone(folder))
        cells.write(folder, it)
        paid = {one.name: one.paid for one in quote.items}
        given_to = (book, key or keys.default(), workers, watching)
        found = Carrying(it, known, Places(folder), micro, paid, *given_to).carry_out()
        found.write()
    return found


def _wanted(
    source: api.PathLike | None, asked: Mapping[str, Any], changes: Mapping[str, Any]
) -> Experiment:
    """Return what is asked for: a file's values, with others in their place."""
    data = {"format": plan.FORMAT} if source is None else plan.read(source)
    data = {**data, **asked}
    for key, value in changes.items():
        data = plan.put(data, key, _plain(value))
    return plan.of(data, "the experiment" if source is None else str(source))


def _settled(wanted: Experiment, folder: Path) -> tuple[Frozen, Foresight]:
    """Return an experiment whose runs are settled, and what knows their work."""
    every = [*cells.asked(wanted)]
    seen = Foresight(every[0].schedule)
    return cells.frozen(wanted, every, seen.updates, cells.read(folder)), seen


def _going_on(folder: Path, trust_code: bool) -> tuple[Frozen, Foresight]:
    """Return the experiment of a folder, and what knows the work of its runs.

    Raises:
        InvalidInputError: the folder holds no experiment, one that could not be carried out, or
            code that is not trusted.
    """
    found = cells.read(folder)
    if found is None:
        raise InvalidInputError(f"{folder}: holds no experiment. Give its file.")
    found.check()
    code = next(found.code(), None)
    if code is not None and not trust_code:
        raise InvalidInputError(
            f"{folder}: {shown(code)} is somebody's code. Give --trust-code (or trust_code=True) "
            "to import it, if you trust whoever gave you the folder."
        )
    for cell in found.cells:
        if "agent" in cell.config:
            acting.check(cell.config["agent"], found.experiment.prices, max(found.seeds))
    return found, Foresight(schedules.chosen(found.experiment.prices))


def _quoted(
    it: Frozen, folder: Path, seen: Foresight, ledger: Ledger
) -> tuple[Quote, dict[str, Data]]:
    known = it.known()
    return foresight.quote(it, known, Places(folder), seen, ledger), known


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Hold the right to write an experiment's folder.

    Raises:
        RunConflictError: another process is at work there.
    """
    try:
        with alone(folder / LOCK):
            yield
    except LockedError:
        raise RunConflictError(
            f"{folder}: another process carries out this experiment; nothing was done. Wait for "
            "it, or give another --out."
        ) from None


def _make(folder: Path) -> None:
    """Make a new experiment's folder, which another process may have made since."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise RunConflictError(
            f"{folder}: another process has made it meanwhile; nothing was done. Run the same "
            "command again, or give another --out."
        ) from None
    except OSError as error:
        raise SandboxError(
            f"{folder}: cannot be made: {error.strerror or error}. Give another --out."
        ) from error


def _plain(value: Any) -> Any:
    """Return a value as a document has it: recipes, paths, tuples and mappings of other kinds."""
    if isinstance(value, Recipe):
        return data.plain(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(one) for one in cast(Sequence[Any], value)]
    return cast(Any, value.item() if isinstance(value, np.generic) else value)
