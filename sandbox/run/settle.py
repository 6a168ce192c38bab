"""Settle a run: post what it keeps, release what it holds, then log, sign and list it."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from sandbox import jsonfile
from sandbox.errors import FormatError, RunConflictError
from sandbox.evidence import log
from sandbox.evidence.note import SigningKey
from sandbox.ledger import Ledger
from sandbox.run import bill
from sandbox.run.folder import MANIFEST, Folder
from sandbox.run.locks import check_ledger, lock, lock_lease
from sandbox.run.shard import Kept, Shard
from sandbox.run.stages import Stages
from sandbox.trajectory.reader import CURE
from sandbox.trajectory.shard import number_of

BATCH = 500  # Posts in one transaction.


@dataclass
class Settlement:
    """What settling a run did.

    Attributes:
        episodes: number of episodes kept.
        posted: number of those that had not been charged before.
        charge_micro: what was charged for them [microcredits].
        voided_micro: what a dead process had reserved and is released [microcredits].
        finished: whether the run has all its episodes.
        ended: why the run ended before it had them; "" if it did not.
        missing: numbers of the shards that lack episodes, where the recipe says how many there are.
    """

    episodes: int = 0
    posted: int = 0
    charge_micro: int = 0
    voided_micro: int = 0
    finished: bool = False
    ended: str = ""
    missing: list[int] = field(default_factory=list[int])


def settle(
    folder: Folder,
    ledger: Ledger,
    key: SigningKey | None = None,
    ended: str = "",
    others: Collection[Path] = (),
) -> Settlement:
    """Post what is kept and not charged, release what is held, and log; twice changes nothing.

    The caller holds the locks of folder and lease: nobody is generating.

    Args:
        folder: the run.
        ledger: where it is charged.
        key: signs the log; None leaves it unsigned.
        ended: why no further episode is made, one of ENDS; "" for no such reason.
        others: the shards that this process did not make. Their rows are read before the log names
            their digests, because no shard can be made again that differs from its log.

    Raises:
        LedgerError: the run is charged in another ledger; nothing was done.
        RunConflictError: the log contradicts the shards; nothing was done.
        FormatError: a record contradicts its rows, or rows are damaged; nothing was done.
    """
    lease = check_ledger(folder, ledger)
    planned = folder.stages
    for shard in folder.shards(missing_ok=True):
        check_charges(folder, planned, shard)
        folder.usages(shard)  # It is read once, and forgotten.
    kept, done = folder.kept(), Settlement()
    if folder.open_ended and len(folder.log()) == 2 + len(kept.leaves):
        folder.reached = len(kept.leaves)  # Its end was logged before a kill.
    leaves = folder.leaves(kept.leaves)
    done.episodes, done.finished = len(kept.usages), _is_whole(folder, kept)
    done.ended = "" if done.finished or not kept.usages else ended or folder.ended
    done.missing = [] if done.finished or done.ended else _missing(folder)
    manifest = None
    if done.finished or done.ended:
        manifest = folder.manifest(kept.every, kept.usages, done.ended)
    if done.finished:
        leaves.append(log.leaf(manifest))
    _check_log(folder, leaves)
    _check_rows(folder, others if done.finished and len(folder.log()) < len(leaves) else ())
    _post(folder, ledger, lease, kept, done)
    log.append(folder.path, leaves)
    made = log.checkpoint(folder.run, leaves, manifest if done.ended else None)
    log.write_checkpoint(folder.path, made, key)
    if manifest is not None:
        jsonfile.write(folder.path / MANIFEST, manifest)
    return done


def _post(folder: Folder, ledger: Ledger, lease: bytes, kept: Kept, done: Settlement) -> None:
    """Post what is kept and not charged, and release what is held."""
    account = folder.recipe.account
    for start in range(0, len(kept.usages), BATCH):
        batch = kept.usages[start : start + BATCH]
        for receipt in ledger.post(account, batch, lease or None, keep=True):
            done.posted += not receipt.exists
            done.charge_micro += 0 if receipt.exists else receipt.amount
    if lease:
        done.voided_micro = ledger.void_all(lease, account, folder.run)


def recover(path: str | Path, ledger: Ledger, key: SigningKey | None = None) -> Settlement:
    """Finish or void what a crash left in a run folder; twice changes nothing.

    Raises:
        FormatError: this is no run, or damaged.
        LedgerError, RunConflictError: see `settle`, `lock`, `lock_lease`.
    """
    folder = Folder(path)
    folder.identity  # noqa: B018  # Refuse what is no run before a lock is made in it.
    with lock(folder.path, leased=True), lock_lease(folder, ledger):
        return settle(folder, ledger, key, others=folder.paths(missing_ok=True))


def _check_rows(folder: Folder, paths: Collection[Path]) -> None:
    """Refuse rows that are not those of their records (FormatError)."""
    try:
        for reader in (folder.shard(path).reader for path in paths):
            for n in range(len(reader)):
                reader.read(n)
    except FormatError as error:
        raise FormatError(
            f"{str(error).removesuffix(CURE)}The run was not closed. Move this shard away, and run "
            "the command that made it again: it is made again, and not charged again."
        ) from error


def _is_whole(folder: Folder, kept: Kept) -> bool:
    """Return whether all episodes are there, in finished shards."""
    whole = not kept.growing and not folder.open_ended
    return whole and len(kept.records) == folder.stages.episodes


def _missing(folder: Folder) -> list[int]:
    """Return the numbers of the shards that lack episodes; none if credits decide how many."""
    if folder.open_ended:
        return []
    whole = {shard.number for shard in folder.shards(missing_ok=True) if not shard.growing}
    return [number for number in range(folder.stages.shards) if number not in whole]


def check_charges(folder: Folder, planned: Stages, shard: Shard) -> None:
    """Refuse records that ask for other charges than their rows; reads one column of these.

    A growing shard's records are text in a file of its own, which anybody may have edited.

    Raises:
        FormatError: nothing was posted.
    """
    known, reader = folder.identity, shard.reader
    number = number_of(shard.path)
    for n, record in enumerate(shard.records):
        rows = int(reader.lengths[n])
        fault = bill.difference(shard.charged[n], rows, record, known.carried)
        if (record.run, record.price_version) != (known.run, known.price_version):
            fault = "its record is of another run, or names other prices."
        if record.episode != planned.episode(number, n):
            fault = f"its record says episode {record.episode}, which stands elsewhere."
        if fault:
            raise FormatError(
                f"{shard.path}: episode {n} in it: {fault} Nothing was posted. Restore the file "
                "and the .jsonl beside it from a copy, or generate into another folder."
            )


def _check_log(folder: Folder, leaves: list[bytes]) -> None:
    known = folder.log()
    if known != leaves[: len(known)]:
        raise RunConflictError(
            f"{folder.path / log.LOG}: does not begin as the shards say. Nothing was done; "
            "`sandbox verify` says what was changed."
        )
