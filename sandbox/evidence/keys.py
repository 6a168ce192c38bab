"""Keys on disk: `LABEL.key`, which only its owner may read, and `LABEL.pub`, for everybody."""

import os
import re
from pathlib import Path

from sandbox import content, durable
from sandbox.errors import InvalidInputError, SandboxError
from sandbox.evidence.note import SigningKey, VerifierKey

DEFAULT = "default"
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def folder() -> Path:
    """Return where keys are: `keys` in the folder of the ledger."""
    return content.home() / "keys"


def new(label: str = DEFAULT, name: str | None = None) -> SigningKey:
    """Make a key pair and keep it; nothing else ever makes one.

    Args:
        label: of its files.
        name: of the key in signatures; the label if None.

    Raises:
        InvalidInputError: a label that is none, or that has either file already; nothing was
            written.
        SandboxError: the folder cannot be written.
    """
    secret, public = _path(label, "key"), _path(label, "pub")
    key = SigningKey.new(label if name is None else name)
    try:
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        durable.create(secret, f"{key.text}\n".encode(), 0o600)
        try:
            durable.create(public, f"{key.verifier.text}\n".encode(), 0o644)
        except OSError:
            secret.unlink()
            raise
    except FileExistsError:
        there = public if not secret.exists() else secret
        heal = "Give another name, or move it away."
        if not public.exists():
            heal = f"Its .pub is missing: `sandbox keys new {label} --exist-ok` writes it."
        raise InvalidInputError(
            f"{there}: there is a key already; nothing was written. {heal}"
        ) from None
    except OSError as error:
        raise SandboxError(f"{folder()}: cannot be written: {error.strerror}.") from error
    return key


def exists(label: str = DEFAULT) -> bool:
    """Whether there is a key of a label."""
    return _path(label, "key").exists()


def default() -> SigningKey | None:
    """Return this machine's default key; None if it has none."""
    return load() if exists() else None


def load(label: str = DEFAULT) -> SigningKey:
    """Return the key of a label; if its public half is missing, write that.

    Raises:
        InvalidInputError: there is none, it is damaged, or others than its owner may read it.
        SandboxError: the public half cannot be written.
    """
    path = _path(label, "key")
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="utf-8")
    except FileNotFoundError:
        heal = f"Make one with `sandbox keys new {label}`."
        raise InvalidInputError(f"{path}: there is no such key. {heal}") from None
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path}: is no key; restore it from a copy.") from None
    if os.name == "posix" and mode & 0o077:
        raise InvalidInputError(f"{path}: others may read this key. Do `chmod 600 {path}`.")
    try:
        key = SigningKey.parse(text)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from None
    _mend(label, key)
    return key


def _mend(label: str, key: SigningKey) -> None:
    """Write the public half of a key, if a crash in `new` left it out."""
    path = _path(label, "pub")
    if path.exists():
        return
    try:
        durable.create(path, f"{key.verifier.text}\n".encode(), 0o644)
    except FileExistsError:  # Another process was faster.
        pass
    except OSError as error:
        raise SandboxError(f"{path}: missing, and cannot be written: {error.strerror}.") from error


def trusted() -> list[VerifierKey]:
    """Return the public keys kept here that can be read, sorted by name; see `unreadable`."""
    found = [key for key in map(_tried, folder().glob("*.pub")) if isinstance(key, VerifierKey)]
    return sorted(found, key=lambda key: (key.name, key.public))


def unreadable() -> list[str]:
    """Return what is wrong with each file here that should hold a public key and does not."""
    return sorted(said for said in map(_tried, folder().glob("*.pub")) if isinstance(said, str))


def _tried(path: Path) -> VerifierKey | str:
    """Return a public key, or what is wrong with its file."""
    try:
        return _read(path)
    except InvalidInputError as error:
        return str(error)


def verifier(text: str) -> VerifierKey:
    """Return a public key: its text, the path of a file that holds it, or a label."""
    path = Path(text) if text.endswith(".pub") else None
    if path is None and _LABEL.fullmatch(text):  # A key's text has a plus, a label has none.
        path = _path(text, "pub")
    return VerifierKey.parse(text) if path is None else _read(path)


def _read(path: Path) -> VerifierKey:
    try:
        return VerifierKey.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, InvalidInputError) as error:
        raise InvalidInputError(f"{path}: no public key: {error}") from None


def _checked(label: str) -> str:
    if not _LABEL.fullmatch(label):
        raise InvalidInputError(f"key {label!r}: use 1 to 64 letters, digits and . _ -")
    return label


def _path(label: str, suffix: str) -> Path:
    return folder() / f"{_checked(label)}.{suffix}"
