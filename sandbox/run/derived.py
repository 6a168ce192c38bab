"""What derived.json says: which episodes of which runs a derived run holds.

A derived run is made from the episodes of others: some of them, those of several, or the same
stored otherwise. Its episodes keep their records and rows, and so their digests; it has no recipe
and charges nothing. `derived.json` is the first entry of its log, as run.json is of a run's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sandbox import digest, jsonfile
from sandbox.errors import FormatError
from sandbox.evidence import log
from sandbox.run import origins
from sandbox.run.identity import Identity
from sandbox.run.origins import Home
from sandbox.run.stages import Stages

DERIVED, ORIGINS = "derived.json", "origins"
FORMAT = 1


class _Head(BaseModel):
    """A run of origin, as derived.json names it."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    run: str
    size: int
    root: str


class _Said(BaseModel):
    """What derived.json says."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: Literal[1]
    run: str
    how: dict[str, Any]
    origins: list[_Head]
    episodes: list[list[int]]
    compression: Literal["zstd", "gzip", "none"]
    shard_episodes: Annotated[int, Field(ge=1, le=100_000)]


@dataclass(frozen=True)
class Derived:
    """Which episodes of which runs a derived run holds.

    Attributes:
        run: id of the derived run: a digest of all that follows.
        how: what was asked for.
        heads: run, log size and log root of each run of origin, plain JSON.
        episodes: for each episode the place of its run in `heads`, and its number there.
        compression: of pictures.
        shard_episodes: number of episodes in a shard.
        path: the folder; None before it is written.
    """

    run: str
    how: Mapping[str, Any]
    heads: Sequence[Mapping[str, Any]]
    episodes: Sequence[tuple[int, int]]
    compression: str
    shard_episodes: int
    path: Path | None = None

    @classmethod
    def of(
        cls,
        how: Mapping[str, Any],
        homes: Sequence[Home],
        episodes: Sequence[tuple[int, int]],
        compression: str,
        shard_episodes: int,
    ) -> "Derived":
        """Return a derived run of some episodes; see the attributes."""
        heads = [head(one) for one in homes]
        made = cls("", how, heads, episodes, compression, shard_episodes)
        return cls(made.named(), how, heads, episodes, compression, shard_episodes)

    @property
    def plain(self) -> dict[str, Any]:
        """The plain JSON that `read` reads."""
        return {
            "format": FORMAT,
            "run": self.run,
            "how": dict(self.how),
            "origins": [dict(one) for one in self.heads],
            "episodes": [list(one) for one in self.episodes],
            "compression": self.compression,
            "shard_episodes": self.shard_episodes,
        }

    def named(self) -> str:
        """Return the id that follows from the other attributes."""
        return digest.sha256({k: v for k, v in self.plain.items() if k not in ("format", "run")})

    @property
    def leaf(self) -> bytes:
        """The first leaf of its log, 32 bytes."""
        return log.leaf(self.plain)

    @property
    def stages(self) -> Stages:
        """How many episodes it has, and in which shards."""
        return Stages((len(self.episodes),), self.shard_episodes)

    @property
    def lacks(self) -> str:
        """What it has not, and what to do about that."""
        return (
            "was derived from other runs, so it has no recipe and no charges of its own. Do this "
            "with the runs that its episodes come from."
        )

    def missing(self, origin: int, count: int) -> str:
        """Return why too few episodes of a run of origin can be followed to its log, or "".

        Args:
            origin: the place of that run in `heads`.
            count: how many episodes of it the shards have.
        """
        wanted = sum(home == origin for home, _ in self.episodes)
        if count >= wanted:
            return ""
        return f"{wanted - count} of its {wanted} episodes are missing, so none leads to its log."

    @cached_property
    def homes(self) -> list[Home]:
        """The runs of origin, each with proof of where its episodes stand.

        Raises:
            FormatError: the file of one is damaged, or of another run.
        """
        assert self.path is not None, "it was read from a folder"
        if (self.path / ORIGINS).is_symlink():
            raise FormatError(
                f"{self.path / ORIGINS}: is a link, which is not followed; put the folder there."
            )
        found = list[Home]()
        for n, said in enumerate(self.heads):
            path = place(self.path, n)
            found.append(origins.read(path))
            if head(found[-1]) != said:
                raise FormatError(f"{path}: is not the run and log that {DERIVED} names.")
        return found

    @cached_property
    def identities(self) -> list[Identity]:
        """Which work its episodes are: of runs of origin that have parts, those that are here."""
        runs = {one.identity.run: one.identity for one in self.homes}
        numbers = {run: set[int]() for run in runs}
        for home, number in self.episodes:
            numbers[self.homes[home].identity.run].add(number)
        return [runs[run].worlds[part] for run in runs for part in _parts(runs[run], numbers[run])]

    def of_episode(self, index: int) -> tuple[Identity, int]:
        """Return the run of origin of an episode, and its number there."""
        home, number = self.episodes[index]
        return self.homes[home].identity, number


def _parts(known: Identity, numbers: set[int]) -> list[int]:
    """Return which parts of a run have episodes of these numbers, in order."""
    found = set[int]()
    for number in sorted(numbers):  # An order knows the block that it was asked for last.
        found.add(known.recipe.turn(number).part)
        if len(found) == len(known.worlds):
            break
    return sorted(found)


def place(folder: Path, number: int) -> Path:
    """Return the path of the file of a run of origin."""
    return folder / ORIGINS / f"{number:05d}.json"


def head(home: Home) -> dict[str, Any]:
    """Return what derived.json says of a run of origin."""
    closed = home.closed
    return {"run": home.identity.run, "size": closed.size, "root": closed.root.hex()}


def read(folder: Path) -> Derived | None:
    """Return what a folder's derived.json says; None if it is no derived run.

    Raises:
        FormatError: the file is damaged.
    """
    path = folder / DERIVED
    if not path.exists() and not path.is_symlink():
        return None
    said = jsonfile.model(path, _Said)
    pairs = [(one[0], one[1]) for one in said.episodes if len(one) == 2]
    known = all(0 <= home < len(said.origins) and number >= 0 for home, number in pairs)
    if not known or len(pairs) != len(said.episodes) or not pairs:
        raise FormatError(f"{path}: its episodes are not pairs of an origin and a number.")
    heads = [one.model_dump() for one in said.origins]
    return Derived(said.run, said.how, heads, pairs, said.compression, said.shard_episodes, folder)
