"""DreamerV3: the chunks of its replay buffer, .npz files of 1,024 rows that follow each other."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.exports import columns as known
from sandbox.exports import npz
from sandbox.exports.formats import Job, Kind, Plan
from sandbox.exports.pieces import Piece, Told
from sandbox.trajectory import Rows, Schema

CHUNK_ROWS = 1024
PIECE_CHUNKS = 4  # That a process writes at once.
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FLAGS = ("terminated", "truncated")
Arrays = dict[str, NDArray[Any]]


class Dreamer:
    """A folder that DreamerV3's replay buffer loads: all episodes are one stream of rows.

    Rows are ours: the action was taken *at* a row, the reward received on arriving there.
    """

    name = "dreamer"
    reader = "DreamerV3's embodied.core.replay"
    kinds: tuple[Kind, ...] = ("copy",)
    ending = ""
    shortest = 2
    compressions: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    def plan(self, schema: Schema, kind: Kind, asked: bool, out: Path) -> Plan:
        """Return observations, and others if they are asked for; pictures are `image`."""
        return plan(schema, self.name, asked)

    def pieces(self, job: Job) -> list[Piece]:
        """Return pieces of some chunks each; an episode counts where its last row is."""
        ends, size = np.cumsum(job.lengths), CHUNK_ROWS * PIECE_CHUNKS
        whose = (ends - 1) // size
        return [
            Piece(n, tuple(np.flatnonzero(whose == n).tolist())) for n in range(int(whose[-1]) + 1)
        ]

    def write_piece(self, job: Job, piece: Piece, folder: Path) -> Told:
        """Write some chunks; each name has the next one's id."""
        ends, size = np.cumsum(job.lengths), CHUNK_ROWS * PIECE_CHUNKS
        first, end = piece.number * size, min((piece.number + 1) * size, int(ends[-1]))
        low, high = np.searchsorted(ends, [first, end - 1], side="right").tolist()
        waiting, chunk = list[Arrays](), first // CHUNK_ROWS
        for place in range(low, high + 1):
            begin = int(ends[place]) - job.lengths[place]
            rows = job.dataset.rows(job.numbers[place], [*job.plan.held])
            kept = slice(max(0, first - begin), end - begin)
            whole = arranged(rows, job.plan.held)
            waiting.append({name: values[kept] for name, values in whole.items()})
            while sum(len(part["reward"]) for part in waiting) >= CHUNK_ROWS:
                whole = _joined(waiting)
                chunk += 1
                some = {name: x[:CHUNK_ROWS] for name, x in whole.items()}
                _write(folder, chunk, int(ends[-1]), some)
                waiting = [{name: x[CHUNK_ROWS:] for name, x in whole.items()}]
            if place in piece.places:
                job.done()
        rest = _joined(waiting)
        if len(rest["reward"]):
            _write(folder, chunk + 1, int(ends[-1]), rest)
        return {}

    def finish(self, job: Job, pieces: Sequence[Piece], told: Sequence[Told]) -> None:
        """Write nothing more: the chunks lead to each other."""


def plan(schema: Schema, format: str, asked: bool) -> Plan:
    """Return what the formats of Dreamers hold; see `Format.plan`."""
    known.needed(schema, ["action", "reward", *_FLAGS], format)
    seen = known.observations(schema, format)
    held, left = dict[str, str](), dict[str, str]()
    for name in schema.names:
        if name == "truncated":
            held[name] = "is_last"
        elif name == "terminated":
            held[name] = "is_last, is_terminal"
        elif name in (*seen, "action", "reward") or asked:
            held[name] = "image" + name[6:] if name.split(".")[0] == "pixels" else name
        else:
            left[name] = "the agent takes what is observed; --columns adds others"
    return Plan(held, left)


def arranged(rows: Rows, held: Mapping[str, str]) -> Arrays:
    """Return an episode's rows under the names of the format."""
    found: Arrays = {}
    for name, place in held.items():
        if name not in _FLAGS:
            found[place] = rows[name]
    count = len(rows["reward"])
    return {
        **found,
        "action": known.acted(rows["action"]),
        "reward": rows["reward"].astype(np.float32),
        "is_first": np.arange(count) == 0,
        "is_last": np.arange(count) == count - 1,
        "is_terminal": rows["terminated"],
    }


def _joined(parts: list[Arrays]) -> Arrays:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _write(folder: Path, chunk: int, total: int, rows: Arrays) -> None:
    """Write a chunk. Its time orders it among the others; ids are their numbers, from 1."""
    count = len(rows["reward"])
    is_last = (chunk - 1) * CHUNK_ROWS + count == total
    succ = 0 if is_last else chunk + 1
    time = f"20000101T000000F{chunk:09d}"
    places = np.arange(count, dtype=">u4").view(np.uint8).reshape(count, 4)
    ids = np.broadcast_to(np.frombuffer(chunk.to_bytes(16, "big"), np.uint8), (count, 16))
    arrays = {**rows, "stepid": np.concatenate([ids, places], axis=1)}
    path = folder / f"{time}-{_spelled(chunk)}-{_spelled(succ)}-{count}.npz"
    with npz.Writer(path, pack=True) as file:
        for name, values in arrays.items():
            file.array(name, values.dtype.name, values.shape, _once(values))


def _once(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    yield values


def _spelled(number: int) -> str:
    """Return an id as names spell it: 22 digits of base 62."""
    digits = ""
    while number or len(digits) < 22:
        number, digit = divmod(number, 62)
        digits = _DIGITS[digit] + digits
    return digits
