"""Sweeps: the runs of a grid of recipes, in one folder and with one bill."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import api, files, jsonfile
from sandbox import prices as schedules
from sandbox.arguments import checked
from sandbox.errors import BudgetExhaustedError, RunConflictError
from sandbox.evidence.note import SigningKey
from sandbox.ledger import Ledger
from sandbox.run import admission
from sandbox.run import bill as bills
from sandbox.run import grid as grids
from sandbox.run import recipe as recipes
from sandbox.run.bill import Bill
from sandbox.run.grid import Cell
from sandbox.run.run import Run
from sandbox.run.watcher import Watcher
from sandbox.sources.generation import Generation

SWEEP = "sweep.json"  # In the folder of a sweep: its cells, in order.


@dataclass(frozen=True)
class Swept:
    """A cell that was made.

    Attributes:
        values: factor or key of the recipe to its value here.
        path: the folder of its run.
        run: id of the run.
        bill: what the run has cost.
        success: share of its episodes that succeed at the end.
        total_reward: mean of their returns.
    """

    values: Mapping[str, Any]
    path: Path
    run: str
    bill: Bill
    success: float
    total_reward: float


@dataclass
class Sweep:
    """The runs of a grid.

    Attributes:
        cells: what was made of each combination of values, in order.
        ended: why a greedy sweep ended before its last cell; "" if it did not.
    """

    cells: list[Swept]
    ended: str = ""

    @property
    def bill(self) -> Bill:
        """What all runs together have cost."""
        found = Bill(price_version=self.cells[0].bill.price_version if self.cells else "")
        for one in (cell.bill for cell in self.cells):
            for unit, quantity in one.quantities.items():
                found.quantities[unit] = found.quantities.get(unit, 0) + quantity
            found.amount += one.amount
            found.episodes += one.episodes
            found.already += one.already
        return found


@checked
def sweep(
    recipe: api.RecipeLike,
    out: api.PathLike,
    grid: Mapping[str, Sequence[Any]],
    *,
    account: str | None = None,
    budget: api.Credits | None = None,
    prices: api.PathLike | None = None,
    workers: api.Workers = 1,
    key: SigningKey | None = None,
    ledger: Ledger | None = None,
    watching: Callable[[Cell], AbstractContextManager[Watcher]] | None = None,
    **changes: Any,
) -> Sweep:
    """Generate a recipe for every combination of values; call it again to continue.

    Cells that differ in factors alone have the same seeds, so their episodes start alike.

    Args:
        recipe: name of a recipe, path of a YAML file, the same as a mapping, or a Recipe.
        out: the folder of the sweep; each cell is a run in it, such as `t_mass_kg=0.5`.
        grid: factor, or key of a recipe (scenario, split, seed, episodes, credits, reward,
            image_size, antialias, renderer), to its values.
        account: account that pays, instead of the recipe's.
        budget: most that all runs together may cost [credits].
        prices: version or .yaml file of a price schedule; None is the current one.
        workers: number of processes that share the work of each run.
        key: signs the runs' logs; None is this machine's default key, if there is one.
        ledger: where the runs are charged; None is this machine's ledger.
        watching: makes a context of each cell, whose value is told what happens in its run.
        changes: other values for keys of the recipe that all cells share.

    Raises:
        InvalidInputError: a cell's recipe is not valid. Nothing was done.
        BudgetExhaustedError: budget or account cannot pay all cells. Nothing was done.
        RunConflictError: the folder holds another sweep, or something else.
    """
    folder, ledger = files.place(out), ledger or Ledger()
    cells = grids.cells(recipes.of(recipe, account=account, **changes), grid)
    limit = None if budget is None else schedules.micro(budget)
    _check_folder(folder, cells)
    _check_funds(cells, folder, limit, prices, ledger)
    _keep(folder, cells)
    made = Sweep([])
    for cell in cells:
        left = None if limit is None else schedules.credits(max(0, limit - made.bill.amount))
        with nullcontext() if watching is None else watching(cell) as watcher:
            try:
                bill = api.generate(
                    cell.recipe,
                    folder / cell.name,
                    budget=left,
                    prices=prices,
                    workers=workers,
                    key=key,
                    ledger=ledger,
                    watcher=watcher,
                )
            except BudgetExhaustedError as error:
                if not made.cells:
                    raise
                made.ended = f"{cell.name}: {error}".replace(" Nothing was done.", "")
                break
        made.cells.append(_swept(cell, folder / cell.name, bill))
    return made


def _swept(cell: Cell, path: Path, bill: Bill) -> Swept:
    run = api.open_run(path)
    records = list(run.records())
    run.close()
    success = sum(bool(record.success) for record in records) / max(1, len(records))
    mean = sum(record.total_reward for record in records) / max(1, len(records))
    return Swept(cell.values, path, run.run, bill, success, mean)


def _check_funds(
    cells: Sequence[Cell],
    folder: Path,
    limit: int | None,
    prices: api.PathLike | None,
    ledger: Ledger,
) -> None:
    """Refuse a sweep that cannot be paid as a whole, or one of whose recipes is not valid."""
    schedule = None if prices is None else schedules.chosen(prices)
    charges, spent, exact = Counter[str](), 0, True
    for cell in cells:
        run = Run(Generation(cell.recipe), folder / cell.name, ledger, schedule=schedule)
        with closing(run):
            quoted, kept = run.quote(), run.folder.kept().usages if run.folder.exists else []
            before = bills.total(kept)[1]
            charges.update(admission.least(run, quoted, before, greedy=False)[0])
            exact &= quoted.exact
            spent += before
    if cells[0].recipe.admission == "greedy":
        if limit is not None and spent > limit:
            raise BudgetExhaustedError(
                f"these runs have cost {schedules.credits(spent)} credits already but the budget "
                f"is {schedules.credits(limit)}. Nothing was done. Give a larger --budget."
            )
        return  # Each run goes on as far as credit does.
    cost, account = charges.total(), cells[0].recipe.account
    work = f"{len(cells)} runs cost {'' if exact else 'up to '}{schedules.credits(cost)} credits"
    admission.payable(work, spent, charges, limit, account, ledger, "give fewer values")


def _check_folder(folder: Path, cells: Sequence[Cell]) -> None:
    """Refuse a folder that holds another sweep, or something else."""
    path = folder / SWEEP
    if path.exists():
        if jsonfile.read(path).data != _known(cells):
            raise RunConflictError(
                f"{folder}: holds a sweep over other values. Nothing was done. Give another --out, "
                "or the same values."
            )
    elif folder.exists() and any(not it.name.startswith(".") for it in folder.iterdir()):
        raise RunConflictError(
            f"{folder}: this folder holds something that is no sweep. Nothing was done. Give "
            "another --out."
        )


def _keep(folder: Path, cells: Sequence[Cell]) -> None:
    """Write which cells the sweep has."""
    if not (folder / SWEEP).exists():
        folder.mkdir(parents=True, exist_ok=True)
        jsonfile.write(folder / SWEEP, _known(cells))


def _known(cells: Sequence[Cell]) -> dict[str, Any]:
    return {"format": 1, "cells": [{"values": dict(c.values), "run": c.name} for c in cells]}
