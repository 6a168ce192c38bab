"""Where the numbers of a training go: a CSV or JSONL file, and TensorBoard."""

import csv
import importlib.util
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from sandbox import durable
from sandbox.errors import InvalidInputError, UnknownNameError

Numbers = Mapping[str, float]


class Tracker(Protocol):
    """Takes the numbers of a training."""

    def write(self, rows: Sequence[Numbers]) -> None:
        """Take all numbers so far, a mapping for each update that has some, `update` among them."""
        ...


class _Csv:
    """A file of comma-separated values beside the checkpoint; what a row lacks is empty."""

    def __init__(self, out: Path, done: int) -> None:
        self._path = out.with_suffix(".csv")

    def write(self, rows: Sequence[Numbers]) -> None:
        names = dict.fromkeys(name for row in rows for name in row)
        text = io.StringIO()
        table = csv.DictWriter(text, [*names], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        durable.replace(self._path, text.getvalue().encode())


class _Jsonl:
    """A file with a line of JSON for each update that has numbers."""

    def __init__(self, out: Path, done: int) -> None:
        self._path = out.with_suffix(".jsonl")

    def write(self, rows: Sequence[Numbers]) -> None:
        durable.replace(self._path, "".join(f"{json.dumps(row)}\n" for row in rows).encode())


class _TensorBoard:
    """Event files in a folder beside the checkpoint."""

    def __init__(self, out: Path, done: int) -> None:
        try:
            from tensorboardX import SummaryWriter  # type: ignore[import-untyped]
        except ImportError:
            raise InvalidInputError(
                "tracker tensorboard: the package tensorboardX is not installed. "
                '`pip install "worldmodel-sandbox[train]"` installs it.'
            ) from None
        self._writer: Any = SummaryWriter(str(out.with_suffix(".tensorboard")), purge_step=done)
        self._done = done

    def write(self, rows: Sequence[Numbers]) -> None:
        for row in rows:
            if row["update"] > self._done:
                self._done = int(row["update"])
                for name, value in row.items():
                    if name != "update":
                        self._writer.add_scalar(name, value, self._done)
        self._writer.flush()


KINDS: dict[str, Callable[[Path, int], Tracker]] = {
    "csv": _Csv,
    "jsonl": _Jsonl,
    "tensorboard": _TensorBoard,
}


def trackers(out: Path, kinds: Sequence[str] | None, done: int) -> list[Tracker]:
    """Return trackers beside a checkpoint.

    Args:
        out: the checkpoint.
        kinds: some of KINDS; None is CSV, and TensorBoard if tensorboardX is installed.
        done: the update after which the training goes on.

    Raises:
        UnknownNameError: there is no such tracker.
        InvalidInputError: its package is not installed.
    """
    there = importlib.util.find_spec("tensorboardX") is not None
    wanted = kinds if kinds is not None else ("csv", "tensorboard") if there else ("csv",)
    for one in wanted:
        if one not in KINDS:
            raise UnknownNameError("tracker", one, KINDS)
    return [KINDS[one](out, done) for one in wanted]
