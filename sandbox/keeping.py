"""Keep data: extend runs, and make new ones from the episodes of others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from sandbox import api, files, prices
from sandbox.arguments import checked
from sandbox.dataset.dataset import Dataset
from sandbox.dataset.filters import Choice, Wanted
from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.evidence import keys
from sandbox.evidence.note import SigningKey
from sandbox.goals import kept
from sandbox.goals.calls import read_set
from sandbox.goals.results import Filed
from sandbox.ledger import Ledger
from sandbox.remote.location import Remote
from sandbox.report import card as cards
from sandbox.report import difference as differences
from sandbox.report.card import Card
from sandbox.report.difference import Difference
from sandbox.run import recipe as recipes
from sandbox.run.bill import Bill
from sandbox.run.deriving import Derivation, Pick, Progress
from sandbox.run.folder import Folder
from sandbox.run.record import Record
from sandbox.run.run import Run
from sandbox.run.watcher import Watcher
from sandbox.sources.extension import Extension
from sandbox.trajectory import COMPRESSIONS, FORMAT_VERSION


@checked
def extend(
    run: api.PathLike,
    episodes: int,
    *,
    budget: api.Credits | None = None,
    admission: str | None = None,
    trust_code: bool = False,
    workers: int = 1,
    key: SigningKey | None = None,
    ledger: Ledger | None = None,
    watcher: Watcher | None = None,
) -> Bill:
    """Extend a finished run to more episodes of its recipe; call it again to continue.

    The episodes that it has keep their bytes, their shards and their entries in the log; only new
    ones are charged, under the run's own prices and to its own account. Its id stays the same.

    Args:
        run: folder of a run that was generated, and is finished.
        episodes: number of episodes that it will have.
        budget: most that the whole run may cost, with what it has cost already [credits].
        admission: safe or greedy, as in `generate`; None is safe.
        trust_code: whether to import an environment or policies that the run calls MODULE:NAME.
        workers: number of processes that share the new shards; the bytes are the same.
        key: signs the run's log; None is this machine's default key, if there is one.
        ledger: where the run is charged; None is this machine's ledger.
        watcher: is told what happens.

    Returns:
        What the whole run has cost.

    Raises:
        RunConflictError: the run is not finished, has more episodes, was made by other code, or was
            not generated. Nothing was done.
        BudgetExhaustedError: budget or account cannot pay it. Nothing was done.
        FormatError: the run is damaged.
    """
    folder = api.open_run(run, trust_code=trust_code)
    recipe = recipes.changed(folder.recipe, budget=budget, admission=admission)
    source = Extension(recipe, folder, recipes.changed(recipe, episodes=episodes).episodes)
    schedule = folder.identity.schedule
    making = Run(source, folder.path, ledger, key or keys.default(), schedule, grow_to=episodes)
    return api.carry_out(making, workers, watcher)


@checked
def keep_tries(
    results: api.PathLike,
    goals: api.PathLike,
    out: api.PathLike,
    *,
    account: str = "local",
    budget: api.Credits | None = None,
    trust_code: bool = False,
    workers: int = 1,
    key: SigningKey | None = None,
    ledger: Ledger | None = None,
    watcher: Watcher | None = None,
) -> Bill:
    """Keep the tries of results as a run, an ordinary dataset; call it again to continue.

    Each is simulated again, from its reset on, and compared with the results. What they simulated
    is paid already: only the rows are charged that are logged now.

    Args:
        results: the file of the results.
        goals: the set that they are of.
        out: the new run folder; made if it does not exist.
        account: account that pays.
        budget: most that the run may cost [credits].
        trust_code: whether to import a world that the set calls MODULE:CLASS.
        workers: number of processes that share the work; the bytes are the same.
        key: signs the run's log; None is this machine's default key, if there is one.
        ledger: where the run is charged; None is this machine's ledger.
        watcher: is told what happens.

    Returns:
        What the run has cost.

    Raises:
        FormatError: results and set do not fit, or the states are others here. Nothing was done.
        BudgetExhaustedError, RunConflictError: see `generate`.
    """
    filed, found = Filed.read(results), read_set(goals).set
    filed.check_of(found)
    limit = None if budget is None else prices.micro(budget) / prices.MICRO
    recipe = kept.recipe_of(found, filed.results, account, limit)
    source = kept.Tries(recipe, found, filed.results, trust_code)
    making = Run(source, out, ledger, key or keys.default())
    return api.carry_out(making, workers, watcher)


@dataclass(frozen=True)
class DerivedRun:
    """A derived run that was written.

    Attributes:
        path: its folder.
        run: its id.
        episodes: number of its episodes.
        origins: ids of the runs that they come from.
    """

    path: Path
    run: str
    episodes: int
    origins: list[str]


@dataclass(frozen=True)
class Parted:
    """The two runs into which a run was split.

    Attributes:
        train: the episodes to train on.
        val: the episodes to validate by.
    """

    train: DerivedRun
    val: DerivedRun


@checked
def subset(
    runs: api.PathLike | Sequence[str | Path],
    out: api.PathLike,
    *,
    split: str | Sequence[str] | None = None,
    policy: str | Sequence[str] | None = None,
    scenario: str | Sequence[str] | None = None,
    environment: str | Sequence[str] | None = None,
    success: bool | None = None,
    factors: Mapping[str, Wanted] | None = None,
    where: Callable[[Record], bool] | None = None,
    how: Mapping[str, Any] | None = None,
    compression: str | None = None,
    key: SigningKey | None = None,
    progress: Progress = lambda done, of: None,
) -> DerivedRun:
    """Write the episodes of a run that have all that is asked for into a run of their own.

    They keep records, rows and digests, and carry proof of their places in the signed log of the
    run they come from: `verify` follows it without that run. Nothing is simulated or charged. The
    same call continues what a kill left.

    Args:
        runs: a run folder, several, or a folder of runs.
        out: the new run folder; made if it does not exist.
        split: keep episodes of this split, or of these.
        policy: keep episodes of this policy, or of these.
        scenario: keep episodes of this scenario, or of these.
        environment: keep episodes of this environment, or of these.
        success: keep episodes that succeed (True), or fail (False).
        factors: keep episodes by their factors at reset, as `Dataset` does.
        where: keep episodes for whose Record this function returns true.
        how: what the new run says of how it was made, plain JSON; None says what was asked for.
        compression: zstd, gzip or none; None is that of the first run.
        key: signs the new run's log; None is this machine's default key, if there is one.
        progress: is told how many episodes are written, and of how many.

    Raises:
        FormatError: a run is damaged, or its log does not have an episode.
        InvalidInputError, UnknownNameError: as `Dataset`. Nothing was done.
        RunConflictError: the folder holds something else, or another process is writing it.
    """
    asked = Choice(split, policy, scenario, environment, success, factors, where)
    chosen = Dataset(runs, **vars(asked))
    return _derive(chosen, out, how or {"subset": asked.plain}, compression, key, progress)


@checked
def merge(
    runs: Sequence[str | Path],
    out: api.PathLike,
    *,
    compression: str | None = None,
    key: SigningKey | None = None,
    progress: Progress = lambda done, of: None,
) -> DerivedRun:
    """Write the episodes of several runs of the same columns into one run; see `subset`.

    Args:
        runs: the run folders, or folders of runs.
        out: the new run folder; made if it does not exist.
        compression: zstd, gzip or none; None is that of the first run.
        key: signs the new run's log; None is this machine's default key, if there is one.
        progress: is told how many episodes are written, and of how many.

    Raises:
        FormatError: the runs have different columns, or one is damaged.
        InvalidInputError: an episode is in two of them. Nothing was done.
        RunConflictError: the folder holds something else, or another process is writing it.
    """
    return _derive(Dataset(runs), out, {"merge": {}}, compression, key, progress)


@checked
def split(
    run: api.PathLike,
    out: api.PathLike,
    *,
    fraction: float = 0.9,
    seed: int = 0,
    by: str = "episode",
    twins: str = "refuse",
    compression: str | None = None,
    key: SigningKey | None = None,
    progress: Progress = lambda done, of: None,
) -> Parted:
    """Write a run's episodes into two runs, `train` and `val` in one folder; see `subset`.

    Args:
        run: the run folder, or a folder of runs.
        out: the folder of the two; made if it does not exist.
        fraction: share of the episodes to train on.
        seed: seed of the choice.
        by: "episode", or the name of a factor, of which a range is kept for validation.
        twins: what to do about frames in both: "refuse", "name" or "skip", as `train_val` does.
        compression: zstd, gzip or none; None is that of the run.
        key: signs the new runs' logs; None is this machine's default key, if there is one.
        progress: is told how many episodes of a part are written, and of how many.

    Raises:
        FormatError: the run is damaged.
        InvalidInputError, UnknownNameError: as `Dataset.train_val`. Nothing was done.
        RunConflictError: a folder holds something else, or another process is writing it.
    """
    parts = Dataset(run).train_val(fraction, seed, by, cast(Any, twins))
    asked = {"fraction": fraction, "seed": seed, "by": by}
    train, val = (
        _derive(
            part,
            files.place(out) / name,
            {"split": {**asked, "part": name}},
            compression,
            key,
            progress,
        )
        for name, part in zip(("train", "val"), parts, strict=True)
    )
    return Parted(train, val)


@checked
def recompress(
    run: api.PathLike,
    out: api.PathLike,
    compression: str,
    *,
    key: SigningKey | None = None,
    progress: Progress = lambda done, of: None,
) -> DerivedRun:
    """Write a run's episodes into a run of another compression; see `subset`.

    Args:
        run: the run folder.
        out: the new run folder; made if it does not exist.
        compression: zstd, gzip (any reader of HDF5 works) or none (the fastest to read).
        key: signs the new run's log; None is this machine's default key, if there is one.
        progress: is told how many episodes are written, and of how many.

    Raises:
        FormatError: the run is damaged.
        UnknownNameError: there is no such compression. Nothing was done.
        RunConflictError: the folder holds something else, or another process is writing it.
    """
    return _derive(Dataset(run), out, {"recompress": {}}, compression, key, progress)


@checked
def migrate(
    run: api.PathLike,
    out: api.PathLike,
    *,
    compression: str | None = None,
    key: SigningKey | None = None,
    progress: Progress = lambda done, of: None,
) -> DerivedRun:
    """Write the episodes of a run of an older trajectory format in the newest; see `subset`.

    Rows, records and digests stay, so `verify` follows and replays them as those of that run. A
    column that the older format lacks is not there: nothing is invented.

    Args:
        run: the run folder, or a derived run.
        out: the new run folder; made if it does not exist.
        compression: zstd, gzip or none; None is that of the run.
        key: signs the new run's log; None is this machine's default key, if there is one.
        progress: is told how many episodes are written, and of how many.

    Raises:
        FormatError: the run is damaged.
        InvalidInputError: every shard is of the newest format. Nothing was done.
        RunConflictError: the folder holds something else, or another process is writing it.
    """
    folder = api.open_run(run)
    found = sorted({shard.reader.version for shard in folder.shards()})
    folder.close()
    if found == [FORMAT_VERSION]:
        raise InvalidInputError(
            f"{folder.path}: every shard is of trajectory format {FORMAT_VERSION}, the newest. "
            "Nothing was done; use the run as it is."
        )
    how = {"migrate": {"from": found, "to": FORMAT_VERSION}}
    return _derive(Dataset(run), out, how, compression, key, progress)


@checked
def diff(a: api.PathLike, b: api.PathLike) -> Difference:
    """Return how two runs, or two trajectory files, differ: identity, columns, episodes.

    Args:
        a: a run folder or a trajectory file.
        b: another.

    Raises:
        FormatError: one is no run, or damaged.
    """
    return differences.diff(api.open_run(a), api.open_run(b))


@checked
def card(
    run: api.PathLike,
    *,
    license: str | None = None,
    name: str | None = None,
    pictures: bool = True,
    trust_code: bool = False,
) -> Card:
    """Write the card of a finished run: README.md, with the head that Hugging Face reads.

    Whatever makes a run writes one, without pictures. `verify` does not look at it. A card that
    was edited by hand is not replaced.

    Args:
        run: the run folder.
        license: an identifier that Hugging Face knows, such as cc-by-4.0; None keeps that of the
            card that is there. Without any the card says that none was given.
        name: what the data is called; None keeps that of the card, or names environment and size.
        pictures: whether to draw its coverage and some episodes, into the folder `card`.
        trust_code: whether to import an environment that the run calls MODULE:CLASS, to draw.

    Raises:
        FormatError: the run is not finished, or damaged.
        InvalidInputError: the card was edited, or a value is not valid. Nothing was written.
    """
    return cards.write(api.open_run(run, trust_code=trust_code), license, name, pictures=pictures)


def _derive(
    chosen: Dataset,
    out: api.PathLike,
    how: Mapping[str, Any],
    compression: str | None,
    key: SigningKey | None,
    progress: Progress,
) -> DerivedRun:
    """Write the episodes of a dataset into a derived run."""
    if compression is not None and compression not in COMPRESSIONS:
        raise UnknownNameError("compression", compression, COMPRESSIONS)
    path, folders = files.place(out), dict[Path, Folder]()
    try:
        picks = [_pick(chosen, n, folders) for n in range(len(chosen))]
        first = picks[0].folder
        made = first.derived or first.recipe
        wanted = Derivation(picks, how, compression or made.compression, made.shard_episodes)
        if path in folders:
            raise InvalidInputError(f"{path}: is one of the runs. Give another --out.")
        folders[path] = wanted.write(path, key or keys.default(), progress)
        cards.refresh(folders[path])
    finally:
        for folder in folders.values():
            folder.close()
        chosen.close()
    known = wanted.derived
    return DerivedRun(
        path, known.run, len(picks), list(dict.fromkeys(one["run"] for one in known.heads))
    )


def _pick(chosen: Dataset, number: int, folders: dict[Path, Folder]) -> Pick:
    """Return an episode of a dataset, to be taken into a derived run.

    Raises:
        InvalidInputError: its shard is in no run folder, so nothing says where it comes from.
    """
    index = chosen.index
    path = index.paths[int(index.shard[number])]
    if isinstance(path, Remote):
        raise InvalidInputError(f"{path}: is not on this machine; copy its run here first.")
    root = path.parent.parent
    folder = folders.setdefault(root, Folder(root))
    if path.parent.name != "shards" or not (folder.exists or folder.derived or folder.imported):
        raise InvalidInputError(
            f"{path}: lies in no run folder, so that nothing shows where its episodes come from. "
            "Give the folder of a run."
        )
    shard = folder.shard(path)
    place = int(np.searchsorted(shard.reader.offsets, int(index.first[number])))
    return Pick(folder, shard, place)
