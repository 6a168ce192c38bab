"""Signed notes and checkpoints of C2SP (c2sp.org/signed-note, c2sp.org/tlog-checkpoint).

A note is a text, a blank line, and one line for each signature. A signature line has an em dash,
the key's name, and base64 of the key's id followed by the Ed25519 signature of the text.
"""

import base64
import binascii
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from sandbox.errors import FormatError, InvalidInputError

MAX_BYTES = 1_000_000
_ED25519 = b"\x01"  # The byte that stands for the algorithm in keys and key ids.
_PRIVATE = "PRIVATE+KEY+"
_NAME_LENGTH = 100
_DASH = "\N{EM DASH}"
_FORBIDDEN = re.compile(
    r"[\0-\x09\x0b-\x1f\ud800-\udfff]"
)  # Control characters and lone surrogates.


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key, which verifies signatures.

    Attributes:
        name: the key's name, without spaces and plus.
        public: the Ed25519 public key, 32 bytes.
    """

    name: str
    public: bytes

    def __post_init__(self) -> None:
        _check(self.name, self.public)

    @property
    def id(self) -> bytes:
        """The 4 bytes by which a signature refers to this key."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    @property
    def text(self) -> str:
        """The key as text: name+id+base64."""
        return f"{self.name}+{self.id.hex()}+{_base64(_ED25519 + self.public)}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Return the public key that a text encodes; InvalidInputError if it encodes none."""
        if text.strip().startswith(_PRIVATE):
            raise InvalidInputError("this is a secret key: keep it to yourself, give the .pub.")
        name, id, data = _parts(text.strip(), f"key {text.strip()[:200]!r}")
        key = cls(name, data)
        if key.id.hex() != id:
            raise InvalidInputError(f"key {text.strip()[:200]!r}: its id is {key.id.hex()}.")
        return key


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A secret key, which makes signatures.

    Attributes:
        name: the key's name, without spaces and plus.
        seed: the Ed25519 seed, 32 bytes; keep it secret.
    """

    name: str
    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check(self.name, self.seed)

    @classmethod
    def new(cls, name: str) -> "SigningKey":
        """Return a new random key."""
        return cls(name, os.urandom(32))

    @property
    def verifier(self) -> VerifierKey:
        """The public key that belongs to this one."""
        return VerifierKey(self.name, self._private.public_key().public_bytes_raw())

    @property
    def text(self) -> str:
        """The secret key as text, in the form that other tools for signed notes read."""
        id = self.verifier.id.hex()
        return f"{_PRIVATE}{self.name}+{id}+{_base64(_ED25519 + self.seed)}"

    @classmethod
    def parse(cls, text: str) -> "SigningKey":
        """Return the secret key that a text encodes.

        Raises:
            InvalidInputError: the text encodes no secret key; the message does not show it.
        """
        if not text.strip().startswith(_PRIVATE):
            raise InvalidInputError(f"the secret key: does not begin with {_PRIVATE}.")
        name, id, data = _parts(text.strip().removeprefix(_PRIVATE), "the secret key")
        key = cls(name, data)
        if key.verifier.id.hex() != id:
            raise InvalidInputError(f"the secret key {name!r}: its id is not {id!r}.")
        return key

    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature of `data`, 64 bytes."""
        return self._private.sign(data)

    @property
    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature of a note: the key's name, its id (4 bytes) and the signature itself."""

    name: str
    id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log: its size and the root of its tree.

    Attributes:
        origin: the name of the log.
        size: the number of leaves.
        root: the root of the tree over them, 32 bytes.
        extra: further lines, which are signed too.
    """

    origin: str
    size: int
    root: bytes
    extra: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The checkpoint as the text of a note."""
        return "".join(
            f"{line}\n" for line in (self.origin, self.size, _base64(self.root), *self.extra)
        )

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Return the checkpoint in the text of a note, without signatures.

        Raises:
            FormatError: the text is not a checkpoint.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not lines[0] or not all(lines[3:-1]):
            raise FormatError("a checkpoint has a line each for origin, size and root.")
        origin, size, digest = lines[:3]
        if not (size.isascii() and size.isdecimal()) or str(int(size[:20])) != size:
            raise FormatError(f"a checkpoint's size is {size[:40]!r}, which is no number.")
        root = _unbase64(digest)
        if root is None or len(root) != 32:
            raise FormatError(f"a checkpoint's root is {digest[:80]!r}, not 32 bytes in base64.")
        return cls(origin, int(size), root, tuple(lines[3:-1]))


def sign(text: str, key: SigningKey) -> str:
    """Return a text signed with a key, as a note.

    Raises:
        InvalidInputError: the text is empty, does not end with a line feed, has another control
            character, or has a lone surrogate.
    """
    if not text.endswith("\n") or _FORBIDDEN.search(text):
        raise InvalidInputError(f"the text {text[:80]!r} cannot be signed as a note.")
    signature = _base64(key.verifier.id + key.sign(text.encode()))
    return f"{text}\n{_DASH} {key.name} {signature}\n"


def split(note: str) -> tuple[str, list[Signature]]:
    """Return the text of a note and its signatures, which are not verified.

    Raises:
        FormatError: this is not a signed note.
    """
    if _FORBIDDEN.search(note):
        raise FormatError("a note has control characters, or is not UTF-8; it is damaged.")
    if len(note.encode()) > MAX_BYTES:
        raise FormatError(f"a note is at most {MAX_BYTES:,} bytes; this is no signed note.")
    end = note.rfind("\n\n")
    text, lines = note[: end + 1], note[end + 2 :].split("\n")
    if end < 0 or lines.pop() or not lines:
        raise FormatError("this is no signed note: a text, a blank line, and signatures.")
    return text, [_signature(line) for line in lines]


def is_signed(text: str) -> bool:
    """Return whether a text has the blank line that signatures come after."""
    return "\n\n" in text


def body(text: str) -> str:
    """Return the text of a note without its signatures; a text without any is returned unchanged.

    Raises:
        FormatError: what follows the last blank line is not a list of signatures.
    """
    return split(text)[0] if is_signed(text) else text


def verified(note: str, keys: Sequence[VerifierKey]) -> tuple[str, list[VerifierKey]]:
    """Return the text of a note and those of the keys that signed it, each once.

    Raises:
        FormatError: this is not a signed note, or a signature of one of the keys is wrong.
    """
    text, signatures = split(note)
    signers: list[VerifierKey] = []
    for one in signatures:
        for key in keys:
            if (key.name, key.id) != (one.name, one.id):
                continue
            try:
                public = Ed25519PublicKey.from_public_bytes(key.public)
                public.verify(one.signature, text.encode())
            except InvalidSignature:
                raise FormatError(f"the signature of {key.name!r} is not of this text.") from None
            if key not in signers:
                signers.append(key)
    return text, signers


def _signature(line: str) -> Signature:
    parts = line.split(" ")
    data = _unbase64(parts[2]) if len(parts) == 3 and parts[0] == _DASH else None
    if data is None or len(data) < 5 or not _is_name(parts[1]):
        raise FormatError(f"a signature is {line[:80]!r}: not a dash, a name, and base64.")
    return Signature(parts[1], data[:4], data[4:])


def _parts(text: str, shown: str) -> tuple[str, str, bytes]:
    """Return name, id and bytes of a key's text; errors call the key `shown`."""
    parts = text.split("+", 2)
    data = _unbase64(parts[2]) if len(parts) == 3 else None
    if data is None or len(data) != 33 or data[:1] != _ED25519:
        raise InvalidInputError(f"{shown}: not NAME+ID+BASE64 of an Ed25519 key.")
    return parts[0], parts[1], data[1:]


def _check(name: str, data: bytes) -> None:
    """Refuse a key whose name or bytes are not valid; see `VerifierKey`, `SigningKey`."""
    if len(data) != 32:
        raise InvalidInputError(f"key {name!r}: an Ed25519 key has 32 bytes, not {len(data)}.")
    if not _is_name(name):
        raise InvalidInputError(
            f"key name {name!r}: use 1 to {_NAME_LENGTH} characters, no spaces and no plus."
        )


def _is_name(name: str) -> bool:
    fine = name.isprintable() and not any(c.isspace() or c == "+" for c in name)
    return fine and 0 < len(name) <= _NAME_LENGTH


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unbase64(text: str) -> bytes | None:
    """Return the bytes that a text encodes as canonical base64; None if it does not."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if _base64(data) == text else None
