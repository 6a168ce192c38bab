"""Lay out a run for others: all that reading and verifying need, nothing of this machine."""

import hashlib
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sandbox import api, checking, durable, files, jsonfile
from sandbox.arguments import checked
from sandbox.errors import FormatError, InvalidInputError, SandboxError, shown
from sandbox.evidence import keys, log, note
from sandbox.exports import staging
from sandbox.report import card as cards
from sandbox.report.card_facts import SIGNER
from sandbox.run import derived
from sandbox.run.derived import DERIVED
from sandbox.run.folder import BOOKING, MANIFEST, RUN, Folder
from sandbox.run.stages import EXTENDED
from sandbox.trajectory.shard import sidecar_path
from sandbox.verification.report import Progress

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Published:
    """A run that was laid out for others.

    Attributes:
        path: the folder.
        run: id of the run.
        size_bytes: size of all its files.
        left_out: what of the run's folder was left out, and why.
        told: what it tells of you, because evidence cannot be changed.
        not_drawn: why a picture of its card could not be drawn.
    """

    path: Path
    run: str
    size_bytes: int
    left_out: list[str]
    told: list[str]
    not_drawn: list[str]

    @property
    def command(self) -> str:
        """The command that uploads it."""
        return f"hf upload USER/NAME {shlex.quote(str(self.path))} . --repo-type dataset"


@checked
def publish(
    run: api.PathLike,
    to: api.PathLike,
    *,
    license: str | None = None,
    name: str | None = None,
    pictures: bool = True,
    keep_paths: bool = False,
    trust_code: bool = False,
    progress: Progress = lambda report: None,
) -> Published:
    """Copy a run into a new folder, for others to read and to verify, or to upload.

    It has shards, evidence, the public key of the signature, and a card with pictures. It has no
    locks, caches and views, and nothing says which ledger charged it. The run is verified first,
    without replay.

    Args:
        run: the run folder; the run is finished.
        to: the new folder, whole or not there.
        license: see `card`.
        name: see `card`.
        pictures: see `card`.
        keep_paths: whether to publish a run whose evidence names a path of this machine.
        trust_code: whether to import an environment that the run calls MODULE:CLASS, to draw.
        progress: called after each episode that is verified.

    Raises:
        FormatError: the run is not finished, or does not verify. Nothing is there.
        InvalidInputError: there is something at `to`; a value is not valid; the card was edited, so
            that the licence is to be named in it; or the evidence names a path of this machine.
        SandboxError: it cannot be written. Nothing is there.
    """
    out, folder = files.place(to), api.open_run(run, trust_code=trust_code)
    cards.check(license, name)
    staging.refuse(out)
    folder.check_finished()
    edited = _edited(folder, license or name)
    if not keep_paths:
        _refuse_paths(folder)
    _refuse_faults(folder, progress)
    with staging.staged(out) as staged:
        told = _lay_out(folder, staged)
        why = [] if edited else _write_card(folder, staged, license, name, pictures)
        if edited:
            _copy_card(folder, staged)
    return Published(out, folder.run, staging.size(out), _left_out(folder), told, why)


def _refuse_faults(folder: Folder, progress: Progress) -> None:
    """Refuse a run that does not verify without replay (FormatError)."""
    found = checking.verify(folder.path, sample=0, progress=progress)
    if found.faults:
        raise FormatError(
            f"{folder.path}: does not verify: {found.faults[0]} Nothing was published; `sandbox "
            "verify` lists all that is wrong."
        )


def _lay_out(folder: Folder, staged: Path) -> list[str]:
    """Copy what belongs to a run; return what that tells of its owner."""
    (staged / "shards").mkdir(parents=True)
    if folder.derived is not None:
        (staged / derived.ORIGINS).mkdir()
    named = cast(Mapping[str, Any], jsonfile.read(folder.path / MANIFEST).data["shards"])
    for path in _parts(folder):
        copied = _copy(path, staged / path.relative_to(folder.path))
        if named.get(path.name, copied) != copied:
            raise FormatError(f"{path}: was changed meanwhile. Nothing was published; try again.")
    text = log.checkpoint_text(folder.path)
    told = [f"{RUN}: the account {one.recipe.account!r} paid." for one in folder.identities]
    told += _paths(folder)
    if note.is_signed(text):
        told += [f"{log.CHECKPOINT}: signed by {one.name!r}." for one in note.split(text)[1]]
        signers = note.verified(text, keys.trusted())[1]
        if signers:
            durable.create(staged / SIGNER, f"{signers[0].text}\n".encode())
        else:
            told.append("The public key of its signature is not here: give it to your readers.")
    return list(dict.fromkeys(told))


def _parts(folder: Folder) -> Iterator[Path]:
    """Yield the files that belong to a run, its card aside."""
    root, known = folder.path, folder.derived
    yield from (root / name for name in (MANIFEST, log.LOG, log.CHECKPOINT))
    yield root / (RUN if known is None else DERIVED)
    if (root / EXTENDED).exists():
        yield root / EXTENDED
    if known is not None:
        yield from (derived.place(root, n) for n in range(len(known.heads)))
    for path in folder.paths():
        yield path
        yield sidecar_path(path)


def _copy(source: Path, target: Path) -> str:
    """Copy a regular file to where none is; return the SHA-256 of its bytes."""
    found = hashlib.sha256()
    with files.opened(source) as old, open(target, "xb") as new:
        while data := old.read(_CHUNK):
            found.update(data)
            new.write(data)
    return found.hexdigest()


def _edited(folder: Folder, given: str | None) -> bool:
    """Return whether a run's card was edited by hand.

    Raises:
        InvalidInputError: it was, so that nothing is written into it that was `given`.
    """
    path = folder.path / cards.CARD
    if cards.is_ours(path):
        return False
    if given is not None:
        raise InvalidInputError(
            f"{path}: was edited by hand, and is published as it is. Name licence and name in it, "
            "or remove it. Nothing was published."
        )
    return True


def _write_card(
    folder: Folder, staged: Path, licence: str | None, name: str | None, pictures: bool
) -> list[str]:
    """Write the card of a copy; return why a picture could not be drawn."""
    card, copy = folder.path / cards.CARD, Folder(staged, folder.trust_code)
    given = (licence or cards.licence_of(card), name or cards.name_of(card))
    try:
        return cards.write(copy, *given, pictures=pictures).not_drawn
    finally:
        copy.close()


def _copy_card(folder: Folder, staged: Path) -> None:
    """Copy a card that was edited, with the pictures of ours that there are."""
    _copy(folder.path / cards.CARD, staged / cards.CARD)
    pictures = [folder.path / cards.PICTURES / one for one in (cards.COVERAGE, cards.STRIP)]
    for path in pictures:
        if path.is_file():
            (staged / cards.PICTURES).mkdir(exist_ok=True)
            _copy(path, staged / cards.PICTURES / path.name)


def _refuse_paths(folder: Folder) -> None:
    """Refuse a run whose evidence names an absolute path (InvalidInputError)."""
    home = f"{str(Path.home()).rstrip('/')}/"
    home = home if home != "/" else "//"  # Who has no home; no text has that.
    for _, text in _said(folder):
        if _is_of_here(text) or home in text:
            raise InvalidInputError(
                f"{folder.path}: its evidence names {shown(text)}, a path of this machine, and "
                "cannot be changed. Nothing was published. Generate it with a scenario that is "
                "found by its name or a relative path, or give --keep-paths."
            )


def _paths(folder: Folder) -> Iterator[str]:
    """Yield what a run's evidence tells of the folders around the one where it was made."""
    for where, text in _said(folder):
        if _is_of_here(text) or ".." in Path(text).parts:
            yield f"{where}: it was made with {shown(text)}, which names folders of yours."


def _is_of_here(text: str) -> bool:
    """Return whether a text is a path that means something on this machine alone."""
    return Path(text).is_absolute() or (text.startswith("~") and "/" in text)


def _said(folder: Folder) -> Iterator[tuple[str, str]]:
    """Yield the texts of a run's evidence, each with the name of the file that has it."""
    for known in folder.identities:
        yield from ((RUN, text) for text in _texts(known.plain))
    if folder.derived is not None:
        yield from ((DERIVED, text) for text in _texts(folder.derived.how))


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in plain JSON, keys aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in cast(Mapping[str, Any], value).values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in cast(list[Any], value):
            yield from _texts(one)


def _left_out(folder: Folder) -> list[str]:
    """Return what a run's folder holds that is not published, and why."""
    parts = {path.relative_to(folder.path).parts[0] for path in _parts(folder)}
    parts |= {cards.CARD, cards.PICTURES}
    try:
        names = sorted(path.name for path in folder.path.iterdir())
    except OSError as error:
        raise SandboxError(f"{folder.path}: cannot be read: {error.strerror}.") from error
    why = {BOOKING: "which ledger charged it"}
    return [f"{name}: {why.get(name, _kind(name))}" for name in names if name not in parts]


def _kind(name: str) -> str:
    return "a lock" if name.startswith(".lock") else "no part of the run"
