"""A training that is under way: what the next update depends on, kept so that it goes on later."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import safetensors.torch as tensors
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from torch import Tensor

from sandbox import durable, files
from sandbox.errors import FormatError
from sandbox.models import checkpoint

_ENDING, _NAME, _BEST = ".part", "sandbox", "best."
Count = Annotated[int, Field(ge=0, lt=1 << 62)]


class Begun(BaseModel):
    """What is known of a training that is under way.

    Attributes:
        asked: digest of what was asked for.
        account: who pays; None pays for nothing.
        id: names the charges of this training and of no other.
        updates: how many there will be.
        done: how many there have been.
        pieces: how many updates there had been after each piece of the work, and the digest of
            what the next update depended on: its evidence.
        rows: the numbers for the trackers.
        best, error: the update with the smallest error on held-out episodes, and that error.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal[1] = 1
    asked: str
    account: str | None
    id: str
    updates: Count
    done: Count = 0
    pieces: list[tuple[Count, str]] = []
    rows: list[dict[str, int | float]] = []
    best: Count = 0
    error: float | None = None


@dataclass
class Part:
    """The file of a training that is under way, beside that of its checkpoint.

    Attributes:
        path: the file.
        begun: what is known.
        state: what the next update depends on.
        best: the weights with the smallest error so far.
    """

    path: Path
    begun: Begun
    state: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    best: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    @classmethod
    def of(cls, out: Path, asked: str, account: str | None, updates: Callable[[], int]) -> "Part":
        """Return the part of a checkpoint: the one that is there, or a new one.

        Args:
            out: the checkpoint.
            asked: digest of what is asked for.
            account: who pays.
            updates: returns how many updates a new one has.

        Raises:
            FormatError: another training is under way there, or another account pays for it.
        """
        path, found = place(out), cls.read(out)
        if found is None:
            new = Begun(asked=asked, account=account, id=os.urandom(16).hex(), updates=updates())
            return cls(path, new)
        if found.begun.asked != asked:
            raise FormatError(
                f"{path}: another training is under way there: other data, model or settings. "
                "Give another --out, or remove it."
            )
        if found.begun.account != account:
            raise FormatError(
                f"{path}: account {found.begun.account!r} pays for the training that is under way "
                f"there, not {account!r}. Give another --out, or remove it."
            )
        return found

    @classmethod
    def read(cls, out: Path) -> "Part | None":
        """Return the part of a checkpoint; None if there is none (FormatError if it is damaged)."""
        path = place(out)
        if not path.exists():
            return None
        raw = files.read(path, checkpoint.MOST_BYTES)
        try:
            text = checkpoint.told(raw, path)
            begun = Begun.model_validate_json(text)
            every = tensors.load(raw)
        except (FormatError, ValidationError, SafetensorError, ValueError) as error:
            raise FormatError(
                f"{path}: is damaged ({str(error)[:100]}); remove it, and train again."
            ) from None
        best = {
            name.removeprefix(_BEST): one for name, one in every.items() if name.startswith(_BEST)
        }
        return cls(path, begun, {n: t for n, t in every.items() if not n.startswith(_BEST)}, best)

    def save(self) -> None:
        """Write the file, whole or not at all; return when the disk has it."""
        every = self.state | {f"{_BEST}{name}": one for name, one in self.best.items()}
        told = {_NAME: json.dumps(self.begun.model_dump())}
        durable.replace(self.path, tensors.save(checkpoint.whole(every), told))

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


def place(out: Path) -> Path:
    """Return the path of the part of a checkpoint."""
    return out.with_name(f".{out.name}{_ENDING}")
