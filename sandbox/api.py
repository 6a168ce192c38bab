"""What the library does, as plain functions; the command line only calls them.

Only the functions that simulate import a simulator, and when they are called.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from sandbox import cluster
from sandbox import prices as schedules
from sandbox.arguments import checked
from sandbox.dataset import overlap as overlaps
from sandbox.dataset.dataset import Dataset
from sandbox.dataset.overlap import Overlap
from sandbox.errors import InvalidInputError
from sandbox.evidence import keys
from sandbox.evidence.note import SigningKey
from sandbox.ledger import Ledger
from sandbox.report import card as cards
from sandbox.run import admission, ranks
from sandbox.run import estimate as estimates
from sandbox.run import recipe as recipes
from sandbox.run.bill import Bill, Quote
from sandbox.run.estimate import Estimate
from sandbox.run.folder import Folder
from sandbox.run.recipe import Recipe
from sandbox.run.run import Run, Share
from sandbox.run.source import Source
from sandbox.run.watcher import Watcher
from sandbox.run.workers import sharing

MOST = 1_000_000  # Pairs of a kind, branches, pictures: more is a slip.
Seed = Annotated[int, Field(ge=0, lt=1 << 63, description="a whole number from 0 to 2**63 - 1")]
RecipeLike = str | Path | Recipe | Mapping[str, Any]
Credits = str | int | float
PathLike = str | Path
Workers = Annotated[int, Field(ge=1, le=256, description="a whole number from 1 to 256")]


@checked
def open_run(path: PathLike, *, trust_code: bool = False) -> Folder:
    """Open a run folder, or a single trajectory file, for reading.

    Nothing is read until it is asked for: `recipe`, `records()`, `episode(3)`, `episodes()`.

    Args:
        path: the folder or file.
        trust_code: whether a replay may import the environment code that the run names as
            MODULE:CLASS.
    """
    return Folder(path, trust_code)


@checked
def overlap(test: PathLike, train: PathLike) -> Overlap:
    """Return what a test run shares with a training run: seeds of episodes, and whole frames.

    It should be nothing; `warnings()` says in sentences what it is.

    Args:
        test: the run to test with.
        train: the run to train on.

    Raises:
        FormatError: a run cannot be read.
        InvalidInputError: a run has no episode.
    """
    return overlaps.overlap(Dataset(test), Dataset(train))


@checked
def quote(
    recipe: RecipeLike,
    *,
    split: str | None = None,
    episodes: int | None = None,
    credits: Credits | None = None,
    seed: Seed | None = None,
    prices: PathLike | None = None,
) -> Quote:
    """Return what a recipe will cost: exact where episodes have a fixed length, else at most.

    Where it is not exact, some episodes of each policy are tried, for an expectation.

    Args:
        recipe: name of a recipe, path of a YAML file, the same as a mapping, or a Recipe.
        split: split of the scenario, instead of the recipe's.
        episodes: number of episodes, instead of the recipe's.
        credits: what the episodes may cost, instead of their number [credits].
        seed: seed of the run, instead of the recipe's.
        prices: version or .yaml file of a price schedule; None is the current one.

    Raises:
        InvalidInputError: the recipe is not valid.
    """
    from sandbox.sources.expectation import expected
    from sandbox.sources.generation import Generation

    wanted = recipes.of(recipe, split=split, episodes=episodes, credits=credits, seed=seed)
    schedule = schedules.chosen(prices)
    with closing(Generation(wanted)) as source:
        quoted = source.quote(0, schedule)
        return quoted if quoted.exact else expected(quoted, source, wanted, schedule)


@checked
def estimate(
    recipe: RecipeLike,
    *,
    split: str | None = None,
    episodes: int | None = None,
    credits: Credits | None = None,
    seed: Seed | None = None,
    prices: PathLike | None = None,
) -> Estimate:
    """Estimate how long a recipe takes on this machine, and how much disk, from a few episodes.

    They are made in memory, with their pictures, and nobody pays for them.

    Args:
        recipe: name of a recipe, path of a YAML file, the same as a mapping, or a Recipe.
        split: split of the scenario, instead of the recipe's.
        episodes: number of episodes, instead of the recipe's.
        credits: what the episodes may cost, instead of their number [credits].
        seed: seed of the run, instead of the recipe's.
        prices: version or .yaml file of a price schedule; None is the current one.

    Raises:
        InvalidInputError: the recipe is not valid.
    """
    from sandbox.sources.generation import Generation

    wanted = recipes.of(recipe, split=split, episodes=episodes, credits=credits, seed=seed)
    schedule, count = schedules.chosen(prices), wanted.stated_episodes
    if count is None:
        quoted = quote(wanted, prices=prices)
        count = quoted.expected_episodes or quoted.quantities.get("reset", 1)
    with closing(Generation(wanted)) as source:
        return estimates.estimate(source, schedule, max(1, count))


@checked
def generate(
    recipe: RecipeLike,
    out: PathLike,
    *,
    split: str | None = None,
    episodes: int | None = None,
    credits: Credits | None = None,
    seed: Seed | None = None,
    account: str | None = None,
    budget: Credits | None = None,
    compression: str | None = None,
    admission: str | None = None,
    prices: PathLike | None = None,
    workers: Workers = 1,
    rank: int | Literal["auto"] | None = None,
    world_size: int | None = None,
    on: str | None = None,
    shared: bool = False,
    key: SigningKey | None = None,
    ledger: Ledger | None = None,
    watcher: Watcher | None = None,
) -> Bill:
    """Generate the dataset of a recipe; call it again to continue where it stopped.

    Args:
        recipe: name of a recipe, path of a YAML file, the same as a mapping, or a Recipe.
        out: the run folder; made if it does not exist.
        split: split of the scenario, instead of the recipe's.
        episodes: number of episodes, instead of the recipe's.
        credits: what the episodes may cost, instead of their number [credits].
        seed: seed of the run, instead of the recipe's.
        account: account that pays, instead of the recipe's.
        budget: most that the run may cost [credits].
        compression: zstd, gzip or none, instead of the recipe's.
        admission: safe or greedy, instead of the recipe's.
        prices: version or .yaml file of a price schedule; None is what the run began under, or
            for a new run the current one.
        workers: number of processes that share the work; the bytes are the same.
        rank: make only the shards of this rank, of `world_size`, while others make theirs; `settle`
            ends the run. "auto" asks the variables of SLURM, Open MPI, PMI or torch for both.
        world_size: how many ranks share the run.
        on: ray makes the shards on the Ray cluster that RAY_ADDRESS names, or on one of this
            machine; the bytes are the same.
        shared: whether all nodes of the cluster see `out`: then no shard travels.
        key: signs the run's log; None is this machine's default key, if there is one.
        ledger: where the run is charged; None is this machine's ledger.
        watcher: is told what happens.

    Returns:
        What the run has cost; of a rank, what the episodes cost that it made now.

    Raises:
        InvalidInputError: the recipe is not valid. Nothing was done.
        BudgetExhaustedError: budget or account cannot pay it; with `greedy`, not one episode.
        RunConflictError: the folder holds something else, or another process is writing it.
    """
    from sandbox.sources.generation import Generation

    wanted = recipes.of(
        recipe,
        split=split,
        episodes=episodes,
        credits=credits,
        seed=seed,
        account=account,
        budget=budget,
        compression=compression,
        admission=admission,
    )
    run = _run(Generation(wanted), out, ledger, key, prices)
    known = ranks.rank(rank, world_size)
    if on is not None:
        cluster.check(on, workers, known, run)
        return carry_out(run, workers, watcher, cluster.sharing(shared, watcher))
    if known is None:
        return carry_out(run, workers, watcher)
    if workers != 1:
        raise InvalidInputError(
            f"workers {workers}: a rank is one process. Nothing was done. Give more ranks instead."
        )
    return ranks.carry_out(run, known, watcher or Watcher())


@checked
def render(
    run: PathLike,
    out: PathLike,
    columns: Sequence[str] = ("pixels",),
    *,
    camera: Sequence[str] | None = None,
    image_size: int | None = None,
    antialias: int | None = None,
    renderer: str | None = None,
    account: str | None = None,
    budget: Credits | None = None,
    compression: str | None = None,
    admission: str | None = None,
    trust_code: bool = False,
    prices: PathLike | None = None,
    workers: Workers = 1,
    key: SigningKey | None = None,
    ledger: Ledger | None = None,
    watcher: Watcher | None = None,
) -> Bill:
    """Replay a finished run bit for bit and draw its pictures; only these are charged.

    The new run has the bytes of a run that had drawn these pictures from the start.

    Args:
        run: the finished run's folder.
        out: the new run folder; made if it does not exist.
        columns: pictures to draw: pixels, depth, segmentation, links.
        camera: names of the cameras that draw; None is the run's.
        image_size: width and height [pixels]; None is the run's.
        antialias: samples of colour in a pixel, 1, 4 or 8; None is the run's.
        renderer: raster or tiny; None is the run's.
        account: account that pays, instead of the run's.
        budget: most that the new run may cost [credits].
        compression: zstd, gzip or none, instead of the run's.
        admission: safe or greedy, instead of the run's.
        trust_code: whether to import an environment that the run calls MODULE:CLASS.
        prices: version or .yaml file of a price schedule; None is what the run began under, or
            for a new run the current one.
        workers: number of processes that share the work; the bytes are the same.
        key: signs the run's log; None is this machine's default key, if there is one.
        ledger: where the run is charged; None is this machine's ledger.
        watcher: is told what happens.

    Returns:
        What the new run has cost.

    Raises:
        FormatError: the run is damaged or not finished, or a replay differs.
        InvalidInputError, BudgetExhaustedError, RunConflictError: see `generate`.
    """
    from sandbox.sources.rendering import Rendering

    folder = open_run(run, trust_code=trust_code)
    count = folder.count()
    wanted = recipes.with_pictures(
        folder.recipe,
        columns,
        camera,
        image_size=image_size,
        antialias=antialias,
        renderer=renderer,
        account=account,
        budget=budget,
        compression=compression,
        admission=admission,
        episodes=None if count == folder.recipe.stated_episodes else count,
    )
    return carry_out(_run(Rendering(wanted, folder), out, ledger, key, prices), workers, watcher)


@checked
def branch(
    run: PathLike,
    out: PathLike,
    *,
    episode: int,
    step: int,
    kinds: Sequence[str],
    k: int = 1,
    account: str | None = None,
    budget: Credits | None = None,
    trust_code: bool = False,
    prices: PathLike | None = None,
    workers: Workers = 1,
    key: SigningKey | None = None,
    ledger: Ledger | None = None,
    watcher: Watcher | None = None,
) -> Bill:
    """Replay an episode up to a step, then continue it differently, in a run of its own.

    Args:
        run: folder of the run that has the episode.
        out: the new run folder; made if it does not exist.
        episode: number of the episode.
        step: the row at which the first action may differ.
        kinds: kinds of branches: noop, same, random, impulse, remove, factor:NAME=VALUE; and the
            impossible vanish, teleport, ghost, recolor, reshape. Most take :BODY.
        k: number of branches of each kind that draws at random.
        account: account that pays, instead of the run's.
        budget: most that the new run may cost [credits].
        trust_code: whether to import an environment that the run calls MODULE:CLASS.
        prices: version or .yaml file of a price schedule; None is what the run began under, or
            for a new run the current one.
        workers: number of processes that share the work; the bytes are the same.
        key: signs the run's log; None is this machine's default key, if there is one.
        ledger: where the run is charged; None is this machine's ledger.
        watcher: is told what happens.

    Returns:
        What the new run has cost.

    Raises:
        InvalidInputError: there is no such episode, step, kind or body. Nothing was done.
        FormatError: the run is damaged, or the replayed past differs.
        BudgetExhaustedError, RunConflictError: see `generate`.
    """
    from sandbox.sources.plan import planned

    folder = open_run(run, trust_code=trust_code)
    plan = planned(folder, episode, step, kinds, k)
    changes = {"account": account, "budget": budget}
    return carry_out(
        _run(_branching(folder, plan, changes), out, ledger, key, prices), workers, watcher
    )


@checked
def surprises(
    run: PathLike,
    out: PathLike,
    *,
    kinds: Sequence[str] | None = None,
    pairs: Annotated[
        int, Field(ge=1, le=MOST, description=f"a whole number from 1 to {MOST:,}")
    ] = 10,
    during: str | None = None,
    seed: Seed = 0,
    account: str | None = None,
    budget: Credits | None = None,
    trust_code: bool = False,
    prices: PathLike | None = None,
    workers: Workers = 1,
    key: SigningKey | None = None,
    ledger: Ledger | None = None,
    watcher: Watcher | None = None,
) -> Bill:
    """Make pairs for violation of expectation: an episode as recorded, and an impossible one.

    Args:
        run: folder of the run whose episodes are used.
        out: the new run folder; made if it does not exist.
        kinds: vanish, teleport, ghost, recolor, reshape; None is each that has enough moments.
        pairs: number of pairs of each kind, each from another episode.
        during: an event of the environment: surprises happen only while it holds.
        seed: seed of the choice of moments, and of what happens.
        account: account that pays, instead of the run's.
        budget: most that the new run may cost [credits].
        trust_code: whether to import an environment that the run calls MODULE:CLASS.
        prices: version or .yaml file of a price schedule; None is what the run began under, or
            for a new run the current one.
        workers: number of processes that share the work; the bytes are the same.
        key: signs the run's log; None is this machine's default key, if there is one.
        ledger: where the run is charged; None is this machine's ledger.
        watcher: is told what happens.

    Returns:
        What the new run has cost; `sandbox.sources.surprises.pairs` reads its pairs.

    Raises:
        InvalidInputError: there is no such kind or event, or too few moments. Nothing was done.
        FormatError: the run is damaged, or a replayed past differs.
        BudgetExhaustedError, RunConflictError: see `generate`.
    """
    from sandbox.sources.surprises import planned

    folder = open_run(run, trust_code=trust_code)
    plan = planned(folder, kinds, pairs, during, seed)
    changes = {"account": account, "budget": budget}
    return carry_out(
        _run(_branching(folder, plan, changes), out, ledger, key, prices), workers, watcher
    )


def _branching(folder: Folder, plan: Mapping[str, Any], changes: Mapping[str, Any]) -> Source:
    from sandbox.sources.branching import Branching

    recipe = recipes.changed(folder.recipe, episodes=len(plan["branches"]), **changes)
    return Branching(recipe, folder, plan)


def _run(
    source: Source,
    out: PathLike,
    ledger: Ledger | None,
    key: SigningKey | None,
    prices: PathLike | None,
) -> Run:
    priced = None if prices is None else schedules.chosen(prices)
    return Run(source, out, ledger, key or keys.default(), priced)


def carry_out(run: Run, workers: int, watcher: Watcher | None, share: Share | None = None) -> Bill:
    """Quote a run, refuse what cannot be paid, make its missing episodes, and write its card."""
    watcher = watcher or Watcher()
    try:
        quoted = run.quote()
        admission.check(run, quoted)
        estimates.check_disk(run, quoted)
        watcher.quoted(run.wanted, quoted, run.done())
        watcher.begins(run.path)
        with watcher.compiling():
            run.source.warm_up()
        bill = run.generate(watcher.kept, share or sharing(workers, watcher))
        cards.refresh(run.folder)
        return bill
    finally:
        run.close()
