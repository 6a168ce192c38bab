"""The log of a run: one line for each leaf of an RFC 6962 tree, and a signed checkpoint over them.

The first leaf is run.json, then follow the records of the episodes in order, and last, when the run
is finished, manifest.json. A leaf's data is the deterministic CBOR of the JSON. One signature thus
covers the recipe, every row (a record has the root of its episode's tree), every charge and every
file. The log is only ever appended to. The manifest of a run that ended early, because its credit
was spent, is no leaf: a line of the checkpoint names it.
"""

from pathlib import Path
from typing import Any

from sandbox import digest, durable, files
from sandbox.errors import FormatError, RunConflictError
from sandbox.evidence import merkle
from sandbox.evidence.note import Checkpoint, SigningKey, sign

LOG, CHECKPOINT = "log", "checkpoint"
MOST_CHECKPOINT_BYTES = 64 * 1024
_LINE = 65  # 64 hex digits and a line feed.


def origin(run: str) -> str:
    """Return the origin of a run's checkpoints: the name of its log."""
    return f"sandbox/{run}"


def leaf(value: Any) -> bytes:
    """Return the RFC 6962 leaf hash of the deterministic CBOR of some JSON, 32 bytes."""
    return merkle.leaf_hash(digest.encode_plain(value))


def read(folder: Path) -> list[bytes]:
    """Return the leaf hashes in a run's log, without a last line that a kill left incomplete.

    A run without a log has no leaves.

    Raises:
        FormatError: the log is damaged.
    """
    path = folder / LOG
    data = files.read(path) if path.exists() or path.is_symlink() else b""
    lines = [data[n : n + _LINE] for n in range(0, len(data) - len(data) % _LINE, _LINE)]
    try:
        leaves = [bytes.fromhex(line[:-1].decode("ascii")) for line in lines]
    except ValueError:
        leaves = []
    if b"".join(leaf.hex().encode() + b"\n" for leaf in leaves) != b"".join(lines):
        raise FormatError(f"{path}: its lines are not 64 hex digits each; restore it from a copy.")
    return leaves


def append(folder: Path, leaves: list[bytes]) -> None:
    """Append to a run's log those of `leaves` that it does not have yet.

    Args:
        folder: the run's folder.
        leaves: all leaf hashes, beginning with those already in the log.

    Raises:
        RunConflictError: the log has other leaves; nothing was written.
        SandboxError: the log cannot be written.
    """
    known = read(folder)
    if known != leaves[: len(known)]:
        n = next((n for n, (a, b) in enumerate(zip(known, leaves, strict=False)) if a != b), -1)
        place = f"line {n + 1} is another" if n >= 0 else f"it has {len(known)} lines already"
        raise RunConflictError(
            f"{folder / LOG}: does not begin as this run does: {place}. Nothing was written; "
            "`sandbox verify` says what was changed."
        )
    lines = b"".join(leaf.hex().encode() + b"\n" for leaf in leaves[len(known) :])
    durable.append(folder / LOG, len(known) * _LINE, lines)


def checkpoint(run: str, leaves: list[bytes], ended: Any = None) -> Checkpoint:
    """Return the checkpoint of a run over the leaf hashes of its log.

    Args:
        run: id of the run.
        leaves: the leaf hashes.
        ended: the manifest of a run that ended before it had all its episodes. It is no leaf, for
            the run may go on; a further line of the checkpoint, which is signed, has its hash.
    """
    extra = () if ended is None else (f"ended {leaf(ended).hex()}",)
    return Checkpoint(origin(run), len(leaves), merkle.root(leaves), extra)


def checkpoint_text(folder: Path) -> str:
    """Return the text of a run's checkpoint file; its content is not checked.

    Raises:
        FormatError: the file is missing or cannot be read as text.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        raise FormatError(f"{path}: missing; `sandbox settle` writes it.")
    try:
        return files.read(path, MOST_CHECKPOINT_BYTES).decode()
    except UnicodeDecodeError:
        raise FormatError(f"{path}: is not UTF-8 text; restore it from a copy.") from None


def write_checkpoint(folder: Path, made: Checkpoint, key: SigningKey | None) -> None:
    """Write a checkpoint whole or not at all, signed if there is a key.

    Without a key, a signed checkpoint of the same log stays as it is.

    Raises:
        SandboxError: the checkpoint cannot be written.
    """
    path, text = folder / CHECKPOINT, made.text
    if key is None and _begins_so(path, f"{text}\n".encode()):
        return
    durable.replace(path, (text if key is None else sign(text, key)).encode())


def _begins_so(path: Path, text: bytes) -> bool:
    """Return whether a checkpoint file begins with a text."""
    try:
        return path.exists() and files.read(path, MOST_CHECKPOINT_BYTES).startswith(text)
    except FormatError:  # What is no file of that kind is replaced.
        return False
