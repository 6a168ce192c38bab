"""What a test set shares with the data that a model was trained on: it should be nothing."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.observation import PICTURES
from sandbox.run.folder import Folder
from sandbox.trajectory import Rows


@dataclass(frozen=True)
class Overlap:
    """What a test run shares with a training run.

    Attributes:
        episodes: number of test episodes whose seed and environment a training episode has too.
        frames: number of test frames that are, byte for byte, frames of the training run.
        of: number of test frames.
        columns: the columns that a frame is made of: all pictures that both runs have, or the
            state.
    """

    episodes: int
    frames: int
    of: int
    columns: tuple[str, ...]

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


def overlap(test: Folder, train: Folder) -> Overlap:
    """Return what a test run shares with a training run.

    Raises:
        FormatError: a run cannot be read.
    """
    known = {(record.environment, record.seed) for record in train.records()}
    twins = sum((record.environment, record.seed) in known for record in test.records())
    both = [name for name in _columns(test) if name in _columns(train)]
    pictures = tuple(name for name in both if name.split(".")[0] in PICTURES)
    columns = pictures or ("state",)
    seen = set(_frames(train, columns))
    shared = [frame in seen for frame in _frames(test, columns)]
    return Overlap(twins, sum(shared), len(shared), columns)


def _columns(run: Folder) -> list[str]:
    return [column.name for column in next(iter(run.shards())).reader.schema.columns]


def _frames(run: Folder, columns: tuple[str, ...]) -> Iterator[bytes]:
    """Yield a digest of each row."""
    for episode in run.episodes():
        rows: Rows = episode.rows
        for t in range(len(episode)):
            told = hashlib.blake2b(digest_size=16)
            for name in columns:
                told.update(rows[name][t].tobytes())
            yield told.digest()
