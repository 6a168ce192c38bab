"""The stages of a run: it is generated to its recipe's episodes, then may be extended to more.

`run.json` is the first entry of the log and never changes, so it says nothing of extensions: the id
of a run is that of its recipe. `extended.json` beside it says to how many episodes the run grows,
and keeps the manifest and the checkpoint of each stage before. A stage's manifest stays in the log,
behind the records of its episodes; the records of the next stage follow it. Each stage begins a
shard of its own, so that no finished shard changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sandbox import jsonfile, validation
from sandbox.errors import FormatError
from sandbox.run.recipe import MAX_EPISODES

EXTENDED = "extended.json"
FORMAT = 1


@dataclass(frozen=True)
class Stages:
    """How many episodes a run has at the end of each stage, and where they lie.

    Attributes:
        ends: number of episodes at the end of each stage; each is larger than the one before.
        size: number of episodes in a shard.
    """

    ends: tuple[int, ...]
    size: int

    @property
    def episodes(self) -> int:
        """The number of episodes that the run should have."""
        return self.ends[-1]

    @property
    def shards(self) -> int:
        """The number of shards that the run should have."""
        return self.shards_until(len(self.ends))

    def shards_until(self, stage: int) -> int:
        """Return how many shards the first `stage` stages have."""
        begins = (0, *self.ends)
        return sum(-(-(self.ends[n] - begins[n]) // self.size) for n in range(stage))

    def shard(self, number: int) -> range:
        """Return the numbers of the episodes in a shard; an empty range behind the last shard."""
        first, begin = 0, 0
        for end in self.ends:
            count = -(-(end - begin) // self.size)
            if number < first + count:
                start = begin + (number - first) * self.size
                return range(start, min(start + self.size, end))
            first, begin = first + count, end
        behind = begin + (number - first) * self.size
        return range(behind, behind)

    def entry(self, episode: int) -> int:
        """Return the place of an episode's record in the log, from 0: run.json is entry 0."""
        return 1 + episode + sum(episode >= end for end in self.ends[:-1])


class Before(BaseModel):
    """A stage that has ended.

    Attributes:
        manifest: manifest.json at its end, a leaf of the log.
        checkpoint: the checkpoint over the log at its end, as a note.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    manifest: dict[str, Any]
    checkpoint: str

    @property
    def episodes(self) -> int:
        """The number of episodes at its end."""
        return self.manifest["episodes"]


class Extended(BaseModel):
    """What extended.json says.

    Attributes:
        format: version of the file format, 1.
        run: id of the run.
        episodes: number of episodes to which the run grows.
        before: the stages that have ended, in order.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: Literal[1]
    run: str
    episodes: int
    before: list[Before]

    @property
    def ends(self) -> tuple[int, ...]:
        """The number of episodes at the end of each stage."""
        return (*(one.episodes for one in self.before), self.episodes)


def read(folder: Path, run: str, episodes: int | None) -> Extended | None:
    """Return what a run's extended.json says; None if the run was not extended.

    Args:
        folder: the run's folder.
        run: id of the run.
        episodes: number of episodes of its recipe; None if it does not say.

    Raises:
        FormatError: the file is damaged, or another run's.
    """
    path = folder / EXTENDED
    if not path.exists() and not path.is_symlink():
        return None
    try:
        found = Extended.model_validate(jsonfile.read(path).data)
    except ValidationError as error:
        raise FormatError(
            f"{path}: {validation.first_fault(error)} Restore it from a copy."
        ) from None
    fault = _fault(found, run, episodes)
    if fault:
        raise FormatError(f"{path}: {fault} Restore it from a copy.")
    return found


def write(folder: Path, run: str, episodes: int, before: Sequence[Mapping[str, Any]]) -> None:
    """Write that a run grows to so many episodes; SandboxError if it cannot be written.

    Args:
        folder: the run's folder.
        run: id of the run.
        episodes: number of episodes to which it grows.
        before: the stages that have ended, each with `manifest` and `checkpoint`.
    """
    data = {"format": FORMAT, "run": run, "episodes": episodes, "before": list(before)}
    jsonfile.write(folder / EXTENDED, data)


def fault_of(ends: Sequence[Any], episodes: int | None) -> str:
    """Return what is wrong with the ends of stages that anybody may have written, or "".

    Args:
        ends: number of episodes at the end of each stage.
        episodes: number of episodes of the run's recipe, which is the first end; None if it does
            not say.
    """
    if any(type(end) is not int for end in ends):
        return "a stage does not say how many episodes it has."
    grows = all(a < b for a, b in pairwise(ends))
    first = ends[0] >= 1 if episodes is None else ends[0] == episodes
    if not grows or not first or ends[-1] > MAX_EPISODES:
        known = "" if episodes is None else f"; the recipe has {episodes}"
        return f"its stages end at {', '.join(map(str, ends))} episodes{known}."
    return ""


def _fault(found: Extended, run: str, episodes: int | None) -> str:
    if found.run != run:
        return f"is of the run {found.run:.80}."
    if not found.before:
        return "names no stage before."
    ends = [*(one.manifest.get("episodes") for one in found.before), found.episodes]
    return fault_of(ends, episodes)
