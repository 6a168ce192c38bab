"""What sets and results have in common: a digest that names them, and a note that signs it."""

import hashlib
import json
from typing import Any

from sandbox.errors import FormatError
from sandbox.evidence import keys, note
from sandbox.evidence.note import SigningKey
from sandbox.goals.pair import Model

REMEDY = "It was edited or damaged; restore it from a copy, or make it again."


def digest(head: str, model: Model) -> str:
    """Return the SHA-256 of a line that says what it is, and of the model's canonical JSON."""
    plain = json.dumps(model.model_dump(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{head}\n{plain}".encode()).hexdigest()


def signed(head: str, named: str, key: SigningKey | None) -> str:
    """Return the note of a digest, signed with a key if there is one."""
    text = f"{head}\n{named}\n"
    return text if key is None else note.sign(text, key)


def signers(head: str, named: str, told: Any, what: str) -> list[str]:
    """Return the names of trusted keys that signed a digest; `what` begins the message.

    Raises:
        FormatError: the note of the file is of another digest, or a signature is wrong.
    """
    note_of, known = told if isinstance(told, str) else "", keys.trusted()
    try:
        text = note.body(note_of)
        found = note.verified(note_of, known)[1] if note.is_signed(note_of) else []
    except FormatError as error:
        raise FormatError(f"{what} are signed wrongly: {error} {REMEDY}") from None
    if text != signed(head, named, None):
        raise FormatError(f"{what} are not those that its digest names. {REMEDY}")
    return [one.name for one in found]
