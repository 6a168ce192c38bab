"""What a test set shares with the data that a model was trained on: it should be nothing."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.dataset.episodes import Episodes
from sandbox.dataset.facts import Facts
from sandbox.trajectory import Rows, Schema

NUMBERS = ("state", "proprio")  # What a frame is made of where there are no pictures.


@dataclass(frozen=True)
class Overlap:
    """What a test run shares with a training run.

    Attributes:
        episodes: number of test episodes whose seed and environment a training episode has too.
        frames: number of test frames that are, byte for byte, frames of the training run.
        of: number of test frames.
        columns: the columns that a frame is made of: all pictures that both runs have, or the
            state.
        twins: numbers of the test episodes that share a seed or a frame.
    """

    episodes: int
    frames: int
    of: int
    columns: tuple[str, ...]
    twins: tuple[int, ...] = ()

    def warnings(self) -> list[str]:
        """Return a sentence for each thing that is shared."""
        said: list[str] = []
        if self.episodes:
            said.append(
                f"{self.episodes} episodes have the seed of a training episode: they begin alike. "
                "Give the test run another split or seed."
            )
        if self.frames:
            what = " and ".join(self.columns)
            share = f"{self.frames:,} of {self.of:,} frames ({self.frames / self.of:.1%})"
            said.append(f"{share} are frames of the training run too, the same bytes of {what}.")
        return said


def overlap(test: Episodes, train: Episodes) -> Overlap:
    """Return what test episodes share with training episodes.

    Raises:
        FormatError: an episode cannot be read.
    """
    known = {*_starts(train.facts)}
    twins = np.array([start in known for start in _starts(test.facts)], np.bool_)
    columns = _columns(test.schema, train.schema)
    frames, shared = 0, twins.copy()
    if columns:
        seen = np.unique(np.concatenate([*_frames(train, columns)]))
        for number, found in enumerate(_frames(test, columns)):
            same = int(np.isin(found, seen).sum())
            frames += same
            shared[number] |= same > 0
    total = int(test.facts.columns["rows"].sum()) if columns else 0
    return Overlap(int(twins.sum()), frames, total, columns, tuple(np.flatnonzero(shared).tolist()))


def _starts(facts: Facts) -> list[Any]:
    """Return environment and seed of each episode; an object of its own where one is unknown."""
    names = (*facts.names["environment"], None)
    places, seeds = (facts.columns[name].tolist() for name in ("environment", "seed"))
    return [
        (names[place], seed) if seed >= 0 and place >= 0 else object()
        for place, seed in zip(places, seeds, strict=True)
    ]


def _columns(test: Schema, train: Schema) -> tuple[str, ...]:
    """Return the columns that frames are compared by: pictures of both, or else numbers."""
    theirs = {column.name: column for column in train.columns}
    both = [
        one
        for one in test.columns
        if one.name in theirs
        and (one.dtype, one.shape) == (theirs[one.name].dtype, theirs[one.name].shape)
    ]
    pictures = tuple(one.name for one in both if one.is_picture)
    return pictures or tuple(n for n in NUMBERS if n in [one.name for one in both])[:1]


def _frames(episodes: Episodes, columns: tuple[str, ...]) -> Any:
    """Yield the digests of the rows of each episode, uint64 (T+1,)."""
    for number in range(len(episodes.facts)):
        rows = episodes.rows(number, columns)
        yield np.array(
            [frame_digest(rows, columns, t) for t in range(len(rows[columns[0]]))], np.uint64
        )


def frame_digest(rows: Rows, columns: tuple[str, ...], t: int) -> int:
    """Return a digest of one row of some columns, 64 bits."""
    told = hashlib.blake2b(digest_size=8)
    for name in columns:
        row: NDArray[Any] = rows[name][t]
        told.update(row.tobytes())
    return int.from_bytes(told.digest(), "little")
