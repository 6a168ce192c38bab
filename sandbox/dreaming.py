"""Runs of imagined episodes; a plain function, which the command line only calls."""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sandbox import api, files
from sandbox import prices as schedules
from sandbox.arguments import checked
from sandbox.dataset.dataset import Dataset
from sandbox.dataset.finite import check_finite
from sandbox.errors import InvalidInputError, SimulationError, UnknownNameError
from sandbox.evidence import keys
from sandbox.evidence.note import SigningKey
from sandbox.imagination.dreamer import tier_of
from sandbox.imagination.source import MODEL, Dreams, plan
from sandbox.imagination.starts import POLICIES
from sandbox.ledger import Ledger
from sandbox.models import Checkpoint
from sandbox.run import recipe as recipes
from sandbox.run.bill import Bill
from sandbox.run.folder import Folder
from sandbox.run.identity import imagined
from sandbox.run.run import Run
from sandbox.run.watcher import Watcher

Steps = Annotated[int, Field(ge=1, le=100_000, description="a whole number from 1 to 100,000")]
Episodes = Annotated[int, Field(ge=1, le=1_000_000, description="a whole number above 0")]


@checked
def dream(
    model: api.PathLike,
    run: api.PathLike,
    out: api.PathLike,
    *,
    episodes: Episodes = 16,
    steps: Steps = 50,
    policy: str = "random",
    tier: str | None = None,
    seed: api.Seed = 0,
    trust_code: bool = False,
    account: str = "local",
    budget: api.Credits | None = None,
    prices: api.PathLike | None = None,
    workers: api.Workers = 1,
    key: SigningKey | None = None,
    ledger: Ledger | None = None,
    watcher: Watcher | None = None,
) -> Bill:
    """Imagine episodes by a model, from recorded rows on; call it again to continue.

    What comes of it is a run like any other: priced, logged, signed, and verified by imagining
    every episode again. Its records say that it is imagined.

    Args:
        model: a checkpoint of `train`.
        run: the run whose rows the episodes begin with.
        out: the new run folder; made if it does not exist.
        episodes: how many.
        steps: how many steps each imagines, at most: it ends where the model says that it ends.
        policy: random, noise (which changes slowly), noop, or recorded, which does what was done.
        tier: exact, the same bytes on any machine, of a model that was trained so; class, the same
            within one class of machine; audit, the same within bounds. None is the best it has.
        seed: seed of starts and actions.
        trust_code: whether to import a model that the checkpoint calls MODULE:CLASS.
        account: account that pays.
        budget: the most that the run may cost [credits].
        prices: version or .yaml file of a price schedule; None is the current one.
        workers: number of processes that share the work; the bytes are the same.
        key: signs the run's log; None is this machine's default key, if there is one.
        ledger: where the run is charged; None is this machine's ledger.
        watcher: is told what happens.

    Returns:
        What the run has cost.

    Raises:
        FormatError: a file cannot be read, or the model is damaged.
        InvalidInputError: the model is not exact, no episode is long enough, or a recorded number
            is not finite. Nothing was done.
        SimulationError: the model imagines what is not finite. Episodes before are kept and
            charged.
        BudgetExhaustedError, RunConflictError: see `generate`.
    """
    if policy not in POLICIES:
        raise UnknownNameError("policy of dreams", policy, POLICIES)
    path, checkpoint = files.place(model), Checkpoint.read(model)
    folder, source = Folder(run), Dataset(run)
    strange = folder.derived is not None or folder.imported is not None
    if strange or imagined(folder.sole.plan) is not None:
        raise InvalidInputError(
            f"{run}: dreams begin with rows of a run that was simulated, and this one is derived, "
            "imported or imagined. Give the run that it comes from."
        )
    told = plan(checkpoint, tier_of(checkpoint, tier), policy, steps, source)
    limit = None if budget is None else schedules.micro(budget) / schedules.MICRO
    recipe = recipes.changed(
        folder.sole.recipe,
        episodes=episodes,
        credits=None,
        seed=seed,
        account=account,
        budget=limit,
        admission="safe",
    )
    given = Dreams(recipe, folder.sole, path, source, told, trust_code)
    check_finite(source, given.reads, str(run))
    schedule = None if Folder(out).exists else schedules.chosen(prices)
    making = Run(given, out, ledger, key or keys.default(), schedule, attached={MODEL: path})
    with _whole(files.place(out)):
        return api.carry_out(making, workers, watcher)


@contextmanager
def _whole(out: Path) -> Generator[None]:
    """Where a model imagines what is not finite, leave no new folder without episodes.

    Raises:
        SimulationError: it does; it says what is kept.
    """
    is_new = not out.exists()
    try:
        yield
    except SimulationError as error:
        kept = Folder(out).count() if Folder(out).exists else 0
        if kept:
            said = (
                f"{kept} episodes are kept and charged: `sandbox subset {out} --out NEW` makes a "
                "finished run of them."
            )
        else:
            said = "Nothing was charged."
            if is_new:
                shutil.rmtree(out, ignore_errors=True)
        raise SimulationError(f"{error} {said}") from None
