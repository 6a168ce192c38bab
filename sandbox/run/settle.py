"""What a run owes and shows for the episodes that it keeps: posts, log, checkpoint, manifest."""

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sandbox.errors import LedgerError, RunConflictError, SandboxError
from sandbox.evidence import log
from sandbox.evidence.note import SigningKey
from sandbox.ledger import Ledger, Usage
from sandbox.run import bill
from sandbox.run import folder as runs
from sandbox.run.recipe import Recipe
from sandbox.trajectory import ShardReader, shards

BATCH = 500  # Posts in one transaction.
ORPHAN_S = 10.0  # Within which the workers of a killed process are gone.


@dataclass
class Settlement:
    """What settling a run did.

    Attributes:
        episodes: how many are kept, and
        posted: how many of them had not been charged.
        charge_micro: what was charged for them [microcredits].
        voided_micro: what a dead process held, given back [microcredits].
        finished: whether the run has all its episodes.
    """

    episodes: int = 0
    posted: int = 0
    charge_micro: int = 0
    voided_micro: int = 0
    finished: bool = False


@dataclass
class Kept:
    """What a run folder holds.

    Attributes:
        run: what run.json says.
        recipe: the recipe in it.
        records: of the episodes, in order, up to the first that is missing.
        usages: what each costs the run.
        growing: whether a shard is not finished.
    """

    run: Mapping[str, Any]
    recipe: Recipe
    records: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    usages: list[Usage] = field(default_factory=list[Usage])
    growing: bool = False

    def leaves(self) -> list[bytes]:
        """Return the log's leaves of the episodes, in order, up to the first that is missing."""
        due = {usage.episode: usage.evidence for usage in self.usages}
        return [bytes.fromhex(due[n]) for n in range(len(self.records))]

    @property
    def finished(self) -> bool:
        """Whether all episodes are there, in finished shards."""
        return len(self.records) == self.recipe.episodes and not self.growing


def kept(folder: Path) -> Kept:
    """Read what a run folder holds; FormatError if it is no run, or damaged."""
    found = Kept(runs.read_run(folder), runs.recipe_of(folder))
    every: dict[int, tuple[dict[str, Any], Usage]] = {}
    for path in shards(folder, missing_ok=True):
        if runs.unborn(path):
            continue
        with ShardReader(path) as reader:
            found.growing |= reader.growing
            for record in reader.records:
                usage = bill.usage(found.run["run"], found.run["parent"], record, reader.schema)
                every[record["episode"]] = (record, usage)
    numbers = sorted(every)
    found.usages = [every[n][1] for n in numbers]
    found.records = [every[n][0] for place, n in enumerate(numbers) if n == place]
    return found


def settle(folder: Path, ledger: Ledger, key: SigningKey | None = None) -> Settlement:
    """Post what is kept and not charged, give back what is held, and log; twice changes nothing.

    Whoever calls holds the locks of folder and lease: nobody is generating.

    Raises:
        LedgerError: see `check_ledger`; nothing was done.
        RunConflictError: the log says otherwise than the shards.
    """
    held = check_ledger(folder, ledger)
    found, done = kept(folder), Settlement()
    leaves = [bill.leaf(found.run), *found.leaves()]
    done.episodes, done.finished = len(found.usages), found.finished
    made = manifest(folder, found) if found.finished else None
    if made is not None:
        leaves.append(bill.leaf(made))
    _check_log(folder, leaves)
    for start in range(0, len(found.usages), BATCH):
        batch = found.usages[start : start + BATCH]
        for receipt in ledger.post(found.recipe.account, batch, held or None, keep=True):
            done.posted += not receipt.exists
            done.charge_micro += 0 if receipt.exists else receipt.amount
    if held:
        whose = (found.recipe.account, str(found.run["run"]))
        done.voided_micro = ledger.void_all(held, *whose)
    log.append(folder, leaves)
    log.write_checkpoint(folder, log.checkpoint(found.run["run"], leaves), key)
    if made is not None:
        runs.write_json(folder / "manifest.json", made)
    return done


def check_ledger(folder: Path, ledger: Ledger) -> bytes:
    """Return the beginning of the names of a run's leases; nothing if it has neither begun.

    Raises:
        LedgerError: the run is charged in another ledger, or nothing says in which.
    """
    named = runs.ledger_of(folder)
    if not named and _keeps(folder):
        raise LedgerError(
            f"{folder / runs.LEDGER}: missing, so that nothing says in which ledger these episodes "
            "were charged; here they would be charged again. Nothing was done. Restore it from a "
            "copy, give another --out, or check the run with `sandbox verify --no-ledger`."
        )
    if named and named["ledger"] != ledger.id:
        raise LedgerError(
            f"{folder}: charged in the ledger {named['ledger']}, and this one ({ledger.path}) is "
            f"{ledger.id}. Nothing was done. Set SANDBOX_HOME to the folder of that ledger, or "
            "give another --out."
        )
    return bytes.fromhex(named["lease"]) if named else b""


def _keeps(folder: Path) -> bool:
    """Whether log or shards have an episode."""
    paths = [path for path in shards(folder, missing_ok=True) if not runs.unborn(path)]
    return len(log.read(folder)) > 1 or any(len(ShardReader(path)) for path in paths)


@contextmanager
def lock(folder: Path, *, make: bool = False, worker: int | None = None) -> Generator[None]:
    """Be the only one who writes a run folder, or its only worker of a number.

    Raises:
        RunConflictError: another process writes there.
        SandboxError: the folder cannot be written.
    """
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / ".lock", worker):
            yield
    except Timeout:
        raise RunConflictError(
            f"{folder}: another process is generating here; nothing was done. Wait for it, or give "
            "another --out."
        ) from None
    except OSError as error:
        raise SandboxError(
            f"{folder}: cannot be written: {error.strerror or error}. Nothing was charged for what "
            "is not kept; make room, or give another --out."
        ) from error


@contextmanager
def lock_lease(folder: Path, ledger: Ledger, worker: int | None = None) -> Generator[None]:
    """Be the only one who posts or gives back what a run holds, or its only worker of a number.

    A copy of a run folder has a lock of its own but the lease of the first, so that this lock is
    beside the ledger.

    Raises:
        LedgerError: see `check_ledger`.
        RunConflictError: another process generates the run in another folder.
        SandboxError: there can be no lock beside the ledger.
    """
    held = check_ledger(folder, ledger)
    path = ledger.path.parent / "locks" / held.hex()
    with ExitStack() as stack:
        try:
            if held:
                path.parent.mkdir(exist_ok=True)
                stack.enter_context(_alone(path, worker))
        except Timeout:
            raise RunConflictError(
                f"{folder}: another process is generating this run in another folder, of which "
                "this is a copy; nothing was done. Wait for it, or give another --out."
            ) from None
        except OSError as error:
            raise SandboxError(
                f"{path}: cannot be locked: {error.strerror or error}. Nothing was done."
            ) from error
        yield


@contextmanager
def _alone(path: Path, worker: int | None) -> Generator[None]:
    """Hold a lock when those of its workers are free, or one of theirs; Timeout if it is taken."""
    if worker is not None:
        with FileLock(path.with_name(f"{path.name}.{worker}"), timeout=ORPHAN_S):
            yield
        return
    with FileLock(path, timeout=0):
        for left in sorted(path.parent.glob(f"{path.name}.*")):
            with FileLock(left, timeout=ORPHAN_S):
                pass
        yield


def manifest(folder: Path, found: Kept) -> dict[str, Any]:
    """Return the manifest of a finished run: its files, its bill, what was posted for it."""
    charges = [record["charges"] for record in found.records]
    posted, amount = bill.total(found.usages)
    return {
        "format": runs.FORMAT,
        "run": found.run["run"],
        "parent": found.run["parent"],
        "episodes": len(found.records),
        "shards": {path.name: runs.file_digest(path) for path in shards(folder, missing_ok=True)},
        "quantities": {unit: sum(c.get(unit, 0) for c in charges) for unit in posted},
        "charge_micro": sum(record["charge_micro"] for record in found.records),
        "posted_quantities": posted,
        "posted_micro": amount,
        "price_version": found.run["price_version"],
    }


def _check_log(folder: Path, leaves: list[bytes]) -> None:
    known = log.read(folder)
    if known != leaves[: len(known)]:
        raise RunConflictError(
            f"{folder / log.LOG}: does not begin as the shards say. Nothing was done; `sandbox "
            "verify` says what was changed."
        )
