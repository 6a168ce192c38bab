"""Key files: `LABEL.key` is secret, readable by its owner only; `LABEL.pub` is public."""

import os
import re
from pathlib import Path

from sandbox import content, durable, files
from sandbox.errors import InvalidInputError, SandboxError
from sandbox.evidence.note import SigningKey, VerifierKey

DEFAULT = "default"
MOST_BYTES = 64 * 1024  # Of a key file.
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def folder() -> Path:
    """Return the folder of the keys: `keys` beside the ledger."""
    return content.home() / "keys"


def new(label: str = DEFAULT, name: str | None = None) -> SigningKey:
    """Create a key pair and write its files; no other function creates keys.

    Args:
        label: the name of the two files.
        name: the key's name in signatures; the label if None.

    Raises:
        InvalidInputError: the label is not valid, or one of its files exists; nothing was written.
        SandboxError: the folder cannot be written.
    """
    secret, public = _path(label, "key"), _path(label, "pub")
    key = SigningKey.new(label if name is None else name)
    try:
        for made in (content.home(), folder()):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        durable.create(secret, f"{key.text}\n".encode(), 0o600)
        try:
            durable.create(public, f"{key.verifier.text}\n".encode(), 0o644)
        except OSError:
            secret.unlink()
            raise
    except FileExistsError:
        for made in (content.home(), folder()):
            if made.exists() and not made.is_dir():
                raise SandboxError(f"{made}: is no folder; keys lie in it. Move it away.") from None
        there = public if not secret.exists() else secret
        remedy = "Give another name, or move it away."
        if not public.exists():
            remedy = f"Its .pub is missing: `sandbox keys new {label} --exist-ok` writes it."
        raise InvalidInputError(
            f"{there}: there is a key already; nothing was written. {remedy}"
        ) from None
    except OSError as error:
        raise SandboxError(f"{folder()}: cannot be written: {error.strerror}.") from error
    return key


def exists(label: str = DEFAULT) -> bool:
    """Return whether the secret key called `label` exists."""
    return _path(label, "key").exists()


def default() -> SigningKey | None:
    """Return this machine's default key; None if it has none."""
    return load() if exists() else None


def load(label: str = DEFAULT) -> SigningKey:
    """Return the secret key called `label`; write its public half if that file is missing.

    Raises:
        InvalidInputError: the key does not exist, is damaged, or is readable by other users.
        SandboxError: the public half cannot be written.
    """
    path = _path(label, "key")
    if not path.exists():
        remedy = f"Make one with `sandbox keys new {label}`."
        raise InvalidInputError(f"{path}: there is no such key. {remedy}")
    with files.opened(path, InvalidInputError) as file:
        found = os.fstat(file.fileno())
    if found.st_uid not in (os.geteuid(), 0):
        raise InvalidInputError(
            f"{path}: belongs to another user, who may know this key. Make one of your own."
        )
    if found.st_mode & 0o077:
        raise InvalidInputError(f"{path}: others may read this key. Do `chmod 600 {path}`.")
    try:
        text = files.read(path, MOST_BYTES, InvalidInputError).decode()
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path}: is no key; restore it from a copy.") from None
    try:
        key = SigningKey.parse(text)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from None
    _write_public(label, key)
    return key


def _write_public(label: str, key: SigningKey) -> None:
    """Write the public half of a key if it is missing, which a crash in `new` can cause."""
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
    """Return the public keys in the folder, sorted by name, without those that are `unreadable`."""
    found = [key for key in map(_tried, folder().glob("*.pub")) if isinstance(key, VerifierKey)]
    return sorted(found, key=lambda key: (key.name, key.public))


def unreadable() -> list[str]:
    """Return an error message for each `.pub` file in the folder that holds no public key."""
    return sorted(key for key in map(_tried, folder().glob("*.pub")) if isinstance(key, str))


def _tried(path: Path) -> VerifierKey | str:
    """Return the public key in a file, or a message that says what is wrong with the file."""
    try:
        return _read(path)
    except InvalidInputError as error:
        return str(error)


def verifier(text: str) -> VerifierKey:
    """Return the public key given as its text, as the path of a `.pub` file, or as a label."""
    path = files.place(text) if text.endswith(".pub") else None
    if path is None and _LABEL.fullmatch(text):  # A key's text contains a plus, a label cannot.
        path = _path(text, "pub")
    return VerifierKey.parse(text) if path is None else _read(path)


def _read(path: Path) -> VerifierKey:
    try:
        text = files.read(path, MOST_BYTES, InvalidInputError).decode()
        return VerifierKey.parse(text)
    except (UnicodeDecodeError, InvalidInputError) as error:
        said = str(error).removeprefix(f"{path}: ")
        raise InvalidInputError(f"{path}: no public key: {said}") from None


def _checked(label: str) -> str:
    if not _LABEL.fullmatch(label):
        raise InvalidInputError(f"key {label!r}: use 1 to 64 letters, digits and . _ -")
    return label


def _path(label: str, suffix: str) -> Path:
    return folder() / f"{_checked(label)}.{suffix}"
