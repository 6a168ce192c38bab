"""Whether a set shares anything with what a model was trained on: seeds, or states."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sandbox.errors import InvalidInputError
from sandbox.goals.pair import F64
from sandbox.goals.sets import Apart
from sandbox.run.folder import Folder

U64 = NDArray[np.uint64]


def marks(states: F64) -> U64:
    """Return 8 bytes of the BLAKE2b of each state, uint64 (rows,)."""
    rows = np.ascontiguousarray(states, "<f8")
    found = b"".join(hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
    return np.frombuffer(found, "<u8")


class Trained:
    """What some training runs have of a world.

    Attributes:
        runs: what was looked at, which a set records.

    Args:
        paths: folders of finished runs.
        environment: the world of the set.

    Raises:
        InvalidInputError: a run has no episode of this world, with which a set could share any.
    """

    def __init__(self, paths: Iterable[str | Path], environment: str) -> None:
        self._seeds, self._states, self.runs = set[int](), set[int](), list[Apart]()
        for path in paths:
            self._add(Folder(path), environment)

    def shares(self, seed: int, states: U64) -> bool:
        """Return whether an episode of this seed, or one of these states, is among them."""
        return seed in self._seeds or not self._states.isdisjoint(states.tolist())

    def _add(self, folder: Folder, environment: str) -> None:
        digest, rows, episodes = hashlib.sha256(), 0, 0
        for episode in folder.episodes():
            record = episode.record
            if record.get("environment") != environment:
                continue
            if record.get("seed") is not None:
                self._seeds.add(int(record["seed"]))
            self._states.update(marks(episode.rows["state"]).tolist())
            digest.update(episode.digest.encode())
            rows, episodes = rows + len(episode.rows["state"]), episodes + 1
        if not episodes:
            raise InvalidInputError(
                f"{folder.path}: has no episode of {environment}, so that a set of it shares "
                "nothing with it. Leave it out."
            )
        run = folder.run if folder.derived is None else folder.identities[0].run
        found = Apart(run=run, episodes=episodes, frames=rows, digest=digest.hexdigest())
        self.runs.append(found)
