"""JSON files: written canonically, read as untrusted."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sandbox import durable, files
from sandbox.errors import FormatError, SandboxError

if TYPE_CHECKING:
    from pydantic import BaseModel

Model = TypeVar("Model", bound="BaseModel")

MAX_LEVELS = 32
_LISTS, _VALUES = 1_000_000, 4_000_000  # The most lists and objects, and the most values.
_MORE_LISTS, _MORE_VALUES = 40, 200  # For each record that a text should hold.
_RECORDS = 100_000  # No text should hold more.


@dataclass(frozen=True)
class JsonFile:
    """A JSON object read from a file.

    Attributes:
        path: the file.
        raw: its bytes.
        data: the object in it.
    """

    path: Path
    raw: bytes
    data: dict[str, Any]

    @property
    def is_canonical(self) -> bool:
        """Return whether the bytes are those that `write` writes for this object."""
        return self.raw == encode(self.data)


def read(path: str | Path, most: int = files.MOST_BYTES) -> JsonFile:
    """Read a JSON object from a file that anybody may have written.

    Args:
        path: the file.
        most: size above which it is refused [bytes].

    Raises:
        FormatError: the file is too large, holds no object, a key twice, a number that is not
            finite, text that is not Unicode, more than MAX_LEVELS levels, or more parts than any
            file of ours.
    """
    path = files.place(path)
    raw = files.read(path, most)
    data = parse(raw, path)
    if not isinstance(data, dict):
        raise FormatError(f"{path}: holds no JSON object.")
    return JsonFile(path, raw, cast(dict[str, Any], data))


def parse(text: str | bytes, where: object, records: int = 0) -> object:
    """Return what a JSON text says that anybody may have written.

    Args:
        text: the text.
        where: what it is called in messages.
        records: how many records it should hold; it may have so many more parts.

    Raises:
        FormatError: about `where`: it is no JSON, or has what `read` refuses.
    """
    try:
        text = text.decode() if isinstance(text, bytes) else text
        _refuse_parts(text, where, min(records, _RECORDS))
        data = json.loads(text, object_pairs_hook=_unique)
        json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: cannot be read: {str(error)[:200]}.") from None
    if _levels(data) > MAX_LEVELS:
        raise FormatError(f"{where}: has more than {MAX_LEVELS} levels; restore it from a copy.")
    return data


def model(path: Path, kind: type[Model], remedy: str = "Restore it from a copy.") -> Model:
    """Return what a JSON file says, checked by a pydantic model.

    Args:
        path: the file.
        kind: the model.
        remedy: what to do about a file that does not fit it, a sentence.

    Raises:
        FormatError: it cannot be read, or does not fit.
    """
    from pydantic import ValidationError  # Not every command needs it.

    from sandbox import validation

    try:
        return kind.model_validate(read(path).data)
    except ValidationError as error:
        raise FormatError(f"{path}: {validation.first_fault(error)} {remedy}") from None


def write(path: str | Path, data: Any) -> None:
    """Write a JSON file whole or not at all; return when the disk has it.

    Raises:
        SandboxError: the file cannot be written.
    """
    durable.replace(files.place(path), encode(data))


def create(path: Path, data: Any) -> bool:
    """Write a new JSON file whole or not at all; return whether it was not there before.

    Raises:
        SandboxError: the file cannot be written.
    """
    try:
        durable.create(path, encode(data), 0o666)
    except FileExistsError:
        return False
    except OSError as error:
        remedy = files.remedy(error, "Make room or get permission there, or name another place.")
        raise SandboxError(f"{path}: cannot be written: {error.strerror}. {remedy}") from error
    return True


def encode(data: Any) -> bytes:
    """Return the canonical bytes of a JSON file: keys sorted, one space of indentation."""
    return f"{json.dumps(data, indent=1, sort_keys=True)}\n".encode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; ValueError if a key is there twice, because JSON keeps the last."""
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        again = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {again[:80]!r} is there twice")
    return made


def _refuse_parts(text: str, where: object, records: int) -> None:
    """Refuse a text that takes many times its size in memory: an empty list takes 3 bytes of it.

    Brackets and commas in texts count too; no file of ours comes near.
    """
    lists, values = text.count("[") + text.count("{"), text.count(",")
    if lists > _LISTS + _MORE_LISTS * records or values > _VALUES + _MORE_VALUES * records:
        raise FormatError(
            f"{where}: has {lists:,} lists and {values:,} values, more than any such file has; it "
            "is damaged, or made to harm."
        )


def _levels(data: Any) -> int:
    """Return how deep JSON is nested, counted to MAX_LEVELS + 1 at most."""
    count, level = 0, [data]
    while level and count <= MAX_LEVELS:
        level = [item for one in level for item in _items(one)]
        count += 1
    return count


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return cast(dict[str, Any], value).values()
    return cast(list[Any], value) if isinstance(value, list) else ()
