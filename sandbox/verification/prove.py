"""Proofs of one episode, or that a log only grew, which verify without the run and the ledger.

A proof is a JSON file: the checkpoint, what is proved, and the hashes that lead from it to the
checkpoint's root. It shows that the episode's record, with its recipe, its price and the root over
its rows, is in the log that was signed; it does not show that the work was done: `audit` does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox import jsonfile, prices
from sandbox.errors import FormatError, InvalidInputError, SandboxError, shown
from sandbox.evidence import log, merkle, note
from sandbox.evidence.note import VerifierKey
from sandbox.prices import PriceSchedule
from sandbox.run import stages
from sandbox.run.folder import MANIFEST, Folder
from sandbox.run.identity import carried
from sandbox.run.record import Record
from sandbox.run.shard import Kept

FORMAT, OF_EXTENSION = 1, 2  # The second is of an episode by which a run was extended.
_KNOWN = (  # Format, kind, and whether the manifest of the stage before is in the proof.
    (FORMAT, "episode", False),
    (OF_EXTENSION, "episode", True),
    (FORMAT, "growth", False),
)
DAMAGE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


@dataclass
class Proof:
    """What a proof shows.

    Attributes:
        shown: sentences.
        faults: what is wrong with it; a proof that holds has none.
        notes: what it does not show.
    """

    shown: list[str] = field(default_factory=list[str])
    faults: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])


def episode(folder: Folder, number: int, step: int | None = None) -> dict[str, Any]:
    """Return the proof that an episode, and one of its rows, is in a run's log.

    For a run that renders another the proof holds the manifest too, which shows what was charged.

    Args:
        folder: the run.
        number: number of the episode.
        step: the row; None proves the record alone.

    Raises:
        InvalidInputError: there is no such episode or row.
        FormatError: the run is damaged, or its log does not have the episode.
    """
    kept, leaves, text = _logged(folder)
    if not 0 <= number < len(kept.records):
        raise InvalidInputError(f"episode {number}: the run has {len(kept.records)}.")
    entry = folder.stages.entry(number)
    proof = {
        "format": FORMAT,
        "kind": "episode",
        "checkpoint": text,
        "run": dict(folder.identity.plain),
        "run_path": _hex(merkle.inclusion(leaves, 0)),
        "record": _record(folder, number).plain,
        "record_path": _hex(merkle.inclusion(leaves, entry)),
    }
    if entry > number + 1:
        proof |= _stage_before(folder, leaves, entry - number - 2)
    if folder.identity.parent is not None and len(leaves) == folder.recipe.episodes + 2:
        proof["manifest"] = jsonfile.read(folder.path / MANIFEST).data
        proof["manifest_path"] = _hex(merkle.inclusion(leaves, len(leaves) - 1))
    return proof if step is None else {**proof, **_row(folder, number, step)}


def growth(folder: Folder, older: str) -> dict[str, Any]:
    """Return the proof that a run's log grew from an older checkpoint.

    Raises:
        FormatError: the run is damaged, or the older text is no checkpoint.
        InvalidInputError: it is another run's, or the log was never so long.
    """
    _, leaves, text = _logged(folder)
    known = note.Checkpoint.parse(note.body(older))
    if known.origin != log.origin(folder.run):
        raise InvalidInputError(
            f"the older checkpoint is of the log {shown(known.origin, 90)}, not of this run's, "
            f"{log.origin(folder.run)!r}; give a checkpoint of this run."
        )
    path = merkle.consistency(leaves, known.size)
    return {
        "format": FORMAT,
        "kind": "growth",
        "older": older,
        "checkpoint": text,
        "path": _hex(path),
    }


def is_proof(data: Mapping[str, Any]) -> bool:
    """Return whether a JSON object is a proof, true or not."""
    return data.get("kind") in ("episode", "growth") and "checkpoint" in data


def check(proof: Mapping[str, Any], keys: Sequence[VerifierKey], *, signed: bool) -> Proof:
    """Check a proof, which anybody may have made.

    Args:
        proof: as `episode` or `growth` returned it.
        keys: whose signatures count.
        signed: whether one of them must have signed.
    """
    found = Proof()
    try:
        known = (_whole(proof, "format"), proof.get("kind"), "before" in proof)
        if known not in _KNOWN:
            raise FormatError(f"this is no proof of format {FORMAT} or {OF_EXTENSION}.")
        closed = _signed(proof["checkpoint"], keys, signed, found)
        if proof["kind"] == "episode":
            _check_episode(proof, closed, found)
        else:
            _check_growth(proof, closed, keys, found)
    except (*DAMAGE, SandboxError) as error:
        found.faults.append(f"the proof is damaged: {error}")
    return found


def _check_episode(proof: Mapping[str, Any], closed: note.Checkpoint, found: Proof) -> None:
    known, record = proof["run"], proof["record"]
    number, steps = _whole(record, "episode"), _whole(record, "steps")
    if closed.origin != log.origin(known["run"]) or record["run"] != known["run"]:
        found.faults.append("the checkpoint, the run and the episode are not of one run.")
    if not _included(log.leaf(known), 0, closed, proof["run_path"]):
        found.faults.append("what run.json says is not in the log.")
    entry = number + 1 + _stages_before(proof, closed, number, found)
    if not _included(log.leaf(record), entry, closed, proof["record_path"]):
        found.faults.append(f"the record of episode {number} is not in the log.")
    cost = _schedule(known, record).cost(record["charges"])
    if cost != record["charge_micro"]:
        found.faults.append(f"its work costs {cost} microcredits, not {record['charge_micro']}.")
    found.shown.append(
        f"episode {number} of run {known['run'][:16]}...: {steps} steps, {prices.credits(cost)} "
        f"credits of work, is entry {entry + 1} of {closed.size} of the log."
    )
    if known["parent"] is not None:
        _check_posted(proof, closed, found)
    if closed.size < known["recipe"].get("episodes") + 2:
        found.notes.append(
            f"the run was not finished: its log had {closed.size - 1} of "
            f"{known['recipe']['episodes']} episodes."
        )
    if "leaf" in proof:
        _check_row(proof, record, found)
    found.notes.append("that the work was done is not shown; `sandbox audit` the run for that.")


def _stages_before(
    proof: Mapping[str, Any], closed: note.Checkpoint, number: int, found: Proof
) -> int:
    """Return how many manifests stand before an episode's record in the log, which shows them."""
    if "before" not in proof:
        return 0
    made, known = proof["before"], proof["run"]
    ends: list[int] = [*made.get("extended", []), made["episodes"]]
    fault = stages.fault_of(ends, known["recipe"]["episodes"])
    place = ends[-1] + len(ends)
    inside = _included(log.leaf(made), place, closed, proof["before_path"])
    if fault or not inside or made["run"] != known["run"] or number < ends[-1]:
        found.faults.append("the manifest of the stage before it is not in the log.")
    return len(ends)


def _check_posted(proof: Mapping[str, Any], closed: note.Checkpoint, found: Proof) -> None:
    """Say what an episode that renders another was charged: its share of what the manifest says.

    Pictures cost the same in each row, and all pixels of a run are its own.
    """
    known, record = proof["run"], proof["record"]
    what = f"the run renders run {known['parent'][:16]}... again and pays for its pictures alone"
    if "manifest" not in proof:
        found.notes.append(f"{what}: how much is not shown.")
        return
    made = proof["manifest"]
    if not _included(log.leaf(made), closed.size - 1, closed, proof["manifest_path"]):
        found.faults.append("what manifest.json says is not in the log.")
    mine, total = (_whole(it, "pixel") for it in (record["charges"], made["quantities"]))
    shares = {unit: divmod(n * mine, total) for unit, n in made["posted_quantities"].items()}
    if any(rest for _, rest in shares.values()):
        found.faults.append("what was charged for pictures is not the same for each of them.")
    cost = _schedule(known, made).cost({unit: n for unit, (n, _) in shares.items()})
    found.shown.append(f"{what}: {prices.credits(cost)} credits of these.")


def _schedule(known: Mapping[str, Any], priced: Mapping[str, Any]) -> PriceSchedule:
    """Return the prices that a record or a manifest names: those of the run, or of this machine."""
    version = priced["price_version"]
    found = carried(known) if version == known["price_version"] else None
    return found or prices.load(str(version))


def _check_row(proof: Mapping[str, Any], record: Mapping[str, Any], found: Proof) -> None:
    step, leaf = _whole(proof, "step"), merkle.leaf_hash(bytes.fromhex(proof["leaf"]))
    path, root = _bytes(proof["leaf_path"]), bytes.fromhex(record["digest"])
    inside = merkle.includes(leaf, step, record["steps"] + 1, path, root)
    if not inside or bytes.fromhex(proof["leaf"])[33:37] != step.to_bytes(4, "little"):
        found.faults.append(f"row {step} is not of this episode.")
    else:
        found.shown.append(f"its row {step} is the one given.")


def _check_growth(
    proof: Mapping[str, Any], closed: note.Checkpoint, keys: Sequence[VerifierKey], found: Proof
) -> None:
    older = _signed(proof["older"], keys, False, Proof())
    path = _bytes(proof["path"])
    grew = merkle.is_consistent(older.size, older.root, closed.size, closed.root, path)
    if older.origin != closed.origin or not grew:
        found.faults.append("the log did not grow from the older checkpoint: it was rewritten.")
    else:
        found.shown.append(
            f"the log of {closed.size} entries begins with the {older.size} of the older one."
        )


def _signed(text: str, keys: Sequence[VerifierKey], needed: bool, found: Proof) -> note.Checkpoint:
    """Return a checkpoint; who signed it, or that nobody did, goes into what is found."""
    if not note.is_signed(text):
        if needed:
            found.faults.append("the checkpoint is not signed.")
        found.notes.append("the checkpoint is not signed: anybody could have made it.")
        return note.Checkpoint.parse(text)
    body, signers = note.verified(text, keys)
    if signers:
        found.shown.append(f"the checkpoint is signed by {', '.join(k.name for k in signers)}.")
    elif needed:
        found.faults.append("the checkpoint is signed by no key that is required.")
    else:
        found.notes.append(
            f"the signature of {', '.join(one.name for one in note.split(text)[1])} was not "
            "checked: the key is not known here. --key requires a signature."
        )
    return note.Checkpoint.parse(body)


def _record(folder: Folder, number: int) -> Record:
    """Return the record of an episode that is kept."""
    return next(record for record in folder.records() if record.episode == number)


def _logged(folder: Folder) -> tuple[Kept, list[bytes], str]:
    """Return what a run keeps, its log's leaves, and its checkpoint."""
    kept, leaves = folder.kept(), folder.log()
    records = folder.leaves(kept.leaves)
    if leaves == records[: len(leaves)] and len(leaves) < len(records):
        raise FormatError(
            f"{folder.path}: its log does not have all that it keeps: `sandbox settle`."
        )
    if leaves[: len(records)] != records:
        raise FormatError(f"{folder.path}: its log is not of what it keeps; `sandbox verify` it.")
    return kept, leaves, log.checkpoint_text(folder.path)


def _stage_before(folder: Folder, leaves: list[bytes], stage: int) -> dict[str, Any]:
    """Return the part of a proof that shows the manifest at the end of a stage, from 0."""
    extended = folder.extended()
    assert extended is not None, "the episode is of a later stage"
    one = extended.before[stage]
    way = merkle.inclusion(leaves, one.episodes + stage + 1)
    return {"format": OF_EXTENSION, "before": one.manifest, "before_path": _hex(way)}


def _row(folder: Folder, number: int, step: int) -> dict[str, Any]:
    """Return the part of a proof that shows one row of an episode."""
    made = folder.episode(number)
    if not 0 <= step < len(made):
        raise InvalidInputError(f"row {step}: the episode has {len(made)}.")
    way = merkle.inclusion(made.leaves(), step)
    return {"step": step, "leaf": made.leaf(step).hex(), "leaf_path": _hex(way)}


def _included(leaf: bytes, index: int, closed: note.Checkpoint, path: Any) -> bool:
    return merkle.includes(leaf, index, closed.size, _bytes(path), closed.root)


def _hex(path: Sequence[bytes]) -> list[str]:
    return [node.hex() for node in path]


def _bytes(path: Any) -> list[bytes]:
    nodes = [bytes.fromhex(node) for node in path]
    if _hex(nodes) != path:
        raise FormatError("a path is not a list of hashes in hex.")
    return nodes


def _whole(facts: Mapping[str, Any], name: str) -> int:
    """Return a whole number among facts that anybody may have written."""
    value = facts[name]
    if type(value) is not int:
        raise FormatError(f"{name} is {str(value)[:80]!r}, not a whole number.")
    return value
