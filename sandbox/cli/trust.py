"""The commands that check a run: verify, audit, refund, prove, settle, keys."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sandbox.cli.options import Json, RunPath, SigningKeyLabel, TrustCode, Workers, path
from sandbox.errors import FormatError, InvalidInputError, SandboxError

if TYPE_CHECKING:
    from sandbox.run.settle import Settlement
    from sandbox.verification.audit import Audit
    from sandbox.verification.refunds import Refunds
    from sandbox.verification.trust import Trust

keys_app = typer.Typer(help="Make and list the keys that sign the logs of runs.")

KeysRequired = Annotated[
    list[str] | None,
    typer.Option(
        "--key", help="Public key whose signature is required: its text, its file or its label."
    ),
]
LedgerRequired = Annotated[
    bool | None,
    typer.Option(
        "--ledger/--no-ledger",
        help="Require the ledger that charged the run, or read none; default: compare charges if "
        "this machine's ledger made them.",
    ),
]
Refund = Annotated[bool, typer.Option("--refund", help="Refund the episodes that fail.")]
Published = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        parser=path,
        help="Copy of the run's file `checkpoint` (its signed log head) that you saved earlier; "
        "verify checks that the log still begins with it.",
    ),
]

Sample = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Number of episodes to replay, evenly spread; default: all, or none without PyBullet.",
    ),
]
Source = Annotated[
    Path | None,
    typer.Option(
        parser=path, help="Of a run of dreams: the run whose rows its episodes begin with."
    ),
]


@keys_app.command("new")
def new(
    label: Annotated[str, typer.Argument(help="Name of the key's files.")] = "default",
    name: Annotated[
        str | None, typer.Option(help="Name of the key in signatures; default: the label.")
    ] = None,
    exist_ok: Annotated[
        bool, typer.Option("--exist-ok", help="Keep a key that exists already.")
    ] = False,
) -> None:
    """Make a key pair: LABEL.key, which only you may read, and LABEL.pub."""
    from sandbox.cli import show
    from sandbox.evidence import keys

    if exist_ok and keys.exists(label):
        show.note(f"Key {label}: {keys.load(label).verifier.text}")
        return
    made = keys.new(label, name)
    show.note(f"Made {keys.folder() / label}.key; keep it to yourself.")
    show.note(f"Public key, for others: {made.verifier.text}")


@keys_app.command("list")
def list_(as_json: Json = False) -> None:
    """List the public keys that are trusted on this machine."""
    from sandbox.cli import show
    from sandbox.evidence import keys

    found = [{"name": key.name, "public key": key.text} for key in keys.trusted()]
    if as_json:
        print(json.dumps(found))
    else:
        show.table("Keys", found)
        for text in keys.unreadable():
            show.note(f"Ignored: {text}")


def settle(run: RunPath, key: SigningKeyLabel = None, as_json: Json = False) -> None:
    """Settle a run that ranks made, or after a crash; exit with 1 if shards are missing."""
    from sandbox import checking
    from sandbox.evidence import keys

    done = checking.settle(run, key=None if key is None else keys.load(key))
    if as_json:
        print(json.dumps(asdict(done)))
    else:
        _print_settled(done)
    if not done.finished and not done.ended:
        raise typer.Exit(1)


def _print_settled(done: "Settlement") -> None:
    """Print what settling a run did."""
    from sandbox import prices
    from sandbox.cli import show

    show.note(
        f"{done.episodes} episodes are kept; {done.posted} of them were charged now "
        f"({prices.credits(done.charge_micro)} credits); "
        f"{prices.credits(done.voided_micro)} credits that were held are given back."
    )
    if done.ended:
        show.note(
            f"The run ended early, because its {done.ended} was spent; `sandbox generate` goes on "
            "with it."
        )
    elif not done.finished:
        some = [str(number) for number in done.missing[:20]] + ["..."] * (len(done.missing) > 20)
        few = ", ".join(some)
        lacks = f" {len(done.missing)} shards lack episodes: {few}." if some else ""
        show.note(f"The run is not finished; `sandbox generate` goes on with it.{lacks}")


def verify(
    run: Annotated[
        Path,
        typer.Argument(
            parser=path,
            help="A run folder, a proof file, or the verdict of a refund.",
            show_default=False,
        ),
    ],
    sample: Sample = None,
    key: KeysRequired = None,
    checkpoint: Published = None,
    ledger: LedgerRequired = None,
    whole_ledger: Annotated[
        bool,
        typer.Option("--whole-ledger", help="Derive the whole ledger again, not what is new."),
    ] = False,
    source: Source = None,
    trust_code: TrustCode = False,
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """Re-read every byte, check every digest, signature and charge, replay every episode."""
    from sandbox import checking
    from sandbox.cli import progress, show

    if run.is_file():
        given = {"--ledger": ledger, "--checkpoint": checkpoint, "--whole-ledger": whole_ledger}
        given |= {"--sample": sample is not None, "--workers": workers != 1}
        given |= {"--trust-code": trust_code, "--source": source}
        _refuse_options(run, [name for name, value in given.items() if value])
        _verify_proof(run, key, as_json)
        return
    trust = _trust(key, checkpoint, ledger, trust_code, whole_ledger, source)
    with progress.verifying(run, as_json) as bar:
        report = checking.verify(run, sample=sample, trust=trust, workers=workers, progress=bar)
    if as_json:
        print(json.dumps({**asdict(report), "ok": not report.faults}))
    else:
        show.report(report)
    if report.faults:
        raise typer.Exit(1)


def audit(
    run: RunPath,
    confidence: Annotated[
        float,
        typer.Option(
            help="Probability of finding a wrong episode if --fraction of them is wrong (0 to 1)."
        ),
    ] = 0.95,
    fraction: Annotated[
        float,
        typer.Option(help="Smallest share of wrong episodes that the audit must detect (0 to 1)."),
    ] = 0.05,
    nonce: Annotated[
        str | None, typer.Option(help="Your own random text; default: a new one.")
    ] = None,
    key: KeysRequired = None,
    checkpoint: Published = None,
    ledger: LedgerRequired = None,
    refund: Refund = False,
    trust_code: TrustCode = False,
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """Replay a random sample of a run, and print what that proves."""
    from sandbox import checking
    from sandbox.cli import progress, show
    from sandbox.verification import audit as audits

    trust = _trust(key, checkpoint, ledger, trust_code)
    with progress.verifying(run, as_json) as bar:
        found = checking.audit(
            run,
            confidence=confidence,
            fraction=fraction,
            nonce=nonce,
            trust=trust,
            workers=workers,
            progress=bar,
        )
    if not as_json:
        show.audit(found, refund)
    refunded, error = _refund(run, found) if refund and found.report.failed else (None, "")
    if as_json:
        said = {"refund_error": error or None, "refund": refunded and asdict(refunded)}
        said = {name: value for name, value in said.items() if value is not None}
        print(json.dumps({**audits.as_json(found), **said}, default=str))
    elif error or refunded is not None:
        show.refunded(refunded, error)
    if found.report.faults:
        raise typer.Exit(1)


def refund(
    run: RunPath,
    key: KeysRequired = None,
    trust_code: TrustCode = False,
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """Verify a run, and refund the episodes whose work was not done as recorded.

    Each refund names a verdict: a file beside the ledger, which `sandbox verify FILE` checks.
    """
    from sandbox import refunding
    from sandbox.cli import progress, show

    trust = _trust(key, None, None, trust_code)
    with progress.verifying(run, as_json) as bar:
        found = refunding.refund(run, trust=trust, workers=workers, progress=bar)
    if as_json:
        print(json.dumps(asdict(found), default=str))
    else:
        show.refunded(found)


def prove(
    run: RunPath,
    out: Annotated[
        Path,
        typer.Option(
            parser=path,
            help="The proof file to write.",
            show_default=False,
        ),
    ],
    episode: Annotated[
        int | None, typer.Option(min=0, help="Number of the episode to prove.")
    ] = None,
    step: Annotated[
        int | None, typer.Option(min=0, help="Row of that episode to prove as well.")
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            help="Older checkpoint: prove that the log grew from it.",
        ),
    ] = None,
) -> None:
    """Write a file that proves one episode, or that the log only grew since a checkpoint.

    Others check it with `sandbox verify FILE`, without the run or the ledger.
    """
    from sandbox import api, jsonfile, outputs
    from sandbox.cli import show
    from sandbox.verification import prove as proofs

    if (episode is None) == (since is None):
        raise InvalidInputError("give either --episode or --since.")
    outputs.check(out, is_ours=lambda path: proofs.is_proof(jsonfile.read(path).data))
    folder = api.open_run(run)
    if since is not None:
        proof = proofs.growth(folder, _text(since))
    else:
        proof = proofs.episode(folder, episode or 0, step)
    jsonfile.write(out, proof)
    show.paths("Proof", [out])


def _refund(run: Path, found: "Audit") -> "tuple[Refunds | None, str]":
    """Refund what failed an audit; return what was refunded, or None and why not."""
    from sandbox import api
    from sandbox.ledger import Ledger
    from sandbox.verification import refunds

    try:
        return refunds.refund(api.open_run(run), found.report, Ledger()), ""
    except SandboxError as error:
        return None, str(error)


def _refuse_options(path: Path, given: list[str]) -> None:
    """Refuse options that say nothing of a proof, which would be ignored."""
    if given:
        raise InvalidInputError(
            f"{path}: is a proof, which is checked without ledger, run and replay; leave "
            f"{', '.join(given)} out."
        )


def _verify_proof(path: Path, required: list[str] | None, as_json: bool) -> None:
    from sandbox import jsonfile
    from sandbox.cli import show
    from sandbox.verification import prove as proofs
    from sandbox.verification import refunds

    data = jsonfile.read(path).data
    if refunds.is_verdict(data):
        trust = _trust(required, None, None, False)
        found = refunds.check(data, trust.keys, signed=trust.signed, ledger=trust.ledger)
    else:
        trust = _trust(required, None, False, False)
        found = proofs.check(data, trust.keys, signed=trust.signed)
    if as_json:
        print(json.dumps({**asdict(found), "ok": not found.faults}))
    else:
        show.proof(found)
    if found.faults:
        raise typer.Exit(1)


def _trust(
    required: list[str] | None,
    published: Path | None,
    ledger: bool | None,
    trust_code: bool,
    whole_ledger: bool = False,
    source: Path | None = None,
) -> "Trust":
    from sandbox.verification.trust import Trust

    return Trust.here(
        ledger=ledger,
        key=required or (),
        published=None if published is None else _checkpoint(published),
        trust_code=trust_code,
        whole_ledger=whole_ledger,
        source=source,
    )


def _checkpoint(path: Path) -> str:
    """Return the text of a checkpoint that was kept elsewhere; InvalidInputError if it is none."""
    from sandbox.evidence import note

    text = _text(path)
    try:
        note.Checkpoint.parse(note.body(text))
    except FormatError as error:
        raise InvalidInputError(f"{path}: {error}") from None
    return text


def _text(path: Path) -> str:
    from sandbox import files

    try:
        return files.read(files.place(path), kind=InvalidInputError).decode()
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path}: is not UTF-8 text.") from None
