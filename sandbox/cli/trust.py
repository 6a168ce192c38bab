"""The commands over evidence: keys, recover, verify, audit, prove."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sandbox.cli import show
from sandbox.errors import FormatError, InvalidInputError, SandboxError
from sandbox.evidence import keys, note

if TYPE_CHECKING:
    from sandbox.verification.verify import Trust

keys_app = typer.Typer(help="Keys that sign the logs of runs.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
RunPath = Annotated[Path, typer.Argument(help="A run folder.", show_default=False)]
Key = Annotated[
    str | None, typer.Option("--key", help="Who signs; the key called default, if there is one.")
]
Trusted = Annotated[
    list[str] | None,
    typer.Option("--key", help="Whose signature is needed: a public key, its file or its label."),
]
Unsigned = Annotated[bool, typer.Option("--unsigned", help="Accept one that nobody signed.")]
NoLedger = Annotated[bool, typer.Option("--no-ledger", help="Compare no charges.")]
Workers = Annotated[int, typer.Option(min=1, max=256, help="Processes to share the shards.")]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Import the MODULE:CLASS that the run names.")
]
Published = Annotated[
    Path | None, typer.Option("--checkpoint", help="A checkpoint of the run kept elsewhere.")
]


@keys_app.command("new")
def new(
    label: Annotated[str, typer.Argument(help="Of its files.")] = keys.DEFAULT,
    name: Annotated[str | None, typer.Option(help="In signatures; the label if none.")] = None,
    exist_ok: Annotated[bool, typer.Option("--exist-ok", help="Keep one that is there.")] = False,
) -> None:
    """Make a key pair: LABEL.key, which only you may read, and LABEL.pub."""
    if exist_ok and keys.exists(label):
        show.note(f"Key {label}: {keys.load(label).verifier.text}")
        return
    made = keys.new(label, name)
    show.note(f"Made {keys.folder() / label}.key; keep it to yourself.")
    show.note(f"Public key, for others: {made.verifier.text}")


@keys_app.command("list")
def list_(as_json: Json = False) -> None:
    """List the public keys that are trusted here."""
    found = [{"name": key.name, "public key": key.text} for key in keys.trusted()]
    if as_json:
        print(json.dumps(found))
    else:
        show.table("Keys", found)
        for text in keys.unreadable():
            show.note(f"Passed over: {text}")


def recover(run: RunPath, key: Key = None, as_json: Json = False) -> None:
    """Finish or void what a crash left of a run; a second time changes nothing."""
    from sandbox.ledger import Ledger
    from sandbox.run.run import recover as recovering

    done = recovering(run, Ledger(), signer(key))
    if as_json:
        print(json.dumps(asdict(done)))
    else:
        show.recovered(done)


def verify(
    run: Annotated[Path, typer.Argument(help="A run folder, or a proof file.", show_default=False)],
    sample: Annotated[
        int | None, typer.Option(min=0, help="Replay only this many episodes, evenly spread.")
    ] = None,
    key: Trusted = None,
    checkpoint: Published = None,
    unsigned: Unsigned = False,
    no_ledger: NoLedger = False,
    workers: Workers = 1,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Re-read every byte, check every digest, signature and charge, replay every episode."""
    from sandbox.verification import verify as verifying

    if run.is_file():
        _verify_proof(run, key, unsigned, as_json)
        return
    trust = _trust(key, checkpoint, no_ledger, unsigned, trust_code)
    with show.VerifyProgress(run, hidden=as_json) as progress:
        report = verifying.verify(run, sample, progress, trust, workers=workers)
    if as_json:
        print(json.dumps({**asdict(report), "ok": not report.faults}))
    else:
        show.report(report)
    if report.faults:
        raise typer.Exit(1)


def audit(
    run: RunPath,
    confidence: Annotated[float, typer.Option(help="With what chance wrong ones show.")] = 0.95,
    fraction: Annotated[float, typer.Option(help="Of the episodes, wrong unseen.")] = 0.05,
    nonce: Annotated[str | None, typer.Option(help="Your own chance; made up if none.")] = None,
    key: Trusted = None,
    checkpoint: Published = None,
    unsigned: Unsigned = False,
    no_ledger: NoLedger = False,
    refund: Annotated[bool, typer.Option("--refund", help="Refund what fails.")] = False,
    workers: Workers = 1,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Replay a random sample of a run and say what that proves."""
    from sandbox.ledger import Ledger
    from sandbox.verification import audit as auditing

    trust = _trust(key, checkpoint, no_ledger, unsigned, trust_code)
    with show.VerifyProgress(run, hidden=as_json) as progress:
        found = auditing.audit(run, confidence, fraction, nonce, progress, trust, workers)
    if not as_json:
        show.audit(found, refund)
    refunded: dict[str, Any] = {}
    if refund and found.report.failed:
        try:
            given, left = auditing.refund(run, found, Ledger())
            refunded = {"refunded_micro": given, "not_refunded": left}
        except SandboxError as error:
            refunded = {"refunded_micro": 0, "refund_error": str(error)}
        if not as_json:
            show.refunded(refunded)
    if as_json:
        print(json.dumps({**auditing.as_json(found), **refunded}))
    if found.report.faults:
        raise typer.Exit(1)


def prove(
    run: RunPath,
    out: Annotated[Path, typer.Option(help="The proof file.", show_default=False)],
    episode: Annotated[int | None, typer.Option(min=0, help="Of which episode.")] = None,
    step: Annotated[int | None, typer.Option(min=0, help="And of which of its rows.")] = None,
    since: Annotated[
        Path | None, typer.Option(help="That the log grew from this older checkpoint.")
    ] = None,
) -> None:
    """Write a proof of one episode, or of growth, that verifies without run and ledger."""
    from sandbox.run import folder as runs
    from sandbox.verification import prove as proving

    if (episode is None) == (since is None):
        raise InvalidInputError("give either --episode or --since.")
    if since is not None:
        proof = proving.growth(run, _text(since))
    else:
        proof = proving.episode(run, episode or 0, step)
    runs.write_json(out, proof)
    show.paths("Proof", [out])


def signer(label: str | None) -> "keys.SigningKey | None":
    """Return the key that signs: the one asked for, else `default` if it exists."""
    if label is None and not keys.exists():
        return None
    return keys.load(label or keys.DEFAULT)


def _verify_proof(path: Path, trusted: list[str] | None, unsigned: bool, as_json: bool) -> None:
    from sandbox.run import folder as runs
    from sandbox.verification import prove as proving

    known = _keys(trusted)
    signed = bool(known) and not unsigned
    found = proving.check(runs.read_json(path), known, signed=signed)
    if as_json:
        print(json.dumps({**asdict(found), "ok": not found.faults}))
    else:
        show.proof(found)
    if found.faults:
        raise typer.Exit(1)


def _trust(
    trusted: list[str] | None,
    published: Path | None,
    no_ledger: bool,
    unsigned: bool,
    trust_code: bool,
) -> "Trust":
    from sandbox.ledger import Ledger
    from sandbox.verification.verify import Trust

    ledger, known = None if no_ledger else Ledger(read_only=True), _keys(trusted)
    text = None if published is None else _checkpoint(published)
    return Trust(ledger, known, bool(known) and not unsigned, text, trust_code)


def _checkpoint(path: Path) -> str:
    """Return the text of a checkpoint that was kept elsewhere; InvalidInputError if it is none."""
    text = _text(path)
    try:
        note.Checkpoint.parse(note.split(text)[0] if "\n\n" in text else text)
    except FormatError as error:
        raise InvalidInputError(f"{path}: {error}") from None
    return text


def _keys(trusted: list[str] | None) -> "list[keys.VerifierKey]":
    return [keys.verifier(text) for text in trusted] if trusted else keys.trusted()


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: cannot be read: {error}.") from None
