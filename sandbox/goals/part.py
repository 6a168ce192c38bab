"""What is done of a run or a set that is under way: kept line by line, so that it goes on later."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from sandbox import durable, files
from sandbox.errors import FormatError, SandboxError

T = TypeVar("T")
PART = ".part"
_MOST_BYTES = 1 << 30


class Part(Generic[T]):
    """What is done of some work: a file with a line of JSON for each piece.

    Args:
        path: the file of what comes of the work; the lines are beside it.
        work: digest of what is done.
        account: who pays for it; None pays for nothing.
        plain: returns a piece as plain JSON.
        parse: returns the piece that plain JSON says; whatever it raises ends the reading.
        of: what tells one work from another, for the message.

    Attributes:
        path: the file of the lines.
        done: the pieces that are there.
        id: names the charges of this work and of no other, however often it is gone on with.

    Raises:
        FormatError: another work is under way there, or another account pays for it.
        SandboxError: it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        work: str,
        account: str | None,
        plain: Callable[[T], dict[str, Any]],
        parse: Callable[[dict[str, Any]], T],
        of: str,
    ) -> None:
        self.path, self._plain = path.with_name(path.name + PART), plain
        self.done = list[T]()
        if not self.path.exists():
            self.id = os.urandom(16).hex()
            first = json.dumps({"run": work, "account": account, "id": self.id}).encode() + b"\n"
            try:
                durable.create(self.path, first)
            except OSError as error:
                raise SandboxError(
                    f"{self.path}: cannot be written: {error.strerror}. Make room or get "
                    "permission there, or give another --out. Nothing was done."
                ) from error
            self._size = len(first)
            return
        lines = files.read(self.path, _MOST_BYTES).split(b"\n")
        self.id = self._checked(lines[0], work, account, of)
        self._size = len(lines[0]) + 1
        for line in lines[1:-1]:  # The last one was cut short, or is empty.
            try:
                self.done.append(parse(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError):
                break
            self._size += len(line) + 1

    def _checked(self, first: bytes, work: str, account: str | None, of: str) -> str:
        """Return the id of the work that is under way, if it is this one."""
        try:
            begun = json.loads(first)
            found, payer, name = begun["run"], begun["account"], str(begun["id"])
        except (ValueError, KeyError, TypeError):
            found, payer, name = None, None, ""
        if found != work:
            raise FormatError(
                f"{self.path}: another run is under way there: another {of}. Give another --out, "
                "or remove it."
            )
        if payer != account:
            raise FormatError(
                f"{self.path}: account {payer!r} pays for the run that is under way there, not "
                f"{account!r}. Go on with --account {payer}, give another --out, or remove it."
            )
        return name

    def add(self, piece: T) -> None:
        """Append a piece; return when the disk has it."""
        line = json.dumps(self._plain(piece), sort_keys=True).encode() + b"\n"
        durable.append(self.path, self._size, line)
        self._size += len(line)
        self.done.append(piece)

    def remove(self) -> None:
        """Remove the file."""
        os.unlink(self.path)
