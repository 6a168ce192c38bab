"""Refunds of the episodes whose work was not done as recorded, and the verdicts that they name.

A verdict is a JSON file: for each episode its fault, its charge, and the proof that its record is
in the log that was signed. It is kept beside the ledger under its SHA-256, which the refunds name.
It shows who was charged for what; that the work differs is shown by whoever does it again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox import durable, jsonfile, prices
from sandbox.errors import FormatError, InvalidInputError, SandboxError, shown
from sandbox.evidence.note import VerifierKey
from sandbox.ledger import Ledger
from sandbox.ledger.transfer import Booked, charge_id, named
from sandbox.run.folder import Folder
from sandbox.run.locks import check_ledger
from sandbox.run.record import Record
from sandbox.verification import prove
from sandbox.verification.prove import DAMAGE, Proof
from sandbox.verification.report import Report

FORMAT, KIND, FOLDER = 1, "verdict", "verdicts"
_SHARED = ("kind", "checkpoint", "run", "run_path")  # What all proofs of a run have in common.


@dataclass
class Refunds:
    """What was refunded of a run.

    Attributes:
        run: id of the run.
        verdict: the file that says why; None if nothing could be refunded.
        digest: its SHA-256, which the refunds name.
        refunded_micro: what was refunded now [microcredits].
        episodes: numbers of the episodes that were refunded now.
        before: numbers of those of which nothing was left to refund.
        left: number of each other failed episode to why it was not refunded.
    """

    run: str
    verdict: Path | None = None
    digest: str = ""
    refunded_micro: int = 0
    episodes: list[int] = field(default_factory=list[int])
    before: list[int] = field(default_factory=list[int])
    left: dict[int, str] = field(default_factory=dict[int, str])

    def told(self) -> list[str]:
        """Return what was refunded and what was not, in sentences."""
        now, before = (", ".join(map(str, each)) for each in (self.episodes, self.before))
        texts = [f"{prices.credits(self.refunded_micro)} credits given back."]
        texts += [f"Refunded: episode {now}."] if now else []
        texts += [f"Nothing was left to refund of episode {before}."] if before else []
        texts += [] if self.verdict is None else [f"Verdict: {self.verdict}"]
        return texts + [f"Not refunded: episode {n}: {why}" for n, why in self.left.items()]


def refund(folder: Folder, report: Report, ledger: Ledger) -> Refunds:
    """Refund the episodes whose work was not done as recorded; repeating it books nothing again.

    Episodes whose bytes alone are damaged are left: anybody can damage a copy.

    Args:
        folder: the run.
        report: what verifying it found.
        ledger: the ledger that charged it.

    Raises:
        LedgerError: the run was charged in another ledger. Nothing was refunded.
        FormatError: the run's log does not prove what was charged.
    """
    check_ledger(folder, ledger)
    found, due = Refunds(folder.run), dict[int, Booked]()
    usages = {usage.episode: usage for usage in folder.kept().usages}
    for number in sorted(report.failed):
        usage = usages.get(number)
        post = None if usage is None else ledger.find(usage.id)
        if number not in report.diverged:
            found.left[number] = "its bytes are damaged, and anybody can damage a copy."
        elif report.excuses:
            found.left[number] = report.excuses[0]
        elif usage is None or post is None or post.move.facts.get("evidence") != usage.evidence:
            found.left[number] = "the ledger has no charge of this record."
        else:
            due[number] = post
    if due:
        _book(folder, report, ledger, due, found)
    return found


def _book(
    folder: Folder, report: Report, ledger: Ledger, due: Mapping[int, Booked], found: Refunds
) -> None:
    """Write the verdict, and then book the refunds that name it."""
    raw = jsonfile.encode(_verdict(folder, report, ledger, due))
    found.digest = hashlib.sha256(raw).hexdigest()
    found.verdict = ledger.beside.parent / FOLDER / f"{found.digest}.json"
    with suppress(OSError):  # The next line says why it cannot be written.
        found.verdict.parent.mkdir(exist_ok=True)
    durable.replace(found.verdict, raw)
    for number, post in due.items():
        if ledger.refunded(post.move.id) >= post.move.amount:
            found.before.append(number)
            continue
        receipt = ledger.refund(
            post.move.id,
            id=named("audit-refund/v1", post.move.id.hex()),
            reason=f"episode {number} failed its audit",
            verdict=found.digest,
        )
        found.episodes.append(number)
        found.refunded_micro += receipt.amount


def _verdict(
    folder: Folder, report: Report, ledger: Ledger, due: Mapping[int, Booked]
) -> dict[str, Any]:
    proofs = {number: prove.episode(folder, number) for number in due}
    first = next(iter(proofs.values()))
    return {
        "format": FORMAT,
        "kind": KIND,
        "ledger": ledger.id,
        "shared": {name: first[name] for name in _SHARED},
        "episodes": [
            {
                "post": post.move.id.hex(),
                "account": post.move.account,
                "charge_micro": post.move.amount,
                "fault": report.failed[number],
                "proof": {k: v for k, v in proofs[number].items() if k not in _SHARED},
            }
            for number, post in due.items()
        ],
    }


def is_verdict(data: Mapping[str, Any]) -> bool:
    """Return whether a JSON object is a verdict, true or not."""
    return data.get("kind") == KIND and "episodes" in data


def check(
    data: Mapping[str, Any], keys: Sequence[VerifierKey], *, signed: bool, ledger: Ledger | None
) -> Proof:
    """Check a verdict, which anybody may have made.

    Args:
        data: the verdict.
        keys: whose signatures count.
        signed: whether one of them must have signed the run.
        ledger: in which the refunds are looked up, if it is the one that the verdict names.
    """
    found = Proof()
    try:
        if type(data["format"]) is not int or data["format"] != FORMAT or not data["episodes"]:
            raise FormatError(f"this is no verdict of format {FORMAT}.")
        here = None if ledger is None or ledger.id != data["ledger"] else ledger
        if here is None:
            found.notes.append("charges and refunds were not looked up: that ledger is not here.")
        digest = hashlib.sha256(jsonfile.encode(dict(data))).hexdigest()
        for one in data["episodes"]:
            proof = prove.check({**data["shared"], **one["proof"]}, keys, signed=signed)
            for ours, theirs in zip(_parts(found), _parts(proof), strict=True):
                ours += [text for text in theirs if text not in ours]
            _check_charge(data["shared"]["run"], one, here, digest, found)
    except (*DAMAGE, SandboxError) as error:
        found.faults.append(f"the verdict is damaged: {shown(str(error))}")
    return found


def _parts(proof: Proof) -> tuple[list[str], list[str], list[str]]:
    return proof.shown, proof.faults, proof.notes


def _check_charge(
    run: Mapping[str, Any],
    one: Mapping[str, Any],
    ledger: Ledger | None,
    digest: str,
    found: Proof,
) -> None:
    """Compare the charge that a verdict names with its record and, if it is here, the ledger."""
    record = Record.parse(one["proof"]["record"])
    number, id = record.episode, bytes.fromhex(one["post"])
    if id != charge_id(run["run"], number, run["parent"]):
        found.faults.append(f"the charge {one['post']:.32} is not that of episode {number}.")
        return
    found.shown.append(f"episode {number} was charged to {one['account']}; found: {one['fault']}")
    if ledger is None:
        return
    post = ledger.find(id)
    said = (one["account"], one["charge_micro"], record.leaf.hex())
    booked = post and (post.move.account, post.move.amount, post.move.facts["evidence"])
    if post is None or booked != said:
        found.faults.append(f"ledger: has no such charge of episode {number}.")
        return
    back = [
        move.amount
        for move in (it.move for it in ledger.of_run(run["run"]))
        if move.corrects == post.seq and move.facts.get("verdict") == digest
    ]
    if back:
        found.shown.append(f"episode {number} was refunded by {sum(back)} microcredits for it.")
    else:
        found.notes.append(f"no refund of episode {number} names this verdict.")


def refuse_nothing(folder: Folder, report: Report, found: Refunds) -> None:
    """Refuse a refund that there is no reason for (InvalidInputError)."""
    if not report.failed:
        raise InvalidInputError(
            f"{folder.path}: no episode of {report.episodes} is wrong, {report.replayed} of which "
            "were done again; there is nothing to refund."
        )
    if not found.episodes and not found.before:
        number, why = next(iter(found.left.items()))
        raise InvalidInputError(
            f"{folder.path}: {len(found.left)} episodes fail, and nothing was refunded; episode "
            f"{number}: {why}"
        )
